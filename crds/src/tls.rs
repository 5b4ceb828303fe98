//! TLS towards clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// How the hosts of an object are served over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// A Secret of this namespace, of type kubernetes.io/tls, with the certificate for the hosts: tls.crt holds the
    /// certificate and what leads to its authority, tls.key the private key. Without the Secret handshakes for these
    /// hosts fail: no other certificate is served in its place.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Redirect requests that come in clear text to https (301 or 308).
    #[serde(default)]
    pub redirect: bool,
    /// Send Strict-Transport-Security: browsers then come by https only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// The oldest version of TLS that is spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Ask clients for certificates of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<ClientCertificates>,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Strict-Transport-Security (RFC 6797), sent over TLS only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.preload) || !self.preload || has(self.includeSubDomains) && self.includeSubDomains",
    "message": "the preload lists of browsers take only hosts with includeSubDomains: true",
}]))]
pub struct Hsts {
    /// How long browsers remember it; 0s makes them forget.
    #[serde(default = "Hsts::max_age")]
    pub max_age: Duration,
    /// For all names below the host too.
    #[serde(default)]
    pub include_sub_domains: bool,
    /// Ask for a place on the preload lists of browsers. It is hard to take back.
    #[serde(default)]
    pub preload: bool,
}

impl Hsts {
    fn max_age() -> Duration {
        "8760h".into()
    }
}

impl Default for Hsts {
    fn default() -> Self {
        Self {
            max_age: Self::max_age(),
            include_sub_domains: false,
            preload: false,
        }
    }
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificates {
    /// Required: a handshake without a certificate fails. Optional: one that is shown is checked.
    #[serde(default)]
    pub mode: ClientCertificateMode,
    /// Certificates of the authorities that are believed, PEM.
    #[schemars(length(min = 1, max = 65_536))]
    pub ca_certificates: String,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientCertificateMode {
    /// A handshake without one fails.
    #[default]
    Required,
    /// One that is shown is checked.
    Optional,
}
