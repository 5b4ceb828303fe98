//! A worker's thread: the worker, and another in its place when it dies.
//!
//! Invariant: listening sockets outlive the worker, so connections that wait there survive it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use breakwater_cache::Cache;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::disk::Reads;
use crate::listen::Listener;
use crate::spool::Spools;
use crate::telemetry::Metrics;
use crate::worker::{self, Clients, Control, Crew, Heartbeat, Parts};

/// One worker's listening sockets, shared with whoever closes them.
pub(super) type Listeners = Arc<Mutex<Vec<Listener>>>;

/// A worker and what it takes to start it again.
pub(super) struct Supervised {
    pub(super) index: usize,
    pub(super) started: Instant,
    pub(super) listeners: Listeners,
    pub(super) max_connections: u64,
    pub(super) clients: Arc<Clients>,
    pub(super) crew: Arc<Crew>,
    pub(super) memory_pressure: Arc<AtomicU8>,
    pub(super) control: watch::Receiver<Control>,
    pub(super) applied: watch::Sender<()>,
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) cache: Arc<Cache>,
    pub(super) reads: Option<Arc<Reads>>,
    pub(super) spools: Option<Spools>,
}

impl Supervised {
    /// Runs the worker, and another in its place when it dies, until it ends in order.
    pub(super) fn run(self, workers: usize) {
        pin(self.index, workers);
        loop {
            let begun = Instant::now();
            let ended = catch_unwind(AssertUnwindSafe(|| worker::run(self.parts()?)));
            match ended {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::error!(worker = self.index, %error, "the worker failed; replacing it"),
                Err(_) => tracing::error!(worker = self.index, "the worker panicked; replacing it"),
            }
            self.metrics.worker_restarts.fetch_add(1, Ordering::Relaxed);
            self.heartbeat.connections.store(0, Ordering::Relaxed);
            self.metrics.worker(self.index).lost();
            if begun.elapsed() < Duration::from_secs(1) {
                // What ended it may still be there: out of files, mostly.
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    }

    /// The listening sockets stay with the supervisor: connections that wait there survive the worker.
    fn parts(&self) -> std::io::Result<Parts> {
        Ok(Parts {
            index: self.index,
            started: self.started,
            listeners: self
                .listeners
                .lock()
                .iter()
                .map(Listener::try_clone)
                .collect::<Result<_, _>>()?,
            max_connections: self.max_connections,
            clients: Arc::clone(&self.clients),
            crew: Arc::clone(&self.crew),
            memory_pressure: Arc::clone(&self.memory_pressure),
            control: self.control.clone(),
            applied: self.applied.clone(),
            heartbeat: Arc::clone(&self.heartbeat),
            metrics: Arc::clone(&self.metrics),
            cache: Arc::clone(&self.cache),
            reads: self.reads.clone(),
            spools: self.spools.clone(),
        })
    }
}

/// Keeps a worker on one processor, if there is one for each.
fn pin(index: usize, workers: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let processors: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    if processors.len() < workers {
        return;
    }
    let Some(processor) = processors.get(index) else { return };
    let mut own = CpuSet::new();
    own.set(*processor);
    if let Err(error) = sched_setaffinity(None, &own) {
        tracing::debug!(%error, worker = index, "the worker is not pinned");
    }
}
