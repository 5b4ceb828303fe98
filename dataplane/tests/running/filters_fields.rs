//! Filters: fields of requests and responses are removed, set and added, on every answer of a route.

use breakwater_snapshot::unit::{Filters, Unit};
use breakwater_snapshot::{Kind, unit};

use crate::support::{Origin, Plane, Request, Response, answer, edge_cache, edit, id, limit, objects, waf_policy};

fn responses() -> Filters {
    Filters {
        response_fields: edit(
            &["server", "x-powered-by"],
            &[("x-frame-options", "DENY"), ("cache-status", "hidden")],
            &[("set-cookie", "edge=1")],
        ),
        ..Filters::default()
    }
}

#[track_caller]
fn edited(response: &Response) {
    assert_eq!(response.field("server"), None, "{response:?}");
    assert_eq!(response.field("x-frame-options"), Some("DENY"), "{response:?}");
    assert_eq!(response.count("x-frame-options"), 1, "{response:?}");
    assert_eq!(response.cache_status(), "hidden", "{response:?}");
    assert_eq!(response.count("cache-status"), 1, "{response:?}");
    assert_eq!(response.field("set-cookie"), Some("edge=1"), "{response:?}");
    assert_eq!(response.count("date"), 1, "{response:?}");
}

async fn storable() -> Origin {
    Origin::start(async |request: Request| match request.target() {
        "/private" => answer(200, "Server: o\r\nCache-Control: no-store\r\n", "x"),
        "/none" => b"HTTP/1.1 204 X\r\nServer: o\r\nCache-Control: no-store\r\n\r\n".to_vec(),
        _ => answer(
            200,
            "Server: o\r\nX-Frame-Options: a\r\nx-frame-options: b\r\nETag: \"1\"\r\nCache-Control: max-age=60\r\n",
            "0123456789",
        ),
    })
    .await
}

#[tokio::test]
async fn hits_misses_ranges_and_unchanged_answers_have_edited_fields() {
    let origin = storable().await;
    let plane = Plane::filtering(&origin, responses()).await;
    let mut client = plane.client().await;
    for _ in 0..2 {
        let whole = client.get("a.test", "/x", "").await;
        edited(&whole);
        assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    }
    let part = client.get("a.test", "/x", "Range: bytes=2-4\r\n").await;
    edited(&part);
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    let unchanged = client.get("a.test", "/x", "If-None-Match: \"1\"\r\n").await;
    edited(&unchanged);
    assert_eq!(unchanged.status, 304);
    let head = client.ask("HEAD", "a.test", "/x", "", b"").await;
    edited(&head);
    assert_eq!(head.field("content-length"), Some("10"));
    assert_eq!(origin.count(), 1);
    for target in ["/private", "/none"] {
        edited(&client.get("a.test", target, "").await);
    }
    edited(&client.ask("POST", "a.test", "/x", "Content-Length: 1\r\n", b"x").await);
}

#[tokio::test]
async fn pipelined_hits_are_edited_each_for_itself() {
    let origin = storable().await;
    let plane = Plane::filtering(&origin, responses()).await;
    let mut client = plane.client().await;
    client.get("a.test", "/x", "").await;
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(3)).await;
    for _ in 0..3 {
        let hit = client.response("GET").await;
        edited(&hit);
        assert_eq!(hit.text(), "0123456789");
    }
}

#[tokio::test]
async fn failures_and_refusals_have_edited_fields() {
    let origin = Origin::raw(async |peer| drop(peer)).await;
    let plane = Plane::filtering(&origin, responses()).await;
    let failed = plane.client().await.get("a.test", "/x", "").await;
    edited(&failed);
    assert_eq!(failed.status, 502);
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.addresses.deny = vec!["127.0.0.0/8".parse().unwrap()];
    let site = unit::EdgeCache {
        filters: responses(),
        ..edge_cache(origin.address)
    };
    plane
        .apply(objects([
            ("site", Unit::EdgeCache(site)),
            ("waf", Unit::WafPolicy(policy)),
        ]))
        .await;
    let refused = plane.client().await.get("a.test", "/x", "").await;
    edited(&refused);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("403"), "{}", refused.text());
}

