//! Purges by generation: O(1), whatever they concern.
//!
//! One logical clock for the process. A fill takes a [`Stamp`] before it asks the origin; a purge advances the
//! clock and writes the new time against a site or a tag. A stored response whose stamp is older than a mark
//! that concerns it is gone (or, by a soft purge, stale). Each response carries its URL as a tag, so that a URL
//! purge reaches every variant and key of it.
//!
//! Invariant: when [`Epochs::purge`] has returned, no response whose fill began before is served as fresh, nor
//! becomes so by being stored late: the comparison is made at each hit, not at the purge.
//!
//! Bounds: a site's marks are a table of `max_marks` entries (default 262,144, 24 bytes each). When it is full
//! the whole site is marked instead and the table begins anew: more is forgotten than was asked, never less.
//! Space is given back by the store when a purged response is met or evicted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};

/// Marks a site keeps before it is purged as a whole.
pub const DEFAULT_MAX_MARKS: usize = 262_144;

/// What a purge concerns, tags and URLs already hashed by [`crate::key::Keyer`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// Every response of the site.
    Everything,
    /// Every response with one of these tags; URLs are tags too.
    Tags(Vec<u64>),
}

/// What a purge does to the responses it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are forgotten.
    Hard,
    /// They become stale: revalidated before reuse, served where staleness is allowed.
    Soft,
}

/// What purges say about a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purged {
    /// None concerns it.
    No,
    /// Stale by a soft purge.
    Soft,
    /// Gone.
    Hard,
}

/// All sites' marks.
#[derive(Debug)]
pub struct Epochs {
    clock: AtomicU64,
    max_marks: usize,
    sites: RwLock<HashMap<u64, Arc<Site>, RandomState>>,
}

impl Epochs {
    /// No purges yet; each site keeps `max_marks` at most.
    pub fn new(max_marks: usize) -> Self {
        Self {
            clock: AtomicU64::new(1),
            max_marks: max_marks.max(1),
            sites: RwLock::default(),
        }
    }

    /// The present, for a response of `site`. To be taken before the origin is asked.
    pub fn stamp(&self, site: u64) -> Stamp {
        let site = self.site(site);
        Stamp {
            site,
            at: self.clock.load(Ordering::SeqCst),
        }
    }

    /// Makes `selector`'s responses of `site` gone or stale, those of fills now under way included.
    pub fn purge(&self, site: u64, selector: &Selector, mode: Mode) {
        let site = self.site(site);
        let at = self.advance();
        match selector {
            Selector::Everything => site.mark_all(at, mode),
            Selector::Tags(tags) => site.mark(tags, at, mode, self.max_marks),
        }
    }

    /// Advances the clock: stamps from before are older than the result.
    pub(crate) fn advance(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Forgets the sites that `keep` refuses; what was stored of them is gone for good.
    pub fn retain_sites(&self, keep: impl Fn(u64) -> bool) {
        self.sites.write().retain(|&id, site| {
            let kept = keep(id);
            if !kept {
                site.mark_all(u64::MAX, Mode::Hard);
            }
            kept
        });
    }

    fn site(&self, id: u64) -> Arc<Site> {
        if let Some(site) = self.sites.read().get(&id) {
            return Arc::clone(site);
        }
        Arc::clone(self.sites.write().entry(id).or_default())
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_MARKS)
    }
}

/// When, in purges of its site, a response was asked for.
#[derive(Clone, Debug)]
pub struct Stamp {
    site: Arc<Site>,
    at: u64,
}

impl Stamp {
    /// Whether it was taken before the clock came to `time`.
    pub(crate) const fn is_before(&self, time: u64) -> bool {
        self.at < time
    }

    /// What purges since this stamp say about a response with `tags`. `checked` is the response's own memory of
    /// how far it was compared already, so that tables are only read once per response and purge.
    pub fn purged(&self, tags: &[u64], checked: &AtomicU64) -> Purged {
        let site = &*self.site;
        if site.everything.hard.load(Ordering::Acquire) > self.at {
            return Purged::Hard;
        }
        let soft = site.everything.soft.load(Ordering::Acquire) > self.at;
        let latest = site.latest_mark.load(Ordering::Acquire);
        let mut verdict = if soft { Purged::Soft } else { Purged::No };
        if latest > self.at && latest > checked.load(Ordering::Relaxed) {
            let marks = site.marks.lock();
            for mark in tags.iter().filter_map(|tag| marks.get(tag)) {
                if mark.hard > self.at {
                    return Purged::Hard;
                }
                if mark.soft > self.at {
                    verdict = Purged::Soft;
                }
            }
            // A soft mark has to be seen again at the next hit.
            if verdict == Purged::No {
                checked.fetch_max(latest, Ordering::Relaxed);
            }
        }
        verdict
    }
}

