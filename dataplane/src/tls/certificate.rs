//! A TLS Secret, built: parsed, matched, and with the time it expires.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use breakwater_snapshot::unit;
use rustls::client::{ResolvesClientCert, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys};

use super::{PROVIDER, der};

/// A certificate with what leads to its authority, and its key. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// The same with what is stapled, and until when that is good, Unix seconds.
    pub(super) stapled: Option<(Arc<CertifiedKey>, i64)>,
    /// Unix seconds: the earliest end of validity in the chain.
    pub(crate) expires: i64,
}

impl Certificate {
    /// Builds a Secret's certificate.
    ///
    /// # Errors
    /// What is wrong with it, for a person; nothing of the key.
    pub(crate) fn new(unit: &unit::Certificate) -> Result<Self, String> {
        let chain = CertificateDer::pem_slice_iter(unit.chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| "tls.crt is not PEM")?;
        let mut expires = None::<i64>;
        for (n, certificate) in chain.iter().enumerate() {
            let end = der::not_after(certificate)
                .ok_or_else(|| format!("certificate {} of tls.crt is no X.509 certificate", n + 1))?;
            expires = Some(expires.map_or(end, |earliest| earliest.min(end)));
        }
        let expires = expires.ok_or("tls.crt holds no certificate")?;
        // The parser's own message may quote a line of the key.
        let key = PrivateKeyDer::from_pem_slice(unit.key_pem.as_bytes())
            .map_err(|_| "tls.key holds no private key in PEM (PKCS #8, PKCS #1 or SEC1)")?;
        let key = CertifiedKey::from_der(chain, key, &PROVIDER).map_err(|error| refusal(&error))?;
        let staple = unit
            .ocsp
            .as_deref()
            .map(|text| STANDARD.decode(text.trim()))
            .transpose()
            .map_err(|_| "its OCSP response is not base64")?
            .filter(|response| !response.is_empty());
        let stapled = staple.map(|response| {
            let key = CertifiedKey {
                ocsp: Some(response),
                ..key.clone()
            };
            (Arc::new(key), unit.ocsp_until.unwrap_or(i64::MAX))
        });
        Ok(Self {
            key: Arc::new(key),
            stapled,
            expires,
        })
    }

    /// Whether it is good for this name (RFC 9525 section 6).
    pub(super) fn covers(&self, name: &str) -> bool {
        let parsed = self.key.cert.first().map(ParsedCertificate::try_from);
        match (parsed, ServerName::try_from(name.trim_end_matches('.'))) {
            (Some(Ok(parsed)), Ok(name)) => verify_server_name(&parsed, &name).is_ok(),
            _ => false,
        }
    }

    /// For handshakes in which we are the client.
    pub(crate) fn for_client(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.key)))
    }
}

fn refusal(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "tls.key is not the key of the first certificate in tls.crt".to_owned()
        }
        Error::InvalidCertificate(error) => format!("the first certificate of tls.crt cannot be used: {error:?}"),
        _ => {
            "tls.key cannot be used: only RSA (2048 bits or more), ECDSA (P-256, P-384) and Ed25519 keys can".to_owned()
        }
    }
}
