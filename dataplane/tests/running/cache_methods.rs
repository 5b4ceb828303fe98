//! Cache rules for some methods.

use breakwater_snapshot::unit::{CacheRule, Unit};

use crate::support::{Origin, Plane, answer, edge_cache};

fn rule(methods: &[&str], ttl_ms: Option<u64>) -> CacheRule {
    CacheRule {
        paths: Vec::new(),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        statuses: Vec::new(),
        ttl_ms,
        stale_while_revalidate_ms: None,
        stale_if_error_ms: None,
        bypass: ttl_ms.is_none(),
    }
}

async fn plane(origin: &Origin, rules: Vec<CacheRule>) -> Plane {
    let mut site = edge_cache(origin.address);
    site.cache.rules = rules;
    Plane::running([("site", Unit::EdgeCache(site))]).await
}

#[tokio::test]
async fn a_rule_that_goes_past_the_cache_for_head_leaves_get_in_it() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let plane = plane(&origin, vec![rule(&["HEAD"], None)]).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/", "").await;
    assert!(client.get("shop.test", "/", "").await.is_hit());
    let origin_of_head = Origin::fixed(b"HTTP/1.1 200 X\r\nContent-Length: 1\r\n\r\n".to_vec()).await;
    let mut site = edge_cache(origin_of_head.address);
    site.cache.rules = vec![rule(&["HEAD"], None)];
    plane
        .apply(crate::support::objects([("site", Unit::EdgeCache(site))]))
        .await;
    let head = client.ask("HEAD", "shop.test", "/", "", b"").await;
    assert_eq!(head.cache_status(), "breakwater; fwd=bypass");
    assert!(client.get("shop.test", "/", "").await.is_hit());
    assert_eq!((origin.count(), origin_of_head.count()), (1, 1));
}

#[tokio::test]
async fn a_lifetime_for_get_also_serves_head_from_what_a_get_stored() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = plane(&origin, vec![rule(&["GET"], Some(60_000))]).await;
    let mut client = plane.client().await;
    let miss = client.get("shop.test", "/", "").await;
    assert_eq!(miss.cache_status(), "breakwater; fwd=miss; stored");
    assert!(client.get("shop.test", "/", "").await.is_hit());
    assert!(client.ask("HEAD", "shop.test", "/", "", b"").await.is_hit());
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn no_rule_makes_a_post_answered_or_stored_that_does_not_say_so_itself() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = plane(&origin, vec![rule(&["GET", "POST", "PUT"], Some(60_000))]).await;
    let mut client = plane.client().await;
    for method in ["POST", "PUT"] {
        for _ in 0..2 {
            let answer = client
                .ask(method, "shop.test", "/a", "Content-Length: 0\r\n", b"")
                .await;
            assert_eq!(answer.cache_status(), "breakwater; fwd=method", "{method}");
        }
    }
    let get = client.get("shop.test", "/a", "").await;
    assert_eq!(get.cache_status(), "breakwater; fwd=miss; stored");
    assert_eq!(origin.count(), 5);
}

#[tokio::test]
async fn what_a_post_brings_is_stored_under_the_rules_for_post() {
    let fields = "Cache-Control: max-age=600\r\nContent-Location: /a\r\n";
    let origin = Origin::fixed(answer(200, fields, "x")).await;
    for (rules, stored) in [
        (vec![rule(&["POST"], None)], false),
        (vec![rule(&["PUT"], None)], true),
        (vec![rule(&["GET"], Some(5_000)), rule(&["POST"], Some(60_000))], true),
    ] {
        let ttl = rules.last().and_then(|rule| rule.ttl_ms).unwrap_or(600_000) / 1000;
        let plane = plane(&origin, rules).await;
        let mut client = plane.client().await;
        client
            .ask("POST", "shop.test", "/a", "Content-Length: 0\r\n", b"")
            .await;
        let get = client.get("shop.test", "/a", "").await;
        assert_eq!(get.is_hit(), stored, "{get:?}");
        if stored {
            let left = get.cache_status().split("ttl=").nth(1).unwrap().parse::<u64>().unwrap();
            assert!(left <= ttl && left + 30 > ttl, "{get:?}");
        }
    }
}

#[tokio::test]
async fn an_unsafe_request_past_the_cache_by_a_rule_still_forgets_its_url() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let plane = plane(&origin, vec![rule(&["DELETE"], None)]).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/", "").await;
    assert!(client.get("shop.test", "/", "").await.is_hit());
    client.ask("DELETE", "shop.test", "/", "", b"").await;
    assert!(!client.get("shop.test", "/", "").await.is_hit());
}
