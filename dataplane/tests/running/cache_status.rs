//! What `Cache-Status` says is what happened.

use breakwater_snapshot::unit::Unit;

use crate::support::{Origin, Plane, Request, answer, edge_cache, objects};

/// An origin that answers a first request with `first`, and confirms it with `lines` from then on.
async fn confirming(first: &'static str, lines: &'static str) -> Origin {
    Origin::start(move |request: Request| async move {
        match request.field("if-none-match") {
            Some(_) => format!("HTTP/1.1 304 Not Modified\r\n{lines}\r\n").into_bytes(),
            None => answer(200, first, "x"),
        }
    })
    .await
}

#[tokio::test]
async fn what_has_to_be_validated_each_time_was_stale_and_not_asked_for() {
    let origin = confirming(
        "Cache-Control: no-cache\r\nETag: \"1\"\r\n",
        "Cache-Control: no-cache\r\n",
    )
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    assert_eq!(
        client.get("shop.test", "/a", "").await.cache_status(),
        "breakwater; fwd=miss; stored"
    );
    for _ in 0..2 {
        let confirmed = client.get("shop.test", "/a", "").await;
        assert_eq!(confirmed.text(), "x");
        assert_eq!(
            confirmed.cache_status(),
            "breakwater; fwd=stale; fwd-status=304; ttl=0; stored"
        );
    }
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn what_the_request_wants_validated_was_asked_for() {
    let lines = "Cache-Control: max-age=60\r\nETag: \"1\"\r\n";
    let origin = confirming(lines, lines).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    let asked = client.get("shop.test", "/a", "Cache-Control: no-cache\r\n").await;
    assert_eq!(asked.cache_status(), "breakwater; fwd=request; fwd-status=304; stored");
}

#[tokio::test]
async fn what_is_confirmed_for_one_client_only_is_not_stored() {
    let first = "Cache-Control: max-age=0\r\nETag: \"1\"\r\n";
    let origin = confirming(first, "Cache-Control: private\r\n").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    let private = client.get("shop.test", "/a", "").await;
    assert_eq!((private.status, private.text().as_str()), (200, "x"));
    let status = private.cache_status();
    assert!(
        status.starts_with("breakwater; fwd=stale; fwd-status=304; ttl=") && !status.contains("stored"),
        "{status}"
    );
    assert_eq!(
        client.get("shop.test", "/a", "").await.cache_status(),
        "breakwater; fwd=miss; stored"
    );
}

#[tokio::test]
async fn what_is_announced_to_be_too_large_is_not_stored() {
    let origin = Origin::start(|request: Request| async move {
        let size = request.target()[1..].parse().unwrap();
        answer(200, "Cache-Control: max-age=60\r\n", vec![b'x'; size])
    })
    .await;
    let mut site = edge_cache(origin.address);
    site.cache.max_object_size = 1000;
    let plane = Plane::start().await;
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    let mut client = plane.client().await;
    for (target, status) in [
        ("/1000", "breakwater; fwd=miss; stored"),
        ("/1001", "breakwater; fwd=miss"),
        ("/1001", "breakwater; fwd=miss"),
    ] {
        assert_eq!(
            client.get("shop.test", target, "").await.cache_status(),
            status,
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_part_that_does_not_say_which_it_is_is_not_stored() {
    for lines in [
        "",
        "Content-Range: bytes 1-0/5\r\n",
        "Content-Range: bytes 0-1/5\r\nContent-Range: bytes 0-1/5\r\n",
    ] {
        let origin = Origin::fixed(answer(206, &format!("Cache-Control: max-age=60\r\n{lines}"), "ab")).await;
        let plane = Plane::before(&origin).await;
        let mut client = plane.client().await;
        for _ in 0..2 {
            let part = client.get("shop.test", "/a", "Range: bytes=0-1\r\n").await;
            assert_eq!(
                (part.status, part.cache_status()),
                (206, "breakwater; fwd=miss"),
                "{lines}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_no_cache_may_store_is_not_stored_unless_a_rule_names_it() {
    for status in [226, 428, 429, 431, 511] {
        let origin = Origin::fixed(answer(status, "Cache-Control: max-age=60\r\n", "x")).await;
        let plane = Plane::before(&origin).await;
        let answered = plane.client().await.get("shop.test", "/a", "").await;
        assert_eq!(
            (answered.status, answered.cache_status()),
            (status, "breakwater; fwd=miss")
        );
    }
    let origin = Origin::fixed(answer(429, "", "x")).await;
    let mut site = edge_cache(origin.address);
    site.cache.rules = vec![breakwater_snapshot::unit::CacheRule {
        paths: Vec::new(),
        methods: Vec::new(),
        statuses: vec![429],
        ttl_ms: Some(60_000),
        stale_while_revalidate_ms: None,
        stale_if_error_ms: None,
        bypass: false,
    }];
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    assert!(client.get("shop.test", "/a", "").await.is_hit());
}
