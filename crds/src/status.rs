//! What the operator writes back.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PrefetchStatus, PurgeMode};

/// The status of an EdgeCache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeCacheStatus {
    /// What every resource has. Conditions of an EdgeCache with prefetch: Prefetched beside the others, which says that
    /// every node has walked through the list without a failure.
    #[serde(flatten)]
    pub resource: ResourceStatus,
    /// How far the nodes are with spec.prefetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<PrefetchStatus>,
    /// The last purges, oldest first: nodes that were away hear of them although their objects were deleted. Of 33 and
    /// more, the oldest stands for all before it as one of everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 33), extend("x-kubernetes-list-type" = "atomic"))]
    pub purges: Vec<RecordedPurge>,
}

/// A purge that nodes may have to hear of after its object is gone. One that names no URLs, prefixes or tags is of
/// everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedPurge {
    /// The UID of the CachePurge.
    pub uid: String,
    /// When it was created, Unix seconds.
    pub created: i64,
    /// How responses are forgotten.
    pub mode: PurgeMode,
    /// It stands for all before it, which have made room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub older: bool,
    /// Absolute URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub urls: Option<Vec<String>>,
    /// Hosts and paths, or paths of every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub prefixes: Option<Vec<String>>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub tags: Option<Vec<String>>,
}

/// The status of a WafPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WafPolicyStatus {
    /// What every resource has.
    #[serde(flatten)]
    pub resource: ResourceStatus,
    /// Of a policy with spec.crs: the version of the Core Rule Set that nodes have, such as 4.28.0. If they differ, all of
    /// them, separated by commas; the condition Programmed says how many nodes have which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crs_version: Option<String>,
}

/// The status of a WsRoute, and what every resource has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// The generation of the object that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted: the object is valid and holds what it claims. ResolvedRefs: everything it names exists. Programmed:
    /// every node runs this generation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How far the object has come on the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodesStatus>,
}

/// How many nodes run an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodesStatus {
    /// Programmed and desired nodes as one text, such as 12/12.
    #[serde(default)]
    pub summary: String,
    /// How many nodes should run the object.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub desired: i32,
    /// How many nodes run this generation of it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub programmed: i32,
    /// How many nodes refused this generation and run the last good one, or none.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub rejected: i32,
}
