//! `GET /v1/cache`: what the store holds, by tier, and how each EdgeCache does, since the process started.
//!
//! Bounded: [`MAX_RESOURCES`] EdgeCaches in the order of their names; `?edgeCache=namespace/name` asks for one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Admin;
use crate::telemetry::{CacheResult, ResourceCells};

/// EdgeCaches in one answer.
const MAX_RESOURCES: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    edge_cache: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    tiers: Vec<Tier>,
    fills: Fills,
    purge_marks: usize,
    edge_caches: Vec<EdgeCache>,
    /// There are more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Debug, Serialize)]
struct Tier {
    tier: &'static str,
    bytes: u64,
    limit: u64,
    objects: u64,
    evictions: u64,
}

#[derive(Debug, Serialize)]
struct Fills {
    running: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EdgeCache {
    edge_cache: String,
    /// By result of the look-up.
    requests: BTreeMap<&'static str, u64>,
    /// Content sent, by result of the look-up.
    bytes: BTreeMap<&'static str, u64>,
    /// What was answered from the store, stale or confirmed by the origin too; null before the first request.
    hit_ratio: Option<f64>,
    /// The same of bytes.
    byte_hit_ratio: Option<f64>,
    collapsed: u64,
    origin_requests: u64,
    origin_failures: u64,
    origin_bytes: u64,
    not_stored: BTreeMap<&'static str, u64>,
}

pub(super) async fn get(State(admin): State<Arc<Admin>>, Query(asked): Query<Asked>) -> Response {
    let metrics = &admin.data_plane.metrics;
    let stats = metrics.cache.stats();
    let wanted = |name: &str| asked.edge_cache.as_deref().is_none_or(|wanted| wanted == name);
    let mut edge_caches: Vec<_> = metrics
        .resource_cells()
        .into_iter()
        .filter_map(|(label, workers)| {
            let name = label.strip_prefix("EdgeCache/")?;
            wanted(name).then(|| EdgeCache::new(name, &workers))
        })
        .take(MAX_RESOURCES + 1)
        .collect();
    let truncated = edge_caches.len() > MAX_RESOURCES;
    edge_caches.truncate(MAX_RESOURCES);
    let ram = Tier {
        tier: "ram",
        bytes: stats.ram.bytes,
        limit: stats.ram.limit,
        objects: stats.ram.objects,
        evictions: stats.ram.evictions,
    };
    let disk = stats.disk.map(|disk| Tier {
        tier: "disk",
        bytes: disk.bytes,
        limit: disk.limit,
        objects: disk.objects,
        evictions: disk.evictions,
    });
    Json(Answer {
        tiers: [Some(ram), disk].into_iter().flatten().collect(),
        fills: Fills {
            running: stats.fills.in_flight,
            bytes: stats.fills.buffered,
        },
        purge_marks: metrics.cache.epochs().marks(),
        edge_caches,
        truncated,
    })
    .into_response()
}

impl EdgeCache {
    fn new(name: &str, workers: &[Arc<ResourceCells>]) -> Self {
        let total = |read: &dyn Fn(&ResourceCells) -> u64| workers.iter().map(|cells| read(cells)).sum::<u64>();
        let by_result = |read: &dyn Fn(&ResourceCells, CacheResult) -> u64| {
            CacheResult::ALL
                .map(|result| (result.label(), total(&|cells| read(cells, result))))
                .into()
        };
        let requests = by_result(&|cells, result| cells.cache(result).get());
        let bytes = by_result(&|cells, result| cells.cache_bytes(result).get());
        let mut not_stored = BTreeMap::new();
        for (reason, n) in workers.iter().flat_map(|cells| cells.reasons_not_stored()) {
            *not_stored.entry(reason).or_default() += n;
        }
        Self {
            edge_cache: name.to_owned(),
            hit_ratio: ratio(&requests),
            byte_hit_ratio: ratio(&bytes),
            requests,
            bytes,
            collapsed: total(&|cells| cells.collapsed.get()),
            origin_requests: total(&|cells| cells.origin.seen().map(|(_, n)| n).sum()),
            origin_failures: total(&|cells| cells.origin_failures.get()),
            origin_bytes: total(&|cells| cells.origin_bytes.get()),
            not_stored,
        }
    }
}

/// How much of it came from the store.
fn ratio(by_result: &BTreeMap<&'static str, u64>) -> Option<f64> {
    let from_store = [CacheResult::Hit, CacheResult::Stale, CacheResult::Revalidated];
    let all: u64 = by_result.values().sum();
    let stored: u64 = from_store
        .iter()
        .filter_map(|result| by_result.get(result.label()))
        .sum();
    (all > 0).then(|| stored as f64 / all as f64)
}
