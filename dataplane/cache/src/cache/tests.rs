//! Whole requests, with an origin of a few lines: look-up, fetch and store here, the rest by what it is about.

mod purging;
mod validating;

use std::sync::atomic::AtomicBool;

use http::header::HeaderName;
use http::{HeaderValue, Method};

use super::*;
use crate::fill::{FillReader, HeadOutcome};
use crate::key::QueryFilter;
use crate::policy::request::Bypass;
use crate::policy::site::SitePolicy;
use crate::policy::store::{Candidate, Reason};
use crate::policy::validate::{self, Mismatch};
use crate::purge::Mode;
use crate::vary::values_of;

const SITE: u64 = 9;
const START: u64 = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT

/// A cache with a clock and the ways of a data plane.
struct Edge {
    cache: Arc<Cache>,
    now: Timestamp,
    policy: SitePolicy,
}

/// A request under way.
struct Request {
    target: Target,
    prefixes: Vec<u64>,
    meta: RequestMeta,
    fields: HeaderMap,
}

impl Edge {
    fn new() -> Self {
        let now = Timestamp::from_secs(START);
        Self {
            cache: Cache::new(Config::new(1 << 20, 1)),
            now,
            policy: SitePolicy::default(),
        }
    }

    fn later(&mut self, seconds: u64) {
        self.now = self.now.plus_millis(seconds * 1000);
    }

    fn request(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Request {
        let fields = map(fields);
        let key = self
            .cache
            .key(SITE)
            .target(b"http", b"a.example", path.as_bytes(), None, &QueryFilter::default());
        let url = key.finish();
        let key = self.policy.key_headers.iter().fold(key, |key, name| {
            key.header(name.as_str(), fields.get(name).map(HeaderValue::as_bytes))
        });
        let target = Target {
            site: SITE,
            url,
            key: key.finish(),
        };
        let method: Method = method.parse().unwrap();
        let meta = RequestMeta::new(&method, false, &self.policy, &values_of(&fields));
        Request {
            target,
            prefixes: self.cache.keyer().prefix_tags(SITE, "a.example", path),
            meta,
            fields,
        }
    }

    fn get(&self, path: &str) -> Request {
        self.request("GET", path, &[])
    }

    fn lookup(&self, request: &Request) -> Lookup {
        self.cache.lookup(
            request.target.key,
            &request.meta,
            None,
            &values_of(&request.fields),
            self.now,
        )
    }

    fn join(&self, request: &Request) -> Joined {
        self.cache
            .join(&request.target, &request.meta, &values_of(&request.fields), self.now)
    }

    fn lead(&self, request: &Request) -> (FillWriter, FillReader) {
        match self.join(request) {
            Joined::Leader(writer, reader) => (writer, reader),
            other => panic!("expected to lead: {other:?}"),
        }
    }

    fn candidate<'a>(&'a self, request: &'a Request, status: u16, fields: &'a HeaderMap) -> Candidate<'a> {
        Candidate {
            request: &request.meta,
            status,
            fields,
            asked: self.now,
            received: self.now,
            policy: &self.policy,
            rules: &[],
            keyer: self.cache.keyer(),
            site: SITE,
            url: request.target.url,
            prefixes: &request.prefixes,
            origin: Key(2),
        }
    }

    fn answer(&self, request: &Request, writer: &mut FillWriter, fields: &[(&str, &str)]) {
        let fields = map(fields);
        let values = values_of(&request.fields);
        let (head, _) = self.cache.head(&self.candidate(request, 200, &fields), None, &values);
        self.cache.publish(writer, head, &self.policy, self.now);
    }

    /// Fetches as a leader. Returns the object if it was stored.
    fn fetch(&self, request: &Request, fields: &[(&str, &str)], body: &'static str) -> Option<Arc<Object>> {
        let (mut writer, _reader) = self.lead(request);
        self.answer(request, &mut writer, fields);
        writer.push(Bytes::from_static(body.as_bytes()));
        self.cache.complete(request.target.key, writer, Bytes::new()).unwrap()
    }

    fn body(&self, request: &Request) -> Option<String> {
        match self.lookup(request) {
            Lookup::Hit { object, .. } => Some(String::from_utf8(object.body.contiguous().unwrap().to_vec()).unwrap()),
            _ => None,
        }
    }
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in fields {
        out.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    out
}

