//! The certificate every server shows: self-signed, ECDSA P-256, made for one run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::Error;
use crate::load::TLS_HOST;

/// A certificate and its key, as files, and a client that trusts it.
#[derive(Debug)]
pub struct Certificate {
    /// The chain, as PEM.
    pub chain: PathBuf,
    /// The key, as PEM.
    pub key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub both: PathBuf,
    /// TLS 1.3 without resumption: every connection is a full handshake.
    pub client: Arc<ClientConfig>,
    directory: TempDir,
}

impl Certificate {
    /// Makes one.
    ///
    /// # Errors
    /// When keys cannot be made or files cannot be written.
    pub fn make() -> Result<Self, Error> {
        let failed = |error: String| Error::io("making a certificate")(std::io::Error::other(error));
        let directory = tempfile::tempdir().map_err(Error::io("making a directory for the certificate"))?;
        let made = rcgen::generate_simple_self_signed([TLS_HOST.to_owned()]).map_err(|e| failed(e.to_string()))?;
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let write = |name: &str, text: &str| {
            let file = directory.path().join(name);
            fs::write(&file, text)
                .map(|()| file)
                .map_err(Error::io("writing the certificate"))
        };
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(made.cert.der().to_vec()))
            .map_err(|e| failed(e.to_string()))?;
        let mut client = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            chain: write("chain.pem", &chain)?,
            key: write("key.pem", &key)?,
            both: write("both.pem", &format!("{chain}{key}"))?,
            client: Arc::new(client),
            directory,
        })
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}
