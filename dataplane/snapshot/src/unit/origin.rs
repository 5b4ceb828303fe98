//! A group of servers, and how requests are spread over them.

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::ObjectId;

/// A group of servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The servers; empty when the Service has no ready endpoint.
    pub endpoints: Vec<Endpoint>,
    /// Longest wait for a connection, its TLS handshake included.
    pub connect_timeout_ms: u64,
    /// Longest wait for the response head, and between two reads of the body.
    pub response_timeout_ms: u64,
    /// Which server gets the next request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub balance: Balance,
    /// Active health checks; none means every server is taken to be well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// Passive ejection of servers that fail; none means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Ejection>,
    /// What is let through to the servers at once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub circuit: Circuit,
    /// Second attempts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: Retries,
    /// TLS towards the servers; none means clear text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<OriginTls>,
    /// The version of HTTP spoken to the servers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: OriginProtocol,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// An IP address or a DNS name.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// Its share of requests beside the others'; 0 takes none.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u16,
}

fn one() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(weight: &u16) -> bool {
    *weight == 1
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') && !self.host.starts_with('[') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which server gets the next request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The strategy. Weights count in each of them.
    pub strategy: BalanceStrategy,
    /// What [`BalanceStrategy::Hash`] looks at.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hash_by: HashBy,
    /// A server that came back gets its full share only after so long; 0 means at once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub slow_start_ms: u64,
}

/// The strategies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BalanceStrategy {
    /// One after the other, smoothly by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in progress.
    LeastConnections,
    /// The less busy of two chosen by chance.
    PowerOfTwo,
    /// Rendezvous hashing: requests that look alike go to the same server, and a change of servers moves few of them.
    Hash,
}

/// What makes requests look alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashBy {
    /// The client's address.
    #[default]
    ClientAddress,
    /// A request field, lower case. Without it: the client's address.
    Header(String),
    /// A cookie. Without it: the client's address.
    Cookie(String),
    /// The path.
    Path,
}

/// Active health checks: each node asks each server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Path and query asked for with GET.
    pub path: String,
    /// `Host` of the question; none means the server's own name.
    pub host: Option<String>,
    /// Time between two questions.
    pub interval_ms: u64,
    /// Longest wait for an answer.
    pub timeout_ms: u64,
    /// Good answers in a row after which an unhealthy server is healthy.
    pub healthy_after: u32,
    /// Bad answers in a row after which a healthy server is not.
    pub unhealthy_after: u32,
    /// Statuses of a good answer; empty means 200 to 399.
    pub statuses: Vec<u16>,
}

/// Passive ejection: a server that fails rests for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejection {
    /// Failures in a row (no connection, no answer, 502, 503, 504) after which it rests.
    pub consecutive_failures: u32,
    /// How long; each further time longer, up to ten times as long.
    pub base_ms: u64,
    /// At most this share of the servers rests at once, percent.
    pub max_percent: u8,
}

/// What is let through to the servers at once, on each node; none means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    /// Connections to each server; requests beyond wait their turn.
    pub connections_per_server: Option<u32>,
    /// Requests in progress to all servers; those beyond are answered 503 at once.
    pub requests: Option<u32>,
    /// Requests that wait for a connection; those beyond are answered 503 at once. None means 1,024.
    pub pending: Option<u32>,
}

/// Second attempts. Only where it is safe: an idempotent method, a body that is not begun, nothing answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// Attempts after the first.
    pub attempts: u32,
    /// Retries may add this much to the requests of the last ten seconds, percent; beside it a few are always allowed.
    pub budget_percent: u32,
    /// Statuses that are tried again like a failed connection.
    pub statuses: Vec<u16>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 1,
            budget_percent: 20,
            statuses: Vec::new(),
        }
    }
}

/// TLS towards servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginTls {
    /// The name asked for by SNI and looked for in the certificate; none means the server's own name.
    pub server_name: Option<String>,
    /// Certificates of the authorities that are believed, PEM; none means the system's.
    pub ca_pem: Option<String>,
    /// Whether any certificate is taken.
    pub insecure: bool,
    /// The Secret with our own certificate, for servers that ask for one.
    pub certificate: Option<ObjectId>,
}

/// The version of HTTP spoken to servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OriginProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN with TLS, else with prior knowledge (RFC 9113 section 3.3).
    Http2,
}
