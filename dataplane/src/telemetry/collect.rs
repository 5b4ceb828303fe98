//! The scrape: sums the workers' cells into Prometheus metric families.
//!
//! Runs on the admin thread; it reads cells and takes no lock that a request waits for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use breakwater_cache::store::disk::DiskStats;
use breakwater_websocket::Side;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::cells::{BUCKETS, CacheResult, ParentResult, PrefetchResult};
use super::{Metrics, ResourceCells};
use crate::clock::unix_seconds;
use crate::upstream::Refusal;

/// Servers whose health is told by name.
const MAX_SERVERS: usize = 10_000;

/// Collects [`Metrics`] for a `prometheus::Registry`.
pub(crate) struct Collected {
    metrics: Arc<Metrics>,
    descriptions: Vec<Desc>,
    listener: String,
}

impl Collected {
    /// `listener` is the address that `connections{listener,state}` speaks of.
    pub(crate) fn new(metrics: Arc<Metrics>, listener: String) -> prometheus::Result<Self> {
        // A collector without descriptions is refused; one stands for all, since families are made at scrape.
        let description = Desc::new(
            "breakwater_dataplane".to_owned(),
            "Data plane counters".to_owned(),
            Vec::new(),
            std::collections::HashMap::new(),
        )?;
        Ok(Self {
            metrics,
            descriptions: vec![description],
            listener,
        })
    }
}

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        resources(&self.metrics, &mut families);
        workers(&self.metrics, &self.listener, &mut families);
        policies(&self.metrics, &mut families);
        health(&self.metrics, &mut families);
        prefetch(&self.metrics, &mut families);
        peers(&self.metrics, &mut families);
        process(&self.metrics, &mut families);
        families.done()
    }
}

fn resources(metrics: &Metrics, out: &mut Families) {
    for (resource, workers) in metrics.resource_cells() {
        let r = resource.as_str();
        for (code, n) in sum(workers.iter().flat_map(|cells| cells.requests.seen())) {
            out.counter(
                "requests_total",
                "Requests answered, by status.",
                &[("resource", r), ("code", code)],
                n,
            );
        }
        out.histogram(
            "request_duration_seconds",
            "Time from a request's head to the last byte handed to the kernel.",
            &[("resource", r)],
            workers.iter().map(|cells| cells.durations.read()),
        );
        for (code, n) in sum(workers.iter().flat_map(|cells| cells.origin.seen())) {
            let labels = [("resource", r), ("code", code)];
            out.counter(
                "origin_requests_total",
                "Requests to the origin, by its status; `error` means none.",
                &labels,
                n,
            );
        }
        let failures = total(&workers, |cells| cells.origin_failures.get());
        if failures > 0 {
            let labels = [("resource", r), ("code", "error")];
            out.counter("origin_requests_total", "", &labels, failures);
        }
        for (reason, n) in sum(workers.iter().flat_map(|cells| cells.origin_faults())) {
            let labels = [("resource", r), ("reason", reason)];
            out.counter(
                "origin_failures_total",
                "Attempts at the origin that failed, by reason; those that were tried again too.",
                &labels,
                n,
            );
        }
        origins(r, &workers, out);
        parents(r, &workers, out);
        if r.starts_with("EdgeCache/") {
            for result in CacheResult::ALL {
                let labels = [("resource", r), ("result", result.label())];
                let n = total(&workers, |cells| cells.cache(result).get());
                out.counter("cache_requests_total", "Cache look-ups, by result.", &labels, n);
                let n = total(&workers, |cells| cells.cache_bytes(result).get());
                out.counter(
                    "cache_response_bytes_total",
                    "Bytes of content sent to clients, by result of the look-up.",
                    &labels,
                    n,
                );
            }
            let n = total(&workers, |cells| cells.origin_bytes.get());
            out.counter(
                "origin_response_bytes_total",
                "Bytes of content that came from the origin.",
                &[("resource", r)],
                n,
            );
            for (reason, n) in sum(workers.iter().flat_map(|cells| cells.reasons_not_stored())) {
                out.counter(
                    "cache_not_stored_total",
                    "Answers to shared fetches that were not stored, by reason.",
                    &[("resource", r), ("reason", reason)],
                    n,
                );
            }
            let n = total(&workers, |cells| cells.from_disk.get());
            if metrics.cache.disk().is_some() || n > 0 {
                out.counter(
                    "cache_disk_loads_total",
                    "Look-ups that memory did not answer and the disk did.",
                    &[("resource", r)],
                    n,
                );
            }
            let n = total(&workers, |cells| cells.collapsed.get());
            out.counter(
                "cache_collapsed_total",
                "Requests that waited for another's fill.",
                &[("resource", r)],
                n,
            );
        }
        compression(r, &workers, &mut *out);
        if r.starts_with("WsRoute/") {
            websockets(r, &workers, out);
        }
    }
}

