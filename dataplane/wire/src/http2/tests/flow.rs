//! Windows in both directions (RFC 9113 section 5.2).

use super::*;

const SMALL: Limits = Limits {
    stream_window: 70_000,
    connection_window: 100_000,
    ..Limits::DEFAULT
};

/// Feeds frames of body; the number of bytes that came out.
fn upload(peer: &mut Peer, stream: u32, len: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    let body = vec![b'x'; len];
    for piece in body.chunks(MAX_FRAME) {
        seen.extend(peer.feed(&data(stream, piece, false)));
    }
    seen
}

#[test]
fn a_window_that_is_not_given_back_stops_the_client() {
    let mut peer = Peer::with(SMALL);
    peer.request(1, &POST, false);
    assert_eq!(upload(&mut peer, 1, 70_000).len(), 5);
    assert_eq!(peer.out, b"");
    peer.expect_failed(&data(1, b"x", false), 1, StreamError::FlowControl);
}

#[test]
fn the_window_of_the_connection_holds_for_all_streams_together() {
    let mut peer = Peer::with(SMALL);
    peer.request(1, &POST, false);
    peer.request(3, &POST, false);
    upload(&mut peer, 1, 60_000);
    upload(&mut peer, 3, 40_000);
    assert_eq!(peer.out, b"");
    peer.expect_closed(&data(3, b"x", false), ConnectionError::FlowControl);
}

#[test]
fn what_is_released_is_given_back_by_half_windows() {
    let mut peer = Peer::with(SMALL);
    peer.request(1, &POST, false);
    upload(&mut peer, 1, 60_000);
    peer.connection.release(1, 34_999, &mut peer.out);
    assert_eq!(peer.out, b"");
    peer.connection.release(1, 1, &mut peer.out);
    assert_eq!(peer.out, window_update(1, 35_000));
    peer.out.clear();
    peer.connection.release(1, 15_000, &mut peer.out);
    assert_eq!(peer.out, window_update(0, 50_000));
    peer.out.clear();
    // More than was delivered cannot be given back.
    peer.connection.release(1, usize::MAX, &mut peer.out);
    peer.connection.release(1, usize::MAX, &mut peer.out);
    assert_eq!(peer.out, b"");
    assert_eq!(upload(&mut peer, 1, 45_000).len(), 3);
    peer.expect_failed(&data(1, b"x", false), 1, StreamError::FlowControl);
}

#[test]
fn the_window_of_the_connection_survives_whatever_becomes_of_its_streams() {
    let mut peer = Peer::with(SMALL);
    for round in 0..40_u32 {
        let stream = 2 * round + 1;
        peer.now_ms += 60_000;
        peer.request(stream, &POST, false);
        upload(&mut peer, stream, 20_000);
        match round % 4 {
            0 => drop(peer.feed(&frame(RST_STREAM, 0, stream, &[0; 4]))),
            1 => peer.connection.send_reset(stream, ErrorCode::Cancel, &mut peer.out),
            2 => peer
                .connection
                .send_head(stream, OK, true, &mut peer.out)
                .expect("open"),
            _ => {
                peer.feed(&headers(stream, &[("x", "y")], false));
            }
        }
        assert!(!peer.connection.contains(stream));
        // In flight when it happened.
        let late = vec![b'x'; 10_000];
        let seen = peer.feed(&frame(DATA, PADDED, stream, &late));
        assert!(
            !seen.iter().any(|seen| matches!(seen, Seen::Closed(_) | Seen::Data(..))),
            "{seen:?}"
        );
        peer.connection.flushed();
    }
}

/// The sum of the window updates for a stream that were sent since the last call; 0 is the connection.
fn given(frames: &[Out], stream: u32) -> u32 {
    let updates = frames
        .iter()
        .filter(|out| out.kind == WINDOW_UPDATE && out.stream == stream);
    updates.map(|out| number(&out.payload)).sum()
}

/// Uploads as much as the window of a stream allows, and consumes it at once, with `room` for more.
fn consumed_at_once(peer: &mut Peer, stream: u32, window: &mut u32, room: u32) {
    upload(peer, stream, *window as usize);
    peer.connection.consume(stream, *window as usize, room, &mut peer.out);
    *window = given(&peer.frames(), stream);
}

