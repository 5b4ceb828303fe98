//! The states of a stream (RFC 9113 section 5.1).

use super::*;

/// A connection whose stream 1 is complete on both sides.
fn with_closed_stream() -> Peer {
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    peer.connection.send_head(1, OK, true, &mut peer.out).expect("open");
    peer.frames();
    assert_eq!(peer.connection.open_streams(), 0);
    peer
}

#[test]
fn a_stream_is_closed_when_both_sides_have_ended() {
    let mut peer = Peer::new();
    peer.request(1, &POST, false);
    assert_eq!(peer.feed(&data(1, b"x", true)), [Seen::Data(1, b"x".to_vec(), true)]);
    assert!(peer.connection.contains(1));
    peer.connection.send_head(1, OK, false, &mut peer.out).expect("open");
    let sent = peer.connection.send_data(1, b"y", true, &mut peer.out).expect("open");
    assert_eq!(sent, Sent { bytes: 1, ended: true });
    assert!(!peer.connection.contains(1));
    assert_eq!(
        peer.connection.send_head(1, OK, true, &mut peer.out),
        Err(SendError::Closed)
    );
}

#[test]
fn frames_behind_the_end_of_a_request_reset_the_stream() {
    for late in [
        data(1, b"x", false),
        data(1, b"", true),
        headers(1, &[("x", "y")], true),
    ] {
        let mut peer = Peer::new();
        peer.request(1, &GET, true);
        peer.expect_failed(&late, 1, StreamError::Closed);
    }
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    peer.expect_closed(&frame(CONTINUATION, END_HEADERS, 1, b""), ConnectionError::Protocol);
}

#[test]
fn frames_on_a_stream_that_the_client_has_reset_are_answered() {
    let reset = frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    let mut peer = Peer::new();
    peer.request(1, &POST, false);
    assert_eq!(peer.feed(&reset), [Seen::Reset(1, ErrorCode::Cancel)]);
    peer.expect_failed(&data(1, b"x", true), 1, StreamError::Closed);
    let mut peer = Peer::new();
    peer.request(1, &POST, false);
    peer.feed(&reset);
    peer.expect_closed(&headers(1, &GET, true), ConnectionError::ClosedStream);
}

#[test]
fn frames_on_a_stream_that_was_complete_are_answered() {
    with_closed_stream().expect_failed(&data(1, b"x", true), 1, StreamError::Closed);
    with_closed_stream().expect_closed(&headers(1, &GET, true), ConnectionError::ClosedStream);
    with_closed_stream().expect_closed(&frame(CONTINUATION, END_HEADERS, 1, b""), ConnectionError::Protocol);
    let mut peer = with_closed_stream();
    let harmless = [
        window_update(1, 1),
        window_update(1, 0),
        frame(RST_STREAM, 0, 1, &[0; 4]),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0]),
    ];
    assert_eq!(peer.feed(&harmless.concat()), []);
    assert_eq!(peer.out, b"");
}

#[test]
fn what_is_on_its_way_when_we_reset_a_stream_is_ignored() {
    let mut peer = Peer::new();
    peer.request(1, &POST, false);
    peer.connection.send_reset(1, ErrorCode::Cancel, &mut peer.out);
    peer.expect_reset(1, ErrorCode::Cancel);
    peer.connection.send_reset(1, ErrorCode::Cancel, &mut peer.out);
    let trailers = [0x40, 1, b'x', 1, b'y'];
    let late = [
        data(1, b"x", false),
        window_update(1, 1),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers),
    ];
    assert_eq!(peer.feed(&late.concat()), []);
    assert_eq!(peer.out, b"");
    // The table has followed the trailers.
    let mut next = block(&GET);
    next.push(0x80 | 62);
    let seen = peer.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &next));
    assert_eq!(
        seen,
        [Seen::Request(3, "GET / None | host: a.example | x: y".to_owned(), true)]
    );
    assert_eq!(peer.connection.glitches(), 0);
}

