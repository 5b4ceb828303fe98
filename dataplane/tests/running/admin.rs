//! The admin port.

use breakwater_snapshot::unit::Unit;
use breakwater_snapshot::{Kind, Snapshot};
use serde_json::Value;

use crate::support::{Origin, Plane, admin_text, answer, edge_cache, id, objects, prefix, waf_policy};

#[tokio::test]
async fn it_is_ready_once_a_configuration_is_applied_and_not_when_it_leaves() {
    let plane = Plane::start().await;
    assert_eq!(admin_text(plane.admin, "/readyz").await.0, 503);
    assert_eq!(admin_text(plane.admin, "/healthz").await.0, 200);
    plane.apply(Vec::new()).await;
    assert_eq!(admin_text(plane.admin, "/readyz").await.0, 200);
    plane.data.refuse_readiness();
    assert_eq!(admin_text(plane.admin, "/readyz").await.0, 503);
    assert_eq!(
        plane.client().await.get("shop.test", "/", "").await.status,
        404,
        "it serves as before"
    );
}

#[tokio::test]
async fn what_is_loaded_can_be_read() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::start().await;
    let snapshot = Snapshot::build(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]));
    plane.data.apply(&snapshot).await;
    let (status, text) = admin_text(plane.admin, "/v1/snapshot").await;
    let loaded: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200);
    assert_eq!(loaded["digest"], snapshot.manifest().digest().to_string());
    assert_eq!(loaded["rejected"], serde_json::json!([]));
    let object = &loaded["objects"][0];
    assert_eq!(
        (&object["kind"], &object["name"]),
        (&"EdgeCache".into(), &"site".into())
    );
    assert_eq!(object["sha256"], snapshot.manifest().entries[0].sha256.to_string());
    assert!(object.get("last_good").is_none());
    let mut broken = edge_cache(origin.address);
    broken.cache.key_headers = vec!["not a name".to_owned()];
    plane.try_apply(objects([("site", Unit::EdgeCache(broken))])).await;
    let loaded: Value = serde_json::from_str(&admin_text(plane.admin, "/v1/snapshot").await.1).unwrap();
    assert_eq!(loaded["objects"][0]["last_good"], true);
    assert!(
        loaded["rejected"][0]["message"]
            .as_str()
            .unwrap()
            .contains("not a name"),
        "{loaded}"
    );
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let origin = Origin::start(async |request| match request.target() {
        "/fails" => answer(500, "", "x"),
        _ => answer(200, "Cache-Control: max-age=60\r\n", "12345"),
    })
    .await;
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.uris.deny = vec![prefix("/admin")];
    let site = edge_cache(origin.address);
    let plane = Plane::running([("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))]).await;
    let mut client = plane.client().await;
    for target in ["/a", "/a", "/a", "/fails", "/admin"] {
        client.get("shop.test", target, "").await;
    }
    client
        .ask("POST", "shop.test", "/b", "Content-Length: 0\r\n", b"")
        .await;
    let mut malformed = plane.client().await;
    malformed.send("GET / HTTP/1.1\r\n\r\n").await;
    malformed.response("GET").await;
    malformed.closed().await;
    drop(malformed);
    let idle = format!(
        "breakwater_connections{{listener=\"{}\",state=\"idle\"}}",
        plane.address()
    );
    plane.metric_reaches(&idle, 1.0).await;
    let resource = "resource=\"EdgeCache/default/site\"";
    let listener = format!("listener=\"{}\"", plane.address());
    for (series, value) in [
        (format!("requests_total{{{resource},code=\"200\"}}"), 4.0),
        (format!("requests_total{{{resource},code=\"500\"}}"), 1.0),
        (format!("requests_total{{{resource},code=\"403\"}}"), 1.0),
        ("requests_total{resource=\"\",code=\"400\"}".to_owned(), 1.0),
        (format!("request_duration_seconds_count{{{resource}}}"), 6.0),
        (format!("cache_requests_total{{{resource},result=\"hit\"}}"), 2.0),
        (format!("cache_requests_total{{{resource},result=\"miss\"}}"), 2.0),
        (format!("cache_requests_total{{{resource},result=\"bypass\"}}"), 1.0),
        (format!("cache_requests_total{{{resource},result=\"stale\"}}"), 0.0),
        (format!("origin_requests_total{{{resource},code=\"200\"}}"), 2.0),
        (format!("origin_requests_total{{{resource},code=\"500\"}}"), 1.0),
        ("cache_objects{tier=\"ram\"}".to_owned(), 1.0),
        (
            "waf_events_total{policy=\"WafPolicy/default/policy\",action=\"block\",reason=\"uri\"}".to_owned(),
            1.0,
        ),
        ("refused_total{reason=\"host-missing\"}".to_owned(), 1.0),
        (format!("connections_accepted_total{{{listener}}}"), 2.0),
        ("snapshot_rejected_objects".to_owned(), 0.0),
        ("worker_restarts_total".to_owned(), 0.0),
    ] {
        let text = plane.metrics().await;
        assert_eq!(
            plane.metric(&format!("breakwater_{series}")).await,
            value,
            "{series}\n{text}"
        );
    }
    assert!(plane.metric("breakwater_cache_bytes{tier=\"ram\"}").await >= 5.0);
    let text = plane.metrics().await;
    for name in ["snapshot_info{digest=", "snapshot_age_seconds ", "build_info{"] {
        assert!(text.contains(&format!("\nbreakwater_{name}")), "{name}\n{text}");
    }
    let unexplained = text
        .lines()
        .filter(|line| line.starts_with("# HELP") && line.split(' ').count() < 4);
    assert_eq!(unexplained.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[tokio::test]
async fn the_store_can_be_read() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", vec![b'x'; 10_000])).await;
    let plane = Plane::before(&origin).await;
    plane.client().await.get("shop.test", "/a", "").await;
    let (status, text) = admin_text(plane.admin, "/v1/cache").await;
    let cache: Value = serde_json::from_str(&text).unwrap();
    let tier = &cache["tiers"][0];
    assert_eq!(
        (status, &tier["tier"], &tier["objects"]),
        (200, &"ram".into(), &1.into())
    );
    assert!(
        tier["bytes"].as_u64().unwrap() >= 10_000 && tier["limit"].is_u64(),
        "{cache}"
    );
}

#[tokio::test]
async fn the_ratios_people_run_a_cdn_by_can_be_read() {
    let origin = Origin::start(async |request| match request.target() {
        "/private" => answer(200, "Cache-Control: private\r\n", vec![b'x'; 100]),
        _ => answer(200, "Cache-Control: max-age=60\r\n", vec![b'x'; 10_000]),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for target in ["/a", "/a", "/a", "/private"] {
        client.get("shop.test", target, "").await;
    }
    let resource = "resource=\"EdgeCache/default/site\"";
    for (series, value) in [
        (
            format!("cache_response_bytes_total{{{resource},result=\"hit\"}}"),
            20_000.0,
        ),
        (
            format!("cache_response_bytes_total{{{resource},result=\"miss\"}}"),
            10_100.0,
        ),
        (format!("origin_response_bytes_total{{{resource}}}"), 10_100.0),
        (format!("cache_not_stored_total{{{resource},reason=\"private\"}}"), 1.0),
        ("cache_purge_marks".to_owned(), 0.0),
    ] {
        plane.metric_reaches(&format!("breakwater_{series}"), value).await;
    }
    let (_, text) = admin_text(plane.admin, "/v1/cache?edgeCache=default/site").await;
    let cache: Value = serde_json::from_str(&text).unwrap();
    let site = &cache["edgeCaches"][0];
    assert_eq!(site["edgeCache"], "default/site");
    assert_eq!(
        (&site["requests"]["hit"], &site["requests"]["miss"]),
        (&2.into(), &2.into())
    );
    assert_eq!(site["hitRatio"], 0.5);
    assert_eq!(site["byteHitRatio"], 20_000.0 / 30_100.0);
    assert_eq!(
        (&site["originRequests"], &site["originBytes"]),
        (&2.into(), &10_100.into())
    );
    assert_eq!(site["notStored"], serde_json::json!({"private": 1}));
    let (_, text) = admin_text(plane.admin, "/v1/cache?edgeCache=default/other").await;
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["edgeCaches"],
        serde_json::json!([])
    );
}
