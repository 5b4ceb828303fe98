//! One request over HTTP/2 (RFC 9113), the least that a server must answer.
//!
//! Invariant: the body is every DATA byte of stream 1 up to END_STREAM. Responses' fields are not decoded; a body that is
//! the origin's proves them.

use std::io::{Error, Read, Result, Write};

use super::{Answer, LARGEST};
use crate::load::HOST;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

/// On DATA and HEADERS; the same bit is ACK on SETTINGS and PING.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

pub(super) fn exchange(stream: &mut (impl Read + Write), path: &str) -> Result<Answer> {
    let mut bytes = opening();
    frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 1, &request(path));
    stream.write_all(&bytes)?;
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [l0, l1, l2, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        stream.read_exact(&mut payload)?;
        match kind {
            SETTINGS | PING if flags & END_STREAM == 0 => {
                let echo = if kind == PING { payload.as_slice() } else { &[] };
                let mut answer = Vec::new();
                frame(&mut answer, kind, END_STREAM, 0, echo);
                stream.write_all(&answer)?;
            }
            DATA if flags & PADDED == 0 && body.len() <= LARGEST => body.extend_from_slice(&payload),
            DATA => return Err(Error::other("DATA that is padded or endless")),
            RST_STREAM | GOAWAY => return Err(Error::other(format!("frame {kind}: {}", payload.escape_ascii()))),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return Ok(Answer {
                status: 200,
                fields: Vec::new(),
                body,
            });
        }
    }
}

/// What a connection begins with.
pub(crate) fn opening() -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    bytes
}

/// Appends a frame.
pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A field section (RFC 7541) of the static table and literals that are not indexed. The bench's own paths are short.
pub(crate) fn request(path: &str) -> Vec<u8> {
    // :method GET, :scheme http
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(4, path), (1, HOST)] {
        let value = value.get(..126).unwrap_or(value);
        block.extend_from_slice(&[name, value.len() as u8]);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Peer {
        answers: std::io::Cursor<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            self.answers.read(buffer)
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.sent.write(bytes)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn peer(frames: &[(u8, u8, u32, &[u8])]) -> Peer {
        let mut bytes = Vec::new();
        for (kind, flags, stream, payload) in frames {
            frame(&mut bytes, *kind, *flags, *stream, payload);
        }
        Peer {
            answers: std::io::Cursor::new(bytes),
            sent: Vec::new(),
        }
    }

    #[test]
    fn the_body_is_put_together_and_settings_are_acknowledged() {
        let mut peer = peer(&[
            (SETTINGS, 0, 0, &[]),
            (HEADERS, END_HEADERS, 1, &[0x88]),
            (DATA, 0, 1, b"ab"),
            (DATA, END_STREAM, 1, b"c"),
        ]);
        assert_eq!(exchange(&mut peer, "/a").expect("it answers").body, b"abc");
        assert!(peer.sent.starts_with(PREFACE));
        assert!(peer.sent.ends_with(&[0, 0, 0, SETTINGS, END_STREAM, 0, 0, 0, 0]));
    }

    #[test]
    fn a_stream_that_is_reset_is_an_error() {
        assert!(exchange(&mut peer(&[(RST_STREAM, 0, 1, &[0; 4])]), "/a").is_err());
    }
}
