//! Changes of the configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use breakwater_snapshot::unit::{PathMatch, Unit};
use breakwater_snapshot::{Blob, Kind, Snapshot};
use tokio::sync::Semaphore;

use crate::support::{Client, Origin, Plane, answer, claims, edge_cache, id, objects, prefix, regex, waf_policy};

#[tokio::test]
async fn a_hundred_changes_under_load_fail_no_request() {
    let origin = Origin::start(async |request| {
        let lines = if request.target().contains("stored") {
            "Cache-Control: max-age=60\r\n"
        } else {
            ""
        };
        answer(200, lines, "x")
    })
    .await;
    let plane = Plane::with_workers(2).await;
    let change = |n: usize| {
        let mut site = edge_cache(origin.address);
        site.cache.ignore_query = vec![format!("unused{n}")];
        let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
        policy.uris.deny = vec![prefix(&format!("/denied{n}"))];
        let mut all = objects([("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))]);
        if n.is_multiple_of(2) {
            let mut other = edge_cache(origin.address);
            other.claims = claims("other.test", "/");
            all.extend(objects([("another", Unit::EdgeCache(other))]));
        }
        all
    };
    plane.apply(change(0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for n in 0..64 {
        let (stop, address) = (Arc::clone(&stop), plane.address());
        load.spawn(async move {
            let mut client = Client::connect(address).await;
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let target = if n % 2 == 0 { "/stored" } else { "/passed" };
                let response = client.get("shop.test", target, "").await;
                assert_eq!((response.status, response.text().as_str()), (200, "x"));
                count += 1;
                if count % 10 == 0 {
                    client = Client::connect(address).await;
                }
            }
            count
        });
    }
    for n in 1..=100 {
        plane.apply(change(n)).await;
        let mut probe = plane.client().await;
        let denied = probe.get("shop.test", &format!("/denied{n}"), "").await;
        assert_eq!(denied.status, 403, "change {n} is in force when it is said to be");
    }
    stop.store(true, Ordering::Relaxed);
    let served = load.join_all().await;
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
}

#[tokio::test]
async fn a_bad_object_is_rejected_alone() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let mut good = edge_cache(origin.address);
    good.claims = claims("good.test", "/");
    let mut bad = edge_cache(origin.address);
    bad.claims = claims("bad.test", "/");
    bad.claims[0].path = regex("(");
    let plane = Plane::start().await;
    let applied = plane
        .try_apply(objects([
            ("bad", Unit::EdgeCache(bad)),
            ("good", Unit::EdgeCache(good)),
        ]))
        .await;
    let rejected: Vec<_> = applied
        .rejected
        .iter()
        .map(|rejection| rejection.id.to_string())
        .collect();
    assert_eq!(rejected, ["EdgeCache/default/bad"]);
    assert!(applied.rejected[0].message.contains('('), "{applied:?}");
    let mut client = plane.client().await;
    assert_eq!(client.get("good.test", "/a", "").await.status, 200);
    assert_eq!(client.get("bad.test", "/a", "").await.status, 404);
}

#[tokio::test]
async fn an_invalid_object_keeps_its_last_good_version_until_it_is_fixed_or_removed() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let site = id(Kind::EdgeCache, "site");
    let plane = Plane::before(&origin).await;
    let invalid = || {
        let message = "spec.origin: no such service".to_owned();
        vec![(
            site.clone(),
            2,
            Blob::Invalid {
                targets: Vec::new(),
                message,
            },
        )]
    };
    let mut client = plane.client().await;
    for _ in 0..2 {
        let applied = plane.try_apply(invalid()).await;
        assert_eq!((applied.rejected.len(), applied.kept), (1, vec![site.clone()]));
        assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
    }
    plane.apply(Vec::new()).await;
    assert_eq!(client.get("shop.test", "/a", "").await.status, 404);
    let applied = plane.try_apply(invalid()).await;
    assert!(
        applied.kept.is_empty(),
        "what was removed has no last good version: {applied:?}"
    );
    assert_eq!(client.get("shop.test", "/a", "").await.status, 404);
}

#[tokio::test]
async fn what_no_resource_serves_is_not_found() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let mut site = edge_cache(origin.address);
    site.claims = claims("shop.test", "/app");
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    let mut client = plane.client().await;
    for (host, target, status) in [
        ("shop.test", "/app", 200),
        ("shop.test", "/app/x", 200),
        ("SHOP.TEST.:8080", "/app", 200),
        ("shop.test", "/apple", 404),
        ("shop.test", "/app/../x", 404),
        ("other.test", "/app", 404),
    ] {
        let response = client.get(host, target, "").await;
        assert_eq!(response.status, status, "{host} {target}");
        assert!(response.field("x-request-id").is_some());
    }
    assert_eq!(
        plane
            .metric("breakwater_requests_total{resource=\"\",code=\"404\"}")
            .await,
        3.0
    );
}

#[tokio::test]
async fn the_most_specific_resource_serves() {
    let one = Origin::fixed(answer(200, "", "wildcard")).await;
    let two = Origin::fixed(answer(200, "", "exact")).await;
    let three = Origin::fixed(answer(200, "", "path")).await;
    let site = |origin: &Origin, host: &str, path: PathMatch| {
        let mut site = edge_cache(origin.address);
        site.claims = claims(host, "/");
        site.claims[0].path = path;
        Unit::EdgeCache(site)
    };
    let plane = Plane::running([
        ("a", site(&one, "*.shop.test", prefix("/"))),
        ("b", site(&two, "www.shop.test", prefix("/"))),
        ("c", site(&three, "www.shop.test", prefix("/static"))),
    ])
    .await;
    let mut client = plane.client().await;
    for (host, target, expected) in [
        ("x.shop.test", "/", "wildcard"),
        ("www.shop.test", "/", "exact"),
        ("www.shop.test", "/static/a", "path"),
    ] {
        assert_eq!(client.get(host, target, "").await.text(), expected);
    }
}

#[tokio::test]
async fn requests_in_flight_finish_on_the_configuration_they_began_with() {
    let (origin, gate) = Origin::gated(|_| answer(200, "", "old")).await;
    let other = Origin::fixed(answer(200, "", "new")).await;
    let plane = Plane::before(&origin).await;
    let (mut get, mut post) = (plane.client().await, plane.client().await);
    get.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    post.send("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n")
        .await;
    origin.reached(2).await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(other.address)))]))
        .await;
    assert_eq!(plane.client().await.get("shop.test", "/b", "").await.text(), "new");
    plane.apply(Vec::new()).await;
    gate.add_permits(2);
    assert_eq!(get.response("GET").await.text(), "old");
    assert_eq!(post.response("POST").await.text(), "old");
    assert_eq!(
        get.get("shop.test", "/a", "").await.status,
        404,
        "the next request sees the new one"
    );
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_closes_idle_connections() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |request| {
        let held = Arc::clone(&held);
        async move {
            if request.target() == "/slow" {
                held.acquire().await.unwrap().forget();
            }
            answer(200, "Cache-Control: max-age=60\r\n", "x")
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let (mut idle, mut busy) = (plane.client().await, plane.client().await);
    idle.get("shop.test", "/a", "").await;
    busy.send("GET /slow HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(2).await;
    let data = Arc::clone(&plane.data);
    let drained = tokio::spawn(async move { data.drain(std::time::Duration::from_secs(20)).await });
    idle.closed().await;
    gate.add_permits(1);
    let response = busy.response("GET").await;
    assert_eq!(
        (response.text().as_str(), response.field("connection")),
        ("x", Some("close"))
    );
    busy.closed().await;
    drop(busy);
    crate::support::within("the end of the drain", drained).await.unwrap();
    assert!(!plane.data.ready());
}

#[tokio::test]
async fn a_node_without_a_configuration_says_503_and_with_an_empty_one_404() {
    let plane = Plane::start().await;
    let answer = plane.client().await.get("any.test", "/", "").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    plane.apply(objects([])).await;
    let answer = plane.client().await.get("any.test", "/", "").await;
    assert_eq!(answer.status, 404, "{answer:?}");
}

#[tokio::test]
async fn when_two_apply_at_once_what_is_said_to_be_loaded_is_what_runs() {
    let plane = Plane::start().await;
    let snapshot = |host: &str| {
        let mut site = edge_cache("127.0.0.1:1".parse().unwrap());
        site.claims = claims(host, "/");
        site.origin.endpoints.clear();
        Snapshot::build(objects([("site", Unit::EdgeCache(site))]))
    };
    let both = [("a.test", snapshot("a.test")), ("b.test", snapshot("b.test"))];
    let mut client = plane.client().await;
    for _ in 0..50 {
        let appliers: Vec<_> = both
            .iter()
            .map(|(_, snapshot)| {
                let (data, snapshot) = (Arc::clone(&plane.data), snapshot.clone());
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                std::thread::spawn(move || runtime.block_on(data.apply(&snapshot)))
            })
            .collect();
        appliers.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        let (_, loaded) = crate::support::admin_text(plane.admin, "/v1/snapshot").await;
        for (host, snapshot) in &both {
            // The site has no server: 503 says that it is there.
            let is_loaded = loaded.contains(&snapshot.manifest().digest().to_string());
            let status = client.get(host, "/", "").await.status;
            assert_eq!(status, if is_loaded { 503 } else { 404 }, "{host} {loaded}");
        }
    }
}
