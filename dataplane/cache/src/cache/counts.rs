//! How many purges were carried out, by what they name and how.

use std::sync::atomic::{AtomicU64, Ordering};

use super::types::Purge;
use crate::purge::Mode;

const KINDS: [&str; 4] = ["everything", "tags", "urls", "prefixes"];
const MODES: [&str; 2] = ["hard", "soft"];

/// The counters.
#[derive(Debug, Default)]
pub(super) struct PurgeCounters([[AtomicU64; MODES.len()]; KINDS.len()]);

/// Purges so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeCounts([[u64; MODES.len()]; KINDS.len()]);

impl PurgeCounters {
    pub(super) fn add(&self, what: &Purge<'_>, mode: Mode) {
        let kind = match what {
            Purge::Everything => 0,
            Purge::Tags(_) => 1,
            Purge::Urls(_) => 2,
            Purge::Prefixes(_) => 3,
        };
        let mode = match mode {
            Mode::Hard => 0,
            Mode::Soft => 1,
        };
        self.0[kind][mode].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> PurgeCounts {
        let read = |modes: &[AtomicU64; 2]| modes.each_ref().map(|count| count.load(Ordering::Relaxed));
        PurgeCounts(self.0.each_ref().map(read))
    }
}

impl PurgeCounts {
    /// What they name, how, and how many.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        KINDS
            .into_iter()
            .zip(self.0)
            .flat_map(|(kind, counts)| MODES.into_iter().zip(counts).map(move |(mode, n)| (kind, mode, n)))
    }
}
