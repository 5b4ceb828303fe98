//! What a client can make us do is bounded.

use super::*;

const RESET: [u8; 4] = [0, 0, 0, 8];

fn until_closed(peer: &mut Peer, mut next: impl FnMut(u32) -> Vec<u8>) -> (u32, ConnectionError) {
    for round in 0..100_000 {
        let seen = peer.feed(&next(round));
        if let Some(Seen::Closed(error)) = seen.last() {
            return (round, *error);
        }
        peer.out.clear();
        peer.connection.flushed();
    }
    panic!("never closed");
}

#[test]
fn streams_beyond_the_limit_are_refused_and_may_be_tried_again() {
    let mut peer = Peer::new();
    for round in 0..100 {
        peer.request(2 * round + 1, &GET, true);
    }
    peer.expect_failed(&headers(201, &GET, true), 201, StreamError::Refused);
    assert_eq!(peer.connection.glitches(), 0);
    peer.connection.send_head(7, OK, true, &mut peer.out).expect("open");
    peer.request(203, &GET, true);
}

#[test]
fn a_client_that_resets_its_requests_at_once_is_stopped() {
    let mut peer = Peer::new();
    let (rounds, error) = until_closed(&mut peer, |round| {
        let stream = 2 * round + 1;
        [headers(stream, &GET, true), frame(RST_STREAM, 0, stream, &RESET)].concat()
    });
    assert_eq!((rounds, error), (200, ConnectionError::Resets));
    assert_eq!(error.code(), ErrorCode::EnhanceYourCalm);
}

#[test]
fn a_client_that_makes_us_reset_its_requests_is_stopped() {
    for provoke in [window_update(0, 0), data(0, b"", true), frame(PRIORITY, 0, 0, &[0; 4])] {
        let mut peer = Peer::new();
        let (rounds, error) = until_closed(&mut peer, |round| {
            let stream = 2 * round + 1;
            let mut provoke = provoke.clone();
            provoke[5..9].copy_from_slice(&stream.to_be_bytes());
            [headers(stream, &GET, true), provoke].concat()
        });
        assert_eq!((rounds, error), (100, ConnectionError::Glitches));
    }
}

#[test]
fn a_client_that_cancels_some_of_its_requests_is_left_alone() {
    let mut peer = Peer::new();
    for round in 0..5_000 {
        let stream = 2 * round + 1;
        peer.request(stream, &GET, true);
        if round % 2 == 0 {
            peer.feed(&frame(RST_STREAM, 0, stream, &RESET));
        } else {
            peer.connection
                .send_head(stream, OK, true, &mut peer.out)
                .expect("open");
        }
    }
    // A page that is left with all its streams open.
    for round in 5_000..5_100 {
        peer.request(2 * round + 1, &GET, true);
    }
    for round in 5_000..5_100 {
        let seen = peer.feed(&frame(RST_STREAM, 0, 2 * round + 1, &RESET));
        assert_eq!(seen, [Seen::Reset(2 * round + 1, ErrorCode::Cancel)]);
    }
}

#[test]
fn floods_of_frames_that_carry_nothing_are_stopped() {
    for flood in [
        frame(SETTINGS, 0, 0, b""),
        frame(PING, 0, 0, &[0; 8]),
        frame(PRIORITY, 0, 1, &[0; 5]),
        frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 9]),
        window_update(0, 1),
        window_update(1, 1),
        frame(0xbb, 0, 0, b""),
        frame(GOAWAY, 0, 0, &[0; 8]),
    ] {
        let mut peer = Peer::new();
        peer.request(1, &POST, false);
        let (rounds, error) = until_closed(&mut peer, |_| flood.clone());
        assert!(
            (990..1010).contains(&rounds) && error == ConnectionError::Overhead,
            "{rounds} {error}"
        );
    }
}

#[test]
fn floods_of_empty_frames_and_stray_acknowledgements_are_stopped() {
    for flood in [
        data(1, b"", false),
        frame(DATA, PADDED, 1, &[3, 0, 0, 0]),
        frame(SETTINGS, ACK, 0, b""),
        frame(PING, ACK, 0, &[0; 8]),
    ] {
        let mut peer = Peer::new();
        peer.request(1, &POST, false);
        let (rounds, error) = until_closed(&mut peer, |_| flood.clone());
        assert_eq!((rounds, error), (100, ConnectionError::Glitches));
    }
}

