//! The memory tier: bounded in bytes, sharded, with an eviction of the S3-FIFO family.
//!
//! A key has a slot with the variants that `Vary` made of it, newest first. Slots are immutable and replaced as a
//! whole, under one of a fixed number of write locks; readers take a shard's read lock only.
//!
//! What is evicted is `quick_cache`'s choice, by bytes. In front of it stands an admission by size: once the store is
//! nearly full, an object that would push out many has to come twice. The hit rates beside LRU and S3-FIFO are in
//! docs/caching.md, "Memory".
//!
//! Invariant: the sum of what all objects take is never above the limit, and a slot never above one shard. When a
//! slot grows beyond its bounds its oldest variants go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use crate::key::{Key, Keyer};
use crate::object::Object;
use crate::vary::{FieldValues, Fingerprint, Rule, most_wanted_language};

const WRITE_LOCKS: usize = 64;

/// Large objects that came once and are remembered, for each write lock.
const SEEN: usize = 32;

/// Bounds of the memory tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamConfig {
    /// Bytes of all objects together.
    pub bytes: u64,
    /// Variants of one key; the oldest goes when there is one more. Default 32.
    pub max_variants: usize,
    /// Once the store is nearly full, a larger object is stored only when it comes for the second time: it would push out
    /// many others, and most of what comes once never comes again. Default 1/1,024 of a part.
    pub large: u64,
    /// Parts with a lock of their own, a power of two. An object larger than a part is not stored.
    pub shards: usize,
}

impl RamConfig {
    /// Defaults for `bytes` of memory: shards of 32 MiB or more, 64 at most.
    pub fn new(bytes: u64) -> Self {
        let shards = (bytes / (32 << 20)).clamp(1, 64);
        // Rounded down, so that a shard is never smaller than intended.
        let shards = 1usize << shards.ilog2();
        Self {
            bytes,
            max_variants: 32,
            large: bytes / shards as u64 / 1024,
            shards,
        }
    }
}

/// What the memory tier holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RamStats {
    /// Stored keys; the variants of one count once.
    pub objects: u64,
    /// Bytes of all objects.
    pub bytes: u64,
    /// The limit of `bytes`.
    pub limit: u64,
    /// Keys evicted to make room.
    pub evictions: u64,
}

/// The memory tier.
#[derive(Debug)]
pub struct Ram {
    slots: Cache<Key, Slot, BySize, RandomState, Gone>,
    locks: Box<[Mutex<Seen>]>,
    large: u64,
    evictions: AtomicU64,
    max_variants: usize,
}

/// What is stored under one key.
#[derive(Clone, Debug)]
enum Slot {
    /// One response.
    One(Arc<Object>),
    /// Several, newest first.
    Many(Arc<Variants>),
}

#[derive(Debug)]
struct Variants {
    objects: Box<[Arc<Object>]>,
    size: u64,
}

impl Ram {
    /// An empty store.
    pub fn new(config: RamConfig) -> Self {
        let shards = config.shards.max(1).next_power_of_two();
        // Objects of 16 KiB on average; the tables grow when they are smaller.
        let items = usize::try_from(config.bytes / (16 << 10))
            .unwrap_or(usize::MAX)
            .max(shards * 32);
        // Rounded down: quick_cache rounds each shard's share up.
        let capacity = config.bytes / shards as u64 * shards as u64;
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(items)
            .weight_capacity(capacity)
            .build()
            .unwrap_or_else(|_| unreachable!("both capacities are given"));
        let lifecycle = Gone;
        Self {
            slots: Cache::with_options(options, BySize, RandomState::default(), lifecycle),
            locks: (0..WRITE_LOCKS).map(|_| Mutex::default()).collect(),
            large: config.large,
            evictions: AtomicU64::new(0),
            max_variants: config.max_variants.max(1),
        }
    }

    /// Changes how many bytes may be stored; evicts what is too much.
    pub fn set_limit(&self, bytes: u64) {
        self.slots.set_capacity(bytes);
    }

    /// The variant of `key` that a request with these field values selects.
    pub fn get(&self, key: Key, keyer: &Keyer, values: &FieldValues<'_>) -> Option<Arc<Object>> {
        let selects = |object: &Object| {
            object.meta.vary.is_empty() || object.meta.vary.fingerprint(keyer, values) == object.variant
        };
        let slot = match self.slots.get(&key)? {
            Slot::One(object) if selects(&object) => return Some(object),
            slot => slot,
        };
        let mut known: Option<(&Rule, Fingerprint)> = None;
        let found = slot
            .objects()
            .iter()
            .find(|object| {
                let rule = &object.meta.vary;
                let print = match known {
                    Some((last, print)) if last == rule => print,
                    _ => rule.fingerprint(keyer, values),
                };
                known = Some((rule, print));
                print == object.variant
            })
            .or_else(|| in_wanted_language(slot.objects(), keyer, values));
        found.cloned()
    }

