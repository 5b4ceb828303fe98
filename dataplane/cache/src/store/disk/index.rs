//! Where keys are in the log: 16 bytes for each, of a number that is fixed at the start.
//!
//! Four entries to a bucket of 64 bytes, two buckets to a key, the emptier one taken: the table fills up to about four
//! fifths before it forgets anything. An entry knows 32 bits of its key; the whole key is in the record. Two keys that
//! share those bits and a bucket take each other's place, which costs one of them, and is rarer than a damaged sector.
//!
//! Bounds: when both buckets of a key are full, the entry that was used least goes, and is counted.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::record::Kind;
use crate::key::Key;

/// Bits of a place that say where in its segment it is.
const UNIT_BITS: u32 = 16;

/// Segments that places can tell apart.
pub(super) const MAX_SEGMENTS: u64 = 1 << (32 - UNIT_BITS);

/// Units that places can tell apart in one segment.
pub(super) const MAX_UNITS: u64 = 1 << UNIT_BITS;

const WAYS: usize = 4;

/// The most uses that are counted.
const MOST_USES: u8 = 3;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    /// The segment's sequence number, of which the lowest bits are kept.
    pub(super) sequence: u64,
    /// The unit in the segment.
    pub(super) unit: u32,
}

impl At {
    const fn packed(self) -> u32 {
        ((self.sequence % MAX_SEGMENTS) as u32) << UNIT_BITS | self.unit
    }
}

/// What the index knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The segment's sequence number, modulo [`MAX_SEGMENTS`].
    pub(super) segment: u64,
    /// Where in the segment.
    pub(super) unit: u32,
    /// How long the record is, units.
    pub(super) units: u32,
    /// Whether it is of kind [`Kind::Vary`].
    pub(super) vary: bool,
    /// Uses since it was written, 3 at most.
    pub(super) uses: u8,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Entry {
    tag: u32,
    at: u32,
    /// Zero: there is no entry.
    units: u16,
    uses: u8,
    kind: u8,
    expiry: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket([Entry; WAYS]);

/// The table.
#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[RwLock<Box<[Bucket]>>]>,
    per_shard: usize,
    entries: AtomicU64,
    evictions: AtomicU64,
}

