//! Counters as plain cells.
//!
//! A worker is the only writer of its cells, so adding is a load and a store without a locked instruction; a scrape
//! reads them from another thread and may miss what is being added, never more. Cells of a resource live as long as
//! the process: a resource that goes and comes back continues its counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::listen::Door;
use crate::upstream::Refusal;

/// A counter or gauge with one writer.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`. Only the owning worker may call this.
    pub(crate) fn add(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` from a gauge. Only the owning worker may call this.
    pub(crate) fn sub(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).saturating_sub(n), Ordering::Relaxed);
    }

    /// Reads from any thread.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The statuses that are counted by name; any other counts as the last, `other`.
pub(crate) const CODES: [u16; 49] = [
    100, 101, 103, 200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406,
    408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 425, 426, 429, 431, 451, 499, 500, 501, 502, 503, 504,
    505, 507, 508,
];

const SLOT_OF_CODE: [u8; 600] = {
    let mut slots = [CODES.len() as u8; 600];
    let mut i = 0;
    while i < CODES.len() {
        slots[CODES[i] as usize] = i as u8;
        i += 1;
    }
    slots
};

/// A counter for each status.
#[derive(Debug)]
pub(crate) struct ByCode([Cell; CODES.len() + 1]);

impl Default for ByCode {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Cell::default()))
    }
}

impl ByCode {
    pub(crate) fn add(&self, code: u16) {
        let slot = SLOT_OF_CODE
            .get(usize::from(code))
            .copied()
            .unwrap_or(CODES.len() as u8);
        if let Some(cell) = self.0.get(usize::from(slot)) {
            cell.add(1);
        }
    }

    /// The statuses seen at least once, with their counts.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0
            .iter()
            .enumerate()
            .map(|(slot, cell)| (code_label(slot), cell.get()))
            .filter(|(_, count)| *count > 0)
    }
}

fn code_label(slot: usize) -> &'static str {
    const LABELS: [&str; CODES.len()] = [
        "100", "101", "103", "200", "201", "202", "203", "204", "205", "206", "300", "301", "302", "303", "304", "307",
        "308", "400", "401", "403", "404", "405", "406", "408", "409", "410", "411", "412", "413", "414", "415", "416",
        "417", "421", "422", "425", "426", "429", "431", "451", "499", "500", "501", "502", "503", "504", "505", "507",
        "508",
    ];
    LABELS.get(slot).copied().unwrap_or("other")
}

/// Upper bounds of the duration buckets, seconds.
pub(crate) const BUCKETS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

const BUCKETS_NS: [u64; BUCKETS.len()] = {
    let mut bounds = [0; BUCKETS.len()];
    let mut i = 0;
    while i < BUCKETS.len() {
        bounds[i] = (BUCKETS[i] * 1e9) as u64;
        i += 1;
    }
    bounds
};

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The bucket of [`BUCKETS`] that a duration falls into; their number, when none covers it.
pub(crate) fn bucket_of(duration: Duration) -> usize {
    let ns = nanos(duration);
    let bucket = BUCKETS_NS.iter().position(|bound| ns <= *bound);
    bucket.unwrap_or(BUCKETS.len())
}

/// A histogram of durations.
#[derive(Debug)]
pub(crate) struct Durations {
    buckets: [Cell; BUCKETS.len() + 1],
    sum_ns: Cell,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Cell::default()),
            sum_ns: Cell::default(),
        }
    }
}

impl Durations {
    pub(crate) fn observe(&self, duration: Duration) {
        if let Some(cell) = self.buckets.get(bucket_of(duration)) {
            cell.add(1);
        }
        self.sum_ns.add(nanos(duration));
    }

    /// Counts per bucket, not cumulative; the last is what no bound covers. And the sum, seconds.
    pub(crate) fn read(&self) -> (Vec<u64>, f64) {
        let counts = self.buckets.iter().map(Cell::get).collect();
        (counts, self.sum_ns.get() as f64 / 1e9)
    }
}

/// How the cache answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheResult {
    Hit,
    Miss,
    Stale,
    Revalidated,
    Bypass,
}

impl CacheResult {
    pub(crate) const ALL: [Self; 5] = [Self::Hit, Self::Miss, Self::Stale, Self::Revalidated, Self::Bypass];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Bypass => "bypass",
        }
    }
}

/// What became of something that was to be fetched before a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefetchResult {
    /// Something new is stored.
    Fetched,
    /// What was stored is confirmed.
    Revalidated,
    /// Something fresh was stored already.
    Fresh,
    /// The cache has nothing of use.
    Failed,
}

impl PrefetchResult {
    pub(crate) const ALL: [Self; 4] = [Self::Fetched, Self::Revalidated, Self::Fresh, Self::Failed];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Revalidated => "revalidated",
            Self::Fresh => "fresh",
            Self::Failed => "failed",
        }
    }
}

/// What became of a request to the edge before an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParentResult {
    /// It answered.
    Answered,
    /// It did not.
    Failed,
    /// It was not asked, because it failed of late.
    Resting,
}

impl ParentResult {
    pub(crate) const ALL: [Self; 3] = [Self::Answered, Self::Failed, Self::Resting];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Resting => "resting",
        }
    }
}

/// What one worker counts of one resource.
#[derive(Debug, Default)]
pub(crate) struct ResourceCells {
    pub(crate) requests: ByCode,
    pub(crate) durations: Durations,
    pub(crate) origin: ByCode,
    pub(crate) origin_failures: Cell,
    /// Attempts that failed, by reason: labels of a fixed set.
    origin_faults: Mutex<BTreeMap<&'static str, u64>>,
    /// Servers that were made to rest.
    pub(crate) origin_ejections: Cell,
    /// Requests sent to servers of which none was well.
    pub(crate) origin_panics: Cell,
    pub(crate) origin_retries: Cell,
    /// Retries the budget had no room for.
    pub(crate) origin_retries_refused: Cell,
    origin_refusals: [Cell; Refusal::ALL.len()],
    pub(crate) collapsed: Cell,
    /// Responses that were read from the disk.
    pub(crate) from_disk: Cell,
    /// Shared fetches that are under way.
    pub(crate) fetches: Cell,
    /// Stale responses that are served while they are validated: validations that were begun for it.
    pub(crate) revalidated_behind: Cell,
    /// Answers that met damage on the disk: fetched anew, gone on with from the origin, and cut short.
    pub(crate) damaged_refetched: Cell,
    pub(crate) damaged_mended: Cell,
    pub(crate) damaged_cut: Cell,
    /// Bytes that went into encoders, and that came out.
    pub(crate) compressed_in: Cell,
    pub(crate) compressed_out: Cell,
    /// Responses that went as they were because there were too many encoders.
    pub(crate) compression_skipped: Cell,
    /// Content that came from the origin.
    pub(crate) origin_bytes: Cell,
    cache: [Cell; CacheResult::ALL.len()],
    cache_bytes: [Cell; CacheResult::ALL.len()],
    not_stored: Mutex<BTreeMap<&'static str, u64>>,
    prefetch: [Cell; PrefetchResult::ALL.len()],
    parent: [Cell; ParentResult::ALL.len()],
    pub(crate) websockets_opened: Cell,
    pub(crate) websockets_closed: Cell,
    /// Live counters of every relay of this resource on this worker.
    pub(crate) websocket_traffic: Arc<breakwater_websocket::Counters>,
    websocket_closes: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

impl ResourceCells {
    pub(crate) fn cache(&self, result: CacheResult) -> &Cell {
        &self.cache[result as usize]
    }

    /// Counts a request that the origin gave no usable answer to.
    pub(crate) fn origin_failed(&self, reason: &'static str) {
        self.origin_failures.add(1);
        self.origin_attempt_failed(reason);
    }

    /// Counts an attempt that failed and is followed by another.
    pub(crate) fn origin_attempt_failed(&self, reason: &'static str) {
        *self.origin_faults.lock().entry(reason).or_default() += 1;
    }

    pub(crate) fn origin_faults(&self) -> Vec<(&'static str, u64)> {
        self.origin_faults
            .lock()
            .iter()
            .map(|(reason, n)| (*reason, *n))
            .collect()
    }

    /// Content sent to clients.
    pub(crate) fn cache_bytes(&self, result: CacheResult) -> &Cell {
        &self.cache_bytes[result as usize]
    }

    /// Counts a fetch whose answer was not stored, by a reason of a fixed set.
    pub(crate) fn not_stored(&self, reason: &'static str) {
        *self.not_stored.lock().entry(reason).or_default() += 1;
    }

    pub(crate) fn reasons_not_stored(&self) -> Vec<(&'static str, u64)> {
        self.not_stored.lock().iter().map(|(reason, n)| (*reason, *n)).collect()
    }

    pub(crate) fn prefetch(&self, result: PrefetchResult) -> &Cell {
        &self.prefetch[result as usize]
    }

    pub(crate) fn parent(&self, result: ParentResult) -> &Cell {
        &self.parent[result as usize]
    }

    pub(crate) fn origin_refused(&self, reason: Refusal) -> &Cell {
        &self.origin_refusals[reason as usize]
    }

    /// Counts the end of a WebSocket: labels of fixed sets.
    pub(crate) fn websocket_closed(&self, code: &'static str, reason: &'static str) {
        self.websockets_closed.add(1);
        *self.websocket_closes.lock().entry((code, reason)).or_default() += 1;
    }

    pub(crate) fn websocket_closes(&self) -> Vec<((&'static str, &'static str), u64)> {
        self.websocket_closes.lock().iter().map(|(key, n)| (*key, *n)).collect()
    }
}

/// What one worker counts of the connections of one listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerCells {
    pub(crate) accepted: Cell,
    pub(crate) closed: Cell,
    /// Connections with a request in progress.
    pub(crate) active: Cell,
    /// Relayed WebSockets.
    pub(crate) websockets: Cell,
}

/// What one worker counts of itself.
#[derive(Debug, Default)]
pub(crate) struct WorkerCells {
    /// In the order of [`super::Metrics::listeners`].
    listeners: Box<[ListenerCells]>,
    /// Connections that were accepted and given to another worker.
    pub(crate) handed_over: Cell,
    /// How late the worker was of late, microseconds.
    pub(crate) lag_us: AtomicU64,
    /// Connections without a request in progress that were closed to make room.
    pub(crate) evicted: Cell,
    /// Connections at a PROXY header or a TLS handshake.
    pub(crate) beginning: Cell,
    /// Bytes by which windows for uploads over HTTP/2 are wider than at first.
    pub(crate) upload_windows: Cell,
    /// TLS handshakes that succeeded: 1.2, 1.2 resumed, 1.3, 1.3 resumed.
    handshakes: [Cell; 4],
    /// Requests that no resource serves.
    pub(crate) unrouted: ByCode,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl WorkerCells {
    pub(crate) fn new(listeners: usize) -> Self {
        Self {
            listeners: (0..listeners).map(|_| ListenerCells::default()).collect(),
            ..Self::default()
        }
    }

    /// What is counted of a listener.
    pub(crate) fn listener(&self, door: Door) -> Option<&ListenerCells> {
        self.listeners.get(door.number())
    }

    pub(crate) fn listeners(&self) -> &[ListenerCells] {
        &self.listeners
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> u64 {
        let open = |cells: &ListenerCells| cells.accepted.get().saturating_sub(cells.closed.get());
        self.listeners.iter().map(open).sum()
    }

    /// The worker died, and all its connections with it.
    pub(crate) fn lost(&self) {
        for cells in &self.listeners {
            cells
                .closed
                .add(cells.accepted.get().saturating_sub(cells.closed.get()));
            cells.active.sub(cells.active.get());
            cells.websockets.sub(cells.websockets.get());
        }
    }

    /// Counts a TLS handshake that succeeded.
    pub(crate) fn handshake(&self, tls13: bool, resumed: bool) {
        self.handshakes[usize::from(tls13) * 2 + usize::from(resumed)].add(1);
    }

    /// Handshakes by version and whether a session was resumed.
    pub(crate) fn handshakes(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        const LABELS: [(&str, &str); 4] = [("1.2", "false"), ("1.2", "true"), ("1.3", "false"), ("1.3", "true")];
        let counts = self.handshakes.iter().map(Cell::get);
        LABELS
            .into_iter()
            .zip(counts)
            .map(|((version, resumed), n)| (version, resumed, n))
    }

    /// Counts a refusal by its reason, a fixed set of names.
    pub(crate) fn refuse(&self, reason: &'static str) {
        *self.refused.lock().entry(reason).or_default() += 1;
    }

    pub(crate) fn refused(&self) -> Vec<(&'static str, u64)> {
        self.refused.lock().iter().map(|(reason, n)| (*reason, *n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counted_status_has_its_own_label() {
        for (slot, code) in CODES.iter().enumerate() {
            assert_eq!(code_label(slot), code.to_string());
        }
    }

    #[test]
    fn an_unknown_status_counts_as_other() {
        let codes = ByCode::default();
        for code in [200, 299, 999, 200] {
            codes.add(code);
        }
        assert_eq!(codes.seen().collect::<Vec<_>>(), [("200", 2), ("other", 2)]);
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_covers_it() {
        let durations = Durations::default();
        durations.observe(Duration::from_micros(100));
        durations.observe(Duration::from_secs(9));
        let (counts, sum) = durations.read();
        assert_eq!((counts[0], counts[BUCKETS.len()]), (1, 1));
        assert!((sum - 9.0001).abs() < 1e-9);
    }
}
