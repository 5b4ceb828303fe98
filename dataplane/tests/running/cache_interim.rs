//! Interim responses (1xx) of fetches that are shared: for who asked, and for nobody else.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::support::http2::{Http2, head};
use crate::support::{Origin, Plane, answer};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n";

fn with_hints() -> Vec<u8> {
    let before = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n{HINTS}");
    [before.as_bytes(), &answer(200, "Cache-Control: max-age=60\r\n", "x")].concat()
}

#[tokio::test]
async fn interim_responses_reach_who_asked_in_order_and_are_neither_stored_nor_replayed() {
    let origin = Origin::fixed(with_hints()).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let processing = client.get("shop.test", "/a", "").await;
    assert_eq!(processing.status, 102);
    let hints = client.response("GET").await;
    assert_eq!(
        (hints.status, hints.field("link")),
        (103, Some("</a.css>; rel=preload"))
    );
    assert_eq!((hints.field("connection"), hints.field("x-hop")), (None, None));
    let response = client.response("GET").await;
    assert_eq!((response.status, response.text().as_str()), (200, "x"));
    assert_eq!(response.field("link"), None, "its fields are its own");
    for _ in 0..2 {
        let hit = client.get("shop.test", "/a", "").await;
        assert!(
            hit.status == 200 && hit.is_hit() && hit.field("link").is_none(),
            "{hit:?}"
        );
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn they_reach_clients_of_http2_and_not_those_of_http10() {
    let origin = Origin::fixed(with_hints()).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let answer = client.ask(&head("GET", "shop.test", "/a")).await;
    assert_eq!((answer.interim.as_slice(), answer.status), (&[102, 103][..], 200));
    let hit = client.ask(&head("GET", "shop.test", "/a")).await;
    assert_eq!((hit.interim.len(), hit.is_hit()), (0, true));
    let mut old = plane.client().await;
    old.send("GET /b HTTP/1.0\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!(old.response("GET").await.status, 200);
}

#[tokio::test]
async fn who_waits_for_the_fetch_of_another_gets_the_final_response_only() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let origin = Origin::raw(move |mut peer| {
        let held = Arc::clone(&held);
        async move {
            peer.request().await;
            peer.send(HINTS).await;
            held.notified().await;
            peer.send(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
            peer.rest().await;
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let (mut first, mut second) = (plane.client().await, plane.client().await);
    assert_eq!(first.get("shop.test", "/a", "").await.status, 103);
    second.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    plane.active_reaches(2.0).await;
    go.notify_one();
    assert_eq!(first.response("GET").await.status, 200);
    let followed = second.response("GET").await;
    assert_eq!((followed.status, followed.text().as_str()), (200, "x"));
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn more_hints_than_a_client_takes_are_dropped_and_the_answer_still_comes() {
    let many = HINTS.repeat(60);
    let origin = Origin::fixed([many.as_bytes(), &answer(200, "Cache-Control: max-age=60\r\n", "x")].concat()).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let mut response = client.get("shop.test", "/a", "").await;
    let mut hints = 0;
    while response.status == 103 {
        hints += 1;
        response = client.response("GET").await;
    }
    assert_eq!(response.text(), "x");
    assert!((1..=60).contains(&hints), "{hints}");
}

#[tokio::test]
async fn interim_responses_without_end_are_no_answer() {
    let origin = Origin::raw(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(1000)).await;
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for (method, lines, body) in [("GET", "", ""), ("POST", "Content-Length: 1\r\n", "x")] {
        let mut response = client.ask(method, "shop.test", "/a", lines, body.as_bytes()).await;
        let mut interim = 0;
        while response.status == 102 {
            interim += 1;
            response = client.response(method).await;
        }
        assert_eq!(response.status, 502, "{method}");
        assert!(interim <= 64, "{method}: {interim}");
    }
    let errors = "breakwater_origin_failures_total{resource=\"EdgeCache/default/site\",reason=\"interim\"}";
    plane.metric_reaches(errors, 2.0).await;
}
