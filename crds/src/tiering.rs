//! Tiering: who is asked for what a node has not stored, before the origin.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{HealthCheck, HttpUrl, OriginTls};

/// Who is asked for what a node has not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.parent) == (has(self.mode) && self.mode == 'Parent')",
    "message": "parent says who is asked with mode: Parent: give it there, and only there",
}]))]
pub struct Tiering {
    /// Local: the origin. Owner: the node that owns the URL among all nodes, which asks the origin once for all of them;
    /// the origin, when that node does not answer. Parent: a first level of caches, which asks the origin.
    #[serde(default)]
    pub mode: TieringMode,
    /// The first level, with mode: Parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// Who is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TieringMode {
    /// The origin.
    #[default]
    Local,
    /// The node that owns the URL.
    Owner,
    /// A first level of caches.
    Parent,
}

/// The first level of two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.nodes) != has(self.urls)",
        "message": "name exactly one of nodes and urls",
    },
    {
        "rule": "!has(self.urls) || self.urls.all(url, url.startsWith('http://')) || self.urls.all(url, url.startsWith('https://'))",
        "message": "urls are all http:// or all https://",
        "fieldPath": ".urls",
    },
    {
        "rule": "!has(self.tls) || has(self.urls) && self.urls.all(url, url.startsWith('https://'))",
        "message": "tls is spoken to https:// urls: write them, or leave tls out",
        "fieldPath": ".tls",
    },
    {
        "rule": "!has(self.health) || has(self.urls)",
        "message": "health is checked of urls; nodes tell theirs: leave health out",
        "fieldPath": ".health",
    },
]))]
pub struct Parent {
    /// Nodes of this cluster: those that are selected ask the origin, all others ask them. Every URL has one of them that
    /// is asked for it, and a second in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeSelector>,
    /// Another edge, such as one of another cluster, by URL: http://host:port, or https://host:port for TLS; all of one
    /// scheme. It is asked as if it were the origin, for everything. Of several, each is asked for its part of the paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub urls: Option<Vec<HttpUrl>>,
    /// TLS towards urls. https:// in urls turns it on as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<OriginTls>,
    /// Active health checks of urls. Without them each is taken to be well until requests fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// What is done when nobody of the first level answers.
    #[serde(default)]
    pub fallback: ParentFallback,
}

/// Nodes by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// Labels that a Node has, all of them. With breakwater up: those given with --peer-of and --node-label.
    #[schemars(schema_with = "labels")]
    pub match_labels: BTreeMap<String, String>,
}

/// What is done when nobody of the first level answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ParentFallback {
    /// The origin is asked.
    #[default]
    Origin,
    /// What is stale stands in where it may; else 502 or 504.
    None,
}

fn labels(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": 63},
        "minProperties": 1,
        "maxProperties": 8,
    })
}
