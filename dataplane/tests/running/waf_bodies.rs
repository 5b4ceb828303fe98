//! What becomes of a request's body where rules look at it: limits, faults, memory, and what stands behind it.

use breakwater_snapshot::unit::{Mode, Unit};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};

use crate::support::http2::{DATA, END, END_HEADERS, HEADERS, Http2, block, head};
use crate::support::origin_http2::{Origin2, http2_site};
use crate::support::{Objects, Origin, Plane, answer, edge_cache, objects, until};
use crate::waf_rules::{ATTACK, DEBUG, FORM, policy, protected, rules, site};

const BUFFERED: &str = "breakwater_waf_buffered_bytes";

/// A site before `origin` with two policies: one refuses bodies over 1 KiB, the other looks at the beginning of longer
/// ones.
fn two_policies(origin: &Origin, strict: Mode) -> Objects {
    let strict = policy(ATTACK, |policy, rules| {
        policy.mode = strict;
        rules.reject_larger = true;
    });
    let wide = policy(&ATTACK.replace("1001", "1002"), |policy, rules| {
        policy.order = 1;
        rules.inspect = 4096;
    });
    objects([
        ("site", Unit::EdgeCache(edge_cache(origin.address))),
        ("strict", Unit::WafPolicy(strict)),
        ("wide", Unit::WafPolicy(wide)),
    ])
}

