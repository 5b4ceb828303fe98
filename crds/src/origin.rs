//! Servers: where requests go, how they are spread, and what happens when a server fails.
//!
//! An EdgeCache's origin and a WsRoute's backend are written alike; what only makes sense for one of them is missing
//! from the other.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Duration, HttpUrl, ServiceRef};

/// Where responses come from: a Service or a list of servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct Origin {
    /// A Service of this namespace, whose ready endpoints are used directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// Servers by URL: http://host:port, or https://host:port for TLS; all of one scheme. A name is resolved again as
    /// its DNS record says. Needed where there is no cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub urls: Option<Vec<HttpUrl>>,
    /// Shares of the servers in urls, by URL; a server that is not named has 1. 0 takes no requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "weights")]
    pub weights: BTreeMap<String, u16>,
    /// How requests are spread over the servers. Weights count in each way.
    #[serde(default)]
    pub balance: Balance,
    /// What makes requests go to the same server, with balance: Hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// For so long a server that came back gets less than its share, rising. The default is at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Duration>,
    /// Active health checks: every node asks every server. Without them each server is taken to be well until requests
    /// fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// A server whose requests fail rests for a while.
    #[serde(default)]
    pub ejection: Ejection,
    /// What each node lets through to the servers at once.
    #[serde(default)]
    pub circuit: Circuit,
    /// Second attempts, only where it is safe: an idempotent method whose body is not begun and that nothing answered.
    #[serde(default)]
    pub retries: Retries,
    /// TLS towards the servers. https:// in urls turns it on as well; for a Service write tls: {}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<OriginTls>,
    /// The version of HTTP spoken to the servers.
    #[serde(default)]
    pub protocol: OriginProtocol,
    /// How long to wait for a server.
    #[serde(default)]
    pub timeouts: OriginTimeouts,
}

/// Where WebSockets go: a Service or a list of servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct Backend {
    /// A Service of this namespace, whose ready endpoints are used directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// Servers by URL: http://host:port, or https://host:port for TLS; all of one scheme. A name is resolved again as
    /// its DNS record says. Needed where there is no cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub urls: Option<Vec<HttpUrl>>,
    /// Shares of the servers in urls, by URL; a server that is not named has 1. 0 takes no WebSockets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "weights")]
    pub weights: BTreeMap<String, u16>,
    /// How WebSockets are spread over the servers. Weights count in each way.
    #[serde(default)]
    pub balance: Balance,
    /// What makes WebSockets go to the same server, with balance: Hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// For so long a server that came back gets less than its share, rising. The default is at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Duration>,
    /// Active health checks: every node asks every server. Without them each server is taken to be well until
    /// handshakes fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// A server whose handshakes fail rests for a while.
    #[serde(default)]
    pub ejection: Ejection,
    /// What each node lets through to the servers at once. A WebSocket holds its connection for as long as it lives.
    #[serde(default)]
    pub circuit: Circuit,
    /// Second attempts of a handshake of which nothing was sent: no connection, or no TLS. One that was sent is never
    /// repeated, so statuses do nothing here.
    #[serde(default)]
    pub retries: Retries,
    /// TLS towards the servers. https:// in urls turns it on as well; for a Service write tls: {}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<OriginTls>,
    /// How long to wait for a server. The wait for the handshake's answer is handshake.timeout.
    #[serde(default)]
    pub timeouts: BackendTimeouts,
}

/// What both must keep; `breakwater-compile` says the same.
fn rules() -> Value {
    json!([
        {
            "rule": "has(self.service) != has(self.urls)",
            "message": "name exactly one of service and urls",
        },
        {
            "rule": "!has(self.urls) || self.urls.all(url, url.startsWith('http://')) || self.urls.all(url, url.startsWith('https://'))",
            "message": "urls are all http:// or all https://",
            "fieldPath": ".urls",
        },
        {
            "rule": "!has(self.tls) || !has(self.urls) || self.urls.all(url, url.startsWith('https://'))",
            "message": "tls with http:// urls: write https:// in urls, or leave tls out",
            "fieldPath": ".tls",
        },
        {
            "rule": "!has(self.weights) || has(self.urls) && self.weights.all(url, url in self.urls)",
            "message": "weights are given to servers in urls, by the same text",
            "fieldPath": ".weights",
        },
        {
            "rule": "!has(self.hash) || has(self.balance) && self.balance == 'Hash'",
            "message": "hash says what balance: Hash looks at: write balance: Hash, or leave hash out",
            "fieldPath": ".hash",
        },
    ])
}

fn weights(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 1000},
        "maxProperties": 64,
    })
}

/// How requests are spread over servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// To the server with the fewest requests in progress.
    LeastConnections,
    /// To the less busy of two servers chosen by chance.
    PowerOfTwo,
    /// Requests that look alike go to the same server (rendezvous hashing).
    Hash,
}

/// What makes requests look alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.name) == (has(self.by) && self.by in ['Header', 'Cookie'])",
    "message": "name is the header field or cookie: give it with by: Header and by: Cookie, and only there",
}]))]
pub struct Hash {
    /// The part of a request that is looked at.
    #[serde(default)]
    pub by: HashBy,
    /// The name of the header field or cookie. A request without it counts by the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
}

