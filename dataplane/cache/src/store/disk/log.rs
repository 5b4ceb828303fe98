//! The writer: the one thread that changes the log.
//!
//! It appends records to the newest segment, seals it when it is full, and makes room by letting the oldest go: of that,
//! what was used since it was written is written again, up to half of a segment, so that reads keep things alive and
//! writing stays bounded.
//!
//! Invariant: a key is findable only when its record is written whole. What cannot be written is lost, never half there:
//! a disk that fails costs hits. After [`FAILURES`] failures in a row it rests for a while, doubling.

mod reclaim;
mod removals;
mod variants;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::codec::{self, MAX_REMOVED};
use super::extents::Extents;
use super::index::At;
use super::io::write_all_at;
use super::queue::{Item, Work};
use super::record::{self, CHUNK, Header, Kind, UNIT};
use super::segment::{Contents, Segment, encode_header, encode_seal, list_units, name_of, units_of};
use super::spill::Spilled;
use super::{INLINE, Store};
use crate::key::Key;
use crate::object::Object;
use crate::time::Timestamp;

/// Failures in a row after which the disk rests.
const FAILURES: u32 = 3;

/// The first rest, and the longest, milliseconds.
const REST: (u64, u64) = (10_000, 300_000);

/// Segments that are let go for a new one on a full disk: if that is not enough, others take the room.
const GIVEN: u32 = 2;

/// How long removals may wait to reach the disk itself, milliseconds.
const SYNC: u64 = 1_000;

/// How long something of no stated use after its freshness may still be of use: one day, in milliseconds.
const GRACE: u64 = 24 * 3600 * 1000;

/// Why something is not in the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritten {
    #[error(transparent)]
    Disk(#[from] io::Error),
    #[error("it is of no use")]
    Useless,
}

/// The writer's own state.
#[derive(Debug)]
pub struct Log {
    store: Arc<Store>,
    active: Option<Active>,
    /// The record in the making.
    out: Vec<u8>,
    failures: u32,
    rest: u64,
    /// The disk rests until then.
    resting: Option<Timestamp>,
    /// Removals that are not in the log, with their place in the order.
    waiting: Vec<(Key, u64)>,
    /// Since when a removal waits to reach the disk.
    unsynced: Option<Timestamp>,
    now: Timestamp,
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) contents: Contents,
}

impl Log {
    pub(super) fn new(store: Arc<Store>, active: Option<Active>) -> Self {
        let written_to = active.as_ref().map_or(u64::MAX, |active| active.segment.sequence);
        store.active.store(written_to, Ordering::Relaxed);
        Self {
            store,
            active,
            out: Vec::new(),
            failures: 0,
            rest: REST.0,
            resting: None,
            waiting: Vec::new(),
            unsynced: None,
            now: Timestamp::from_millis(0),
        }
    }

    /// Does what waits, or waits for something to do for at most so long. Returns whether there will be more.
    pub fn work(&mut self, now: Timestamp, patience: Duration) -> bool {
        self.now = now;
        match self.store.queue.take(patience) {
            Some(item) => self.item(item),
            None if self.store.queue.is_closed() => {
                self.finish();
                return false;
            }
            None => {}
        }
        if self.unsynced.is_some_and(|since| now.millis_since(since) >= SYNC) {
            self.sync();
        }
        true
    }

    fn item(&mut self, Item { order, work }: Item) {
        if self.resting.is_some_and(|until| self.now < until) {
            match work {
                Work::Remove(key) => self.wait_with(key, order),
                work => {
                    self.lose(&work);
                    self.end_replaced(&work, order);
                }
            }
            return;
        }
        let done = self.write_waiting().and_then(|()| self.write(order, &work));
        match done {
            Ok(()) => {
                self.failures = 0;
                self.rest = REST.0;
                self.resting = None;
            }
            Err(Unwritten::Useless) => {
                self.lose(&work);
                self.end_replaced(&work, order);
            }
            Err(Unwritten::Disk(error)) => {
                self.lose(&work);
                self.failed(&error);
                self.end_replaced(&work, order);
                if let Work::Remove(key) = work {
                    self.wait_with(key, order);
                }
            }
        }
    }

    /// What a response that cannot be written was to replace must not come back after a restart.
    fn end_replaced(&mut self, work: &Work, order: u64) {
        if let Work::Write { replaces: Some(at), .. } = work {
            self.wait_with(*at, order);
        }
    }

    fn write(&mut self, order: u64, work: &Work) -> Result<(), Unwritten> {
        match work {
            Work::Write { key, object, .. } => self.put(*key, object, order),
            Work::Chunk { of, data } => self.chunk(of, data),
            Work::Commit { of, key, object } => self.commit(of, *key, object, order),
            Work::Remove(key) => self.remove(*key, order),
        }
    }

