//! The registry of counters: who owns which cells.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use breakwater_cache::Cache;
use breakwater_waf::limit::Tables;
use parking_lot::Mutex;

use super::rule_cells::RuleCells;
use super::{LineLog, ResourceCells, WorkerCells};
use crate::geo::DatabaseState;
use crate::peer::Peering;
use crate::prefetch::Board;
use crate::upstream::Fleet;

/// Series of resources and policies that no longer exist are kept up to this many of each kind.
const MAX_SERIES: usize = 50_000;

/// Every counter of the process. Locked only when a configuration is applied and at a scrape.
pub(crate) struct Metrics {
    workers: Mutex<Vec<Worker>>,
    /// Where clients and other nodes connect.
    pub(crate) listeners: Vec<SocketAddr>,
    policies: Mutex<BTreeMap<String, Arc<PolicyCells>>>,
    snapshot: Mutex<SnapshotState>,
    /// When the certificates in force expire, Unix seconds, by `namespace/name` of their Secret.
    certificates: Mutex<BTreeMap<String, i64>>,
    /// The databases of places.
    databases: Mutex<Vec<DatabaseState>>,
    pub(crate) worker_restarts: AtomicU64,
    /// Bytes of memory used, and the ceiling; 0 is not known.
    pub(crate) memory_used: AtomicU64,
    pub(crate) memory_limit: AtomicU64,
    /// Bytes of bodies that are held back for rules.
    pub(crate) held_back: Arc<AtomicU64>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) prefetch: Arc<Board>,
    pub(crate) peering: Arc<Peering>,
    pub(crate) access_log: Option<LineLog>,
    pub(crate) audit_log: LineLog,
}

struct Worker {
    cells: Arc<WorkerCells>,
    resources: BTreeMap<String, Arc<ResourceCells>>,
}

impl Worker {
    fn new(listeners: usize) -> Self {
        Self {
            cells: Arc::new(WorkerCells::new(listeners)),
            resources: BTreeMap::new(),
        }
    }
}

/// What is applied, for `snapshot_info` and its companions.
#[derive(Clone, Debug, Default)]
pub(crate) struct SnapshotState {
    pub(crate) digest: String,
    /// Unix time, seconds, of the last word that this configuration is current.
    pub(crate) confirmed_at: u64,
    pub(crate) rejected: usize,
}

impl Metrics {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another's to make, and it is called once"
    )]
    pub(crate) fn new(
        workers: usize,
        listeners: Vec<SocketAddr>,
        cache: Arc<Cache>,
        tables: Arc<Tables>,
        fleet: Arc<Fleet>,
        prefetch: Arc<Board>,
        peering: Arc<Peering>,
        access_log: Option<LineLog>,
        audit_log: LineLog,
    ) -> Self {
        Self {
            workers: Mutex::new((0..workers).map(|_| Worker::new(listeners.len())).collect()),
            listeners,
            policies: Mutex::default(),
            snapshot: Mutex::default(),
            certificates: Mutex::default(),
            databases: Mutex::default(),
            worker_restarts: AtomicU64::new(0),
            memory_used: AtomicU64::new(0),
            memory_limit: AtomicU64::new(0),
            held_back: Arc::default(),
            cache,
            tables,
            fleet,
            prefetch,
            peering,
            access_log,
            audit_log,
        }
    }

    /// The cells of one worker. A restarted worker gets those of its predecessor.
    pub(crate) fn worker(&self, worker: usize) -> Arc<WorkerCells> {
        let workers = self.workers.lock();
        workers.get(worker).map(|w| Arc::clone(&w.cells)).unwrap_or_default()
    }

    /// The number of a listener among those that are counted.
    pub(crate) fn listener(&self, address: SocketAddr) -> usize {
        let index = self.listeners.iter().position(|known| *known == address);
        index.unwrap_or(self.listeners.len())
    }

    /// One worker's cells of one resource.
    pub(crate) fn resource(&self, worker: usize, label: &str) -> Arc<ResourceCells> {
        let mut workers = self.workers.lock();
        let Some(worker) = workers.get_mut(worker) else {
            return Arc::default();
        };
        if let Some(cells) = worker.resources.get(label) {
            return Arc::clone(cells);
        }
        let cells = Arc::<ResourceCells>::default();
        if worker.resources.len() < MAX_SERIES {
            worker.resources.insert(label.to_owned(), Arc::clone(&cells));
        }
        cells
    }

    /// The cells of a policy, shared by all workers.
    pub(crate) fn policy(&self, label: &str, limits: &[&str]) -> Arc<PolicyCells> {
        let mut policies = self.policies.lock();
        match policies.get(label) {
            Some(cells) if cells.has(limits) => Arc::clone(cells),
            previous => {
                let cells = Arc::new(PolicyCells::new(limits, previous.map(Arc::as_ref)));
                if policies.len() < MAX_SERIES || policies.contains_key(label) {
                    policies.insert(label.to_owned(), Arc::clone(&cells));
                }
                cells
            }
        }
    }

    pub(crate) fn set_snapshot(&self, state: SnapshotState) {
        *self.snapshot.lock() = state;
    }

    /// Notes that the applied configuration is known to be current at `now`, Unix seconds.
    pub(crate) fn confirm_snapshot(&self, now: u64) {
        self.snapshot.lock().confirmed_at = now;
    }

    pub(crate) fn snapshot(&self) -> SnapshotState {
        self.snapshot.lock().clone()
    }

    pub(crate) fn set_certificates(&self, expiries: BTreeMap<String, i64>) {
        *self.certificates.lock() = expiries;
    }

    pub(crate) fn certificates(&self) -> BTreeMap<String, i64> {
        self.certificates.lock().clone()
    }

    pub(crate) fn set_databases(&self, databases: Vec<DatabaseState>) {
        *self.databases.lock() = databases;
    }

    pub(crate) fn databases(&self) -> Vec<DatabaseState> {
        self.databases.lock().clone()
    }

    pub(crate) fn worker_cells(&self) -> Vec<Arc<WorkerCells>> {
        self.workers.lock().iter().map(|w| Arc::clone(&w.cells)).collect()
    }

    /// Each resource with the cells every worker has of it.
    pub(crate) fn resource_cells(&self) -> BTreeMap<String, Vec<Arc<ResourceCells>>> {
        let mut all = BTreeMap::<String, Vec<_>>::new();
        for worker in self.workers.lock().iter() {
            for (label, cells) in &worker.resources {
                all.entry(label.clone()).or_default().push(Arc::clone(cells));
            }
        }
        all
    }

    pub(crate) fn policy_cells(&self) -> Vec<(String, Arc<PolicyCells>)> {
        let policies = self.policies.lock();
        policies
            .iter()
            .map(|(label, cells)| (label.clone(), Arc::clone(cells)))
            .collect()
    }
}

