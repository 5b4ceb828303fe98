//! The Content-Type of a multipart body, and its boundary.

use super::*;

#[test]
fn the_content_type_is_read_strictly() {
    let cases = [
        ("", "Content-Type header not available."),
        ("multipart/mixed; boundary=B", "Invalid MIME type."),
        ("multipart/form-data", "Boundary not found in C-T."),
        (
            "multipart/form-data; BOUNDARY=B",
            "Invalid boundary in C-T (case sensitivity).",
        ),
        (
            "multipart/form-data; boundary=B; Boundary=C",
            "Multiple boundary parameters in C-T.",
        ),
        (
            "multipart/form-data;; boundary=B",
            "Invalid boundary in C-T (malformed).",
        ),
        ("multipart/form-data; boundary", "Invalid boundary in C-T (malformed)."),
        (
            "multipart/form-data; boundary1=B",
            "Invalid boundary in C-T (parameter name).",
        ),
        ("multipart/form-data; boundary=\"B", "Invalid boundary in C-T (quote)."),
        ("multipart/form-data; boundary=B\"", "Invalid boundary in C-T (quote)."),
        ("multipart/form-data; boundary=", "Invalid boundary in C-T (empty)."),
        ("multipart/form-data; boundary=\"\"", "Invalid boundary in C-T (empty)."),
        (
            "multipart/form-data; boundary=B@",
            "Invalid boundary in C-T (characters).",
        ),
        (
            "multipart/form-data; boundary=B ",
            "Invalid boundary in C-T (characters).",
        ),
    ];
    let body = named("1");
    for (content_type, message) in cases {
        let multipart = read(content_type, &body);
        fails(&multipart, &format!("Multipart: {message}"));
        assert!(multipart.parts.is_empty(), "{content_type}");
    }
    fails(
        &read(&format!("{TYPE}{}", "x".repeat(1024)), ""),
        "Multipart: Invalid boundary in C-T (length).",
    );
}

#[test]
fn oddities_of_the_content_type_are_flagged() {
    let cases = [
        ("multipart/form-data; boundary=\"B\"", "boundary_quoted"),
        ("multipart/form-data boundary=B", "missing_semicolon"),
        ("multipart/form-data; boundary =B", "boundary_whitespace"),
        ("multipart/form-data; boundary=\"B\"; charset=utf-8", "boundary_quoted"),
        (
            "multipart/form-data; a=\"b; c\" ;boundary=\"B\" ; d=e;",
            "boundary_quoted",
        ),
        ("Multipart/Form-Data; boundary=B; charset=utf-8", ""),
        ("multipart/form-data;charset=UTF-8;boundary=B", ""),
        ("multipart/form-data; charset=\"utf-8\" ; boundary=B; a=\"b\";", ""),
    ];
    for (content_type, expected) in cases {
        let body = named("1");
        let multipart = read(content_type, &body);
        assert_eq!(multipart.error, None, "{content_type}");
        assert_eq!(flags(multipart.flags), expected, "{content_type}");
        assert_eq!(multipart.is_strict_error(), !expected.is_empty());
    }
    let body = named("1").replace("--B", "-- B");
    assert_eq!(
        flags(read("multipart/form-data; boundary= B", &body).flags),
        "boundary_whitespace"
    );
}

#[test]
fn a_content_type_that_servers_may_read_in_two_ways_is_an_error() {
    let malformed = "Invalid boundary in C-T (malformed).";
    let multiple = "Multiple boundary parameters in C-T.";
    let cases = [
        ("; charset=x boundary=B", malformed),
        ("; charset = x; boundary=B", malformed),
        ("; charset=; boundary=B", malformed),
        ("; =x; boundary=B", malformed),
        ("; charset; boundary=B", malformed),
        ("; charset=x;; boundary=B", malformed),
        ("; x-boundary=B", malformed),
        ("; a=\"b; boundary=B", malformed),
        ("; a=\"b\\\"; boundary=B; c=\"", malformed),
        ("; a=\"b\\\\\"; boundary=B", malformed),
        ("; a=\"b\"c; boundary=B", malformed),
        ("; a=boundary", malformed),
        ("; boundary=B; charset", malformed),
        ("; boundary=B; a=\"b", malformed),
        ("; boundary=B;; a=b", malformed),
        ("; boundary=\"B\" a=b", malformed),
        ("; boundary=\"B\"C", malformed),
        ("; a=\"boundary=C\"; boundary=B", multiple),
        ("; boundary=B; boundary=B", multiple),
        ("; boundary=B; a=\"; boundary=C\"", multiple),
        ("; boundary*0=B; boundary*1=C", multiple),
        ("; boundary*=utf-8''B", "Invalid boundary in C-T (parameter name)."),
    ];
    let body = named("1");
    for (parameters, message) in cases {
        let multipart = read(&format!("multipart/form-data{parameters}"), &body);
        fails(&multipart, &format!("Multipart: {message}"));
    }
}
