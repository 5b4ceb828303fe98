//! Compiled units: what the data plane needs to know of one object, with every reference resolved and every default
//! filled in. Durations are milliseconds, sizes are bytes.

mod filter;
mod origin;
mod place;
mod prefetch;
mod rules;
mod schedule;
mod tls;

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::ObjectId;
pub use filter::{Coding, Compression, ErrorPage, Field, FieldEdit, Filters, PathRewrite, Redirect};
pub use origin::{
    Balance, BalanceStrategy, Circuit, Ejection, Endpoint, HashBy, HealthCheck, Origin, OriginProtocol, OriginTls,
    Retries,
};
pub use place::Places;
pub use prefetch::{Prefetch, PrefetchList};
pub use rules::{BodyType, Crs, RuleExclusion, RuleGroup, RuleSelection, Rules, SecLangSource};
pub use schedule::{Schedule, ScheduleError};
pub use tls::{Certificate, ClientCertificates, Hsts, Tls, TlsVersion};

/// Leaves out what is as if it were not there, so that an object that does not use a feature keeps its digest.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One object, compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives for as long as it takes to build it; blobs box it"
)]
pub enum Unit {
    /// A cached site.
    EdgeCache(EdgeCache),
    /// A security policy.
    WafPolicy(WafPolicy),
    /// A WebSocket route.
    WsRoute(WsRoute),
    /// A purge.
    CachePurge(CachePurge),
    /// A TLS Secret that other objects name.
    Certificate(Certificate),
}

/// A host and path that an object serves, after conflicts were settled: no two units claim the same pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// Lower-case host without port; `*.example.com` matches any name below it; `*` matches every host.
    pub host: String,
    /// The paths below that host.
    pub path: PathMatch,
}

/// How a path is matched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PathMatch {
    /// The kind of match.
    #[serde(rename = "type")]
    pub kind: PathKind,
    /// What is compared: a path beginning with `/` (a prefix comes without trailing `/`, but for `/` itself), or a
    /// regular expression that must match the whole path.
    pub value: String,
}

/// The kinds of path match. Precedence: exact, then regular expressions (longest first), then the longest prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PathKind {
    /// The whole path.
    Exact,
    /// Path elements, as in Gateway API: `/a` matches `/a` and `/a/b`, not `/ab`.
    Prefix,
    /// A regular expression over the whole path.
    Regex,
}

/// A compiled EdgeCache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCache {
    /// What it serves.
    pub claims: Vec<Claim>,
    /// Where responses come from.
    pub origin: Origin,
    /// How they are stored.
    pub cache: CachePolicy,
    /// How its hosts are served over TLS; none means not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What is done to requests and responses on the way.
    #[serde(default, skip_serializing_if = "is_default")]
    pub filters: Filters,
    /// What nodes fetch by themselves; none means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<Prefetch>,
    /// Who is asked for what is not stored, before the origin.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tiering: Tiering,
}

/// Who is asked for what a node has not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tiering {
    /// The origin.
    #[default]
    Local,
    /// The node that owns the URL among all nodes, then the origin.
    Owner,
    /// A first level of caches, which asks the origin.
    Parent(Parent),
}

/// The first level of two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Who it is.
    pub level: FirstLevel,
    /// Whether the origin is asked when nobody of it answers.
    pub fallback: bool,
}

/// Who alone asks the origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirstLevel {
    /// The nodes that have all of these labels; they ask the origin themselves.
    Nodes(BTreeMap<String, String>),
    /// Another edge, spoken to like an origin.
    Servers(Box<Origin>),
}

impl Tiering {
    /// The other edge that is asked, if one is.
    #[must_use]
    pub fn servers(&self) -> Option<&Origin> {
        match self {
            Self::Parent(parent) => match &parent.level {
                FirstLevel::Servers(origin) => Some(origin),
                FirstLevel::Nodes(_) => None,
            },
            Self::Local | Self::Owner => None,
        }
    }
}

/// How an EdgeCache stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePolicy {
    /// Overrides; the first that matches wins.
    pub rules: Vec<CacheRule>,
    /// Query parameters left out of the key: names, or prefixes written `utm_*`.
    pub ignore_query: Vec<String>,
    /// The only query parameters in the key, written alike; empty means all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub include_query: Vec<String>,
    /// Query parameters are sorted in the key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sort_query: bool,
    /// Request fields that are part of the key, lower case, sorted.
    pub key_headers: Vec<String>,
    /// Cookies that are part of the key, sorted.
    pub key_cookies: Vec<String>,
    /// Classes of devices that are told apart in the key, sorted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key_devices: Vec<Device>,
    /// Serve stale this long while one request revalidates (RFC 5861), unless the response says otherwise.
    pub stale_while_revalidate_ms: Option<u64>,
    /// Serve stale this long when the origin fails (RFC 5861), unless the response says otherwise.
    pub stale_if_error_ms: Option<u64>,
    /// The response field that lists a response's tags, lower case.
    pub tag_header: Option<String>,
    /// Larger responses pass through unstored.
    pub max_object_size: u64,
}

