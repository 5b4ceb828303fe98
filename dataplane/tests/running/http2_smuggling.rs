//! Requests over HTTP/2 that would be two over HTTP/1.1, or another: what the client is told, and what the origin got.

use crate::support::http2::{DATA, END, Http2, head};
use crate::support::{Origin, Plane, answer};

/// RST_STREAM with PROTOCOL_ERROR.
const MALFORMED: Result<u16, u32> = Err(1);

async fn setup() -> (Origin, Plane, Http2) {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    let client = Http2::connect(plane.address(), &[]).await;
    (origin, plane, client)
}

/// The status, or the code of the reset.
async fn outcome(client: &mut Http2, fields: &[(&str, &str)], body: &[u8]) -> Result<u16, u32> {
    let stream = client.request(fields, body.is_empty()).await;
    if !body.is_empty() {
        client.send(DATA, END, stream, body).await;
    }
    let answer = client.answer(stream).await;
    match answer.status {
        0 => Err(answer.reset.expect("an answer or a reset")),
        status => Ok(status),
    }
}

/// Each field beside those of an ordinary request, and what it leads to.
#[tokio::test]
async fn fields_that_cannot_be_in_a_request_never_reach_the_origin() {
    let (origin, _plane, mut client) = setup().await;
    let rows = [
        (("x", "a\r\nb: c"), MALFORMED),
        (("x", "a\nb: c"), MALFORMED),
        (("x", "a\rb"), MALFORMED),
        (("x", "a\0b"), MALFORMED),
        (("x\r\ny", "a"), MALFORMED),
        (("x: y", "a"), MALFORMED),
        (("x y", "a"), MALFORMED),
        (("", "a"), MALFORMED),
        (("X-Upper", "a"), MALFORMED),
        ((":unknown", "a"), MALFORMED),
        ((":status", "200"), MALFORMED),
        ((":path", "/twice"), MALFORMED),
        (("transfer-encoding", "chunked"), MALFORMED),
        (("connection", "close"), MALFORMED),
        (("keep-alive", "1"), MALFORMED),
        (("proxy-connection", "close"), MALFORMED),
        (("upgrade", "websocket"), MALFORMED),
        (("te", "gzip"), MALFORMED),
        (("host", "other.test"), MALFORMED),
        (("content-length", "5"), MALFORMED),
        (("content-length", "+0"), Ok(400)),
        (("content-length", "0, 0"), Ok(400)),
        (("content-length", "zero"), Ok(400)),
    ];
    for (field, expected) in rows {
        let mut fields = head("GET", "shop.test", "/a").to_vec();
        fields.push(field);
        let said = outcome(&mut client, &fields, b"").await;
        assert!(
            said == expected || (expected == Ok(400) && said == MALFORMED),
            "{field:?}: {said:?}"
        );
    }
    assert_eq!(origin.count(), 0);
    assert!(client.ping().await, "and the connection goes on");
}

