//! Filters: redirects answer before the cache and the origin are asked.

use breakwater_snapshot::unit::{Filters, PathRewrite, Redirect};

use crate::support::{Origin, Plane, answer, exact, prefix};

fn redirect(status: u16) -> Redirect {
    Redirect {
        paths: Vec::new(),
        scheme: None,
        hostname: None,
        port: None,
        path: None,
        status,
    }
}

fn redirects() -> Filters {
    Filters {
        redirects: vec![
            Redirect {
                paths: vec![prefix("/old")],
                path: Some(PathRewrite::Prefix("/new".to_owned())),
                ..redirect(308)
            },
            Redirect {
                paths: vec![exact("/login")],
                scheme: Some("https".to_owned()),
                hostname: Some("id.test".to_owned()),
                path: Some(PathRewrite::Full("/".to_owned())),
                ..redirect(303)
            },
        ],
        ..Filters::default()
    }
}

#[tokio::test]
async fn the_first_redirect_whose_path_matches_answers() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let plane = Plane::filtering(&origin, redirects()).await;
    let mut client = plane.client().await;
    let moved = client.get("a.test:8080", "/old/x?q=%0d%0aa", "").await;
    assert_eq!(moved.status, 308);
    assert_eq!(moved.field("location"), Some("http://a.test:8080/new/x?q=%0d%0aa"));
    assert_eq!(moved.cache_status(), "breakwater; detail=redirected");
    assert!(!moved.body.is_empty());
    let login = client.get("a.test", "/x/../login", "").await;
    assert_eq!((login.status, login.field("location")), (303, Some("https://id.test/")));
    assert_eq!(client.get("a.test", "/older", "").await.status, 200);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_redirect_of_head_has_no_content_and_one_of_a_body_ends_the_connection() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::filtering(&origin, redirects()).await;
    let mut client = plane.client().await;
    let head = client.ask("HEAD", "a.test", "/old", "", b"").await;
    assert_eq!((head.status, head.field("location")), (308, Some("http://a.test/new")));
    let post = client.ask("POST", "a.test", "/old", "Content-Length: 3\r\n", b"").await;
    assert_eq!((post.status, post.field("connection")), (308, Some("close")));
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn redirects_are_counted_and_logged() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::filtering(&origin, redirects()).await;
    plane.client().await.get("a.test", "/old", "").await;
    plane
        .metric_reaches(
            "breakwater_requests_total{resource=\"EdgeCache/default/site\",code=\"308\"}",
            1.0,
        )
        .await;
    let line = &plane.access(1).await[0];
    assert_eq!(line["status"], 308, "{line}");
    assert_eq!(line["waf"], serde_json::Value::Null, "{line}");
}
