//! Bodies that are not what their type says, and how the audit line tells what was wrong.

use crate::waf_rules::{ATTACK, plane, post};

fn form(boundary: &str, value: &str) -> String {
    format!("--{boundary}\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\n{value}\r\n--{boundary}--\r\n")
}

#[tokio::test]
async fn a_quoted_boundary_is_one_and_what_is_in_the_form_is_judged() {
    let (_origin, plane) = plane(ATTACK, |_, _| {}).await;
    for kind in [
        "multipart/form-data; boundary=\"abc\"",
        "multipart/form-data;boundary=\"abc\"",
        "multipart/form-data; boundary=abc",
        "multipart/form-data;charset=UTF-8;boundary=abc",
        "multipart/form-data; boundary=\"abc\"; charset=utf-8",
    ] {
        for (value, status) in [("fine", 200), ("attack", 403)] {
            let body = form("abc", value);
            for body in [format!("\r\n{body}\r\n"), body] {
                let answered = post(&mut plane.client().await, "/", kind, body.as_bytes()).await;
                assert_eq!(answered.0, status, "{kind} {body:?}");
            }
        }
    }
    let spaced = "multipart/form-data; boundary=\"a b:c\"";
    let body = form("a b:c", "attack");
    assert_eq!(
        post(&mut plane.client().await, "/", spaced, body.as_bytes()).await.0,
        403
    );
}

#[tokio::test]
async fn a_rule_of_ones_own_may_refuse_quoted_boundaries_as_modsecurity_does() {
    let strict = "SecRule MULTIPART_STRICT_ERROR \"!@eq 0\" \"id:200003,phase:2,deny,status:400\"";
    let (origin, plane) = plane(strict, |_, _| {}).await;
    let kind = "multipart/form-data; boundary=\"abc\"";
    let body = form("abc", "fine");
    assert_eq!(post(&mut plane.client().await, "/", kind, body.as_bytes()).await.0, 400);
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn the_audit_line_says_what_is_odd_about_a_multipart_body() {
    let (origin, plane) = plane("SecRuleEngine On", |_, _| {}).await;
    let kind = "multipart/form-data; boundary=abc";
    let whole = form("abc", "fine");
    let cases = [
        (kind, format!("before\r\n{whole}"), "MULTIPART_DATA_BEFORE"),
        (kind, format!("{whole}after"), "MULTIPART_DATA_AFTER"),
        (kind, whole.replace("\r\n", "\n"), "MULTIPART_LF_LINE"),
        (
            kind,
            whole.replace("name=\"q\"", "name='q'"),
            "MULTIPART_INVALID_QUOTING",
        ),
        (
            "multipart/form-data boundary=abc",
            whole.clone(),
            "MULTIPART_MISSING_SEMICOLON",
        ),
        (
            "multipart/form-data; boundary =abc",
            whole.clone(),
            "MULTIPART_BOUNDARY_WHITESPACE",
        ),
        (
            kind,
            format!("before\n{}after", whole.replace("\r\n", "\n")),
            "MULTIPART_DATA_BEFORE MULTIPART_DATA_AFTER MULTIPART_LF_LINE",
        ),
    ];
    for (kind, body, _) in &cases {
        let answered = post(&mut plane.client().await, "/", kind, body.as_bytes()).await;
        assert_eq!(answered.0, 400, "{body:?}");
    }
    assert_eq!(origin.count(), 0);
    for (line, (_, body, flags)) in plane.audit(cases.len()).await.iter().zip(&cases) {
        let rule = &line["rules"][0];
        assert_eq!(rule["id"], 200_003, "{line}");
        let data = rule["data"].as_str().unwrap_or_default();
        for flag in flags.split(' ') {
            assert!(data.contains(flag), "{flag} is not in {data:?}: {body:?}");
        }
    }
}

#[tokio::test]
async fn a_byte_order_mark_before_json_is_passed_over_and_the_document_is_judged() {
    let (_origin, plane) = plane(ATTACK, |_, _| {}).await;
    let json = "application/json";
    for (body, status) in [
        ("\u{feff}{\"q\": \"fine\"}", 200),
        ("\u{feff}{\"q\": \"attack\"}", 403),
        ("\u{feff} [\"attack\"]", 403),
    ] {
        let answered = post(&mut plane.client().await, "/", json, body.as_bytes()).await;
        assert_eq!(answered.0, status, "{body}");
    }
}

#[tokio::test]
async fn the_audit_line_says_why_a_body_is_not_json() {
    let (_origin, plane) = plane("SecRuleEngine On", |_, _| {}).await;
    let utf16 = [0xff, 0xfe, b'{', 0, b'}', 0];
    let two = b"\xef\xbb\xbf\xef\xbb\xbf{}";
    for body in [&utf16[..], &two[..], b"{\"a\" 1}"] {
        let answered = post(&mut plane.client().await, "/", "application/json", body).await;
        assert_eq!(answered.0, 400, "{body:?}");
    }
    for line in plane.audit(3).await {
        let rule = &line["rules"][0];
        assert_eq!(rule["id"], 200_002);
        assert!(
            rule["data"].as_str().is_some_and(|data| data.contains("JSON")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn an_xml_document_whose_dtd_lies_elsewhere_is_refused_and_the_audit_line_says_why() {
    let (origin, plane) = plane("SecRuleEngine On", |_, _| {}).await;
    let body = "<!DOCTYPE a SYSTEM \"http://evil.test/x.dtd\"><a/>";
    let answered = post(&mut plane.client().await, "/", "application/xml", body.as_bytes()).await;
    assert_eq!((answered.0, origin.count()), (400, 0));
    for line in plane.audit(1).await {
        let rule = &line["rules"][0];
        assert_eq!(rule["id"], 200_002);
        assert_eq!(rule["data"], "its DOCTYPE has an external subset");
    }
}

#[tokio::test]
async fn a_rule_sees_bodies_of_types_that_nothing_takes_apart() {
    let rule = "SecRule REQUEST_BODY \"@contains attack\" \"id:1,phase:2,deny\"";
    let (_origin, plane) = plane(rule, |_, _| {}).await;
    for kind in ["text/plain", "application/octet-stream", "application/x-ndjson"] {
        for (body, status) in [("fine", 200), ("an attack", 403)] {
            let answered = post(&mut plane.client().await, "/", kind, body.as_bytes()).await;
            assert_eq!(answered.0, status, "{kind} {body}");
        }
    }
}
