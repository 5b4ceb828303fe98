//! Judges certificates and the Secrets that hold them.
//!
//! Invariants: a message names the Secret and the fault and never holds any of its content; a Secret is judged once,
//! and only when an object names it; one that no object names is nowhere in the output. Whether a certificate is still
//! in force is left to the nodes and to clients: there is no clock here.
//!
//! To parse a certificate and its key takes longer than all else that is done for a route. So what was found of a content
//! is remembered under its digest, in a [`Memo`] that its caller keeps: it changes no output, only the time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use breakwater_snapshot::unit::Certificate;
use breakwater_snapshot::{Blob, Digest, Kind, ObjectId};
use rustls::client::verify_server_name;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use crate::waf_link::Known;
use crate::{Secret, World, ocsp};

/// The type of a Secret that holds a certificate and its key.
pub(crate) const TLS_SECRET: &str = "kubernetes.io/tls";

/// What earlier compilations found of certificates, and of own rules beside the Core Rule Set. Holds no key, and nothing
/// that the last compilation did not need.
#[derive(Clone, Debug, Default)]
pub struct Memo {
    known: HashMap<Digest, Found>,
    parsed: u64,
    pub(crate) links: Known,
}

/// The server's own certificate, or what is wrong, of some content.
type Found = Result<Arc<CertificateDer<'static>>, Arc<str>>;

impl Memo {
    /// How often own rules were looked at beside the Core Rule Set, in all compilations with this memo.
    pub const fn linked(&self) -> u64 {
        self.links.linked()
    }

    /// How many contents of certificates are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How often a content was parsed, in all compilations with this memo.
    pub const fn parsed(&self) -> u64 {
        self.parsed
    }
}

/// The Secrets that objects name.
pub(crate) struct Certificates<'a> {
    secrets: BTreeMap<(&'a str, &'a str), &'a Secret>,
    memo: &'a mut Memo,
    /// What is remembered for the next time.
    used: HashMap<Digest, Found>,
    judged: BTreeMap<ObjectId, Result<Good, Fault>>,
}

/// A Secret that can be used.
pub(crate) struct Good {
    unit: Certificate,
    own: Arc<CertificateDer<'static>>,
}

/// Why a Secret cannot be used.
pub(crate) struct Fault {
    /// For a person: the Secret and what is wrong with it.
    pub(crate) message: String,
    /// Whether there is such a Secret, so that nodes keep the last good certificate they have of it.
    there: bool,
}

impl<'a> Certificates<'a> {
    pub(crate) fn new(world: &'a World, memo: &'a mut Memo) -> Self {
        let mut secrets: BTreeMap<_, &Secret> = BTreeMap::new();
        for secret in &world.secrets {
            // Two of one name are a caller's fault; which one counts must not depend on their order.
            secrets
                .entry((secret.namespace.as_str(), secret.name.as_str()))
                .and_modify(|known| {
                    if secret.rank() < known.rank() {
                        *known = secret;
                    }
                })
                .or_insert(secret);
        }
        Self {
            secrets,
            memo,
            used: HashMap::new(),
            judged: BTreeMap::new(),
        }
    }

    /// Judges a Secret that an object names.
    pub(crate) fn judge(&mut self, id: &ObjectId) -> &Result<Good, Fault> {
        let secret = self.secrets.get(&(id.namespace.as_str(), id.name.as_str()));
        let (memo, used) = (&mut *self.memo, &mut self.used);
        self.judged.entry(id.clone()).or_insert_with(|| {
            let place = format!("Secret {}/{}", id.namespace, id.name);
            let Some(secret) = secret else {
                return Err(Fault {
                    message: format!(
                        "there is no {place} of type {TLS_SECRET}: create it (kubectl create secret tls), or correct the name"
                    ),
                    there: false,
                });
            };
            if secret.kind != TLS_SECRET {
                return Err(Fault {
                    message: format!(
                        "{place} is of type {}, not {TLS_SECRET}: create it anew (kubectl create secret tls)",
                        secret.kind
                    ),
                    there: false,
                });
            }
            let border = (secret.certificate.len() as u64).to_be_bytes();
            let content = Digest::of(&[&border[..], &secret.certificate, &secret.key].concat());
            let found = used.entry(content).or_insert_with(|| match memo.known.remove(&content) {
                Some(found) => found,
                None => {
                    memo.parsed += 1;
                    parse(secret).map(Arc::new).map_err(Into::into)
                }
            });
            good(secret, found).map_err(|message| Fault {
                message: format!("{place}: {message}"),
                there: true,
            })
        })
    }

