//! Origins that refuse, hang, lie or go away.

use breakwater_snapshot::unit::{EdgeCache, Unit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::{Origin, Plane, answer, edge_cache, objects, within};

async fn plane(site: EdgeCache) -> Plane {
    let plane = Plane::start().await;
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    plane
}

/// The status for GET and for POST with a body.
async fn statuses(plane: &Plane) -> [u16; 2] {
    let mut client = plane.client().await;
    let get = client.get("shop.test", "/a", "").await.status;
    let mut client = plane.client().await;
    let post = client
        .ask("POST", "shop.test", "/a", "Content-Length: 1\r\n", b"x")
        .await;
    assert!(post.field("x-request-id").is_some());
    [get, post.status]
}

#[tokio::test]
async fn an_origin_that_refuses_is_a_bad_gateway() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let plane = plane(edge_cache(address)).await;
    assert_eq!(statuses(&plane).await, [502, 502]);
    let failed = plane.metric("breakwater_origin_requests_total{resource=\"EdgeCache/default/site\",code=\"error\"}");
    assert!(failed.await >= 2.0, "{}", plane.metrics().await);
}

#[tokio::test]
async fn an_origin_without_endpoints_is_unavailable() {
    let mut site = edge_cache("127.0.0.1:1".parse().unwrap());
    site.origin.endpoints.clear();
    assert_eq!(statuses(&plane(site).await).await, [503, 503]);
}

#[tokio::test]
async fn an_origin_that_cannot_be_resolved_is_a_bad_gateway() {
    let mut site = edge_cache("127.0.0.1:1".parse().unwrap());
    site.origin.endpoints[0].host = "no such name".to_owned();
    assert_eq!(statuses(&plane(site).await).await, [502, 502]);
}

#[tokio::test]
async fn an_origin_that_hangs_is_a_gateway_timeout() {
    let origin = Origin::raw(async |mut peer| {
        peer.rest().await;
    })
    .await;
    let mut site = edge_cache(origin.address);
    site.origin.response_timeout_ms = 50;
    assert_eq!(statuses(&plane(site).await).await, [504, 504]);
}

#[tokio::test]
async fn an_origin_that_reads_no_body_is_a_gateway_timeout() {
    let origin = Origin::raw(async |mut peer| {
        peer.only_head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut site = edge_cache(origin.address);
    site.origin.response_timeout_ms = 50;
    let plane = plane(site).await;
    let client = plane.client().await;
    let (mut reading, mut writing) = client.stream.into_split();
    let upload = tokio::spawn(async move {
        let head = "POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000000\r\n\r\n";
        writing.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b'x'; 64 * 1024];
        while writing.write_all(&piece).await.is_ok() {}
    });
    let mut start = [0; 12];
    within(
        "an answer",
        tokio::io::AsyncReadExt::read_exact(&mut reading, &mut start),
    )
    .await
    .unwrap();
    assert_eq!(&start, b"HTTP/1.1 504");
    within("the upload to be cut", upload).await.unwrap();
}

#[tokio::test]
async fn an_origin_that_stops_within_a_body_cuts_the_answer() {
    let origin = Origin::raw(async |mut peer| {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal").await;
        peer.rest().await;
    })
    .await;
    let mut site = edge_cache(origin.address);
    site.origin.response_timeout_ms = 50;
    let plane = plane(site).await;
    let mut client = plane.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.head().await.unwrap().status, 200);
    assert_eq!(client.rest().await, b"hal");
}

