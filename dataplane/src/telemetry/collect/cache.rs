//! What is counted of the cache as a whole: its tiers, its fetches, its purges.

use breakwater_cache::fill::FillStats;
use breakwater_cache::store::disk::DiskStats;
use breakwater_cache::{Cache, PurgeCounts};

use super::families::Families;

pub(super) fn cache(cache: &Cache, out: &mut Families) {
    let stats = cache.stats();
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
    fetches(&stats.fills, out);
    purges(&stats.purges, out);
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
        cache.epochs().marks() as f64,
    );
}

fn fetches(fills: &FillStats, out: &mut Families) {
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
        "cache_spool_bytes",
        "Room that files take which keep what is too large for memory, while it is read.",
        &[],
        fills.spooled as f64,
    );
    for (name, help, n) in [
        (
            "cache_spools_total",
            "Responses that were kept in a file while they came, for those who come late.",
            fills.spools,
        ),
        (
            "cache_spools_lost_total",
            "Of those, how many could not be kept as a whole.",
            fills.spools_lost,
        ),
    ] {
        out.counter(name, help, &[], n);
    }
}

fn purges(purges: &PurgeCounts, out: &mut Families) {
    for (kind, mode, n) in purges.all() {
        out.counter(
            "cache_purges_total",
            "Purges carried out, by what they name.",
            &[("kind", kind), ("mode", mode)],
            n,
        );
    }
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
        ("busy", disk.busy),
    ] {
        out.counter(
            "cache_disk_errors_total",
            "What the disk store failed at.",
            &[("kind", kind)],
            n,
        );
    }
}
