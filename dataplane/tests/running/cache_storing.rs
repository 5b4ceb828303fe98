//! What is stored and what is not.

use breakwater_snapshot::unit::{CacheRule, Unit};

use crate::support::{Client, Origin, Plane, answer, edge_cache, exact, objects, prefix};

/// Asks twice; whether the second answer came from the store.
async fn second_is_hit(client: &mut Client, target: &str, lines: &str) -> bool {
    let first = client.get("shop.test", target, lines).await;
    assert!(!first.is_hit(), "{first:?}");
    client.get("shop.test", target, lines).await.is_hit()
}

async fn is_stored(response_lines: &str, request_lines: &str) -> bool {
    let origin = Origin::fixed(answer(200, response_lines, "x")).await;
    let plane = Plane::before(&origin).await;
    second_is_hit(&mut plane.client().await, "/a", request_lines).await
}

#[tokio::test]
async fn no_store_and_private_are_never_stored() {
    for lines in [
        "Cache-Control: no-store\r\n",
        "Cache-Control: private, max-age=60\r\n",
        "Cache-Control: max-age=60\r\nCache-Control: no-store\r\n",
        "Cache-Control: max-age=60\r\nVary: *\r\n",
    ] {
        assert!(!is_stored(lines, "").await, "{lines}");
    }
}

#[tokio::test]
async fn what_does_not_say_how_long_it_is_fresh_is_not_served_from_the_store() {
    assert!(!is_stored("", "").await);
    assert!(!is_stored("Cache-Control: max-age=0\r\n", "").await);
    assert!(!is_stored("Cache-Control: no-cache, max-age=60\r\n", "").await);
    assert!(is_stored("Expires: Fri, 31 Dec 9999 23:59:59 GMT\r\n", "").await);
    assert!(is_stored("CDN-Cache-Control: max-age=60\r\nCache-Control: no-store\r\n", "").await);
}