    /// What nodes get: each Secret that was judged and is there.
    pub(crate) fn blobs(self) -> impl Iterator<Item = (ObjectId, i64, Blob)> {
        self.memo.known = self.used;
        self.judged.into_iter().filter_map(|(id, judged)| {
            debug_assert_eq!(id.kind, Kind::Secret);
            let blob = match judged {
                Ok(good) => Blob::Valid {
                    unit: Box::new(breakwater_snapshot::unit::Unit::Certificate(good.unit)),
                },
                Err(fault) if fault.there => Blob::Invalid {
                    targets: Vec::new(),
                    message: fault.message,
                },
                Err(_) => return None,
            };
            // A Secret has no generation: its digest tells a new one.
            Some((id, 0, blob))
        })
    }
}

impl Good {
    /// Whether the certificate is for a claimed host: a name, or a wildcard, of which any name one label below counts.
    /// `*` is every host, which no certificate is for, and nobody expects it to be.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let name = match host.strip_prefix('*') {
            Some("") => return true,
            Some(suffix) => format!("any-name{suffix}"),
            None => host.to_owned(),
        };
        let (Ok(name), Ok(own)) = (ServerName::try_from(name), ParsedCertificate::try_from(&*self.own)) else {
            return false;
        };
        verify_server_name(&own, &name).is_ok()
    }
}

/// A Secret with what was found of its content.
fn good(secret: &Secret, found: &Found) -> Result<Good, String> {
    let own = found.as_ref().map_err(|message| message.to_string())?;
    let until = secret.ocsp.as_deref().map(|response| ocsp::until(response, own));
    Ok(Good {
        unit: Certificate {
            chain_pem: text(&secret.certificate, "tls.crt")?.to_owned(),
            key_pem: text(&secret.key, "tls.key")?.to_owned(),
            ocsp: secret.ocsp.as_ref().map(|der| STANDARD.encode(der)),
            ocsp_until: until.transpose()?.flatten(),
        },
        own: Arc::clone(own),
    })
}

/// Parses the content of a Secret of the right type: the server's own certificate. The error names the fault and none of
/// the content, and depends on nothing else.
fn parse(secret: &Secret) -> Result<CertificateDer<'static>, String> {
    let chain_pem = text(&secret.certificate, "tls.crt")?;
    let key_pem = text(&secret.key, "tls.key")?;
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "tls.crt is not PEM: it must hold certificates between BEGIN CERTIFICATE and END CERTIFICATE")?;
    let Some(own) = chain.first().cloned() else {
        return Err(
            "tls.crt holds no certificate: put the server's certificate there, then those that lead to its authority"
                .to_owned(),
        );
    };
    for (i, certificate) in chain.iter().enumerate() {
        ParsedCertificate::try_from(certificate)
            .map_err(|_| format!("certificate {} of tls.crt cannot be read: it is damaged", i + 1))?;
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| "tls.key holds no private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)")?;
    let key = any_supported_type(&key).map_err(
        |_| "tls.key is of a kind that cannot be used: RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519",
    )?;
    match CertifiedKey::new(chain, Arc::clone(&key)).keys_match() {
        // Unknown: the key cannot say what its public half is; then nothing speaks against it.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            return Err("tls.key does not belong to the first certificate of tls.crt: put the server's own certificate first, and its key beside it".to_owned());
        }
        Err(_) => return Err("the first certificate of tls.crt cannot be used: it is damaged".to_owned()),
    }
    Ok(own)
}

fn text<'s>(bytes: &'s [u8], key: &str) -> Result<&'s str, String> {
    if bytes.is_empty() {
        return Err(format!("{key} is missing or empty"));
    }
    std::str::from_utf8(bytes).map_err(|_| format!("{key} is not text: it must be PEM, not DER"))
}

/// Checks a list of authorities: one certificate at least, each of which can be believed.
pub(crate) fn authorities(pem: &str) -> Result<(), String> {
    let mut store = RootCertStore::empty();
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        count += 1;
        let certificate = certificate
            .map_err(|_| "not PEM: write certificates between BEGIN CERTIFICATE and END CERTIFICATE".to_owned())?;
        store
            .add(certificate)
            .map_err(|_| format!("certificate {count} cannot be read: it is damaged"))?;
    }
    if count == 0 {
        return Err("there is no certificate: write PEM, between BEGIN CERTIFICATE and END CERTIFICATE".to_owned());
    }
    Ok(())
}
