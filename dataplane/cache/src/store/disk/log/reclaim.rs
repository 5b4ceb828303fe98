//! Letting the oldest segment go, and keeping of it what was used.
//!
//! Bounds: half of a segment is written again at most, what was used most first, so that of what is written at least half
//! is new.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::codec;
use super::super::index::{At, Found};
use super::super::record::{CHUNK_UNITS, Header, Kind, Record, UNIT};
use super::super::segment::{Listed, Segment, name_of, units_of};
use super::super::{Loaded, Place};
use super::{Log, Unwritten};
use crate::key::Key;

/// The part of a segment that is written again at most.
const SHARE: u32 = 2;

/// What of a segment that went is kept.
#[derive(Debug)]
pub(super) struct Survivors {
    segment: Arc<Segment>,
    records: Vec<Listed>,
    /// Pieces of large objects whose record is in a later segment, by its key.
    pieces: BTreeMap<u128, Vec<Listed>>,
    /// Removals after this are not to be undone.
    order: u64,
}

impl Log {
    /// Lets the oldest segment go. Of large objects that have a piece in it, nothing is findable afterwards unless it is
    /// written again.
    pub(super) fn reclaim(&mut self) -> Option<Survivors> {
        let store = Arc::clone(&self.store);
        let order = store.queue.order();
        store.reclaiming.store(true, Ordering::SeqCst);
        let segment = store.segments.write().pop_front()?;
        let contents = segment.contents(store.superblock.segment);
        let mut survivors = Survivors {
            segment: Arc::clone(&segment),
            records: Vec::new(),
            pieces: BTreeMap::new(),
            order,
        };
        match contents {
            Ok(contents) => self.sift(&contents.listed, &mut survivors),
            Err(_) => {
                store.counters.errors.read.fetch_add(1, Ordering::Relaxed);
                store.index.remove_segment(segment.sequence);
            }
        }
        if store.dir.remove(&name_of(segment.sequence)).is_err() {
            store.counters.errors.write.fetch_add(1, Ordering::Relaxed);
        }
        Some(survivors)
    }

    fn sift(&self, listed: &[Listed], survivors: &mut Survivors) {
        let index = &self.store.index;
        let now = self.now.as_secs();
        let mut gone = 0;
        let mut used = Vec::new();
        for entry in listed {
            let at = At {
                sequence: survivors.segment.sequence,
                unit: entry.unit,
            };
            let worth = |found: Found| found.uses > 0 && u64::from(entry.expiry) > now;
            match entry.kind {
                Kind::Object | Kind::Vary => {
                    let Some(found) = index.remove_at(entry.key, at) else {
                        continue;
                    };
                    if worth(found) {
                        used.push((found.uses, entry));
                    } else {
                        gone += 1;
                    }
                }
                Kind::Chunk => {
                    if let Some(found) = index.get(entry.key).filter(|found| found.uses > 0) {
                        used.push((found.uses, entry));
                    }
                }
                Kind::Remove => {}
            }
        }
        // In the order of the log among equals: pieces stay together, before their record.
        used.sort_by_key(|(uses, _)| Reverse(*uses));
        let mut budget = units_of(self.store.superblock.segment) / SHARE;
        for (_, entry) in used {
            let fits = entry.units <= budget;
            if fits {
                budget -= entry.units;
            }
            match entry.kind {
                Kind::Chunk if fits => survivors.pieces.entry(entry.key.0).or_default().push(*entry),
                Kind::Chunk => {}
                _ if fits => survivors.records.push(*entry),
                _ => gone += 1,
            }
        }
        self.store.counters.evicted.fetch_add(gone, Ordering::Relaxed);
    }

    /// Writes again what is kept of a segment that went.
    pub(super) fn write_again(&mut self, survivors: Option<Survivors>) -> Result<(), Unwritten> {
        let Some(survivors) = survivors else { return Ok(()) };
        let order = survivors.order;
        for entry in &survivors.records {
            let Some(record) = survivors.read(entry, self.store.superblock.segment) else {
                self.store.counters.errors.checksum.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let base = match record.header.kind {
                Kind::Object => codec::decode_object(&record.head).map(|object| object.base),
                _ => Some(entry.key),
            };
            let header = Header {
                expiry: entry.expiry,
                ..Header::new(entry.kind, entry.key)
            };
            let at = self.append(header, &record.head, std::iter::once(&record.content[..]))?;
            self.store.counters.rewritten.fetch_add(1, Ordering::Relaxed);
            if let Some(base) = base {
                self.find_at(base, entry.key, at, header, order);
            }
        }
        for (key, pieces) in &survivors.pieces {
            self.move_pieces(Key(*key), pieces, &survivors)?;
        }
        self.store.reclaiming.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Writes pieces of a large object again, and its record with their new places.
    fn move_pieces(&mut self, key: Key, pieces: &[Listed], survivors: &Survivors) -> Result<(), Unwritten> {
        let store = Arc::clone(&self.store);
        let Some(place) = store.place(key) else { return Ok(()) };
        let Ok(bytes) = place.read() else { return Ok(()) };
        let Ok(Some(Loaded::Object(mut stored, _))) = store.decode(&place, key, &bytes) else {
            return Ok(());
        };
        let Some(extents) = &mut stored.extents else {
            return Ok(());
        };
        let mine: HashSet<u32> = extents
            .pieces()
            .filter(|piece| extents.runs[piece.run].sequence == survivors.segment.sequence)
            .map(|piece| piece.unit)
            .collect();
        if pieces.iter().filter(|entry| mine.contains(&entry.unit)).count() < mine.len() {
            // It did not fit into the share as a whole: it goes.
            store.index.remove(key);
            store.counters.evicted.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let old = extents.clone();
        let mut moved = super::Extents::new(old.id, old.key);
        for piece in old.pieces() {
            let run = old.runs[piece.run];
            let (sequence, unit) = if run.sequence == survivors.segment.sequence {
                let entry = pieces.iter().find(|entry| entry.unit == piece.unit);
                let record = entry.and_then(|entry| survivors.read(entry, store.superblock.segment));
                let Some(record) = record else { return Ok(()) };
                let header = Header {
                    id: old.id,
                    number: piece.number,
                    ..Header::new(Kind::Chunk, old.key)
                };
                let at = self.append(header, &[], std::iter::once(&record.content[..]))?;
                (at.sequence, at.unit)
            } else {
                (run.sequence, piece.unit)
            };
            if !moved.push(sequence, unit, piece.length) {
                return Ok(());
            }
        }
        *extents = moved;
        let header = Header {
            expiry: Header::parse(&bytes).map_or(0, |header| header.expiry),
            ..Header::new(Kind::Object, key)
        };
        let head = codec::encode_stored(&stored);
        let at = self.append(header, &head, std::iter::empty())?;
        store.counters.rewritten.fetch_add(1, Ordering::Relaxed);
        self.find_at(stored.base, key, at, header, survivors.order);
        Ok(())
    }
}

impl Survivors {
    fn read(&self, entry: &Listed, segment: u64) -> Option<Record> {
        let place = Place {
            segment: Arc::clone(&self.segment),
            unit: entry.unit,
            units: entry.units.min(units_of(segment)),
            vary: false,
        };
        let bytes = place.read().ok()?;
        let record = Record::parse(&bytes, self.segment.sequence).ok()?;
        (record.header.key == entry.key && entry.units <= units_of(segment)).then_some(record)
    }
}

const _: () = assert!(CHUNK_UNITS as u64 * UNIT == 128 * 1024);
