//! Second attempts, and the budget for them.

use breakwater_snapshot::unit::{EdgeCache, Retries, Unit};
use tokio::net::TcpListener;

use crate::support::{Origin, Plane, answer, edge_cache, http_origin};

async fn nobody() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn running(site: EdgeCache) -> Plane {
    Plane::running([("site", Unit::EdgeCache(site))]).await
}

fn series(name: &str) -> String {
    format!("breakwater_{name}{{resource=\"EdgeCache/default/site\"}}")
}

#[tokio::test]
async fn a_status_is_tried_again_on_another_server() {
    let bad = Origin::fixed(answer(503, "", "bad")).await;
    let good = Origin::fixed(answer(200, "", "good")).await;
    let mut site = edge_cache(bad.address);
    site.origin = http_origin(&[bad.address, good.address]);
    site.origin.retries.statuses = vec![503];
    let plane = running(site).await;
    let mut client = plane.client().await;
    for _ in 0..4 {
        assert_eq!(client.get("shop.test", "/a", "").await.text(), "good");
    }
    assert!(bad.count() >= 2, "it has its turns");
    assert_eq!(plane.metric(&series("origin_retries_total")).await, bad.count() as f64);
    let refused = client
        .ask("POST", "shop.test", "/a", "Content-Length: 0\r\n", b"")
        .await;
    let other = client
        .ask("POST", "shop.test", "/a", "Content-Length: 0\r\n", b"")
        .await;
    let mut statuses = [refused.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503], "a POST is not idempotent");
}

#[tokio::test]
async fn when_no_attempt_is_left_the_last_answer_is_passed_on() {
    let bad = Origin::fixed(answer(503, "", "bad")).await;
    let mut site = edge_cache(bad.address);
    site.origin.retries = Retries {
        attempts: 3,
        statuses: vec![503],
        ..Retries::default()
    };
    let plane = running(site).await;
    let response = plane.client().await.get("shop.test", "/a", "").await;
    assert_eq!((response.status, response.text().as_str()), (503, "bad"));
    assert_eq!(bad.count(), 4);
}

#[tokio::test]
async fn the_budget_ends_retries() {
    let mut site = edge_cache(nobody().await);
    site.origin.retries.budget_percent = 0;
    let plane = running(site).await;
    let mut client = plane.client().await;
    // Within ten seconds ten are allowed; requests take no time.
    for _ in 0..15 {
        assert_eq!(client.get("shop.test", "/a", "").await.status, 502);
        client = plane.client().await;
    }
    let retried = plane.metric(&series("origin_retries_total")).await;
    let refused = plane.metric(&series("origin_retries_refused_total")).await;
    assert_eq!((retried, refused), (10.0, 5.0));
}

#[tokio::test]
async fn a_body_that_was_not_sent_goes_to_the_next_server() {
    let good = Origin::start(async |request| answer(200, "", request.body)).await;
    let mut site = edge_cache(good.address);
    site.origin = http_origin(&[nobody().await, good.address]);
    let plane = running(site).await;
    let mut client = plane.client().await;
    for _ in 0..4 {
        let response = client
            .ask("POST", "shop.test", "/a", "Content-Length: 4\r\n", b"body")
            .await;
        assert_eq!((response.status, response.text().as_str()), (200, "body"));
    }
}

#[tokio::test]
async fn nothing_is_tried_again_behind_an_interim_response() {
    let origin = Origin::raw(async |mut peer| {
        peer.request().await;
        peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").await;
    })
    .await;
    let mut site = edge_cache(origin.address);
    // Past the cache, whose fetches pass nothing on.
    site.cache.rules = vec![breakwater_snapshot::unit::CacheRule {
        paths: Vec::new(),
        methods: Vec::new(),
        statuses: Vec::new(),
        ttl_ms: None,
        stale_while_revalidate_ms: None,
        stale_if_error_ms: None,
        bypass: true,
    }];
    let plane = running(site).await;
    let mut client = plane.client().await;
    assert_eq!(client.get("shop.test", "/a", "").await.status, 103);
    assert_eq!(client.response("GET").await.status, 502);
    assert_eq!(origin.count(), 1);
}
