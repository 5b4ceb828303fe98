//! Two levels of nodes: those of the first alone ask the origin.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use breakwater_snapshot::unit::{PurgeSelector, Unit};
use tokio::task::JoinSet;

use crate::support::{Nodes, Origin, Request, Way, answer, below_nodes, objects, purge, until, within};

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// An origin whose answers differ.
async fn counting() -> Origin {
    let served = Arc::new(AtomicUsize::new(0));
    Origin::start(move |request: Request| {
        let n = served.fetch_add(1, Ordering::SeqCst);
        let target = request.target().to_owned();
        async move {
            let lines = "Cache-Control: max-age=600\r\nSurrogate-Key: t\r\n";
            answer(200, lines, format!("{target} {n}"))
        }
    })
    .await
}

#[tokio::test]
async fn nodes_of_the_second_level_ask_the_first_which_alone_asks_the_origin() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(4, below_nodes(origin.address, true)).await;
    nodes.level(|n| n == 0);
    for n in 1..4 {
        let mut client = nodes.0[n].client().await;
        let first = client.get("shop.test", "/a", "").await;
        let parent = if n == 1 { "fwd=miss; stored" } else { "hit; ttl=" };
        let said = first.cache_status();
        assert_eq!((first.status, first.text().as_str()), (200, "x"));
        assert!(said.starts_with(&format!("breakwater-parent; {parent}")), "{said}");
        let again = client.get("shop.test", "/a", "").await;
        assert!(again.all("cache-status").last().unwrap().starts_with("breakwater; hit"));
    }
    assert_eq!(origin.count(), 1);
    assert_eq!(nodes.counted("out", "answered").await, 3.0);
    // The first level itself asks nobody.
    let own = nodes.0[0].client().await.get("shop.test", "/b", "").await;
    assert!(
        own.cache_status().starts_with("breakwater; fwd=miss"),
        "{}",
        own.cache_status()
    );
    assert_eq!(nodes.counted("out", "answered").await, 3.0);
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn a_first_level_of_several_nodes_makes_one_fetch_for_a_cold_object_whoever_is_asked() {
    let (origin, gate) = Origin::gated(|_| answer(200, FRESH, "shared")).await;
    let nodes = Nodes::before(6, below_nodes(origin.address, true)).await;
    nodes.level(|n| n < 2);
    let mut asking = JoinSet::new();
    for plane in &nodes.0 {
        for _ in 0..10 {
            let mut client = plane.client().await;
            asking.spawn(async move { client.get("shop.test", "/cold", "").await });
        }
    }
    origin.reached(1).await;
    gate.add_permits(100);
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!((answer.status, answer.text().as_str()), (200, "shared"));
    }
    assert_eq!(origin.count(), 1);
    // The four of the second level, and that of the first which does not own it.
    assert_eq!(nodes.counted("out", "answered").await, 5.0);
}

#[tokio::test]
async fn when_the_first_level_is_gone_the_origin_is_asked_and_no_request_fails() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(3, below_nodes(origin.address, true)).await;
    let mut peers = nodes.level(|n| n == 0);
    let way = Way::to(nodes.0[0].data.peer_address().unwrap()).await;
    nodes.lead(&mut peers, 0, &way);
    assert_eq!(nodes.0[1].client().await.get("shop.test", "/a", "").await.status, 200);
    assert_eq!(nodes.counted("out", "answered").await, 1.0);
    drop(way);
    for n in 1..3 {
        for target in ["/b", "/c"] {
            let answer = nodes.0[n].client().await.get("shop.test", target, "").await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
            assert!(answer.cache_status().starts_with("breakwater; fwd=miss"));
        }
    }
    assert_eq!(
        nodes.counted("out", "unreachable").await,
        2.0,
        "each asked once, and it rests"
    );
    assert_eq!(origin.count(), 5);
}