/// The part of a request that [`Balance::Hash`] looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HashBy {
    /// The client's address.
    #[default]
    ClientAddress,
    /// A request header field.
    Header,
    /// A cookie.
    Cookie,
    /// The path.
    Path,
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Path and query asked for with GET.
    #[serde(default = "HealthCheck::path")]
    #[schemars(length(min = 1, max = 1024), extend("x-kubernetes-validations" = [{
        "rule": "self.startsWith('/')",
        "message": "a path begins with /",
    }]))]
    pub path: String,
    /// The Host of the question; the default is the server's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 260))]
    pub host: Option<String>,
    /// Time between two questions to one server.
    #[serde(default = "HealthCheck::interval")]
    pub interval: Duration,
    /// Longest wait for an answer.
    #[serde(default = "HealthCheck::timeout")]
    pub timeout: Duration,
    /// Good answers in a row after which an unhealthy server gets requests again.
    #[serde(default = "HealthCheck::healthy_after")]
    #[schemars(range(min = 1, max = 100))]
    pub healthy_after: u32,
    /// Bad answers in a row after which a server gets no more requests.
    #[serde(default = "HealthCheck::unhealthy_after")]
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_after: u32,
    /// Statuses of a good answer; none means 200 to 399.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 100, max = 599)), extend("x-kubernetes-list-type" = "set"))]
    pub statuses: Vec<u16>,
}

impl HealthCheck {
    fn path() -> String {
        "/".to_owned()
    }

    fn interval() -> Duration {
        "5s".into()
    }

    fn timeout() -> Duration {
        "2s".into()
    }

    const fn healthy_after() -> u32 {
        2
    }

    const fn unhealthy_after() -> u32 {
        3
    }
}

/// Passive ejection: a server whose requests fail rests for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ejection {
    /// Failures in a row (no connection, no answer, 502, 503, 504) after which a server rests; 0 turns ejection off.
    #[serde(default = "Ejection::consecutive_failures")]
    #[schemars(range(min = 0, max = 1000))]
    pub consecutive_failures: u32,
    /// How long it rests; each further time longer, up to ten times as long.
    #[serde(default = "Ejection::time")]
    pub time: Duration,
    /// At most this share of the servers rests at once, percent.
    #[serde(default = "Ejection::max_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub max_percent: u8,
}

impl Ejection {
    const fn consecutive_failures() -> u32 {
        5
    }

    fn time() -> Duration {
        "10s".into()
    }

    const fn max_percent() -> u8 {
        50
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            consecutive_failures: Self::consecutive_failures(),
            time: Self::time(),
            max_percent: Self::max_percent(),
        }
    }
}

/// What each node lets through to the servers at once. Connections and requests are unlimited unless given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Circuit {
    /// Connections to each server; requests beyond wait their turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub connections_per_server: Option<u32>,
    /// Requests in progress to all servers; those beyond are answered 503 at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub requests: Option<u32>,
    /// Requests that wait for a connection; those beyond are answered 503 at once. 0 lets none wait; the default is
    /// 1,024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub pending: Option<u32>,
}

/// Second attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Attempts after the first; 0 turns them off.
    #[serde(default = "Retries::attempts")]
    #[schemars(range(min = 0, max = 10))]
    pub attempts: u32,
    /// Retries may add this much to the requests of the last ten seconds, percent; beside it a few are always allowed.
    #[serde(default = "Retries::budget_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub budget_percent: u32,
    /// Statuses that are tried again like a failed connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 400, max = 599)), extend("x-kubernetes-list-type" = "set"))]
    pub statuses: Vec<u16>,
}

impl Retries {
    const fn attempts() -> u32 {
        1
    }

    const fn budget_percent() -> u32 {
        20
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: Self::attempts(),
            budget_percent: Self::budget_percent(),
            statuses: Vec::new(),
        }
    }
}

/// TLS towards servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.caCertificates) || !has(self.insecureSkipVerify) || !self.insecureSkipVerify",
    "message": "with insecureSkipVerify no certificate is checked: leave caCertificates or insecureSkipVerify out",
}]))]
pub struct OriginTls {
    /// The name asked for by SNI and looked for in the server's certificate. The default is the server's own name; for
    /// servers known by address, as those of a Service, the Service's name: name.namespace.svc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Certificates of the authorities that are believed, PEM; the default is those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub ca_certificates: Option<String>,
    /// Take any certificate. Whoever sits between can then read and change everything: for tests only.
    #[serde(default)]
    pub insecure_skip_verify: bool,
    /// A Secret of this namespace (type kubernetes.io/tls) with our own certificate, for servers that ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub certificate_secret_name: Option<String>,
}

/// The version of HTTP spoken to servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OriginProtocol {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "HTTP1")]
    Http1,
    /// HTTP/2: agreed on by ALPN with TLS, else with prior knowledge.
    #[serde(rename = "HTTP2")]
    Http2,
}

/// How long to wait for a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OriginTimeouts {
    /// Longest wait for a connection, its TLS handshake included.
    #[serde(default = "OriginTimeouts::connect")]
    pub connect: Duration,
    /// Longest wait for the response head, and between two parts of the body.
    #[serde(default = "OriginTimeouts::response")]
    pub response: Duration,
}

impl OriginTimeouts {
    fn connect() -> Duration {
        "2s".into()
    }

    fn response() -> Duration {
        "30s".into()
    }
}

impl Default for OriginTimeouts {
    fn default() -> Self {
        Self {
            connect: Self::connect(),
            response: Self::response(),
        }
    }
}

/// How long to wait for a server of WebSockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendTimeouts {
    /// Longest wait for a connection, its TLS handshake included; never longer than handshake.timeout.
    #[serde(default = "OriginTimeouts::connect")]
    pub connect: Duration,
}

impl Default for BackendTimeouts {
    fn default() -> Self {
        Self {
            connect: OriginTimeouts::connect(),
        }
    }
}
