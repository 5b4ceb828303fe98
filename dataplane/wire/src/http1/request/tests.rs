//! The gate, row by row. Each line is raw bytes as a client would send them.

use super::*;
use crate::http1::GateErrorKind as Kind;

fn parse(head: &str) -> Result<RequestHead<'_>, Kind> {
    parse_bytes(head.as_bytes())
}

fn parse_bytes(head: &[u8]) -> Result<RequestHead<'_>, Kind> {
    match parse_request(head, &Limits::default()) {
        Ok(Parsed::Complete(request)) => Ok(request),
        Ok(Parsed::Partial) => panic!("partial: {:?}", String::from_utf8_lossy(head)),
        Err(error) => Err(error.kind()),
    }
}

fn refused(rows: &[(&str, Kind)]) {
    for (head, kind) in rows {
        assert_eq!(parse(head).err(), Some(*kind), "{head:?}");
    }
}

/// A GET with these field lines behind Host.
fn with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

#[test]
fn a_typical_request_is_parsed_into_its_parts() {
    let head = "GET /a/b?c=d&e HTTP/1.1\r\nHost: Shop.example:8080\r\nUser-Agent: x\r\nAccept-Encoding: gzip\r\n\
                If-None-Match: \"1\"\r\nRange: bytes=0-\r\nCookie: s=1\r\ncache-control: no-cache\r\n\r\nrest";
    let request = parse(head).expect("valid");
    assert_eq!(
        (request.method, request.target, request.path),
        ("GET", "/a/b?c=d&e", "/a/b")
    );
    assert_eq!(request.query, Some("c=d&e"));
    assert_eq!((request.host.name(), request.host.port()), ("Shop.example", Some(8080)));
    assert_eq!(&head[request.len..], "rest");
    assert_eq!((request.version, request.framing), (Version::Http11, Framing::None));
    assert!(request.keep_alive && !request.upgrade && !request.expect_continue && !request.repeated);
    assert_eq!(request.if_none_match, Some(&b"\"1\""[..]));
    assert_eq!(request.range, Some(&b"bytes=0-"[..]));
    assert_eq!(request.cache_control, Some(&b"no-cache"[..]));
    assert_eq!(request.cookie, Some(&b"s=1"[..]));
    assert_eq!(request.accept_encoding, request.field("ACCEPT-ENCODING"));
    assert_eq!(request.fields().count(), 7);
}

#[test]
fn a_request_needs_exactly_one_valid_host() {
    refused(&[
        ("GET / HTTP/1.1\r\n\r\n", Kind::HostMissing),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Kind::HostRepeated),
        ("GET / HTTP/1.1\r\nhost: a\r\nHOST: b\r\n\r\n", Kind::HostRepeated),
        ("GET http://a/ HTTP/1.1\r\n\r\n", Kind::HostMissing),
        ("GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n", Kind::HostInvalid),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Kind::HostRepeated),
    ]);
    for host in [
        "", "a/b", "a b", "a,b", "u@a", "a:99999", "a:x", "[::1", "a\u{e9}", "a%20b", "a#", "a?",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(parse(&head).err(), Some(Kind::HostInvalid), "{host:?}");
    }
    assert!(
        parse("GET / HTTP/1.0\r\n\r\n")
            .expect("HTTP/1.0 may do without")
            .host
            .is_empty()
    );
}

#[test]
fn content_length_and_transfer_encoding_together_are_refused() {
    refused(&[
        (
            &with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            Kind::LengthAndTransferEncoding,
        ),
        (
            &with("Transfer-Encoding: chunked\r\nContent-Length: 5"),
            Kind::LengthAndTransferEncoding,
        ),
        (
            &with("Transfer-Encoding: identity\r\nContent-Length: 5"),
            Kind::LengthAndTransferEncoding,
        ),
        (
            &with("transfer-encoding: chunked\r\ncontent-length: 0"),
            Kind::LengthAndTransferEncoding,
        ),
    ]);
}

