//! The tier as a whole, over a directory in memory.

mod failing;
mod filling;
mod following;
mod killed;
mod restarts;
mod torn;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::testing::MemoryDir;
use super::*;
use crate::cache::{Cache, Config, Step};
use crate::fill::FillHead;
use crate::object::{Body, Freshness, Metadata};
use crate::policy::site::SitePolicy;
use crate::policy::store::Storable;
use crate::purge::{Mode, Selector};
use crate::time::Timestamp;
use crate::vary::{Rule, values_of};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const SITE: u64 = 1;

/// A process with a store.
struct Process {
    dir: MemoryDir,
    cache: Arc<Cache>,
    store: Arc<Store>,
    log: Log,
    emptied: Option<String>,
}

/// A store of eight segments of a mebibyte.
fn start(dir: &MemoryDir) -> Process {
    start_with(dir, 8 << 20)
}

fn start_with(dir: &MemoryDir, bytes: u64) -> Process {
    let config = DiskConfig { bytes };
    let opened = open(Arc::new(dir.clone()), &config, [11, 12]).unwrap();
    let store = opened.store;
    let cache = Cache::new(Config::new(4 << 20, store.superblock().seed));
    cache.await_disk(store.superblock(), &opened.purges).unwrap();
    cache.adopt_purges(&store, &opened.purges).unwrap();
    let log = store.recover().unwrap();
    assert!(cache.attach_disk(&store));
    Process {
        dir: dir.clone(),
        cache,
        store,
        log,
        emptied: opened.emptied,
    }
}

fn key(n: u64) -> Key {
    crate::key::Keyer::new(1).start(n).finish()
}

/// Bytes that a failed assertion does not print.
#[derive(Clone, PartialEq, Eq)]
struct Content(Bytes);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, checksum {:x}", self.0.len(), crc32c::crc32c(&self.0))
    }
}

/// Content that only one key, and one version of it, has.
fn content(n: u64, version: u64, size: usize) -> Content {
    let seed = n.wrapping_mul(31).wrapping_add(version).wrapping_mul(97);
    let bytes = (0..size as u64).map(|i| (i.wrapping_mul(i | 1).wrapping_add(seed) >> 3) as u8);
    Content(bytes.collect())
}

fn request(accept: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::header::ACCEPT, accept.parse().unwrap())])
}

impl Process {
    fn head(&self, vary: &'static str, length: u64, accept: &str) -> FillHead {
        let mut fields = HeaderMap::new();
        fields.insert(http::header::ETAG, HeaderValue::from_static("\"v\""));
        if !vary.is_empty() {
            fields.insert(http::header::VARY, HeaderValue::from_static(vary));
        }
        let rule = Rule::from_response(&fields).unwrap();
        let variant = rule.fingerprint(self.cache.keyer(), &values_of(&request(accept)));
        let freshness = Freshness {
            asked: NOW,
            received: NOW,
            initial_age: 0,
            lifetime: 3_600_000,
            no_cache: false,
            must_revalidate: false,
            while_revalidate: 0,
            if_error: None,
        };
        let metadata = Metadata {
            freshness,
            date: NOW,
            etag: Some(Bytes::from_static(b"\"v\"")),
            last_modified: None,
            vary: rule,
            tags: [77].into(),
        };
        let storable = Storable {
            metadata,
            omit: Vec::<HeaderName>::new(),
        };
        FillHead {
            status: 200,
            head: Bytes::new(),
            fields,
            content_length: Some(length),
            stored: true,
            storable: Some(Box::new(storable)),
            variant,
            in_language: None,
        }
    }

    /// Stores content as a fetch does.
    fn store(&self, n: u64, content: Content) {
        self.store_variant(n, content, "", "");
    }

    fn store_variant(&self, n: u64, content: Content, vary: &'static str, accept: &str) {
        let head = self.head(vary, content.0.len() as u64, accept);
        let stamp = self.cache.stamp(SITE);
        // Memory need not take it.
        self.cache.insert(key(n), &head, content.0.into(), &stamp);
    }

    /// Stores content twice, so that it goes to the disk, and has it written.
    fn write(&mut self, n: u64, content: &Content) {
        self.store(n, content.clone());
        self.store(n, content.clone());
        self.work();
    }

    fn work(&mut self) {
        while !self.store.queue.is_empty() {
            assert!(self.log.work(NOW, Duration::ZERO));
        }
    }

