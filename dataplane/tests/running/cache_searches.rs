//! URLs that are for the same thing by `No-Vary-Search`, and responses that belong together by `Cache-Groups`.

use std::sync::Arc;

use breakwater_snapshot::unit::{PurgeSelector, Unit};
use tokio::sync::Notify;

use crate::support::{Client, Origin, Plane, Request, answer, edge_cache, objects, purge};

/// An origin that answers with the target it was asked for.
async fn echo(lines: &'static str) -> Origin {
    Origin::start(move |request: Request| async move {
        let lines = format!("Cache-Control: max-age=60\r\n{lines}");
        answer(200, &lines, request.target())
    })
    .await
}

async fn hits(client: &mut Client, target: &str) -> bool {
    client.get("shop.test", target, "").await.is_hit()
}

#[tokio::test]
async fn a_query_that_does_not_count_is_no_part_of_the_key() {
    let origin = echo("No-Vary-Search: key-order, params=(\"utm_source\")\r\n").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let first = client.get("shop.test", "/a?x=1&y=2&utm_source=mail", "").await;
    assert_eq!(
        origin.last().target(),
        "/a?x=1&y=2&utm_source=mail",
        "the origin sees all of it"
    );
    for same in ["/a?y=2&x=1", "/a?utm_source=b&y=2&x=1", "/a?x=%31&y=2&"] {
        let hit = client.get("shop.test", same, "").await;
        assert!(hit.is_hit() && hit.body == first.body, "{same}: {hit:?}");
    }
    for other in ["/a?x=1", "/a", "/a?x=1&y=3", "/b?x=1&y=2"] {
        assert!(!hits(&mut client, other).await, "{other}");
    }
}

#[tokio::test]
async fn a_url_without_a_query_may_be_the_same_as_one_with() {
    let origin = echo("No-Vary-Search: params, except=(\"id\")\r\n").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    assert!(!hits(&mut client, "/a").await);
    assert!(hits(&mut client, "/a?session=7").await);
    assert!(!hits(&mut client, "/a?id=7").await);
    assert!(hits(&mut client, "/a?session=8&id=7").await);
}

#[tokio::test]
async fn a_malformed_rule_says_nothing() {
    let origin = echo("No-Vary-Search: params=(utm)\r\n").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    assert!(!hits(&mut client, "/a?utm=1").await);
    assert!(!hits(&mut client, "/a?utm=2").await);
    assert!(hits(&mut client, "/a?utm=1").await);
}