/// What happens towards an origin that limits something; nothing of one that never had to.
fn origins(resource: &str, workers: &[Arc<ResourceCells>], out: &mut Families) {
    let labels = [("resource", resource)];
    let mut some = |name, help: &str, n: u64| {
        if n > 0 {
            out.counter(name, help, &labels, n);
        }
    };
    some(
        "origin_ejections_total",
        "Servers made to rest after failures in a row.",
        total(workers, |cells| cells.origin_ejections.get()),
    );
    some(
        "origin_panics_total",
        "Requests sent although no server was well.",
        total(workers, |cells| cells.origin_panics.get()),
    );
    some(
        "origin_retries_total",
        "Further attempts of requests.",
        total(workers, |cells| cells.origin_retries.get()),
    );
    some(
        "origin_retries_refused_total",
        "Retries that the budget had no room for.",
        total(workers, |cells| cells.origin_retries_refused.get()),
    );
    for reason in Refusal::ALL {
        let n = total(workers, |cells| cells.origin_refused(reason).get());
        if n > 0 {
            let labels = [("resource", resource), ("reason", reason.label())];
            out.counter(
                "origin_refusals_total",
                "Requests that the origin's limits did not let through.",
                &labels,
                n,
            );
        }
    }
}

/// Of resources with another edge before their origin.
fn parents(resource: &str, workers: &[Arc<ResourceCells>], out: &mut Families) {
    let counts = ParentResult::ALL.map(|result| (result, total(workers, |cells| cells.parent(result).get())));
    if counts.iter().all(|(_, n)| *n == 0) {
        return;
    }
    for (result, n) in counts {
        out.counter(
            "parent_requests_total",
            "Requests to the edge before the origin, by what became of them.",
            &[("resource", resource), ("result", result.label())],
            n,
        );
    }
}

/// What nodes ask each other; nothing of a node that knows no other.
fn peers(metrics: &Metrics, out: &mut Families) {
    let (members, resting) = metrics.peering.members();
    let counts = metrics.peering.counts.all();
    if members == 0 && counts.iter().all(|(_, _, n)| *n == 0) {
        return;
    }
    for (state, n) in [("ready", members - resting), ("resting", resting)] {
        let help = "Nodes that may be asked for what is not stored, this one included; those that failed rest.";
        out.gauge("peers", help, &[("state", state)], n as f64);
    }
    for (direction, result, n) in counts {
        out.counter(
            "peer_requests_total",
            "Requests to other nodes and from them, by what became of them.",
            &[("direction", direction), ("result", result)],
            n,
        );
    }
}

