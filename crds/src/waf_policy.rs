//! WafPolicy: lists, limits and rules in front of other objects.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    AddressSource, Asns, BodyInspection, Challenge, Cidr, Countries, Crs, Duration, HeaderName, LimitAction,
    LimitScope, Method, PathMatch, PolicyTarget, Sampling, SecLang, WafPolicyStatus,
};

/// Which requests a WafPolicy refuses or limits, and for which objects.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "breakwater.dev",
    version = "v1alpha1",
    kind = "WafPolicy",
    plural = "wafpolicies",
    namespaced,
    status = "WafPolicyStatus",
    derive = "PartialEq",
    doc = "A WafPolicy protects EdgeCaches and WsRoutes of its namespace. When several policies name one object, all of them apply, the oldest first, and the first refusal stands.",
    shortname = "wafp",
    category = "edge",
    label("gateway.networking.k8s.io/policy", "Direct"),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.mode",
        description = "Enforce refuses, DetectOnly reports."
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether the object is valid and a target exists."
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
    printcolumn(
        name = "CRS",
        type_ = "string",
        json_path = ".status.crsVersion",
        description = "The version of the Core Rule Set that nodes have."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct WafPolicySpec {
    /// The objects to protect, in the policy's own namespace. Several policies on one object all apply, the oldest
    /// first.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["group", "kind", "name"]))]
    pub target_refs: Vec<PolicyTarget>,
    /// Enforce refuses what the policy finds, DetectOnly only reports it.
    #[serde(default)]
    pub mode: WafMode,
    /// How the client's address is found behind other proxies.
    #[serde(default)]
    pub client: Client,
    /// Lists of client addresses.
    #[serde(default)]
    pub addresses: Addresses,
    /// Lists of the countries that clients are in. Nodes need a database for them (--geo-db).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub countries: Option<Countries>,
    /// Lists of the autonomous systems that clients are in. Nodes need a database for them (--asn-db).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asns: Option<Asns>,
    /// Lists of paths.
    #[serde(default)]
    pub uris: Uris,
    /// Rules over single header fields of requests.
    #[serde(default)]
    pub headers: HeaderRules,
    /// Limits for each client. Every limit that matches a request counts it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub limits: Vec<Limit>,
    /// What becomes of clients that this policy refuses again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<Penalty>,
    /// Work that browsers have to do before they are let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// The OWASP Core Rule Set; `crs: {}` turns it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crs: Option<Crs>,
    /// Rules of your own, in the language of ModSecurity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seclang: Option<SecLang>,
    /// How much of bodies the rules see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyInspection>,
    /// A share of requests on which rules run; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// What a refused client gets.
    #[serde(default)]
    pub block: Block,
    /// What the audit log says.
    #[serde(default)]
    pub audit: Audit,
}

/// Whether a policy refuses or reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WafMode {
    /// Refuse and report.
    #[default]
    Enforce,
    /// Report only.
    DetectOnly,
}

/// How the client's address is found behind other proxies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// Peers whose word about the client's address is believed: addresses or prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub trusted_proxies: Vec<Cidr>,
    /// The request header field in which trusted proxies write it. The last address in it that is not itself a
    /// trusted proxy is the client.
    #[serde(default = "Client::header")]
    pub header: HeaderName,
}

impl Client {
    fn header() -> HeaderName {
        "X-Forwarded-For".into()
    }
}

impl Default for Client {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            header: Self::header(),
        }
    }
}

/// Lists of client addresses; allow is read first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// Clients that pass this policy's lists of addresses, countries and autonomous systems: addresses or prefixes.
    /// Read before deny.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "set"))]
    pub allow: Vec<Cidr>,
    /// Clients that are refused: addresses or prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "set"))]
    pub deny: Vec<Cidr>,
    /// More of allow: lists in ConfigMaps of the policy's namespace or behind URLs, an address or prefix on each line,
    /// with comments behind #.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub allow_from: Vec<AddressSource>,
    /// More of deny, as allowFrom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub deny_from: Vec<AddressSource>,
    /// What happens to clients on neither list.
    #[serde(default)]
    pub default: DefaultAction,
}

/// What happens to clients on neither list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DefaultAction {
    /// They pass.
    #[default]
    Allow,
    /// They are refused.
    Deny,
}

/// Lists of paths; allow is read first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Uris {
    /// Paths that pass the deny list unread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub allow: Vec<PathMatch>,
    /// Paths that are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub deny: Vec<PathMatch>,
}

/// Rules over single header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderRules {
    /// A request that has one of these is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub deny: Vec<HeaderRule>,
    /// A request that lacks one of these is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub require: Vec<HeaderRule>,
}

