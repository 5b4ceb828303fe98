//! The fields that go to the origin and come back.

use breakwater_snapshot::unit::Unit;

use crate::support::{Origin, Plane, answer, edge_cache, id, waf_policy};
use breakwater_snapshot::Kind;

#[tokio::test]
async fn the_origin_learns_who_asks_and_through_whom() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let lines = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n\
        Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nVia: 1.0 proxy\r\n";
    let response = client.get("shop.test:8080", "/a", lines).await;
    let request = origin.last();
    assert_eq!(request.field("host").as_deref(), Some("shop.test:8080"));
    assert_eq!(request.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(request.field("x-forwarded-host").as_deref(), Some("shop.test:8080"));
    assert_eq!((request.field("forwarded"), request.field("x-real-ip")), (None, None));
    assert_eq!(request.field("via").as_deref(), Some("1.0 proxy, 1.1 breakwater"));
    assert_eq!(request.field("x-request-id").as_deref(), response.field("x-request-id"));
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_kept() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let site = edge_cache(origin.address);
    let plane = Plane::running([("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))]).await;
    let lines = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\nX-Request-Id: abc-123\r\n\
        Forwarded: for=198.51.100.7\r\n";
    let response = plane.client().await.get("shop.test", "/a", lines).await;
    let request = origin.last();
    assert_eq!(
        request.field("x-forwarded-for").as_deref(),
        Some("198.51.100.7, 127.0.0.1")
    );
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("https"));
    let forwarded = request.field("forwarded").unwrap();
    assert_eq!(forwarded, "for=198.51.100.7, for=127.0.0.1;proto=http;host=shop.test");
    assert_eq!(request.field("x-request-id").as_deref(), Some("abc-123"));
    assert_eq!(response.field("x-request-id"), Some("abc-123"));
}

#[tokio::test]
async fn what_concerns_one_connection_stays_on_it() {
    let lines = "Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 1\r\n\
        Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\n";
    let origin = Origin::fixed(answer(200, lines, "x")).await;
    let plane = Plane::before(&origin).await;
    let sent = "Connection: X-Hop, close\r\nX-Hop: 1\r\nX-End: 1\r\nKeep-Alive: 1\r\nTE: trailers, gzip\r\n\
        Proxy-Connection: close\r\nTrailer: X\r\n";
    let response = plane.client().await.get("shop.test", "/a", sent).await;
    let request = origin.last();
    for name in ["connection", "x-hop", "keep-alive", "proxy-connection", "trailer", "te"] {
        assert_eq!(request.field(name), None, "{name} went to the origin");
    }
    for name in ["x-hop", "keep-alive", "upgrade"] {
        assert_eq!(response.field(name), None, "{name} came back");
    }
    assert_eq!(
        (request.field("x-end").as_deref(), response.field("x-end")),
        (Some("1"), Some("1"))
    );
}

#[tokio::test]
async fn a_connection_field_cannot_take_away_what_is_ours() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    let lines = "Connection: Host, X-Forwarded-For, Via, X-Request-Id, Content-Length\r\nContent-Length: 1\r\n";
    plane.client().await.ask("POST", "shop.test", "/a", lines, b"x").await;
    let request = origin.last();
    for name in ["host", "x-forwarded-for", "via", "x-request-id", "content-length"] {
        assert!(request.field(name).is_some(), "{name} is missing: {}", request.head);
    }
}

#[tokio::test]
async fn the_path_goes_as_it_came_but_for_dot_segments() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for (sent, received) in [
        ("/a%2Fb%20c?q=%2e%2e", "/a%2Fb%20c?q=%2e%2e"),
        ("/a/../b", "/b"),
        ("/a/%2e%2e/c", "/c"),
        ("http://shop.test/d?", "/d?"),
        ("http://shop.test", "/"),
    ] {
        client.get("shop.test", sent, "").await;
        assert_eq!(origin.last().target(), received, "{sent}");
    }
}

#[tokio::test]
async fn the_authority_of_an_absolute_target_replaces_host() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    plane.client().await.get("evil.test", "http://shop.test/a", "").await;
    assert_eq!(origin.last().field("host").as_deref(), Some("shop.test"));
}