    /// All variants of `key`, newest first, without counting as a use of them.
    pub fn variants(&self, key: Key) -> Vec<Arc<Object>> {
        self.slots
            .peek(&key)
            .map_or_else(Vec::new, |slot| slot.objects().to_vec())
    }

    /// The `Vary` of the newest response of `key`: under it a new request waits for a fill.
    pub fn rule(&self, key: Key) -> Option<Rule> {
        self.slots
            .peek(&key)?
            .objects()
            .first()
            .map(|object| object.meta.vary.clone())
    }

    /// Whether this very object is stored under `key`.
    pub fn holds(&self, key: Key, object: &Arc<Object>) -> bool {
        let slot = self.slots.peek(&key);
        slot.is_some_and(|slot| slot.objects().iter().any(|other| Arc::ptr_eq(other, object)))
    }

    /// The size of the largest object that fits.
    pub fn largest(&self) -> u64 {
        self.slots.shard_capacity()
    }

    /// Keeps others from changing `key` until the guard is gone.
    pub fn lock(&self, key: Key) -> RamGuard<'_> {
        let lock = &self.locks[key.0 as usize % WRITE_LOCKS];
        RamGuard {
            ram: self,
            key,
            seen: lock.lock(),
        }
    }

    /// What is held.
    pub fn stats(&self) -> RamStats {
        RamStats {
            objects: self.slots.len() as u64,
            bytes: self.slots.weight(),
            limit: self.slots.capacity(),
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }
}

/// The right to change what is stored under one key.
#[derive(Debug)]
pub struct RamGuard<'a> {
    ram: &'a Ram,
    key: Key,
    seen: MutexGuard<'a, Seen>,
}

/// Keys of large objects that came once, of one write lock: the oldest is forgotten first.
#[derive(Debug, Default)]
struct Seen {
    keys: [u64; SEEN],
    next: usize,
}

impl Seen {
    /// Whether the key came before; if not it is remembered.
    fn again(&mut self, key: Key) -> bool {
        let key = (key.0 >> 64) as u64 | 1;
        if self.keys.contains(&key) {
            return true;
        }
        if let Some(place) = self.keys.get_mut(self.next) {
            *place = key;
        }
        self.next = (self.next + 1) % SEEN;
        false
    }
}

impl RamGuard<'_> {
    /// The variant with these values under this `Vary`.
    pub fn find(&self, vary: &Rule, variant: Fingerprint) -> Option<Arc<Object>> {
        let slot = self.ram.slots.peek(&self.key)?;
        let mut objects = slot.objects().iter();
        objects
            .find(|object| object.variant == variant && object.meta.vary == *vary)
            .cloned()
    }

    /// Stores `object` in place of the variant it has the same values as. Returns whether it fits.
    pub fn insert(&mut self, object: &Arc<Object>) -> bool {
        let largest = self.ram.largest();
        if object.size() > largest || !self.admits(object) {
            self.remove_variant(object);
            return false;
        }
        let mut size = object.size();
        let mut objects = vec![Arc::clone(object)];
        if let Some(old) = self.ram.slots.peek(&self.key) {
            for other in old.objects().iter().filter(|other| !same_variant(other, object)) {
                size += other.size();
                if objects.len() == self.ram.max_variants || size > largest {
                    break;
                }
                objects.push(Arc::clone(other));
            }
        }
        self.put(objects);
        true
    }

    /// Whether there is room, or reason to make it.
    fn admits(&mut self, object: &Object) -> bool {
        let slots = &self.ram.slots;
        let nearly_full = || slots.weight() + object.size() > slots.capacity() / 8 * 7;
        object.size() <= self.ram.large
            || slots.peek(&self.key).is_some()
            || !nearly_full()
            || self.seen.again(self.key)
    }

    /// Removes the variant that has `object`'s values, be it this object or a newer one.
    pub fn remove_variant(&self, object: &Object) {
        self.keep(|other| !same_variant(other, object));
    }

    /// Removes this very object.
    pub fn remove_object(&self, object: &Arc<Object>) {
        self.keep(|other| !Arc::ptr_eq(other, object));
    }

    /// Removes all variants. Returns whether there were any.
    pub fn remove(&self) -> bool {
        self.ram.slots.remove(&self.key).is_some()
    }

    fn keep(&self, keep: impl Fn(&Arc<Object>) -> bool) {
        let Some(old) = self.ram.slots.peek(&self.key) else {
            return;
        };
        let kept: Vec<_> = old.objects().iter().filter(|object| keep(object)).cloned().collect();
        if kept.is_empty() {
            self.ram.slots.remove(&self.key);
        } else if kept.len() < old.objects().len() {
            self.put(kept);
        }
    }

    fn put(&self, objects: Vec<Arc<Object>>) {
        let slot = match <[_; 1]>::try_from(objects) {
            Ok([one]) => Slot::One(one),
            Err(objects) => {
                let size = objects.iter().map(|object| object.size()).sum();
                Slot::Many(Arc::new(Variants {
                    objects: objects.into(),
                    size,
                }))
            }
        };
        let gone = self.ram.slots.insert_with_lifecycle(self.key, slot);
        // What this key held before makes room too, but for itself.
        let evicted = gone.iter().filter(|(key, _)| *key != self.key).count();
        self.ram.evictions.fetch_add(evicted as u64, Ordering::Relaxed);
    }
}

