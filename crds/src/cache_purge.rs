//! CachePurge: a request to forget stored responses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which stored responses of which EdgeCache every node forgets, once.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "breakwater.dev",
    version = "v1alpha1",
    kind = "CachePurge",
    plural = "cachepurges",
    namespaced,
    status = "CachePurgeStatus",
    derive = "PartialEq",
    doc = "A CachePurge makes every node forget stored responses of an EdgeCache, once, and counts the nodes that have done so. The newest 1,000 of a cluster are carried out; delete those that are complete.",
    shortname = "cpurge",
    category = "edge",
    printcolumn(
        name = "EdgeCache",
        type_ = "string",
        json_path = ".spec.edgeCacheRef.name",
        description = "Whose responses are forgotten."
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.mode",
        description = "How they are forgotten.",
        priority = 1
    ),
    printcolumn(
        name = "Complete",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Complete\")].status",
        description = "Whether every node has done it."
    ),
    printcolumn(
        name = "Done",
        type_ = "integer",
        json_path = ".status.nodes.done",
        description = "Nodes that have done it."
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.nodes.desired",
        description = "Nodes that must do it."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.urls), has(self.prefixes), has(self.tags), has(self.everything)].exists_one(given, given)",
        "message": "name exactly one of urls, prefixes, tags and everything",
    },
    {
        "rule": "self == oldSelf",
        "message": "a purge is carried out once and cannot be changed: create another one",
    },
]))]
pub struct CachePurgeSpec {
    /// The EdgeCache whose responses are forgotten, in the purge's own namespace.
    pub edge_cache_ref: EdgeCacheRef,
    /// Absolute URLs; all variants of each are forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 8, max = 4096)), extend("x-kubernetes-list-type" = "set"))]
    pub urls: Option<Vec<String>>,
    /// Paths with all that is below them, by whole segments: `https://shop.example.com/static` reaches /static and
    /// /static/app.js, not /statics. Scheme and port do not count. Without a host, such as /static: on every host of the
    /// EdgeCache. Segments beyond the sixteenth are not told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 4096)), extend("x-kubernetes-list-type" = "set"))]
    pub prefixes: Option<Vec<String>>,
    /// Tags; every response that carries one of them is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub tags: Option<Vec<String>>,
    /// Forget every response of the EdgeCache. The only value is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self",
        "message": "the only value is true: leave the field out and name urls, prefixes or tags",
    }]))]
    pub everything: Option<bool>,
    /// How responses are forgotten. Hard: the next request goes to the origin. Soft: they become stale; they are
    /// validated at the next use, and served meanwhile where staleness is allowed.
    #[serde(default)]
    pub mode: PurgeMode,
}

/// An EdgeCache of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeCacheRef {
    /// The EdgeCache's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How responses are forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PurgeMode {
    /// The next request goes to the origin.
    #[default]
    Hard,
    /// The next request has them validated; they are served stale where that is allowed.
    Soft,
}

/// How far a purge has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CachePurgeStatus {
    /// The generation of the object that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted: the purge is valid and its EdgeCache exists. Complete: every node has carried it out; never taken
    /// back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many nodes have carried it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<PurgeNodes>,
}

/// How many nodes have carried out a purge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PurgeNodes {
    /// How many nodes must do it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub desired: i32,
    /// How many have done it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub done: i32,
}
