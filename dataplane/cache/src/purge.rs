//! Purges by generation: O(1), whatever they concern.
//!
//! One logical clock for the process. A fill takes a [`Stamp`] before it asks the origin; a purge advances the
//! clock and writes the new time against a site or a tag. A stored response whose stamp is older than a mark
//! that concerns it is gone (or, by a soft purge, stale). Each response carries its URL and the paths above it as
//! tags ([`crate::key::Keyer::prefix_tags`]), so that a purge by URL or prefix reaches every variant and key of it.
//!
//! Invariant: when [`Epochs::purge`] has returned, no response whose fill began before is served as fresh, nor
//! becomes so by being stored late: the comparison is made at each hit, not at the purge.
//!
//! Bounds: [`DEFAULT_MAX_MARKS`] of a site, four times as many of all sites together, 40 bytes each; see
//! `marks`. Space is given back by the store when a purged response is met or evicted. What outlives the process
//! is in [`journal`].

pub mod journal;
mod marks;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};

pub use journal::Record;
use marks::{Limits, Site};

/// Marks a site keeps before its older half becomes one mark on the whole site.
pub const DEFAULT_MAX_MARKS: usize = 262_144;

/// Sites' worth of marks that all sites together keep.
const SITES_OF_MARKS: usize = 4;

/// Purges that are remembered as carried out.
const MAX_DONE: usize = 16_384;

/// Bytes that wait to be appended to the journal; beyond, it is written anew.
const MAX_PENDING: usize = 4 << 20;

/// What a purge concerns, tags and URLs already hashed by [`crate::key::Keyer`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// Every response of the site.
    Everything,
    /// Every response with one of these tags; URLs and prefixes are tags too.
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

/// What a purge did: all there was to do, however many responses it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The logical time that was written.
    pub at: u64,
    /// How often it was written: once for a site or a tag.
    pub marks: usize,
}

/// What has to be done to a journal to bring it up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Append these bytes; there may be none.
    Append(Vec<u8>),
    /// Too much happened: replace it by [`Epochs::export`].
    Rewrite,
}

/// All sites' marks.
#[derive(Debug)]
pub struct Epochs {
    clock: AtomicU64,
    /// What the clock showed when the process began, if nothing was purged before: 0 when that is not known.
    began: AtomicU64,
    limits: Limits,
    sites: RwLock<HashMap<u64, Arc<Site>, RandomState>>,
    marks: AtomicUsize,
    /// Purges that were carried out, by the caller's names for them.
    done: Mutex<HashSet<u128, RandomState>>,
    /// None: there is no journal.
    pending: Mutex<Option<Pending>>,
}

