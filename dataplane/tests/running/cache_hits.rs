//! What a stored response answers: whole, conditional, ranges, HEAD.

use breakwater_snapshot::unit::Unit;

use crate::support::{Origin, Plane, answer, edge_cache, objects};

const FRESH: &str = "Cache-Control: max-age=60\r\nETag: \"v1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

async fn stored(body: &str) -> (Origin, Plane) {
    let origin = Origin::fixed(answer(200, FRESH, body)).await;
    let plane = Plane::before(&origin).await;
    let miss = plane.client().await.get("shop.test", "/a", "").await;
    assert_eq!(miss.cache_status(), "breakwater; fwd=miss; stored");
    (origin, plane)
}

#[tokio::test]
async fn a_miss_is_stored_and_the_next_request_is_a_hit() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\nX-Kind: page\r\n", "hello")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let miss = client.get("shop.test", "/a?x=1", "").await;
    assert_eq!((miss.status, miss.text().as_str()), (200, "hello"));
    assert_eq!(miss.cache_status(), "breakwater; fwd=miss; stored");
    let hit = client.get("shop.test", "/a?x=1", "").await;
    assert_eq!((hit.status, hit.text().as_str()), (200, "hello"));
    assert_eq!(hit.field("x-kind"), Some("page"));
    assert!(hit.cache_status().starts_with("breakwater; hit; ttl="), "{hit:?}");
    let ttl: u64 = hit.cache_status().rsplit('=').next().unwrap().parse().unwrap();
    let age: u64 = hit.field("age").unwrap().parse().unwrap();
    assert!(ttl <= 60 && age + ttl <= 60, "{hit:?}");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn an_origin_that_names_a_request_names_no_later_one() {
    let origin = Origin::fixed(answer(
        200,
        "Cache-Control: max-age=60\r\nX-Request-Id: theirs\r\n",
        "x",
    ))
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for hit in [false, true] {
        let response = client.get("shop.test", "/a", "").await;
        assert_eq!((response.is_hit(), response.count("x-request-id")), (hit, 1));
        assert_ne!(response.field("x-request-id"), Some("theirs"));
    }
}

#[tokio::test]
async fn each_answer_has_a_request_id_of_its_own_and_only_one() {
    let (_origin, plane) = stored("hello").await;
    let mut client = plane.client().await;
    let first = client.get("shop.test", "/a", "X-Request-Id: mine\r\n").await;
    let second = client.get("shop.test", "/a", "").await;
    assert_eq!((first.count("x-request-id"), second.count("x-request-id")), (1, 1));
    assert_ne!(first.field("x-request-id"), Some("mine"), "an untrusted client's");
    assert_ne!(first.field("x-request-id"), second.field("x-request-id"));
}