/// A class of devices that is told apart from all others, which count as desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Device {
    /// Telephones.
    Mobile,
    /// Tablets.
    Tablet,
    /// Programs that say so.
    Bot,
}

/// One override of a [`CachePolicy`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRule {
    /// Which paths; empty means all.
    pub paths: Vec<PathMatch>,
    /// Which request methods, sorted; empty means all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub methods: Vec<String>,
    /// Which response statuses; empty means all. Not looked at when `bypass` is set.
    pub statuses: Vec<u16>,
    /// Freshness lifetime in place of the origin's.
    pub ttl_ms: Option<u64>,
    /// In place of the response's `stale-while-revalidate`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stale_while_revalidate_ms: Option<u64>,
    /// In place of the response's `stale-if-error`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stale_if_error_ms: Option<u64>,
    /// Neither look up nor store.
    pub bypass: bool,
}

impl CacheRule {
    /// Whether the rule is for requests with this method.
    pub fn is_for(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|listed| listed == method)
    }
}

/// A compiled WafPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WafPolicy {
    /// The objects it protects, EdgeCache or WsRoute.
    pub targets: Vec<ObjectId>,
    /// Its place among the policies of one target: they apply in ascending order, the oldest first. No two policies of
    /// one target have the same place.
    #[serde(default)]
    pub order: u32,
    /// Whether it blocks.
    pub mode: Mode,
    /// How the client's address is found.
    pub client: ClientAddress,
    /// Lists of addresses.
    pub addresses: Addresses,
    /// Lists of countries, by their codes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub countries: Places<String>,
    /// Lists of autonomous systems; 0 is an unknown one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub asns: Places<u32>,
    /// Lists of paths.
    pub uris: Uris,
    /// Rules over header fields.
    #[serde(default, skip_serializing_if = "HeaderRules::is_empty")]
    pub headers: HeaderRules,
    /// Limits per client.
    pub limits: Vec<Limit>,
    /// What becomes of clients that are refused again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<Penalty>,
    /// Work that browsers have to do; none means none has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// Rules over requests and responses; none means there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// The status of a refusal by a list or a rule: 403 or 404.
    pub block_status: u16,
    /// Names whose values are replaced in audit lines.
    pub redact: Redact,
}

impl WafPolicy {
    /// Whether it has nothing that would refuse or report a request. What it says of the client's address holds all the
    /// same.
    pub fn refuses_nothing(&self) -> bool {
        let addresses = &self.addresses;
        let passes = addresses.default_allow && addresses.deny.is_empty() && addresses.deny_lists.is_empty();
        passes
            && self.countries.pass_all()
            && self.asns.pass_all()
            && self.uris.deny.is_empty()
            && self.headers.is_empty()
            && self.limits.is_empty()
            && self
                .challenge
                .as_ref()
                .is_none_or(|challenge| challenge.paths.is_empty())
            && self.rules.is_none()
    }
}

/// Whether a policy blocks or reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Refuse and report.
    Enforce,
    /// Report only.
    DetectOnly,
}

/// How the client's address is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAddress {
    /// Peers whose word about the client is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The field such a peer writes, lower case; none means `x-forwarded-for`.
    pub header: Option<String>,
}

/// Address lists; `allow` is read first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Clients that pass.
    pub allow: Vec<IpNet>,
    /// Clients that are refused.
    pub deny: Vec<IpNet>,
    /// More clients that pass: lists as `breakwater_waf::address::list` packs them, in base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_lists: Vec<String>,
    /// More clients that are refused, as `allow_lists`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny_lists: Vec<String>,
    /// Whether a client on neither list passes.
    pub default_allow: bool,
}

/// Path lists; `allow` is read first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uris {
    /// Paths that pass the deny list unread.
    pub allow: Vec<PathMatch>,
    /// Paths that are refused.
    pub deny: Vec<PathMatch>,
}

/// Rules over header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderRules {
    /// A request with one of these is refused.
    pub deny: Vec<HeaderRule>,
    /// A request without one of these is refused.
    pub require: Vec<HeaderRule>,
}

impl HeaderRules {
    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.deny.is_empty() && self.require.is_empty()
    }
}

/// A header field, by name and perhaps by value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderRule {
    /// Its name, lower case.
    pub name: String,
    /// What its value is compared with: whole, by its beginning, or by an expression that must match the whole of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<(PathKind, String)>,
}