    /// What the disk has for a request.
    fn load(&self, n: u64, accept: &str) -> Option<Arc<Object>> {
        let fields = request(accept);
        let values = values_of(&fields);
        let step = |at| {
            let place = self.store.find(at)?;
            let bytes = place.read().ok()?;
            Some(self.cache.load((key(n), at), &place, &bytes, &values, NOW))
        };
        match step(key(n))? {
            Step::Object(object) => Some(object),
            Step::Variants(keys) => keys.into_iter().find_map(|at| match step(at)? {
                Step::Object(object) => Some(object),
                _ => None,
            }),
            Step::Nothing => None,
        }
    }

    /// The content that the disk has, wherever it lies.
    fn content(&self, n: u64) -> Option<Content> {
        self.content_of(n, "")
    }

    fn content_of(&self, n: u64, accept: &str) -> Option<Content> {
        let object = self.load(n, accept)?;
        let Some(extents) = object.body.extents() else {
            return Some(Content(object.body.chunks().concat().into()));
        };
        let pinned = self.store.pin(extents)?;
        read_range(&pinned, 0, object.body.len())
    }

    /// The process dies, its purges kept; another takes its place.
    fn restart(self) -> Self {
        self.cache.keep_purges();
        start(&self.dir)
    }
}

fn read_range(pinned: &Pinned, mut from: u64, to: u64) -> Option<Content> {
    let mut all = Vec::new();
    while from < to {
        let part = pinned.part(from)?;
        let mut bytes = vec![0; part.len()];
        io::read_exact_at(&**part.file()?, &mut bytes, part.offset()).ok()?;
        let content = part.content(&bytes.into()).ok()?;
        let wanted = content.len().min((to - from) as usize);
        all.extend_from_slice(&content[..wanted]);
        from += content.len() as u64;
    }
    Some(Content(all.into()))
}

#[test]
fn what_is_used_twice_is_on_the_disk_after_a_restart_and_what_is_used_once_is_not() {
    let mut process = start(&MemoryDir::default());
    process.store(1, content(1, 0, 100));
    process.work();
    assert!(!process.store.contains(key(1)));
    process.write(2, &content(2, 0, 100));
    // A hit in memory is a second use.
    let meta = crate::policy::request::RequestMeta::new(
        &http::Method::GET,
        false,
        &SitePolicy::default(),
        &values_of(&HeaderMap::new()),
    );
    process
        .cache
        .lookup(key(1), &meta, None, &values_of(&HeaderMap::new()), NOW);
    process.work();
    let next = process.restart();
    assert_eq!(next.content(1), Some(content(1, 0, 100)));
    assert_eq!(next.content(2), Some(content(2, 0, 100)));
    assert_eq!((next.content(3), next.emptied), (None, None));
}

#[test]
fn an_object_comes_back_with_everything_it_was_stored_with() {
    let mut process = start(&MemoryDir::default());
    process.write(1, &content(1, 0, 10));
    let before = process.cache.peek(key(1)).unwrap();
    let next = process.restart();
    let after = next.load(1, "").unwrap();
    assert_eq!(
        (after.status, &after.head, &after.meta),
        (before.status, &before.head, &before.meta)
    );
    assert_eq!(
        (after.stamp().site(), after.stamp().at()),
        (before.stamp().site(), before.stamp().at())
    );
    assert!(next.cache.peek(key(1)).is_some(), "it is in memory again");
}

#[test]
fn a_large_object_lies_in_pieces_and_any_range_of_it_can_be_read() {
    let size = 900_000;
    let whole = content(1, 0, size);
    let mut process = start_with(&MemoryDir::default(), 16 << 20);
    process.write(1, &whole);
    process.cache.keep_purges();
    let next = start_with(&process.dir, 16 << 20);
    assert_eq!(next.content(1), Some(whole.clone()));
    let object = next.load(1, "").unwrap();
    assert!(object.size() < 2000, "only its head is in memory");
    let pinned = next.store.pin(object.body.extents().unwrap()).unwrap();
    for (from, to) in [
        (0, 1),
        (CHUNK_SIZE - 1, CHUNK_SIZE + 1),
        (size as u64 - 5, size as u64),
        (1000, 700_000),
    ] {
        let range = read_range(&pinned, from, to);
        assert_eq!(
            range,
            Some(Content(whole.0.slice(from as usize..to as usize))),
            "{from}-{to}"
        );
    }
}

const CHUNK_SIZE: u64 = record::CHUNK;