#[tokio::test]
async fn garbage_is_a_bad_gateway_and_nothing_of_it_reaches_the_client() {
    for garbage in [
        &b"not http at all\r\n\r\n"[..],
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSplit : 1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200",
    ] {
        let origin = Origin::raw(move |mut peer| async move {
            peer.request().await;
            peer.send(garbage).await;
        })
        .await;
        let plane = plane(edge_cache(origin.address)).await;
        assert_eq!(
            statuses(&plane).await,
            [502, 502],
            "{}",
            String::from_utf8_lossy(garbage)
        );
        let mut client = plane.client().await;
        let text = client.get("shop.test", "/a", "").await.text();
        assert!(text.contains("502") && !text.contains("127.0.0.1"), "{text}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_a_bad_gateway() {
    let origin = Origin::raw(async |mut peer| {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\n").await;
        while peer
            .stream
            .write_all(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    assert_eq!(statuses(&plane(edge_cache(origin.address)).await).await, [502, 502]);
}

#[tokio::test]
async fn malformed_chunks_of_an_origin_cut_the_answer() {
    let origin = Origin::fixed(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n3\r\nabc\r\n0x1\r\nd\r\n"
            .to_vec(),
    )
    .await;
    let plane = plane(edge_cache(origin.address)).await;
    for _ in 0..2 {
        let mut client = plane.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
        assert!(client.try_response("GET").await.is_none());
    }
    assert_eq!(origin.count(), 2, "nothing was stored");
}

/// An origin that answers one request for each connection, and hangs up on the second one without an answer.
async fn one_answer_per_connection() -> Origin {
    Origin::raw(async |mut peer| {
        peer.request().await;
        peer.send(answer(200, "", "x")).await;
        peer.request().await;
    })
    .await
}

#[tokio::test]
async fn a_get_is_repeated_when_a_pooled_connection_turns_out_dead() {
    let origin = one_answer_per_connection().await;
    let plane = plane(edge_cache(origin.address)).await;
    let mut client = plane.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
    }
    let connections: Vec<_> = origin.seen().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1, 2]);
}

#[tokio::test]
async fn a_post_is_not_repeated() {
    let origin = one_answer_per_connection().await;
    let plane = plane(edge_cache(origin.address)).await;
    let mut client = plane.client().await;
    let lines = "Content-Length: 1\r\n";
    assert_eq!(client.ask("POST", "shop.test", "/a", lines, b"x").await.status, 200);
    assert_eq!(client.ask("POST", "shop.test", "/a", lines, b"x").await.status, 502);
    assert_eq!(origin.count(), 2);
    let mut client = plane.client().await;
    let lines = "Content-Length: 0\r\n";
    assert_eq!(client.ask("POST", "shop.test", "/a", lines, b"").await.status, 200);
    assert_eq!(client.ask("POST", "shop.test", "/a", lines, b"").await.status, 502);
    assert_eq!(origin.count(), 4);
}

#[tokio::test]
async fn a_server_that_is_down_hands_a_get_on_to_the_next() {
    let good = Origin::fixed(answer(200, "", "good")).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = listener.local_addr().unwrap();
    drop(listener);
    let mut site = edge_cache(good.address);
    site.origin = crate::support::http_origin(&[down, good.address]);
    let plane = plane(site).await;
    let mut client = plane.client().await;
    for _ in 0..4 {
        let response = client.get("shop.test", "/a", "").await;
        assert_eq!((response.status, response.text().as_str()), (200, "good"));
    }
}

#[tokio::test]
async fn an_answer_of_ours_is_json_for_who_asks_for_json() {
    let mut site = edge_cache("127.0.0.1:1".parse().unwrap());
    site.origin.endpoints.clear();
    let plane = plane(site).await;
    let response = plane
        .client()
        .await
        .get("shop.test", "/a", "Accept: application/json\r\n")
        .await;
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!((response.status, &body["status"]), (503, &serde_json::json!(503)));
    assert_eq!(body["request_id"].as_str(), response.field("x-request-id"));
}

#[tokio::test]
async fn a_malformed_request_body_is_answered_and_never_completed_at_the_origin() {
    let origin = Origin::raw(async |mut peer| {
        peer.only_head().await;
        peer.rest().await;
    })
    .await;
    let plane = plane(edge_cache(origin.address)).await;
    let mut client = plane.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokX\r\n0\r\n\r\n")
        .await;
    let response = client.response("POST").await;
    assert_eq!((response.status, response.field("connection")), (400, Some("close")));
    client.closed().await;
}

#[tokio::test]
async fn a_client_that_is_still_sending_reads_the_answer_and_then_an_orderly_end() {
    let origin = Origin::raw(async |mut peer| {
        peer.only_head().await;
        peer.rest().await;
    })
    .await;
    let plane = plane(edge_cache(origin.address)).await;
    let mut client = plane.client().await;
    let rest = "x".repeat(150_000);
    client
        .send(format!(
            "POST /a HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokX{rest}"
        ))
        .await;
    assert_eq!(client.response("POST").await.status, 400);
    let mut byte = [0];
    let end = within("the end", tokio::io::AsyncReadExt::read(&mut client.stream, &mut byte)).await;
    assert_eq!(end.unwrap(), 0, "not a reset");
}
