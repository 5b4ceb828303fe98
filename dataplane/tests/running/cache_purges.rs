//! Purges: by URL, by tag, of everything; each carried out once, and no fill escapes one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use breakwater_snapshot::Blob;
use breakwater_snapshot::unit::{PurgeMode, PurgePrefix, PurgeSelector, Unit};
use tokio::sync::Semaphore;

use crate::support::{Client, Objects, Origin, Plane, Request, answer, edge_cache, objects, purge, purge_by};

async fn tagged() -> Origin {
    Origin::start(async |request| {
        let tags = match request.target() {
            "/one" => "product-1 all",
            "/two" => "product-2 all",
            _ => "other",
        };
        answer(
            200,
            &format!("Cache-Control: max-age=60\r\nVary: Accept\r\nSurrogate-Key: {tags}\r\n"),
            "x",
        )
    })
    .await
}

fn site_and(origin: &Origin, purges: impl IntoIterator<Item = (&'static str, Unit)>) -> Objects {
    let site = ("site", Unit::EdgeCache(edge_cache(origin.address)));
    objects([site].into_iter().chain(purges))
}

async fn fill(client: &mut Client, targets: &[&str]) {
    for target in targets {
        client.get("shop.test", target, "").await;
        assert!(client.get("shop.test", target, "").await.is_hit(), "{target}");
    }
}

async fn hits(client: &mut Client, targets: &[&str]) -> Vec<bool> {
    let mut hits = Vec::new();
    for target in targets {
        hits.push(client.get("shop.test", target, "").await.is_hit());
    }
    hits
}

const ALL: [&str; 4] = ["/one", "/one?q=1", "/two", "/three"];

#[tokio::test]
async fn a_purge_by_url_forgets_all_variants_of_that_url_and_nothing_else() {
    let origin = tagged().await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    fill(&mut client, &ALL).await;
    client.get("shop.test", "/one", "Accept: text/html\r\n").await;
    let urls = PurgeSelector::Urls(vec!["http://shop.test/one".to_owned()]);
    plane.apply(site_and(&origin, [("p", purge("1", urls))])).await;
    assert!(!client.get("shop.test", "/one", "Accept: text/html\r\n").await.is_hit());
    assert_eq!(hits(&mut client, &ALL).await, [false, true, true, true]);
}

#[tokio::test]
async fn a_purge_by_url_reaches_every_port_and_any_spelling() {
    let origin = tagged().await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for host in ["shop.test", "shop.test:8080"] {
        client.get(host, "/a/b", "").await;
        assert!(client.get(host, "/a/b", "").await.is_hit());
    }
    let urls = PurgeSelector::Urls(vec!["https://SHOP.test/a/./%62".to_owned()]);
    plane.apply(site_and(&origin, [("p", purge("1", urls))])).await;
    for host in ["shop.test", "shop.test:8080"] {
        assert!(!client.get(host, "/a/b", "").await.is_hit(), "{host}");
    }
}

#[tokio::test]
async fn a_purge_by_tag_forgets_what_carries_it() {
    let origin = tagged().await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    fill(&mut client, &ALL).await;
    let one = PurgeSelector::Tags(vec!["product-2".to_owned()]);
    plane.apply(site_and(&origin, [("p", purge("1", one.clone()))])).await;
    assert_eq!(hits(&mut client, &ALL).await, [true, true, false, true]);
    let all = PurgeSelector::Tags(vec!["all".to_owned()]);
    plane
        .apply(site_and(&origin, [("p", purge("1", one)), ("q", purge("2", all))]))
        .await;
    assert_eq!(hits(&mut client, &ALL).await, [false, true, false, true]);
}

#[tokio::test]
async fn a_purge_by_prefix_forgets_whole_segments_of_a_host_in_any_spelling() {
    let origin = tagged().await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let paths = ["/st", "/st?q=1", "/st/", "/st/a/b", "/static", "/a/st"];
    for (uid, host, path, expected) in [
        ("1", Some("shop.test"), "/st", [false, false, false, false, true, true]),
        ("2", Some("other.test"), "/st", [true; 6]),
        ("3", None, "/%73t/./a/", [true, true, true, false, true, true]),
        ("4", Some("shop.test"), "/", [false; 6]),
    ] {
        hits(&mut client, &paths).await;
        assert_eq!(hits(&mut client, &paths).await, [true; 6]);
        let prefixes = PurgeSelector::Prefixes(vec![PurgePrefix {
            host: host.map(str::to_owned),
            path: path.to_owned(),
        }]);
        plane.apply(site_and(&origin, [("p", purge(uid, prefixes))])).await;
        assert_eq!(hits(&mut client, &paths).await, expected, "{uid}");
    }
}

#[tokio::test]
async fn a_soft_purge_has_responses_validated_and_serves_them_while_the_origin_is_down() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let origin = Origin::start(move |request: Request| {
        let down = is_down.load(Ordering::SeqCst);
        async move {
            if down {
                return answer(503, "", "");
            }
            if request.field("if-none-match").is_some() {
                return b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".to_vec();
            }
            let fields = "Cache-Control: max-age=60, stale-if-error=60\r\nETag: \"1\"\r\nSurrogate-Key: t\r\n";
            answer(200, fields, "stored")
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for (uid, selector) in [
        ("1", PurgeSelector::Everything),
        ("2", PurgeSelector::Tags(vec!["t".to_owned()])),
        ("3", PurgeSelector::Urls(vec!["http://shop.test/a".to_owned()])),
        (
            "4",
            PurgeSelector::Prefixes(vec![PurgePrefix {
                host: None,
                path: "/a".to_owned(),
            }]),
        ),
    ] {
        client.get("shop.test", "/a", "").await;
        assert!(client.get("shop.test", "/a", "").await.is_hit());
        let soft = purge_by(uid, selector, PurgeMode::Soft);
        plane.apply(site_and(&origin, [("p", soft)])).await;
        down.store(true, Ordering::SeqCst);
        let served = client.get("shop.test", "/a", "").await;
        assert_eq!((served.status, served.text().as_str()), (200, "stored"), "{uid}");
        down.store(false, Ordering::SeqCst);
        let validated = client.get("shop.test", "/a", "").await;
        assert!(!validated.is_hit());
        assert_eq!(validated.text(), "stored");
        assert!(origin.last().field("if-none-match").is_some(), "{uid}");
    }
}

#[tokio::test]
async fn purges_that_a_node_missed_are_carried_out_before_it_acknowledges_or_serves_by_the_new_configuration() {
    let origin = tagged().await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    fill(&mut client, &ALL).await;
    // What three manifests brought while it was away comes as one.
    let missed = [
        (
            "p",
            purge("1", PurgeSelector::Urls(vec!["http://shop.test/three".to_owned()])),
        ),
        ("q", purge("2", PurgeSelector::Tags(vec!["product-1".to_owned()]))),
        (
            "r",
            purge_by("3", PurgeSelector::Tags(vec!["product-2".to_owned()]), PurgeMode::Soft),
        ),
    ];
    let applied = plane.try_apply(site_and(&origin, missed)).await;
    assert!(applied.rejected.is_empty());
    assert_eq!(hits(&mut client, &ALL).await, [false, true, false, false]);
}

#[tokio::test]
async fn a_purge_of_a_site_that_is_invalid_at_present_reaches_what_it_stored() {
    let origin = tagged().await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    fill(&mut client, &ALL).await;
    let mut objects = site_and(
        &origin,
        [("p", purge("1", PurgeSelector::Tags(vec!["all".to_owned()])))],
    );
    objects[0].2 = Blob::Invalid {
        message: "broken".to_owned(),
        targets: Vec::new(),
    };
    plane.try_apply(objects).await;
    assert_eq!(hits(&mut client, &ALL).await, [false, true, false, true]);
}

#[tokio::test]
async fn a_purge_of_everything_forgets_one_site_only() {
    let origin = tagged().await;
    let mut other = edge_cache(origin.address);
    other.claims = crate::support::claims("other.test", "/");
    let both = |purges: Vec<(&'static str, Unit)>| {
        let mut all = site_and(&origin, purges);
        all.extend(objects([("other", Unit::EdgeCache(other.clone()))]));
        all
    };
    let plane = Plane::start().await;
    plane.apply(both(Vec::new())).await;
    let mut client = plane.client().await;
    fill(&mut client, &ALL).await;
    client.get("other.test", "/one", "").await;
    plane
        .apply(both(vec![("p", purge("1", PurgeSelector::Everything))]))
        .await;
    assert_eq!(hits(&mut client, &ALL).await, [false; 4]);
    assert!(client.get("other.test", "/one", "").await.is_hit());
}

#[tokio::test]
async fn a_site_that_is_made_again_under_its_old_name_begins_empty() {
    let origin = tagged().await;
    let plane = Plane::start().await;
    plane.apply(site_and(&origin, Vec::new())).await;
    let mut client = plane.client().await;
    fill(&mut client, &ALL).await;
    plane.apply(Vec::new()).await;
    assert_eq!(client.get("shop.test", "/one", "").await.status, 404);
    plane.apply(site_and(&origin, Vec::new())).await;
    assert_eq!(hits(&mut client, &ALL).await, [false; 4]);
    assert_eq!(hits(&mut client, &ALL).await, [true; 4]);
}

#[tokio::test]
async fn a_purge_is_carried_out_once_however_often_it_is_seen() {
    let origin = tagged().await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let everything = || site_and(&origin, [("p", purge("1", PurgeSelector::Everything))]);
    plane.apply(everything()).await;
    fill(&mut client, &ALL).await;
    plane.apply(everything()).await;
    let mut again = everything();
    again.iter_mut().for_each(|(_, generation, _)| *generation += 1);
    plane.apply(again).await;
    assert_eq!(hits(&mut client, &ALL).await, [true; 4]);
}

#[tokio::test]
async fn what_was_being_fetched_during_a_purge_is_not_stored() {
    let (origin, gate) =
        Origin::gated(|_| answer(200, "Cache-Control: max-age=60\r\nSurrogate-Key: t\r\n", "old")).await;
    for (uid, selector) in [
        ("1", PurgeSelector::Everything),
        ("2", PurgeSelector::Tags(vec!["t".to_owned()])),
        ("3", PurgeSelector::Urls(vec!["http://shop.test/a".to_owned()])),
    ] {
        let plane = Plane::before(&origin).await;
        let asked = origin.count();
        let mut client = plane.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
        origin.reached(asked + 1).await;
        plane.apply(site_and(&origin, [("p", purge(uid, selector))])).await;
        gate.add_permits(1);
        assert_eq!(
            client.response("GET").await.text(),
            "old",
            "it was asked before the purge"
        );
        gate.add_permits(1);
        assert!(!client.get("shop.test", "/a", "").await.is_hit(), "purge {uid}");
    }
}

/// An origin whose GET waits for `gate`; a conditional one is answered with 304, any other method at once.
async fn gated(fresh: &'static str) -> (Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |request: Request| {
        let held = Arc::clone(&held);
        async move {
            if request.method() != "GET" {
                return answer(200, "", "done");
            }
            held.acquire().await.unwrap().forget();
            if request.field("if-none-match").is_some() {
                return b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\n\r\n".to_vec();
            }
            answer(200, &format!("{fresh}ETag: \"1\"\r\n"), "old")
        }
    })
    .await;
    (origin, gate)
}

#[tokio::test]
async fn a_validation_that_was_under_way_does_not_bring_back_what_was_purged() {
    let (origin, gate) = gated("Cache-Control: max-age=60\r\nAge: 100\r\n").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    gate.add_permits(1);
    client.get("shop.test", "/a", "").await;
    client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(2).await;
    assert!(origin.last().field("if-none-match").is_some());
    plane
        .apply(site_and(&origin, [("p", purge("1", PurgeSelector::Everything))]))
        .await;
    gate.add_permits(1);
    assert_eq!(client.response("GET").await.status, 200);
    gate.add_permits(1);
    assert!(!client.get("shop.test", "/a", "").await.is_hit());
    assert_eq!(
        origin.last().field("if-none-match"),
        None,
        "there is nothing to validate"
    );
}

#[tokio::test]
async fn what_was_being_fetched_when_an_unsafe_request_succeeded_is_not_stored() {
    let (origin, gate) = gated("Cache-Control: max-age=60\r\n").await;
    let plane = Plane::before(&origin).await;
    let (mut reader, mut writer) = (plane.client().await, plane.client().await);
    reader.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(1).await;
    let written = writer
        .ask("PUT", "shop.test", "/a", "Content-Length: 1\r\n", b"x")
        .await;
    assert_eq!(written.status, 200);
    gate.add_permits(1);
    assert_eq!(reader.response("GET").await.text(), "old");
    gate.add_permits(1);
    assert!(!reader.get("shop.test", "/a", "").await.is_hit());
}

#[tokio::test]
async fn what_one_part_of_a_response_is_tagged_with_counts_for_the_whole() {
    let origin = Origin::start(async |request: Request| {
        let (range, tags) = match request.field("range").as_deref() {
            Some("bytes=0-3") => ("0-3", "Surrogate-Key: t\r\n"),
            _ => ("4-7", ""),
        };
        let lines = format!("Cache-Control: max-age=60\r\nETag: \"a\"\r\nContent-Range: bytes {range}/8\r\n{tags}");
        answer(206, &lines, "abcd")
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for range in ["bytes=0-3", "bytes=4-7"] {
        client.get("shop.test", "/a", &format!("Range: {range}\r\n")).await;
    }
    assert!(client.get("shop.test", "/a", "").await.is_hit());
    let tag = PurgeSelector::Tags(vec!["t".to_owned()]);
    plane.apply(site_and(&origin, [("p", purge("1", tag))])).await;
    assert!(!client.get("shop.test", "/a", "Range: bytes=0-3\r\n").await.is_hit());
}