#[tokio::test]
async fn a_cookie_is_stored_only_with_an_explicit_lifetime() {
    let cookie = "Set-Cookie: a=1\r\n";
    assert!(!is_stored(&format!("{cookie}Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), "").await);
    assert!(is_stored(&format!("{cookie}Cache-Control: max-age=60\r\n"), "").await);
}

#[tokio::test]
async fn an_authorized_request_is_stored_only_when_the_response_may_be_shared() {
    let authorization = "Authorization: Basic eDp5\r\n";
    assert!(!is_stored("Cache-Control: max-age=60\r\n", authorization).await);
    let origin = Origin::fixed(answer(200, "Cache-Control: public, max-age=60\r\n", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    assert!(client.get("shop.test", "/a", authorization).await.is_hit());
}

#[tokio::test]
async fn a_request_can_ask_for_a_fresh_answer_or_for_a_stored_one_only() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\nETag: \"1\"\r\n", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let only = client.get("shop.test", "/a", "Cache-Control: only-if-cached\r\n").await;
    assert_eq!((only.status, origin.count()), (504, 0));
    client.get("shop.test", "/a", "").await;
    let only = client.get("shop.test", "/a", "Cache-Control: only-if-cached\r\n").await;
    assert!(only.is_hit(), "{only:?}");
    let fresh = client.get("shop.test", "/a", "Cache-Control: no-cache\r\n").await;
    assert!(fresh.cache_status().starts_with("breakwater; fwd=request"), "{fresh:?}");
    assert_eq!(origin.count(), 2);
    let unstored = client.get("shop.test", "/b", "Cache-Control: no-store\r\n").await;
    assert_eq!(unstored.cache_status(), "breakwater; fwd=request");
    assert!(!client.get("shop.test", "/b", "").await.is_hit());
}

#[tokio::test]
async fn a_truncated_body_is_passed_on_as_truncated_and_never_stored() {
    for head in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"] {
        let origin = Origin::raw(move |mut peer| async move {
            peer.request().await;
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{head}\r\n5\r\nhel"
            ))
            .await;
        })
        .await;
        let plane = Plane::before(&origin).await;
        for asked in 1..=2 {
            let mut client = plane.client().await;
            client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
            let whole = client.try_response("GET").await;
            assert!(whole.is_none(), "{head}: {whole:?}");
            assert_eq!(origin.count(), asked);
        }
    }
}

#[tokio::test]
async fn content_that_is_not_in_the_coding_its_origin_names_goes_on_byte_for_byte() {
    for coding in ["gzip", "br, gzip", "nonsense"] {
        let lines = format!("Cache-Control: max-age=60\r\nContent-Encoding: {coding}\r\nContent-Type: text/plain\r\n");
        let origin = Origin::fixed(answer(200, &lines, "this is in no coding")).await;
        let plane = Plane::before(&origin).await;
        let mut client = plane.client().await;
        for hit in [false, true] {
            let response = client.get("shop.test", "/a", "").await;
            assert_eq!(
                (response.is_hit(), response.text().as_str()),
                (hit, "this is in no coding")
            );
            assert_eq!(response.field("content-encoding"), Some(coding));
        }
    }
}

#[tokio::test]
async fn bytes_behind_the_announced_length_reach_nobody() {
    let origin = Origin::raw(async |mut peer| {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nokHTTP/1.1 200 OK\r\n")
                .await;
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for target in ["/a", "/b", "/a", "/b"] {
        let response = client.get("shop.test", target, "").await;
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    }
    let connections: Vec<_> = origin.seen().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1], "the connection was not used again");
}

#[tokio::test]
async fn a_success_of_an_unsafe_method_invalidates_and_a_failure_does_not() {
    let origin = Origin::start(async |request| match (request.method(), request.target()) {
        ("POST", "/fails") => answer(500, "", ""),
        ("POST", "/elsewhere") => answer(201, "Location: /a\r\n", ""),
        ("GET", _) => answer(200, "Cache-Control: max-age=60\r\n", "x"),
        _ => answer(200, "", ""),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let post = async |client: &mut Client, target| {
        let answer = client
            .ask("POST", "shop.test", target, "Content-Length: 1\r\n", b"x")
            .await;
        assert_eq!(answer.cache_status(), "breakwater; fwd=method");
    };
    for target in ["/a", "/fails"] {
        client.get("shop.test", target, "").await;
        post(&mut client, target).await;
    }
    assert!(!client.get("shop.test", "/a", "").await.is_hit());
    assert!(client.get("shop.test", "/fails", "").await.is_hit());
    assert!(client.get("shop.test", "/a", "").await.is_hit());
    post(&mut client, "/elsewhere").await;
    assert!(!client.get("shop.test", "/a", "").await.is_hit(), "Location names it");
    let delete = client.ask("DELETE", "shop.test", "/fails", "", b"").await;
    assert_eq!(delete.status, 200);
    assert!(!client.get("shop.test", "/fails", "").await.is_hit());
}

#[tokio::test]
async fn the_first_rule_that_matches_decides() {
    let origin = Origin::start(async |request| match request.target() {
        "/static/missing" => answer(404, "", "x"),
        "/static/secret" => answer(200, "Cache-Control: no-store\r\n", "x"),
        _ => answer(200, "Cache-Control: max-age=0\r\n", "x"),
    })
    .await;
    let rule = |paths, ttl_ms, bypass| CacheRule {
        paths,
        methods: Vec::new(),
        statuses: vec![200],
        ttl_ms,
        stale_while_revalidate_ms: None,
        stale_if_error_ms: None,
        bypass,
    };
    let mut site = edge_cache(origin.address);
    site.cache.rules = vec![
        rule(vec![exact("/static/live")], None, true),
        rule(vec![prefix("/static")], Some(60_000), false),
    ];
    let plane = Plane::start().await;
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    let mut client = plane.client().await;
    assert!(second_is_hit(&mut client, "/static/a", "").await);
    for target in ["/static/live", "/static/missing", "/static/secret", "/other"] {
        assert!(!second_is_hit(&mut client, target, "").await, "{target}");
    }
    let bypassed = client.get("shop.test", "/static/live", "").await;
    assert_eq!(bypassed.cache_status(), "breakwater; fwd=bypass");
}

#[tokio::test]
async fn a_get_with_a_body_goes_past_the_cache_and_its_body_is_no_request() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    let smuggled = b"GET /admin HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let lines = format!("Content-Length: {}\r\n", smuggled.len());
    let answered = client.ask("GET", "shop.test", "/a", &lines, smuggled).await;
    assert_eq!(answered.cache_status(), "breakwater; fwd=request");
    assert!(client.get("shop.test", "/a", "").await.is_hit());
    assert_eq!(origin.count(), 2);
    assert_eq!(origin.last().body, smuggled);
}