#[test]
fn only_exactly_chunked_is_a_transfer_encoding() {
    assert_eq!(
        parse(&with("Transfer-Encoding: chunked")).map(|r| r.framing),
        Ok(Framing::Chunked)
    );
    assert_eq!(
        parse(&with("Transfer-Encoding: \t CHUNKED  ")).map(|r| r.framing),
        Ok(Framing::Chunked)
    );
    refused(&[
        (
            &with("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
            Kind::TransferEncodingInvalid,
        ),
        (
            &with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            Kind::TransferEncodingInvalid,
        ),
        (
            &with("Transfer-Encoding: chunked, chunked"),
            Kind::TransferEncodingInvalid,
        ),
        (&with("Transfer-Encoding: chunked, gzip"), Kind::TransferEncodingInvalid),
        (
            &with("Transfer-Encoding: gzip, chunked"),
            Kind::TransferEncodingUnsupported,
        ),
        (&with("Transfer-Encoding: gzip"), Kind::TransferEncodingUnsupported),
        (&with("Transfer-Encoding: identity"), Kind::TransferEncodingUnsupported),
        (&with("Transfer-Encoding: xchunked"), Kind::TransferEncodingUnsupported),
        (&with("Transfer-Encoding: chunked;a=b"), Kind::TransferEncodingInvalid),
        (&with("Transfer-Encoding: \"chunked\""), Kind::TransferEncodingInvalid),
        (&with("Transfer-Encoding: chunked,"), Kind::TransferEncodingInvalid),
        (&with("Transfer-Encoding: ,chunked"), Kind::TransferEncodingInvalid),
        (&with("Transfer-Encoding:"), Kind::TransferEncodingInvalid),
        (&with("Transfer-Encoding: \u{b}chunked"), Kind::FieldValue),
    ]);
}

#[test]
fn transfer_encoding_in_http_1_0_is_refused() {
    refused(&[
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            Kind::TransferEncodingInHttp10,
        ),
        (
            "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: gzip\r\n\r\n",
            Kind::TransferEncodingInHttp10,
        ),
    ]);
}

#[test]
fn content_length_is_one_plain_number() {
    assert_eq!(
        parse(&with("Content-Length: 5")).map(|r| r.framing),
        Ok(Framing::Length(5))
    );
    refused(&[
        (&with("Content-Length: +5"), Kind::ContentLengthInvalid),
        (&with("Content-Length: -5"), Kind::ContentLengthInvalid),
        (&with("Content-Length: 5, 5"), Kind::ContentLengthInvalid),
        (&with("Content-Length: 5 5"), Kind::ContentLengthInvalid),
        (&with("Content-Length: 0x5"), Kind::ContentLengthInvalid),
        (&with("Content-Length: \u{665}"), Kind::ContentLengthInvalid),
        (&with("Content-Length:"), Kind::ContentLengthInvalid),
        (
            &with("Content-Length: 5\r\nContent-Length: 6"),
            Kind::ContentLengthRepeated,
        ),
        (
            &with("Content-Length: 5\r\ncontent-length: 5"),
            Kind::ContentLengthRepeated,
        ),
        (
            &with("Content-Length: 18446744073709551617"),
            Kind::ContentLengthTooLarge,
        ),
    ]);
}

#[test]
fn a_bare_lf_anywhere_in_the_head_is_refused() {
    refused(&[
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Kind::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Kind::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Kind::BareLf),
        ("GET / HTTP/1.1\r\nHost: a \nX: b\r\n\r\n", Kind::BareLf),
        ("GET / HTTP/1.1\r\nX:\nHost: a\r\n\r\n", Kind::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Kind::BareLf),
        ("GET / HTTP/1.1\nHost: a\n\n", Kind::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\n\n", Kind::BareLf),
        ("GET / HTTP/1.0\n\n", Kind::BareLf),
        ("GET / HTTP/1.0\r\n\n", Kind::BareLf),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Kind::BareLf),
        ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Kind::LeadingBytes),
    ]);
}

#[test]
fn a_bare_cr_or_nul_is_refused() {
    refused(&[
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Kind::BareCr),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", Kind::BareCr),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", Kind::BareCr),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Kind::Nul),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", Kind::Nul),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Kind::Nul),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{7f}\r\n\r\n", Kind::FieldValue),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{1b}[0m\r\n\r\n", Kind::FieldValue),
    ]);
}

#[test]
fn folded_lines_and_spaces_around_names_are_refused() {
    refused(&[
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", Kind::ObsFold),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", Kind::ObsFold),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Kind::ObsFold),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Kind::SpaceBeforeColon),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n",
            Kind::SpaceBeforeColon,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Kind::FieldName),
        ("GET / HTTP/1.1\r\nHost: a\r\nX b\r\n\r\n", Kind::FieldName),
        ("GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n", Kind::FieldName),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-L\u{e9}ngth: 5\r\n\r\n",
            Kind::FieldName,
        ),
    ]);
}

