//! Collections that outlive a transaction: IP, GLOBAL, SESSION, USER, RESOURCE.
//!
//! One store serves a process. It has a bound on records, on variables of a record and on bytes of a variable; a record
//! that is not touched for its timeout is gone, and when a shard is full, whatever expires first of a few is dropped.

use std::collections::HashMap;
use std::hash::BuildHasher;

use parking_lot::Mutex;

use crate::seclang::Variable;

const SHARDS: usize = 16;

/// Most variables of one record, and most bytes of one variable.
const VARIABLES: usize = 64;
const VALUE: usize = 1024;

/// Records that are looked at for one to drop.
const CANDIDATES: usize = 8;

/// The collections of a process.
#[derive(Debug)]
pub struct Stores {
    shards: Vec<Mutex<HashMap<Key, Record, foldhash::fast::RandomState>>>,
    hasher: foldhash::fast::RandomState,
    per_shard: usize,
}

type Key = (Variable, Box<[u8]>);

#[derive(Debug, Default)]
struct Record {
    variables: Vec<Stored>,
    expires_ms: u64,
}

#[derive(Debug)]
struct Stored {
    name: Box<[u8]>,
    value: Vec<u8>,
    expires_ms: u64,
}

/// What a rule does to a variable.
#[derive(Debug)]
pub(super) enum Change {
    Set(Vec<u8>),
    Add(i64),
    Unset,
    ExpireAt(u64),
}

impl Stores {
    /// A store of at most so many records.
    #[must_use]
    pub fn new(records: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: foldhash::fast::RandomState::default(),
            per_shard: (records / SHARDS).max(1),
        }
    }

    /// How many records there are now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All variables of a record that have not expired.
    pub(super) fn read(&self, collection: Variable, key: &[u8], now_ms: u64) -> Vec<(Box<[u8]>, Vec<u8>)> {
        let key: Key = (collection, key.into());
        let Some(shard) = self.shard(&key) else {
            return Vec::new();
        };
        let records = shard.lock();
        let Some(record) = records.get(&key).filter(|record| record.expires_ms > now_ms) else {
            return Vec::new();
        };
        let live = record.variables.iter().filter(|stored| stored.expires_ms > now_ms);
        live.map(|stored| (stored.name.clone(), stored.value.clone())).collect()
    }

    /// Changes one variable of a record; the record lives for `timeout_ms` from now.
    pub(super) fn change(
        &self,
        collection: Variable,
        key: &[u8],
        name: &[u8],
        change: Change,
        now_ms: u64,
        timeout_ms: u64,
    ) {
        let key: Key = (collection, key.into());
        let Some(shard) = self.shard(&key) else { return };
        let mut records = shard.lock();
        if !records.contains_key(&key) && records.len() >= self.per_shard {
            make_room(&mut records);
        }
        let record = records.entry(key).or_default();
        if record.expires_ms <= now_ms {
            record.variables.clear();
        }
        record.expires_ms = now_ms.saturating_add(timeout_ms);
        record.variables.retain(|stored| stored.expires_ms > now_ms);
        record.apply(name, change);
    }

    fn shard(&self, key: &Key) -> Option<&Mutex<HashMap<Key, Record, foldhash::fast::RandomState>>> {
        self.shards.get(self.hasher.hash_one(key) as usize % SHARDS)
    }
}

impl Record {
    fn apply(&mut self, name: &[u8], change: Change) {
        if let Change::Unset = change {
            return self.variables.retain(|stored| *stored.name != *name);
        }
        let Some(stored) = self.variables.iter_mut().find(|stored| *stored.name == *name) else {
            return match change {
                _ if self.variables.len() >= VARIABLES => {}
                Change::Set(value) => self.add(name, bounded(value)),
                Change::Add(more) => self.add(name, more.to_string().into_bytes()),
                Change::Unset | Change::ExpireAt(_) => {}
            };
        };
        match change {
            Change::Set(value) => stored.value = bounded(value),
            Change::Add(more) => {
                let sum = super::operator::number(&stored.value).saturating_add(more);
                stored.value = sum.to_string().into_bytes();
            }
            Change::ExpireAt(at) => stored.expires_ms = at,
            Change::Unset => {}
        }
    }

    fn add(&mut self, name: &[u8], value: Vec<u8>) {
        self.variables.push(Stored {
            name: name.into(),
            value,
            expires_ms: u64::MAX,
        });
    }
}

fn make_room(records: &mut HashMap<Key, Record, foldhash::fast::RandomState>) {
    let first = records
        .iter()
        .take(CANDIDATES)
        .min_by_key(|(_, record)| record.expires_ms)
        .map(|(key, _)| key.clone());
    if let Some(key) = first {
        records.remove(&key);
    }
}

fn bounded(mut value: Vec<u8>) -> Vec<u8> {
    value.truncate(VALUE);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(stores: &Stores, key: &[u8], name: &[u8], now: u64) -> Option<Vec<u8>> {
        stores
            .read(Variable::Ip, key, now)
            .into_iter()
            .find(|(known, _)| **known == *name)
            .map(|(_, value)| value)
    }

    #[test]
    fn what_one_transaction_adds_the_next_reads() {
        let stores = Stores::new(100);
        stores.change(Variable::Ip, b"a", b"hits", Change::Add(1), 0, 1000);
        stores.change(Variable::Ip, b"a", b"hits", Change::Add(2), 10, 1000);
        assert_eq!(get(&stores, b"a", b"hits", 20), Some(b"3".to_vec()));
        assert_eq!(get(&stores, b"b", b"hits", 20), None);
    }

    #[test]
    fn records_and_variables_expire() {
        let stores = Stores::new(100);
        stores.change(Variable::Ip, b"a", b"x", Change::Set(b"1".to_vec()), 0, 1000);
        stores.change(Variable::Ip, b"a", b"x", Change::ExpireAt(500), 0, 1000);
        stores.change(Variable::Ip, b"a", b"y", Change::Set(b"1".to_vec()), 0, 1000);
        assert_eq!(get(&stores, b"a", b"x", 501), None);
        assert_eq!(get(&stores, b"a", b"y", 501), Some(b"1".to_vec()));
        assert_eq!(get(&stores, b"a", b"y", 1001), None);
    }

    #[test]
    fn there_are_never_more_records_than_the_bound() {
        let stores = Stores::new(64);
        for client in 0..10_000_u32 {
            stores.change(Variable::Ip, &client.to_be_bytes(), b"x", Change::Add(1), 0, 1000);
        }
        assert!(stores.len() <= 64);
        assert!(!stores.is_empty());
    }

    #[test]
    fn a_record_holds_no_more_than_its_bound() {
        let stores = Stores::new(64);
        for name in 0..1000_u32 {
            stores.change(
                Variable::Ip,
                b"a",
                &name.to_be_bytes(),
                Change::Set(vec![b'x'; 5000]),
                0,
                1000,
            );
        }
        let all = stores.read(Variable::Ip, b"a", 1);
        assert_eq!(all.len(), VARIABLES);
        assert!(all.iter().all(|(_, value)| value.len() <= VALUE));
    }
}