/// A limit per client address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Its name in metrics and audit lines.
    pub name: String,
    /// Which paths; empty means all.
    pub paths: Vec<PathMatch>,
    /// Which methods; empty means all.
    pub methods: Vec<String>,
    /// A request rate.
    pub requests: Option<RequestRate>,
    /// Connections open at once.
    pub connections: Option<u32>,
    /// A rate of new connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_connections: Option<RequestRate>,
    /// Its rates hold across nodes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fleet: bool,
    /// It reports, whatever the policy's mode.
    #[serde(default, skip_serializing_if = "is_false")]
    pub detect_only: bool,
    /// Who exceeds it gets the policy's challenge.
    #[serde(default, skip_serializing_if = "is_false")]
    pub challenges: bool,
}

/// Work that browsers have to do before they are let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// For these paths everybody; empty: nobody.
    pub paths: Vec<PathMatch>,
    /// How many zero bits a hash has to begin with.
    pub bits: u8,
    /// For how long who has done it is let through.
    pub lasts_ms: u64,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Clients that were refused so often are refused at once for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Penalty {
    /// After so many refusals.
    pub count: u32,
    /// In how long.
    pub per_ms: u64,
    /// For how long.
    pub for_ms: u64,
    /// It reports, whatever the policy's mode.
    #[serde(default, skip_serializing_if = "is_false")]
    pub detect_only: bool,
}

/// `count` requests or connections in `per_ms`, and `burst` of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRate {
    /// How many requests.
    pub count: u32,
    /// In how long.
    pub per_ms: u64,
    /// How many may come at once before the rate is felt; none means `count`.
    pub burst: Option<u32>,
}

/// Names whose values never reach an audit line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redact {
    /// Query arguments.
    pub arguments: Vec<String>,
    /// Request fields, lower case.
    pub headers: Vec<String>,
}

/// A compiled WsRoute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WsRoute {
    /// What it serves.
    pub claims: Vec<Claim>,
    /// Where WebSockets go.
    pub backend: Origin,
    /// Allowed `Origin` values, lower case; empty means any.
    pub origins: Vec<String>,
    /// Subprotocols that may be negotiated; empty means any.
    pub subprotocols: Vec<String>,
    /// Longest wait for the backend's answer to the handshake.
    pub handshake_timeout_ms: u64,
    /// Limits.
    pub limits: WsLimits,
    /// Longest silence of both sides.
    pub idle_timeout_ms: u64,
    /// Longest life of a connection; none means unlimited.
    pub lifetime_ms: Option<u64>,
    /// Pings to both sides; none means that none are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Keepalive>,
    /// What becomes of open connections that nobody serves any more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drain: Drain,
    /// How its hosts are served over TLS; none means not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// What becomes of open connections of a WsRoute that is gone, to a server that is no longer one of its backend's, or on
/// a node that shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// They are closed when the route or the server is gone; else they last as long as they last.
    pub close: bool,
    /// Closing is spread evenly over this time.
    pub spread_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            close: true,
            spread_ms: 20_000,
        }
    }
}

/// Pings of a WsRoute to both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepalive {
    /// Silence of a side after which it is asked.
    pub interval_ms: u64,
    /// How long it may then stay silent.
    pub timeout_ms: u64,
}

/// Limits of a WsRoute; none means unlimited. On each node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WsLimits {
    /// Open connections.
    pub connections: Option<u32>,
    /// Open connections of one client address.
    pub connections_per_client: Option<u32>,
    /// Payload of one frame.
    pub frame_size: Option<u64>,
    /// Payload of one message over all its frames.
    pub message_size: Option<u64>,
    /// Messages a client may send in a second.
    pub messages_per_second: Option<u32>,
}

/// A compiled CachePurge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePurge {
    /// The object's UID: each purge is carried out once by each node.
    pub uid: String,
    /// The EdgeCache whose responses are forgotten.
    pub target: ObjectId,
    /// Which of them.
    pub selector: PurgeSelector,
    /// How they are forgotten.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: PurgeMode,
}

/// How stored responses are forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurgeMode {
    /// The next request goes to the origin.
    #[default]
    Hard,
    /// They become stale: validated before the next use, and served where staleness is allowed.
    Soft,
}

/// Which stored responses a purge forgets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurgeSelector {
    /// All variants of these absolute URLs.
    Urls(Vec<String>),
    /// All responses below one of these paths.
    Prefixes(Vec<PurgePrefix>),
    /// All responses that carry one of these tags.
    Tags(Vec<String>),
    /// All of them.
    Everything,
}

/// What a purge by prefix reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PurgePrefix {
    /// Lower-case host without port; none means every host of the EdgeCache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path beginning with `/`, in any spelling; matches as [`PathKind::Prefix`].
    pub path: String,
}