#[test]
fn each_variant_is_found_by_its_values_and_none_by_others() {
    let mut process = start(&MemoryDir::default());
    for accept in ["a", "b", "c"] {
        for _ in 0..2 {
            process.store_variant(1, content(1, accept.as_bytes()[0].into(), 50), "accept", accept);
        }
    }
    process.work();
    let next = process.restart();
    for accept in ["a", "b", "c"] {
        let expected = content(1, accept.as_bytes()[0].into(), 50);
        assert_eq!(next.content_of(1, accept), Some(expected), "{accept}");
    }
    assert_eq!(next.content_of(1, "d"), None);
}

#[test]
fn a_removed_key_stays_removed_with_all_its_variants_even_when_one_comes_again() {
    let mut process = start(&MemoryDir::default());
    for accept in ["a", "b"] {
        for _ in 0..2 {
            process.store_variant(1, content(1, 0, 50), "accept", accept);
        }
    }
    process.write(2, &content(2, 0, 10));
    process.work();
    process.cache.remove_for_tests(key(1));
    process.cache.remove_for_tests(key(2));
    assert_eq!(
        (process.content_of(1, "a"), process.content(2)),
        (None, None),
        "at once"
    );
    process.work();
    for _ in 0..2 {
        process.store_variant(1, content(1, 9, 50), "accept", "a");
    }
    process.work();
    let next = process.restart();
    assert_eq!(next.content_of(1, "a"), Some(content(1, 9, 50)));
    assert_eq!((next.content_of(1, "b"), next.content(2)), (None, None));
}

#[test]
fn what_is_queued_when_its_key_is_removed_is_not_found_afterwards() {
    let mut process = start(&MemoryDir::default());
    process.store(1, content(1, 0, 10));
    process.store(1, content(1, 0, 10));
    process.cache.remove_for_tests(key(1));
    process.work();
    assert!(!process.store.contains(key(1)));
    assert_eq!(process.restart().content(1), None);
}

#[test]
fn what_replaces_something_on_the_disk_replaces_it_there() {
    let mut process = start(&MemoryDir::default());
    process.write(1, &content(1, 0, 10));
    process.store(1, content(1, 1, 20));
    process.work();
    assert_eq!(process.restart().content(1), Some(content(1, 1, 20)));
}

#[test]
fn a_closed_store_writes_what_waits_and_finds_nothing_more() {
    let mut process = start(&MemoryDir::default());
    process.store(1, content(1, 0, 10));
    process.store(1, content(1, 0, 10));
    process.cache.keep_purges();
    process.store.close();
    while process.log.work(NOW, Duration::ZERO) {}
    assert!(process.cache.disk().is_none() && process.load(1, "").is_none());
    assert_eq!(process.restart().content(1), Some(content(1, 0, 10)));
}

#[test]
fn an_object_can_be_promoted_into_memory_as_long_as_it_is_the_one_there() {
    let whole = content(1, 0, 400_000);
    let mut process = start(&MemoryDir::default());
    process.write(1, &whole);
    process.cache.keep_purges();
    let next = process.restart();
    let object = next.load(1, "").unwrap();
    assert!(next.cache.promote(key(1), &object, Body::from(whole.0.clone())));
    let promoted = next.cache.peek(key(1)).unwrap();
    assert!(promoted.body.extents().is_none());
    assert_eq!(promoted.body.chunks().concat(), whole.0);
    assert!(
        !next.cache.promote(key(1), &object, Body::from(whole.0.clone())),
        "it is not there any more"
    );
    assert!(
        !next.cache.promote(key(1), &promoted, Body::from(whole.0.slice(1..))),
        "it is cut"
    );
}

#[test]
fn the_seeds_of_the_fuzz_target_are_what_they_are_called() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/disk_log");
    let read = |name: &str| Bytes::from(std::fs::read(seeds.join(name)).unwrap());
    assert!(Superblock::decode(&read("superblock")).is_ok());
    assert!(decode_object(&read("object")).is_some_and(|object| object.extents.is_none()));
    assert!(decode_object(&read("object-in-pieces")).is_some_and(|object| object.extents.is_some()));
    assert!(decode_variants(&read("variants")).is_some());
    let rules = crate::searches::kept::decode(&read("searches"), 7);
    assert_eq!(rules.map(|rules| rules.len()), Some(2));
    let record = Record::parse(&read("record"), 1).unwrap();
    assert!(decode_object(&record.head).is_some() && record.content == "content");
    let sealed = read("sealed");
    let (count, end, crc) = segment::parse_seal(&sealed, 1, 4 * record::UNIT).unwrap();
    assert_eq!(segment::parse_list(&sealed[44..], count, end, crc).unwrap().len(), 1);
}