const GROWING: Limits = Limits {
    stream_window: 64 * 1024,
    widest_stream_window: 1024 * 1024,
    wider_connection: 1024 * 1024,
    ..Limits::DEFAULT
};

#[test]
fn a_window_that_is_consumed_as_fast_as_it_fills_doubles_up_to_the_widest() {
    let mut peer = Peer::with(GROWING);
    peer.request(1, &POST, false);
    let mut window = 64 * 1024;
    let mut windows = Vec::new();
    for _ in 0..6 {
        consumed_at_once(&mut peer, 1, &mut window, u32::MAX);
        windows.push(window / 1024);
    }
    assert_eq!(windows, [128, 256, 512, 1024, 1024, 1024]);
    assert_eq!(peer.connection.wider(), (1024 - 64) * 1024);
    assert_eq!(upload(&mut peer, 1, 1024 * 1024).len(), 64);
    peer.expect_failed(&data(1, b"x", false), 1, StreamError::FlowControl);
}

#[test]
fn a_window_whose_content_waits_stays_as_it_is() {
    let mut peer = Peer::with(GROWING);
    peer.request(1, &POST, false);
    for _ in 0..20 {
        upload(&mut peer, 1, 40_000);
        // A byte is left each time.
        peer.connection.consume(1, 39_999, u32::MAX, &mut peer.out);
        peer.connection.consume(1, 1, 0, &mut peer.out);
    }
    assert_eq!(peer.connection.wider(), 0);
}

#[test]
fn a_window_grows_no_further_than_there_is_room_or_content_to_come() {
    let mut peer = Peer::with(GROWING);
    peer.request(1, &POST, false);
    let mut window = 64 * 1024;
    consumed_at_once(&mut peer, 1, &mut window, 10_000);
    assert_eq!((window, peer.connection.wider()), (64 * 1024 + 10_000, 10_000));
    let announced = [&POST[..], &[("content-length", "100000")]].concat();
    peer.request(3, &announced, false);
    let mut window = 64 * 1024;
    consumed_at_once(&mut peer, 3, &mut window, u32::MAX);
    assert_eq!(window, 64 * 1024, "all the rest fits");
}

#[test]
fn what_a_stream_needs_no_more_is_another_s_or_is_taken_back() {
    let mut peer = Peer::with(GROWING);
    for stream in [1, 3] {
        peer.request(stream, &POST, false);
        let mut window = 64 * 1024;
        for _ in 0..5 {
            consumed_at_once(&mut peer, stream, &mut window, u32::MAX);
        }
        // The second takes over what the first had: nothing is added.
        assert_eq!(peer.connection.wider(), (1024 - 64) * 1024);
        assert_eq!(peer.feed(&data(stream, b"", true)).len(), 1);
    }
    // Ordinary uploads pay it back, and the connection's window is as wide as at first.
    let mut stream = 5;
    while peer.connection.wider() > 0 {
        peer.request(stream, &POST, false);
        upload(&mut peer, stream, 60_000);
        peer.connection.release(stream, 60_000, &mut peer.out);
        peer.feed(&data(stream, b"", true));
        peer.connection
            .send_head(stream, OK, true, &mut peer.out)
            .expect("open");
        peer.now_ms += 1000;
        stream += 2;
        assert!(stream < 100, "it comes to an end");
    }
    let mut waiting = 0;
    for stream in [101, 103, 105, 107, 109] {
        peer.request(stream, &POST, false);
        let seen = upload(&mut peer, stream, 60_000);
        if seen.contains(&Seen::Closed(ConnectionError::FlowControl)) {
            break;
        }
        waiting += 60_000;
    }
    assert!((60_000..=256 * 1024).contains(&waiting), "{waiting} bytes wait");
}

#[test]
fn padding_is_given_back_without_being_asked_for() {
    let mut peer = Peer::with(SMALL);
    peer.request(1, &POST, false);
    let mut padded = vec![255];
    padded.extend([0; 255]);
    for round in 0..500 {
        padded.truncate(256);
        padded.insert(1, b'x');
        assert_eq!(peer.feed(&frame(DATA, PADDED, 1, &padded)).len(), 1, "{round}");
    }
    assert!(!peer.out.is_empty());
}