/// The result of a future that has to be ready.
fn poll<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("has to be ready"),
    }
}

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[test]
fn a_miss_is_fetched_stored_and_then_a_hit_with_its_age() {
    let mut edge = Edge::new();
    let request = edge.get("/x");
    assert!(matches!(edge.lookup(&request), Lookup::Miss));
    assert!(
        edge.fetch(
            &request,
            &[("cache-control", "max-age=60"), ("age", "5"), ("x-test", "1")],
            "hello"
        )
        .is_some()
    );
    edge.later(10);
    let Lookup::Hit { object, age, ttl } = edge.lookup(&request) else {
        panic!("no hit")
    };
    assert_eq!((age, ttl), (15_000, 45_000));
    let fields = object.fields();
    assert_eq!(fields["x-test"], "1");
    assert_eq!(fields["content-length"], "5");
    assert_eq!(fields["date"], "Sun, 06 Nov 1994 08:49:37 GMT");
    assert!(!fields.contains_key("age"));
    assert!(object.head.starts_with(b"HTTP/1.1 200 OK\r\n") && object.head.ends_with(b"\r\n"));
    assert_eq!(edge.body(&edge.request("HEAD", "/x", &[])).as_deref(), Some("hello"));
    assert!(edge.body(&edge.get("/y")).is_none());
}

#[test]
fn only_if_cached_is_unavailable_instead_of_a_miss() {
    let edge = Edge::new();
    let request = edge.request("GET", "/x", &[("cache-control", "only-if-cached")]);
    assert!(matches!(edge.lookup(&request), Lookup::Unavailable));
    edge.fetch(&edge.get("/x"), FRESH, "a");
    assert!(matches!(edge.lookup(&request), Lookup::Hit { .. }));
}

#[test]
fn a_rule_that_bypasses_keeps_the_request_away_from_the_store() {
    let edge = Edge::new();
    let request = edge.get("/x");
    edge.fetch(&request, FRESH, "a");
    let rule = Rule {
        bypass: true,
        ..Rule::default()
    };
    let lookup = edge.cache.lookup(
        request.target.key,
        &request.meta,
        Some(&rule),
        &values_of(&request.fields),
        edge.now,
    );
    assert!(matches!(lookup, Lookup::Bypass(Bypass::Rule)));
}

#[test]
fn fields_that_are_not_shared_reach_only_the_request_they_were_fetched_for() {
    let edge = Edge::new();
    let request = edge.get("/x");
    let (mut writer, mut own) = edge.lead(&request);
    edge.answer(
        &request,
        &mut writer,
        &[("cache-control", "max-age=60, private=\"x-mine\""), ("x-mine", "1")],
    );
    let HeadOutcome::Head(head) = poll(own.head()) else {
        panic!("no head")
    };
    assert_eq!(head.fields["x-mine"], "1");
    assert!(!String::from_utf8_lossy(&head.head).contains("x-mine: "));
    let object = edge
        .cache
        .complete(request.target.key, writer, Bytes::new())
        .unwrap()
        .unwrap();
    assert!(!object.fields().contains_key("x-mine"));
}

#[test]
fn each_variant_is_fetched_stored_and_found_for_itself() {
    let edge = Edge::new();
    let french = edge.request("GET", "/x", &[("accept-language", "fr")]);
    let german = edge.request("GET", "/x", &[("accept-language", "de")]);
    let vary = &[("cache-control", "max-age=60"), ("vary", "Accept-Language")];
    edge.fetch(&french, vary, "bonjour");
    assert!(matches!(edge.lookup(&german), Lookup::Miss));
    edge.fetch(&german, vary, "tag");
    assert_eq!(edge.body(&french).as_deref(), Some("bonjour"));
    assert_eq!(edge.body(&german).as_deref(), Some("tag"));
}

#[test]
fn a_follower_whose_variant_is_another_finds_out_at_the_head_and_fetches_its_own() {
    let edge = Edge::new();
    let french = edge.request("GET", "/x", &[("accept-language", "fr")]);
    let german = edge.request("GET", "/x", &[("accept-language", "de")]);
    let (mut writer, _own) = edge.lead(&french);
    let Joined::Follower(mut follower) = edge.join(&german) else {
        panic!("no follower")
    };
    edge.answer(
        &french,
        &mut writer,
        &[("cache-control", "max-age=60"), ("vary", "Accept-Language")],
    );
    let HeadOutcome::Head(head) = poll(follower.head()) else {
        panic!("no head")
    };
    assert!(edge.cache.selects(&head, &values_of(&french.fields)));
    assert!(!edge.cache.selects(&head, &values_of(&german.fields)));
    let rule = &head.storable.as_ref().unwrap().metadata.vary;
    let joined = edge
        .cache
        .join_variant(&german.target, rule, &german.meta, &values_of(&german.fields), edge.now);
    assert!(matches!(joined, Joined::Leader(..)));
}

#[test]
fn a_private_answer_is_not_stored_and_later_requests_do_not_wait() {
    let edge = Edge::new();
    let request = edge.get("/x");
    assert!(edge.fetch(&request, &[("cache-control", "private")], "mine").is_none());
    assert!(matches!(edge.lookup(&request), Lookup::Miss));
    assert!(matches!(edge.join(&request), Joined::Alone(_)));
    // Once it may be stored, requests wait for each other again.
    let fields = map(FRESH);
    let values = values_of(&request.fields);
    let (head, reason) = edge.cache.head(&edge.candidate(&request, 200, &fields), None, &values);
    assert_eq!(reason, None);
    let stamp = edge.cache.stamp(SITE);
    let object = edge
        .cache
        .insert(request.target.key, &head, Bytes::from_static(b"all").into(), &stamp)
        .unwrap();
    edge.cache.ram.lock(request.target.key).remove_object(&object);
    assert!(matches!(edge.join(&request), Joined::Leader(..)));
}

