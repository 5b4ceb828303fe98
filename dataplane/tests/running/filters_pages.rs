//! Filters: error pages of a route in place of ours, and in place of the origin's where it is said so.

use breakwater_snapshot::unit::{ErrorPage, Filters};

use crate::support::{Origin, Plane, Request, answer};

fn page(status: u16, intercept: bool) -> Filters {
    Filters {
        error_pages: vec![ErrorPage {
            statuses: vec![status],
            content_type: "text/html; charset=utf-8".to_owned(),
            body: "<h1>{status} {reason}</h1><p>{request_id}</p>".to_owned(),
            intercept,
        }],
        ..Filters::default()
    }
}

#[tokio::test]
async fn a_page_stands_in_for_ours() {
    let origin = Origin::raw(async |peer| drop(peer)).await;
    let plane = Plane::filtering(&origin, page(502, false)).await;
    let mut client = plane.client().await;
    let failed = client.get("a.test", "/", "Accept: application/json\r\n").await;
    let id = failed.field("x-request-id").unwrap();
    assert_eq!(failed.text(), format!("<h1>502 Bad Gateway</h1><p>{id}</p>"));
    assert_eq!(failed.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(failed.field("cache-control"), Some("no-store"));
    let head = plane.client().await.ask("HEAD", "a.test", "/", "", b"").await;
    let length = failed.body.len().to_string();
    assert_eq!(
        (head.status, head.field("content-length")),
        (502, Some(length.as_str()))
    );
}

#[tokio::test]
async fn an_origins_own_error_passes_unless_it_is_to_be_replaced() {
    let origin = Origin::fixed(answer(404, "Cache-Control: no-store\r\n", "theirs")).await;
    let plane = Plane::filtering(&origin, page(404, false)).await;
    assert_eq!(plane.client().await.get("a.test", "/", "").await.text(), "theirs");
}

const THEIRS: &str = "ETag: \"1\"\r\nContent-Encoding: br\r\nContent-Language: de\r\nAccept-Ranges: bytes\r\n\
    WWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\n";

#[tokio::test]
async fn a_replaced_error_keeps_its_status_and_the_fields_that_are_not_of_its_content() {
    let origin = Origin::start(async |request: Request| {
        let body = if request.method() == "HEAD" { "" } else { "theirs" };
        let caching = if request.target() == "/stored" {
            "max-age=60"
        } else {
            "no-store"
        };
        answer(401, &format!("{THEIRS}Cache-Control: {caching}\r\n"), body)
    })
    .await;
    let plane = Plane::filtering(&origin, page(401, true)).await;
    let mut client = plane.client().await;
    for (method, target) in [
        ("GET", "/stored"),
        ("GET", "/stored"),
        ("HEAD", "/stored"),
        ("GET", "/"),
        ("POST", "/"),
        ("HEAD", "/"),
    ] {
        let replaced = client.ask(method, "a.test", target, "", b"").await;
        let id = replaced.field("x-request-id").unwrap();
        let body = format!("<h1>401 Unauthorized</h1><p>{id}</p>");
        let length = body.len().to_string();
        assert_eq!(replaced.status, 401);
        assert_eq!(
            replaced.field("content-length"),
            Some(length.as_str()),
            "{method} {target}"
        );
        assert_eq!(
            replaced.text(),
            if method == "HEAD" { "" } else { &body },
            "{method} {target}"
        );
        assert_eq!(replaced.field("content-type"), Some("text/html; charset=utf-8"));
        for gone in ["etag", "content-encoding", "content-language", "accept-ranges"] {
            assert_eq!(replaced.field(gone), None, "{method} {target}");
        }
        assert_eq!(replaced.field("www-authenticate"), Some("Basic"));
        assert_eq!(replaced.field("set-cookie"), Some("a=1"));
    }
}

#[tokio::test]
async fn what_is_replaced_is_stored_as_the_origin_sent_it() {
    let origin = Origin::fixed(answer(404, "Cache-Control: max-age=60\r\n", "theirs")).await;
    let plane = Plane::filtering(&origin, page(404, true)).await;
    let mut client = plane.client().await;
    client.get("a.test", "/", "").await;
    let hit = client.get("a.test", "/", "").await;
    assert!(hit.is_hit() && hit.text().starts_with("<h1>404"), "{hit:?}");
    plane.filter(&origin, Filters::default()).await;
    let hit = client.get("a.test", "/", "").await;
    assert!(hit.is_hit());
    assert_eq!(hit.text(), "theirs");
    assert_eq!(origin.count(), 1);
}
