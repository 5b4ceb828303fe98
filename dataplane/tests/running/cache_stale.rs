//! Stale responses: validated, served while that happens, served when the origin fails.

use std::sync::Arc;

use breakwater_snapshot::unit::{CachePolicy, Unit};
use tokio::sync::Notify;

use crate::support::{Origin, Plane, Request, answer, edge_cache, objects, until};

/// Older than it may be when it comes.
const STALE: &str = "Cache-Control: max-age=60\r\nAge: 100\r\nETag: \"v1\"\r\n";

async fn plane_with(origin: &Origin, change: impl FnOnce(&mut CachePolicy)) -> Plane {
    let mut site = edge_cache(origin.address);
    change(&mut site.cache);
    let plane = Plane::start().await;
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    plane
}

fn validates(request: &Request) -> bool {
    request.field("if-none-match").as_deref() == Some("\"v1\"")
}

#[tokio::test]
async fn a_stale_response_is_validated_and_fresh_again_after_a_304() {
    let origin = Origin::start(async |request| {
        if validates(&request) {
            b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: \"v1\"\r\nX-New: 1\r\n\r\n".to_vec()
        } else {
            answer(200, STALE, "hello")
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    let validated = client.get("shop.test", "/a", "").await;
    assert_eq!((validated.status, validated.text().as_str()), (200, "hello"));
    let status = validated.cache_status();
    assert!(status.starts_with("breakwater; fwd=stale; fwd-status=304"), "{status}");
    assert_eq!(validated.field("x-new"), Some("1"), "the 304 updates stored fields");
    assert!(client.get("shop.test", "/a", "").await.is_hit());
    assert_eq!(origin.count(), 2);
    let series = "breakwater_cache_requests_total{resource=\"EdgeCache/default/site\",result=\"revalidated\"}";
    assert_eq!(plane.metric(series).await, 1.0);
}

#[tokio::test]
async fn a_stale_response_that_changed_is_replaced() {
    let origin = Origin::start(async |request| {
        if validates(&request) {
            answer(200, "Cache-Control: max-age=60\r\nETag: \"v2\"\r\n", "new")
        } else {
            answer(200, STALE, "old")
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    let replaced = client.get("shop.test", "/a", "").await;
    assert_eq!(replaced.text(), "new");
    assert!(
        replaced.cache_status().starts_with("breakwater; fwd=stale"),
        "{replaced:?}"
    );
    let hit = client.get("shop.test", "/a", "").await;
    assert!(hit.is_hit() && hit.text() == "new", "{hit:?}");
}

#[tokio::test]
async fn a_304_to_a_request_without_conditions_is_a_bad_gateway() {
    let origin = Origin::fixed(b"HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n".to_vec()).await;
    let plane = Plane::before(&origin).await;
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, 502);
}

#[tokio::test]
async fn a_stale_response_is_served_while_one_request_validates_it() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (reached, held) = (Arc::clone(&asked), Arc::clone(&go));
    let origin = Origin::start(move |request| {
        let (reached, held) = (Arc::clone(&reached), Arc::clone(&held));
        async move {
            if validates(&request) {
                reached.notify_one();
                held.notified().await;
                return answer(200, "Cache-Control: max-age=60\r\n", "new");
            }
            answer(200, STALE, "old")
        }
    })
    .await;
    let plane = plane_with(&origin, |cache| cache.stale_while_revalidate_ms = Some(3_600_000)).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    for _ in 0..3 {
        let stale = client.get("shop.test", "/a", "").await;
        assert_eq!(stale.text(), "old");
        assert!(stale.cache_status().starts_with("breakwater; hit; ttl=-"), "{stale:?}");
    }
    asked.notified().await;
    assert_eq!(origin.count(), 2, "one validation for all of them");
    go.notify_one();
    let fresh = until("the new response", async || {
        let response = plane.client().await.get("shop.test", "/a", "").await;
        (response.text() == "new").then_some(response)
    })
    .await;
    assert!(fresh.is_hit(), "{fresh:?}");
    assert_eq!(origin.count(), 2);
    let behind = "breakwater_cache_background_revalidations_total{resource=\"EdgeCache/default/site\"}";
    assert_eq!(plane.metric(behind).await, 1.0);
}

/// An origin that answers `STALE` once and with `then` from then on; no bytes mean that it hangs up.
async fn failing(then: Vec<u8>) -> Origin {
    Origin::raw(move |mut peer| {
        let then = then.clone();
        async move {
            while let Some(request) = peer.request().await {
                if !validates(&request) {
                    peer.send(answer(200, STALE, "old")).await;
                } else if then.is_empty() {
                    return;
                } else {
                    peer.send(&then).await;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_stale_response_stands_in_for_an_error_where_it_may() {
    for then in [answer(503, "", "broken"), Vec::new(), b"garbage\r\n\r\n".to_vec()] {
        let origin = failing(then).await;
        let plane = plane_with(&origin, |cache| cache.stale_if_error_ms = Some(3_600_000)).await;
        let mut client = plane.client().await;
        client.get("shop.test", "/a", "").await;
        for _ in 0..2 {
            let stale = client.get("shop.test", "/a", "").await;
            assert_eq!((stale.status, stale.text().as_str()), (200, "old"));
            assert!(stale.cache_status().starts_with("breakwater; hit; ttl=-"), "{stale:?}");
        }
    }
}

#[tokio::test]
async fn without_leave_an_error_of_the_origin_is_passed_on() {
    let origin = failing(answer(503, "", "broken")).await;
    let plane = plane_with(&origin, |cache| cache.stale_if_error_ms = Some(0)).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    assert_eq!(client.get("shop.test", "/a", "").await.status, 503);
}

#[tokio::test]
async fn a_stale_response_stands_in_for_an_unreachable_origin_for_head_and_ranges_too() {
    let origin = failing(Vec::new()).await;
    let plane = plane_with(&origin, |cache| cache.stale_if_error_ms = Some(3_600_000)).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    drop(origin);
    let head = client.ask("HEAD", "shop.test", "/a", "", b"").await;
    assert_eq!((head.status, head.field("content-length")), (200, Some("3")));
    let part = client.get("shop.test", "/a", "Range: bytes=1-1\r\n").await;
    assert_eq!((part.status, part.text().as_str()), (206, "l"));
}

#[tokio::test]
async fn must_revalidate_is_never_served_stale() {
    let lines = "Cache-Control: max-age=60, must-revalidate\r\nAge: 100\r\nETag: \"v1\"\r\n";
    let origin = Origin::raw(move |mut peer| async move {
        while let Some(request) = peer.request().await {
            if validates(&request) {
                return;
            }
            peer.send(answer(200, lines, "old")).await;
        }
    })
    .await;
    let plane = plane_with(&origin, |cache| {
        cache.stale_if_error_ms = Some(3_600_000);
        cache.stale_while_revalidate_ms = Some(3_600_000);
    })
    .await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    assert_eq!(client.get("shop.test", "/a", "").await.status, 502);
}

#[tokio::test]
async fn what_the_origin_says_is_gone_is_not_served_stale_any_longer() {
    for gone in [404, 410] {
        // Without a lifetime it cannot be stored, and so takes nobody's place.
        let origin = Origin::start(move |request| {
            std::future::ready(match validates(&request) {
                true => answer(gone, "", "gone"),
                false => answer(200, STALE, "old"),
            })
        })
        .await;
        let plane = plane_with(&origin, |cache| cache.stale_while_revalidate_ms = Some(3_600_000)).await;
        let mut client = plane.client().await;
        client.get("shop.test", "/a", "").await;
        assert_eq!(client.get("shop.test", "/a", "").await.text(), "old");
        // The origin gives the old one to whoever has nothing to validate: so it was forgotten when that is asked.
        until("what is gone to be forgotten", async || {
            let response = plane.client().await.get("shop.test", "/a", "").await;
            (!response.is_hit()).then_some(())
        })
        .await;
    }
}
