//! The disk tier: a log of segments, and in memory 16 bytes for each object.
//!
//! Content is written once, in order, and goes with the oldest segment. A large object lies in pieces, so that a range
//! reads what it needs and a fetch is written while it comes; a 304 writes a new head that refers to the old pieces.
//!
//! Invariants: bytes are served only under their checksum, key and segment number; what was removed or purged is never
//! found again, also after a restart; a store of another format, or one that is damaged where that cannot be known, is
//! emptied. Nothing here waits for a disk but [`Log`], [`Place::read`], [`Store::recover`] and a purge: threads belong to
//! the caller, and so do retries, of which there are none.
//!
//! Not a library (foyer): it loads values whole, drops what is larger than a block, and takes 40 bytes and more for each
//! object (docs/caching.md, "The disk").

mod codec;
mod counters;
mod extents;
mod ghost;
mod index;
mod io;
mod journal;
mod log;
mod open;
mod pinned;
mod place;
mod queue;
mod record;
mod recover;
mod segment;
mod settle;
mod spill;
mod superblock;
mod synthetic;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

pub use codec::{StoredObject, Variants, decode_object, decode_removed, decode_variants};
pub use counters::{Complaint, DiskStats};
pub use extents::Extents;
pub use io::{Dir, File, write_all_at};
pub use log::Log;
pub use open::{Opened, open, peek};
pub use pinned::{Part, Pinned};
pub use place::Place;
pub use record::{Damaged, Record};
pub use segment::{Contents, Segment, believed};
pub use settle::Settled;
pub use spill::{Follower, Lost, Spill, Trail};
pub use superblock::Superblock;
pub use synthetic::synthesize;

use crate::key::Key;
use crate::object::Object;
use crate::purge::Pending;
use counters::Counters;
use ghost::Ghost;
use index::{At, Index, MAX_SEGMENTS};
use queue::{Queue, Work};
use record::MAX_RECORD;
use segment::Listed;
use settle::Settling;

/// The format of everything on the disk. One that is not this one is not read.
pub const FORMAT: u32 = 3;

/// Content up to this size is in its object's own record, and is read with it; bytes.
pub const INLINE: u64 = 256 * 1024;

/// Bytes of content that wait to be written at most, unless it is one object.
const QUEUE: u64 = 32 << 20;

/// Bytes of disk for each entry of the index: of the first so many bytes of the disk, and of the rest. Objects that are
/// smaller on average do not all find room in it. A small disk can afford more entries: they are few.
const BYTES_PER_ENTRY: [u64; 2] = [8 * 1024, 32 * 1024];
const DENSE: u64 = 16 << 30;

/// The file of what origins said of queries.
const SEARCHES: &str = "searches";

/// The smallest and the largest segment, bytes.
const SEGMENT: (u64, u64) = (1 << 20, 256 << 20);

/// The smallest store, bytes.
pub const SMALLEST: u64 = 8 << 20;

/// What a store may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// Bytes of disk. Rounded down to whole segments.
    pub bytes: u64,
}

/// Whether a segment may have this size.
const fn is_segment_size(bytes: u64) -> bool {
    bytes.is_power_of_two() && bytes >= SEGMENT.0 && bytes <= SEGMENT.1
}

/// The segments of a new store: a sixty-fourth of it, so that what goes at once is little.
const fn segment_size(bytes: u64) -> u64 {
    let part = bytes / 64;
    let part = if part < SEGMENT.0 { SEGMENT.0 } else { part };
    let part = 1 << part.ilog2();
    if part > SEGMENT.1 { SEGMENT.1 } else { part }
}

/// The entries of the index of a store of so many bytes.
const fn entries_for(bytes: u64) -> u64 {
    let dense = if bytes < DENSE { bytes } else { DENSE };
    let [first, rest] = BYTES_PER_ENTRY;
    dense / first + (bytes - dense) / rest
}

/// The tier.
#[derive(Debug)]
pub struct Store {
    dir: Arc<dyn Dir>,
    superblock: Superblock,
    index: Index,
    /// In the order of their numbers.
    segments: RwLock<VecDeque<Arc<Segment>>>,
    queue: Queue,
    settling: Settling,
    ghost: Ghost,
    /// The list of purges; none until the first whole one is there.
    journal: Mutex<Option<journal::Journal>>,
    /// Segments at most.
    most: AtomicU64,
    sequence: AtomicU64,
    /// The segment that is written to.
    active: AtomicU64,
    ids: AtomicU64,
    /// Keys may be on their way from one segment to another.
    reclaiming: AtomicBool,
    counters: Counters,
}

/// What a record said.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// A response, with its content if that is small.
    Object(Box<StoredObject>, Bytes),
    /// How the key's responses vary.
    Variants(Variants),
}

