//! Prefetch: what nodes fetch into their caches before a client asks for it, and how far they are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{HeaderField, HeaderName};

/// What nodes fetch into their caches before a client asks for it. Each node walks through the list when it starts, when
/// the list changes, when everything was purged, and by the schedule; what is stored and fresh is not fetched again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.urls) && self.urls.size() > 0 || has(self.sitemaps) && self.sitemaps.size() > 0",
    "message": "there is nothing to fetch: give urls or sitemaps",
}]))]
pub struct Prefetch {
    /// Pages: paths with or without a query (/app.js), asked for at each of the hostnames that is no wildcard; or
    /// absolute URLs of a host that the object serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 2048)), extend("x-kubernetes-list-type" = "set"))]
    pub urls: Vec<String>,
    /// Sitemaps, written like urls. The pages they list of their own host are fetched, 50,000 for the object at the most.
    /// A sitemap index is followed, one level deep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 2048)), extend("x-kubernetes-list-type" = "set"))]
    pub sitemaps: Vec<String>,
    /// When the list is walked through again, as five fields of cron in UTC: minute, hour, day of month, month, day of
    /// week. Without it only for the other reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 256))]
    pub schedule: Option<String>,
    /// How fast each node goes.
    #[serde(default)]
    pub rate: PrefetchRate,
    /// Each URL is asked for once with the header fields of each variant: what is stored answers clients that send the
    /// same, where the response varies by a field or the field is in the key. The default is one variant with the
    /// Accept-Encoding that browsers send.
    #[serde(default = "Prefetch::variants")]
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub variants: Vec<PrefetchVariant>,
}

impl Prefetch {
    fn variants() -> Vec<PrefetchVariant> {
        vec![PrefetchVariant {
            headers: vec![HeaderField {
                name: HeaderName::from("Accept-Encoding"),
                value: "gzip, deflate, br, zstd".to_owned(),
            }],
        }]
    }
}

/// How fast a node goes through a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrefetchRate {
    /// Requests to the origin that a node begins in a second.
    #[serde(default = "PrefetchRate::requests_per_second")]
    #[schemars(range(min = 1, max = 1000))]
    pub requests_per_second: u32,
    /// Requests to the origin that a node has in progress at once.
    #[serde(default = "PrefetchRate::concurrency")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: u32,
}

impl PrefetchRate {
    const fn requests_per_second() -> u32 {
        10
    }

    const fn concurrency() -> u32 {
        4
    }
}

impl Default for PrefetchRate {
    fn default() -> Self {
        Self {
            requests_per_second: Self::requests_per_second(),
            concurrency: Self::concurrency(),
        }
    }
}

/// A variant of each URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrefetchVariant {
    /// The header fields of its requests. Fields that frame a message or make it a request for less than the whole
    /// (Host, Content-Length, Range, If-None-Match and the like), and Authorization, cannot be given.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub headers: Vec<HeaderField>,
}

/// How far the nodes are with a list. Requests are counted over all nodes, each node's in its run in progress, or else
/// in its last one; a URL with two variants is two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrefetchStatus {
    /// How many nodes have walked through the list.
    #[serde(default)]
    pub nodes: PrefetchNodes,
    /// Requests to make, as far as known: sitemaps add to them when they are read.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub urls: i32,
    /// Those that the origin answered with something that is stored now, confirmations of stale responses included.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub fetched: i32,
    /// Those that were stored and fresh already.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub fresh: i32,
    /// Those that have left nothing of use in the cache; the condition Prefetched says why.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failed: i32,
    /// When the last of the nodes was through with the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_completion_time: Option<Time>,
    /// When a node next tries again what has failed: 30 s after, then after twice as long each time, 10 minutes at most,
    /// until it succeeds or the whole list is walked through again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry_time: Option<Time>,
}

/// How many nodes have walked through a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrefetchNodes {
    /// How many should.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub desired: i32,
    /// How many have, at least once.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub done: i32,
}
