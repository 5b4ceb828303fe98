//! What clients were allowed under limits that hold across nodes and other nodes have not been told yet: counts in a
//! fixed, set-associative, lock-free table.
//!
//! Invariants: memory is fixed when the table is made; noting takes no lock and allocates nothing; a count is never told
//! of a client that it was not noted of, but for a request that races with the replacement of its own entry. An entry
//! with nothing to tell is free for another client. What finds no room is [`SpentTable::lost`]: it counts here, and
//! other nodes do not hear of it.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::ClientKey;

/// How many entries share a set.
const WAYS: usize = 8;

/// Entries; 40 bytes each.
const ENTRIES: usize = 16_384;

/// What one client was allowed under one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The limit's number, the same on every node.
    pub limit: u64,
    /// The client.
    pub client: ClientKey,
    /// How many requests or connections; at least 1.
    pub count: u32,
}

/// See the module.
pub(super) struct SpentTable {
    sets: Box<[[Entry; WAYS]]>,
    lost: AtomicU64,
}

/// One client of one limit. `key` is written first and `count` last; who reads a count that is not 0 and finds that the
/// fields do not hash to the key has found two threads at work on one entry, and gives it up.
#[derive(Default)]
struct Entry {
    key: AtomicU64,
    limit: AtomicU64,
    /// 4 or 6.
    family: AtomicU64,
    client: AtomicU64,
    count: AtomicU64,
}

impl SpentTable {
    pub(super) fn new() -> Self {
        Self {
            sets: (0..ENTRIES / WAYS).map(|_| <[Entry; WAYS]>::default()).collect(),
            lost: AtomicU64::new(0),
        }
    }

    /// Notes one more of `client` under `limit`; `key` is their hash in the table of rates.
    pub(super) fn note(&self, key: u64, limit: u64, client: ClientKey) {
        let key = key.max(1);
        let set = self.sets.get(key as usize & (self.sets.len() - 1));
        // As often as there are entries: each failure means that another thread has taken one.
        for _ in 0..WAYS {
            let Some(found) = set.and_then(|set| Self::find(set, key)) else {
                break;
            };
            let (entry, owner) = found;
            if owner == key {
                entry.count.fetch_add(1, Release);
                return;
            }
            if entry.key.compare_exchange(owner, key, Relaxed, Relaxed).is_ok() {
                let (family, client) = match client {
                    ClientKey::V4(client) => (4, client.into()),
                    ClientKey::V6(client) => (6, client),
                };
                entry.limit.store(limit, Relaxed);
                entry.family.store(family, Relaxed);
                entry.client.store(client, Relaxed);
                entry.count.fetch_add(1, Release);
                return;
            }
        }
        self.lost.fetch_add(1, Relaxed);
    }

    /// The entry of `key`, or one that is free, and whose it is or was.
    fn find(set: &[Entry; WAYS], key: u64) -> Option<(&Entry, u64)> {
        let mut free = None;
        for entry in set {
            let owner = entry.key.load(Relaxed);
            if owner == key {
                return Some((entry, owner));
            }
            if free.is_none() && entry.count.load(Relaxed) == 0 {
                free = Some((entry, owner));
            }
        }
        free
    }

    /// Takes out all that is to be told. `key` is what [`SpentTable::note`] was called with for a limit and a client;
    /// none when the limit is no more.
    pub(super) fn take(&self, key: impl Fn(u64, ClientKey) -> Option<u64>) -> Vec<Spent> {
        let mut all = Vec::new();
        for entry in self.sets.iter().flatten() {
            if entry.count.load(Relaxed) == 0 {
                continue;
            }
            let count = entry.count.swap(0, Acquire);
            let (limit, client) = (entry.limit.load(Relaxed), entry.client.load(Relaxed));
            let client = match entry.family.load(Relaxed) {
                4 => u32::try_from(client).ok().map(ClientKey::V4),
                _ => Some(ClientKey::V6(client)),
            };
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            match client.filter(|client| key(limit, *client).map(|key| key.max(1)) == Some(entry.key.load(Relaxed))) {
                Some(client) => all.push(Spent { limit, client, count }),
                None => {
                    entry.key.store(0, Relaxed);
                    self.lost.fetch_add(count.into(), Relaxed);
                }
            }
        }
        all
    }