fn chunked(body: &str) -> (String, String) {
    let lines = format!("Content-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n");
    (lines, format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
}

#[tokio::test]
async fn of_two_policies_each_has_its_own_limit_for_a_body_of_unknown_length() {
    let origin = Origin::fixed(answer(200, "", "fine")).await;
    let plane = Plane::start().await;
    plane.apply(two_policies(&origin, Mode::Enforce)).await;
    for (length, status) in [(1000, 200), (2000, 413), (8000, 413)] {
        let (lines, body) = chunked(&format!("a={}", "x".repeat(length - 2)));
        let mut client = plane.client().await;
        let response = client.ask("POST", "shop.test", "/", &lines, body.as_bytes()).await;
        assert_eq!(response.status, status, "{length}");
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_policy_that_only_detects_tells_of_a_body_over_its_limit_once_and_the_next_one_judges_it() {
    let origin = Origin::fixed(answer(200, "", "fine")).await;
    let plane = Plane::start().await;
    plane.apply(two_policies(&origin, Mode::DetectOnly)).await;
    let long = format!("a={}", "x".repeat(8000));
    let announced = format!("Content-Type: {FORM}\r\nContent-Length: {}\r\n", long.len());
    let (lines, body) = chunked(&long);
    let (_, attack) = chunked(&format!("a={}&q=attack", "x".repeat(2000)));
    let mut client = plane.client().await;
    for (lines, body, status) in [(&announced, &long, 200), (&lines, &body, 200), (&lines, &attack, 403)] {
        let response = client.ask("POST", "shop.test", "/", lines, body.as_bytes()).await;
        assert_eq!(response.status, status);
    }
    let told: Vec<_> = plane.audit(4).await;
    let told: Vec<_> = told.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(told, ["body", "body", "body", "rule"]);
}

#[tokio::test]
async fn what_is_wrong_in_the_inspected_part_of_a_longer_body_is_refused_and_that_it_is_longer_is_not() {
    let origin = Origin::fixed(answer(200, "", "fine")).await;
    let plane = Plane::start().await;
    let broken = "SecRule REQBODY_ERROR \"!@eq 0\" \"id:7,phase:2,deny,status:400\"";
    plane.apply(protected(&origin, policy(broken, |_, _| {}))).await;
    let long = "x".repeat(5000);
    for (body, status) in [
        (format!("{{\"a\": \"{long}\"}}"), 200),
        (format!("{{\"a\" 1, \"b\": \"{long}\"}}"), 400),
    ] {
        let lines = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let mut client = plane.client().await;
        let response = client.ask("POST", "shop.test", "/", &lines, body.as_bytes()).await;
        assert_eq!(response.status, status);
    }
}

#[tokio::test]
async fn what_rules_know_of_a_request_takes_its_part_of_the_room_while_the_origin_is_awaited() {
    let (origin, gate) = Origin::gated(|_| answer(200, "Content-Type: text/html\r\n", "fine")).await;
    let plane = Plane::start().await;
    let text = format!("{ATTACK}\nSecRule ARGS \"@rx y\" \"id:8,phase:2,pass,t:hexEncode,t:base64Encode\"");
    let inspecting = policy(&text, |_, rules| {
        rules.inspect = 1 << 20;
        rules.inspect_response = Some(4096);
    });
    plane.apply(protected(&origin, inspecting)).await;
    let mut client = plane.client().await;
    let body = format!("a={}", "x".repeat(400_000));
    let lines = format!("Content-Type: {FORM}\r\nContent-Length: {}\r\n", body.len());
    let asked = tokio::spawn(async move {
        client
            .ask("POST", "shop.test", "/", &lines, body.as_bytes())
            .await
            .status
    });
    origin.reached(1).await;
    // When the body has left, what is held is the body as rules see it, and its one argument.
    let known = 800_000.0..1_000_000.0;
    until(BUFFERED, async || {
        known.contains(&plane.metric(BUFFERED).await).then_some(())
    })
    .await;
    gate.add_permits(1);
    assert_eq!(asked.await.unwrap(), 200);
    plane.metric_reaches(BUFFERED, 0.0).await;
}

#[tokio::test]
async fn what_is_served_from_the_store_holds_nothing_of_its_request() {
    let (origin, gate) =
        Origin::gated(|_| answer(200, "Content-Type: text/html\r\nCache-Control: max-age=60\r\n", "fine")).await;
    let plane = Plane::start().await;
    plane
        .apply(protected(
            &origin,
            policy(DEBUG, |_, rules| rules.inspect_response = Some(4096)),
        ))
        .await;
    let first = plane.client().await;
    let ask =
        |mut client: crate::support::Client| tokio::spawn(async move { client.get("shop.test", "/", "").await.status });
    let first = ask(first);
    origin.reached(1).await;
    let one = plane.metric(BUFFERED).await;
    assert!(one > 0.0);
    let second = ask(plane.client().await);
    plane.metric_reaches(BUFFERED, 2.0 * one).await;
    gate.add_permits(1);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (200, 200));
    plane.metric_reaches(BUFFERED, 0.0).await;
    assert_eq!(origin.count(), 1);
}

/// An origin of HTTP/2 that says which fields stood behind the request.
async fn behind() -> Origin2 {
    Origin2::start(async |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        let mut body = request.into_body();
        while let Some(Ok(piece)) = body.data().await {
            body.flow_control().release_capacity(piece.len()).unwrap();
        }
        let fields = body.trailers().await.unwrap();
        let names: Vec<_> = fields
            .iter()
            .flat_map(http::HeaderMap::keys)
            .map(http::HeaderName::as_str)
            .collect();
        let answer = Response::builder()
            .header("x-behind", names.join(","))
            .body(())
            .unwrap();
        respond.send_response(answer, true).unwrap();
    })
    .await
}

#[tokio::test]
async fn fields_behind_a_request_that_rules_look_at_do_not_reach_the_origin() {
    let origin = behind().await;
    let plane = Plane::start().await;
    let plain = [("site", Unit::EdgeCache(http2_site(origin.address)))];
    let mut looked_at = crate::support::waf_policy(site());
    looked_at.rules = Some(rules(ATTACK));
    for (objects, said) in [
        (objects(plain.clone()), "x-sum"),
        (
            objects(plain.into_iter().chain([("policy", Unit::WafPolicy(looked_at))])),
            "",
        ),
    ] {
        plane.apply(objects).await;
        let mut client = Http2::connect(plane.address(), &[]).await;
        let stream = client.request(&head("POST", "shop.test", "/"), false).await;
        client.send(DATA, 0, stream, b"a=b").await;
        client
            .send(HEADERS, END | END_HEADERS, stream, &block(&[("x-sum", "attack")]))
            .await;
        assert_eq!(client.answer(stream).await.field("x-behind"), Some(said));
        let mut client = plane.client().await;
        let chunks = b"3\r\na=b\r\n0\r\nX-Sum: attack\r\n\r\n";
        let answer = client
            .ask("POST", "shop.test", "/", "Transfer-Encoding: chunked\r\n", chunks)
            .await;
        assert_eq!(answer.field("x-behind"), Some(said));
    }
}