/// The key of a variant.
pub(crate) fn variant_key(base: Key, variant: crate::vary::Fingerprint, salt: u64) -> Key {
    // Any two salts make unrelated keys; the rest is hashed already.
    let spread = u128::from(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Key(variant.fill_key(base).0 ^ spread.rotate_left(61) ^ spread)
}

impl Store {
    fn new(dir: Arc<dyn Dir>, superblock: Superblock, config: &DiskConfig) -> Self {
        let segments = (config.bytes / superblock.segment).clamp(4, MAX_SEGMENTS - 2);
        let entries = entries_for(segments * superblock.segment);
        Self {
            dir,
            superblock,
            index: Index::new(entries),
            segments: RwLock::default(),
            queue: Queue::new(QUEUE),
            settling: Settling::default(),
            ghost: Ghost::new(entries),
            journal: Mutex::default(),
            most: AtomicU64::new(segments),
            sequence: AtomicU64::new(0),
            active: AtomicU64::new(u64::MAX),
            ids: AtomicU64::new(u64::from(superblock.boot) << 32),
            reclaiming: AtomicBool::new(false),
            counters: Counters::default(),
        }
    }

    /// What it says of itself.
    pub const fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Where a key's record is; counts as a use.
    pub fn find(&self, key: Key) -> Option<Place> {
        let place = self.place(key)?;
        self.index.used(key);
        Some(place)
    }

    /// As [`Self::find`], of which it is no use.
    pub fn peek_place(&self, key: Key) -> Option<Place> {
        self.place(key)
    }

    /// Whether this is the segment that is written to.
    pub fn is_active(&self, sequence: u64) -> bool {
        self.active.load(Ordering::Relaxed) == sequence
    }

    /// Counts a use of a key that has a record. Returns whether it has one.
    pub fn used(&self, key: Key) -> bool {
        self.index.used(key)
    }

    /// Whether a key has a record.
    pub fn contains(&self, key: Key) -> bool {
        self.index.get(key).is_some()
    }

    /// What the bytes at a place say of a key; nothing if they are of another.
    ///
    /// # Errors
    /// [`Damaged`]: [`Self::forget`] it.
    pub fn decode(&self, place: &Place, key: Key, bytes: &Bytes) -> Result<Option<Loaded>, Damaged> {
        Self::decoded(place, key, bytes).inspect_err(|_| self.count_damaged())
    }

    /// As [`Self::decode`], for people: what is damaged counts nowhere.
    pub fn peek_at(&self, place: &Place, key: Key, bytes: &Bytes) -> Option<Loaded> {
        Self::decoded(place, key, bytes).ok().flatten()
    }

    fn decoded(place: &Place, key: Key, bytes: &Bytes) -> Result<Option<Loaded>, Damaged> {
        let record = Record::parse(bytes, place.segment.sequence)?;
        if record.header.key != key {
            return Ok(None);
        }
        let loaded = match record.header.kind {
            record::Kind::Object => decode_object(&record.head)
                .filter(|object| object.extents.is_none() || record.content.is_empty())
                .map(|object| Loaded::Object(Box::new(object), record.content)),
            record::Kind::Vary => decode_variants(&record.head).map(Loaded::Variants),
            record::Kind::Chunk | record::Kind::Remove => None,
        };
        loaded.map(Some).ok_or(Damaged)
    }

    /// Forgets a key whose record at `place` is of no use.
    pub fn forget(&self, key: Key, place: &Place) {
        self.index.remove_at(key, place.at());
    }

    /// Whether a key's record is at `place` still.
    pub fn is_at(&self, key: Key, place: &Place) -> bool {
        self.index.is_at(key, place.at())
    }

    /// Notes that a key was asked for. Returns whether that was so before, not long ago.
    pub fn seen(&self, key: Key) -> bool {
        self.ghost.seen(key)
    }

    /// Has an object written. Returns whether there was room in the queue.
    pub fn put(&self, key: Key, object: &Arc<Object>) -> bool {
        let object = Arc::clone(object);
        let replaces = None;
        self.queue(Work::Write { key, object, replaces })
    }

    /// As [`Self::put`], in the place of what the key has there, which is not found from now on: neither before the object
    /// is written nor after a restart. `former` is where that is, if it is a variant of the key.
    pub fn put_over(&self, key: Key, former: Option<Key>, object: &Arc<Object>) -> bool {
        let soon = object.size() <= INLINE && self.queue.bytes() == 0;
        let replaces = match soon {
            // Its own record says the same as soon as a removal could.
            true => self.out_of_date(key, former).filter(|at| self.index.remove(*at)),
            false => {
                self.supersede(key, former);
                None
            }
        };
        let object = Arc::clone(object);
        self.queue(Work::Write { key, object, replaces })
    }

    /// Forgets what the key has, as what takes its place is written otherwise or not at all. As [`Self::put_over`].
    pub fn supersede(&self, key: Key, former: Option<Key>) {
        if let Some(at) = self.out_of_date(key, former) {
            self.remove(at);
        }
    }

    /// Where the response is that is out of date when one comes for `key`. One of several variants is only known by
    /// `former`: the others stay.
    fn out_of_date(&self, key: Key, former: Option<Key>) -> Option<Key> {
        if former.is_some_and(|former| self.contains(former)) {
            return former;
        }
        self.place(key).filter(|place| !place.vary).map(|_| key)
    }

    /// Whether the queue has room for an object; one that is refused for this is counted.
    pub fn has_room(&self) -> bool {
        let full = self.queue.is_full();
        if full {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        !full
    }

    /// Begins to write a response that is still coming.
    pub fn spill(self: &Arc<Self>, key: Key) -> Spill {
        Spill::new(Arc::clone(self), self.next_id(), key)
    }

    /// Forgets a key and its variants, at once and after a restart; what is queued for it included. It is noted in the log
    /// ahead of all content that waits.
    pub fn remove(&self, key: Key) {
        if !self.index.remove(key) && self.queue.is_empty() && !self.reclaiming.load(Ordering::SeqCst) {
            return;
        }
        if !self.queue.push(Work::Remove(key)) && !self.queue.is_closed() {
            self.distrust("removals cannot be noted");
        }
        // Again: it may have been written in between.
        self.index.remove(key);
    }

    /// Forgets everything, for as long as this process uses the store, and afterwards.
    pub fn empty(&self) {
        self.distrust("too much happened before it could be used");
        let sequences: Vec<_> = self.segments.read().iter().map(|segment| segment.sequence).collect();
        sequences
            .into_iter()
            .for_each(|sequence| self.index.remove_segment(sequence));
    }

    /// The largest object that is taken.
    pub fn largest(&self) -> u64 {
        self.limit() / 4
    }

    fn limit(&self) -> u64 {
        self.max_segments() * self.superblock.segment
    }

    /// Whether removals are not in the log yet.
    pub(crate) fn owes_removals(&self) -> bool {
        self.queue.has_removals()
    }

    /// Takes nothing more, and ends the writer when it has done what waits.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Whether it takes nothing more.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Brings the list of purges up to date and, if `synced`, waits until that is on the disk: else it survives the end of
    /// this process, but not of the machine. `take` says what is new, `whole` gives all of it; neither is called when the
    /// store is closed.
    pub(crate) fn keep_purges(
        &self,
        synced: bool,
        take: impl FnOnce() -> Option<Pending>,
        whole: impl FnOnce() -> Vec<u8>,
    ) {
        let mut journal = self.journal.lock();
        if self.is_closed() {
            return;
        }
        let Some(pending) = take() else { return };
        let kept = match (&mut *journal, pending) {
            (Some(journal), Pending::Append(bytes)) if !journal.is_full() => {
                journal.append(&bytes).and_then(|()| match synced {
                    true => journal.sync(),
                    false => Ok(()),
                })
            }
            _ => journal::Journal::create(&*self.dir, whole()).map(|new| *journal = Some(new)),
        };
        if let Err(error) = kept {
            self.counters.errors.write.fetch_add(1, Ordering::Relaxed);
            self.distrust(&format!("purges cannot be noted: {error}"));
        }
    }

    /// Keeps what origins said of queries ([`crate::searches`]), in the place of what was kept before.
    pub(crate) fn keep_searches(&self, list: &[u8]) {
        if !self.is_closed() && self.dir.replace(SEARCHES, list).is_err() {
            self.counters.errors.write.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has [`Log::work`] come back soon.
    pub(crate) fn wake(&self) {
        self.queue.wake();
    }

    fn queue(&self, work: Work) -> bool {
        let queued = self.queue.push(work);
        if !queued {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        queued
    }

    fn place(&self, key: Key) -> Option<Place> {
        let found = self.index.get(key)?;
        let segments = self.segments.read();
        let oldest = segments.front()?.sequence;
        let ahead = (found.segment + MAX_SEGMENTS - oldest % MAX_SEGMENTS) % MAX_SEGMENTS;
        Some(Place {
            segment: Arc::clone(segment_of(&segments, oldest + ahead)?),
            unit: found.unit,
            units: found.units,
            vary: found.vary,
        })
    }

    /// Whether all of an object's content is there.
    fn holds(&self, extents: &Extents) -> bool {
        let segments = self.segments.read();
        extents
            .runs
            .iter()
            .all(|run| segment_of(&segments, run.sequence).is_some())
    }

    fn segment_count(&self) -> u64 {
        self.segments.read().len() as u64
    }

    fn max_segments(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    fn limit_for_tests(&self, segments: u64) {
        self.most.store(segments, Ordering::Relaxed);
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The longest record: two fit into a segment.
    fn longest_record(&self) -> u64 {
        MAX_RECORD.min(self.superblock.segment / 2)
    }

    fn replay(&self, sequence: u64, listed: &[Listed]) {
        for entry in listed {
            let at = At {
                sequence,
                unit: entry.unit,
            };
            match entry.kind {
                record::Kind::Object | record::Kind::Vary => {
                    self.index.insert(entry.key, at, entry.units, entry.kind, entry.expiry);
                }
                record::Kind::Remove => drop(self.index.remove(entry.key)),
                record::Kind::Chunk => {}
            }
        }
    }
}

fn segment_of(segments: &VecDeque<Arc<Segment>>, sequence: u64) -> Option<&Arc<Segment>> {
    let index = segments
        .binary_search_by_key(&sequence, |segment| segment.sequence)
        .ok()?;
    segments.get(index)
}
