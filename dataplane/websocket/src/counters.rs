//! Totals that grow while connections are open, for a reader on another thread.
//!
//! Invariant: only ever added to. What a scrape makes of them is the reader's.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Side;

/// Messages and bytes relayed, by the side that sent them. Share one among the connections of a route and a
/// worker.
#[derive(Debug, Default)]
pub struct Counters {
    messages: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
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

    pub(crate) fn add(&self, from: Side, messages: u32, bytes: usize) {
        if messages > 0 {
            pick(&self.messages, from).fetch_add(u64::from(messages), Ordering::Relaxed);
        }
        pick(&self.bytes, from).fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

fn pick(cells: &[AtomicU64; 2], from: Side) -> &AtomicU64 {
    let [client, backend] = cells;
    match from {
        Side::Client => client,
        Side::Backend => backend,
    }
}