/// The servers that are actively checked.
fn health(metrics: &Metrics, out: &mut Families) {
    let origins = metrics.fleet.origins();
    let servers = origins.iter().flat_map(|origin| {
        origin
            .checked()
            .into_iter()
            .map(|checked| (origin.label.as_str(), checked))
    });
    for (resource, (server, healthy)) in servers.take(MAX_SERVERS) {
        let server = server.to_string();
        let labels = [("resource", resource), ("server", server.as_str())];
        out.gauge(
            "origin_healthy",
            "Whether a server's health checks find it well.",
            &labels,
            f64::from(u8::from(healthy)),
        );
    }
}

/// Of EdgeCaches with a list, and of those that had one.
fn prefetch(metrics: &Metrics, out: &mut Families) {
    for (resource, workers) in metrics.resource_cells() {
        for result in PrefetchResult::ALL {
            let n = total(&workers, |cells| cells.prefetch(result).get());
            if n > 0 {
                let labels = [("resource", resource.as_str()), ("result", result.label())];
                let help = "URLs that were to be stored before a client asks, by what became of them.";
                out.counter("prefetch_requests_total", help, &labels, n);
            }
        }
    }
    for progress in metrics.prefetch.all() {
        let resource = progress.id.to_string();
        out.gauge(
            "prefetch_pending",
            "URLs of the run in progress that are left, as far as known.",
            &[("resource", &resource)],
            f64::from(progress.pending()),
        );
        out.gauge(
            "prefetch_failing",
            "URLs of the run in progress, or of the last one, that failed; they are tried again.",
            &[("resource", &resource)],
            f64::from(progress.failed),
        );
    }
}

/// Of resources that compress.
fn compression(resource: &str, workers: &[Arc<ResourceCells>], out: &mut Families) {
    let read = total(workers, |cells| cells.compressed_in.get());
    let skipped = total(workers, |cells| cells.compression_skipped.get());
    if read == 0 && skipped == 0 {
        return;
    }
    let written = total(workers, |cells| cells.compressed_out.get());
    for (direction, n) in [("in", read), ("out", written)] {
        out.counter(
            "compression_bytes_total",
            "Bytes of content that went into encoders, and that came out.",
            &[("resource", resource), ("direction", direction)],
            n,
        );
    }
    out.counter(
        "compression_skipped_total",
        "Responses not compressed because too many were being compressed.",
        &[("resource", resource)],
        skipped,
    );
}

fn websockets(resource: &str, workers: &[Arc<ResourceCells>], out: &mut Families) {
    let opened = total(workers, |cells| cells.websockets_opened.get());
    let closed = total(workers, |cells| cells.websockets_closed.get());
    let open = opened.saturating_sub(closed);
    out.gauge(
        "websocket_connections",
        "WebSockets open now.",
        &[("resource", resource)],
        open as f64,
    );
    out.counter(
        "websocket_opened_total",
        "WebSockets opened.",
        &[("resource", resource)],
        opened,
    );
    for (direction, from) in [("in", Side::Client), ("out", Side::Backend)] {
        let labels = [("resource", resource), ("direction", direction)];
        let messages = total(workers, |cells| cells.websocket_traffic.messages(from));
        let bytes = total(workers, |cells| cells.websocket_traffic.bytes(from));
        out.counter(
            "websocket_messages_total",
            "Messages relayed; `in` is from clients.",
            &labels,
            messages,
        );
        out.counter(
            "websocket_bytes_total",
            "Bytes relayed; `in` is from clients.",
            &labels,
            bytes,
        );
    }
    let mut closes = BTreeMap::<(&str, &str), u64>::new();
    for (key, n) in workers.iter().flat_map(|cells| cells.websocket_closes()) {
        *closes.entry(key).or_default() += n;
    }
    for ((code, reason), n) in closes {
        let labels = [("resource", resource), ("code", code), ("reason", reason)];
        out.counter(
            "websocket_closes_total",
            "WebSockets closed, by close code (`none`: none seen) and reason.",
            &labels,
            n,
        );
    }
}