#[test]
fn the_target_is_checked_byte_by_byte() {
    refused(&[
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Kind::TargetFragment),
        ("GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n", Kind::TargetFragment),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", Kind::TargetByte),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Kind::TargetForm),
        ("GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", Kind::TargetForm),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Kind::TargetForm),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Kind::TargetForm),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Kind::RequestLine),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Kind::RequestLine),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Kind::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Kind::RequestLine),
        ("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", Kind::RequestLine),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Kind::RequestLine),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Kind::RequestLine),
    ]);
}

#[test]
fn the_authority_of_an_absolute_target_replaces_host() {
    let request = parse("GET HTTP://B:81?q HTTP/1.1\r\nHost: a\r\n\r\n").expect("valid");
    assert_eq!(
        (request.host.as_str(), request.path, request.query),
        ("B:81", "/", Some("q"))
    );
    assert_eq!(request.form, TargetForm::Http);
    let owned = request.to_owned().expect("valid");
    assert_eq!(
        (owned.headers["host"].as_bytes(), owned.target.as_str()),
        (&b"B:81"[..], "/?q")
    );
    assert_eq!((owned.path(), owned.query()), ("/", Some("q")));
    assert_eq!(
        parse("GET https://b/c HTTP/1.1\r\nHost: a\r\n\r\n").map(|r| (r.path, r.form)),
        Ok(("/c", TargetForm::Https))
    );
    for authority in ["", "u@b", "u:p@b", "b:x", "b\\c", "[::1", "b%2f"] {
        let head = format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(parse(&head).err(), Some(Kind::TargetAuthority), "{authority}");
    }
}

#[test]
fn asterisk_is_for_options_only() {
    assert_eq!(
        parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").map(|r| (r.path, r.form)),
        Ok(("*", TargetForm::Asterisk))
    );
    assert_eq!(
        parse("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n").map(|r| r.path),
        Ok("*")
    );
    assert_eq!(
        parse("OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n").map(|r| r.path),
        Ok("/")
    );
    refused(&[
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Kind::TargetForm),
        ("OPTIONS *?a HTTP/1.1\r\nHost: a\r\n\r\n", Kind::TargetForm),
    ]);
}

#[test]
fn connect_is_refused_with_501() {
    let error = parse_request(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", &Limits::default()).expect_err("refused");
    assert_eq!((error.kind(), error.status()), (Kind::Connect, 501));
}

#[test]
fn other_versions_are_refused_with_505() {
    refused(&[
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Kind::Version),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Kind::Version),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Kind::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Kind::Version),
        ("GET /\r\n", Kind::Version),
        ("GET / HTTP/11\r\nHost: a\r\n\r\n", Kind::RequestLine),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", Kind::RequestLine),
        ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", Kind::RequestLine),
    ]);
    assert_eq!(GateError::from(Kind::Version).status(), 505);
}

