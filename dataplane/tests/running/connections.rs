//! Connections of clients: how many, how they end, and what becomes of requests whose client leaves.

use crate::support::{Client, Origin, Plane, answer, edge_cache, objects, until, within};
use breakwater_snapshot::unit::Unit;

#[tokio::test]
async fn connections_beyond_the_most_are_closed_and_counted() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::with(|options| options.max_connections = 64).await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut client = plane.client().await;
        assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
        open.push(client);
    }
    let mut over = plane.client().await;
    over.closed().await;
    assert_eq!(
        plane.metric("breakwater_refused_total{reason=\"connections\"}").await,
        1.0
    );
    open.pop();
    let served = until("a place", async || {
        let mut client = plane.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
        client.try_response("GET").await
    })
    .await;
    assert_eq!(served.status, 200);
}

#[tokio::test]
async fn a_data_plane_that_is_dropped_takes_no_connections() {
    let plane = Plane::start().await;
    plane.apply(Vec::new()).await;
    let address = plane.address();
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("shop.test", "/", "").await.status, 404);
    plane.data.drain(std::time::Duration::from_secs(20)).await;
    client.closed().await;
    until("the port to be closed", async || {
        tokio::net::TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_does_not_look_complete_to_the_origin() {
    for (framing, start) in [
        ("Content-Length: 100", "only the beginning"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhel"),
    ] {
        let (left, mut reached) = tokio::sync::mpsc::channel(1);
        let origin = Origin::raw(move |mut peer| {
            let left = left.clone();
            async move {
                peer.only_head().await;
                left.send(peer.rest().await).await.unwrap();
            }
        })
        .await;
        let plane = Plane::before(&origin).await;
        let mut client = plane.client().await;
        client
            .send(format!(
                "POST /a HTTP/1.1\r\nHost: shop.test\r\n{framing}\r\n\r\n{start}"
            ))
            .await;
        origin.reached(1).await;
        drop(client);
        let body = within("the upload to be cut", reached.recv()).await.unwrap();
        assert!(
            body.len() < 100 && !body.ends_with(b"0\r\n\r\n"),
            "{framing}: {}",
            body.escape_ascii()
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_a_download_is_counted_as_gone() {
    let origin = Origin::fixed(answer(200, "Cache-Control: no-store\r\n", vec![b'x'; 50 << 20])).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status, 200);
    drop(client);
    let series = "breakwater_requests_total{resource=\"EdgeCache/default/site\",code=\"499\"}";
    plane.metric_reaches(series, 1.0).await;
    let idle = format!(
        "breakwater_connections{{listener=\"{}\",state=\"idle\"}}",
        plane.address()
    );
    plane.metric_reaches(&idle, 0.0).await;
}