#[test]
fn what_follows_the_clients_own_reset_is_answered_although_we_had_reset_the_stream() {
    let mut peer = Peer::new();
    peer.request(1, &POST, false);
    peer.connection.send_reset(1, ErrorCode::Cancel, &mut peer.out);
    peer.expect_reset(1, ErrorCode::Cancel);
    assert_eq!(peer.feed(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())), []);
    peer.expect_failed(&data(1, b"x", true), 1, StreamError::Closed);
}

#[test]
fn a_response_that_ends_before_its_request_is_followed_by_a_reset_without_error() {
    let mut peer = Peer::new();
    peer.request(1, &POST, false);
    peer.connection.send_head(1, OK, true, &mut peer.out).expect("open");
    let frames = peer.frames();
    assert_eq!((frames[0].kind, frames[0].flags), (HEADERS, END_HEADERS | END_STREAM));
    assert_eq!((frames[1].kind, &frames[1].payload[..]), (RST_STREAM, &[0; 4][..]));
    assert_eq!(peer.feed(&data(1, b"late", true)), []);
    assert_eq!(peer.out, b"");
}

#[test]
fn a_stream_that_goes_away_in_the_middle_of_a_frame_takes_the_rest_with_it() {
    let mut peer = Peer::new();
    peer.request(1, &POST, false);
    let bytes = [data(1, b"abcdef", true), headers(3, &GET, true)].concat();
    assert_eq!(peer.feed(&bytes[..HEADER + 2]), [Seen::Data(1, b"ab".to_vec(), false)]);
    peer.connection.send_reset(1, ErrorCode::Cancel, &mut peer.out);
    assert!(matches!(peer.feed(&bytes[HEADER + 2..])[..], [Seen::Request(3, ..)]));
}

#[test]
fn identifiers_only_go_up() {
    let mut peer = Peer::new();
    peer.request(5, &GET, true);
    peer.expect_closed(&headers(3, &GET, true), ConnectionError::StreamId);
}

#[test]
fn a_stream_cannot_depend_on_itself() {
    let mut payload = vec![0, 0, 0, 1, 10];
    payload.extend(block(&GET));
    let flags = END_HEADERS | END_STREAM | WITH_PRIORITY;
    Peer::new().expect_failed(&frame(HEADERS, flags, 1, &payload), 1, StreamError::SelfDependency);
    let priority = frame(PRIORITY, 0, 1, &[0x80, 0, 0, 1, 10]);
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    peer.expect_failed(&priority, 1, StreamError::SelfDependency);
    Peer::new().expect_closed(&priority, ConnectionError::Protocol);
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    peer.expect_failed(&frame(PRIORITY, 0, 1, &[0; 4]), 1, StreamError::FrameSize);
}

#[test]
fn a_graceful_end_takes_requests_until_its_second_step() {
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    peer.connection.shutdown(&mut peer.out);
    assert_eq!(peer.frames()[0].payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    peer.request(3, &GET, true);
    peer.connection.goaway(ErrorCode::NoError, &mut peer.out);
    assert_eq!(peer.frames()[0].payload, [0, 0, 0, 3, 0, 0, 0, 0]);
    peer.connection.goaway(ErrorCode::NoError, &mut peer.out);
    assert_eq!(peer.feed(&[headers(5, &POST, false), data(5, b"x", true)].concat()), []);
    assert_eq!(peer.out, b"");
    for stream in [1, 3] {
        assert!(!peer.connection.is_drained());
        peer.connection
            .send_head(stream, OK, true, &mut peer.out)
            .expect("open");
    }
    assert!(peer.connection.is_drained());
}

#[test]
fn a_client_that_goes_away_is_drained_when_its_streams_are_done() {
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2, b'w', b'h', b'y']);
    assert_eq!(peer.feed(&goaway), [Seen::GoAway(0, ErrorCode::InternalError)]);
    assert!(!peer.connection.is_drained());
    peer.connection.send_head(1, OK, true, &mut peer.out).expect("open");
    assert!(peer.connection.is_drained());
}