fn workers(metrics: &Metrics, listener: &str, out: &mut Families) {
    let cells = metrics.worker_cells();
    let total = |read: &dyn Fn(&super::WorkerCells) -> u64| cells.iter().map(|c| read(c)).sum::<u64>();
    let open = total(&|c| c.accepted.get()).saturating_sub(total(&|c| c.closed.get()));
    let active = total(&|c| c.active.get()).min(open);
    let websockets = total(&|c| c.websockets.get()).min(open - active);
    for (state, n) in [
        ("active", active),
        ("websocket", websockets),
        ("idle", open - active - websockets),
    ] {
        let labels = [("listener", listener), ("state", state)];
        out.gauge("connections", "Client connections open now.", &labels, n as f64);
    }
    out.counter(
        "connections_accepted_total",
        "Client connections accepted.",
        &[("listener", listener)],
        total(&|c| c.accepted.get()),
    );
    let mut handshakes = BTreeMap::<_, u64>::new();
    for (version, resumed, n) in cells.iter().flat_map(|c| c.handshakes()) {
        *handshakes.entry((version, resumed)).or_default() += n;
    }
    for ((version, resumed), n) in handshakes {
        out.counter(
            "tls_handshakes_total",
            "TLS handshakes with clients that succeeded; those that did not are in refused_total.",
            &[("version", version), ("resumed", resumed)],
            n,
        );
    }
    out.gauge(
        "connections_beginning",
        "Client connections at a PROXY header or a TLS handshake.",
        &[],
        total(&|c| c.beginning.get()) as f64,
    );
    out.gauge(
        "http2_upload_window_bytes",
        "Bytes that clients may send over HTTP/2 beyond the ordinary windows.",
        &[],
        total(&|c| c.upload_windows.get()) as f64,
    );
    for (index, c) in cells.iter().enumerate() {
        let open = c.accepted.get().saturating_sub(c.closed.get());
        out.gauge(
            "worker_connections",
            "Client connections open now, by worker.",
            &[("worker", &index.to_string())],
            open as f64,
        );
    }
    let lag = cells.iter().map(|c| c.lag_us.load(Ordering::Relaxed)).max();
    out.gauge(
        "worker_lag_seconds",
        "How long what is ready waits for its turn, at the worker that is latest.",
        &[],
        lag.unwrap_or_default() as f64 / 1e6,
    );
    out.counter(
        "connections_handed_over_total",
        "Client connections that went from the worker that accepted them to one with fewer.",
        &[],
        total(&|c| c.handed_over.get()),
    );
    out.counter(
        "connections_evicted_total",
        "Client connections closed to make room for others.",
        &[],
        total(&|c| c.evicted.get()),
    );
    for (code, n) in sum(cells.iter().flat_map(|c| c.unrouted.seen())) {
        out.counter("requests_total", "", &[("resource", ""), ("code", code)], n);
    }
    for (reason, n) in sum(cells.iter().flat_map(|c| c.refused())) {
        out.counter(
            "refused_total",
            "Requests and connections refused before a resource, by reason.",
            &[("reason", reason)],
            n,
        );
    }
}

fn policies(metrics: &Metrics, out: &mut Families) {
    for (policy, cells) in metrics.policy_cells() {
        for ((action, reason), n) in cells.events() {
            let labels = [("policy", policy.as_str()), ("action", action), ("reason", reason)];
            out.counter("waf_events_total", "Requests a policy blocked or detected.", &labels, n);
        }
        for (limit, n) in cells.refusals() {
            let labels = [("policy", policy.as_str()), ("limit", limit)];
            out.counter("limit_refusals_total", "Requests over a limit.", &labels, n);
        }
    }
}

