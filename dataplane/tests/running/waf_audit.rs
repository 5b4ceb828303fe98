//! Audit and access lines.

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::Unit;

use crate::support::{Origin, Plane, answer, edge_cache, id, prefix, waf_policy};

async fn plane() -> (Origin, Plane) {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.uris.deny = vec![prefix("/admin")];
    policy.redact.arguments = vec!["password".to_owned()];
    let site = edge_cache(origin.address);
    let plane = Plane::running([("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))]).await;
    (origin, plane)
}

#[tokio::test]
async fn an_audit_line_has_the_fields_of_the_contract() {
    let (_origin, plane) = plane().await;
    let response = plane
        .client()
        .await
        .get("SHOP.test:80", "/admin/x?password=secret&q=1", "")
        .await;
    let lines = plane.audit(1).await;
    assert_eq!(lines.len(), 1);
    let line = lines[0].as_object().unwrap();
    let mut names: Vec<_> = line.keys().map(String::as_str).collect();
    names.sort_unstable();
    let contract = [
        "action",
        "client",
        "detail",
        "host",
        "method",
        "mode",
        "policy",
        "reason",
        "request_id",
        "resource",
        "rules",
        "score",
        "status",
        "time",
        "uri",
    ];
    assert_eq!(names, contract);
    assert_eq!(line["request_id"].as_str(), response.field("x-request-id"));
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["host"], "shop.test");
    assert_eq!(line["resource"], "EdgeCache/default/site");
    assert_eq!(line["policy"], "WafPolicy/default/policy");
    assert_eq!(line["mode"], "Enforce");
    assert_eq!(line["action"], "block");
    assert_eq!(line["reason"], "uri");
    assert_eq!(line["status"], 403);
    assert_eq!(line["score"], serde_json::json!({"inbound": 0, "outbound": 0}));
    assert_eq!(line["rules"], serde_json::json!([]));
    assert_eq!(line["detail"], "/admin");
    let uri = line["uri"].as_str().unwrap();
    assert!(
        uri.starts_with("/admin/x?") && uri.contains("q=1") && !uri.contains("secret"),
        "{uri}"
    );
    let time = line["time"].as_str().unwrap();
    assert!(
        time.len() == 24 && time.starts_with("20") && time.ends_with('Z'),
        "{time}"
    );
}

#[tokio::test]
async fn what_is_let_through_leaves_no_audit_line() {
    let (_origin, plane) = plane().await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    client.get("shop.test", "/admin", "").await;
    let lines = plane.audit(1).await;
    assert_eq!((lines.len(), lines[0]["uri"].as_str()), (1, Some("/admin")));
}

#[tokio::test]
async fn every_routed_request_has_an_access_line() {
    let (origin, plane) = plane().await;
    let mut client = plane.client().await;
    let miss = client.get("shop.test", "/a?b", "").await;
    client.get("shop.test", "/a?b", "").await;
    client.get("shop.test", "/admin", "").await;
    client
        .ask("POST", "shop.test", "/a", "Content-Length: 0\r\n", b"")
        .await;
    let lines = plane.access(4).await;
    let text = |n: usize, name: &str| lines[n][name].as_str().map(str::to_owned);
    let caches: Vec<_> = (0..4).map(|n| text(n, "cache")).collect();
    assert_eq!(
        caches,
        [
            Some("miss".to_owned()),
            Some("hit".to_owned()),
            None,
            Some("bypass".to_owned())
        ]
    );
    assert_eq!(text(0, "request_id").as_deref(), miss.field("x-request-id"));
    assert_eq!(text(0, "uri").as_deref(), Some("/a?b"));
    assert_eq!(
        (text(2, "waf").as_deref(), &lines[2]["status"]),
        (Some("block"), &403.into())
    );
    assert_eq!(text(3, "method").as_deref(), Some("POST"));
    assert_eq!(text(3, "upstream"), Some(origin.address.to_string()));
    for line in &lines {
        assert_eq!(line["resource"], "EdgeCache/default/site");
        assert!(line["duration_ms"].is_f64() && line["bytes"].is_u64(), "{line}");
    }
}

#[tokio::test]
async fn nothing_a_client_sends_starts_a_second_line() {
    let (_origin, plane) = plane().await;
    let mut client = plane.client().await;
    let target = format!("/admin?x=%0a{{\"action\":\"pass\"}}\"\\{}", "y".repeat(5000));
    client.get("shop.test", &target, "User-Agent: \"\\\r\n").await;
    let line = plane.audit(1).await.remove(0);
    assert_eq!(line["action"], "block");
    assert!(line["uri"].as_str().unwrap().len() <= 2048);
}