#[tokio::test]
async fn what_is_stored_is_not_edited_so_a_change_shows_at_once() {
    let origin = storable().await;
    let plane = Plane::filtering(&origin, responses()).await;
    let mut client = plane.client().await;
    edited(&client.get("a.test", "/x", "").await);
    plane.filter(&origin, Filters::default()).await;
    let hit = client.get("a.test", "/x", "").await;
    assert!(hit.is_hit());
    assert_eq!(hit.field("server"), Some("o"));
    assert_eq!(hit.count("x-frame-options"), 2);
    assert_eq!(hit.field("set-cookie"), None);
}

#[tokio::test]
async fn requests_reach_the_origin_edited_but_framed_by_us() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let filters = Filters {
        request_fields: edit(
            &["cookie", "x-forwarded-for", "host", "connection"],
            &[("x-request-id", "mine"), ("content-length", "0"), ("x-tenant", "t")],
            &[("accept-language", "de"), ("transfer-encoding", "gzip")],
        ),
        ..Filters::default()
    };
    let plane = Plane::filtering(&origin, filters).await;
    let mut client = plane.client().await;
    let lines = "Cookie: a=1\r\nAccept-Language: en\r\nX-Tenant: evil\r\nX-Tenant: 2\r\nContent-Length: 3\r\n";
    client.ask("POST", "a.test", "/x", lines, b"abc").await;
    client.get("a.test", "/x", "Cookie: a=1\r\nX-Tenant: evil\r\n").await;
    for request in origin.seen() {
        assert_eq!(request.field("cookie"), None);
        assert_eq!(request.field("x-forwarded-for"), None);
        assert_eq!(request.field("x-request-id").as_deref(), Some("mine"));
        assert_eq!(request.field("x-tenant").as_deref(), Some("t"));
        assert_eq!(request.field("host").as_deref(), Some("a.test"));
        assert_eq!(request.field("transfer-encoding"), None);
    }
    let post = &origin.seen()[0];
    assert_eq!(post.body, b"abc");
    assert_eq!(post.field("accept-language").as_deref(), Some("en, de"));
}

#[tokio::test]
async fn filters_that_cannot_be_used_are_refused_and_the_last_good_stay() {
    let origin = storable().await;
    let plane = Plane::filtering(&origin, responses()).await;
    let mut site = edge_cache(origin.address);
    site.filters.response_fields = edit(&[], &[("a", "b\r\nc: d")], &[]);
    let applied = plane.try_apply(objects([("site", Unit::EdgeCache(site))])).await;
    assert!(applied.rejected[0].message.contains("`a`"), "{:?}", applied.rejected);
    edited(&plane.client().await.get("a.test", "/x", "").await);
}

#[tokio::test]
async fn a_limit_of_a_policy_is_judged_before_filters_answer() {
    let origin = storable().await;
    let plane = Plane::start().await;
    let site = unit::EdgeCache {
        filters: Filters {
            redirects: vec![unit::Redirect {
                paths: Vec::new(),
                scheme: Some("https".to_owned()),
                hostname: None,
                port: None,
                path: None,
                status: 301,
            }],
            ..Filters::default()
        },
        ..edge_cache(origin.address)
    };
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.limits = vec![unit::Limit {
        requests: Some(unit::RequestRate {
            count: 1,
            per_ms: 3_600_000,
            burst: Some(1),
        }),
        ..limit("all")
    }];
    plane
        .apply(objects([
            ("site", Unit::EdgeCache(site)),
            ("waf", Unit::WafPolicy(policy)),
        ]))
        .await;
    let mut client = plane.client().await;
    assert_eq!(client.get("a.test", "/x", "").await.status, 301);
    assert_eq!(client.get("a.test", "/x", "").await.status, 429);
}
