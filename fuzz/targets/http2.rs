//! An HTTP/2 connection: what comes out does not depend on how the bytes are cut, requests obey the rules that the
//! gate exists for, and what the connection owns and writes is bounded.
//!
//! The first byte chooses how the server behaves, the second the size of the pieces; the rest is frames, behind a
//! preface that need not be guessed.
#![no_main]

use breakwater_wire::http1::{Framing, Version};
use breakwater_wire::http2::{Connection, ConnectionError, ErrorCode, Event, Limits, PREFACE, Scratch};
use libfuzzer_sys::fuzz_target;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Own: a\r\n\r\n";

#[derive(Debug, PartialEq)]
enum Seen {
    Request(u32, String, bool),
    Refused(u32, u16),
    Data(u32, Vec<u8>, bool),
    Trailers(u32, usize),
    Other(String),
}

/// What one run over the same bytes has given.
#[derive(Debug, Default, PartialEq)]
struct Run {
    seen: Vec<Seen>,
    out: Vec<u8>,
    error: Option<ConnectionError>,
}

fn run(choice: u8, bytes: &[u8], piece: usize) -> Run {
    let limits = Limits {
        streams: 5,
        header_list: 2048,
        header_block: 1024,
        ..Limits::DEFAULT
    };
    let mut run = Run::default();
    let mut connection = Connection::new(&limits, &mut run.out);
    let mut scratch = Scratch::new();
    let mut kept = Vec::new();
    for piece in [PREFACE.as_slice(), bytes].concat().chunks(piece) {
        kept.extend_from_slice(piece);
        let mut input = &kept[..];
        loop {
            match connection.next(&mut input, &mut scratch, &mut run.out, 0) {
                Ok(Some(event)) => take(&mut connection, event, choice, &mut run),
                Ok(None) => break,
                Err(error) => {
                    run.error = Some(error);
                    assert_eq!(
                        connection.next(&mut input, &mut scratch, &mut run.out, 0).err(),
                        Some(error)
                    );
                    return run;
                }
            }
        }
        kept = input.to_vec();
        assert!(kept.len() < 9 + 16_384 && connection.open_streams() <= 5);
        assert!(
            connection.heap() <= 2 * 4096 + 128 * 8 + 8 * 128 + 2048 + 128,
            "{}",
            connection.heap()
        );
    }
    run
}

fn take(connection: &mut Connection, event: Event<'_>, choice: u8, run: &mut Run) {
    match event {
        Event::Request {
            stream,
            head,
            end_stream,
            ..
        } => {
            assert_eq!((head.version, head.len, head.keep_alive), (Version::Http2, 0, true));
            assert!(head.path.starts_with('/') || head.path == "*");
            assert!(!head.host.is_empty() && !head.upgrade);
            match head.framing {
                Framing::None => assert!(end_stream),
                Framing::Chunked => assert!(!end_stream),
                Framing::Length(length) => assert!(!end_stream || length == 0),
            }
            let mut text = format!("{} {}", head.method, head.target);
            for (name, value) in head.fields() {
                assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
                assert!(!["connection", "transfer-encoding", "upgrade", "keep-alive"].contains(&name));
                assert!(!value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')));
                text.push_str(&format!(" | {name}: {value:?}"));
            }
            head.to_owned().expect("the gate is the stricter one");
            run.seen.push(Seen::Request(stream, text, end_stream));
            if choice & 1 != 0 {
                connection
                    .send_head(stream, HEAD, choice & 2 != 0, &mut run.out)
                    .expect("just opened");
                let sent = connection.send_data(stream, &[b'x'; 100], choice & 4 != 0, &mut run.out);
                assert_eq!(sent.is_err(), choice & 2 != 0);
                connection.set_waiting(stream, true);
            }
        }
        Event::Refused { stream, error } => {
            run.seen.push(Seen::Refused(stream, error.status()));
            connection
                .send_head(stream, HEAD, true, &mut run.out)
                .expect("just opened");
        }
        Event::Data {
            stream,
            bytes,
            end_stream,
        } => {
            // How a body is cut may differ, what it is may not.
            match run.seen.last_mut() {
                Some(Seen::Data(other, body, end @ false)) if *other == stream => {
                    body.extend_from_slice(bytes);
                    *end = end_stream;
                }
                _ => run.seen.push(Seen::Data(stream, bytes.to_vec(), end_stream)),
            }
            if choice & 8 != 0 && end_stream {
                connection.send_reset(stream, ErrorCode::Cancel, &mut run.out);
            }
        }
        Event::Trailers { stream, fields } => run.seen.push(Seen::Trailers(stream, fields.count())),
        Event::Writable { stream } => {
            let next = connection.next_writable();
            assert!(stream.is_none() || next.is_some() || connection.send_capacity(stream.unwrap_or(0)) == 0);
            if let Some(next) = next {
                assert!(connection.send_capacity(next) > 0);
                connection
                    .send_data(next, b"more", choice & 16 != 0, &mut run.out)
                    .expect("it waits");
            }
            run.seen.push(Seen::Other(format!("writable {stream:?} {next:?}")));
        }
        other => run.seen.push(Seen::Other(format!("{other:?}"))),
    }
}

/// Every frame that we write is whole and within the limits of every peer.
fn check_frames(mut out: &[u8]) {
    while !out.is_empty() {
        let len = usize::from(out[0]) << 16 | usize::from(out[1]) << 8 | usize::from(out[2]);
        assert!(len <= 16_384);
        out = &out[9 + len..];
    }
}

fuzz_target!(|data: &[u8]| {
    let &[choice, piece, ref bytes @ ..] = data else {
        return;
    };
    let whole = run(choice, bytes, usize::MAX);
    check_frames(&whole.out);
    assert_eq!(run(choice, bytes, 1), whole);
    assert_eq!(run(choice, bytes, usize::from(piece).max(1)), whole);
});
