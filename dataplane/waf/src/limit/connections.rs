//! Open connections per client, counted for as long as a guard lives.
//!
//! Invariant: a count is exactly the number of live guards that hold it, and an entry exists only while its count is
//! above zero, so the table holds no more entries than there are counted connections. It is bounded besides: a client
//! that finds no room is admitted uncounted, and [`ConnectionTable::uncounted`] says how often. Refusing it instead
//! would let whoever fills the table shut everybody else out.
//!
//! The lock is taken once when a connection opens and once when it closes, never for a request.

use std::{
    collections::{HashMap, hash_map},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;

use crate::ClientKey;

/// Locks; a power of two.
const SHARDS: usize = 64;

/// Most places one connection takes. A proxy that speaks for many clients over one connection takes one for each; what is
/// beyond passes uncounted, as from a full table.
const MAX_HELD: usize = 1024;

/// Which limit, and for whom.
type Key = (u64, ClientKey);

/// See the module.
pub struct ConnectionTable {
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::quality::FixedState,
    entries_per_shard: usize,
    uncounted: AtomicU64,
}

type Shard = HashMap<Key, u32, foldhash::quality::FixedState>;

/// A client has as many connections open as its limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdrawn;

impl ConnectionTable {
    /// 262,144 clients with a connection open; memory grows with those that are, to some 17 MiB.
    pub const DEFAULT_ENTRIES: usize = 262_144;

    /// An empty table for about `entries` clients at once, all limits together. `seed` keys its hash.
    #[must_use]
    pub fn new(entries: usize, seed: u64) -> Self {
        let hasher = foldhash::quality::FixedState::with_seed(seed);
        Self {
            shards: (0..SHARDS)
                .map(|_| Mutex::new(Shard::with_hasher(hasher.clone())))
                .collect(),
            hasher,
            entries_per_shard: entries.div_ceil(SHARDS).max(1),
            uncounted: AtomicU64::new(0),
        }
    }

    /// Counts one more connection of `client` against the limit known as `limit`, in `guard`, until that is dropped.
    /// A guard that holds this limit already is left as it is.
    ///
    /// # Errors
    /// [`Overdrawn`] when `most` are open already; nothing is counted then.
    pub fn open(
        self: &Arc<Self>,
        guard: &mut ConnectionGuard,
        limit: u64,
        client: ClientKey,
        most: u32,
    ) -> Result<(), Overdrawn> {
        if self.knows(guard, limit, client) {
            return Ok(());
        }
        let key = (limit, client);
        let counted = match self.count(key, most) {
            Count::Counted => true,
            Count::NoRoom => false,
            Count::Overdrawn => return Err(Overdrawn),
        };
        guard.held.push(Held {
            table: Arc::clone(self),
            key,
            counted,
        });
        Ok(())
    }

    /// Counts one more connection of `client` against `limit`, of which `most` may be open, for a caller that keeps no
    /// guard: each [`Count::Counted`] is given back by one [`ConnectionTable::leave`].
    pub fn enter(&self, limit: u64, client: ClientKey, most: u32) -> Count {
        self.count((limit, client), most)
    }

    /// Gives back what [`ConnectionTable::enter`] counted.
    pub fn leave(&self, limit: u64, client: ClientKey) {
        self.close((limit, client));
    }

    /// Whether `guard` was shown to `limit` already, or can be shown to no more.
    pub(crate) fn knows(self: &Arc<Self>, guard: &ConnectionGuard, limit: u64, client: ClientKey) -> bool {
        let key = (limit, client);
        if guard
            .held
            .iter()
            .any(|held| held.key == key && Arc::ptr_eq(&held.table, self))
        {
            return true;
        }
        let full = guard.held.len() >= MAX_HELD;
        if full {
            self.uncounted.fetch_add(1, Relaxed);
        }
        full
    }

    /// Remembers in `guard` that `limit` was asked and did not count the connection, so that it is not asked again.
    pub(crate) fn pass_over(self: &Arc<Self>, guard: &mut ConnectionGuard, limit: u64, client: ClientKey) {
        guard.held.push(Held {
            table: Arc::clone(self),
            key: (limit, client),
            counted: false,
        });
    }

    /// How many connections were admitted uncounted because the table was full.
    #[must_use]
    pub fn uncounted(&self) -> u64 {
        self.uncounted.load(Relaxed)
    }

    /// How many clients have a connection open, once for each limit that counts them.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn count(&self, key: Key, most: u32) -> Count {
        let Some(shard) = self.shard(key) else {
            return Count::NoRoom;
        };
        let mut counts = shard.lock();
        let room = counts.len() < self.entries_per_shard;
        match counts.entry(key) {
            hash_map::Entry::Occupied(mut count) if *count.get() < most => {
                *count.get_mut() += 1;
                Count::Counted
            }
            hash_map::Entry::Occupied(_) => Count::Overdrawn,
            hash_map::Entry::Vacant(_) if most == 0 => Count::Overdrawn,
            hash_map::Entry::Vacant(vacant) if room => {
                vacant.insert(1);
                Count::Counted
            }
            hash_map::Entry::Vacant(_) => {
                self.uncounted.fetch_add(1, Relaxed);
                Count::NoRoom
            }
        }
    }

    fn close(&self, key: Key) {
        let Some(shard) = self.shard(key) else { return };
        if let hash_map::Entry::Occupied(mut count) = shard.lock().entry(key) {
            if *count.get() > 1 {
                *count.get_mut() -= 1;
            } else {
                count.remove();
            }
        }
    }

    /// Bits from the middle of the hash: the map inside uses both ends.
    fn shard(&self, key: Key) -> Option<&Mutex<Shard>> {
        self.shards
            .get((self.hasher.hash_one(key) >> 32) as usize & (SHARDS - 1))
    }
}

