//! What is stored, confirmed by an origin.

use super::*;

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
