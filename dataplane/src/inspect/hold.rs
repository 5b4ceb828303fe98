//! The room for what is held back for rules, over all workers: bodies until they are judged and have left, and what
//! transactions know of requests that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::Metrics;

/// Bytes that may be held back where the process has no memory limit.
const MOST: u64 = 256 << 20;

/// The part of a memory limit that may be held back.
const PART: u64 = 8;

/// Bytes that are held back; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    all: Arc<AtomicU64>,
    bytes: u64,
    most: u64,
}

impl Held {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let most = match metrics.memory_limit.load(Ordering::Relaxed) {
            0 => MOST,
            limit => (limit / PART).min(MOST),
        };
        Self {
            all: Arc::clone(&metrics.held_back),
            bytes: 0,
            most,
        }
    }

    /// Takes room for so many bytes more. False when there is none.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let before = self.all.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= self.most
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(all: &Arc<AtomicU64>) -> Held {
        Held {
            all: Arc::clone(all),
            bytes: 0,
            most: 10,
        }
    }

    #[test]
    fn there_is_room_for_so_much_over_all_and_it_is_given_back() {
        let all = Arc::default();
        let (mut one, mut two) = (held(&all), held(&all));
        assert!(one.take(6) && two.take(4));
        assert!(!two.take(1));
        drop(two);
        assert!(one.take(4));
        drop(one);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