/// One site's marks. A mark is the logical time of the last purge; zero is none.
#[derive(Debug, Default)]
struct Site {
    everything: AtomicMark,
    /// The newest mark in `marks`.
    latest_mark: AtomicU64,
    marks: Mutex<HashMap<u64, Mark, RandomState>>,
}

#[derive(Debug, Default)]
struct AtomicMark {
    hard: AtomicU64,
    soft: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    hard: u64,
    soft: u64,
}

impl Site {
    fn mark_all(&self, at: u64, mode: Mode) {
        match mode {
            Mode::Hard => self.everything.hard.fetch_max(at, Ordering::AcqRel),
            Mode::Soft => self.everything.soft.fetch_max(at, Ordering::AcqRel),
        };
    }

    fn mark(&self, tags: &[u64], at: u64, mode: Mode, max_marks: usize) {
        let mut marks = self.marks.lock();
        for &tag in tags {
            if marks.len() >= max_marks && !marks.contains_key(&tag) {
                self.mark_all(at, Mode::Hard);
                marks.clear();
            }
            let mark = marks.entry(tag).or_default();
            match mode {
                Mode::Hard => mark.hard = mark.hard.max(at),
                Mode::Soft => mark.soft = mark.soft.max(at),
            }
        }
        // Published last, under the lock: who sees it finds the marks.
        self.latest_mark.fetch_max(at, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purged(stamp: &Stamp, tags: &[u64]) -> Purged {
        stamp.purged(tags, &AtomicU64::new(0))
    }

    #[test]
    fn everything_of_a_site_is_gone_and_nothing_of_another() {
        let epochs = Epochs::default();
        let (mine, other) = (epochs.stamp(1), epochs.stamp(2));
        assert_eq!(purged(&mine, &[]), Purged::No);
        epochs.purge(1, &Selector::Everything, Mode::Hard);
        assert_eq!(purged(&mine, &[]), Purged::Hard);
        assert_eq!(purged(&other, &[]), Purged::No);
        assert_eq!(
            purged(&epochs.stamp(1), &[]),
            Purged::No,
            "a fill that begins afterwards is not concerned"
        );
    }

    #[test]
    fn a_tag_concerns_those_that_carry_it_even_when_they_are_stored_after_the_purge() {
        let epochs = Epochs::default();
        let before = epochs.stamp(1);
        epochs.purge(1, &Selector::Tags(vec![10, 11]), Mode::Hard);
        assert_eq!(purged(&before, &[9, 11]), Purged::Hard);
        assert_eq!(purged(&before, &[9]), Purged::No);
        assert_eq!(purged(&epochs.stamp(1), &[11]), Purged::No);
    }

    #[test]
    fn what_was_compared_once_is_compared_again_after_the_next_purge() {
        let epochs = Epochs::default();
        let (stamp, checked) = (epochs.stamp(1), AtomicU64::new(0));
        epochs.purge(1, &Selector::Tags(vec![10]), Mode::Hard);
        assert_eq!(stamp.purged(&[11], &checked), Purged::No);
        assert!(checked.load(Ordering::Relaxed) > 0);
        epochs.purge(1, &Selector::Tags(vec![11]), Mode::Hard);
        assert_eq!(stamp.purged(&[11], &checked), Purged::Hard);
    }

    #[test]
    fn a_soft_purge_makes_stale_at_every_hit_and_a_hard_one_prevails() {
        let epochs = Epochs::default();
        let (stamp, checked) = (epochs.stamp(1), AtomicU64::new(0));
        epochs.purge(1, &Selector::Tags(vec![10]), Mode::Soft);
        assert_eq!(stamp.purged(&[10], &checked), Purged::Soft);
        assert_eq!(stamp.purged(&[10], &checked), Purged::Soft);
        epochs.purge(1, &Selector::Everything, Mode::Hard);
        assert_eq!(stamp.purged(&[10], &checked), Purged::Hard);
    }

    #[test]
    fn a_full_table_forgets_more_than_asked_never_less() {
        let epochs = Epochs::new(2);
        let stamp = epochs.stamp(1);
        epochs.purge(1, &Selector::Tags(vec![1, 2]), Mode::Hard);
        assert_eq!(purged(&stamp, &[5]), Purged::No);
        epochs.purge(1, &Selector::Tags(vec![3]), Mode::Hard);
        assert_eq!(purged(&stamp, &[1]), Purged::Hard);
        assert_eq!(purged(&stamp, &[5]), Purged::Hard);
        assert_eq!(purged(&epochs.stamp(1), &[1]), Purged::No);
    }

    #[test]
    fn a_site_that_was_forgotten_takes_its_responses_along() {
        let epochs = Epochs::default();
        let stamp = epochs.stamp(1);
        epochs.retain_sites(|id| id != 1);
        assert_eq!(purged(&stamp, &[]), Purged::Hard);
        assert_eq!(purged(&epochs.stamp(1), &[]), Purged::No);
    }
}
