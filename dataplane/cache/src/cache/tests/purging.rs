//! What is stored, forgotten: by purges, and by unsafe requests.

use super::*;

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
