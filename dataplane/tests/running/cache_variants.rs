//! Variants of one URL: which request gets which, and that there are never too many.

use crate::support::{Origin, Plane, Request, answer};

/// An origin that answers with the values it varies on.
async fn varying(vary: &'static str, more: &'static str) -> Origin {
    Origin::start(move |request: Request| async move {
        let values: Vec<_> = vary
            .split(',')
            .map(|name| request.field(name.trim()).unwrap_or_default())
            .collect();
        let lines = format!("Cache-Control: max-age=60\r\nVary: {vary}\r\n{more}");
        answer(200, &lines, values.join("|"))
    })
    .await
}

#[tokio::test]
async fn a_coding_is_served_to_who_accepts_the_same_in_any_order() {
    let origin = Origin::start(async |request: Request| {
        let accepted = request.field("accept-encoding").unwrap_or_default();
        let coding = ["br", "gzip"].into_iter().find(|coding| accepted.contains(coding));
        let encoding = coding.map_or_else(String::new, |coding| format!("Content-Encoding: {coding}\r\n"));
        let lines = format!("Cache-Control: max-age=60\r\nVary: Accept-Encoding\r\n{encoding}");
        answer(200, &lines, coding.unwrap_or("plain"))
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for (accepted, hit, coding) in [
        ("gzip, br", false, Some("br")),
        ("BR,gzip", true, Some("br")),
        ("gzip;q=1.0, br", true, Some("br")),
        ("gzip", false, Some("gzip")),
        ("gzip", true, Some("gzip")),
        ("identity", false, None),
    ] {
        let response = client
            .get("shop.test", "/a", &format!("Accept-Encoding: {accepted}\r\n"))
            .await;
        assert_eq!(response.is_hit(), hit, "{accepted}");
        assert_eq!(response.field("content-encoding"), coding, "{accepted}");
        assert_eq!(response.text(), coding.unwrap_or("plain"));
    }
    let none = client.get("shop.test", "/a", "").await;
    assert_eq!((none.is_hit(), none.text().as_str()), (false, "plain"));
}

#[tokio::test]
async fn a_response_in_the_language_wanted_most_is_served_whatever_else_is_accepted() {
    let origin = varying("Accept-Language, X-Plan", "Content-Language: de\r\n").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "Accept-Language: en, de\r\n").await;
    for (lines, hit) in [
        ("Accept-Language: fr;q=0.5, de;q=1.0\r\n", true),
        ("Accept-Language: DE\r\n", true),
        ("Accept-Language: de, en\r\n", true),
        ("Accept-Language: de\r\nX-Plan: pro\r\n", false),
        ("Accept-Language: de-AT\r\n", false),
        ("Accept-Language: de;q=0.5, fr;q=0.5\r\n", false),
        ("Accept-Language: *\r\n", false),
    ] {
        let response = client
            .get("shop.test", "/a", &format!("{lines}Cache-Control: only-if-cached\r\n"))
            .await;
        assert_eq!(response.is_hit(), hit, "{lines}");
    }
}

#[tokio::test]
async fn a_url_has_so_many_variants_and_no_more() {
    let origin = varying("X-Any", "").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for n in 0..100 {
        client.get("shop.test", "/a", &format!("X-Any: {n}\r\n")).await;
    }
    let mut kept = 0;
    for n in 0..100 {
        let lines = format!("X-Any: {n}\r\nCache-Control: only-if-cached\r\n");
        let response = client.get("shop.test", "/a", &lines).await;
        assert!(!response.is_hit() || response.text() == n.to_string(), "{response:?}");
        kept += usize::from(response.is_hit());
    }
    assert_eq!(kept, 32, "the newest");
    let objects = plane.metric("breakwater_cache_objects{tier=\"ram\"}").await;
    assert_eq!(objects, 1.0);
}

#[tokio::test]
async fn a_vary_of_more_names_than_can_be_compared_is_not_stored() {
    let many: String = (0..17).map(|n| format!("x-{n},")).collect();
    let lines = format!("Cache-Control: max-age=60\r\nVary: {many}\r\n");
    let origin = Origin::fixed(answer(200, &lines, "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for _ in 0..2 {
        assert_eq!(
            client.get("shop.test", "/a", "").await.cache_status(),
            "breakwater; fwd=miss"
        );
    }
}

#[tokio::test]
async fn a_response_with_too_many_fields_or_too_large_a_head_is_neither_passed_on_nor_stored() {
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let large = format!("X-Large: {}\r\n", "x".repeat(70_000));
    for lines in [many, large] {
        let origin = Origin::fixed(answer(200, &format!("Cache-Control: max-age=60\r\n{lines}"), "x")).await;
        let plane = Plane::before(&origin).await;
        assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, 502);
    }
}

#[tokio::test]
async fn trailers_are_no_fields_of_the_response_stored_or_not() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie, Cache-Control\r\n\
        Cache-Control: max-age=60\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie: a=1\r\nCache-Control: no-store\r\nX-Trailer: 1\r\n\r\n";
    let origin = Origin::fixed(chunked.into()).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for hit in [false, true] {
        let response = client.get("shop.test", "/a", "TE: trailers\r\n").await;
        assert_eq!((response.is_hit(), response.text().as_str()), (hit, "ok"));
        for name in ["set-cookie", "x-trailer", "trailer"] {
            assert_eq!(response.field(name), None, "{name}");
        }
        assert_eq!(response.count("cache-control"), 1);
    }
}