#[test]
fn one_empty_line_before_the_request_is_skipped_and_counted() {
    let head = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(parse(head).map(|r| r.len), Ok(head.len()));
    refused(&[("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Kind::LeadingBytes)]);
}

#[test]
fn pipelined_requests_end_where_the_next_one_begins() {
    let wire = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: c\r\n\r\n";
    let first = parse(wire).expect("valid");
    let second = parse(&wire[first.len..]).expect("valid");
    assert_eq!(
        (first.path, second.path, second.framing),
        ("/1", "/2", Framing::Length(3))
    );
    let third = parse(&wire[first.len + second.len + 3..]).expect("valid");
    assert_eq!((third.path, third.host.name(), third.fields().count()), ("/3", "c", 1));
}

#[test]
fn every_prefix_of_a_head_is_partial() {
    let head = b"\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: \xff \r\n\r\n";
    for end in 0..head.len() {
        let result = parse_request(&head[..end], &Limits::default());
        assert!(matches!(result, Ok(Parsed::Partial)), "{end}: {result:?}");
        assert!(!head_may_be_complete(&head[..end], 0), "{end}");
    }
    assert!(head_may_be_complete(head, head.len() - 1));
    assert_eq!(parse_bytes(head).map(|r| r.len), Ok(head.len()));
}

#[test]
fn limits_hold_for_complete_and_for_incomplete_heads() {
    let limits = Limits {
        request_line: 32,
        head: 100,
        fields: 3,
    };
    let kind = |head: &str| match parse_request(head.as_bytes(), &limits) {
        Ok(Parsed::Complete(_)) => None,
        Ok(Parsed::Partial) => panic!("partial: {head:?}"),
        Err(error) => Some((error.kind(), error.status())),
    };
    let long = "a".repeat(200);
    for head in [
        format!("GET /{long}"),
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..30]),
    ] {
        assert_eq!(kind(&head), Some((Kind::RequestLineTooLong, 414)), "{head}");
    }
    for head in [
        format!("GET / HTTP/1.1\r\nX: {long}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
    ] {
        assert_eq!(kind(&head), Some((Kind::HeadTooLarge, 431)), "{head}");
    }
    assert_eq!(kind("GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nD: e\r\n\r\n"), None);
    assert_eq!(
        kind("GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nD: e\r\nF: g\r\n\r\n"),
        Some((Kind::TooManyFields, 431))
    );
    let exact = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "b".repeat(100 - 32));
    assert_eq!(exact.len(), 100);
    assert_eq!(kind(&exact), None);
}

#[test]
fn more_fields_than_there_is_room_for_are_refused_whatever_the_limit() {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(MAX_FIELDS));
    let limits = Limits {
        fields: usize::MAX,
        ..Limits::default()
    };
    assert_eq!(
        parse_request(head.as_bytes(), &limits).err().map(|e| e.kind()),
        Some(Kind::TooManyFields)
    );
}

#[test]
fn persistence_follows_version_and_connection() {
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", false),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
            false,
        ),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", true),
    ] {
        assert_eq!(parse(head).map(|r| r.keep_alive), Ok(expected), "{head:?}");
    }
}

#[test]
fn an_upgrade_needs_both_fields_and_http_1_1() {
    let upgrade = |head: &str| parse(head).map(|r| r.upgrade);
    assert_eq!(
        upgrade(&with("Connection: keep-alive, Upgrade\r\nUpgrade: websocket")),
        Ok(true)
    );
    assert_eq!(upgrade(&with("Upgrade: websocket")), Ok(false));
    assert_eq!(upgrade(&with("Connection: upgrade")), Ok(false));
    assert_eq!(upgrade(&with("Connection: upgrade\r\nUpgrade:")), Ok(false));
    assert_eq!(
        upgrade("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        Ok(false)
    );
}

#[test]
fn only_100_continue_can_be_expected() {
    let waits = |head: &str| parse(head).map(|r| r.expect_continue);
    assert_eq!(waits(&with("Expect: 100-Continue\r\nContent-Length: 1")), Ok(true));
    assert_eq!(waits(&with("Expect: 100-continue\r\nContent-Length: 0")), Ok(false));
    assert_eq!(waits(&with("Expect: 100-continue")), Ok(false));
    assert_eq!(
        waits("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"),
        Ok(false)
    );
    refused(&[
        (&with("Expect: 200-ok"), Kind::Expectation),
        (&with("Expect:"), Kind::Expectation),
    ]);
}

#[test]
fn repeated_fields_are_reported() {
    let head = with("If-None-Match: \"1\"\r\nIf-None-Match: \"2\"");
    let request = parse(&head).expect("valid");
    assert!(request.repeated);
    assert_eq!(request.if_none_match, Some(&b"\"1\""[..]));
}

#[test]
fn options_of_connection_that_are_fields_are_told_from_those_that_steer_it() {
    let names = |options: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {options}\r\n\r\n");
        parse(&head).map(|r| r.names_fields)
    };
    for options in [
        "close",
        "keep-alive, Upgrade",
        "TE, close",
        "Upgrade, HTTP2-Settings",
        ",",
    ] {
        assert_eq!(names(options), Ok(false), "{options}");
    }
    for options in ["X-Country", "close, Accept-Language", "keep-alive,\tte,x"] {
        assert_eq!(names(options), Ok(true), "{options}");
    }
}

#[test]
fn the_path_of_an_owned_request_can_be_replaced() {
    let mut owned = parse("GET /a/../b?c HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("valid")
        .to_owned()
        .expect("valid");
    owned.set_path("/b");
    assert_eq!(
        (owned.target.as_str(), owned.path(), owned.query()),
        ("/b?c", "/b", Some("c"))
    );
}