#[test]
fn what_is_wrong_now_and_then_is_forgiven() {
    let mut peer = Peer::new();
    peer.request(1, &POST, false);
    for _ in 0..1_000 {
        peer.now_ms += 1_000;
        assert_eq!(peer.feed(&data(1, b"", false)), []);
    }
    for _ in 0..1_000 {
        peer.now_ms += 10_000;
        assert_eq!(peer.feed(&frame(PING, 0, 0, &[0; 8]).repeat(100)), []);
        peer.connection.flushed();
    }
}

#[test]
fn window_updates_that_answer_what_we_send_cost_nothing() {
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    peer.connection.send_head(1, OK, false, &mut peer.out).expect("open");
    let body = [b'x'; 4096];
    for _ in 0..5_000 {
        let sent = peer.connection.send_data(1, &body, false, &mut peer.out).expect("open");
        assert_eq!(sent.bytes, body.len());
        peer.out.clear();
        assert_eq!(
            peer.feed(&[window_update(1, 4096), window_update(0, 4096)].concat()),
            [Seen::Writable(None)]
        );
    }
}

#[test]
fn a_header_block_has_an_end() {
    let mut peer = Peer::new();
    peer.feed(&frame(HEADERS, END_STREAM, 1, &block(&GET)));
    for _ in 0..16 {
        assert_eq!(peer.feed(&frame(CONTINUATION, 0, 1, &block(&[("x", "y")]))), []);
    }
    peer.expect_closed(&frame(CONTINUATION, 0, 1, b""), ConnectionError::Continuations);
    let mut peer = Peer::new();
    let piece = block(&[("x", &"y".repeat(16_000))]);
    peer.feed(&frame(HEADERS, 0, 1, &piece));
    peer.feed(&frame(CONTINUATION, 0, 1, &piece));
    assert!(peer.connection.heap() <= 33 * 1024);
    peer.expect_closed(&frame(CONTINUATION, 0, 1, &piece), ConnectionError::HeaderBlock);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_stopped() {
    let mut peer = Peer::new();
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(900);
    assert_eq!(peer.feed(&pings), []);
    assert_eq!(peer.connection.control_pending(), 900 * 17);
    assert_eq!(
        peer.feed(&pings[..17 * 70]),
        [Seen::Closed(ConnectionError::ControlOutput)]
    );
}

#[test]
fn a_client_that_takes_a_body_byte_by_byte_is_stopped() {
    let mut peer = Peer::new();
    peer.feed(&setting(INITIAL_WINDOW_SIZE, 0));
    peer.request(1, &GET, true);
    peer.connection.send_head(1, OK, false, &mut peer.out).expect("open");
    peer.connection.set_waiting(1, true);
    for round in 0..2_000 {
        let seen = peer.feed(&window_update(1, 1));
        if seen == [Seen::Closed(ConnectionError::Overhead)] {
            assert!(round > 900, "{round}");
            return;
        }
        assert_eq!(seen, [Seen::Writable(Some(1))]);
        let sent = peer
            .connection
            .send_data(1, b"body", true, &mut peer.out)
            .expect("open");
        assert_eq!(sent, Sent { bytes: 1, ended: false });
        peer.connection.flushed();
    }
    panic!("never closed");
}

#[test]
fn a_head_that_has_come_in_part_can_be_waited_for() {
    let mut peer = Peer::silent(Limits::DEFAULT);
    assert!(peer.connection.is_reading_head());
    peer.feed(PREFACE);
    assert!(peer.connection.is_reading_head());
    peer.feed(&frame(SETTINGS, 0, 0, b""));
    assert!(!peer.connection.is_reading_head());
    peer.feed(&frame(HEADERS, END_STREAM, 1, &block(&GET)));
    assert!(peer.connection.is_reading_head());
    peer.feed(&frame(CONTINUATION, END_HEADERS, 1, b""));
    assert!(!peer.connection.is_reading_head());
}