/// The newest response in the language that the request wants most.
fn in_wanted_language<'a>(
    objects: &'a [Arc<Object>],
    keyer: &Keyer,
    values: &FieldValues<'_>,
) -> Option<&'a Arc<Object>> {
    if !objects.iter().any(|object| object.in_language.is_some()) {
        return None;
    }
    let wanted = most_wanted_language(values)?;
    objects.iter().find(|object| {
        let print = object.in_language;
        print.is_some() && object.meta.vary.fingerprint_in(keyer, values, &wanted) == print
    })
}

fn same_variant(a: &Object, b: &Object) -> bool {
    a.variant == b.variant && a.meta.vary == b.meta.vary
}

impl Slot {
    fn objects(&self) -> &[Arc<Object>] {
        match self {
            Self::One(object) => std::slice::from_ref(object),
            Self::Many(variants) => &variants.objects,
        }
    }
}

#[derive(Clone, Debug)]
struct BySize;

impl Weighter<Key, Slot> for BySize {
    fn weight(&self, _: &Key, slot: &Slot) -> u64 {
        match slot {
            Slot::One(object) => object.size(),
            Slot::Many(variants) => variants.size,
        }
    }
}

#[derive(Clone, Debug)]
struct Gone;

impl Lifecycle<Key, Slot> for Gone {
    type RequestState = Vec<(Key, Slot)>;

    fn begin_request(&self) -> Self::RequestState {
        Vec::new()
    }

