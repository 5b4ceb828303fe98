//! The gate: requests that two readers could understand differently are refused, and the connection is closed.

use crate::support::{Origin, Plane, Response, answer};

/// Sends raw bytes followed by a request that must never be answered; the answers until the connection ends.
async fn refused(plane: &Plane, raw: &[u8]) -> Response {
    let mut client = plane.client().await;
    client
        .send([raw, b"GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n"].concat())
        .await;
    let response = client.response("GET").await;
    assert_eq!(response.field("connection"), Some("close"), "{}", raw.escape_ascii());
    client.closed().await;
    response
}

async fn plane() -> (Origin, Plane) {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let plane = Plane::before(&origin).await;
    (origin, plane)
}

/// The head of a request: request line, then fields.
fn head(line: &str, fields: &str) -> Vec<u8> {
    format!("{line}\r\n{fields}\r\n").into_bytes()
}

#[tokio::test]
async fn every_ambiguous_head_is_refused_and_the_connection_closed() {
    let (origin, plane) = plane().await;
    let get = "GET / HTTP/1.1";
    let post = "POST / HTTP/1.1";
    let host = "Host: shop.test\r\n";
    let with = |line, fields: &str| head(line, &format!("{host}{fields}"));
    let table: Vec<(&str, u16, Vec<u8>)> = vec![
        ("no host", 400, head(get, "")),
        ("two hosts", 400, with(get, host)),
        ("a path in host", 400, head(get, "Host: a/b\r\n")),
        ("userinfo in host", 400, head(get, "Host: a@b\r\n")),
        (
            "length and coding",
            400,
            with(post, "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
        ),
        (
            "gzip, then chunked",
            400,
            with(post, "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
        ),
        ("gzip only", 501, with(post, "Transfer-Encoding: gzip\r\n")),
        (
            "chunked twice",
            400,
            with(post, "Transfer-Encoding: chunked, chunked\r\n"),
        ),
        (
            "two lines of chunked",
            400,
            with(post, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ),
        (
            "a coding with a parameter",
            400,
            with(post, "Transfer-Encoding: chunked;q=1\r\n"),
        ),
        ("an unknown coding", 501, with(post, "Transfer-Encoding: xchunked\r\n")),
        (
            "bare LF after the request line",
            400,
            b"GET / HTTP/1.1\nHost: shop.test\r\n\r\n".to_vec(),
        ),
        (
            "bare LF after a field",
            400,
            b"GET / HTTP/1.1\r\nHost: shop.test\nX: 1\r\n\r\n".to_vec(),
        ),
        (
            "bare LF at the end",
            400,
            b"GET / HTTP/1.1\r\nHost: shop.test\r\n\n".to_vec(),
        ),
        ("a fragment", 400, with("GET /a#b HTTP/1.1", "")),
        ("a signed length", 400, with(post, "Content-Length: +5\r\n")),
        ("a list of lengths", 400, with(post, "Content-Length: 5, 5\r\n")),
        (
            "two lengths",
            400,
            with(post, "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ),
        (
            "the same length twice",
            400,
            with(post, "Content-Length: 5\r\nContent-Length: 5\r\n"),
        ),
        ("a length in hexadecimal", 400, with(post, "Content-Length: 0x5\r\n")),
        (
            "a length beyond 63 bits",
            413,
            with(post, "Content-Length: 99999999999999999999\r\n"),
        ),
        ("a folded line", 400, with(get, "X: a\r\n b\r\n")),
        ("a space before the colon", 400, with(get, "X : a\r\n")),
        ("NUL in a value", 400, with(get, "X: a\0b\r\n")),
        ("bare CR in a value", 400, with(get, "X: a\rb\r\n")),
        (
            "a coding in HTTP/1.0",
            400,
            with("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n"),
        ),
        ("an empty name", 400, with(get, ": a\r\n")),
        ("a name with a bracket", 400, with(get, "X[1]: a\r\n")),
        ("two spaces in the request line", 400, with("GET  / HTTP/1.1", "")),
        ("a version of the future", 505, with("GET / HTTP/2.0", "")),
        (
            "what is almost the preface of HTTP/2",
            505,
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
        ),
        ("a tunnel", 501, head("CONNECT shop.test:443 HTTP/1.1", host)),
        ("a target that is no path", 400, with("GET a HTTP/1.1", "")),
        ("another scheme", 400, with("GET ftp://shop.test/ HTTP/1.1", "")),
        (
            "a byte beyond ASCII in the target",
            400,
            b"GET /\xff HTTP/1.1\r\nHost: shop.test\r\n\r\n".to_vec(),
        ),
        (
            "an unknown expectation",
            417,
            with(post, "Expect: miracle\r\nContent-Length: 1\r\n"),
        ),
        (
            "two empty lines first",
            400,
            [b"\r\n\r\n".to_vec(), with(get, "")].concat(),
        ),
        ("a broken escape in the path", 400, with("GET /%zz HTTP/1.1", "")),
        ("NUL in the path", 400, with("GET /a%00b HTTP/1.1", "")),
        (
            "TLS where none is spoken",
            400,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        ),
    ];
    for (what, status, raw) in table {
        let response = refused(&plane, &raw).await;
        assert_eq!(response.status, status, "{what}: {}", response.text());
    }
    assert_eq!(origin.count(), 0, "{:?}", origin.seen());
    let metrics = plane.metrics().await;
    assert!(
        metrics.contains("breakwater_refused_total{reason=\"bare-lf\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn every_ambiguous_chunk_is_refused_and_the_connection_closed() {
    let (origin, plane) = plane().await;
    let head = b"POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunk in [
        &b"0x1\r\na\r\n0\r\n\r\n"[..],
        b"1\na\r\n0\r\n\r\n",
        b"1;x\na\r\n0\r\n\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\naX\r\n0\r\n\r\n",
        b"+1\r\na\r\n0\r\n\r\n",
        b" 1\r\na\r\n0\r\n\r\n",
        b"-1\r\na\r\n0\r\n\r\n",
        b"\r\na\r\n0\r\n\r\n",
        b"10000000000000001\r\na\r\n0\r\n\r\n",
        b"1;x=\"\n\"\r\na\r\n0\r\n\r\n",
        b"0\r\nX: a\nY: b\r\n\r\n",
    ] {
        let response = refused(&plane, &[&head[..], chunk].concat()).await;
        assert_eq!(response.status, 400, "{}", chunk.escape_ascii());
    }
    assert!(origin.seen().iter().all(|request| !request.head.contains("smuggled")));
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let (_origin, plane) = plane().await;
    let long_target = head(&format!("GET /{} HTTP/1.1", "a".repeat(9000)), "Host: shop.test\r\n");
    assert_eq!(refused(&plane, &long_target).await.status, 414);
    let long_field = format!("Host: shop.test\r\nX: {}\r\n", "a".repeat(33_000));
    assert_eq!(refused(&plane, &head("GET / HTTP/1.1", &long_field)).await.status, 431);
    let many_fields = format!("Host: shop.test\r\n{}", "X: a\r\n".repeat(101));
    assert_eq!(refused(&plane, &head("GET / HTTP/1.1", &many_fields)).await.status, 431);
    let mut endless = plane.client().await;
    endless
        .send(format!(
            "GET / HTTP/1.1\r\nHost: shop.test\r\nX: {}",
            "a".repeat(40_000)
        ))
        .await;
    assert_eq!(endless.response("GET").await.status, 431);
    endless.closed().await;
}

#[tokio::test]
async fn what_is_not_ambiguous_passes() {
    let (origin, plane) = plane().await;
    for raw in [
        &b"GET /1 HTTP/1.1\r\nHost: shop.test\r\n\r\n"[..],
        b"\r\nGET /2 HTTP/1.1\r\nHost: shop.test\r\n\r\n",
        b"GET http://shop.test/3 HTTP/1.1\r\nHost: other.test\r\n\r\n",
        b"GET /4 HTTP/1.0\r\n\r\n",
        b"POST /5 HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        b"POST /6 HTTP/1.1\r\nhost:shop.test\r\nContent-Length:\t1 \r\n\r\nx",
        b"GET /7 HTTP/1.1\r\nHost: [::1]:80\r\nX: caf\xc3\xa9\r\n\r\n",
        b"PURGE /8 HTTP/1.1\r\nHost: shop.test\r\n\r\n",
    ] {
        let mut client = plane.client().await;
        client.send(raw).await;
        assert_eq!(client.response("GET").await.status, 200, "{}", raw.escape_ascii());
    }
    assert_eq!(origin.count(), 8);
}

#[tokio::test]
async fn a_request_that_is_refused_behind_good_ones_does_not_take_their_answers_along() {
    let (_origin, plane) = plane().await;
    let mut client = plane.client().await;
    client
        .send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\nGET /a HTTP/1.1\r\nHost: shop.test\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        .await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.response("GET").await.status);
    }
    assert_eq!(statuses, [200, 200, 400]);
    client.closed().await;
}

#[tokio::test]
async fn a_body_nobody_reads_is_no_request() {
    let (origin, plane) = plane().await;
    let mut client = plane.client().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let lines = format!("Content-Length: {}\r\n", smuggled.len());
    client.get("shop.test", "/a", "").await;
    assert!(client.get("shop.test", "/a", "").await.is_hit());
    let mut unrouted = plane.client().await;
    plane.apply(Vec::new()).await;
    let response = unrouted
        .ask("POST", "shop.test", "/a", &lines, smuggled.as_bytes())
        .await;
    assert_eq!((response.status, response.field("connection")), (404, Some("close")));
    unrouted.closed().await;
    assert_eq!(origin.count(), 1);
}
