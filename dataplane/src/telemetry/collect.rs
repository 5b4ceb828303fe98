//! The scrape: sums the workers' cells into Prometheus metric families.
//!
//! Runs on the admin thread; it reads cells and takes no lock that a request waits for.

mod cache;
mod families;
mod places;
mod resources;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::Metrics;
use super::cells::{BUCKETS, ListenerCells, PrefetchResult, WorkerCells};
use super::rule_cells::{Direction, RuleCells, SCORES};
use crate::clock::unix_seconds;
use families::{Families, sum};

/// Servers whose health is told by name.
const MAX_SERVERS: usize = 10_000;

/// Collects [`Metrics`] for a `prometheus::Registry`.
pub(crate) struct Collected {
    metrics: Arc<Metrics>,
    descriptions: Vec<Desc>,
}

impl Collected {
    pub(crate) fn new(metrics: Arc<Metrics>) -> prometheus::Result<Self> {
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
        })
    }
}

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        resources::resources(&self.metrics, &mut families);
        workers(&self.metrics, &mut families);
        policies(&self.metrics, &mut families);
        health(&self.metrics, &mut families);
        prefetch(&self.metrics, &mut families);
        peers(&self.metrics, &mut families);
        fleet_limits(&self.metrics, &mut families);
        cache::cache(&self.metrics.cache, &mut families);
        places::databases(&self.metrics, &mut families);
        process(&self.metrics, &mut families);
        families.done()
    }
}

fn workers(metrics: &Metrics, out: &mut Families) {
    let cells = metrics.worker_cells();
    let total = |read: &dyn Fn(&WorkerCells) -> u64| cells.iter().map(|c| read(c)).sum::<u64>();
    for (index, address) in metrics.listeners.iter().enumerate() {
        let listener = address.to_string();
        let total = |read: &dyn Fn(&ListenerCells) -> u64| {
            let cells = cells.iter().filter_map(|c| c.listeners().get(index));
            cells.map(read).sum::<u64>()
        };
        let open = total(&|c| c.accepted.get()).saturating_sub(total(&|c| c.closed.get()));
        let active = total(&|c| c.active.get()).min(open);
        let websockets = total(&|c| c.websockets.get()).min(open - active);
        for (state, n) in [
            ("active", active),
            ("websocket", websockets),
            ("idle", open - active - websockets),
        ] {
            let labels = [("listener", listener.as_str()), ("state", state)];
            out.gauge("connections", "Client connections open now.", &labels, n as f64);
        }
        out.counter(
            "connections_accepted_total",
            "Client connections accepted.",
            &[("listener", &listener)],
            total(&|c| c.accepted.get()),
        );
    }
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
        out.gauge(
            "worker_connections",
            "Client connections open now, by worker.",
            &[("worker", &index.to_string())],
            c.open() as f64,
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
        if cells.penalties() > 0 {
            out.counter(
                "waf_penalties_total",
                "Clients that came under a policy's penalty.",
                &[("policy", policy.as_str())],
                cells.penalties(),
            );
        }
        let challenges = cells.challenges.all();
        if challenges.iter().any(|(_, n)| *n > 0) {
            for (result, n) in challenges {
                let labels = [("policy", policy.as_str()), ("result", result)];
                out.counter(
                    "waf_challenges_total",
                    "Challenges of a policy: answers with one, and requests with a proof that was good or not.",
                    &labels,
                    n,
                );
            }
        }
        rules(&policy, &cells.rules, out);
    }
    out.gauge(
        "waf_buffered_bytes",
        "Bytes that are held back for rules: of bodies, and of what rules know of requests that wait.",
        &[],
        metrics.held_back.load(Ordering::Relaxed) as f64,
    );
}

fn rules(policy: &str, cells: &RuleCells, out: &mut Families) {
    let unsampled = cells.unsampled();
    if unsampled > 0 {
        out.counter(
            "waf_unsampled_requests_total",
            "Requests that rules did not look at, because of sampling.",
            &[("policy", policy)],
            unsampled,
        );
    }
    if !cells.is_used() {
        return;
    }
    for (rule, n) in cells.hits() {
        let labels = [("policy", policy), ("rule", rule.as_str())];
        out.counter("waf_rule_hits_total", "Matches of rules that are logged.", &labels, n);
    }
    let labels = [("policy", policy)];
    out.histogram(
        "waf_inspection_seconds",
        "Time that rules took of a worker, for each request with its response.",
        &labels,
        &BUCKETS,
        std::iter::once(cells.durations()),
    );
    for direction in Direction::ALL {
        let labels = [("policy", policy), ("direction", direction.label())];
        out.histogram(
            "waf_score",
            "Anomaly scores.",
            &labels,
            &SCORES,
            std::iter::once(cells.scores(direction)),
        );
        let (bytes, truncated) = cells.bodies(direction);
        out.counter(
            "waf_inspected_bytes_total",
            "Bytes of bodies that rules were shown.",
            &labels,
            bytes,
        );
        out.counter(
            "waf_truncated_bodies_total",
            "Bodies of which rules were shown the beginning only.",
            &labels,
            truncated,
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
            let n = workers.iter().map(|cells| cells.prefetch(result).get()).sum();
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

/// What nodes tell each other of limits that hold across them; nothing of a node that has and had none.
fn fleet_limits(metrics: &Metrics, out: &mut Families) {
    let (spent, lost) = (metrics.peering.spent.all(), metrics.tables.lost_spent());
    if !metrics.tables.has_fleet_limits() && lost == 0 && spent.iter().all(|(_, _, n)| *n == 0) {
        return;
    }
    for (direction, result, n) in spent {
        // What finds no room in the table is cut before there is a batch.
        let n = if result == "cut" { n + lost } else { n };
        out.counter(
            "limit_fleet_clients_total",
            "Clients under limits across nodes that nodes tell each other of, by what became of it.",
            &[("direction", direction), ("result", result)],
            n,
        );
    }
}

fn process(metrics: &Metrics, out: &mut Families) {
    let tables = &metrics.tables;
    let evicted = tables.rates.evictions();
    out.counter(
        "limit_evictions_total",
        "Clients forgotten by the rate table while they still owed something.",
        &[],
        evicted,
    );
    let forgotten = tables.penalties.evictions();
    out.counter(
        "penalty_evictions_total",
        "Clients forgotten by the penalty table before their time was over.",
        &[],
        forgotten,
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
            "Log lines written, to each destination.",
            &[("log", log)],
            handle.written(),
        );
        out.counter(
            "log_dropped_total",
            "Log lines lost because a log could not keep up or be written.",
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
