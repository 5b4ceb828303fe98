//! WsRoute: a WebSocket route.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Backend, Duration, Hostname, PathMatch, Quantity, ResourceStatus, Subprotocol, Tls, WebOrigin};

/// Which WebSockets a WsRoute takes, where they go, and within which limits.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "breakwater.dev",
    version = "v1alpha1",
    kind = "WsRoute",
    plural = "wsroutes",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    doc = "A WsRoute relays WebSockets on hosts and paths to a backend.",
    shortname = "wsr",
    category = "edge",
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether the object is valid and holds what it claims."
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status",
        description = "Whether every node runs this generation."
    ),
    printcolumn(
        name = "Nodes",
        type_ = "string",
        json_path = ".status.nodes.summary",
        description = "Nodes that run this generation, of those that should."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct WsRouteSpec {
    /// The hosts to serve: names, wildcards for all names below one (*.example.com), or * for every host. When two
    /// objects claim the same host and path, the older one keeps it.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub hostnames: Vec<Hostname>,
    /// The paths to serve below each of the hosts. Exact comes before Regex, Regex before Prefix, longer before
    /// shorter.
    #[serde(default = "PathMatch::everything")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<PathMatch>,
    /// Serve the hosts over TLS. Where several objects share a host, the oldest that has tls decides for the host; the
    /// others are served over TLS as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Where WebSockets go.
    pub backend: Backend,
    /// Which opening handshakes are let through.
    #[serde(default)]
    pub handshake: Handshake,
    /// Limits, kept by each node for itself.
    #[serde(default)]
    pub limits: WsLimits,
    /// When a connection is ended.
    #[serde(default)]
    pub timeouts: WsTimeouts,
    /// Pings to both sides.
    #[serde(default)]
    pub keepalive: WsKeepalive,
    /// What becomes of open connections when the WsRoute is deleted, when the server behind them is no longer one of the
    /// backend's, and when a node shuts down. No other change of a configuration ends a connection.
    #[serde(default)]
    pub drain: WsDrain,
}

/// Which opening handshakes are let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    /// The Origin values that browsers may send, such as `https://chat.example.com`; none means any. With a list, a handshake
    /// from another origin is refused with 403.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub origins: Vec<WebOrigin>,
    /// The subprotocols that may be negotiated; none means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "set"))]
    pub subprotocols: Vec<Subprotocol>,
    /// Longest wait for the backend's answer to the handshake.
    #[serde(default = "Handshake::timeout")]
    pub timeout: Duration,
}

impl Handshake {
    fn timeout() -> Duration {
        "10s".into()
    }
}

impl Default for Handshake {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            subprotocols: Vec::new(),
            timeout: Self::timeout(),
        }
    }
}

/// Limits of a WsRoute on each node. A limit that is not given does not exist, but for connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WsLimits {
    /// Open connections.
    #[serde(default = "WsLimits::connections")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub connections: u32,
    /// Open connections of one client address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub connections_per_client: Option<u32>,
    /// Payload of one frame; a larger one ends the connection with status 1009.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_size: Option<Quantity>,
    /// Payload of one message over all its frames; a larger one ends the connection with status 1009.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_size: Option<Quantity>,
    /// Messages a client may send in a second; more end the connection with status 1008.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub messages_per_second: Option<u32>,
}

impl WsLimits {
    const fn connections() -> u32 {
        50_000
    }
}

impl Default for WsLimits {
    fn default() -> Self {
        Self {
            connections: Self::connections(),
            connections_per_client: None,
            frame_size: None,
            message_size: None,
            messages_per_second: None,
        }
    }
}

/// Pings to both sides, which find who is gone without having said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WsKeepalive {
    /// Silence of a side after which it is sent a ping; `0s`: pings are sent to nobody.
    #[serde(default = "WsKeepalive::interval")]
    pub interval: Duration,
    /// How long a side may stay silent after a ping; then the connection ends, with status 1001 towards the other side.
    #[serde(default = "WsKeepalive::timeout")]
    pub timeout: Duration,
}

impl WsKeepalive {
    fn interval() -> Duration {
        "30s".into()
    }

    fn timeout() -> Duration {
        "10s".into()
    }
}

impl Default for WsKeepalive {
    fn default() -> Self {
        Self {
            interval: Self::interval(),
            timeout: Self::timeout(),
        }
    }
}

/// What becomes of open connections that nobody serves any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.spread) || self.spread.matches('[1-9]')",
    "message": "this would close all connections at once: write at least 1ms",
    "fieldPath": ".spread",
}]))]
pub struct WsDrain {
    /// Close: when the WsRoute is deleted, or the server behind a connection is no longer one of the backend's, the
    /// connection is closed within the spread. Keep: it lasts as long as both sides want, and its timeouts allow.
    #[serde(default)]
    pub mode: WsDrainMode,
    /// The time over which closing is spread evenly, so that clients do not all come back at once. A node that shuts down
    /// closes connections over this time in either mode, or over a shorter one if it has not as long.
    #[serde(default = "WsDrain::spread")]
    pub spread: Duration,
}

/// Whether connections that nobody serves any more are closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WsDrainMode {
    /// They are closed, spread over a time.
    #[default]
    Close,
    /// They last as long as they last.
    Keep,
}

impl WsDrain {
    fn spread() -> Duration {
        "20s".into()
    }
}

impl Default for WsDrain {
    fn default() -> Self {
        Self {
            mode: WsDrainMode::default(),
            spread: Self::spread(),
        }
    }
}

/// When a connection is ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WsTimeouts {
    /// Longest silence of both sides; answers to pings of Breakwater's own end no silence.
    #[serde(default = "WsTimeouts::idle")]
    pub idle: Duration,
    /// Longest life of a connection; none means unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,
}

impl WsTimeouts {
    fn idle() -> Duration {
        "5m".into()
    }
}

impl Default for WsTimeouts {
    fn default() -> Self {
        Self {
            idle: Self::idle(),
            lifetime: None,
        }
    }
}