/// What became of a connection that asked to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It is counted.
    Counted,
    /// It may pass, uncounted: the table is full.
    NoRoom,
    /// As many as are allowed are open.
    Overdrawn,
}

impl std::fmt::Debug for ConnectionTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionTable")
            .field("clients", &self.clients())
            .field("uncounted", &self.uncounted())
            .finish_non_exhaustive()
    }
}

/// What one connection is counted against; dropping it gives everything back. It starts empty, takes no memory until a
/// limit counts it, and may hold limits of several policies.
#[derive(Debug, Default)]
pub struct ConnectionGuard {
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    table: Arc<ConnectionTable>,
    key: Key,
    /// Whether there was room to count it.
    counted: bool,
}

impl ConnectionGuard {
    /// A guard that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many limits it was shown to and passed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no limit knows of the connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes over what `other` holds.
    pub fn absorb(&mut self, mut other: Self) {
        self.held.append(&mut other.held);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.counted {
            self.table.close(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering::SeqCst},
        thread,
    };

    use super::*;

    const CLIENT: ClientKey = ClientKey::V4(1);

    fn table(entries: usize) -> Arc<ConnectionTable> {
        Arc::new(ConnectionTable::new(entries, 1))
    }

    fn open(table: &Arc<ConnectionTable>, client: ClientKey, most: u32) -> Result<ConnectionGuard, Overdrawn> {
        let mut guard = ConnectionGuard::new();
        table.open(&mut guard, 7, client, most).map(|()| guard)
    }

    #[test]
    fn a_connection_more_than_the_limit_is_refused_until_one_closes() {
        let table = table(100);
        let first = open(&table, CLIENT, 2).unwrap();
        let second = open(&table, CLIENT, 2).unwrap();
        assert_eq!(open(&table, CLIENT, 2).unwrap_err(), Overdrawn);
        drop(first);
        let third = open(&table, CLIENT, 2).unwrap();
        assert_eq!(open(&table, CLIENT, 2).unwrap_err(), Overdrawn);
        drop((second, third));
        assert_eq!(table.clients(), 0);
    }

    #[test]
    fn clients_and_limits_are_counted_apart() {
        let table = table(100);
        let mut guard = open(&table, CLIENT, 1).unwrap();
        let other_client = open(&table, ClientKey::V6(1), 1).unwrap();
        table.open(&mut guard, 8, CLIENT, 1).unwrap();
        assert_eq!((guard.len(), other_client.len(), table.clients()), (2, 1, 3));
    }

    #[test]
    fn a_guard_holds_a_limit_once_however_often_it_asks() {
        let table = table(100);
        let mut guard = ConnectionGuard::new();
        assert!(guard.is_empty());
        for _ in 0..5 {
            table.open(&mut guard, 7, CLIENT, 1).unwrap();
        }
        assert_eq!(guard.len(), 1);
        let mut elder = ConnectionGuard::new();
        elder.absorb(guard);
        assert_eq!(open(&table, CLIENT, 1).unwrap_err(), Overdrawn);
        drop(elder);
        assert!(open(&table, CLIENT, 1).is_ok());
    }

    #[test]
    fn a_limit_of_zero_refuses_everybody() {
        assert_eq!(open(&table(1), CLIENT, 0).unwrap_err(), Overdrawn);
    }

    #[test]
    fn a_full_table_admits_uncounted_and_says_so() {
        // One entry for each shard, so a few hundred clients fill it.
        let table = table(1);
        let guards: Vec<_> = (0..2000).map(|i| open(&table, ClientKey::V4(i), 1).unwrap()).collect();
        assert_eq!(table.clients(), SHARDS);
        assert_eq!(table.uncounted(), 2000 - SHARDS as u64);
        // An uncounted connection that closes takes nothing from those that are counted.
        drop(guards);
        assert_eq!(table.clients(), 0);
    }

    #[test]
    fn one_connection_takes_a_bounded_number_of_places() {
        let (table, mut guard) = (table(1 << 20), ConnectionGuard::new());
        for client in 0..3000 {
            table.open(&mut guard, 7, ClientKey::V4(client), 1).unwrap();
        }
        assert_eq!((guard.len(), table.uncounted()), (MAX_HELD, 3000 - MAX_HELD as u64));
    }

    #[test]
    fn threads_that_open_and_close_never_exceed_the_limit_and_leave_nothing() {
        let (table, live) = (table(100), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        if let Ok(guard) = open(&table, CLIENT, 2) {
                            assert!(live.fetch_add(1, SeqCst) < 2);
                            live.fetch_sub(1, SeqCst);
                            drop(guard);
                        }
                    }
                });
            }
        });
        assert_eq!(table.clients(), 0);
    }

    #[test]
    fn a_guard_may_cross_threads() {
        fn is_send<T: Send>(_: &T) {}
        is_send(&open(&table(1), CLIENT, 1).unwrap());
    }
}