#[tokio::test]
async fn pseudo_fields_that_cannot_be_written_as_http1_never_reach_the_origin() {
    let (origin, _plane, mut client) = setup().await;
    let rows = [
        ("GET", "http", "shop.test", "/a b"),
        (
            "GET",
            "http",
            "shop.test",
            "/a HTTP/1.1\r\nHost: evil.test\r\n\r\nGET /b",
        ),
        ("GET", "http", "shop.test", "/a\0"),
        ("GET", "http", "shop.test", "/a#b"),
        ("GET", "http", "shop.test", ""),
        ("GET", "http", "shop.test", "a"),
        ("GET", "http", "shop.test", "http://other.test/"),
        ("GET", "http", "shop.test", "*"),
        ("GET / HTTP/1.1\r\n\r\nGET", "http", "shop.test", "/"),
        ("GE T", "http", "shop.test", "/"),
        ("", "http", "shop.test", "/"),
        ("GET", "http", "shop.test\r\nx: y", "/"),
        ("GET", "http", "shop.test other", "/"),
        ("GET", "http", "user@shop.test", "/"),
        ("GET", "http", "shop.test/b", "/"),
        ("GET", "http", "shop.test:port", "/"),
        ("CONNECT", "http", "shop.test", "/"),
    ];
    for (method, scheme, authority, path) in rows {
        let fields = [
            (":method", method),
            (":scheme", scheme),
            (":authority", authority),
            (":path", path),
        ];
        let said = outcome(&mut client, &fields, b"").await;
        assert!(matches!(said, MALFORMED | Ok(400 | 501)), "{fields:?}: {said:?}");
    }
    for missing in [":method", ":scheme", ":path"] {
        let fields: Vec<_> = head("GET", "shop.test", "/a")
            .into_iter()
            .filter(|(name, _)| *name != missing)
            .collect();
        assert_eq!(outcome(&mut client, &fields, b"").await, MALFORMED, "{missing}");
    }
    let mut late = vec![("x", "y")];
    late.extend(head("GET", "shop.test", "/a"));
    assert_eq!(outcome(&mut client, &late, b"").await, MALFORMED);
    assert_eq!(
        outcome(&mut client, &[(":method", "CONNECT"), (":authority", "a:1")], b"").await,
        Ok(501)
    );
    assert_eq!(origin.count(), 0);
    assert!(client.ping().await);
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_said_ends_its_stream() {
    let (origin, _plane, mut client) = setup().await;
    for (length, body) in [("5", &b"four"[..]), ("3", b"four"), ("0", b"four")] {
        let mut fields = head("POST", "shop.test", "/a").to_vec();
        fields.push(("content-length", length));
        assert_eq!(outcome(&mut client, &fields, body).await, MALFORMED, "{length}");
    }
    // The request that was true is the only one the origin has whole.
    let mut fields = head("POST", "shop.test", "/true").to_vec();
    fields.push(("content-length", "4"));
    assert_eq!(outcome(&mut client, &fields, b"four").await, Ok(200));
    let whole: Vec<_> = origin
        .seen()
        .into_iter()
        .filter(|request| request.body.len() == 4)
        .collect();
    assert_eq!(whole.len(), 1);
    assert_eq!((whole[0].target(), whole[0].body.as_slice()), ("/true", &b"four"[..]));
}

#[tokio::test]
async fn a_body_that_looks_like_a_request_stays_a_body() {
    let (origin, _plane, mut client) = setup().await;
    let body = b"0\r\n\r\nGET /admin HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let length = body.len().to_string();
    let mut fields = head("POST", "shop.test", "/a").to_vec();
    fields.push(("content-length", &length));
    assert_eq!(outcome(&mut client, &fields, body).await, Ok(200));
    assert_eq!(
        outcome(&mut client, &head("POST", "shop.test", "/b"), b"next").await,
        Ok(200)
    );
    let seen = origin.seen();
    let bodies: Vec<_> = seen
        .iter()
        .map(|request| (request.target(), request.body.as_slice()))
        .collect();
    assert_eq!(bodies, [("/a", &body[..]), ("/b", b"4\r\nnext\r\n0\r\n\r\n")]);
}

#[tokio::test]
async fn cookie_crumbs_are_joined_and_te_trailers_is_not_passed_on() {
    let (origin, _plane, mut client) = setup().await;
    let mut fields = head("GET", "shop.test", "/a").to_vec();
    fields.extend([
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("host", "shop.test"),
    ]);
    assert_eq!(outcome(&mut client, &fields, b"").await, Ok(200));
    let seen = origin.last();
    assert_eq!(seen.field("cookie").as_deref(), Some("a=1; b=2"));
    assert_eq!(
        (seen.field("te"), seen.field("host").as_deref()),
        (None, Some("shop.test"))
    );
}

#[tokio::test]
async fn a_host_without_authority_is_used() {
    let (origin, _plane, mut client) = setup().await;
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/a"),
        ("host", "shop.test"),
    ];
    assert_eq!(outcome(&mut client, &fields, b"").await, Ok(200));
    assert_eq!(origin.last().field("host").as_deref(), Some("shop.test"));
    let none = [(":method", "GET"), (":scheme", "http"), (":path", "/a")];
    assert_eq!(outcome(&mut client, &none, b"").await, Ok(400));
    assert_eq!(origin.count(), 1);
}
