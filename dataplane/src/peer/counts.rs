//! What became of requests between nodes. Written by all workers, for misses only.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter with many writers.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_many(&self, n: usize) {
        self.0.fetch_add(n as u64, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Another node's answer was taken.
    pub(crate) answered: Count,
    /// It reported that the origin failed.
    pub(crate) origin_failed: Count,
    /// It refused, being busy or not serving the site.
    pub(crate) refused: Count,
    /// It did not answer.
    pub(crate) unreachable: Count,
    /// Its answer was older than a purge here.
    pub(crate) behind: Count,
    /// It had too much of ours to do, and was not asked.
    pub(crate) passed_over: Count,
    /// Nobody of the first level could be asked, and the origin is not for this node to ask.
    pub(crate) nobody: Count,
    /// It was told that something it may have is out of date.
    pub(crate) invalidated: Count,
    /// Another node was answered, from the store or the origin.
    pub(crate) served: Count,
    /// Another node was refused: overload, or the site is not served here.
    pub(crate) turned_away: Count,
    /// Another node said that something is out of date.
    pub(crate) told: Count,
    /// The origin failed a request of another node.
    pub(crate) failed: Count,
    /// A connection did not prove that it is a node's.
    pub(crate) strangers: Count,
    /// What came on a node's connection was no request of a node.
    pub(crate) malformed: Count,
}

impl Counts {
    /// Direction, result and count of each.
    pub(crate) fn all(&self) -> [(&'static str, &'static str, u64); 14] {
        [
            ("out", "answered", self.answered.get()),
            ("out", "origin_failed", self.origin_failed.get()),
            ("out", "refused", self.refused.get()),
            ("out", "unreachable", self.unreachable.get()),
            ("out", "behind", self.behind.get()),
            ("out", "passed_over", self.passed_over.get()),
            ("out", "nobody", self.nobody.get()),
            ("out", "invalidated", self.invalidated.get()),
            ("in", "answered", self.served.get()),
            ("in", "refused", self.turned_away.get()),
            ("in", "invalidated", self.told.get()),
            ("in", "origin_failed", self.failed.get()),
            ("in", "unauthenticated", self.strangers.get()),
            ("in", "malformed", self.malformed.get()),
        ]
    }
}

/// What nodes told each other of limits that hold across nodes: clients of limits, of each batch and node.
#[derive(Debug, Default)]
pub(crate) struct SpentCounts {
    /// Another node counted them.
    pub(crate) sent: Count,
    /// Another node did not: it does not answer, or is not done with the last batch.
    pub(crate) failed: Count,
    /// There were more than a batch has room for.
    pub(crate) cut: Count,
    /// Another node told of them, and they were counted here.
    pub(crate) taken: Count,
    /// Another node told of a limit that is not in force here.
    pub(crate) unknown: Count,
}

impl SpentCounts {
    /// Direction, result and count of each.
    pub(crate) fn all(&self) -> [(&'static str, &'static str, u64); 5] {
        [
            ("out", "sent", self.sent.get()),
            ("out", "failed", self.failed.get()),
            ("out", "cut", self.cut.get()),
            ("in", "taken", self.taken.get()),
            ("in", "unknown", self.unknown.get()),
        ]
    }
}
