//! Clients that use HTTP/2 to make work: each is cut off and counted, and what the origin is spared is seen.

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{Limit, RequestRate, Unit};

use crate::support::http2::{
    CONTINUATION, DATA, END, END_HEADERS, HEADERS, Http2, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, head,
};
use crate::support::{Origin, Plane, answer, edge_cache, id, limit, objects, waf_policy};

/// ENHANCE_YOUR_CALM.
const CALM: Option<u32> = Some(11);

async fn setup() -> (Origin, Plane, Http2) {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let plane = Plane::before(&origin).await;
    let client = Http2::connect(plane.address(), &[]).await;
    (origin, plane, client)
}

async fn refused(plane: &Plane, reason: &str) -> f64 {
    plane
        .metric(&format!("breakwater_refused_total{{reason=\"{reason}\"}}"))
        .await
}

/// Sends `frames` again and again until the connection ends; the code of GOAWAY.
async fn flood(client: &mut Http2, frames: &[u8]) -> Option<u32> {
    let many = frames.repeat(3000);
    client.write(&many).await;
    client.closed().await
}

#[tokio::test]
async fn rapid_reset_is_cut_off_before_the_origin_has_much_of_it() {
    let (origin, plane, mut client) = setup().await;
    let mut many = Vec::new();
    for n in 0..5000 {
        let stream = client.open();
        let path = format!("/{n}");
        many.extend(frame(
            HEADERS,
            END | END_HEADERS,
            stream,
            &block(&head("GET", "shop.test", &path)),
        ));
        many.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    client.write(&many).await;
    assert_eq!(client.closed().await, CALM);
    assert_eq!(refused(&plane, "http2-resets").await, 1.0);
    assert!(origin.count() <= 300, "the origin had {} requests", origin.count());
    let mut other = plane.client().await;
    assert_eq!(other.get("shop.test", "/other", "").await.status, 200);
}

#[tokio::test]
async fn a_request_that_is_reset_with_the_bytes_it_came_in_costs_the_origin_nothing() {
    let (origin, plane, mut client) = setup().await;
    let mut many = Vec::new();
    for n in 0..50 {
        let stream = client.open();
        let fields = block(&head("GET", "shop.test", &format!("/{n}")));
        many.extend(frame(HEADERS, END | END_HEADERS, stream, &fields));
        many.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    client.write(&many).await;
    assert!(client.ping().await);
    let series = "breakwater_requests_total{resource=\"EdgeCache/default/site\",code=\"499\"}";
    plane.metric_reaches(series, 50.0).await;
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_request_for_what_is_stored_that_is_reset_with_the_bytes_it_came_in_is_not_answered_and_counts_as_reset() {
    let (origin, plane, mut client) = setup().await;
    assert_eq!(client.ask(&head("GET", "shop.test", "/a")).await.status, 200);
    let fields = block(&head("GET", "shop.test", "/a"));
    let mut many = Vec::new();
    for _ in 0..5000 {
        let stream = client.open();
        many.extend(frame(HEADERS, END | END_HEADERS, stream, &fields));
        many.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    client.write(&many).await;
    assert_eq!(client.closed().await, CALM);
    assert_eq!(refused(&plane, "http2-resets").await, 1.0);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_request_that_is_taken_back_at_once_counts_for_limits() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let plane = Plane::start().await;
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.limits = vec![Limit {
        requests: Some(RequestRate {
            count: 40,
            per_ms: 3_600_000,
            burst: None,
        }),
        ..limit("requests")
    }];
    let site = Unit::EdgeCache(edge_cache(origin.address));
    plane
        .apply(objects([("site", site), ("policy", Unit::WafPolicy(policy))]))
        .await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let mut many = Vec::new();
    for n in 0..50 {
        let stream = client.open();
        let fields = block(&head("GET", "shop.test", &format!("/{n}")));
        many.extend(frame(HEADERS, END | END_HEADERS, stream, &fields));
        many.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    client.write(&many).await;
    let series =
        |code: u16| format!("breakwater_requests_total{{resource=\"EdgeCache/default/site\",code=\"{code}\"}}");
    plane.metric_reaches(&series(499), 40.0).await;
    plane.metric_reaches(&series(429), 10.0).await;
    assert_eq!(client.ask(&head("GET", "shop.test", "/a")).await.status, 429);
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn resets_that_the_client_provokes_are_counted_like_its_own() {
    let (origin, plane, mut client) = setup().await;
    // A window update of nothing makes us reset the stream (MadeYouReset, CVE-2025-8671).
    let mut many = Vec::new();
    for n in 0..5000 {
        let stream = client.open();
        let path = format!("/{n}");
        many.extend(frame(
            HEADERS,
            END | END_HEADERS,
            stream,
            &block(&head("GET", "shop.test", &path)),
        ));
        many.extend(frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
    }
    client.write(&many).await;
    assert_eq!(client.closed().await, CALM);
    assert!(origin.count() <= 300, "the origin had {} requests", origin.count());
    assert!(refused(&plane, "http2-zero-increment").await > 0.0);
}

#[tokio::test]
async fn a_flood_of_continuations_is_cut_off() {
    let (origin, plane, mut client) = setup().await;
    let stream = client.open();
    client
        .send(HEADERS, END, stream, &block(&head("GET", "shop.test", "/a")))
        .await;
    let piece = frame(CONTINUATION, 0, stream, &block(&[("x", "y")]));
    assert_eq!(flood(&mut client, &piece).await, CALM);
    assert_eq!((refused(&plane, "http2-continuations").await, origin.count()), (1.0, 0));
}

#[tokio::test]
async fn floods_of_frames_that_carry_nothing_are_cut_off() {
    let floods = [
        ("ping", frame(PING, 0, 0, b"8 bytes.")),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("priority", frame(2, 0, 1, &[0, 0, 0, 0, 0])),
        ("unknown", frame(0xfa, 0, 0, &[])),
    ];
    for (name, frames) in floods {
        let (_origin, _plane, mut client) = setup().await;
        assert_eq!(flood(&mut client, &frames).await, CALM, "{name}");
    }
    let (_origin, _plane, mut client) = setup().await;
    let stream = client.request(&head("POST", "shop.test", "/a"), false).await;
    assert_eq!(
        flood(&mut client, &frame(DATA, 0, stream, &[])).await,
        CALM,
        "empty data"
    );
}

#[tokio::test]
async fn a_header_list_that_is_too_large_is_431_and_one_that_unpacks_to_too_much_too() {
    let (origin, plane, mut client) = setup().await;
    let large = "x".repeat(10_000);
    let mut fields = head("GET", "shop.test", "/a").to_vec();
    fields.extend([("a", large.as_str()), ("b", &large), ("c", &large), ("d", &large)]);
    // More than one frame holds, so this one is sent in pieces.
    let (stream, all) = (client.open(), block(&fields));
    let (first, rest) = all.split_at(16_000);
    client.send(HEADERS, END, stream, first).await;
    let mut pieces = rest.chunks(16_000).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        client.send(CONTINUATION, flags, stream, piece).await;
    }
    client
        .until(|client| !client.answers.is_empty() || !client.goaways.is_empty())
        .await;
    let told = client.answers.get(&stream).map(|answer| answer.status);
    assert!(told == Some(431) || !client.goaways.is_empty());

    // A HPACK bomb: one large field into the table, then a thousand references of one byte.
    let mut client = Http2::connect(plane.address(), &[]).await;
    let mut bomb = block(&head("GET", "shop.test", "/a"));
    let value = "x".repeat(3000);
    let mut field = block(&[("bomb", &value)]);
    field[0] = 0x40;
    bomb.extend(field);
    bomb.extend(std::iter::repeat_n(0x80 | 62, 1000));
    let stream = client.open();
    client.send(HEADERS, END | END_HEADERS, stream, &bomb).await;
    assert_eq!(client.answer(stream).await.status, 431);
    assert_eq!(origin.count(), 0);
    assert!(client.ping().await);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_may_be_repeated() {
    let origin = Origin::start(|_| std::future::pending()).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    for _ in 0..100 {
        client.request(&head("POST", "shop.test", "/a"), true).await;
    }
    let beyond = client.request(&head("POST", "shop.test", "/a"), true).await;
    assert_eq!(client.answer(beyond).await.reset, Some(7), "REFUSED_STREAM");
    origin.reached(100).await;
    assert!(client.ping().await);
    assert_eq!(origin.count(), 100);
}

#[tokio::test]
async fn what_is_no_http2_ends_the_connection_with_a_reason() {
    // PROTOCOL_ERROR, FRAME_SIZE_ERROR, FLOW_CONTROL_ERROR, COMPRESSION_ERROR.
    let rows = [
        ("data on stream 0", frame(DATA, 0, 0, b"x"), 1),
        (
            "an even stream",
            frame(HEADERS, END | END_HEADERS, 2, &block(&head("GET", "a.test", "/"))),
            1,
        ),
        ("a push", frame(5, END_HEADERS, 1, &[0, 0, 0, 2]), 1),
        ("a long ping", frame(PING, 0, 0, &[0; 9]), 6),
        ("a frame too long", frame(DATA, 0, 1, &vec![0; 16_385]), 6),
        (
            "too wide a window",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            3,
        ),
        (
            "no index in the table",
            frame(HEADERS, END | END_HEADERS, 1, &[0xff, 0xff, 0x03]),
            9,
        ),
    ];
    for (name, bytes, code) in rows {
        let (_origin, plane, mut client) = setup().await;
        client.write(&bytes).await;
        assert_eq!(client.closed().await, Some(code), "{name}");
        let refusals = plane.metrics().await;
        assert!(refusals.contains("breakwater_refused_total{reason=\"http2-"), "{name}");
    }
}
