//! How much of a body is inspected, by what the request says its type is.

use breakwater_snapshot::unit::{BodyType, EdgeCache, Unit};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::support::{Plane, edge_cache, objects};
use crate::waf_rules::{ATTACK, FORM, plane, policy, post};

fn types(list: &[(&str, u64, bool)]) -> Vec<BodyType> {
    let list = list.iter();
    list.map(|(kind, inspect, reject_larger)| BodyType {
        content_types: vec![(*kind).to_owned()],
        inspect: *inspect,
        reject_larger: *reject_larger,
    })
    .collect()
}

/// An argument in a body that JSON and forms both have.
fn attack_behind(bytes: usize) -> String {
    format!("{{\"a\": \"{}\", \"q\": \"attack\"}}", "x".repeat(bytes))
}

#[tokio::test]
async fn how_much_of_a_body_is_judged_depends_on_its_type() {
    let (origin, plane) = plane(ATTACK, |_, rules| {
        rules.inspect = 64;
        rules.body_types = types(&[
            ("application/json", 4096, true),
            ("text/*", 0, false),
            ("text/csv", 4096, true),
        ]);
    })
    .await;
    let ask = async |kind: &str, body: &str| {
        let answer = post(&mut plane.client().await, "/a", kind, body.as_bytes()).await;
        if answer.0 == 200 {
            assert_eq!(answer.1, body);
        }
        answer.0
    };
    // Beyond what is inspected of bodies of other types, within what is of this one.
    assert_eq!(ask("application/json", &attack_behind(100)).await, 403);
    assert_eq!(ask("Application/JSON;charset=utf-8", &attack_behind(100)).await, 403);
    assert_eq!(ask("application/json", &attack_behind(5000)).await, 413);
    assert_eq!(ask("application/x-json", &attack_behind(5000)).await, 200);
    // The first entry counts.
    assert_eq!(ask("text/csv", &"attack".repeat(1000)).await, 200);
    assert_eq!(ask(FORM, "q=attack").await, 403);
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn a_type_of_which_nothing_may_be_is_refused_announced_or_not() {
    let (origin, plane) = plane(ATTACK, |_, rules| rules.body_types = types(&[("video/*", 0, true)])).await;
    let kind = "Content-Type: video/mp4\r\n";
    for (lines, body) in [
        ("Content-Length: 4\r\n", "film"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nfilm\r\n0\r\n\r\n"),
    ] {
        let lines = format!("{kind}{lines}");
        let answer = plane
            .client()
            .await
            .ask("POST", "shop.test", "/a", &lines, body.as_bytes())
            .await;
        assert_eq!((answer.status, origin.count()), (413, 0), "{lines}");
    }
    let nothing = format!("{kind}Content-Length: 0\r\n");
    assert_eq!(
        plane
            .client()
            .await
            .ask("POST", "shop.test", "/a", &nothing, b"")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn an_upload_of_a_type_that_is_not_inspected_reaches_the_origin_while_it_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plane = Plane::start().await;
    let policy = policy(ATTACK, |_, rules| rules.body_types = types(&[("video/*", 0, false)]));
    let site: EdgeCache = edge_cache(listener.local_addr().unwrap());
    let all = [("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))];
    plane.apply(objects(all)).await;
    let mut client = plane.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Type: video/mp4\r\nContent-Length: 1000\r\n\r\nthe beginning")
        .await;
    let (mut origin, _) = listener.accept().await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"the beginning") {
        assert_ne!(
            origin.read_buf(&mut got).await.unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(&got)
        );
    }
}