    // Kept until the shard's lock is released: freeing a large body takes a while.
    fn on_evict(&self, state: &mut Self::RequestState, key: Key, slot: Slot) {
        state.push((key, slot));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::object::{Body, Metadata};
    use crate::purge::Epochs;
    use crate::vary::values_of;

    fn object(vary: &'static str, request: &HeaderMap, body: usize) -> Arc<Object> {
        let mut fields = HeaderMap::new();
        if !vary.is_empty() {
            fields.insert("vary", HeaderValue::from_static(vary));
        }
        let vary = Rule::from_response(&fields).unwrap();
        let variant = vary.fingerprint(&Keyer::new(1), &values_of(request));
        let meta = Metadata {
            vary,
            ..Object::for_tests().meta
        };
        let body = Body::from_chunks([Bytes::from(vec![0; body])]);
        Arc::new(Object::new(
            200,
            Bytes::new(),
            body,
            meta,
            variant,
            Epochs::default().stamp(1),
        ))
    }

    fn request(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::ACCEPT, value.parse().unwrap())])
    }

    fn get(ram: &Ram, key: u128, request: &HeaderMap) -> Option<Arc<Object>> {
        ram.get(Key(key), &Keyer::new(1), &values_of(request))
    }

    #[test]
    fn a_request_gets_its_own_variant() {
        let ram = Ram::new(RamConfig::new(1 << 20));
        let objects = ["a", "b", "c"].map(|value| object("accept", &request(value), 10));
        for object in &objects {
            assert!(ram.lock(Key(1)).insert(object));
        }
        for (value, object) in ["a", "b", "c"].into_iter().zip(&objects) {
            assert!(Arc::ptr_eq(&get(&ram, 1, &request(value)).unwrap(), object));
        }
        assert!(get(&ram, 1, &request("d")).is_none());
        assert!(get(&ram, 2, &request("a")).is_none());
        assert_eq!(ram.stats().objects, 1);
        assert_eq!(
            ram.stats().bytes,
            objects.iter().map(|object| object.size()).sum::<u64>()
        );
    }

    #[test]
    fn a_newer_response_takes_the_place_of_its_variant_only() {
        let ram = Ram::new(RamConfig::new(1 << 20));
        let mut guard = ram.lock(Key(1));
        guard.insert(&object("accept", &request("a"), 1));
        guard.insert(&object("accept", &request("b"), 2));
        guard.insert(&object("accept", &request("a"), 3));
        assert_eq!(get(&ram, 1, &request("a")).unwrap().body.len(), 3);
        assert_eq!(get(&ram, 1, &request("b")).unwrap().body.len(), 2);
        guard.remove_variant(&object("accept", &request("a"), 9));
        assert!(get(&ram, 1, &request("a")).is_none());
        assert!(get(&ram, 1, &request("b")).is_some());
        assert!(guard.remove());
        assert!(get(&ram, 1, &request("b")).is_none());
    }

    #[test]
    fn removing_an_object_spares_the_one_that_replaced_it() {
        let ram = Ram::new(RamConfig::new(1 << 20));
        let mut guard = ram.lock(Key(1));
        let (old, new) = (object("", &request("a"), 1), object("", &request("a"), 2));
        guard.insert(&old);
        guard.insert(&new);
        guard.remove_object(&old);
        assert_eq!(get(&ram, 1, &request("a")).unwrap().body.len(), 2);
    }

    #[test]
    fn the_oldest_variant_goes_when_there_are_too_many() {
        let ram = Ram::new(RamConfig {
            max_variants: 2,
            ..RamConfig::new(1 << 20)
        });
        for value in ["a", "b", "c"] {
            ram.lock(Key(1)).insert(&object("accept", &request(value), 1));
        }
        assert!(get(&ram, 1, &request("a")).is_none());
        assert!(get(&ram, 1, &request("b")).is_some());
        assert!(get(&ram, 1, &request("c")).is_some());
    }

    #[test]
    fn variants_that_do_not_fit_a_shard_push_out_older_ones() {
        let ram = Ram::new(RamConfig {
            bytes: 100_000,
            max_variants: 32,
            large: u64::MAX,
            shards: 1,
        });
        ram.lock(Key(1)).insert(&object("accept", &request("a"), 60_000));
        ram.lock(Key(1)).insert(&object("accept", &request("b"), 60_000));
        assert!(get(&ram, 1, &request("a")).is_none());
        assert!(get(&ram, 1, &request("b")).is_some());
    }

    #[test]
    fn an_object_larger_than_a_shard_is_refused_and_its_predecessor_goes() {
        let ram = Ram::new(RamConfig {
            bytes: 100_000,
            max_variants: 32,
            large: u64::MAX,
            shards: 1,
        });
        assert!(ram.lock(Key(1)).insert(&object("", &request("a"), 10)));
        assert!(!ram.lock(Key(1)).insert(&object("", &request("a"), 100_000)));
        assert!(get(&ram, 1, &request("a")).is_none());
    }

    #[test]
    fn an_object_that_takes_the_place_of_its_former_self_evicts_nothing() {
        let ram = Ram::new(RamConfig::new(1 << 20));
        for _ in 0..3 {
            assert!(ram.lock(Key(1)).insert(&object("", &HeaderMap::new(), 10)));
        }
        assert_eq!((ram.stats().objects, ram.stats().evictions), (1, 0));
    }

    #[test]
    fn a_large_object_is_stored_at_once_while_there_is_room_and_at_its_second_coming_when_there_is_not() {
        let ram = Ram::new(RamConfig {
            bytes: 1_000_000,
            max_variants: 32,
            large: 10_000,
            shards: 1,
        });
        let (small, large) = (object("", &request("a"), 1000), object("", &request("a"), 50_000));
        assert!(ram.lock(Key(1)).insert(&large));
        for key in 1000..2000 {
            assert!(
                ram.lock(Key(key << 64)).insert(&small),
                "a small one is always admitted"
            );
        }
        let objects = ram.stats().objects;
        assert!(!ram.lock(Key(2 << 64)).insert(&large));
        assert!(get(&ram, 2 << 64, &request("a")).is_none());
        assert_eq!(ram.stats().objects, objects, "it pushed out nothing");
        assert!(ram.lock(Key(2 << 64)).insert(&large));
        assert!(
            ram.lock(Key(2 << 64)).insert(&large),
            "a newer version of what is there is no newcomer"
        );
        assert!(get(&ram, 2 << 64, &request("a")).is_some());
        // So many others came meanwhile that it is a newcomer again.
        assert!(!ram.lock(Key(64 << 64)).insert(&large));
        for key in 1..=SEEN as u128 {
            ram.lock(Key((64 + 2 * key) << 64)).insert(&large);
        }
        assert!(!ram.lock(Key(64 << 64)).insert(&large));
    }

    #[test]
    fn bytes_stay_below_the_limit_and_evictions_are_counted() {
        let ram = Ram::new(RamConfig {
            bytes: 200_000,
            max_variants: 32,
            large: u64::MAX,
            shards: 2,
        });
        for key in 0..500 {
            ram.lock(Key(key)).insert(&object("", &request("a"), 1000));
            assert!(ram.stats().bytes <= 200_000);
        }
        let stats = ram.stats();
        assert!(stats.objects > 50);
        assert_eq!(stats.objects + stats.evictions, 500);
    }
}
