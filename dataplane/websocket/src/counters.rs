//! Totals that grow while connections are open, for a reader on another thread.
//!
//! Invariant: only ever added to. What a scrape makes of them is the reader's.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Side;

/// Messages and bytes relayed and pings answered, by the side that sent or answered. Share one among the connections of a route and a
/// worker.
#[derive(Debug, Default)]
pub struct Counters {
    messages: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
    round_trips: [Cells; 2],
}

#[derive(Debug, Default)]
struct Cells {
    buckets: [AtomicU64; RoundTrips::BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

/// How long a side took to answer pings, as a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// Answers by time, each up to its bound of [`RoundTrips::BOUNDS_MS`]; the last is for what no bound covers.
    pub buckets: [u64; Self::BOUNDS_MS.len() + 1],
    /// All times together, milliseconds.
    pub sum_ms: u64,
}

impl RoundTrips {
    /// Upper bounds, milliseconds.
    pub const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];
}

impl Counters {
    /// Data messages from this side that have passed completely.
    #[must_use]
    pub fn messages(&self, from: Side) -> u64 {
        pick(&self.messages, from).load(Ordering::Relaxed)
    }

    /// Bytes from this side that were passed on, headers and control frames included.
    #[must_use]
    pub fn bytes(&self, from: Side) -> u64 {
        pick(&self.bytes, from).load(Ordering::Relaxed)
    }

    /// How long this side took to answer pings of the relay.
    #[must_use]
    pub fn round_trips(&self, of: Side) -> RoundTrips {
        let cells = pick(&self.round_trips, of);
        RoundTrips {
            buckets: cells.buckets.each_ref().map(|cell| cell.load(Ordering::Relaxed)),
            sum_ms: cells.sum_ms.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn answered(&self, of: Side, took_ms: u64) {
        let cells = pick(&self.round_trips, of);
        let bucket = RoundTrips::BOUNDS_MS.partition_point(|bound| *bound < took_ms);
        if let Some(cell) = cells.buckets.get(bucket) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        cells.sum_ms.fetch_add(took_ms, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, from: Side, messages: u32, bytes: usize) {
        if messages > 0 {
            pick(&self.messages, from).fetch_add(u64::from(messages), Ordering::Relaxed);
        }
        pick(&self.bytes, from).fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

fn pick<T>(cells: &[T; 2], from: Side) -> &T {
    let [client, backend] = cells;
    match from {
        Side::Client => client,
        Side::Backend => backend,
    }
}
