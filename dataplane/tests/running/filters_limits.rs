//! Filters: bodies of requests and responses are held to a size.

use breakwater_snapshot::unit::Filters;

use crate::support::{Origin, Plane, Request, answer};

const REFUSED: &str = "breakwater_refused_total{reason=\"request_body\"}";

fn requests(most: u64) -> Filters {
    Filters {
        max_request_body: Some(most),
        ..Filters::default()
    }
}

fn responses(most: u64) -> Filters {
    Filters {
        max_response_body: Some(most),
        ..Filters::default()
    }
}

#[tokio::test]
async fn a_request_body_that_is_announced_too_large_is_refused_at_once() {
    let origin = Origin::fixed(answer(200, "", "ok")).await;
    let plane = Plane::filtering(&origin, requests(3)).await;
    let mut client = plane.client().await;
    assert_eq!(
        client
            .ask("POST", "a.test", "/", "Content-Length: 3\r\n", b"abc")
            .await
            .status,
        200
    );
    let lines = "Content-Length: 4\r\nExpect: 100-continue\r\n";
    let refused = client.ask("POST", "a.test", "/", lines, b"").await;
    assert_eq!((refused.status, refused.field("connection")), (413, Some("close")));
    client.closed().await;
    assert_eq!(origin.count(), 1);
    assert_eq!(plane.metric(REFUSED).await, 1.0, "{}", plane.metrics().await);
}

#[tokio::test]
async fn a_request_body_that_turns_out_too_large_is_refused_and_the_origin_sees_no_end_of_it() {
    let (ended, mut end) = tokio::sync::mpsc::channel(1);
    let origin = Origin::raw(move |mut peer| {
        let ended = ended.clone();
        async move {
            peer.only_head().await;
            ended.send(peer.rest().await).await.unwrap();
        }
    })
    .await;
    let plane = Plane::filtering(&origin, requests(5)).await;
    let mut client = plane.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
        .await;
    origin.reached(1).await;
    client.send("4\r\nefgh\r\n0\r\n\r\n").await;
    let refused = client.response("POST").await;
    assert_eq!((refused.status, refused.field("connection")), (413, Some("close")));
    let received = end.recv().await.unwrap();
    assert!(
        !received.ends_with(b"0\r\n\r\n"),
        "{}",
        String::from_utf8_lossy(&received)
    );
    plane.metric_reaches(REFUSED, 1.0).await;
}

#[tokio::test]
async fn a_response_that_is_announced_too_large_is_a_502() {
    for fields in ["Cache-Control: max-age=60\r\n", "Cache-Control: no-store\r\n"] {
        let origin = Origin::fixed(answer(200, fields, "12345")).await;
        let plane = Plane::filtering(&origin, responses(4)).await;
        let mut client = plane.client().await;
        assert_eq!(client.get("a.test", "/", "").await.status, 502, "{fields}");
        assert_eq!(client.ask("POST", "a.test", "/", "", b"").await.status, 502, "{fields}");
        plane.filter(&origin, responses(5)).await;
        assert_eq!(plane.client().await.get("a.test", "/", "").await.text(), "12345");
    }
}

#[tokio::test]
async fn a_response_that_turns_out_too_large_looks_truncated_and_is_not_stored() {
    for fields in ["Cache-Control: max-age=60\r\n", "Cache-Control: no-store\r\n"] {
        let head = format!("HTTP/1.1 200 X\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
        let origin = Origin::fixed(format!("{head}4\r\nabcd\r\n4\r\nefgh\r\n0\r\n\r\n").into_bytes()).await;
        let plane = Plane::filtering(&origin, responses(6)).await;
        for _ in 0..2 {
            let mut client = plane.client().await;
            client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
            let rest = client.rest().await;
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
        }
        assert_eq!(origin.count(), 2, "{fields}");
    }
}

#[tokio::test]
async fn what_is_stored_is_held_to_a_limit_that_came_later() {
    let origin = Origin::start(async |request: Request| {
        let _ = request;
        answer(200, "Cache-Control: max-age=60\r\n", "12345")
    })
    .await;
    let plane = Plane::filtering(&origin, responses(5)).await;
    let mut client = plane.client().await;
    client.get("a.test", "/", "").await;
    assert!(client.get("a.test", "/", "").await.is_hit());
    plane.filter(&origin, responses(4)).await;
    assert_eq!(plane.client().await.get("a.test", "/", "").await.status, 502);
    plane.filter(&origin, responses(5)).await;
    assert!(plane.client().await.get("a.test", "/", "").await.is_hit());
}
