use breakwater_wire::http2::PREFACE;

use super::*;
use crate::conn::testing::{ByHand, frame, frames};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

/// With the task, the socket's registration and the client's compression table this stays within the 3 KiB of the
/// memory budget (docs/architecture.md).
#[test]
fn an_idle_http2_connection_is_small() {
    let size = size_of::<Http2<tokio::net::TcpStream>>();
    assert!(size <= 832, "an HTTP/2 connection has grown to {size} bytes");
}

/// A client whose windows for streams are shut from the beginning, with these requests.
fn with_shut_windows(streams: impl IntoIterator<Item = u32>) -> ByHand {
    let mut connection = ByHand::new();
    connection.send(PREFACE);
    connection.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for stream in streams {
        connection.send(&frame(HEADERS, 5, stream, b"\x82\x86\x84\x01\x06a.test"));
    }
    while connection.poll() {}
    assert_eq!(sent(&connection, DATA), 0);
    connection
}

/// Frames of this kind that came.
fn sent(connection: &ByHand, kind: u8) -> usize {
    frames(&connection.received).filter(|frame| frame.kind == kind).count()
}

/// Bytes of bodies that came.
fn bytes(connection: &ByHand) -> usize {
    frames(&connection.received)
        .filter(|frame| frame.kind == DATA)
        .map(|frame| frame.length)
        .sum()
}

/// Opens the window of a stream, or with 0 of the connection.
fn open(connection: &mut ByHand, stream: u32, by: u32) {
    connection.send(&frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes()));
    while connection.poll() {}
}

#[test]
fn a_window_that_is_opened_byte_by_byte_does_not_keep_a_stream_for_ever() {
    let mut connection = with_shut_windows([1]);
    for second in 1..=12 {
        assert_eq!(sent(&connection, RST_STREAM), 0, "{} s", second * 5);
        connection.later(5000);
        open(&mut connection, 1, 1);
    }
    assert_eq!(bytes(&connection), 12);
    assert_eq!((sent(&connection, RST_STREAM), connection.refused("send_rate")), (1, 1));
    assert!(!connection.ended, "the connection goes on");
}

#[test]
fn a_window_that_stays_shut_costs_its_own_stream_and_no_other() {
    let mut connection = with_shut_windows([1, 3]);
    open(&mut connection, 3, 65_535);
    let answered = bytes(&connection);
    assert!(answered > 0);
    connection.later(29_000);
    while connection.poll() {}
    assert_eq!(sent(&connection, RST_STREAM), 0);
    connection.later(2000);
    while connection.poll() {}
    assert_eq!(
        (sent(&connection, RST_STREAM), connection.refused("send_timeout")),
        (1, 1)
    );
}

#[test]
fn a_stream_whose_turn_has_not_come_is_not_reset_for_it() {
    let mut connection = ByHand::new();
    connection.send(PREFACE);
    // All streams may have all; only the connection's window holds them back.
    connection.send(&frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    let mut stream = 1;
    // As many answers as fill the window of the connection, and a few more.
    while bytes(&connection) < 65_535 {
        connection.send(&frame(HEADERS, 5, stream, b"\x82\x86\x84\x01\x06a.test"));
        while connection.poll() {}
        stream += 2;
    }
    for _ in 0..3 {
        connection.send(&frame(HEADERS, 5, stream, b"\x82\x86\x84\x01\x06a.test"));
        stream += 2;
    }
    while connection.poll() {}
    // The first of them takes a minute, at a rate that is good enough; the others wait.
    let before = bytes(&connection);
    connection.later(20_000);
    open(&mut connection, 0, 20);
    connection.later(20_000);
    open(&mut connection, 0, 20);
    assert_eq!(bytes(&connection), before + 40);
    assert_eq!(sent(&connection, RST_STREAM), 0);
    // Nothing at all for half a minute: nobody waits for that.
    connection.later(31_000);
    while connection.poll() {}
    assert!(sent(&connection, RST_STREAM) >= 3);
}
