//! Which server gets a request: the strategies, ejection and return.

use breakwater_snapshot::unit::{BalanceStrategy, EdgeCache, Ejection, HashBy, Unit};
use tokio::net::TcpListener;

use crate::support::{Client, Origin, Plane, answer, edge_cache, http_origin, objects, until};

/// An origin that says its name.
async fn named(name: &'static str) -> Origin {
    Origin::fixed(answer(200, "", name)).await
}

fn before(origins: &[&Origin]) -> EdgeCache {
    let mut site = edge_cache(origins[0].address);
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    site.origin = http_origin(&addresses);
    site
}

async fn running(site: &EdgeCache) -> Plane {
    Plane::running([("site", Unit::EdgeCache(site.clone()))]).await
}

async fn ask(client: &mut Client, lines: &str) -> String {
    let response = client.get("shop.test", "/a", lines).await;
    assert_eq!(response.status, 200, "{}", response.text());
    response.text()
}

#[tokio::test]
async fn round_robin_is_smooth_by_weight() {
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let mut site = before(&[&a, &b, &c]);
    for (endpoint, weight) in site.origin.endpoints.iter_mut().zip([2, 1, 0]) {
        endpoint.weight = weight;
    }
    let plane = running(&site).await;
    let mut client = plane.client().await;
    let mut order = String::new();
    for _ in 0..6 {
        order += &ask(&mut client, "").await;
    }
    assert_eq!(order, "abaaba");
}

#[tokio::test]
async fn turns_go_on_over_a_change_of_something_else() {
    let (a, b) = (named("a").await, named("b").await);
    let site = before(&[&a, &b]);
    let plane = running(&site).await;
    let mut client = plane.client().await;
    assert_eq!(ask(&mut client, "").await, "a");
    let mut other = before(&[&a]);
    other.claims = crate::support::claims("other.test", "/");
    let units = [("other", Unit::EdgeCache(other)), ("site", Unit::EdgeCache(site))];
    plane.apply(objects(units)).await;
    assert_eq!(ask(&mut client, "").await, "b");
}

#[tokio::test]
async fn a_busy_server_is_left_alone_by_least_connections() {
    let (entered, mut inside) = tokio::sync::mpsc::channel(64);
    let slow = Origin::start(move |_| {
        let entered = entered.clone();
        async move {
            let _ = entered.send(()).await;
            std::future::pending().await
        }
    })
    .await;
    let quick = named("quick").await;
    for strategy in [BalanceStrategy::LeastConnections, BalanceStrategy::PowerOfTwo] {
        let mut site = before(&[&slow, &quick]);
        site.origin.balance.strategy = strategy;
        let plane = running(&site).await;
        // Whoever is given the slow server stays there; from then on it is the busier one.
        let mut held = plane.client().await;
        for n in 0.. {
            held.send(format!("GET /{n} HTTP/1.1\r\nHost: shop.test\r\n\r\n")).await;
            tokio::select! {
                _ = inside.recv() => break,
                _ = held.response("GET") => {}
            }
        }
        let mut client = plane.client().await;
        let before = slow.count();
        for n in 0..20 {
            let response = client.get("shop.test", &format!("/then/{n}"), "").await;
            assert_eq!(response.text(), "quick", "{strategy:?}");
        }
        assert_eq!(slow.count(), before);
    }
}

#[tokio::test]
async fn requests_that_look_alike_go_to_the_same_server() {
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let mut site = before(&[&a, &b, &c]);
    site.origin.balance.strategy = BalanceStrategy::Hash;
    site.origin.balance.hash_by = HashBy::Cookie("session".to_owned());
    let plane = Plane::with_workers(2).await;
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    let mut seen = std::collections::BTreeSet::new();
    for session in 0..32 {
        let lines = format!("Cookie: session={session}\r\n");
        let first = ask(&mut plane.client().await, &lines).await;
        for _ in 0..3 {
            assert_eq!(ask(&mut plane.client().await, &lines).await, first);
        }
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3, "all servers take part");
}

