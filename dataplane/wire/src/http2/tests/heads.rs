//! Request heads: RFC 9113 section 8, then the gate.

use super::*;

fn seen(fields: &[(&str, &str)]) -> Seen {
    let mut peer = Peer::new();
    let mut seen = peer.feed(&headers(1, fields, true));
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen.remove(0)
}

/// The good fields, with one replaced or added behind them.
fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields: Vec<_> = GET.iter().copied().filter(|(other, _)| *other != name).collect();
    let place = if name.starts_with(':') { 0 } else { fields.len() };
    fields.insert(place, (name, value));
    fields
}

#[test]
fn a_request_becomes_the_head_that_http1_would_give() {
    let mut fields = GET.to_vec();
    fields.extend([
        ("cookie", "a=1"),
        ("accept", "*/*"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("cookie", "c=3"),
    ]);
    let text = "GET / None | host: a.example | accept: */* | te: trailers | cookie: a=1; b=2; c=3";
    assert_eq!(seen(&fields), Seen::Request(1, text.to_owned(), true));
}

#[test]
fn the_head_says_that_it_is_http2() {
    let mut peer = Peer::new();
    let bytes = headers(
        1,
        &[&GET[..], &[("expect", "100-continue"), ("user-agent", "t")]].concat(),
        false,
    );
    let mut input = &bytes[..];
    let event = peer.connection.next(&mut input, &mut peer.scratch, &mut peer.out, 0);
    let Ok(Some(Event::Request {
        head,
        end_stream: false,
        ..
    })) = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(head.version, crate::http1::Version::Http2);
    assert_eq!(
        (head.len, head.keep_alive, head.upgrade, head.expect_continue),
        (0, true, false, true)
    );
    assert_eq!(head.framing, crate::http1::Framing::Chunked);
    assert_eq!((head.host.as_str(), head.user_agent), ("a.example", Some(&b"t"[..])));
    assert!(input.is_empty());
}

#[test]
fn pseudo_headers_come_once_first_and_complete() {
    for missing in [":method", ":scheme", ":path"] {
        let fields: Vec<_> = GET.iter().copied().filter(|(name, _)| *name != missing).collect();
        assert_eq!(seen(&fields), Seen::Failed(1, StreamError::Malformed), "{missing}");
    }
    for (name, value) in GET {
        let twice = [&[(name, value)][..], &GET].concat();
        assert_eq!(seen(&twice), Seen::Failed(1, StreamError::Malformed), "{name}");
        let late = GET.iter().copied().filter(|(other, _)| *other != name);
        let late: Vec<_> = late.chain([("x", "y"), (name, value)]).collect();
        assert_eq!(seen(&late), Seen::Failed(1, StreamError::Malformed), "{name}");
    }
    let cookie_first = [&[("cookie", "a")][..], &GET].concat();
    assert_eq!(seen(&cookie_first), Seen::Failed(1, StreamError::Malformed));
    let backwards: Vec<_> = GET.iter().rev().copied().collect();
    assert!(matches!(seen(&backwards), Seen::Request(..)));
    assert_eq!(seen(&[]), Seen::Failed(1, StreamError::Malformed));
}

#[test]
fn what_could_be_read_as_another_request_is_malformed() {
    for (name, value) in [
        (":path", ""),
        (":path", "a"),
        (":path", "*"),
        (":path", "http://b.example/"),
        (":path", "/ HTTP/1.1\r\nhost: b"),
        (":path", "/a b"),
        (":method", "GET / HTTP/1.1"),
        (":authority", "a b"),
        (":authority", ""),
        (":scheme", "gopher"),
        (":protocol", "websocket"),
        (":status", "200"),
        ("connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("X-Upper", "x"),
        ("x", "a\r\ny: b"),
        ("x", " a"),
        ("host", "b.example"),
    ] {
        assert_eq!(
            seen(&with(name, value)),
            Seen::Failed(1, StreamError::Malformed),
            "{name}: {value}"
        );
    }
}

#[test]
fn what_only_the_gate_objects_to_has_the_status_of_the_gate() {
    for (name, value, status) in [
        (":path", "/#a", 400),
        (":path", "/\u{e9}", 400),
        (":authority", "u@a.example", 400),
        (":authority", "a..b", 400),
        ("content-length", "x", 400),
        ("content-length", "9999999999999999999999", 413),
        ("expect", "a-miracle", 417),
    ] {
        assert_eq!(seen(&with(name, value)), Seen::Refused(1, status), "{name}: {value}");
    }
    assert_eq!(seen(&GET[..3]), Seen::Refused(1, 400));
    let long = format!("/{}", "a".repeat(8 * 1024));
    assert_eq!(seen(&with(":path", &long)), Seen::Refused(1, 414));
    let twice = [&GET[..3], &[("host", "a"), ("host", "a")]].concat();
    assert_eq!(seen(&twice), Seen::Refused(1, 400));
    let lengths = [&GET[..], &[("content-length", "0"), ("content-length", "0")]].concat();
    assert_eq!(seen(&lengths), Seen::Refused(1, 400));
}

#[test]
fn host_stands_in_for_authority_and_beside_it_says_the_same() {
    let fields = [&GET[..3], &[("x", "y"), ("host", "b.example")]].concat();
    assert_eq!(
        seen(&fields),
        Seen::Request(1, "GET / None | x: y | host: b.example".to_owned(), true)
    );
    let both = with("host", "A.EXAMPLE");
    assert_eq!(
        seen(&both),
        Seen::Request(1, "GET / None | host: a.example".to_owned(), true)
    );
}

#[test]
fn connect_is_not_implemented_and_extended_connect_was_not_offered() {
    let connect = [(":method", "CONNECT"), (":authority", "a.example:443")];
    assert_eq!(seen(&connect), Seen::Refused(1, 501));
    assert_eq!(
        seen(&with(":method", "CONNECT")),
        Seen::Failed(1, StreamError::Malformed)
    );
    assert_eq!(seen(&[(":method", "CONNECT")]), Seen::Failed(1, StreamError::Malformed));
}

#[test]
fn options_may_ask_about_the_server() {
    let fields = [
        (":method", "OPTIONS"),
        (":scheme", "http"),
        (":path", "*"),
        (":authority", "a"),
    ];
    assert_eq!(
        seen(&fields),
        Seen::Request(1, "OPTIONS * None | host: a".to_owned(), true)
    );
}

#[test]
fn a_list_that_is_too_large_or_has_too_many_fields_is_431_and_the_table_stays_right() {
    let mut peer = Peer::new();
    // Indexed into the table while the list is refused.
    let mut large = block(&GET);
    large.extend([0x40, 1, b'x', 1, b'y']);
    let value = "v".repeat(10_000);
    large.extend(block(&[("a", &value), ("b", &value), ("c", &value)]));
    large.extend([0x40, 1, b'z', 1, b'w']);
    large.extend(block(&[("d", &value)]));
    large.truncate(large.len());
    let first = frame(HEADERS, END_STREAM, 1, &large[..16_000]);
    let second = frame(CONTINUATION, 0, 1, &large[16_000..32_000]);
    let limits = Limits {
        header_block: 64 * 1024,
        ..Limits::DEFAULT
    };
    let mut roomy = Peer::with(limits);
    let third = frame(CONTINUATION, END_HEADERS, 1, &large[32_000..]);
    assert_eq!(roomy.feed(&[first, second, third].concat()), [Seen::Refused(1, 431)]);
    let mut next = block(&GET);
    next.extend([0x80 | 62, 0x80 | 63]);
    let text = "GET / None | host: a.example | z: w | x: y";
    let seen = roomy.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &next));
    assert_eq!(seen, [Seen::Request(3, text.to_owned(), true)]);
    let many: Vec<_> = GET.into_iter().chain(std::iter::repeat_n(("x", "y"), 101)).collect();
    assert_eq!(peer.feed(&headers(1, &many, true)), [Seen::Refused(1, 431)]);
    let crumbs: Vec<_> = GET
        .into_iter()
        .chain(std::iter::repeat_n(("cookie", "y"), 300))
        .collect();
    assert!(matches!(peer.feed(&headers(3, &crumbs, true))[..], [Seen::Request(..)]));
}
