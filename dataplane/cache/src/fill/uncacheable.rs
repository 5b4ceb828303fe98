//! Keys whose answers could not be shared lately.
//!
//! A direct-mapped table: a key has one place, and a newer key takes it. So memory is fixed, and a forgotten key
//! costs no more than one fill whose followers are released.

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use std::hash::BuildHasher;

use crate::key::Key;
use crate::time::Timestamp;

const LOCKS: usize = 64;

/// The keys of one part, and until when they are remembered.
type Places = Box<[Option<(Key, Timestamp)>]>;

/// The table.
#[derive(Debug)]
pub(super) struct Uncacheable {
    parts: Box<[Mutex<Places>]>,
    hash: RandomState,
}

impl Uncacheable {
    /// A table of about `places`.
    pub(super) fn new(places: usize) -> Self {
        let part = (places / LOCKS).max(1);
        Self {
            parts: (0..LOCKS).map(|_| Mutex::new(vec![None; part].into())).collect(),
            hash: RandomState::default(),
        }
    }

    /// Remembers `key` until `until`.
    pub(super) fn insert(&self, key: Key, until: Timestamp) {
        self.with(key, |place| *place = Some((key, until)));
    }

    /// Whether `key` is remembered at `now`.
    pub(super) fn contains(&self, key: Key, now: Timestamp) -> bool {
        self.with(key, |place| {
            place.is_some_and(|(other, until)| other == key && now < until)
        })
    }

    /// Forgets `key`.
    pub(super) fn remove(&self, key: Key) {
        self.with(key, |place| {
            if place.is_some_and(|(other, _)| other == key) {
                *place = None;
            }
        });
    }

    fn with<T>(&self, key: Key, act: impl FnOnce(&mut Option<(Key, Timestamp)>) -> T) -> T {
        let hash = self.hash.hash_one(key) as usize;
        let mut part = self.parts[hash % LOCKS].lock();
        let place = hash / LOCKS % part.len();
        act(&mut part[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_for_its_time_and_can_be_forgotten() {
        let table = Uncacheable::new(1024);
        let at = Timestamp::from_secs;
        table.insert(Key(1), at(10));
        assert!(table.contains(Key(1), at(9)));
        assert!(!table.contains(Key(1), at(10)));
        assert!(!table.contains(Key(2), at(9)));
        table.remove(Key(1));
        assert!(!table.contains(Key(1), at(9)));
    }

    #[test]
    fn a_full_table_still_takes_the_newest_key() {
        let table = Uncacheable::new(1);
        for key in 0..1000 {
            table.insert(Key(key), Timestamp::from_secs(10));
            assert!(table.contains(Key(key), Timestamp::from_secs(1)));
        }
    }
}