    fn put(&mut self, key: Key, object: &Object, order: u64) -> Result<(), Unwritten> {
        if object.body.len() > self.store.largest() {
            return Err(Unwritten::Useless);
        }
        if self.store.queue.is_removed(key, order) {
            object.unmark_offered();
            return Ok(());
        }
        if let Some(extents) = object.body.extents() {
            let extents = Arc::clone(extents);
            return self.head(key, object, Some(&extents), order);
        }
        if object.body.len() <= INLINE {
            return self.head(key, object, None, order);
        }
        let mut extents = Extents::new(self.store.next_id(), key);
        let mut offset = 0;
        while offset < object.body.len() {
            let pieces: Vec<Bytes> = object.body.slice(offset, CHUNK).collect();
            self.piece(&mut extents, pieces.iter().map(|piece| &piece[..]))?;
            offset += CHUNK;
        }
        self.head(key, object, Some(&extents), order)
    }

    fn chunk(&mut self, of: &Spilled, data: &Bytes) -> Result<(), Unwritten> {
        if of.has_failed() {
            return Ok(());
        }
        // Only this thread changes them. They are not locked while it writes: who reads behind must not wait for that.
        let (id, key, length) = {
            let extents = of.extents.lock();
            (extents.id, extents.key, extents.len())
        };
        let at = self.append_piece((id, key), length, std::iter::once(&data[..]))?;
        let noted = of.extents.lock().push(at.sequence, at.unit, data.len() as u64);
        of.wake();
        noted.then_some(()).ok_or(Unwritten::Useless)
    }

    fn commit(&mut self, of: &Spilled, key: Key, object: &Object, order: u64) -> Result<(), Unwritten> {
        if of.has_failed() {
            return Ok(());
        }
        let extents = of.extents.lock().clone();
        self.head(key, object, Some(&extents), order)
    }

    /// Appends a piece of large content and notes it.
    fn piece<'a>(
        &mut self,
        extents: &mut Extents,
        data: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<(), Unwritten> {
        let length = data.clone().map(|piece| piece.len() as u64).sum();
        let at = self.append_piece((extents.id, extents.key), extents.len(), data)?;
        let noted = extents.push(at.sequence, at.unit, length);
        noted.then_some(()).ok_or(Unwritten::Useless)
    }

    /// Appends the piece of large content that begins with the byte `offset`.
    fn append_piece<'a>(
        &mut self,
        (id, key): (u64, Key),
        offset: u64,
        data: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<At, Unwritten> {
        let header = Header {
            id,
            number: u32::try_from(offset / CHUNK).map_err(|_| Unwritten::Useless)?,
            ..Header::new(Kind::Chunk, key)
        };
        self.append(header, &[], data)
    }

    /// Appends the record an object is found by.
    fn head(&mut self, base: Key, object: &Object, extents: Option<&Extents>, order: u64) -> Result<(), Unwritten> {
        if extents.is_some_and(|extents| !self.store.holds(extents)) {
            return Err(Unwritten::Useless);
        }
        // The removal may be in the log by now: a record behind it would be found after a restart.
        if self.store.queue.is_removed(base, order) {
            object.unmark_offered();
            return Ok(());
        }
        let (key, salt) = self.place_of(base, object, order)?;
        let header = Header {
            expiry: expiry(object),
            ..Header::new(Kind::Object, key)
        };
        let head = codec::encode_object(object, base, salt, extents);
        let content = object.body.chunks().iter().map(|piece| &piece[..]);
        let content = content.take(if extents.is_some() { 0 } else { usize::MAX });
        let at = self.append(header, &head, content)?;
        self.store.counters.admitted.fetch_add(1, Ordering::Relaxed);
        self.find_at(base, key, at, header, order);
        object.set_disk_key(key);
        Ok(())
    }

    /// Makes what was just appended findable, unless `base` was removed meanwhile.
    fn find_at(&self, base: Key, key: Key, at: At, header: Header, order: u64) {
        let units = self.out.len() as u64 / UNIT;
        let index = &self.store.index;
        self.store.queue.unless_removed(base, order, || {
            index.insert(
                key,
                at,
                u32::try_from(units).unwrap_or(u32::MAX),
                header.kind,
                header.expiry,
            );
        });
    }

    /// Appends a record.
    fn append<'a>(
        &mut self,
        header: Header,
        head: &[u8],
        content: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<At, Unwritten> {
        let length: u64 = content.clone().map(|piece| piece.len() as u64).sum();
        let size = record::HEADER as u64 + head.len() as u64 + length;
        if size > self.store.longest_record() {
            return Err(Unwritten::Useless);
        }
        let entries = if header.kind == Kind::Remove { MAX_REMOVED } else { 1 };
        self.make_room(size.div_ceil(UNIT) as u32, entries)?;
        let Some(active) = &mut self.active else {
            return Err(Unwritten::Useless);
        };
        let at = At {
            sequence: active.segment.sequence,
            unit: active.contents.end,
        };
        let header = Header {
            sequence: at.sequence,
            boot: self.store.superblock.boot,
            ..header
        };
        let header = record::write(header, head, content, &mut self.out);
        write_all_at(&*active.segment.file, &self.out, u64::from(at.unit) * UNIT)?;
        active.contents.note(&header, head);
        self.store
            .counters
            .written
            .fetch_add(self.out.len() as u64, Ordering::Relaxed);
        Ok(at)
    }