impl Epochs {
    /// No purges yet; each site keeps `max_marks` at most.
    pub fn new(max_marks: usize) -> Self {
        let site = max_marks.max(1);
        Self {
            clock: AtomicU64::new(1),
            began: AtomicU64::new(1),
            limits: Limits {
                site,
                total: site.saturating_mul(SITES_OF_MARKS),
            },
            sites: RwLock::default(),
            marks: AtomicUsize::new(0),
            done: Mutex::default(),
            pending: Mutex::default(),
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

    /// The stamp of a response from before a restart, by [`Stamp::site`] and [`Stamp::at`]. `None`: the site is not
    /// known, and what was stored of it is gone.
    pub fn stamp_at(&self, site: u64, at: u64) -> Option<Stamp> {
        let site = Arc::clone(self.sites.read().get(&site)?);
        Some(Stamp { site, at })
    }

    /// The logical time now.
    pub(crate) fn now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }

    /// The stamp of a response of `site` that was asked for elsewhere, at the logical time `at` of this process; what is
    /// older than the process is from before every purge that it knows of.
    pub(crate) fn stamp_from(&self, site: u64, at: u64) -> Stamp {
        let site = self.site(site);
        let at = at.max(self.began.load(Ordering::SeqCst));
        Stamp { site, at }
    }

    /// Makes `selector`'s responses of `site` gone or stale, those of fills now under way included.
    pub fn purge(&self, site: u64, selector: &Selector, mode: Mode) -> Marked {
        let site = self.site(site);
        let at = self.advance();
        let marks = match selector {
            Selector::Everything => {
                site.mark_all(at, mode);
                self.note(Record::Everything {
                    site: site.id,
                    at,
                    mode,
                });
                1
            }
            Selector::Tags(tags) => {
                site.mark(tags, at, mode, self.limits, &self.marks, |record| self.note(record));
                let site = site.id;
                tags.iter()
                    .for_each(|&tag| self.note(Record::Tag { site, tag, at, mode }));
                tags.len()
            }
        };
        Marked { at, marks }
    }

    /// Whether the purge that the caller names `uid` was carried out: [`Self::set_done`] was called since.
    pub fn is_done(&self, uid: u128) -> bool {
        self.done.lock().contains(&uid)
    }

    /// Remembers that the purge `uid` was carried out. Past a bound others are forgotten, and may be carried out
    /// again.
    pub fn set_done(&self, uid: u128) {
        let mut done = self.done.lock();
        if done.len() >= MAX_DONE && !done.contains(&uid) {
            done.clear();
        }
        done.insert(uid);
        let at = self.clock.load(Ordering::SeqCst);
        self.note(Record::Done { uid, at });
    }

    /// Forgets the purges that `keep` refuses: they will not be asked for again.
    pub fn retain_done(&self, keep: impl Fn(u128) -> bool) {
        self.done.lock().retain(|&uid| keep(uid));
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
                self.marks.fetch_sub(site.len(), Ordering::Relaxed);
                let at = self.advance();
                self.note(Record::Closed { site: id, at });
            }
            kept
        });
    }

    /// Marks of tags that are kept, of all sites.
    pub fn marks(&self) -> usize {
        self.marks.load(Ordering::Relaxed)
    }

    /// Begins to keep what [`Self::take_journal`] gives. The first is [`Pending::Rewrite`].
    pub fn keep_journal(&self) {
        *self.pending.lock() = Some(Pending::Rewrite);
    }

    /// What was not given yet; `None` without [`Self::keep_journal`]. A purge that has returned is in it.
    pub fn take_journal(&self) -> Option<Pending> {
        let mut pending = self.pending.lock();
        let kept = pending.as_mut()?;
        Some(std::mem::replace(kept, Pending::Append(Vec::new())))
    }

    /// A whole journal. `secret` is [`crate::key::Keyer::identity`].
    pub fn export(&self, secret: u64) -> Vec<u8> {
        // Before the marks are read: none in the file is newer than the clock that is restored from it.
        let mut out = journal::header(secret, self.clock.load(Ordering::SeqCst)).to_vec();
        let sites: Vec<_> = self.sites.read().values().map(Arc::clone).collect();
        for site in sites {
            site.records(|record| out.extend(record.encode()));
        }
        let at = self.clock.load(Ordering::SeqCst);
        for &uid in &*self.done.lock() {
            out.extend(Record::Done { uid, at }.encode());
        }
        out
    }

    /// Takes in what a journal says; to be called before anything is stored. Returns the journal's length without a
    /// torn tail: where appending goes on. `newest` is the newest [`Stamp::at`] of what is stored, if that is known:
    /// the clock goes on after it.
    ///
    /// # Errors
    /// It cannot be read: no site is known, and with [`Self::stamp_at`] everything is gone.
    pub fn restore(&self, bytes: &[u8], secret: u64, newest: u64) -> Result<usize, journal::Error> {
        // When these purges were is not known: what others asked for before this process began may be older than all.
        self.began.store(0, Ordering::SeqCst);
        let journal = journal::read(bytes, secret)?;
        let mut clock = journal.clock.max(newest);
        let mut sites = self.sites.write();
        for record in journal.records {
            // An unknown site begins here: what is older than the first word of it is gone.
            let open = |at| move || Arc::new(Site::new(site_of(record), at));
            match record {
                Record::Everything { site, at, mode } => {
                    // A site becomes known by a hard mark; a soft one alone says nothing of what was before.
                    sites.entry(site).or_insert_with(open(at)).mark_all(at, mode);
                    clock = clock.max(at);
                }
                Record::Tag { site, tag, at, mode } => {
                    let site = sites.entry(site).or_insert_with(open(at));
                    site.mark(&[tag], at, mode, self.limits, &self.marks, |_| {});
                    clock = clock.max(at);
                }
                Record::Closed { site, at } => {
                    if let Some(site) = sites.remove(&site) {
                        // Who has a stamp of it is not told of later purges.
                        site.mark_all(u64::MAX, Mode::Hard);
                        self.marks.fetch_sub(site.len(), Ordering::Relaxed);
                    }
                    clock = clock.max(at);
                }
                Record::Done { uid, at } => {
                    let mut done = self.done.lock();
                    if done.len() < MAX_DONE {
                        done.insert(uid);
                    }
                    clock = clock.max(at);
                }
            }
        }
        self.clock.fetch_max(clock.saturating_add(1), Ordering::SeqCst);
        Ok(journal.end)
    }

    fn site(&self, id: u64) -> Arc<Site> {
        if let Some(site) = self.sites.read().get(&id) {
            return Arc::clone(site);
        }
        let mut sites = self.sites.write();
        let open = || {
            let at = self.clock.load(Ordering::SeqCst);
            self.note(Record::Everything {
                site: id,
                at,
                mode: Mode::Hard,
            });
            Arc::new(Site::new(id, at))
        };
        Arc::clone(sites.entry(id).or_insert_with(open))
    }

    /// Keeps a record for the journal, if there is one.
    fn note(&self, record: Record) {
        let mut pending = self.pending.lock();
        match &mut *pending {
            Some(Pending::Append(bytes)) if bytes.len() < MAX_PENDING => bytes.extend(record.encode()),
            Some(full @ Pending::Append(_)) => *full = Pending::Rewrite,
            _ => {}
        }
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_MARKS)
    }
}

const fn site_of(record: Record) -> u64 {
    match record {
        Record::Everything { site, .. } | Record::Tag { site, .. } | Record::Closed { site, .. } => site,
        Record::Done { .. } => 0,
    }
}

/// When, in purges of its site, a response was asked for.
#[derive(Clone, Debug)]
pub struct Stamp {
    site: Arc<Site>,
    at: u64,
}

impl Stamp {
    /// The site. With [`Self::at`], what a record that outlives the process has to keep.
    pub fn site(&self) -> u64 {
        self.site.id
    }

    /// The logical time.
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// Whether it was taken before the clock came to `time`.
    pub(crate) const fn is_before(&self, time: u64) -> bool {
        self.at < time
    }

    /// What purges since this stamp say about a response with `tags`. `checked` is the response's own memory of
    /// how far it was compared already, so that tables are only read once per response and purge.
    pub fn purged(&self, tags: &[u64], checked: &AtomicU64) -> Purged {
        self.site.purged(self.at, tags, checked)
    }
}

#[cfg(test)]
mod tests;
