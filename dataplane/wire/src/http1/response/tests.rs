//! Responses of honest, odd and lying origins.

use super::*;

fn parse(head: &str) -> Result<ResponseHead<'_>, ResponseError> {
    parse_for("GET", head)
}

fn parse_for<'b>(method: &str, head: &'b str) -> Result<ResponseHead<'b>, ResponseError> {
    match parse_response(head.as_bytes(), method, &Limits::default())? {
        Parsed::Complete(response) => Ok(response),
        Parsed::Partial => panic!("partial: {head:?}"),
    }
}

fn ok(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")
}

#[test]
fn a_response_is_parsed_into_its_parts() {
    let head = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nETag: \"1\"\r\n\r\nhello";
    let response = parse(head).expect("valid");
    assert_eq!(
        (response.status, response.reason, response.version),
        (404, "Not Found", Version::Http11)
    );
    assert_eq!(
        (response.framing, response.content_length),
        (ResponseFraming::Length(5), Some(5))
    );
    assert_eq!(&head[response.len..], "hello");
    assert!(response.keep_alive);
    assert_eq!(response.to_owned().expect("valid").headers["etag"], "\"1\"");
}

#[test]
fn framing_follows_rfc_9112() {
    for (head, framing, keep_alive) in [
        (ok("Transfer-Encoding: chunked"), ResponseFraming::Chunked, true),
        (ok("Content-Length: 0"), ResponseFraming::Length(0), true),
        (ok("X: y"), ResponseFraming::UntilClose, false),
        (ok("Transfer-Encoding: foo"), ResponseFraming::UntilClose, false),
        (
            ok("Content-Length: 5\r\nConnection: close"),
            ResponseFraming::Length(5),
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n".into(),
            ResponseFraming::Length(5),
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n".into(),
            ResponseFraming::Length(5),
            true,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".into(),
            ResponseFraming::None,
            true,
        ),
        ("HTTP/1.1 204\r\n\r\n".into(), ResponseFraming::None, true),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".into(),
            ResponseFraming::None,
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            ResponseFraming::None,
            false,
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".into(),
            ResponseFraming::None,
            true,
        ),
    ] {
        let response = parse(&head).expect(&head);
        assert_eq!(
            (response.framing, response.keep_alive),
            (framing, keep_alive),
            "{head:?}"
        );
    }
    let head = ok("Content-Length: 5");
    let response = parse_for("HEAD", &head).expect("valid");
    assert_eq!(
        (response.framing, response.content_length),
        (ResponseFraming::None, Some(5))
    );
}

#[test]
fn ambiguous_framing_is_an_error() {
    for (lines, error) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            ResponseError::LengthAndTransferEncoding,
        ),
        ("Content-Length: 5\r\nContent-Length: 5", ResponseError::ContentLength),
        ("Content-Length: 5, 5", ResponseError::ContentLength),
        ("Content-Length: +5", ResponseError::ContentLength),
        ("Content-Length:", ResponseError::ContentLength),
        ("Content-Length: 99999999999999999999", ResponseError::ContentLength),
        ("Transfer-Encoding: gzip, chunked", ResponseError::TransferEncoding),
        ("Transfer-Encoding: chunked, chunked", ResponseError::TransferEncoding),
        ("Transfer-Encoding: xchunked", ResponseError::TransferEncoding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: foo",
            ResponseError::TransferEncoding,
        ),
    ] {
        assert_eq!(parse(&ok(lines)).err(), Some(error), "{lines:?}");
        assert_eq!(parse_for("HEAD", &ok(lines)).err(), Some(error), "{lines:?}");
    }
    let http10 = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(http10).err(), Some(ResponseError::TransferEncoding));
}

#[test]
fn malformed_heads_are_errors() {
    for (head, error) in [
        ("HTTP/2.0 200 OK\r\n\r\n", ResponseError::StatusLine),
        ("HTTP/1.1 099 Low\r\n\r\n", ResponseError::StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", ResponseError::StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", ResponseError::StatusLine),
        ("hello", ResponseError::StatusLine),
        ("HTTP/1.1 200 OK\nX: y\r\n\r\n", ResponseError::BareLf),
        ("HTTP/1.1 200 OK\r\nX: y\n\r\n", ResponseError::BareLf),
        ("HTTP/1.1 200 OK\r\nX: y\r\n\n", ResponseError::BareLf),
        ("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", ResponseError::Field),
        ("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", ResponseError::Field),
        ("HTTP/1.1 200 OK\r\nX: y\0\r\n\r\n", ResponseError::Field),
        ("HTTP/1.1 200 OK\r\nX: y\rSet-Cookie: z\r\n\r\n", ResponseError::Field),
    ] {
        assert_eq!(parse(head).err(), Some(error), "{head:?}");
    }
}

#[test]
fn every_prefix_is_partial_and_limits_hold() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    for end in 0..head.len() {
        assert!(
            matches!(
                parse_response(&head[..end], "GET", &Limits::default()),
                Ok(Parsed::Partial)
            ),
            "{end}"
        );
    }
    let limits = Limits {
        request_line: 16,
        head: 64,
        fields: 1,
    };
    let error = |head: &str| parse_response(head.as_bytes(), "GET", &limits).err();
    assert_eq!(error(&ok(&"x".repeat(100))), Some(ResponseError::HeadTooLarge));
    assert_eq!(
        error("HTTP/1.1 200 A long reason\r\n\r\n"),
        Some(ResponseError::HeadTooLarge)
    );
    assert_eq!(error(&ok("A: b\r\nC: d")), Some(ResponseError::TooManyFields));
}

#[test]
fn a_101_with_both_fields_is_an_upgrade() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let response = parse(head).expect("valid");
    assert!(response.upgrade && !response.is_interim());
    assert_eq!(response.framing, ResponseFraming::None);
    assert!(
        !parse("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
            .expect("valid")
            .upgrade
    );
}
