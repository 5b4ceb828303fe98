//! A worker that nobody connects to: for tests that poll connections by hand, and for judging requests that were.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use breakwater_cache::Cache;
use breakwater_waf::limit::Tables;
use tokio::sync::watch;

use super::{Clients, Control, Crew, Heartbeat, Parts, Worker};
use crate::config::Config;
use crate::peer::Peering;
use crate::telemetry::{LineLog, Metrics};
use crate::upstream::Fleet;

/// Memory of its cache, bytes.
const MEMORY: u64 = 1 << 20;

/// Connections it has places for.
const CONNECTIONS: u64 = 64;

/// What such a worker counts with.
pub(crate) fn metrics(seed: u64, audit_log: LineLog) -> Arc<Metrics> {
    let cache = Cache::new(breakwater_cache::Config::new(MEMORY, u128::from(seed)));
    Arc::new(Metrics::new(
        1,
        Vec::new(),
        cache,
        Arc::new(Tables::new(seed)),
        Arc::new(Fleet::unkept()),
        Arc::new(crate::prefetch::Board::new(1, Duration::ZERO, 443)),
        Arc::new(Peering::new("node", Instant::now())),
        None,
        audit_log,
    ))
}

/// The worker, with this configuration.
pub(crate) fn worker(seed: u64, metrics: &Arc<Metrics>, config: Arc<Config>) -> Rc<Worker> {
    let control = Control {
        version: 1,
        config,
        locations: Arc::default(),
        accept: true,
        drain: None,
    };
    let heartbeat = Arc::<Heartbeat>::default();
    heartbeat.version.store(1, Ordering::Relaxed);
    let parts = Parts {
        index: 0,
        started: Instant::now(),
        listeners: Vec::new(),
        max_connections: CONNECTIONS,
        clients: Clients::new(CONNECTIONS, CONNECTIONS, seed),
        crew: Arc::new(Crew::new(std::slice::from_ref(&heartbeat))),
        memory_pressure: Arc::default(),
        control: watch::channel(control.clone()).1,
        applied: watch::channel(()).0,
        heartbeat,
        cache: Arc::clone(&metrics.cache),
        metrics: Arc::clone(metrics),
        reads: None,
        spools: None,
    };
    Rc::new(Worker::new(&parts, &control))
}
