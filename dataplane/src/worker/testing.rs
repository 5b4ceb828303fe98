//! A worker for tests that poll connections by hand: it has a configuration, which serves nothing.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use breakwater_cache::Cache;
use breakwater_waf::limit::Tables;
use tokio::sync::watch;

use super::{Clients, Control, Crew, Heartbeat, Parts, Worker};
use crate::config::Config;
use crate::peer::Peering;
use crate::telemetry::{LineLog, LogOptions, Metrics};
use crate::upstream::Fleet;

pub(crate) fn worker() -> Rc<Worker> {
    let cache = Cache::new(breakwater_cache::Config::new(1 << 20, 1));
    let tables = Arc::new(Tables::new(1));
    let fleet = Arc::new(Fleet::new(Instant::now(), Vec::new()));
    let audit_log = LineLog::open("audit", &LogOptions::new(Vec::new())).unwrap();
    let peering = Arc::new(Peering::new("node", Instant::now()));
    let metrics = Metrics::new(
        1,
        Vec::new(),
        Arc::clone(&cache),
        tables,
        fleet,
        Arc::new(crate::prefetch::Board::new(1, Duration::ZERO, 443)),
        peering,
        None,
        audit_log,
    );
    let control = Control {
        version: 1,
        config: Arc::new(Config::default()),
        locations: Arc::default(),
        accept: true,
        drain: false,
    };
    let heartbeat = Arc::<Heartbeat>::default();
    heartbeat.version.store(1, std::sync::atomic::Ordering::Relaxed);
    let parts = Parts {
        index: 0,
        started: Instant::now(),
        listeners: Vec::new(),
        max_connections: 64,
        clients: Clients::new(64, 64, 1),
        crew: Arc::new(Crew::new(std::slice::from_ref(&heartbeat))),
        memory_pressure: Arc::default(),
        control: watch::channel(control.clone()).1,
        applied: watch::channel(()).0,
        heartbeat,
        metrics: Arc::new(metrics),
        cache,
        reads: None,
        spools: None,
    };
    Rc::new(Worker::new(&parts, &control))
}
