//! Many requests for one response: one of them asks the origin.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{Origin, Plane, Response, answer, within};

const SITE: &str = "EdgeCache/default/site";

/// An origin that answers `bytes` once `gate` lets it, and the gate.
pub(crate) async fn gated(bytes: Vec<u8>) -> (Origin, Arc<Semaphore>) {
    Origin::gated(move |_| bytes.clone()).await
}

/// Starts `count` clients that ask for the same.
pub(crate) async fn ask_together(plane: &Plane, count: usize) -> JoinSet<Response> {
    let mut asking = JoinSet::new();
    for _ in 0..count {
        let mut client = plane.client().await;
        asking.spawn(async move { client.get("shop.test", "/a", "").await });
    }
    asking
}

#[tokio::test]
async fn two_hundred_clients_are_answered_by_one_request() {
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", "shared")).await;
    let plane = Plane::with_workers(2).await;
    let site = crate::support::edge_cache(origin.address);
    plane
        .apply(crate::support::objects([(
            "site",
            breakwater_snapshot::unit::Unit::EdgeCache(site),
        )]))
        .await;
    let asking = ask_together(&plane, 200).await;
    plane.active_reaches(200.0).await;
    let fetches = format!("breakwater_cache_fetches{{resource=\"{SITE}\"}}");
    assert_eq!(plane.metric(&fetches).await, 1.0);
    gate.add_permits(1);
    let answers = within("all answers", asking.join_all()).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 && answer.text() == "shared")
    );
    let collapsed = answers
        .iter()
        .filter(|answer| answer.cache_status().contains("collapsed"));
    assert_eq!(collapsed.count(), 199);
    assert_eq!(origin.count(), 1);
    let series = format!("breakwater_cache_collapsed_total{{resource=\"{SITE}\"}}");
    assert_eq!(plane.metric(&series).await, 199.0);
    plane.metric_reaches(&fetches, 0.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_fetch_it_began() {
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", "shared")).await;
    let plane = Plane::before(&origin).await;
    let mut first = plane.client().await;
    first.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(1).await;
    let asking = ask_together(&plane, 3).await;
    drop(first);
    gate.add_permits(1);
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!((answer.status, answer.text().as_str()), (200, "shared"));
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_fetch_that_everyone_left_is_still_stored() {
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", "shared")).await;
    let plane = Plane::before(&origin).await;
    let mut only = plane.client().await;
    only.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(1).await;
    drop(only);
    gate.add_permits(1);
    plane
        .metric_reaches("breakwater_cache_objects{tier=\"ram\"}", 1.0)
        .await;
    assert!(plane.client().await.get("shop.test", "/a", "").await.is_hit());
}

#[tokio::test]
async fn those_who_wait_for_what_cannot_be_shared_ask_for_themselves() {
    let (origin, gate) = gated(answer(200, "Cache-Control: private\r\nSet-Cookie: mine=1\r\n", "own")).await;
    let plane = Plane::before(&origin).await;
    let asking = ask_together(&plane, 5).await;
    origin.reached(1).await;
    gate.add_permits(5);
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!((answer.status, answer.text().as_str()), (200, "own"));
    }
    assert_eq!(origin.count(), 5);
}

#[tokio::test]
async fn what_each_request_has_to_validate_is_not_given_to_those_who_wait() {
    for lifetime in [
        "no-cache",
        "no-cache, max-age=60",
        "max-age=0",
        "max-age=0, must-revalidate",
    ] {
        let lines = format!("ETag: \"a\"\r\nCache-Control: {lifetime}\r\n");
        let (origin, gate) = gated(answer(200, &lines, "own")).await;
        let plane = Plane::before(&origin).await;
        let asking = ask_together(&plane, 5).await;
        origin.reached(1).await;
        gate.add_permits(5);
        for answer in within("all answers", asking.join_all()).await {
            assert_eq!((answer.status, answer.text().as_str()), (200, "own"));
        }
        assert_eq!(origin.count(), 5, "{lifetime}");
    }
}

#[tokio::test]
async fn a_confirmation_that_is_private_is_given_to_nobody_else() {
    let (origin, gate) = Origin::gated(|request| {
        if request.field("if-none-match").is_none() {
            return answer(200, "ETag: \"a\"\r\nCache-Control: max-age=0\r\n", "x");
        }
        let cookie = request.field("cookie").unwrap_or_default();
        let lines = format!("ETag: \"a\"\r\nCache-Control: private\r\nSet-Cookie: {cookie}\r\n");
        answer(304, &lines, "")
    })
    .await;
    gate.add_permits(1);
    let plane = Plane::before(&origin).await;
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, 200);
    let mut asking = JoinSet::new();
    for n in 0..4 {
        let mut client = plane.client().await;
        asking.spawn(async move {
            let answer = client.get("shop.test", "/a", &format!("Cookie: user={n}\r\n")).await;
            (format!("user={n}"), answer)
        });
    }
    origin.reached(2).await;
    gate.add_permits(4);
    for (own, answer) in within("all answers", asking.join_all()).await {
        let cookie = answer.field("set-cookie");
        assert!(
            answer.status == 200 && cookie.is_none_or(|cookie| cookie == own),
            "{own}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_failed_fetch_fails_those_who_waited_and_not_the_next() {
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", "x")[..30].to_vec()).await;
    let plane = Plane::before(&origin).await;
    let asking = ask_together(&plane, 3).await;
    origin.reached(1).await;
    gate.add_permits(1);
    // The head is incomplete; the origin goes away.
    drop(origin);
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!(answer.status, 502);
    }
    let good = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "good")).await;
    let site = crate::support::edge_cache(good.address);
    plane
        .apply(crate::support::objects([(
            "site",
            breakwater_snapshot::unit::Unit::EdgeCache(site),
        )]))
        .await;
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.text(), "good");
}

