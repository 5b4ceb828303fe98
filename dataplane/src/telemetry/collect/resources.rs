//! What is counted of resources: their clients, their origins, their caches and WebSockets.

use std::collections::BTreeMap;
use std::sync::Arc;

use breakwater_websocket::{RoundTrips, Side};

use super::families::{Families, sum};
use crate::telemetry::cells::{BUCKETS, CacheResult, ParentResult};
use crate::telemetry::{Metrics, ResourceCells};
use crate::upstream::Refusal;

pub(super) fn resources(metrics: &Metrics, out: &mut Families) {
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
            &BUCKETS,
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
            edge_cache(metrics, r, &workers, out);
        }
        compression(r, &workers, out);
        if r.starts_with("WsRoute/") {
            websockets(r, &workers, out);
        }
    }
}

/// Of what an EdgeCache answers and fetches.
fn edge_cache(metrics: &Metrics, resource: &str, workers: &[Arc<ResourceCells>], out: &mut Families) {
    for result in CacheResult::ALL {
        let labels = [("resource", resource), ("result", result.label())];
        let n = total(workers, |cells| cells.cache(result).get());
        out.counter("cache_requests_total", "Cache look-ups, by result.", &labels, n);
        let n = total(workers, |cells| cells.cache_bytes(result).get());
        out.counter(
            "cache_response_bytes_total",
            "Bytes of content sent to clients, by result of the look-up.",
            &labels,
            n,
        );
    }
    let n = total(workers, |cells| cells.origin_bytes.get());
    out.counter(
        "origin_response_bytes_total",
        "Bytes of content that came from the origin.",
        &[("resource", resource)],
        n,
    );
    for (reason, n) in sum(workers.iter().flat_map(|cells| cells.reasons_not_stored())) {
        out.counter(
            "cache_not_stored_total",
            "Answers to shared fetches that were not stored, by reason.",
            &[("resource", resource), ("reason", reason)],
            n,
        );
    }
    let n = total(workers, |cells| cells.from_disk.get());
    if metrics.cache.disk().is_some() || n > 0 {
        out.counter(
            "cache_disk_loads_total",
            "Look-ups that memory did not answer and the disk did.",
            &[("resource", resource)],
            n,
        );
    }
    let n = total(workers, |cells| cells.collapsed.get());
    out.counter(
        "cache_collapsed_total",
        "Requests that waited for another's fill.",
        &[("resource", resource)],
        n,
    );
    out.gauge(
        "cache_fetches",
        "Fetches under way that others may share.",
        &[("resource", resource)],
        total(workers, |cells| cells.fetches.get()) as f64,
    );
    out.counter(
        "cache_background_revalidations_total",
        "Stale responses that were served while they were validated.",
        &[("resource", resource)],
        total(workers, |cells| cells.revalidated_behind.get()),
    );
    for (outcome, n) in [
        ("refetched", total(workers, |cells| cells.damaged_refetched.get())),
        ("mended", total(workers, |cells| cells.damaged_mended.get())),
        ("cut", total(workers, |cells| cells.damaged_cut.get())),
    ] {
        if n > 0 {
            out.counter(
                "cache_damaged_answers_total",
                "Answers that met something stored that could not be read, by what became of them.",
                &[("resource", resource), ("outcome", outcome)],
                n,
            );
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
    let bounds = RoundTrips::BOUNDS_MS.map(|ms| ms as f64 / 1e3);
    for (side, of) in [("client", Side::Client), ("backend", Side::Backend)] {
        let parts = workers.iter().map(|cells| {
            let trips = cells.websocket_traffic.round_trips(of);
            (trips.buckets.to_vec(), trips.sum_ms as f64 / 1e3)
        });
        out.histogram(
            "websocket_ping_seconds",
            "Time from a ping of ours to its answer, by the side that answered.",
            &[("resource", resource), ("side", side)],
            &bounds,
            parts,
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

fn total(workers: &[Arc<ResourceCells>], read: impl Fn(&ResourceCells) -> u64) -> u64 {
    workers.iter().map(|cells| read(cells)).sum()
}
