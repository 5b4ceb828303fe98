//! What tells stored responses apart.

use breakwater_snapshot::unit::{CachePolicy, Unit};

use crate::support::{Origin, Plane, Request, answer, edge_cache, objects};

/// An origin that answers with what it was asked, for a minute.
async fn echo(lines: &'static str) -> Origin {
    Origin::start(move |request: Request| async move {
        let body = format!("{} {:?}", request.target(), request.field("accept-language"));
        answer(200, &format!("Cache-Control: max-age=60\r\n{lines}"), body)
    })
    .await
}

async fn plane_with(origin: &Origin, change: impl FnOnce(&mut CachePolicy)) -> Plane {
    let mut site = edge_cache(origin.address);
    change(&mut site.cache);
    let plane = Plane::start().await;
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    plane
}

#[tokio::test]
async fn variants_are_selected_by_vary() {
    let origin = echo("Vary: Accept-Language\r\n").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for (language, hit) in [("de", false), ("fr", false), ("de", true), ("fr", true)] {
        let lines = format!("Accept-Language: {language}\r\n");
        let response = client.get("shop.test", "/a", &lines).await;
        assert!(response.text().contains(language), "{response:?}");
        assert_eq!(response.is_hit(), hit, "{language}");
    }
    assert!(
        !client.get("shop.test", "/a", "").await.is_hit(),
        "no language is another variant"
    );
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn the_host_and_its_port_are_in_the_key() {
    let origin = echo("").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    assert!(!client.get("shop.test", "/a", "").await.is_hit());
    assert!(!client.get("other.test", "/a", "").await.is_hit());
    assert!(!client.get("shop.test:8080", "/a", "").await.is_hit());
    for same in ["shop.test", "SHOP.test", "shop.test:80"] {
        assert!(client.get(same, "/a", "").await.is_hit(), "{same}");
    }
    let absolute = client.get("elsewhere.test", "http://shop.test/a", "").await;
    assert!(absolute.is_hit(), "the target's authority is the host: {absolute:?}");
}

#[tokio::test]
async fn another_spelling_of_the_host_cannot_make_the_origin_answer_for_all() {
    let origin = Origin::start(|request: Request| async move {
        let host = request.field("host").unwrap_or_default();
        answer(200, "Cache-Control: max-age=60\r\n", format!("links to {host}"))
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for (path, spelled) in [
        ("/a", "SHOP.test"),
        ("/b", "shop.test."),
        ("/c", "shop.test:80"),
        ("/d", "shop.test:080"),
    ] {
        assert_eq!(client.get(spelled, path, "").await.text(), "links to shop.test");
        let other = client.get("shop.test", path, "").await;
        assert!(
            other.is_hit() && other.text() == "links to shop.test",
            "{spelled}: {other:?}"
        );
    }
}

#[tokio::test]
async fn paths_that_are_the_same_are_one_and_others_are_not() {
    let origin = echo("").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    assert!(!client.get("shop.test", "/a/b", "").await.is_hit());
    for same in ["/a/./b", "/a/c/../b", "/%61/b", "/a/b"] {
        assert!(client.get("shop.test", same, "").await.is_hit(), "{same}");
    }
    for other in ["/a%2Fb", "/a/b/", "/A/b", "/a/b?", "/a/b?x"] {
        assert!(!client.get("shop.test", other, "").await.is_hit(), "{other}");
    }
}

#[tokio::test]
async fn ignored_query_parameters_are_not_in_the_key_and_still_reach_the_origin() {
    let origin = echo("").await;
    let plane = plane_with(&origin, |cache| {
        cache.ignore_query = vec!["utm_*".to_owned(), "fbclid".to_owned()];
    })
    .await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a?id=1&utm_source=x", "").await;
    assert_eq!(origin.last().target(), "/a?id=1&utm_source=x");
    for same in ["/a?id=1", "/a?fbclid=9&id=1", "/a?utm_medium=z&id=1&utm_source=y"] {
        assert!(client.get("shop.test", same, "").await.is_hit(), "{same}");
    }
    assert!(!client.get("shop.test", "/a?id=2", "").await.is_hit());
}

#[tokio::test]
async fn parameters_that_are_not_included_do_not_count_nor_does_their_order_where_they_are_sorted() {
    let origin = echo("").await;
    let plane = plane_with(&origin, |cache| {
        cache.include_query = vec!["id".to_owned(), "f_*".to_owned()];
        cache.sort_query = true;
    })
    .await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a?id=1&f_a=2&session=3", "").await;
    assert_eq!(origin.last().target(), "/a?id=1&f_a=2&session=3");
    for same in ["/a?id=1&f_a=2", "/a?f_a=2&id=1", "/a?x&f_a=2&session=4&id=1"] {
        assert!(client.get("shop.test", same, "").await.is_hit(), "{same}");
    }
    for other in ["/a?id=2&f_a=2", "/a?id=1", "/a"] {
        assert!(!client.get("shop.test", other, "").await.is_hit(), "{other}");
    }
}

#[tokio::test]
async fn named_headers_and_cookies_are_in_the_key() {
    let origin = echo("").await;
    let plane = plane_with(&origin, |cache| {
        cache.key_headers = vec!["x-country".to_owned()];
        cache.key_cookies = vec!["group".to_owned()];
    })
    .await;
    let mut client = plane.client().await;
    let variants = [
        "",
        "X-Country: DE\r\n",
        "X-Country: FR\r\n",
        "Cookie: group=a\r\n",
        "Cookie: group=b\r\n",
        "X-Country: DE\r\nCookie: group=a\r\n",
    ];
    for lines in variants {
        assert!(!client.get("shop.test", "/a", lines).await.is_hit(), "{lines}");
    }
    for lines in variants {
        assert!(client.get("shop.test", "/a", lines).await.is_hit(), "{lines}");
    }
    let other_cookie = client.get("shop.test", "/a", "Cookie: session=1; group=a\r\n").await;
    assert!(other_cookie.is_hit(), "other cookies are not in the key");
}
