//! One site's marks: the logical time of the last purge of everything, and of each tag.
//!
//! Tags have two tables, a young and an old one. When the young one is full, the old one goes, and what it knew is
//! replaced by one mark on the whole site at the time of its newest: responses older than that are forgotten, those
//! asked for since are not. So memory is bounded, and more is forgotten than was asked, never less.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::{Mode, Purged, Record};

/// A site.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) id: u64,
    hard: AtomicU64,
    soft: AtomicU64,
    /// The newest mark of a tag.
    latest: AtomicU64,
    tags: RwLock<Tags>,
}

#[derive(Debug, Default)]
struct Tags {
    young: HashMap<u64, Mark, RandomState>,
    old: HashMap<u64, Mark, RandomState>,
}

/// Logical times; zero is never.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    hard: u64,
    soft: u64,
}

impl Mark {
    fn set(&mut self, at: u64, mode: Mode) {
        let time = match mode {
            Mode::Hard => &mut self.hard,
            Mode::Soft => &mut self.soft,
        };
        *time = at.max(*time);
    }
}

impl Site {
    /// A site of which everything from before `at` is gone.
    pub(super) fn new(id: u64, at: u64) -> Self {
        Self {
            id,
            hard: AtomicU64::new(at),
            soft: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            tags: RwLock::default(),
        }
    }

    pub(super) fn mark_all(&self, at: u64, mode: Mode) {
        let time = match mode {
            Mode::Hard => &self.hard,
            Mode::Soft => &self.soft,
        };
        time.fetch_max(at, Ordering::AcqRel);
    }

    /// Marks `tags`. `total` counts the marks of all sites. Says what was marked beyond what was asked.
    pub(super) fn mark(
        &self,
        tags: &[u64],
        at: u64,
        mode: Mode,
        limits: Limits,
        total: &AtomicUsize,
        mut beyond: impl FnMut(Record),
    ) {
        let mut marks = self.tags.write();
        for &tag in tags {
            if !marks.young.contains_key(&tag) {
                // Twice when all sites together have too many: then nothing of this one's is left.
                let full = total.load(Ordering::Relaxed) >= limits.total;
                let rotations = match full {
                    true => 2,
                    false => usize::from(marks.young.len() >= limits.site.div_ceil(2)),
                };
                for _ in 0..rotations {
                    let dropped = self.rotate(&mut marks, &mut beyond);
                    total.fetch_sub(dropped, Ordering::Relaxed);
                }
                total.fetch_add(1, Ordering::Relaxed);
            }
            marks.young.entry(tag).or_default().set(at, mode);
        }
        // Published last, under the lock: who sees it finds the marks.
        self.latest.fetch_max(at, Ordering::AcqRel);
    }

    /// Gives up the older half of the marks; returns how many these were.
    fn rotate(&self, marks: &mut Tags, beyond: &mut impl FnMut(Record)) -> usize {
        let dropped = std::mem::replace(&mut marks.old, std::mem::take(&mut marks.young));
        let newest = dropped.values().fold(Mark::default(), |newest, mark| Mark {
            hard: newest.hard.max(mark.hard),
            soft: newest.soft.max(mark.soft),
        });
        for (at, mode) in [(newest.hard, Mode::Hard), (newest.soft, Mode::Soft)] {
            if at > 0 {
                self.mark_all(at, mode);
                beyond(Record::Everything {
                    site: self.id,
                    at,
                    mode,
                });
            }
        }
        dropped.len()
    }

    /// What purges since `at` say about a response with `tags`; `checked` as for [`super::Stamp::purged`].
    pub(super) fn purged(&self, at: u64, tags: &[u64], checked: &AtomicU64) -> Purged {
        if self.hard.load(Ordering::Acquire) > at {
            return Purged::Hard;
        }
        let soft = self.soft.load(Ordering::Acquire) > at;
        let mut verdict = if soft { Purged::Soft } else { Purged::No };
        let latest = self.latest.load(Ordering::Acquire);
        if latest > at && latest > checked.load(Ordering::Relaxed) {
            let marks = self.tags.read();
            let tables = [&marks.young, &marks.old];
            for mark in tags
                .iter()
                .flat_map(|tag| tables.into_iter().filter_map(|table| table.get(tag)))
            {
                if mark.hard > at {
                    return Purged::Hard;
                }
                if mark.soft > at {
                    verdict = Purged::Soft;
                }
            }
            drop(marks);
            // What was dropped from the tables before they were read is marked on the site by now.
            if self.hard.load(Ordering::Acquire) > at {
                return Purged::Hard;
            }
            if self.soft.load(Ordering::Acquire) > at {
                verdict = Purged::Soft;
            }
            // A soft mark has to be seen again at the next hit.
            if verdict == Purged::No {
                checked.fetch_max(latest, Ordering::Relaxed);
            }
        }
        verdict
    }

    /// Marks of tags that are kept.
    pub(super) fn len(&self) -> usize {
        let marks = self.tags.read();
        marks.young.len() + marks.old.len()
    }

    /// Everything that is marked.
    pub(super) fn records(&self, mut give: impl FnMut(Record)) {
        let site = self.id;
        let marks = self.tags.read();
        let hard = self.hard.load(Ordering::Acquire);
        give(Record::Everything {
            site,
            at: hard,
            mode: Mode::Hard,
        });
        let soft = self.soft.load(Ordering::Acquire);
        if soft > hard {
            give(Record::Everything {
                site,
                at: soft,
                mode: Mode::Soft,
            });
        }
        // The older first: reading has to end with the same halves.
        for (&tag, mark) in marks.old.iter().chain(&marks.young) {
            for (at, mode) in [(mark.hard, Mode::Hard), (mark.soft, Mode::Soft)] {
                if at > 0 {
                    give(Record::Tag { site, tag, at, mode });
                }
            }
        }
    }
}

/// How many marks are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For one site.
    pub(super) site: usize,
    /// For all.
    pub(super) total: usize,
}
