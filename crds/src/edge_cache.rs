//! EdgeCache: a cached site.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BodyLimits, Compression, CookieName, Duration, EdgeCacheStatus, ErrorPage, HeaderEdits, HeaderName, Hostname,
    Method, Origin, PathMatch, Prefetch, Quantity, QueryPattern, Redirect, Tiering, Tls,
};

/// What an EdgeCache serves, from where, and how it stores it.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "breakwater.dev",
    version = "v1alpha1",
    kind = "EdgeCache",
    plural = "edgecaches",
    namespaced,
    status = "EdgeCacheStatus",
    derive = "PartialEq",
    doc = "An EdgeCache serves hosts and paths from every node: what it has stored from the node, all else from its origin.",
    shortname = "ecache",
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
pub struct EdgeCacheSpec {
    /// The hosts to serve: names, wildcards for all names below one (*.example.com), or * for every host. A request
    /// goes to the most specific host: an exact name before a wildcard, a longer wildcard before a shorter one. When
    /// two objects claim the same host and path, the older one keeps it.
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
    /// Where responses come from.
    pub origin: Origin,
    /// How responses are stored.
    #[serde(default)]
    pub cache: CacheSpec,
    /// What nodes fetch before a client asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<Prefetch>,
    /// Who is asked for what a node has not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiering: Option<Tiering>,
    /// Changes to header fields.
    #[serde(default)]
    pub headers: HeaderEdits,
    /// Redirects; the first that matches answers, before cache and origin are asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub redirects: Vec<Redirect>,
    /// Compress responses that come without compression; compression: {} turns it on with its defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Limits of what passes.
    #[serde(default)]
    pub limits: BodyLimits,
    /// Pages in place of our own for errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub error_pages: Vec<ErrorPage>,
}

/// How responses are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheSpec {
    /// Exceptions from what the origin's response headers say; the first rule that matches wins. Without rules the
    /// origin's headers decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub rules: Vec<CacheRule>,
    /// What beside host and path tells two stored responses apart.
    #[serde(default)]
    pub key: CacheKey,
    /// When a response may be served after its freshness has ended.
    #[serde(default)]
    pub stale: Stale,
    /// The response header field in which the origin lists a response's tags, separated by spaces or commas; a
    /// CachePurge names them.
    #[serde(default = "CacheSpec::tag_header")]
    pub tag_header: HeaderName,
    /// Responses that are larger pass through and are not stored.
    #[serde(default = "CacheSpec::max_object_size")]
    pub max_object_size: Quantity,
}

impl CacheSpec {
    fn tag_header() -> HeaderName {
        "Surrogate-Key".into()
    }

    fn max_object_size() -> Quantity {
        "1Gi".into()
    }
}

impl Default for CacheSpec {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            key: CacheKey::default(),
            stale: Stale::default(),
            tag_header: Self::tag_header(),
            max_object_size: Self::max_object_size(),
        }
    }
}

/// An exception from what the origin's response headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "(has(self.ttl) || has(self.stale)) != (has(self.bypass) && self.bypass)",
        "message": "a rule has a ttl, stale, or both, or else bypass: true",
    },
    {
        "rule": "!has(self.methods) || size(self.methods) == 0 || has(self.bypass) && self.bypass || self.methods.exists(method, method == 'GET' || method == 'POST')",
        "message": "only what answers GET and POST is stored: ttl and stale need one of them among the methods",
    },
]))]
pub struct CacheRule {
    /// The paths the rule is for; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<PathMatch>,
    /// The request methods the rule is for; none means all. Only GET and HEAD are answered from the cache, whatever rules
    /// say; what answers a POST is stored only if it says how long it is fresh and names its own URL in Content-Location.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub methods: Vec<Method>,
    /// The response statuses the rule is for; none means all that may be stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 200, max = 599)), extend("x-kubernetes-list-type" = "set"))]
    pub statuses: Vec<u16>,
    /// How long a response is fresh, in place of what the origin says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// When such a response may be served after its freshness has ended, in place of what the origin says and of the
    /// cache's own `stale`. A response that must be validated (must-revalidate, s-maxage, no-cache) is never served stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
    /// Neither look up nor store.
    #[serde(default)]
    pub bypass: bool,
}

/// What beside host and path tells two stored responses apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheKey {
    /// The part of the query.
    #[serde(default)]
    pub query: QueryKey,
    /// Request header fields that are part of the key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub headers: Vec<HeaderName>,
    /// Cookies that are part of the key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub cookies: Vec<CookieName>,
    /// Classes of devices whose responses are stored apart, by User-Agent and Sec-CH-UA-Mobile; every other device counts as
    /// desktop. The origin is told the class in X-Device-Type: desktop, mobile, tablet or bot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub devices: Vec<DeviceClass>,
}

/// A class of devices that is told apart from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeviceClass {
    /// Telephones.
    Mobile,
    /// Tablets that say so; an iPad asks for the pages of desktops unless its owner chose otherwise.
    Tablet,
    /// Programs that say so, such as crawlers; where they are not told apart, they are what they pretend to be.
    Bot,
}

/// The query's part in the key: all parameters as they were sent, but for what is said here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.ignore) && size(self.ignore) > 0 && has(self.include) && size(self.include) > 0)",
    "message": "ignore and include exclude each other",
}]))]
pub struct QueryKey {
    /// Parameters left out of the key: names, or beginnings of names followed by * (utm_*).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub ignore: Vec<QueryPattern>,
    /// The only parameters in the key, written in the same way; all others are left out. Not together with `ignore`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub include: Vec<QueryPattern>,
    /// Parameters are sorted by name before they are put into the key, so that their order does not count. That of several
    /// with one name does.
    #[serde(default)]
    pub sort: bool,
}

/// When a response may be served after its freshness has ended (RFC 5861). The response's own directives come first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stale {
    /// For so long a stale response is served while one request fetches a fresh one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub while_revalidate: Option<Duration>,
    /// For so long a stale response is served when the origin fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_error: Option<Duration>,
}