impl Index {
    /// A table for about so many keys.
    pub(super) fn new(entries: u64) -> Self {
        // A fifth is room to spare, so that a full store forgets by age and not by chance.
        let buckets = usize::try_from(entries.saturating_mul(5) / 4 / WAYS as u64).unwrap_or(usize::MAX / 128);
        let shards = (buckets / 64).clamp(1, 256).next_power_of_two();
        let per_shard = (buckets / shards).max(2);
        Self {
            shards: (0..shards)
                .map(|_| RwLock::new(vec![Bucket::default(); per_shard].into_boxed_slice()))
                .collect(),
            per_shard,
            entries: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    /// Bytes of the table.
    pub(super) fn bytes(&self) -> u64 {
        (self.shards.len() * self.per_shard * size_of::<Bucket>()) as u64
    }

    /// Keys in it.
    pub(super) fn len(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Keys that were forgotten for lack of room in the table.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// What is known of a key.
    pub(super) fn get(&self, key: Key) -> Option<Found> {
        let slots = self.slots(key);
        let shard = self.shards[slots.shard].read();
        slots.buckets.iter().find_map(|&bucket| {
            let entries = &shard[bucket].0;
            let entry = entries.iter().find(|entry| entry.units > 0 && entry.tag == slots.tag)?;
            Some(found(entry))
        })
    }

    /// Counts a use. Returns whether the key is known.
    pub(super) fn used(&self, key: Key) -> bool {
        self.edit(key, |entry| {
            entry.uses = (entry.uses + 1).min(MOST_USES);
            true
        })
    }

    /// Puts a key at a place, instead of where it was. A record of no units, or more than fit, is not found again.
    pub(super) fn insert(&self, key: Key, at: At, units: u32, kind: Kind, expiry: u32) {
        let slots = self.slots(key);
        let Some(units) = u16::try_from(units).ok().filter(|&units| units > 0) else {
            self.remove(key);
            return;
        };
        let entry = Entry {
            tag: slots.tag,
            at: at.packed(),
            units,
            uses: 0,
            kind: kind as u8,
            expiry,
        };
        let mut shard = self.shards[slots.shard].write();
        for bucket in slots.buckets {
            if let Some(known) = shard[bucket]
                .0
                .iter_mut()
                .find(|known| known.units > 0 && known.tag == slots.tag)
            {
                *known = entry;
                return;
            }
        }
        let free = |bucket: usize| shard[bucket].0.iter().filter(|entry| entry.units == 0).count();
        let [first, second] = slots.buckets;
        let emptier = if free(first) >= free(second) { first } else { second };
        if let Some(empty) = shard[emptier].0.iter_mut().find(|entry| entry.units == 0) {
            *empty = entry;
            self.entries.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Full: of the eight, the one that expires first among those used least.
        let victim = slots
            .buckets
            .into_iter()
            .flat_map(|bucket| (0..WAYS).map(move |way| (bucket, way)))
            .min_by_key(|&(bucket, way)| {
                let entry = &shard[bucket].0[way];
                (entry.uses, entry.expiry)
            });
        if let Some((bucket, way)) = victim {
            shard[bucket].0[way] = entry;
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets a key. Returns whether it was known.
    pub(super) fn remove(&self, key: Key) -> bool {
        self.edit(key, |entry| {
            *entry = Entry::default();
            false
        })
    }

    /// Forgets a key if it is at this place. Returns what was known of it.
    pub(super) fn remove_at(&self, key: Key, at: At) -> Option<Found> {
        let mut gone = None;
        self.edit(key, |entry| {
            if entry.at == at.packed() {
                gone = Some(found(entry));
                *entry = Entry::default();
            }
            gone.is_none()
        });
        gone
    }

    /// Whether a key is at this place.
    pub(super) fn is_at(&self, key: Key, at: At) -> bool {
        self.get(key)
            .is_some_and(|found| found.segment == at.sequence % MAX_SEGMENTS && found.unit == at.unit)
    }

    /// Forgets everything in a segment, by going through all.
    pub(super) fn remove_segment(&self, sequence: u64) {
        for shard in &self.shards {
            let mut gone = 0;
            for entry in shard.write().iter_mut().flat_map(|bucket| &mut bucket.0) {
                if entry.units > 0 && u64::from(entry.at >> UNIT_BITS) == sequence % MAX_SEGMENTS {
                    *entry = Entry::default();
                    gone += 1;
                }
            }
            self.entries.fetch_sub(gone, Ordering::Relaxed);
        }
    }

    /// Changes a key's entry if there is one; `change` says whether it stays.
    fn edit(&self, key: Key, change: impl FnOnce(&mut Entry) -> bool) -> bool {
        let slots = self.slots(key);
        let mut shard = self.shards[slots.shard].write();
        for bucket in slots.buckets {
            let known = shard[bucket]
                .0
                .iter_mut()
                .find(|entry| entry.units > 0 && entry.tag == slots.tag);
            if let Some(entry) = known {
                if !change(entry) {
                    self.entries.fetch_sub(1, Ordering::Relaxed);
                }
                return true;
            }
        }
        false
    }

    /// Keys are hashes already: each part of a slot's address takes bits of its own.
    fn slots(&self, key: Key) -> Slots {
        let shard = (key.0 >> 120) as usize & (self.shards.len() - 1);
        let mask = (1 << 44) - 1;
        let bucket = |bits: u128| (((bits & mask) * self.per_shard as u128) >> 44) as usize;
        let first = bucket(key.0 >> 32);
        let mut second = bucket(key.0 >> 76);
        if second == first {
            second = (first + 1) % self.per_shard;
        }
        Slots {
            shard,
            buckets: [first, second],
            tag: key.0 as u32,
        }
    }
}

struct Slots {
    shard: usize,
    buckets: [usize; 2],
    tag: u32,
}

fn found(entry: &Entry) -> Found {
    Found {
        segment: u64::from(entry.at >> UNIT_BITS),
        unit: entry.at & (MAX_UNITS as u32 - 1),
        units: u32::from(entry.units),
        vary: entry.kind == Kind::Vary as u8,
        uses: entry.uses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        crate::key::Keyer::new(1).start(n).finish()
    }

    const fn at(sequence: u64, unit: u32) -> At {
        At { sequence, unit }
    }

    #[test]
    fn an_entry_takes_sixteen_bytes() {
        assert_eq!((size_of::<Entry>(), size_of::<Bucket>()), (16, 64));
    }

    #[test]
    fn a_key_is_found_where_it_was_put_last() {
        let index = Index::new(1000);
        index.insert(key(1), at(5, 7), 3, Kind::Object, 9);
        index.insert(key(1), at(MAX_SEGMENTS + 6, 8), 4, Kind::Vary, 9);
        let found = index.get(key(1)).unwrap();
        assert_eq!((found.segment, found.unit, found.units, found.vary), (6, 8, 4, true));
        assert!(index.is_at(key(1), at(6, 8)) && !index.is_at(key(1), at(5, 7)));
        assert_eq!((index.get(key(2)), index.len()), (None, 1));
    }

    #[test]
    fn a_key_is_forgotten_at_one_place_or_wherever_it_is() {
        let index = Index::new(1000);
        index.insert(key(1), at(5, 7), 3, Kind::Object, 9);
        assert_eq!(index.remove_at(key(1), at(5, 8)), None);
        index.used(key(1));
        assert_eq!(index.remove_at(key(1), at(5, 7)).unwrap().uses, 1);
        assert!(!index.remove(key(1)) && index.len() == 0);
    }

    #[test]
    fn a_full_table_forgets_what_was_used_least() {
        let index = Index::new(1);
        (0..8).for_each(|n| index.insert(key(n), at(1, n as u32), 1, Kind::Object, n as u32));
        (1..8).for_each(|n| assert!(index.used(key(n))));
        (8..12).for_each(|n| index.insert(key(n), at(1, n as u32), 1, Kind::Object, 0));
        assert_eq!((index.len(), index.evictions()), (8, 4));
        assert_eq!(index.get(key(0)), None);
        assert_eq!((1..8).filter(|&n| index.get(key(n)).is_some()).count(), 7);
    }

    #[test]
    fn a_table_takes_what_it_was_made_for() {
        let index = Index::new(100_000);
        (0..100_000).for_each(|n| index.insert(key(n), at(n >> 10, n as u32 & 1023), 1, Kind::Object, 0));
        assert!(index.evictions() < 2000, "{} of 100000", index.evictions());
        assert!(index.bytes() <= 100_000 * 20, "{} bytes", index.bytes());
    }

    #[test]
    fn a_segment_goes_as_a_whole() {
        let index = Index::new(1000);
        (0..100).for_each(|n| index.insert(key(n), at(n % 2, n as u32), 1, Kind::Object, 0));
        index.remove_segment(MAX_SEGMENTS);
        assert_eq!(index.len(), 50);
        assert!((0..100).all(|n| index.get(key(n)).is_some() == (n % 2 == 1)));
    }
}