#[tokio::test]
async fn without_fallback_the_second_level_never_asks_the_origin_and_what_is_stale_stands_in() {
    let stale = "Cache-Control: max-age=0, stale-if-error=600\r\n";
    let origin = Origin::fixed(answer(200, stale, "kept")).await;
    let nodes = Nodes::before(2, below_nodes(origin.address, false)).await;
    let mut peers = nodes.level(|n| n == 0);
    let way = Way::to(nodes.0[0].data.peer_address().unwrap()).await;
    nodes.lead(&mut peers, 0, &way);
    let mut client = nodes.0[1].client().await;
    assert_eq!(client.get("shop.test", "/a", "").await.text(), "kept");
    drop(way);
    let kept = client.get("shop.test", "/a", "").await;
    assert_eq!((kept.status, kept.text().as_str()), (200, "kept"));
    assert_eq!(client.get("shop.test", "/b", "").await.status, 502);
    assert_eq!(origin.count(), 1);
    assert_eq!(nodes.counted("out", "nobody").await, 2.0);
    // It is asked at once when it is back, however long it would rest.
    let way = Way::to(nodes.0[0].data.peer_address().unwrap()).await;
    nodes.lead(&mut peers, 0, &way);
    assert_eq!(client.get("shop.test", "/b", "").await.text(), "kept");
    // Nobody has the label: nobody may ask.
    nodes.level(|_| false);
    assert_eq!(client.get("shop.test", "/c", "").await.status, 502);
    // This node has: it asks the origin itself.
    nodes.level(|n| n == 1);
    assert_eq!(client.get("shop.test", "/c", "").await.text(), "kept");
}

#[tokio::test]
async fn a_first_level_that_has_not_heard_of_a_purge_is_not_believed() {
    for fallback in [true, false] {
        let origin = counting().await;
        let site = below_nodes(origin.address, fallback);
        let nodes = Nodes::before(2, site.clone()).await;
        nodes.level(|n| n == 0);
        let mut client = nodes.0[1].client().await;
        let old = client.get("shop.test", "/a", "").await.text();
        let only_here = objects([
            ("site", Unit::EdgeCache(site)),
            ("purge", purge("1", PurgeSelector::Tags(vec!["t".to_owned()]))),
        ]);
        nodes.0[1].apply(only_here).await;
        let new = client.get("shop.test", "/a", "").await;
        assert_eq!((old.as_str(), new.text().as_str()), ("/a 0", "/a 1"));
        // With fallback from the origin; without, from the parent, which was told to ask.
        assert_eq!(new.cache_status().starts_with("breakwater-parent;"), !fallback);
        assert_eq!(client.get("shop.test", "/a", "").await.text(), "/a 1");
        assert_eq!(nodes.counted("out", "behind").await, 1.0);
        assert_eq!(origin.count(), 2);
    }
}

#[tokio::test]
async fn a_node_that_gets_the_label_is_of_the_first_level_from_then_on() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(2, below_nodes(origin.address, true)).await;
    // Nobody is of the first level: each asks the origin.
    nodes.introduce(|_| true);
    let mut client = nodes.0[1].client().await;
    client.get("shop.test", "/a", "").await;
    assert_eq!(nodes.counted("out", "answered").await, 0.0);
    nodes.level(|n| n == 0);
    client.get("shop.test", "/b", "").await;
    until("node 0 to be asked", async || {
        (nodes.counted("out", "answered").await == 1.0).then_some(())
    })
    .await;
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn what_cannot_be_shared_goes_to_the_origin_by_itself() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let nodes = Nodes::before(2, below_nodes(origin.address, false)).await;
    nodes.level(|n| n == 0);
    let mut client = nodes.0[1].client().await;
    let post = client
        .ask("POST", "shop.test", "/a", "Content-Length: 2\r\n", b"hi")
        .await;
    assert_eq!((post.status, origin.last().body.as_slice()), (200, &b"hi"[..]));
    assert_eq!(nodes.counted("out", "answered").await, 0.0);
}