/// A header field, by name and perhaps by value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderRule {
    /// The field's name, in any letter case.
    pub name: HeaderName,
    /// What its value is compared with; absent: any value will do. Of a field that is repeated each value is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<HeaderValueMatch>,
}

/// How a header field's value is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderValueMatch {
    /// Exact: the whole value. Prefix: the beginning of the value. Regex: a regular expression that must match the whole
    /// value (RE2 syntax, linear time).
    #[serde(rename = "type", default)]
    pub kind: HeaderValueType,
    /// The value, its beginning, or the regular expression. Letter case counts.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// How a header field's value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HeaderValueType {
    /// The whole value.
    #[default]
    Exact,
    /// Its beginning.
    Prefix,
    /// A regular expression that must match the whole value.
    Regex,
}

/// A limit for each client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.requests) || has(self.connections) || has(self.newConnections)",
    "message": "a limit limits something: give requests, connections or newConnections",
}, {
    "rule": "!has(self.scope) || self.scope != 'Fleet' || !has(self.connections)",
    "message": "open connections are counted by each node: give connections in a limit without scope Fleet",
}, {
    "rule": "self.action != 'Challenge' || has(self.requests)",
    "message": "action Challenge is for a limit of requests: a connection cannot be asked",
    "fieldPath": ".action",
}]))]
pub struct Limit {
    /// The limit's name in metrics and audit lines.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The paths the limit is for; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<PathMatch>,
    /// The request methods the limit is for; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub methods: Vec<Method>,
    /// What is counted together: the requests of one client address.
    #[serde(default = "Limit::by")]
    #[schemars(length(min = 1, max = 1), extend("x-kubernetes-list-type" = "set"))]
    pub by: Vec<LimitBy>,
    /// A request rate; beyond it the answer is 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestRate>,
    /// Connections open at once; beyond them the answer is 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<ConnectionCount>,
    /// A rate of new connections; beyond it the answer is 429. A connection counts with the first request over it that
    /// the limit is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_connections: Option<RequestRate>,
    /// Node: each node keeps the limit for itself. Fleet: rates hold over all nodes that know each other, closely: they
    /// tell each other several times a second, and no request waits for it.
    #[serde(default)]
    pub scope: LimitScope,
    /// DetectOnly: this limit reports and refuses nothing, whatever the policy's mode.
    #[serde(default)]
    pub mode: WafMode,
    /// What becomes of a request over the limit.
    #[serde(default)]
    pub action: LimitAction,
}

impl Limit {
    fn by() -> Vec<LimitBy> {
        vec![LimitBy::ClientAddress]
    }
}

/// What a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LimitBy {
    /// The client's address.
    ClientAddress,
}

/// A rate of requests or of new connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRate {
    /// How many are allowed in each period.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub count: u32,
    /// The period.
    pub per: Duration,
    /// How many may come at once before the rate is felt; the default is count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub burst: Option<u32>,
}

/// A number of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionCount {
    /// How many connections may be open at once.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub count: u32,
}

/// Clients that the policy refused again and again are refused at once, for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Penalty {
    /// How many refusals by this policy, of whatever part of it, are enough. Counted by client, on each node.
    pub after: PenaltyAfter,
    /// How long the client is refused, with block.status. Requests that are refused by the penalty do not prolong it.
    #[serde(rename = "for")]
    pub lasts: Duration,
    /// DetectOnly: the penalty reports and refuses nothing, whatever the policy's mode.
    #[serde(default)]
    pub mode: WafMode,
}

/// How many refusals are enough for a penalty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PenaltyAfter {
    /// So many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: u32,
    /// Within so long after the first of them.
    pub per: Duration,
}

/// What a refused client gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// The response status: 403, or 404 to hide that there is anything. Limits answer 429 whatever this says.
    #[serde(default = "Block::status")]
    #[schemars(extend("enum" = [403, 404]))]
    pub status: u16,
}

impl Block {
    const fn status() -> u16 {
        403
    }
}

impl Default for Block {
    fn default() -> Self {
        Self { status: Self::status() }
    }
}

/// What the audit log says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// What is kept out of it.
    #[serde(default)]
    pub redact: Redact,
}

/// Names whose values never reach the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Redact {
    /// Query arguments.
    #[serde(default = "Redact::arguments")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub arguments: Vec<String>,
    /// Request header fields.
    #[serde(default = "Redact::headers")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub headers: Vec<HeaderName>,
}

impl Redact {
    fn arguments() -> Vec<String> {
        vec!["password".to_owned()]
    }

    fn headers() -> Vec<HeaderName> {
        vec!["Authorization".into(), "Cookie".into()]
    }
}

impl Default for Redact {
    fn default() -> Self {
        Self {
            arguments: Self::arguments(),
            headers: Self::headers(),
        }
    }
}