#[tokio::test]
async fn a_slow_reader_does_not_hold_up_a_quick_one() {
    let body = vec![b'x'; 4 << 20];
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", &body)).await;
    let plane = Plane::before(&origin).await;
    let mut slow = plane.client().await;
    slow.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(1).await;
    let quick = ask_together(&plane, 1).await;
    gate.add_permits(1);
    let answers = within("the quick reader", quick.join_all()).await;
    assert_eq!(answers[0].body.len(), body.len());
    assert_eq!(slow.response("GET").await.body.len(), body.len());
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn who_waited_for_another_variant_gets_its_own() {
    let (origin, gate) = Origin::gated(|request| {
        let language = request.field("accept-language").unwrap();
        answer(200, "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n", language)
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut asking = JoinSet::new();
    for language in ["de", "fr", "de", "fr", "en"] {
        let mut client = plane.client().await;
        asking.spawn(async move {
            let lines = format!("Accept-Language: {language}\r\n");
            (language, client.get("shop.test", "/a", &lines).await)
        });
        origin.reached(1).await;
    }
    gate.add_permits(5);
    for (language, response) in within("all answers", asking.join_all()).await {
        assert_eq!((response.status, response.text().as_str()), (200, language));
    }
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn requests_with_authorization_do_not_wait_for_each_other() {
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", "own")).await;
    let plane = Plane::before(&origin).await;
    let mut asking = JoinSet::new();
    for _ in 0..3 {
        let mut client = plane.client().await;
        asking.spawn(async move { client.get("shop.test", "/a", "Authorization: Basic eDp5\r\n").await });
    }
    origin.reached(3).await;
    gate.add_permits(3);
    for response in within("all answers", asking.join_all()).await {
        assert_eq!((response.status, response.text().as_str()), (200, "own"));
    }
}

#[tokio::test]
async fn a_429_is_for_the_one_who_got_it_and_the_next_share_a_fetch() {
    let limited = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (origin, gate) = Origin::gated(
        move |_| match limited.swap(false, std::sync::atomic::Ordering::SeqCst) {
            true => answer(429, "Retry-After: 60\r\nCache-Control: max-age=60\r\n", "later"),
            false => answer(200, "Cache-Control: max-age=60\r\n", "shared"),
        },
    )
    .await;
    let plane = Plane::before(&origin).await;
    gate.add_permits(1);
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, 429);
    let asking = ask_together(&plane, 5).await;
    plane.active_reaches(5.0).await;
    gate.add_permits(1);
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!((answer.status, answer.text().as_str()), (200, "shared"));
    }
    assert_eq!(origin.count(), 2);
}