#[tokio::test]
async fn a_server_that_fails_rests_and_comes_back() {
    let (fail, failing) = tokio::sync::watch::channel(true);
    let bad = Origin::start(move |_| {
        let status = if *failing.borrow() { 503 } else { 200 };
        std::future::ready(answer(status, "", "bad"))
    })
    .await;
    let good = named("good").await;
    let mut site = before(&[&bad, &good]);
    site.origin.ejection = Some(Ejection {
        consecutive_failures: 2,
        base_ms: 300,
        max_percent: 50,
    });
    let plane = running(&site).await;
    let mut client = plane.client().await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(client.get("shop.test", "/a", "").await.status);
    }
    // A slow machine may see it come back, and fail again, within these eight; never twice in a row.
    assert_eq!(statuses[..4], [503, 200, 503, 200]);
    assert_eq!(statuses[4..6], [200, 200], "{statuses:?}");
    assert!(
        plane
            .metric("breakwater_origin_ejections_total{resource=\"EdgeCache/default/site\"}")
            .await
            >= 1.0
    );
    fail.send(false).unwrap();
    until("the server to come back", async || {
        let text = client.get("shop.test", "/a", "").await.text();
        (text == "bad").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_rests_goes_on_resting_in_the_next_configuration() {
    let bad = Origin::fixed(answer(503, "", "bad")).await;
    let good = named("good").await;
    let mut site = before(&[&bad, &good]);
    site.origin.ejection = Some(Ejection {
        consecutive_failures: 1,
        base_ms: 600_000,
        max_percent: 100,
    });
    let plane = running(&site).await;
    let mut client = plane.client().await;
    assert_eq!(client.get("shop.test", "/a", "").await.status, 503);
    site.origin.response_timeout_ms += 1;
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    for _ in 0..4 {
        assert_eq!(ask(&mut client, "").await, "good");
    }
    assert_eq!(bad.count(), 1);
}

#[tokio::test]
async fn a_dead_connection_of_the_pool_is_no_failure_of_the_server() {
    // One answer for each connection; the second request on it gets none.
    let script = |name: &'static str| {
        Origin::raw(move |mut peer| async move {
            peer.request().await;
            peer.send(answer(200, "", name)).await;
            peer.request().await;
        })
    };
    let (a, b) = (script("a").await, script("b").await);
    let mut site = before(&[&a, &b]);
    site.origin.ejection = Some(Ejection {
        consecutive_failures: 1,
        base_ms: 600_000,
        max_percent: 50,
    });
    site.origin.retries.attempts = 0;
    let plane = running(&site).await;
    let mut client = plane.client().await;
    for _ in 0..6 {
        ask(&mut client, "").await;
    }
    let resource = "{resource=\"EdgeCache/default/site\"}";
    assert_eq!(
        plane
            .metric(&format!("breakwater_origin_ejections_total{resource}"))
            .await,
        0.0
    );
    assert_eq!(
        plane
            .metric(&format!("breakwater_origin_retries_total{resource}"))
            .await,
        0.0
    );
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_ejected_and_no_request_fails() {
    let good = named("good").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = listener.local_addr().unwrap();
    drop(listener);
    let mut site = edge_cache(good.address);
    site.origin = http_origin(&[down, good.address]);
    site.origin.ejection = Some(Ejection {
        consecutive_failures: 1,
        base_ms: 600_000,
        max_percent: 50,
    });
    let plane = running(&site).await;
    let mut client = plane.client().await;
    for _ in 0..6 {
        assert_eq!(ask(&mut client, "").await, "good");
    }
    let resource = "{resource=\"EdgeCache/default/site\"}";
    assert_eq!(
        plane
            .metric(&format!("breakwater_origin_ejections_total{resource}"))
            .await,
        1.0
    );
    assert_eq!(
        plane
            .metric(&format!("breakwater_origin_retries_total{resource}"))
            .await,
        1.0
    );
}