#[tokio::test]
async fn a_rule_holds_until_the_origin_says_otherwise() {
    let origin = Origin::start(async |request: Request| {
        let rule = if request.target().contains("old") {
            "No-Vary-Search: params\r\n"
        } else {
            ""
        };
        answer(200, &format!("Cache-Control: max-age=60\r\n{rule}"), request.target())
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    assert!(!hits(&mut client, "/a?old").await);
    assert!(hits(&mut client, "/a?b=1").await);
    // Another answer, which has no such rule.
    let new = client.get("shop.test", "/a?b=1", "Cache-Control: no-cache\r\n").await;
    assert_eq!(new.text(), "/a?b=1");
    for target in ["/a?b=2", "/a?b=3"] {
        assert_eq!(client.get("shop.test", target, "").await.text(), target);
    }
}

#[tokio::test]
async fn a_purge_of_one_url_reaches_what_it_is_the_same_as() {
    let origin = echo("No-Vary-Search: params\r\n").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    assert!(!hits(&mut client, "/a?x=1").await);
    assert!(hits(&mut client, "/a?x=2").await);
    let site = || ("site", Unit::EdgeCache(edge_cache(origin.address)));
    let urls = PurgeSelector::Urls(vec!["http://shop.test/a?x=3".to_owned()]);
    plane.apply(objects([site(), ("purge", purge("1", urls))])).await;
    assert!(!hits(&mut client, "/a?x=2").await);
    client.ask("DELETE", "shop.test", "/a?x=4", "", b"").await;
    assert!(!hits(&mut client, "/a?x=1").await);
}

#[tokio::test]
async fn a_change_forgets_the_groups_it_names_at_this_origin_only() {
    let origin = Origin::start(async |request: Request| match (request.method(), request.target()) {
        ("GET", "/both") => answer(200, "Cache-Control: max-age=60\r\nCache-Groups: \"a\", \"b\"\r\n", "x"),
        ("GET", "/a") => answer(200, "Cache-Control: max-age=60\r\nCache-Groups: \"a\"\r\n", "x"),
        ("GET", "/invalidates") => answer(200, "Cache-Group-Invalidation: \"a\"\r\n", "x"),
        ("GET", _) => answer(200, "Cache-Control: max-age=60\r\nCache-Groups: \"A\", b\r\n", "x"),
        (_, "/fails") => answer(500, "Cache-Group-Invalidation: \"b\"\r\n", "x"),
        _ => answer(200, "Cache-Group-Invalidation: \"b\"\r\n", "x"),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for target in ["/both", "/a", "/none"] {
        client.get("shop.test", target, "").await;
        client.get("other.test", target, "").await;
    }
    client.get("shop.test", "/invalidates", "").await;
    client.ask("DELETE", "shop.test", "/fails", "", b"").await;
    assert!(
        hits(&mut client, "/both").await,
        "neither a safe method nor a failure changes anything"
    );
    client.ask("DELETE", "shop.test", "/x", "", b"").await;
    assert!(!hits(&mut client, "/both").await);
    assert!(hits(&mut client, "/a").await);
    assert!(
        hits(&mut client, "/none").await,
        "a field that cannot be read puts it in no group"
    );
    assert!(
        client.get("other.test", "/both", "").await.is_hit(),
        "another origin's group"
    );
}

#[tokio::test]
async fn what_was_asked_for_before_its_group_was_invalidated_is_not_stored_after() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let origin = Origin::raw(move |mut peer| {
        let held = Arc::clone(&held);
        async move {
            while let Some(request) = peer.request().await {
                if request.method() == "GET" {
                    let lines = "Content-Length: 4\r\nCache-Control: max-age=60\r\nCache-Groups: \"a\"\r\n";
                    peer.send(format!("HTTP/1.1 200 OK\r\n{lines}\r\nab")).await;
                    held.notified().await;
                    peer.send("cd").await;
                } else {
                    peer.send(answer(200, "Cache-Group-Invalidation: \"a\"\r\n", "x")).await;
                }
            }
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let (mut reading, mut changing) = (plane.client().await, plane.client().await);
    reading.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!(reading.head().await.map(|head| head.status), Some(200));
    changing.ask("DELETE", "shop.test", "/x", "", b"").await;
    go.notify_one();
    assert_eq!(reading.take(4).await.as_deref(), Some(&b"abcd"[..]));
    go.notify_one();
    assert!(!hits(&mut changing, "/a").await);
}

#[tokio::test]
async fn an_answer_that_is_not_stored_says_nothing_of_queries() {
    let origin = Origin::start(async |request: Request| {
        let lines = match request.target() {
            "/a?rule" => "Cache-Control: max-age=60\r\nNo-Vary-Search: params=(\"utm\")\r\n",
            "/a?other" => "Cache-Control: no-store\r\nNo-Vary-Search: params\r\n",
            "/a?none" => "Cache-Control: private\r\n",
            _ => "Cache-Control: max-age=60\r\nNo-Vary-Search: params=(\"utm\")\r\n",
        };
        answer(200, lines, request.target())
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    assert!(!hits(&mut client, "/a?other").await);
    assert!(!hits(&mut client, "/a?x").await, "nothing was learnt");
    assert!(!hits(&mut client, "/a?rule&utm=1").await);
    for unstored in ["/a?other", "/a?none"] {
        assert!(!hits(&mut client, unstored).await);
        assert!(hits(&mut client, "/a?rule&utm=2").await, "{unstored} has unlearnt it");
    }
}