    /// How many requests and connections found no room.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl std::fmt::Debug for SpentTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpentTable")
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, hash::BuildHasher, thread};

    use super::*;
    use crate::testing::Random;

    fn key(limit: u64, client: ClientKey) -> u64 {
        foldhash::quality::FixedState::with_seed(7).hash_one((limit, client))
    }

    fn note(table: &SpentTable, limit: u64, client: ClientKey) {
        table.note(key(limit, client), limit, client);
    }

    fn take(table: &SpentTable) -> HashMap<(u64, ClientKey), u64> {
        let mut sums = HashMap::new();
        for spent in table.take(|limit, client| Some(key(limit, client))) {
            *sums.entry((spent.limit, spent.client)).or_default() += u64::from(spent.count);
        }
        sums
    }

    #[test]
    fn what_was_noted_is_taken_once_and_clients_and_limits_are_told_apart() {
        let table = SpentTable::new();
        // Of one number are an IPv4 address and a prefix of IPv6.
        let (v4, v6) = (ClientKey::V4(9), ClientKey::V6(9));
        for (limit, client) in [(1, v4), (1, v4), (1, v6), (2, v4)] {
            note(&table, limit, client);
        }
        let expected = [((1, v4), 2), ((1, v6), 1), ((2, v4), 1)].into();
        assert_eq!(take(&table), expected);
        assert_eq!((take(&table), table.lost()), (HashMap::new(), 0));
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted_and_what_was_told_makes_room() {
        let table = SpentTable::new();
        let same_set = |n: u64| 1 + n * (ENTRIES as u64);
        let client = |n: u64| ClientKey::V6(n);
        let of_set = |_: u64, client: ClientKey| match client {
            ClientKey::V6(n) => Some(same_set(n)),
            ClientKey::V4(_) => None,
        };
        for _ in 0..2 {
            for n in 0..WAYS as u64 + 3 {
                table.note(same_set(n), 1, client(n));
            }
            assert_eq!(table.take(of_set).len(), WAYS);
        }
        assert_eq!(table.lost(), 6);
    }

    #[test]
    fn what_was_noted_under_a_limit_that_is_no_more_is_not_told() {
        let table = SpentTable::new();
        note(&table, 1, ClientKey::V4(1));
        assert_eq!((table.take(|_, _| None), table.lost()), (Vec::new(), 1));
        note(&table, 1, ClientKey::V4(1));
        assert_eq!(take(&table).len(), 1);
    }

    #[test]
    fn four_threads_that_note_and_one_that_takes_lose_nothing_but_what_is_counted_as_lost() {
        const EACH: u64 = 50_000;
        let table = SpentTable::new();
        let mut sums: HashMap<(u64, ClientKey), u64> = HashMap::new();
        thread::scope(|scope| {
            let noting: Vec<_> = (0..4)
                .map(|thread| {
                    let table = &table;
                    scope.spawn(move || {
                        let mut random = Random::new(thread);
                        for _ in 0..EACH {
                            note(table, random.below(3), ClientKey::V4(random.below(400) as u32));
                        }
                    })
                })
                .collect();
            while !noting.iter().all(|thread| thread.is_finished()) {
                for (who, n) in take(&table) {
                    *sums.entry(who).or_default() += n;
                }
            }
        });
        for (who, n) in take(&table) {
            *sums.entry(who).or_default() += n;
        }
        assert_eq!(sums.values().sum::<u64>() + table.lost(), 4 * EACH);
        assert!(
            sums.keys()
                .all(|(limit, client)| *limit < 3 && *client < ClientKey::V4(400))
        );
    }
}