/// What is counted of a policy. Written by all workers, but only when a policy acts.
#[derive(Debug)]
pub(crate) struct PolicyCells {
    events: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    limits: Vec<(String, AtomicU64)>,
    penalties: AtomicU64,
    pub(crate) challenges: Arc<ChallengeCells>,
    pub(crate) rules: Arc<RuleCells>,
}

/// What is counted of a policy's challenges.
#[derive(Debug, Default)]
pub(crate) struct ChallengeCells {
    issued: AtomicU64,
    passed: AtomicU64,
    failed: AtomicU64,
}

impl ChallengeCells {
    /// A client was asked.
    pub(crate) fn issued(&self) {
        self.issued.fetch_add(1, Ordering::Relaxed);
    }

    /// A request came with an answer, which was looked at.
    pub(crate) fn answered(&self, proved: bool) {
        let cell = if proved { &self.passed } else { &self.failed };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn all(&self) -> [(&'static str, u64); 3] {
        [
            ("issued", &self.issued),
            ("passed", &self.passed),
            ("failed", &self.failed),
        ]
        .map(|(result, cell)| (result, cell.load(Ordering::Relaxed)))
    }
}

impl PolicyCells {
    fn new(limits: &[&str], previous: Option<&Self>) -> Self {
        let count = |name: &str| previous.map_or(0, |p| p.refusals_of(name));
        Self {
            events: Mutex::new(previous.map(|p| p.events.lock().clone()).unwrap_or_default()),
            limits: limits
                .iter()
                .map(|name| ((*name).to_owned(), AtomicU64::new(count(name))))
                .collect(),
            penalties: AtomicU64::new(previous.map_or(0, Self::penalties)),
            challenges: previous.map(|p| Arc::clone(&p.challenges)).unwrap_or_default(),
            rules: previous.map(|p| Arc::clone(&p.rules)).unwrap_or_default(),
        }
    }

    fn has(&self, limits: &[&str]) -> bool {
        limits
            .iter()
            .all(|name| self.limits.iter().any(|(known, _)| known == name))
    }

    fn refusals_of(&self, limit: &str) -> u64 {
        let found = self.limits.iter().find(|(name, _)| name == limit);
        found.map_or(0, |(_, count)| count.load(Ordering::Relaxed))
    }

    /// Counts an event: `action` is block, detect or challenge.
    pub(crate) fn event(&self, action: &'static str, reason: &'static str) {
        *self.events.lock().entry((action, reason)).or_default() += 1;
    }

    pub(crate) fn refused_by(&self, limit: &str) {
        if let Some((_, count)) = self.limits.iter().find(|(name, _)| name == limit) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a client that came under the penalty.
    pub(crate) fn penalized(&self) {
        self.penalties.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn penalties(&self) -> u64 {
        self.penalties.load(Ordering::Relaxed)
    }

    pub(crate) fn events(&self) -> Vec<((&'static str, &'static str), u64)> {
        self.events.lock().iter().map(|(key, n)| (*key, *n)).collect()
    }

    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&str, u64)> {
        self.limits
            .iter()
            .map(|(name, count)| (name.as_str(), count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_gains_a_limit_keeps_its_counts() {
        let first = PolicyCells::new(&["login"], None);
        first.refused_by("login");
        first.event("block", "limit");
        first.penalized();
        let second = PolicyCells::new(&["login", "search"], Some(&first));
        assert_eq!(second.refusals().collect::<Vec<_>>(), [("login", 1), ("search", 0)]);
        assert_eq!(
            (second.events(), second.penalties()),
            (vec![(("block", "limit"), 1)], 1)
        );
    }
}