fn process(metrics: &Metrics, out: &mut Families) {
    let stats = metrics.cache.stats();
    let tier = [("tier", "ram")];
    out.gauge("cache_bytes", "Bytes stored.", &tier, stats.ram.bytes as f64);
    out.gauge("cache_objects", "Responses stored.", &tier, stats.ram.objects as f64);
    out.counter(
        "cache_evictions_total",
        "Responses evicted for room.",
        &tier,
        stats.ram.evictions,
    );

    if let Some(disk) = &stats.disk {
        disk_tier(disk, out);
    }
    let fills = stats.fills;
    out.gauge(
        "cache_fills",
        "Fetches for the cache under way.",
        &[],
        fills.in_flight as f64,
    );
    out.gauge(
        "cache_fill_bytes",
        "Bytes that fetches under way hold.",
        &[],
        fills.buffered as f64,
    );
    for (name, help, n) in [
        (
            "cache_fills_refused_total",
            "Requests that fetched for themselves because there were too many fetches or waiters.",
            fills.refused,
        ),
        (
            "cache_fills_outgrown_total",
            "Fetches that outgrew their room and passed through unstored.",
            fills.passed_through,
        ),
        (
            "cache_fills_taken_over_total",
            "Fetches that a waiting request took over after a failure.",
            fills.successions,
        ),
    ] {
        out.counter(name, help, &[], n);
    }
    out.gauge(
        "cache_limit_bytes",
        "Bytes that may be stored.",
        &tier,
        stats.ram.limit as f64,
    );
    out.gauge(
        "cache_purge_marks",
        "Marks of purges that responses are compared with.",
        &[],
        metrics.cache.epochs().marks() as f64,
    );
    let tables = &metrics.tables;
    let evicted = tables.rates.evictions();
    out.counter(
        "limit_evictions_total",
        "Clients forgotten by the rate table while they still owed something.",
        &[],
        evicted,
    );
    let uncounted = tables.connections.uncounted();
    out.counter(
        "limit_uncounted_total",
        "Connections that passed uncounted because the table was full.",
        &[],
        uncounted,
    );

    for (secret, expires) in metrics.certificates() {
        out.gauge(
            "tls_certificate_expiry_timestamp_seconds",
            "When a certificate in force, or the first of its chain to do so, expires.",
            &[("secret", &secret)],
            expires as f64,
        );
    }
    let snapshot = metrics.snapshot();
    if !snapshot.digest.is_empty() {
        out.gauge(
            "snapshot_info",
            "The manifest that is applied.",
            &[("digest", &snapshot.digest)],
            1.0,
        );
        let age = unix_seconds().saturating_sub(snapshot.confirmed_at);
        out.gauge(
            "snapshot_age_seconds",
            "Time since the configuration was last known to be current.",
            &[],
            age as f64,
        );
    }
    let rejected = snapshot.rejected as f64;
    out.gauge(
        "snapshot_rejected_objects",
        "Objects that run their last good version, or not at all.",
        &[],
        rejected,
    );
    for (name, help, bytes) in [
        (
            "memory_used_bytes",
            "Memory of this process, pages of files left out.",
            &metrics.memory_used,
        ),
        ("memory_limit_bytes", "The memory ceiling.", &metrics.memory_limit),
    ] {
        let bytes = bytes.load(Ordering::Relaxed);
        if bytes > 0 {
            out.gauge(name, help, &[], bytes as f64);
        }
    }
    let restarts = metrics.worker_restarts.load(Ordering::Relaxed);
    out.counter(
        "worker_restarts_total",
        "Workers that died and were replaced.",
        &[],
        restarts,
    );
    let logs = [
        ("audit", Some(&metrics.audit_log)),
        ("access", metrics.access_log.as_ref()),
    ];
    for (log, handle) in logs {
        let Some(handle) = handle else { continue };
        out.counter(
            "log_lines_total",
            "Log lines written.",
            &[("log", log)],
            handle.written(),
        );
        out.counter(
            "log_dropped_total",
            "Log lines lost because the log could not keep up.",
            &[("log", log)],
            handle.dropped(),
        );
    }
    out.gauge(
        "build_info",
        "The version that runs.",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1.0,
    );
}