    /// Sees to it that so many units, with so many entries in the list, fit into the newest segment.
    fn make_room(&mut self, units: u32, entries: usize) -> Result<(), Unwritten> {
        let all = units_of(self.store.superblock.segment);
        if let Some(active) = &self.active {
            let contents = &active.contents;
            if contents.end + units + list_units(contents.listed.len() + entries) <= all {
                return Ok(());
            }
            self.seal()?;
        }
        self.next_segment()
    }

    /// Ends the newest segment.
    fn seal(&mut self) -> io::Result<()> {
        let Some(Active { segment, contents }) = self.active.take() else {
            return Ok(());
        };
        self.store.active.store(u64::MAX, Ordering::Relaxed);
        let size = self.store.superblock.segment;
        let (list, seal) = encode_seal(segment.sequence, size, contents.end, &contents.listed);
        write_all_at(&*segment.file, &list, u64::from(contents.end) * UNIT)?;
        // The list and what it lists reach the disk before the seal that vouches for them.
        segment.file.sync()?;
        write_all_at(&*segment.file, &seal, u64::from(units_of(size) - 1) * UNIT)?;
        segment.file.sync()?;
        self.unsynced = None;
        Ok(())
    }

    /// Begins a segment, for which the oldest may have to go.
    fn next_segment(&mut self) -> Result<(), Unwritten> {
        let mut survivors = Vec::new();
        while self.store.segment_count() >= self.store.max_segments() {
            survivors.push(self.reclaim());
        }
        let sequence = self.store.next_sequence();
        let size = self.store.superblock.segment;
        let mut given = 0;
        let file = loop {
            match self.store.dir.create(&name_of(sequence), size) {
                Ok(file) => break file,
                // The disk has less room than it was said to have: the store stays as large as it is.
                Err(error) if is_full(&error) && given < GIVEN && self.store.segment_count() > 0 => {
                    self.store.counters.errors.full.fetch_add(1, Ordering::Relaxed);
                    given += 1;
                    // What is let go makes room only when it is closed.
                    survivors.clear();
                    drop(self.reclaim());
                }
                Err(error) => return Err(error.into()),
            }
        };
        write_all_at(&*file, &encode_header(self.store.superblock.id, sequence, size), 0)?;
        let segment = Arc::new(Segment { sequence, file });
        self.store.segments.write().push_back(Arc::clone(&segment));
        let contents = Contents {
            listed: Vec::new(),
            end: 1,
            sealed: false,
        };
        self.active = Some(Active { segment, contents });
        self.store.active.store(sequence, Ordering::Relaxed);
        survivors
            .into_iter()
            .try_for_each(|survivors| self.write_again(survivors))
    }

    /// Lets what was written reach the disk.
    fn sync(&mut self) {
        self.unsynced = None;
        let synced = self.active.as_ref().map_or(Ok(()), |active| active.segment.file.sync());
        if let Err(error) = synced {
            self.failed(&error);
        }
    }

    fn finish(&mut self) {
        if let Err(Unwritten::Disk(error)) = self.write_waiting() {
            self.failed(&error);
        }
        if !self.waiting.is_empty() {
            self.store.distrust("removals cannot be noted");
        }
        self.sync();
        self.store.segments.write().clear();
        self.active = None;
        self.store.settle_all();
    }

    fn lose(&self, work: &Work) {
        match work {
            Work::Write { object, .. } => {
                self.store.counters.lost.fetch_add(1, Ordering::Relaxed);
                object.unmark_offered();
            }
            Work::Chunk { of, .. } => of.fail(),
            Work::Commit { .. } => drop(self.store.counters.lost.fetch_add(1, Ordering::Relaxed)),
            Work::Remove(_) => {}
        }
    }

    fn failed(&mut self, error: &io::Error) {
        let store = Arc::clone(&self.store);
        let errors = &store.counters.errors;
        let counter = if is_full(error) { &errors.full } else { &errors.write };
        counter.fetch_add(1, Ordering::Relaxed);
        // What was written there may not have arrived: the next goes elsewhere.
        if self.seal().is_err() {
            errors.write.fetch_add(1, Ordering::Relaxed);
        }
        self.failures += 1;
        if self.failures >= FAILURES {
            self.resting = Some(self.now.plus_millis(self.rest));
            self.store.note_rest(error, self.rest);
            self.rest = (self.rest * 2).min(REST.1);
            self.failures = 0;
        }
    }
}

/// Whether an error says that there is no room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Unix seconds from which an object is not worth keeping.
fn expiry(object: &Object) -> u32 {
    let freshness = &object.meta.freshness;
    let after = freshness
        .while_revalidate
        .max(freshness.if_error.unwrap_or(0))
        .max(GRACE);
    let left = freshness.lifetime.saturating_sub(freshness.initial_age);
    let until = freshness.received.plus_millis(left).plus_millis(after);
    u32::try_from(until.as_secs()).unwrap_or(u32::MAX)
}
