//! Frames that cannot be: where, when, and how large.

use super::*;

#[test]
fn the_connection_begins_with_settings_of_ours_and_the_preface_of_theirs() {
    let mut peer = Peer::silent(Limits::DEFAULT);
    let frames = peer.frames();
    assert_eq!(
        (frames[0].kind, frames[0].flags, frames[0].payload.len()),
        (SETTINGS, 0, 24)
    );
    assert_eq!((frames[1].kind, frames[1].stream), (WINDOW_UPDATE, 0));
    assert_eq!(frames[1].payload, (256 * 1024 - 65_535_u32).to_be_bytes());
    assert_eq!(peer.feed(PREFACE), []);
    assert_eq!(peer.feed(&frame(SETTINGS, 0, 0, b"")), []);
    assert_eq!(
        peer.frames(),
        [Out {
            kind: SETTINGS,
            flags: ACK,
            stream: 0,
            payload: vec![]
        }]
    );
}

#[test]
fn another_protocol_is_told_to_go_away() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\t",
        b"X",
    ] {
        Peer::silent(Limits::DEFAULT).expect_closed(bytes, ConnectionError::Preface);
    }
    for first in [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, ACK, 0, b""),
        headers(1, &GET, true),
    ] {
        let bytes = [PREFACE, &first[..]].concat();
        Peer::silent(Limits::DEFAULT).expect_closed(&bytes, ConnectionError::Preface);
    }
}

#[test]
fn frames_of_a_wrong_size_end_the_connection() {
    for bytes in [
        frame(DATA, 0, 1, &vec![0; MAX_FRAME + 1]),
        frame(HEADERS, END_HEADERS, 1, &vec![0; MAX_FRAME + 1]),
        frame(0xbb, 0, 0, &vec![0; MAX_FRAME + 1]),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        frame(PING, 0, 0, &[0; 7]),
        frame(RST_STREAM, 0, 1, &[0; 3]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        frame(WINDOW_UPDATE, 0, 1, &[0; 5]),
        frame(GOAWAY, 0, 0, &[0; 7]),
        frame(PRIORITY_UPDATE, 0, 0, &[0; 3]),
        frame(PRIORITY, 0, 9, &[0; 4]),
        frame(HEADERS, END_HEADERS | WITH_PRIORITY, 3, &[0; 4]),
        frame(HEADERS, END_HEADERS | PADDED, 3, b""),
    ] {
        let mut peer = Peer::new();
        peer.request(1, &POST, false);
        peer.expect_closed(&bytes, ConnectionError::FrameSize);
    }
}

#[test]
fn frames_where_they_cannot_be_end_the_connection() {
    use ConnectionError::{IdleStream, Protocol, StreamId};
    for (bytes, error) in [
        (data(0, b"x", false), Protocol),
        (frame(HEADERS, END_HEADERS, 0, &block(&GET)), Protocol),
        (frame(PRIORITY, 0, 0, &[0; 5]), Protocol),
        (frame(RST_STREAM, 0, 0, &[0; 4]), Protocol),
        (frame(CONTINUATION, END_HEADERS, 0, b""), Protocol),
        (frame(CONTINUATION, END_HEADERS, 1, b""), Protocol),
        (frame(SETTINGS, 0, 1, b""), Protocol),
        (frame(PING, 0, 1, &[0; 8]), Protocol),
        (frame(GOAWAY, 0, 1, &[0; 8]), Protocol),
        (frame(PRIORITY_UPDATE, 0, 1, &[0, 0, 0, 1]), Protocol),
        (frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 2]), Protocol),
        (frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), Protocol),
        (data(3, b"x", false), IdleStream),
        (data(2, b"x", false), IdleStream),
        (frame(RST_STREAM, 0, 3, &[0; 4]), IdleStream),
        (window_update(3, 1), IdleStream),
        (headers(2, &GET, true), StreamId),
        // Padding longer than the frame.
        (frame(DATA, PADDED, 1, &[1]), Protocol),
        (frame(DATA, PADDED, 1, &[3, 0, 0]), Protocol),
        (frame(HEADERS, END_HEADERS | PADDED, 3, &[3, 0, 0]), Protocol),
        (
            frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 3, &[1, 0, 0, 0, 0, 0]),
            Protocol,
        ),
    ] {
        let mut peer = Peer::new();
        peer.request(1, &POST, false);
        peer.expect_closed(&bytes, error);
    }
}

