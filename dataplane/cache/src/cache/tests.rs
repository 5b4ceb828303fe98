//! Whole requests: lookup, fetch, store, validate, purge, with an origin of a few lines.

use std::sync::atomic::AtomicBool;

use http::Method;

use super::*;
use crate::fill::{FillReader, HeadOutcome};
use crate::key::QueryFilter;
use crate::policy::request::Bypass;
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
fn a_304_refreshes_the_stored_fields_but_not_those_of_the_content() {
    let mut edge = Edge::new();
    let request = edge.get("/x");
    let first = [
        ("cache-control", "max-age=10"),
        ("etag", "\"a\""),
        ("x-test", "old"),
        ("x-kept", "1"),
        ("content-encoding", "gzip"),
    ];
    edge.fetch(&request, &first, "hello");
    edge.later(20);
    let Lookup::Stale {
        object,
        ttl,
        requested: false,
        ..
    } = edge.lookup(&request)
    else {
        panic!("not stale")
    };
    assert_eq!(ttl, -10_000);

    let mut to_origin = map(&[
        ("if-none-match", "\"client\""),
        ("if-modified-since", "x"),
        ("range", "bytes=0-1"),
    ]);
    validate::conditional(&mut to_origin, &object);
    assert_eq!(to_origin, map(&[("if-none-match", "\"a\"")]));

    let stamp = edge.cache.stamp(SITE);
    let fields = map(&[
        ("cache-control", "max-age=30"),
        ("etag", "W/\"a\""),
        ("x-test", "new"),
        ("content-length", "999"),
        ("content-encoding", "br"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
    ]);
    let response = edge.candidate(&request, 304, &fields);
    let revalidated = edge
        .cache
        .revalidated(
            request.target.key,
            &object,
            &response,
            &values_of(&request.fields),
            &stamp,
        )
        .unwrap();
    assert!(revalidated.stored);
    let Lookup::Hit { object, age, ttl } = edge.lookup(&request) else {
        panic!("no hit")
    };
    assert_eq!((age, ttl), (0, 30_000));
    let fields = object.fields();
    assert_eq!(
        (&fields["x-test"], &fields["x-kept"]),
        (&HeaderValue::from_static("new"), &HeaderValue::from_static("1"))
    );
    assert_eq!(
        (&fields["content-length"], &fields["content-encoding"]),
        (&HeaderValue::from_static("5"), &HeaderValue::from_static("gzip"))
    );
    assert_eq!(fields["date"], "Sun, 06 Nov 1994 08:49:57 GMT");
    assert!(!fields.contains_key("x-hop"));
    assert_eq!(object.body.contiguous(), Some(&b"hello"[..]));
}

#[test]
fn last_modified_is_a_validator_too() {
    let edge = Edge::new();
    let modified = "Sun, 06 Nov 1994 08:00:00 GMT";
    let object = edge
        .fetch(&edge.get("/x"), &[("last-modified", modified)], "a")
        .unwrap();
    let mut to_origin = HeaderMap::new();
    validate::conditional(&mut to_origin, &object);
    assert_eq!(to_origin, map(&[("if-modified-since", modified)]));
}

#[test]
fn a_304_for_another_entity_tag_confirms_nothing_if_a_date_was_asked_with_too() {
    let edge = Edge::new();
    let request = edge.get("/x");
    let modified = ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT");
    let object = edge.fetch(&request, &[("etag", "\"a\""), modified], "a").unwrap();
    let fields = map(&[("etag", "\"b\"")]);
    let stamp = edge.cache.stamp(SITE);
    let response = edge.candidate(&request, 304, &fields);
    let result = edge
        .cache
        .revalidated(request.target.key, &object, &response, &|_, _| {}, &stamp);
    assert_eq!(result.unwrap_err(), Mismatch);
}

#[test]
fn a_304_to_an_entity_tag_alone_confirms_what_has_it_and_changes_nothing_that_describes_the_content() {
    let edge = Edge::new();
    let request = edge.get("/x");
    let object = edge
        .fetch(&request, &[("etag", "\"a\""), ("content-md5", "1"), ("x", "1")], "a")
        .unwrap();
    let fields = map(&[("etag", "\"b\""), ("content-md5", "2"), ("x", "2")]);
    let stamp = edge.cache.stamp(SITE);
    let response = edge.candidate(&request, 304, &fields);
    let result = edge
        .cache
        .revalidated(request.target.key, &object, &response, &|_, _| {}, &stamp);
    let fields = result.unwrap().object.fields();
    let value = |name: &str| fields[name].to_str().unwrap().to_owned();
    assert_eq!(
        (value("etag"), value("content-md5")),
        ("\"a\"".to_owned(), "1".to_owned())
    );
    assert_eq!(value("x"), "2");
}

#[test]
fn a_304_that_forbids_storing_removes_the_object_after_this_answer() {
    let edge = Edge::new();
    let request = edge.get("/x");
    let object = edge.fetch(&request, &[("etag", "\"a\"")], "a").unwrap();
    let fields = map(&[("cache-control", "no-store")]);
    let stamp = edge.cache.stamp(SITE);
    let response = edge.candidate(&request, 304, &fields);
    let result = edge
        .cache
        .revalidated(request.target.key, &object, &response, &|_, _| {}, &stamp)
        .unwrap();
    assert!(!result.stored);
    assert_eq!(result.object.body.contiguous(), Some(&b"a"[..]));
    assert!(matches!(edge.lookup(&request), Lookup::Miss));
}

#[test]
fn purges_by_url_tag_and_everything_concern_what_they_say() {
    let edge = Edge::new();
    let paths = ["/a", "/b", "/c"];
    let store = || {
        for (path, tag) in paths.iter().zip(["one", "two", "one two"]) {
            edge.fetch(
                &edge.get(path),
                &[("cache-control", "max-age=60"), ("surrogate-key", tag)],
                "x",
            )
            .unwrap();
        }
    };
    let left = || paths.map(|path| edge.body(&edge.get(path)).is_some());
    store();
    edge.cache
        .purge(SITE, Purge::Urls(&[edge.get("/b").target.url]), Mode::Hard);
    assert_eq!(left(), [true, false, true]);
    edge.cache.purge(SITE, Purge::Tags(&["one"]), Mode::Hard);
    assert_eq!(left(), [false, false, false]);
    store();
    assert_eq!(left(), [true, true, true]);
    edge.cache.purge(SITE + 1, Purge::Everything, Mode::Hard);
    edge.cache.purge(SITE + 1, Purge::Tags(&["one"]), Mode::Hard);
    assert_eq!(left(), [true, true, true]);
    edge.cache.purge(SITE, Purge::Everything, Mode::Hard);
    assert_eq!(left(), [false, false, false]);
    assert_eq!(
        edge.cache.stats().ram.objects,
        0,
        "purged objects that are met give their space back"
    );
}

#[test]
fn a_purge_by_prefix_forgets_whole_segments_on_its_host_or_on_all() {
    let edge = Edge::new();
    let paths = ["/a", "/a/", "/a/b/c", "/ab", "/b/a"];
    let left = |host, path| {
        for request in paths.map(|path| edge.get(path)) {
            if edge.body(&request).is_none() {
                edge.fetch(&request, FRESH, "x").unwrap();
            }
        }
        let marked = edge
            .cache
            .purge(SITE, Purge::Prefixes(&[Prefix { host, path }]), Mode::Hard);
        assert_eq!(marked.marks, 1);
        paths.map(|path| edge.body(&edge.get(path)).is_some())
    };
    for host in [Some("A.example"), None] {
        assert_eq!(left(host, "/a"), [false, false, false, true, true]);
        assert_eq!(left(host, "/a/b"), [true, true, false, true, true]);
        assert_eq!(left(host, "/"), [false; 5]);
        assert_eq!(left(host, "/c"), [true; 5]);
    }
    assert_eq!(left(Some("b.example"), "/a"), [true; 5]);
}

#[test]
fn a_purge_by_tag_does_as_much_for_a_hundred_thousand_responses_as_for_one() {
    let work = |responses: usize| {
        let cache = Cache::new(Config::new(512 << 20, 1));
        let edge = Edge { cache, ..Edge::new() };
        let requests: Vec<_> = (0..responses).map(|i| edge.get(&format!("/{i}"))).collect();
        let fields = [("cache-control", "max-age=60"), ("surrogate-key", "one")];
        for request in &requests {
            edge.fetch(request, &fields, "x").unwrap();
        }
        let marked = edge.cache.purge(SITE, Purge::Tags(&["one"]), Mode::Hard);
        assert_eq!(
            edge.cache.stats().ram.objects,
            responses as u64,
            "nothing stored is walked over"
        );
        assert!(requests.iter().all(|request| edge.body(request).is_none()));
        (marked.marks, edge.cache.epochs().marks())
    };
    assert_eq!(work(1), (1, 1));
    assert_eq!(work(100_000), work(1));
}

#[test]
fn who_joins_a_validation_after_a_purge_does_not_get_what_it_confirms() {
    let mut edge = Edge::new();
    let request = edge.get("/x");
    let fields = [
        ("cache-control", "max-age=60"),
        ("surrogate-key", "one"),
        ("etag", "\"1\""),
    ];
    edge.fetch(&request, &fields, "old").unwrap();
    edge.later(61);
    let Lookup::Stale { object, .. } = edge.lookup(&request) else {
        panic!("it is stale")
    };
    let (writer, mut own) = edge.lead(&request);
    edge.cache.purge(SITE, Purge::Tags(&["one"]), Mode::Hard);
    let Joined::Follower(mut follower) = edge.join(&request) else {
        panic!("what it validates is not known to the fill")
    };
    let confirmation = map(&[("etag", "\"1\"")]);
    let candidate = edge.candidate(&request, 304, &confirmation);
    let values = values_of(&request.fields);
    let stamp = writer.stamp().clone();
    let revalidated = edge
        .cache
        .revalidated(request.target.key, &object, &candidate, &values, &stamp)
        .unwrap();
    assert!(!revalidated.stored);
    writer.answer(revalidated.object);
    assert!(matches!(poll(follower.head()), HeadOutcome::Released));
    assert!(matches!(poll(own.head()), HeadOutcome::Object(_)));
}

#[test]
fn a_url_purge_reaches_every_key_and_variant_of_the_url() {
    let mut edge = Edge::new();
    edge.policy.key_headers = vec![HeaderName::from_static("x-device")];
    let requests = [("phone", "fr"), ("phone", "de"), ("desktop", "fr")]
        .map(|(device, language)| edge.request("GET", "/x", &[("x-device", device), ("accept-language", language)]));
    for request in &requests {
        edge.fetch(
            request,
            &[("cache-control", "max-age=60"), ("vary", "accept-language")],
            "x",
        )
        .unwrap();
    }
    edge.cache
        .purge(SITE, Purge::Urls(&[requests[0].target.url]), Mode::Hard);
    assert!(requests.iter().all(|request| edge.body(request).is_none()));
}

#[test]
fn a_soft_purge_leaves_a_stale_object() {
    let mut edge = Edge::new();
    edge.policy.stale_while_revalidate_ms = Some(1000);
    let request = edge.get("/x");
    edge.fetch(&request, FRESH, "a");
    edge.cache.purge(SITE, Purge::Everything, Mode::Soft);
    assert!(matches!(
        edge.lookup(&request),
        Lookup::Stale {
            while_revalidate: true,
            ..
        }
    ));
}

#[test]
fn what_was_asked_for_before_a_purge_is_not_stored_after_it() {
    let edge = Edge::new();
    let url = edge.get("/x").target.url;
    let above = [Prefix { host: None, path: "/" }];
    for purge in [
        Purge::Everything,
        Purge::Tags(&["one"]),
        Purge::Urls(&[url]),
        Purge::Prefixes(&above),
    ] {
        let request = edge.get("/x");
        let (mut writer, mut own) = edge.lead(&request);
        edge.answer(
            &request,
            &mut writer,
            &[("cache-control", "max-age=60"), ("surrogate-key", "one")],
        );
        writer.push(Bytes::from_static(b"old"));
        edge.cache.purge(SITE, purge, Mode::Hard);
        let (newer, _reader) = edge.lead(&request);
        drop(newer);
        assert!(
            edge.cache
                .complete(request.target.key, writer, Bytes::new())
                .unwrap()
                .is_none()
        );
        assert!(matches!(edge.lookup(&request), Lookup::Miss));
        assert_eq!(
            poll(own.chunk()).unwrap().unwrap(),
            "old",
            "who asked before gets its answer"
        );
    }
}

#[test]
fn followers_do_not_get_a_head_that_a_purge_overtook() {
    let edge = Edge::new();
    let request = edge.get("/x");
    let (mut writer, mut own) = edge.lead(&request);
    edge.cache.purge(SITE, Purge::Tags(&["one"]), Mode::Hard);
    let Joined::Follower(mut follower) = edge.join(&request) else {
        panic!("tags are not known yet")
    };
    edge.answer(
        &request,
        &mut writer,
        &[("cache-control", "max-age=60"), ("surrogate-key", "one")],
    );
    assert!(matches!(poll(follower.head()), HeadOutcome::Released));
    assert!(matches!(poll(own.head()), HeadOutcome::Head(_)));
}

#[test]
fn an_unsafe_request_invalidates_its_target_and_fetches_under_way() {
    let mut edge = Edge::new();
    let request = edge.get("/x");
    edge.fetch(&request, FRESH, "old");
    edge.cache.invalidate(&request.target, &edge.policy);
    assert!(matches!(edge.lookup(&request), Lookup::Miss));

    let (mut writer, _own) = edge.lead(&request);
    edge.answer(&request, &mut writer, FRESH);
    edge.cache.invalidate(&request.target, &edge.policy);
    assert!(
        edge.cache
            .complete(request.target.key, writer, Bytes::new())
            .unwrap()
            .is_none()
    );

    edge.policy.key_headers = vec![HeaderName::from_static("x-device")];
    let [phone, desktop] = ["phone", "desktop"].map(|device| edge.request("GET", "/x", &[("x-device", device)]));
    edge.fetch(&phone, FRESH, "x");
    edge.fetch(&desktop, FRESH, "x");
    edge.cache.invalidate(&phone.target, &edge.policy);
    assert!(edge.body(&desktop).is_none());
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

/// The result of a future that has to be ready.
fn poll<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("has to be ready"),
    }
}

#[test]
fn what_another_cache_asked_for_is_held_against_the_purges_since() {
    let cache = Cache::new(Config::new(1 << 20, 7));
    let key = cache.key(1).finish();
    let tag = cache.keyer().tag(1, b"t");
    let gone = |at_ms| cache.is_gone(key, &[tag], &cache.stamp_of(1, at_ms));
    cache.note_time(|| 1_000);
    assert!(!gone(0) && !gone(1_000), "nothing was purged, however old it is");
    cache.purge(1, Purge::Tags(&["t"]), Mode::Hard);
    assert!(gone(0) && gone(1_500), "what is not noted yet may be from before");
    cache.note_time(|| 2_000);
    assert!(gone(1_999) && !gone(2_000));
}
