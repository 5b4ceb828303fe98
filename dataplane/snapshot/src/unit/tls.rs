//! TLS towards clients.

use serde::{Deserialize, Serialize};

use crate::ObjectId;

/// How the hosts of a route are served over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The hosts on which this object decides: those it claims, but for those on which an older object does.
    pub hosts: Vec<String>,
    /// The Secret with the certificate, which is a unit of its own. Where a node has none, handshakes for these hosts
    /// fail: no other certificate is ever served in its place.
    pub certificate: ObjectId,
    /// Requests that come in clear text are redirected to `https`.
    pub redirect: bool,
    /// `Strict-Transport-Security` (RFC 6797), sent over TLS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// Older versions are refused.
    pub min_version: TlsVersion,
    /// Whether clients show certificates of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientCertificates>,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// `Strict-Transport-Security` (RFC 6797 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hsts {
    /// How long browsers remember, seconds.
    pub max_age_s: u64,
    /// For all names below the host too.
    pub include_sub_domains: bool,
    /// Asks for the browsers' preload lists.
    pub preload: bool,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificates {
    /// A handshake without one fails; otherwise one is asked for, and checked when it is shown.
    pub required: bool,
    /// Certificates of the authorities that are believed, PEM.
    pub ca_pem: String,
}

/// A TLS Secret. Its manifest name is `Secret/namespace/name`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The certificate and what leads to its authority, PEM, the server's own first.
    pub chain_pem: String,
    /// The private key, PEM.
    pub key_pem: String,
    /// An OCSP response to staple, DER in base64 (RFC 6066 section 8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<String>,
    /// Until when that is good, Unix seconds. None: it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_until: Option<i64>,
}

impl std::fmt::Debug for Certificate {
    /// Without the key: it must never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("chain_pem", &self.chain_pem)
            .finish_non_exhaustive()
    }
}
