//! Active health checks.

use breakwater_snapshot::unit::{EdgeCache, HealthCheck, Unit};
use tokio::sync::watch;

use crate::support::{Origin, Plane, answer, edge_cache, http_origin, objects};

fn check() -> HealthCheck {
    HealthCheck {
        path: "/healthz?deep=1".to_owned(),
        host: None,
        interval_ms: 20,
        timeout_ms: 5_000,
        healthy_after: 2,
        unhealthy_after: 2,
        statuses: Vec::new(),
    }
}

/// An origin that says its name to requests, and to checks whether it is well.
async fn origin(name: &'static str, well: bool) -> (Origin, watch::Sender<bool>) {
    let (set, well) = watch::channel(well);
    let origin = Origin::start(move |request| {
        let is_check = request.target() == "/healthz?deep=1";
        let status = if is_check && !*well.borrow() { 500 } else { 200 };
        std::future::ready(answer(status, "", name))
    })
    .await;
    (origin, set)
}

fn before(origins: &[&Origin], check: HealthCheck) -> EdgeCache {
    let mut site = edge_cache(origins[0].address);
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    site.origin = http_origin(&addresses);
    site.origin.health = Some(check);
    site
}

fn healthy(origin: &Origin) -> String {
    format!(
        "breakwater_origin_healthy{{resource=\"EdgeCache/default/site\",server=\"{}\"}}",
        origin.address
    )
}

#[tokio::test]
async fn a_check_takes_a_server_out_and_back_and_no_request_fails() {
    let (a, a_is) = origin("a", true).await;
    let (b, _b_is) = origin("b", true).await;
    let plane = Plane::running([("site", Unit::EdgeCache(before(&[&a, &b], check())))]).await;
    let mut client = plane.client().await;
    let mut answers = async |count: usize| {
        let mut texts = std::collections::BTreeSet::new();
        for _ in 0..count {
            let response = client.get("shop.test", "/a", "").await;
            assert_eq!(response.status, 200);
            texts.insert(response.text());
        }
        texts.into_iter().collect::<String>()
    };
    assert_eq!(answers(4).await, "ab");
    a_is.send(false).unwrap();
    plane.metric_reaches(&healthy(&a), 0.0).await;
    assert!(plane.metrics().await.contains(&format!("{} 0", healthy(&a))));
    assert_eq!(answers(6).await, "b");
    a_is.send(true).unwrap();
    plane.metric_reaches(&healthy(&a), 1.0).await;
    assert_eq!(answers(4).await, "ab");
    assert_eq!(plane.metric(&healthy(&b)).await, 1.0);
}

#[tokio::test]
async fn the_first_answer_decides_at_once_and_the_question_is_as_configured() {
    let (a, _a_is) = origin("a", false).await;
    let (b, _b_is) = origin("b", true).await;
    let mut check = check();
    check.unhealthy_after = 1_000_000;
    check.host = Some("check.test".to_owned());
    let plane = Plane::running([("site", Unit::EdgeCache(before(&[&a, &b], check)))]).await;
    plane.metric_reaches(&healthy(&b), 1.0).await;
    crate::support::until("the verdict", async || {
        plane
            .metrics()
            .await
            .contains(&format!("{} 0", healthy(&a)))
            .then_some(())
    })
    .await;
    let question = a.last();
    assert_eq!(
        (question.method(), question.field("host")),
        ("GET", Some("check.test".to_owned()))
    );
}

#[tokio::test]
async fn statuses_that_are_good_may_be_chosen() {
    let (a, _a_is) = origin("a", false).await;
    let mut check = check();
    check.statuses = vec![500];
    let plane = Plane::running([("site", Unit::EdgeCache(before(&[&a], check)))]).await;
    a.reached(3).await;
    assert_eq!(plane.metric(&healthy(&a)).await, 1.0);
}

#[tokio::test]
async fn when_none_is_well_all_are_asked() {
    let (a, _a_is) = origin("a", false).await;
    let (b, _b_is) = origin("b", false).await;
    let plane = Plane::running([("site", Unit::EdgeCache(before(&[&a, &b], check())))]).await;
    for origin in [&a, &b] {
        crate::support::until("the verdict", async || {
            plane
                .metrics()
                .await
                .contains(&format!("{} 0", healthy(origin)))
                .then_some(())
        })
        .await;
    }
    let mut client = plane.client().await;
    for _ in 0..4 {
        assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
    }
    let panics = "breakwater_origin_panics_total{resource=\"EdgeCache/default/site\"}";
    assert_eq!(plane.metric(panics).await, 4.0);
}

#[tokio::test]
async fn checks_end_with_their_configuration() {
    let (a, _a_is) = origin("a", true).await;
    let (b, _b_is) = origin("b", true).await;
    let plane = Plane::running([("site", Unit::EdgeCache(before(&[&a], check())))]).await;
    a.reached(2).await;
    plane
        .apply(objects([("site", Unit::EdgeCache(before(&[&b], check())))]))
        .await;
    b.reached(2).await;
    let asked = a.count();
    b.reached(b.count() + 5).await;
    assert_eq!(a.count(), asked);
    assert!(!plane.metrics().await.contains(&healthy(&a)));
}
