//! Tokens of the API server's clients and the kubeconfig files that hold them.

use std::path::{Path, PathBuf};

use super::run_dir::RunDir;
use crate::{Error, Result, error::Context};

/// Someone the API server knows by a token: the user's name and group.
pub(super) struct Identity {
    pub(super) user: String,
    pub(super) group: &'static str,
}

impl Identity {
    pub(super) fn admin() -> Self {
        Self {
            user: "admin".to_owned(),
            group: "system:masters",
        }
    }

    pub(super) fn scheduler() -> Self {
        Self {
            user: "system:kube-scheduler".to_owned(),
            group: "",
        }
    }

    pub(super) fn proxy() -> Self {
        Self {
            user: "system:kube-proxy".to_owned(),
            group: "",
        }
    }

    pub(super) fn node(name: &str) -> Self {
        Self {
            user: format!("system:node:{name}"),
            group: "system:nodes",
        }
    }
}

/// The access data of one cluster.
#[derive(Debug)]
pub(super) struct Access {
    /// Such as `https://10.77.0.1:40000`.
    pub(super) server: String,
    /// The certificate to trust, in PEM.
    pub(super) authority: PathBuf,
    /// Makes tokens of different runs differ.
    secret: String,
}

impl Access {
    pub(super) fn new(server: String, authority: PathBuf) -> Result<Self> {
        Ok(Self {
            server,
            authority,
            secret: random()?,
        })
    }

    /// The API server's token file: `token,user,uid,"groups"` lines.
    pub(super) fn token_file(&self, identities: &[Identity]) -> String {
        let line = |identity: &Identity| {
            format!(
                "{},{1},{1},\"{2}\"\n",
                self.token(identity),
                identity.user,
                identity.group
            )
        };
        identities.iter().map(line).collect()
    }

    /// Writes the kubeconfig of `identity` into the run directory.
    pub(super) fn write(&self, run: &RunDir, file: &str, identity: &Identity) -> Result<PathBuf> {
        let (server, authority, token) = (&self.server, self.authority.display(), self.token(identity));
        run.write(
            file,
            &format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: breakwater-e2e\n\
                 contexts: [{{name: breakwater-e2e, context: {{cluster: breakwater-e2e, user: me}}}}]\n\
                 clusters: [{{name: breakwater-e2e, cluster: {{server: \"{server}\", certificate-authority: \"{authority}\"}}}}]\n\
                 users: [{{name: me, user: {{token: \"{token}\"}}}}]\n"
            ),
        )
    }

    fn token(&self, identity: &Identity) -> String {
        format!("{}-{}", identity.user.replace(':', "-"), self.secret)
    }
}

/// The last certificate in the file the API server made for itself: its authority, which signed
/// the first.
pub(super) fn authority_of(serving_certificate: &Path) -> Result<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let path = serving_certificate.display();
    let text = std::fs::read_to_string(serving_certificate).context(|| format!("read {path}"))?;
    let start = text
        .rfind(BEGIN)
        .ok_or_else(|| Error::Invalid(format!("{path} holds no certificate")))?;
    Ok(text[start..].to_owned())
}

fn random() -> Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .map(|text| text.trim().to_owned())
        .context(|| "read a random token".to_owned())
}