fn disk_tier(disk: &DiskStats, out: &mut Families) {
    let tier = [("tier", "disk")];
    out.gauge("cache_bytes", "", &tier, disk.bytes as f64);
    out.gauge("cache_limit_bytes", "", &tier, disk.limit as f64);
    out.gauge("cache_objects", "", &tier, disk.objects as f64);
    out.counter("cache_evictions_total", "", &tier, disk.evictions);
    for (name, help, n) in [
        (
            "cache_disk_index_bytes",
            "Memory of the index of what is on the disk.",
            disk.index_bytes,
        ),
        (
            "cache_disk_queue_bytes",
            "Content that waits to be written to the disk.",
            disk.queued,
        ),
    ] {
        out.gauge(name, help, &[], n as f64);
    }
    out.gauge(
        "cache_disk_recovery_seconds",
        "How long it took to find again what was on the disk at the start.",
        &[],
        disk.recovery_ms as f64 / 1e3,
    );
    for (name, help, n) in [
        (
            "cache_disk_admitted_total",
            "Responses written to the disk.",
            disk.admitted,
        ),
        (
            "cache_disk_written_bytes_total",
            "Bytes written to the disk store.",
            disk.written,
        ),
        (
            "cache_disk_rewritten_total",
            "Responses written again because they were used when the oldest went.",
            disk.rewritten,
        ),
        (
            "cache_disk_refused_total",
            "Responses that were not written because too much waited.",
            disk.refused,
        ),
        (
            "cache_disk_lost_total",
            "Responses that could not be written.",
            disk.lost,
        ),
    ] {
        out.counter(name, help, &[], n);
    }
    for (kind, n) in [
        ("read", disk.read_errors),
        ("write", disk.write_errors),
        ("full", disk.full_errors),
        ("checksum", disk.checksum_errors),
    ] {
        out.counter(
            "cache_disk_errors_total",
            "What the disk store failed at.",
            &[("kind", kind)],
            n,
        );
    }
}

fn total(workers: &[Arc<ResourceCells>], read: impl Fn(&ResourceCells) -> u64) -> u64 {
    workers.iter().map(|cells| read(cells)).sum()
}

fn sum<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> BTreeMap<&'a str, u64> {
    let mut sums = BTreeMap::new();
    for (label, n) in counts {
        *sums.entry(label).or_default() += n;
    }
    sums
}

/// Metric families under construction, by name.
#[derive(Default)]
struct Families(BTreeMap<&'static str, MetricFamily>);

impl Families {
    fn push(&mut self, name: &'static str, help: &str, kind: MetricType, metric: Metric) {
        let family = self.0.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(format!("breakwater_{name}"));
            family.set_field_type(kind);
            family
        });
        if family.help().is_empty() {
            family.set_help(help.to_owned());
        }
        family.mut_metric().push(metric);
    }

    fn counter(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: u64) {
        let mut metric = labelled(labels);
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        metric.set_counter(counter);
        self.push(name, help, MetricType::COUNTER, metric);
    }

    fn gauge(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: f64) {
        let mut metric = labelled(labels);
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
        self.push(name, help, MetricType::GAUGE, metric);
    }

    fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        labels: &[(&str, &str)],
        parts: impl Iterator<Item = (Vec<u64>, f64)>,
    ) {
        let mut counts = [0; BUCKETS.len() + 1];
        let mut sum = 0.0;
        for (part, seconds) in parts {
            counts.iter_mut().zip(part).for_each(|(count, n)| *count += n);
            sum += seconds;
        }
        let mut histogram = Histogram::default();
        let mut below = 0;
        let mut buckets = Vec::new();
        for (bound, count) in BUCKETS.iter().zip(counts) {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(below);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, metric);
    }

    fn done(self) -> Vec<MetricFamily> {
        self.0.into_values().collect()
    }
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect();
    let mut metric = Metric::default();
    metric.set_label(pairs);
    metric
}