#[test]
fn nothing_is_sent_beyond_the_windows() {
    let mut peer = Peer::new();
    peer.feed(&setting(INITIAL_WINDOW_SIZE, 3));
    peer.request(1, &GET, true);
    peer.frames();
    peer.connection.send_head(1, OK, false, &mut peer.out).expect("open");
    peer.frames();
    let sent = peer
        .connection
        .send_data(1, b"hello", true, &mut peer.out)
        .expect("open");
    assert_eq!(sent, Sent { bytes: 3, ended: false });
    assert_eq!(peer.out, data(1, b"hel", false));
    peer.out.clear();
    let sent = peer.connection.send_data(1, b"lo", true, &mut peer.out).expect("open");
    assert_eq!((sent, &peer.out[..]), (Sent::default(), &b""[..]));
    peer.connection.set_waiting(1, true);
    assert_eq!(peer.connection.next_writable(), None);
    assert_eq!(peer.feed(&window_update(1, 1)), [Seen::Writable(Some(1))]);
    assert_eq!(peer.connection.next_writable(), Some(1));
    assert_eq!(peer.connection.send_capacity(1), 1);
    assert_eq!(peer.feed(&setting(INITIAL_WINDOW_SIZE, 1)), []);
    peer.frames();
    // The window is negative now: one byte more is not enough.
    assert_eq!(peer.connection.send_capacity(1), 0);
    assert_eq!(peer.feed(&window_update(1, 1)), []);
    assert_eq!(peer.feed(&setting(INITIAL_WINDOW_SIZE, 100)), [Seen::Writable(None)]);
    peer.frames();
    let sent = peer.connection.send_data(1, b"lo", true, &mut peer.out).expect("open");
    assert_eq!(
        (sent, &peer.out[..]),
        (Sent { bytes: 2, ended: true }, &data(1, b"lo", true)[..])
    );
}

#[test]
fn the_window_of_the_connection_holds_for_all_that_is_sent() {
    let mut peer = Peer::new();
    peer.feed(&setting(INITIAL_WINDOW_SIZE, 1 << 20));
    peer.request(1, &GET, true);
    peer.frames();
    peer.connection.send_head(1, OK, false, &mut peer.out).expect("open");
    peer.frames();
    let body = vec![b'x'; 100_000];
    let sent = peer.connection.send_data(1, &body, true, &mut peer.out).expect("open");
    assert_eq!(
        sent,
        Sent {
            bytes: 65_535,
            ended: false
        }
    );
    let sizes: Vec<_> = peer.frames().iter().map(|frame| frame.payload.len()).collect();
    assert_eq!(sizes, [16_384, 16_384, 16_384, 16_383]);
    peer.connection.set_waiting(1, true);
    assert_eq!(peer.connection.next_writable(), None);
    assert_eq!(peer.feed(&window_update(0, 100_000)), [Seen::Writable(None)]);
    assert_eq!(peer.connection.next_writable(), Some(1));
}

#[test]
fn the_end_of_a_body_needs_no_window() {
    let mut peer = Peer::new();
    peer.feed(&setting(INITIAL_WINDOW_SIZE, 0));
    peer.request(1, &GET, true);
    peer.frames();
    peer.connection.send_head(1, OK, false, &mut peer.out).expect("open");
    peer.frames();
    let sent = peer.connection.send_data(1, b"", true, &mut peer.out).expect("open");
    assert_eq!(
        (sent, &peer.out[..]),
        (Sent { bytes: 0, ended: true }, &data(1, b"", true)[..])
    );
}

#[test]
fn windows_that_open_by_nothing_or_too_far_are_errors() {
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    peer.expect_failed(&window_update(1, 0), 1, StreamError::ZeroIncrement);
    peer.request(3, &GET, true);
    peer.expect_failed(&window_update(3, (1 << 31) - 1), 3, StreamError::FlowControl);
    peer.request(5, &GET, true);
    // The reserved bit is not part of the increment.
    assert_eq!(peer.feed(&window_update(5, (1 << 31) | 1)), []);
    let to_the_brim = (1 << 31) - 1 - 65_535;
    assert_eq!(peer.feed(&window_update(0, to_the_brim)), [Seen::Writable(None)]);
    peer.expect_closed(&window_update(0, 1), ConnectionError::FlowControl);
    Peer::new().expect_closed(&window_update(0, 0), ConnectionError::Protocol);
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    assert_eq!(peer.feed(&window_update(1, to_the_brim)), []);
    peer.expect_closed(&setting(INITIAL_WINDOW_SIZE, 65_536), ConnectionError::FlowControl);
}
