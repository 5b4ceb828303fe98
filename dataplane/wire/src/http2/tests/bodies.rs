//! Bodies of requests: lengths, ends, padding, trailers.

use super::*;

fn post(length: &str) -> Vec<(&str, &str)> {
    let mut fields = POST.to_vec();
    fields.push(("content-length", length));
    fields
}

#[test]
fn a_body_comes_in_the_pieces_it_was_sent_in() {
    let mut peer = Peer::new();
    peer.request(1, &post("5"), false);
    let mut padded = vec![2];
    padded.extend(b"cd\0\0");
    let bytes = [
        data(1, b"ab", false),
        frame(DATA, PADDED, 1, &padded),
        data(1, b"e", true),
    ]
    .concat();
    let seen = [
        Seen::Data(1, b"ab".to_vec(), false),
        Seen::Data(1, b"cd".to_vec(), false),
        Seen::Data(1, b"e".to_vec(), true),
    ];
    assert_eq!(peer.feed(&bytes), seen);
}

#[test]
fn an_empty_frame_may_end_a_body() {
    let mut peer = Peer::new();
    peer.request(1, &post("0"), false);
    assert_eq!(peer.feed(&data(1, b"", true)), [Seen::Data(1, vec![], true)]);
    peer.request(3, &POST, false);
    // Nothing but padding.
    assert_eq!(
        peer.feed(&frame(DATA, END_STREAM | PADDED, 3, &[1, 0])),
        [Seen::Data(3, vec![], true)]
    );
}

#[test]
fn a_body_is_as_long_as_content_length_says() {
    let too_long = data(1, b"abc", false);
    let too_long_at_once = data(1, b"abc", true);
    let too_short = data(1, b"a", true);
    let in_two = [data(1, b"a", false), data(1, b"", true)].concat();
    for bytes in [too_long, too_long_at_once, too_short] {
        let mut peer = Peer::new();
        peer.request(1, &post("2"), false);
        peer.expect_failed(&bytes, 1, StreamError::ContentLength);
    }
    let mut peer = Peer::new();
    peer.request(1, &post("2"), false);
    let seen = [
        Seen::Data(1, b"a".to_vec(), false),
        Seen::Failed(1, StreamError::ContentLength),
    ];
    assert_eq!(peer.feed(&in_two), seen);
    Peer::new().expect_failed(&headers(1, &post("2"), true), 1, StreamError::ContentLength);
    let mut peer = Peer::new();
    peer.request(1, &post("2"), false);
    peer.expect_failed(&headers(1, &[("x", "y")], true), 1, StreamError::ContentLength);
    let mut peer = Peer::new();
    peer.request(1, &post("0"), true);
}

#[test]
fn trailers_end_a_body_and_follow_the_rules_of_fields() {
    let mut peer = Peer::new();
    peer.request(1, &post("1"), false);
    let bytes = [data(1, b"a", false), headers(1, &[("x", "y"), ("z", "")], true)].concat();
    let fields = vec![("x".to_owned(), "y".to_owned()), ("z".to_owned(), String::new())];
    assert_eq!(
        peer.feed(&bytes),
        [Seen::Data(1, b"a".to_vec(), false), Seen::Trailers(1, fields)]
    );
    for (name, value) in [(":path", "/"), ("X", "y"), ("connection", "close"), ("x", "a\nb")] {
        let mut peer = Peer::new();
        peer.request(1, &POST, false);
        peer.expect_failed(&headers(1, &[(name, value)], true), 1, StreamError::Malformed);
    }
    let mut peer = Peer::new();
    peer.request(1, &POST, false);
    peer.expect_failed(&headers(1, &[("x", "y")], false), 1, StreamError::Trailers);
}

#[test]
fn the_body_of_a_refused_request_is_nobodys() {
    let mut peer = Peer::new();
    assert_eq!(peer.feed(&headers(1, &POST[..3], false)), [Seen::Refused(1, 400)]);
    assert_eq!(peer.feed(&data(1, b"x", false)), []);
    peer.connection
        .send_head(1, b"HTTP/1.1 400 Bad Request\r\n\r\n", false, &mut peer.out)
        .expect("open");
    peer.connection.send_data(1, b"no", true, &mut peer.out).expect("open");
    let kinds: Vec<_> = peer.frames().iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [HEADERS, DATA, RST_STREAM]);
    assert_eq!(peer.feed(&data(1, b"x", true)), []);
    assert_eq!(peer.out, b"");
}
