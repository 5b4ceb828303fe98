//! What went wrong in another proxy, by the number of its advisory: each must not go wrong here.
//!
//! RUSTSEC-2025-0070 is about HTTP/2, which this listener does not speak (see the preface in [`super::gate`]).

use breakwater_snapshot::unit::Unit;

use crate::support::{Origin, Plane, answer, within, ws_route};

#[tokio::test]
async fn rustsec_2025_0037_the_body_of_a_request_that_could_be_a_hit_is_not_the_next_request() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let plane = Plane::before(&origin).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    for (method, framing, body) in [
        (
            "GET",
            format!("Content-Length: {}\r\n", smuggled.len()),
            smuggled.to_owned(),
        ),
        (
            "HEAD",
            format!("Content-Length: {}\r\n", smuggled.len()),
            smuggled.to_owned(),
        ),
        (
            "GET",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()),
        ),
    ] {
        let mut client = plane.client().await;
        client.get("shop.test", "/a", "").await;
        assert!(client.get("shop.test", "/a", "").await.is_hit());
        let asked = origin.count();
        client
            .send(format!(
                "{method} /a HTTP/1.1\r\nHost: shop.test\r\n{framing}\r\n{body}"
            ))
            .await;
        assert_eq!(client.response(method).await.status, 200);
        client
            .send("GET /last HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(client.response("GET").await.status, 200);
        client.closed().await;
        let targets: Vec<_> = origin.seen()[asked..].iter().map(|r| r.target().to_owned()).collect();
        assert!(
            !targets.contains(&"/smuggled".to_owned()),
            "{method} {framing}: {targets:?}"
        );
    }
}

#[tokio::test]
async fn rustsec_2026_0033_no_byte_reaches_a_backend_that_has_not_switched() {
    let (left, mut reached) = tokio::sync::mpsc::channel(1);
    let origin = Origin::raw(move |mut peer| {
        let left = left.clone();
        async move {
            peer.request().await;
            // No 101 at all: an answer, and whatever came meanwhile.
            peer.send(answer(200, "", "no")).await;
            left.send(peer.rest().await).await.unwrap();
        }
    })
    .await;
    let plane = Plane::running([("chat", Unit::WsRoute(ws_route(origin.address)))]).await;
    let mut client = plane.client().await;
    client
        .send(
            "GET /ws HTTP/1.1\r\nHost: chat.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bm90IHNvIHJhbmRvbS4uLg==\r\n\r\n\
             DELETE /internal HTTP/1.1\r\nHost: internal.test\r\n\r\n",
        )
        .await;
    assert_eq!(client.response("GET").await.status, 200);
    drop(client);
    let rest = within("the backend's connection to end", reached.recv()).await.unwrap();
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
}

#[tokio::test]
async fn rustsec_2026_0034_a_coding_in_http_1_0_is_refused() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    for connection in ["close", "keep-alive"] {
        let mut client = plane.client().await;
        client
            .send(format!(
                "POST / HTTP/1.0\r\nHost: shop.test\r\nConnection: {connection}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n"
            ))
            .await;
        assert_eq!(client.response("POST").await.status, 400);
        client.closed().await;
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn rustsec_2026_0035_one_host_does_not_answer_for_another() {
    let origin = Origin::start(async |request| {
        answer(
            200,
            "Cache-Control: max-age=60\r\n",
            request.field("host").unwrap_or_default(),
        )
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for host in ["evil.test", "shop.test", "shop.test:81", "evil.test", "shop.test"] {
        assert_eq!(client.get(host, "/", "").await.text(), host);
    }
    let absolute = client.get("evil.test", "http://third.test/", "").await;
    assert_eq!(absolute.text(), "third.test");
    assert_eq!(client.get("third.test", "/", "").await.text(), "third.test");
}