#[tokio::test]
async fn a_request_that_goes_round_in_circles_is_refused() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    let via = "Via: 1.1 breakwater\r\n".repeat(8);
    assert_eq!(plane.client().await.get("shop.test", "/a", &via).await.status, 508);
    let cdn_loop = format!("CDN-Loop: other, {}breakwater\r\n", "breakwater; v=1, ".repeat(7));
    assert_eq!(plane.client().await.get("shop.test", "/a", &cdn_loop).await.status, 508);
    assert_eq!(origin.count(), 0);
    let once = plane
        .client()
        .await
        .get("shop.test", "/a", "Via: 1.1 breakwater\r\nCDN-Loop: other\r\n")
        .await;
    assert_eq!(once.status, 200);
    let passed = origin.last().field("cdn-loop").unwrap();
    assert!(passed.starts_with("other, breakwater;id="), "{passed}");
}

#[tokio::test]
async fn bodiless_answers_keep_their_fields_and_the_connection() {
    let origin = Origin::start(async |request| match request.target() {
        "/204" => b"HTTP/1.1 204 No Content\r\nCache-Control: max-age=60\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let head = client.ask("HEAD", "shop.test", "/a", "", b"").await;
    assert_eq!((head.status, head.field("content-length")), (200, Some("1234")));
    for hit in [false, true] {
        let empty = client.get("shop.test", "/204", "").await;
        assert_eq!((empty.status, empty.is_hit()), (204, hit));
        assert_eq!(
            (empty.field("content-length"), empty.field("transfer-encoding")),
            (None, None)
        );
    }
    assert_eq!(client.ask("OPTIONS", "shop.test", "/204", "", b"").await.status, 204);
}

#[tokio::test]
async fn every_answer_has_one_date() {
    let origin = Origin::start(async |request| match request.target() {
        "/dated" => answer(200, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "x"),
        "/stored" => answer(200, "Cache-Control: max-age=60\r\n", "x"),
        _ => answer(200, "", "x"),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for target in ["/undated", "/stored", "/stored"] {
        let response = client.get("shop.test", target, "").await;
        assert_eq!(response.count("date"), 1, "{target} {response:?}");
    }
    let posted = client
        .ask("POST", "shop.test", "/a", "Content-Length: 0\r\n", b"")
        .await;
    assert_eq!(posted.count("date"), 1, "{posted:?}");
    let dated = client.get("shop.test", "/dated", "").await;
    assert_eq!(dated.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
}

#[tokio::test]
async fn the_age_an_answer_came_with_counts() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\nAge: 20\r\n", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for _ in 0..2 {
        let response = client.get("shop.test", "/a", "").await;
        let age: u64 = response.field("age").unwrap().parse().unwrap();
        assert!((20..60).contains(&age) && response.count("age") == 1, "{response:?}");
    }
}

#[tokio::test]
async fn an_offer_of_another_http_version_is_ignored() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    for hit in [false, true] {
        let response = client.get("shop.test", "/a", lines).await;
        assert_eq!((response.status, response.is_hit()), (200, hit));
    }
    let request = origin.last();
    assert_eq!(
        (request.field("upgrade"), request.field("http2-settings")),
        (None, None)
    );
}

#[tokio::test]
async fn a_request_id_that_could_break_a_log_is_replaced_even_from_a_trusted_proxy() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let site = edge_cache(origin.address);
    let plane = Plane::running([("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))]).await;
    for bad in ["a\"b", "a b", "<script>", &"x".repeat(500)] {
        let response = plane
            .client()
            .await
            .get("shop.test", "/a", &format!("X-Request-Id: {bad}\r\n"))
            .await;
        let id = response.field("x-request-id").unwrap();
        assert!(id != bad && !id.is_empty(), "{id}");
        assert_eq!(origin.last().field("x-request-id").as_deref(), Some(id));
    }
}

#[tokio::test]
async fn a_question_about_the_server_itself_is_answered_here() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let response = client.ask("OPTIONS", "shop.test", "*", "", b"").await;
    assert!((200..500).contains(&response.status), "{response:?}");
    let trace = plane
        .client()
        .await
        .ask("TRACE", "shop.test", "/a", "Cookie: secret=1\r\n", b"")
        .await;
    assert_eq!((trace.status, origin.count()), (405, 0));
    assert!(
        trace.field("allow").is_some_and(|methods| methods.contains("GET")),
        "{trace:?}"
    );
    assert!(!trace.text().contains("secret"), "{trace:?}");
}
