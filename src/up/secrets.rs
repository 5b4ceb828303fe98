//! TLS Secrets whose content is in files that another program renews, such as an ACME client.
//!
//! Invariant: nothing of a file's content is ever told; what cannot be read leaves what was read last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use breakwater_compile::Secret;
use clap::Args;

use super::watch::{Changes, watch};
use crate::exit::complain;
use crate::manifests::bounded;

/// The only type of Secret that is looked at.
const TLS: &str = "kubernetes.io/tls";

/// The most bytes of a file that are read: chains and keys are far smaller.
const MAX_FILE: u64 = 1 << 20;

/// Which Secrets come from files.
#[derive(Args, Debug)]
pub(crate) struct SecretArgs {
    /// A TLS Secret for `tls.secretName` from PEM files: the certificate and what leads to its authority, its key, and an
    /// OCSP response (DER) if there is one. Read again when they change. May be given several times
    #[arg(long, value_name = "[NAMESPACE/]NAME=CERT,KEY[,OCSP]", value_parser = file_secret)]
    tls_secret: Vec<FileSecret>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileSecret {
    namespace: String,
    name: String,
    certificate: PathBuf,
    key: PathBuf,
    ocsp: Option<PathBuf>,
}

/// The Secrets, as they were read last.
pub(super) struct Secrets {
    files: Vec<FileSecret>,
    read: BTreeMap<(String, String), Secret>,
    said: Vec<String>,
}

impl Secrets {
    pub(super) fn new(args: SecretArgs) -> Self {
        Self {
            files: args.tls_secret,
            read: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// The changes of the directories that the files are in: renewal puts other files, or links, in their place.
    pub(super) fn changes(&self) -> Vec<Changes> {
        let files = self.files.iter().flat_map(FileSecret::files);
        let mut directories: Vec<_> = files.map(|(_, path)| directory(path)).collect();
        directories.sort_unstable();
        directories.dedup();
        directories.into_iter().map(watch).collect()
    }

    /// Reads the files, and says what cannot be read unless that was said before.
    pub(super) fn read(&mut self) -> impl Iterator<Item = &Secret> {
        let mut lines = Vec::new();
        for files in &self.files {
            match files.read() {
                Ok(secret) => {
                    self.read.insert((files.namespace.clone(), files.name.clone()), secret);
                }
                Err(line) => lines.push(line),
            }
        }
        lines.iter().filter(|line| !self.said.contains(line)).for_each(complain);
        self.said = lines;
        self.read.values()
    }
}

impl FileSecret {
    /// The files by the keys that a Secret has for them.
    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let ocsp = self.ocsp.as_deref().map(|path| ("tls.ocsp-staple", path));
        let pair = [("tls.crt", &*self.certificate), ("tls.key", &*self.key)];
        pair.into_iter().chain(ocsp)
    }

    fn read(&self) -> Result<Secret, String> {
        let mut contents = BTreeMap::new();
        for (key, path) in self.files() {
            let bytes = content(path).map_err(|error| {
                let (name, path) = (&self.name, path.display());
                format!("breakwater: --tls-secret {name}: {path} cannot be read: {error}; what was read of {name} before stays")
            })?;
            contents.insert(key, bytes);
        }
        Ok(Secret::new(&*self.namespace, &*self.name, TLS, |key| {
            contents.remove(key)
        }))
    }
}

/// The content of a file, or why not.
fn content(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = bounded(path, MAX_FILE)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    Ok(bytes)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn file_secret(text: &str) -> Result<FileSecret, String> {
    let form = || "give it as NAME=CERT,KEY or NAMESPACE/NAME=CERT,KEY,OCSP".to_owned();
    let (name, paths) = text.split_once('=').ok_or_else(form)?;
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let paths: Vec<_> = paths.split(',').map(PathBuf::from).collect();
    let (certificate, key, ocsp) = match &*paths {
        [certificate, key] => (certificate, key, None),
        [certificate, key, ocsp] => (certificate, key, Some(ocsp.clone())),
        _ => return Err(form()),
    };
    if namespace.is_empty() || name.is_empty() || paths.iter().any(|path| path.as_os_str().is_empty()) {
        return Err(form());
    }
    Ok(FileSecret {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        certificate: certificate.clone(),
        key: key.clone(),
        ocsp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_with_its_files() {
        let found = file_secret("shop-tls=/a/fullchain.pem,key.pem").unwrap();
        assert_eq!(
            (&*found.namespace, &*found.name, found.ocsp.as_deref()),
            ("default", "shop-tls", None)
        );
        let directories: Vec<_> = found.files().map(|(_, path)| directory(path)).collect();
        assert_eq!(directories, [Path::new("/a"), Path::new(".")]);
        let found = file_secret("web/shop=c,k,o").unwrap();
        assert_eq!(
            (&*found.namespace, &*found.name, found.ocsp.as_deref()),
            ("web", "shop", Some(Path::new("o")))
        );
        for bad in [
            "shop",
            "shop=c",
            "=c,k",
            "web/=c,k",
            "shop=c,",
            "shop=c,k,o,x",
            "/shop=c,k",
        ] {
            assert!(file_secret(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_read_leaves_what_was_read_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("c"), "one").unwrap();
        std::fs::write(path("k"), "key").unwrap();
        let text = format!("x={},{}", path("c").display(), path("k").display());
        let mut secrets = Secrets::new(SecretArgs {
            tls_secret: vec![file_secret(&text).unwrap()],
        });
        let certificates =
            |secrets: &mut Secrets| -> Vec<_> { secrets.read().map(|secret| secret.certificate.clone()).collect() };
        assert_eq!(certificates(&mut secrets), [b"one"]);
        std::fs::write(path("c"), "two").unwrap();
        assert_eq!(certificates(&mut secrets), [b"two"]);
        std::fs::remove_file(path("c")).unwrap();
        assert_eq!(certificates(&mut secrets), [b"two"]);
        assert!(
            secrets
                .said
                .iter()
                .any(|line| line.contains("cannot be read") && !line.contains("two"))
        );
        assert_eq!(secrets.changes().len(), 1);
    }
}
