//! Requests that go to the origin alone, and what is stored of their answers: credentials, HEAD, POST.

use crate::support::{Origin, Plane, answer};

const STALE: &str = "Cache-Control: max-age=60\r\nAge: 100\r\nX-Kept: 1\r\nX-New: old\r\n";

#[tokio::test]
async fn an_answer_to_credentials_that_may_be_shared_is_stored_for_everybody() {
    for directive in ["public", "must-revalidate", "s-maxage=60"] {
        let lines = format!("Cache-Control: max-age=60, {directive}\r\n");
        let origin = Origin::fixed(answer(200, &lines, "x")).await;
        let plane = Plane::before(&origin).await;
        let mut client = plane.client().await;
        let asked = client.get("shop.test", "/a", "Authorization: Basic eDp5\r\n").await;
        assert_eq!(asked.cache_status(), "breakwater; fwd=miss; stored", "{directive}");
        assert_eq!(origin.last().field("authorization").as_deref(), Some("Basic eDp5"));
        assert!(client.get("shop.test", "/a", "").await.is_hit(), "{directive}");
    }
}

#[tokio::test]
async fn a_key_whose_answers_could_not_be_shared_is_stored_again_when_they_can() {
    let origin = Origin::start({
        let count = std::sync::atomic::AtomicUsize::new(0);
        move |_| {
            let first = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            let lines = if first {
                "Cache-Control: private\r\n"
            } else {
                "Cache-Control: max-age=60\r\n"
            };
            std::future::ready(answer(200, lines, "x"))
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let statuses = ["breakwater; fwd=miss", "breakwater; fwd=miss; stored"];
    for status in statuses {
        assert_eq!(client.get("shop.test", "/a", "").await.cache_status(), status);
    }
    assert!(client.get("shop.test", "/a", "").await.is_hit());
}

#[tokio::test]
async fn a_head_that_goes_to_the_origin_updates_what_is_stored() {
    let origin = Origin::start(async |request| match request.method() {
        "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\nX-New: new\r\n\r\n".to_vec(),
        _ => answer(200, STALE, "hello"),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    let head = client.ask("HEAD", "shop.test", "/a", "", b"").await;
    assert_eq!(origin.last().method(), "HEAD");
    assert_eq!((head.field("x-new"), head.field("x-kept")), (Some("new"), Some("1")));
    let hit = client.get("shop.test", "/a", "").await;
    assert!(hit.is_hit(), "{hit:?}");
    assert_eq!((hit.text().as_str(), hit.field("x-new")), ("hello", Some("new")));
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn a_head_about_another_representation_makes_what_is_stored_unusable() {
    for other in ["Content-Length: 6\r\n", "Content-Length: 5\r\nETag: \"v2\"\r\n"] {
        let head = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{other}\r\n").into_bytes();
        let origin = Origin::start(move |request: crate::support::Request| {
            std::future::ready(match request.method() {
                "HEAD" => head.clone(),
                _ => answer(200, "Cache-Control: max-age=60\r\nETag: \"v1\"\r\n", "hello"),
            })
        })
        .await;
        let plane = Plane::before(&origin).await;
        let mut client = plane.client().await;
        client.get("shop.test", "/a", "").await;
        client
            .ask("HEAD", "shop.test", "/a", "Cache-Control: no-cache\r\n", b"")
            .await;
        assert!(!client.get("shop.test", "/a", "").await.is_hit(), "{other}");
    }
}

#[tokio::test]
async fn an_answer_to_a_post_that_names_its_own_target_is_stored_for_get() {
    let origin = Origin::start(async |request| match (request.method(), request.target()) {
        ("POST", target @ "/a?x=1") => {
            let lines = format!("Cache-Control: max-age=60\r\nContent-Location: http://shop.test{target}\r\n");
            answer(200, &lines, "made")
        }
        ("POST", "/elsewhere") => answer(200, "Cache-Control: max-age=60\r\nContent-Location: /a\r\n", "made"),
        ("POST", _) => answer(200, "Cache-Control: max-age=60\r\n", "made"),
        _ => answer(200, "Cache-Control: max-age=60\r\n", "old"),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for (target, hit, text) in [
        ("/a?x=1", true, "made"),
        ("/elsewhere", false, "old"),
        ("/b", false, "old"),
    ] {
        client.get("shop.test", target, "").await;
        let made = client
            .ask("POST", "shop.test", target, "Content-Length: 1\r\n", b"x")
            .await;
        assert_eq!((made.status, made.text().as_str()), (200, "made"));
        let got = client.get("shop.test", target, "").await;
        assert_eq!((got.is_hit(), got.text().as_str()), (hit, text), "{target}");
    }
}

#[tokio::test]
async fn an_answer_that_is_stored_while_one_client_reads_it_is_cut_short_for_nobody() {
    let body = vec![b'x'; 3 << 20];
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60, public\r\n", &body)).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let asked = client.get("shop.test", "/a", "Authorization: Basic eDp5\r\n").await;
    assert!(asked.body == body, "{}", asked.body.len());
    let hit = client.get("shop.test", "/a", "").await;
    assert!(hit.is_hit() && hit.body == body, "{}", hit.cache_status());
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_no_answer() {
    let origin = Origin::fixed(b"HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n".to_vec()).await;
    let plane = Plane::before(&origin).await;
    let none = [
        ("GET", "Authorization: Basic eDp5\r\n"),
        ("GET", "Range: bytes=0-1\r\nIf-Range: \"v1\"\r\n"),
        ("GET", "Cache-Control: no-store\r\n"),
        ("HEAD", ""),
        ("GET", ""),
    ];
    for (method, lines) in none {
        let answered = plane.client().await.ask(method, "shop.test", "/a", lines, b"").await;
        assert_eq!(answered.status, 502, "{method} {lines}");
    }
    for lines in [
        "If-None-Match: \"v1\"\r\n",
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    ] {
        let lines = format!("Authorization: Basic eDp5\r\n{lines}");
        let answered = plane.client().await.get("shop.test", "/a", &lines).await;
        assert_eq!(answered.status, 304, "{lines}");
    }
}

#[tokio::test]
async fn what_is_stale_stands_in_for_a_304_that_nobody_asked_for() {
    let origin = Origin::start(async |request| match request.method() {
        "HEAD" => b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(),
        _ => answer(200, STALE, "hello"),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    let head = client.ask("HEAD", "shop.test", "/a", "", b"").await;
    assert_eq!((head.status, head.is_hit()), (200, true), "{head:?}");
}

#[tokio::test]
async fn locations_are_forgotten_in_whatever_spelling_an_unsafe_answer_names_them() {
    for (named, target) in [
        ("/%61/./b/../c", "/a/c"),
        ("http://SHOP.test:80/%7Euser?q=1", "/~user?q=1"),
        ("d%2fe", "/x/d%2Fe"),
    ] {
        for field in ["Location", "Content-Location"] {
            let origin = Origin::start(move |request: crate::support::Request| async move {
                match request.method() {
                    "POST" => answer(201, &format!("{field}: {named}\r\n"), ""),
                    _ => answer(200, "Cache-Control: max-age=60\r\n", "x"),
                }
            })
            .await;
            let plane = Plane::before(&origin).await;
            let mut client = plane.client().await;
            client.get("shop.test", target, "").await;
            assert!(client.get("shop.test", target, "").await.is_hit());
            client
                .ask("POST", "shop.test", "/x/y", "Content-Length: 0\r\n", b"")
                .await;
            assert!(!client.get("shop.test", target, "").await.is_hit(), "{field}: {named}");
        }
    }
}
