//! Policies of eviction: ours as it is built into the cache, and two to compare it with.
//!
//! All count the same bytes for an object: content and what the store adds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use breakwater_cache::key::{Key, Keyer};
use breakwater_cache::object::{Body, Freshness, Metadata, Object};
use breakwater_cache::purge::Epochs;
use breakwater_cache::store::{Ram, RamConfig};
use breakwater_cache::{Timestamp, vary};
use bytes::Bytes;
use http::HeaderMap;

/// What the store adds to an object's bytes.
const OVERHEAD: u64 = 512;

/// A store that is asked for one object after another.
pub trait Policy {
    /// Asks for an object and stores it if it was not there. Whether it was.
    fn access(&mut self, key: u64, size: u64) -> bool;
}

/// The least recently used goes first.
#[derive(Debug)]
pub struct Lru {
    limit: u64,
    held: u64,
    /// When each was last used, and its bytes.
    objects: HashMap<u64, (u64, u64)>,
    /// Uses in order; one that is not the last of its object is passed over.
    uses: VecDeque<(u64, u64)>,
    clock: u64,
}

impl Lru {
    /// An empty store of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            held: 0,
            objects: HashMap::new(),
            uses: VecDeque::new(),
            clock: 0,
        }
    }
}

impl Policy for Lru {
    fn access(&mut self, key: u64, size: u64) -> bool {
        let size = size + OVERHEAD;
        self.clock += 1;
        self.uses.push_back((key, self.clock));
        if let Some((used, _)) = self.objects.get_mut(&key) {
            *used = self.clock;
            return true;
        }
        self.objects.insert(key, (self.clock, size));
        self.held += size;
        while self.held > self.limit {
            let Some((oldest, at)) = self.uses.pop_front() else {
                break;
            };
            if self.objects.get(&oldest).is_some_and(|(used, _)| *used == at)
                && let Some((_, size)) = self.objects.remove(&oldest)
            {
                self.held -= size;
            }
        }
        false
    }
}

/// S3-FIFO as published (Yang and others, SOSP 2023), in bytes: a small queue of a tenth, a main one, a ghost of what the
/// small one gave up.
#[derive(Debug)]
pub struct S3Fifo {
    limit: u64,
    objects: HashMap<u64, Entry>,
    small: VecDeque<u64>,
    main: VecDeque<u64>,
    small_bytes: u64,
    main_bytes: u64,
    ghost: VecDeque<(u64, u64)>,
    ghosts: HashSet<u64>,
    ghost_bytes: u64,
}

#[derive(Debug)]
struct Entry {
    size: u64,
    uses: u8,
    main: bool,
}

impl S3Fifo {
    /// An empty store of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            objects: HashMap::new(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            small_bytes: 0,
            main_bytes: 0,
            ghost: VecDeque::new(),
            ghosts: HashSet::new(),
            ghost_bytes: 0,
        }
    }

    fn evict(&mut self) {
        if self.small_bytes > self.limit / 10 || self.main.is_empty() {
            self.evict_small();
        } else {
            self.evict_main();
        }
    }

    fn evict_small(&mut self) {
        let Some(key) = self.small.pop_front() else { return };
        let Some(entry) = self.objects.get_mut(&key) else {
            return;
        };
        self.small_bytes -= entry.size;
        if entry.uses > 1 {
            entry.uses = 0;
            entry.main = true;
            self.main_bytes += entry.size;
            self.main.push_back(key);
            return;
        }
        let size = entry.size;
        self.objects.remove(&key);
        self.ghost.push_back((key, size));
        self.ghosts.insert(key);
        self.ghost_bytes += size;
        while self.ghost_bytes > self.limit / 10 * 9 {
            let Some((key, size)) = self.ghost.pop_front() else {
                break;
            };
            self.ghosts.remove(&key);
            self.ghost_bytes -= size;
        }
    }

    fn evict_main(&mut self) {
        while let Some(key) = self.main.pop_front() {
            let Some(entry) = self.objects.get_mut(&key) else {
                continue;
            };
            if entry.uses > 0 {
                entry.uses -= 1;
                self.main.push_back(key);
                continue;
            }
            self.main_bytes -= entry.size;
            self.objects.remove(&key);
            return;
        }
    }
}

impl Policy for S3Fifo {
    fn access(&mut self, key: u64, size: u64) -> bool {
        let size = size + OVERHEAD;
        if let Some(entry) = self.objects.get_mut(&key) {
            entry.uses = (entry.uses + 1).min(3);
            return true;
        }
        if size > self.limit {
            return false;
        }
        while self.small_bytes + self.main_bytes + size > self.limit {
            self.evict();
        }
        let main = self.ghosts.contains(&key);
        if main {
            self.main.push_back(key);
            self.main_bytes += size;
        } else {
            self.small.push_back(key);
            self.small_bytes += size;
        }
        self.objects.insert(key, Entry { size, uses: 0, main });
        false
    }
}

/// The memory tier of the cache.
#[derive(Debug)]
pub struct Ours {
    ram: Ram,
    keyer: Keyer,
    epochs: Epochs,
    zeros: Bytes,
}

impl Ours {
    /// An empty store of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            ram: Ram::new(RamConfig::new(limit)),
            keyer: Keyer::new(7),
            epochs: Epochs::default(),
            zeros: Bytes::from(vec![0; 4 << 20]),
        }
    }
}

impl Policy for Ours {
    fn access(&mut self, key: u64, size: u64) -> bool {
        // As keys are: without a pattern.
        let key = Key(u128::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let none = HeaderMap::new();
        if self.ram.get(key, &self.keyer, &vary::values_of(&none)).is_some() {
            return true;
        }
        let length = usize::try_from(size).unwrap_or(usize::MAX).min(self.zeros.len());
        let body = Body::from_chunks([self.zeros.slice(..length)]);
        let meta = Metadata {
            freshness: Freshness {
                asked: Timestamp::default(),
                received: Timestamp::default(),
                initial_age: 0,
                lifetime: u64::MAX,
                no_cache: false,
                must_revalidate: false,
                while_revalidate: 0,
                if_error: None,
            },
            date: Timestamp::default(),
            etag: None,
            last_modified: None,
            vary: vary::Rule::default(),
            tags: Box::default(),
        };
        let stamp = self.epochs.stamp(1);
        let object = Object::new(200, Bytes::new(), body, meta, vary::Fingerprint::default(), stamp);
        self.ram.lock(key).insert(&Arc::new(object));
        false
    }
}
