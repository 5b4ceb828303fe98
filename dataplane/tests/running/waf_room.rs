//! The room for bodies that are held back until rules have judged them: whoever has left gives it back.

use std::sync::Arc;

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{Rules, Unit};
use tokio::sync::Semaphore;

use crate::support::{Origin, Plane, answer, edge_cache, id, until, waf_policy};
use crate::waf_rules::rules;

const BUFFERED: &str = "breakwater_waf_buffered_bytes";

/// A data plane before `origin` with rules that see a kibibyte of requests' bodies, and so much of responses'.
async fn protected(origin: &Origin, inspect_response: Option<u64>) -> Plane {
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    let text = "SecRule ARGS|RESPONSE_BODY \"@contains attack\" \"id:1,phase:4,deny\"";
    policy.rules = Some(Rules {
        inspect_response,
        ..rules(text)
    });
    let site = Unit::EdgeCache(edge_cache(origin.address));
    Plane::running([("site", site), ("policy", Unit::WafPolicy(policy))]).await
}

/// What rules know of a request that waits, which is more than `before`, while nothing of a body is held back.
async fn known(plane: &Plane, before: f64) -> f64 {
    let held = async || Some(plane.metric(BUFFERED).await).filter(|held| *held > before);
    until(BUFFERED, held).await
}

#[tokio::test]
async fn a_body_that_was_held_back_gives_its_room_back_when_it_has_left() {
    let (origin, gate) = Origin::gated(|request| answer(200, "", request.body)).await;
    let plane = protected(&origin, None).await;
    let mut client = plane.client().await;
    let head = "POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 800\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n";
    client.send(head).await;
    let known = known(&plane, 0.0).await;
    client.send([b'a'; 400]).await;
    plane.metric_reaches(BUFFERED, known + 400.0).await;
    client.send([b'a'; 400]).await;
    origin.reached(1).await;
    // The origin has not answered yet.
    plane.metric_reaches(BUFFERED, 0.0).await;
    gate.add_permits(1);
    assert_eq!(client.response("POST").await.body, [b'a'; 800]);
}

#[tokio::test]
async fn a_response_that_was_held_back_gives_its_room_back_when_it_has_left() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let origin = Origin::raw(move |mut peer| {
        let held = Arc::clone(&held);
        async move {
            while peer.request().await.is_some() {
                held.acquire().await.unwrap().forget();
                let lines = "Content-Length: 8000\r\nContent-Type: text/plain\r\n";
                peer.send(format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).await;
                held.acquire().await.unwrap().forget();
                peer.send([b'a'; 2000]).await;
                for _ in 0..2 {
                    held.acquire().await.unwrap().forget();
                    peer.send([b'a'; 3000]).await;
                }
            }
        }
    })
    .await;
    let plane = protected(&origin, Some(4096)).await;
    let mut client = plane.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    let request = known(&plane, 0.0).await;
    gate.add_permits(1);
    let known = known(&plane, request).await;
    gate.add_permits(1);
    plane.metric_reaches(BUFFERED, known + 2000.0).await;
    gate.add_permits(1);
    assert_eq!(client.head().await.unwrap().status, 200);
    assert_eq!(client.take(5000).await.unwrap().len(), 5000);
    // The rest is still to come.
    plane.metric_reaches(BUFFERED, 0.0).await;
    gate.add_permits(1);
    assert_eq!(client.take(3000).await.unwrap().len(), 3000);
}