#[test]
fn a_passing_error_is_not_remembered() {
    let edge = Edge::new();
    let request = edge.get("/x");
    let (mut writer, _own) = edge.lead(&request);
    let (head, reason) = edge
        .cache
        .head(&edge.candidate(&request, 503, &HeaderMap::new()), None, &|_, _| {});
    assert_eq!(reason, Some(Reason::NoLifetime));
    edge.cache.publish(&mut writer, head, &edge.policy, edge.now);
    assert!(
        edge.cache
            .complete(request.target.key, writer, Bytes::new())
            .unwrap()
            .is_none()
    );
    assert!(matches!(edge.join(&request), Joined::Leader(..)));
}

#[test]
fn requests_with_authorization_or_ranges_do_not_wait_for_others() {
    let edge = Edge::new();
    for field in [("authorization", "x"), ("range", "bytes=0-1")] {
        assert!(matches!(
            edge.join(&edge.request("GET", "/x", &[field])),
            Joined::Alone(_)
        ));
    }
}

#[test]
fn who_joins_just_after_the_object_was_stored_gets_the_object() {
    let edge = Edge::new();
    let request = edge.get("/x");
    edge.fetch(&request, FRESH, "a");
    assert!(matches!(edge.join(&request), Joined::Found { .. }));
    assert_eq!(edge.cache.stats().fills.in_flight, 0);
}

#[test]
fn an_object_too_large_passes_through_unstored() {
    let mut edge = Edge::new();
    edge.policy.max_object_size = 4;
    let request = edge.get("/x");
    let (mut writer, mut reader) = edge.lead(&request);
    edge.answer(&request, &mut writer, FRESH);
    writer.push(Bytes::from_static(b"hello"));
    assert!(
        edge.cache
            .complete(request.target.key, writer, Bytes::new())
            .unwrap()
            .is_none()
    );
    assert_eq!(poll(reader.chunk()).unwrap().unwrap(), "hello");
    assert!(matches!(edge.lookup(&request), Lookup::Miss));
}

#[test]
fn four_threads_of_lookups_inserts_and_purges_keep_within_the_limit() {
    let edge = Edge {
        cache: Cache::new(Config::new(500_000, 1)),
        ..Edge::new()
    };
    let limit = edge.cache.stats().ram.limit;
    assert!(limit <= 400_000);
    let stop = AtomicBool::new(false);
    let (edge, stop) = (&edge, &stop);
    let hits = std::thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let mut looks = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let stats = edge.cache.stats();
                assert!(stats.ram.bytes <= limit, "{stats:?}");
                looks += 1;
            }
            looks
        });
        let workers: Vec<_> = (0..4u64)
            .map(|worker| {
                scope.spawn(move || {
                    let (mut hits, mut seed) = (0u64, worker + 1);
                    let fields = map(&[("cache-control", "max-age=60"), ("vary", "x"), ("surrogate-key", "one")]);
                    for round in 0..3000u64 {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let number = seed >> 33;
                        let variant = (number % 3).to_string();
                        let request = edge.request("GET", &format!("/{}", number % 200), &[("x", &variant)]);
                        let values = values_of(&request.fields);
                        if let Lookup::Hit { object, .. } = edge.lookup(&request) {
                            let expected = request.target.key.0.to_be_bytes();
                            assert_eq!(
                                object.body.contiguous().unwrap()[..16],
                                expected,
                                "another key's content"
                            );
                            hits += 1;
                        } else {
                            let stamp = edge.cache.stamp(SITE);
                            let (head, _) = edge.cache.head(&edge.candidate(&request, 200, &fields), None, &values);
                            let mut body = request.target.key.0.to_be_bytes().to_vec();
                            body.resize(16 + (number % 8000) as usize, 0);
                            edge.cache
                                .insert(request.target.key, &head, Bytes::from(body).into(), &stamp);
                        }
                        let purge = match round % 500 {
                            100 => Some(Purge::Tags(&["one"])),
                            200 => Some(Purge::Urls(std::slice::from_ref(&request.target.url))),
                            400 => Some(Purge::Everything),
                            _ => None,
                        };
                        if let Some(purge) = purge {
                            edge.cache.purge(SITE, purge, Mode::Hard);
                        } else if round % 500 == 300 {
                            edge.cache.invalidate(&request.target, &edge.policy);
                        }
                    }
                    hits
                })
            })
            .collect();
        let hits: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        stop.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 0);
        hits
    });
    assert!(hits > 0);
    assert!(edge.cache.stats().ram.evictions > 0);
}