#[tokio::test]
async fn a_condition_that_holds_is_answered_from_the_store() {
    let (origin, plane) = stored("hello").await;
    let mut client = plane.client().await;
    let same = client
        .get("shop.test", "/a", "If-None-Match: \"v0\", W/\"v1\"\r\n")
        .await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(same.field("etag"), Some("\"v1\""));
    assert!(same.is_hit(), "{same:?}");
    let other = client.get("shop.test", "/a", "If-None-Match: \"v0\"\r\n").await;
    assert_eq!((other.status, other.text().as_str()), (200, "hello"));
    let since = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(client.get("shop.test", "/a", since).await.status, 304);
    let failed = client.get("shop.test", "/a", "If-Match: \"v0\"\r\n").await;
    assert_eq!(failed.status, 412);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_condition_on_a_miss_is_judged_here_and_the_whole_is_stored() {
    let origin = Origin::fixed(answer(200, FRESH, "hello")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let miss = client.get("shop.test", "/a", "If-None-Match: \"v1\"\r\n").await;
    assert_eq!((miss.status, miss.body.len()), (304, 0));
    assert_eq!(origin.last().field("if-none-match"), None, "the whole was asked for");
    let hit = client.get("shop.test", "/a", "").await;
    assert!(hit.is_hit() && hit.text() == "hello", "{hit:?}");
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get() {
    let (origin, plane) = stored("hello").await;
    let mut client = plane.client().await;
    let head = client.ask("HEAD", "shop.test", "/a", "", b"").await;
    assert_eq!((head.status, head.field("content-length")), (200, Some("5")));
    assert!(head.is_hit(), "{head:?}");
    let get = client.get("shop.test", "/a", "").await;
    assert_eq!(get.text(), "hello", "no body came before this answer");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_range_of_a_stored_response_is_cut_here() {
    let (origin, plane) = stored("0123456789").await;
    let mut client = plane.client().await;
    for (range, content_range, body) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=5-99", "bytes 5-9/10", "56789"),
    ] {
        let part = client.get("shop.test", "/a", &format!("Range: {range}\r\n")).await;
        assert_eq!((part.status, part.text().as_str()), (206, body), "{range}");
        assert_eq!(part.field("content-range"), Some(content_range));
        assert_eq!(part.count("content-length"), 1);
    }
    let beyond = client.get("shop.test", "/a", "Range: bytes=10-\r\n").await;
    assert_eq!(
        (beyond.status, beyond.field("content-range")),
        (416, Some("bytes */10"))
    );
    let other = client
        .get("shop.test", "/a", "Range: bytes=0-0\r\nIf-Range: \"v0\"\r\n")
        .await;
    assert_eq!((other.status, other.text().as_str()), (200, "0123456789"));
    let malformed = client.get("shop.test", "/a", "Range: bytes=4-2\r\n").await;
    assert_eq!(malformed.status, 200);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_large_body_is_streamed_stored_and_answered_in_ranges() {
    let body: Vec<u8> = (0..5_u32 << 20).map(|n| (n % 251) as u8).collect();
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", &body)).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let miss = client.get("shop.test", "/large", "").await;
    assert!(miss.body == body && !miss.is_hit(), "{}", miss.cache_status());
    let hit = client.get("shop.test", "/large", "").await;
    assert!(hit.body == body && hit.is_hit(), "{}", hit.cache_status());
    let part = client
        .get("shop.test", "/large", "Range: bytes=1000000-1300000\r\n")
        .await;
    assert!(part.status == 206 && part.body == body[1_000_000..=1_300_000]);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_chunked_response_is_stored_with_its_length() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n\
        5;ext=1\r\nhello\r\n7\r\n, world\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let origin = Origin::fixed(chunked.to_vec()).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let miss = client.get("shop.test", "/a", "").await;
    assert_eq!(miss.text(), "hello, world");
    assert_eq!(miss.field("transfer-encoding"), Some("chunked"));
    let hit = client.get("shop.test", "/a", "").await;
    assert_eq!(
        (hit.text().as_str(), hit.field("content-length")),
        ("hello, world", Some("12"))
    );
    assert!(hit.is_hit() && hit.field("transfer-encoding").is_none(), "{hit:?}");
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_is_stored() {
    let origin = Origin::raw(async |mut peer| {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\nuntil the end")
            .await;
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    assert_eq!(client.get("shop.test", "/a", "").await.text(), "until the end");
    let hit = client.get("shop.test", "/a", "").await;
    assert!(hit.is_hit() && hit.text() == "until the end", "{hit:?}");
}

#[tokio::test]
async fn an_object_over_the_size_limit_passes_unstored() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", vec![b'x'; 2000])).await;
    let chunked = Origin::start(async |_| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n".to_vec();
        for _ in 0..4 {
            bytes.extend_from_slice(b"1f4\r\n");
            bytes.extend_from_slice(&[b'x'; 500]);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    })
    .await;
    for origin in [&origin, &chunked] {
        let mut site = edge_cache(origin.address);
        site.cache.max_object_size = 1000;
        let plane = Plane::start().await;
        plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
        let mut client = plane.client().await;
        for _ in 0..2 {
            let miss = client.get("shop.test", "/a", "").await;
            assert!(miss.body.len() == 2000 && !miss.is_hit(), "{miss:?}");
        }
        assert_eq!(origin.count(), 2);
    }
}

#[tokio::test]
async fn a_hit_says_when_the_connection_will_close() {
    let (_origin, plane) = stored("hello").await;
    let mut client = plane.client().await;
    let hit = client.get("shop.test", "/a", "Connection: close\r\n").await;
    assert_eq!((hit.is_hit(), hit.field("connection")), (true, Some("close")));
    client.closed().await;
}
