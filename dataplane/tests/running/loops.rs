//! Requests that come back to who sent them: refused before they wait for themselves; what only looks so passes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use breakwater_dataplane::DiskOptions;
use breakwater_snapshot::unit::Unit;
use tokio::task::JoinSet;

use crate::support::{Client, Nodes, Origin, Plane, answer, edge_cache, objects, owner_site, within};

const FRESH: &str = "Cache-Control: max-age=60\r\n";

async fn edge(origin: SocketAddr) -> Plane {
    Plane::running([("site", Unit::EdgeCache(edge_cache(origin)))]).await
}

/// Has several clients ask for the same, and for other things that wait for nobody.
async fn all_are_answered_508(plane: &Plane) {
    let mut asking = JoinSet::new();
    let get = ("GET", "");
    for (method, lines) in [get, get, get, ("GET", "Range: bytes=0-1\r\n"), ("HEAD", "")] {
        let mut client = plane.client().await;
        asking.spawn(async move { client.ask(method, "shop.test", "/a", lines, b"").await.status });
    }
    assert_eq!(within("all answers", asking.join_all()).await, [508; 5]);
    let (mut client, length) = (plane.client().await, "Content-Length: 2\r\n");
    assert_eq!(client.ask("POST", "shop.test", "/a", length, b"hi").await.status, 508);
}

#[tokio::test]
async fn an_edge_that_is_its_own_origin_answers_508_and_waits_for_nobody() {
    let plane = Plane::start().await;
    let site = edge_cache(plane.address());
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    all_are_answered_508(&plane).await;
}

#[tokio::test]
async fn edges_that_are_each_others_origins_answer_508_and_wait_for_nobody() {
    let one = Plane::start().await;
    let two = edge(one.address()).await;
    let site = edge_cache(two.address());
    one.apply(objects([("site", Unit::EdgeCache(site))])).await;
    all_are_answered_508(&one).await;
    all_are_answered_508(&two).await;
}

#[tokio::test]
async fn what_keys_leave_out_of_a_query_hides_no_loop() {
    let plane = Arc::new(OnceLock::<SocketAddr>::new());
    let (at, line) = (Arc::clone(&plane), "CDN-Loop: ");
    // Between the edge and itself there is one who adds a parameter.
    let between = Origin::start(move |request| {
        let at = *at.get().unwrap();
        async move {
            let (target, passed) = (request.target(), request.field("cdn-loop").unwrap());
            let join = if target.contains('?') { '&' } else { '?' };
            let mut client = Client::connect(at).await;
            let target = format!("{target}{join}utm_source=x");
            let back = client.get("shop.test", &target, &format!("{line}{passed}\r\n")).await;
            answer(back.status, "", &back.body)
        }
    })
    .await;
    let mut site = edge_cache(between.address);
    site.cache.ignore_query = vec!["utm_*".to_owned()];
    let edge = Plane::running([("site", Unit::EdgeCache(site))]).await;
    plane.set(edge.address()).unwrap();
    assert_eq!(edge.client().await.get("shop.test", "/a", "").await.status, 508);
    assert_eq!(between.count(), 1);
}

#[tokio::test]
async fn nodes_whose_origin_is_one_of_them_answer_508_and_wait_for_nobody() {
    let nodes = Nodes::before(2, owner_site("127.0.0.1:9".parse().unwrap())).await;
    let site = owner_site(nodes.0[0].address());
    nodes.apply(&objects([("site", Unit::EdgeCache(site))])).await;
    for plane in &nodes.0 {
        // Some are owned by the one, some by the other.
        for n in 0..8 {
            let answer = plane.client().await.get("shop.test", &format!("/{n}"), "").await;
            assert_eq!(answer.status, 508, "{n}");
        }
    }
}

#[tokio::test]
async fn a_chain_of_edges_passes_each_of_them_once() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let first = edge(origin.address).await;
    let second = edge(first.address()).await;
    let third = edge(second.address()).await;
    let got = third.client().await.get("shop.test", "/a", "").await;
    assert_eq!((got.status, got.text().as_str()), (200, "x"));
    let passed = origin.last().field("cdn-loop").unwrap();
    let marks: std::collections::BTreeSet<_> = passed.split(", ").collect();
    assert_eq!(marks.len(), 3, "{passed}");
    assert!(marks.iter().all(|mark| mark.starts_with("breakwater;id=")), "{passed}");
}

/// A data plane with its store in `dir`.
async fn with_disk(dir: &Path, origin: SocketAddr) -> Plane {
    let plane = Plane::with(|options| {
        options.disk = Some(DiskOptions {
            dir: dir.to_owned(),
            bytes: 16 << 20,
        });
    })
    .await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin)))]))
        .await;
    plane
}

#[tokio::test]
async fn a_process_with_a_copy_of_anothers_disk_does_not_take_its_marks_for_its_own() {
    let origin = Origin::fixed(answer(200, "Cache-Control: no-store\r\n", "x")).await;
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = with_disk(dir.path(), origin.address).await;
    before.data.drain(Duration::from_secs(5)).await;
    drop(before);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copied.path().join(entry.file_name())).unwrap();
    }
    let one = with_disk(dir.path(), origin.address).await;
    let other = with_disk(copied.path(), origin.address).await;
    assert_eq!(one.client().await.get("shop.test", "/a", "").await.status, 200);
    let passed = format!("CDN-Loop: {}\r\n", origin.last().field("cdn-loop").unwrap());
    assert_eq!(one.client().await.get("shop.test", "/a", &passed).await.status, 508);
    assert_eq!(other.client().await.get("shop.test", "/a", &passed).await.status, 200);
}

#[tokio::test]
async fn who_waits_for_a_fetch_that_is_answered_508_asks_for_itself() {
    let circles = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (origin, gate) = Origin::gated(
        move |_| match circles.swap(false, std::sync::atomic::Ordering::SeqCst) {
            // One that all who wait might have.
            true => answer(508, FRESH, "loop"),
            false => answer(200, FRESH, "x"),
        },
    )
    .await;
    let plane = edge(origin.address).await;
    let (mut first, mut second) = (plane.client().await, plane.client().await);
    first.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(1).await;
    second.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    plane.active_reaches(2.0).await;
    gate.add_permits(2);
    assert_eq!(first.response("GET").await.status, 508);
    let answer = second.response("GET").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn an_origin_may_fetch_something_else_through_the_edge_it_is_behind() {
    let plane = Arc::new(OnceLock::<SocketAddr>::new());
    let at = Arc::clone(&plane);
    let origin = Origin::start(move |request| {
        let at = *at.get().unwrap();
        async move {
            if request.target() != "/page" {
                return answer(200, FRESH, "part");
            }
            let passed = format!("CDN-Loop: {}\r\n", request.field("cdn-loop").unwrap());
            let part = Client::connect(at).await.get("shop.test", "/part", &passed).await;
            answer(200, FRESH, format!("page with {} {}", part.status, part.text()))
        }
    })
    .await;
    let edge = edge(origin.address).await;
    plane.set(edge.address()).unwrap();
    let page = edge.client().await.get("shop.test", "/page", "").await;
    assert_eq!((page.status, page.text().as_str()), (200, "page with 200 part"));
}