#[test]
fn nothing_comes_between_the_frames_of_a_header_block() {
    for between in [
        frame(PING, 0, 0, &[0; 8]),
        frame(0xbb, 0, 0, b""),
        frame(CONTINUATION, END_HEADERS, 3, b""),
        data(1, b"", true),
        headers(3, &GET, true),
    ] {
        let bytes = [frame(HEADERS, END_STREAM, 1, &block(&GET)), between].concat();
        Peer::new().expect_closed(&bytes, ConnectionError::Protocol);
    }
}

#[test]
fn a_header_block_may_come_in_pieces_with_padding_and_priority() {
    let block = block(&GET);
    let mut first = vec![3, 0x80, 0, 0, 5, 200];
    first.extend(&block[..5]);
    first.extend([0, 0, 0]);
    let bytes = [
        frame(HEADERS, END_STREAM | PADDED | WITH_PRIORITY, 1, &first),
        frame(CONTINUATION, 0, 1, &block[5..6]),
        frame(CONTINUATION, END_HEADERS, 1, &block[6..]),
    ]
    .concat();
    let text = "GET / None | host: a.example".to_owned();
    assert_eq!(Peer::new().feed(&bytes), [Seen::Request(1, text, true)]);
}

#[test]
fn settings_with_values_that_they_cannot_have_end_the_connection() {
    use ConnectionError::{FlowControl, Setting};
    for (id, value, error) in [
        (0x2, 2, Setting),
        (0x4, 1 << 31, FlowControl),
        (0x5, 16_383, Setting),
        (0x5, 1 << 24, Setting),
        (0x9, 2, Setting),
    ] {
        Peer::new().expect_closed(&setting(id, value), error);
    }
    let mut peer = Peer::new();
    let unknown = [
        setting(0x2, 0),
        setting(0x5, 1 << 20),
        setting(0x7777, u32::MAX),
        setting(0x9, 1),
    ]
    .concat();
    assert_eq!(peer.feed(&unknown), []);
    assert_eq!(peer.frames().len(), 4);
}

#[test]
fn pings_are_answered_with_what_they_carry() {
    let mut peer = Peer::new();
    assert_eq!(peer.feed(&frame(PING, 0, 0, b"12345678")), []);
    assert_eq!(
        peer.frames(),
        [Out {
            kind: PING,
            flags: ACK,
            stream: 0,
            payload: b"12345678".to_vec()
        }]
    );
}

#[test]
fn unknown_frames_and_flags_are_ignored() {
    let mut peer = Peer::new();
    assert_eq!(peer.feed(&frame(0xbb, 0xff, 7, b"anything")), []);
    assert_eq!(peer.feed(&frame(PING, 0xfe, 0, &[0; 8])), []);
    assert_eq!(peer.frames().len(), 1);
    // The reserved bit of a stream identifier.
    let mut bytes = headers(1, &GET, true);
    bytes[5] |= 0x80;
    assert!(matches!(peer.feed(&bytes)[..], [Seen::Request(1, ..)]));
}

#[test]
fn a_block_that_cannot_be_decompressed_ends_the_connection() {
    for block in [
        // Index zero, and behind the table.
        &[0x80][..],
        &[0x80 | 62],
        &[0x40 | 62, 1, b'a'],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        // Truncated.
        &[0x40],
        &[0x00, 5, b'a'],
        &[0x00, 1, b'a', 0x7f],
        &[0xff],
        // Huffman: padding of zeros, of more than seven bits, and EOS.
        &[0x00, 0x81, 0x18, 0],
        &[0x00, 0x82, 0x1f, 0xff, 0],
        &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0],
        // Size updates: too large, too many, too late.
        &[0x3f, 0xe2, 0x1f],
        &[0x20, 0x20, 0x20],
        &[0x82, 0x20],
    ] {
        let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, block);
        Peer::new().expect_closed(&bytes, ConnectionError::Compression);
    }
    let mut good = vec![0x20, 0x3f, 0xe1, 0x1f];
    good.extend(block(&GET));
    let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &good);
    assert!(matches!(Peer::new().feed(&bytes)[..], [Seen::Request(..)]));
}
