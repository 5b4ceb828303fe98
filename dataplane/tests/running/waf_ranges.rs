//! Where rules look at responses they see whole ones: no client has an origin send pieces.

use crate::support::{Client, Origin, Plane, Response, answer};
use crate::waf_rules::{SECRET, policy, protected};

/// An origin that sends the range it is asked for, of a page that is stored where the target says so.
async fn origin(page: &'static str) -> Origin {
    Origin::start(move |request| async move {
        let lines = match request.target() {
            "/stored" => "Content-Type: text/html\r\nETag: \"v\"\r\nCache-Control: max-age=60\r\n",
            _ => "Content-Type: text/html\r\nETag: \"v\"\r\nCache-Control: no-store\r\n",
        };
        let asked = request.field("range").or_else(|| request.field("request-range"));
        let range = asked
            .as_deref()
            .and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let Some((first, last)) = range else {
            return answer(200, lines, page);
        };
        // Of several the first is enough.
        let last = last.split(',').next().and_then(|last| last.parse().ok());
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.unwrap_or(page.len() - 1));
        let lines = format!("{lines}Content-Range: bytes {first}-{last}/{}\r\n", page.len());
        answer(206, &lines, &page[first..=last])
    })
    .await
}

async fn inspecting(origin: &Origin) -> Plane {
    let plane = Plane::start().await;
    let judged = policy(SECRET, |_, rules| rules.inspect_response = Some(4096));
    plane.apply(protected(origin, judged)).await;
    plane
}

async fn part(client: &mut Client, method: &str, target: &str, lines: &str) -> Response {
    let lines = format!("{lines}Content-Length: 0\r\n");
    client.ask(method, "shop.test", target, &lines, b"").await
}

#[tokio::test]
async fn a_client_that_asks_for_ranges_does_not_hide_what_it_is_answered_from_rules() {
    let origin = origin("the secret is out").await;
    let plane = inspecting(&origin).await;
    for (method, target) in [
        ("GET", "/stored"),
        ("GET", "/own"),
        ("POST", "/own"),
        ("GET", "/stored"),
    ] {
        for lines in [
            "Range: bytes=4-6\r\n",
            "Range: bytes=7-9\r\nIf-Range: \"v\"\r\n",
            "Range: bytes=0-0,4-6\r\n",
            "Request-Range: bytes=4-6\r\n",
            "Authorization: x\r\nRange: bytes=7-9\r\n",
        ] {
            let response = part(&mut plane.client().await, method, target, lines).await;
            assert_eq!(response.status, 403, "{method} {target} {lines}");
        }
    }
    for request in origin.seen() {
        let asked = ["range", "if-range", "request-range"].map(|name| request.field(name));
        assert_eq!(asked, [None, None, None], "{}", request.head);
        assert_eq!(request.field("accept-encoding").as_deref(), Some("identity"));
    }
}

#[tokio::test]
async fn a_range_of_what_was_judged_and_stored_is_sent_and_before_that_the_whole_is() {
    let origin = origin("nothing to see here").await;
    let plane = inspecting(&origin).await;
    let mut client = plane.client().await;
    let lines = "Range: bytes=8-9\r\nAccept-Encoding: gzip\r\n";
    let first = part(&mut client, "GET", "/stored", lines).await;
    assert_eq!((first.status, first.text().as_str()), (200, "nothing to see here"));
    let second = part(&mut client, "GET", "/stored", lines).await;
    assert_eq!((second.status, second.text().as_str()), (206, "to"));
    assert!(second.is_hit(), "{second:?}");
    assert_eq!(second.field("content-range"), Some("bytes 8-9/19"));
    assert_eq!(origin.count(), 1);
    // What is not stored is sent whole each time.
    for _ in 0..2 {
        let own = part(&mut client, "GET", "/own", lines).await;
        assert_eq!((own.status, own.text().as_str()), (200, "nothing to see here"));
    }
}

#[tokio::test]
async fn what_follows_a_stored_part_is_not_fetched_by_itself() {
    let origin = origin("the secret is out").await;
    let plane = Plane::before(&origin).await;
    let part = part(&mut plane.client().await, "GET", "/stored", "Range: bytes=0-6\r\n").await;
    assert_eq!((part.status, part.text().as_str()), (206, "the sec"));
    let judged = policy(SECRET, |_, rules| rules.inspect_response = Some(4096));
    plane.apply(protected(&origin, judged)).await;
    let whole = plane.client().await.get("shop.test", "/stored", "").await;
    assert_eq!((whole.status, origin.count()), (403, 2));
    assert_eq!(origin.last().field("range"), None);
}

#[tokio::test]
async fn a_part_that_an_origin_sends_unasked_is_judged_as_it_is() {
    let part = "Content-Type: text/html\r\nContent-Range: bytes 0-7/100\r\n";
    let origin = Origin::fixed(answer(206, part, "a secret")).await;
    let plane = inspecting(&origin).await;
    assert_eq!(plane.client().await.get("shop.test", "/", "").await.status, 403);
}

#[tokio::test]
async fn where_no_rule_looks_at_responses_ranges_go_to_the_origin() {
    let origin = origin("the secret is out").await;
    let plane = Plane::start().await;
    plane.apply(protected(&origin, policy(SECRET, |_, _| {}))).await;
    let response = part(&mut plane.client().await, "GET", "/own", "Range: bytes=4-6\r\n").await;
    assert_eq!((response.status, response.text().as_str()), (206, "sec"));
}
