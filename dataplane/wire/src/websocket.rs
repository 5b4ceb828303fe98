//! WebSocket (RFC 6455) without sockets: the opening handshake and the frames' headers.
//!
//! [`handshake`] judges a client's request and a backend's answer; [`frame`] follows the frames of one
//! direction by their headers alone and writes the few frames an intermediary may send of its own.
//!
//! Invariant: payload is counted, never unmasked, never copied and never kept, so that following a
//! connection costs its headers only. Moving bytes, time and limits over time belong to the relay.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

pub mod frame;
pub mod handshake;

/// The only version there is (RFC 6455 section 4.1), as the value of `Sec-WebSocket-Version`.
pub const VERSION: &str = "13";

/// The extension of RFC 7692: the only one whose frames [`frame::FrameTracker`] can follow.
pub const PERMESSAGE_DEFLATE: &str = "permessage-deflate";

/// What every key is hashed with (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The `Sec-WebSocket-Accept` that answers this `Sec-WebSocket-Key` (RFC 6455 section 4.2.2, 5.4):
/// 28 characters of base64. The key is taken as it was sent, without checking it.
#[must_use]
pub fn accept(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut out = [b'='; 28];
    // 20 bytes always encode to 28 characters; were that not so, the answer would match no key.
    let _written = STANDARD.encode_slice(digest, &mut out);
    out
}

/// Sixteen random bytes as a `Sec-WebSocket-Key` (RFC 6455 section 4.1): 24 characters of base64.
#[must_use]
pub fn key(random: [u8; 16]) -> String {
    STANDARD.encode(random)
}

/// True if this is base64 of exactly sixteen bytes (RFC 6455 section 4.2.1).
#[must_use]
pub fn is_key(value: &[u8]) -> bool {
    let mut bytes = [0; 18];
    value.len() == 24 && matches!(STANDARD.decode_slice(value, &mut bytes), Ok(16))
}

/// What the four opcode bits of a frame say (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// One more fragment of the message that is open.
    Continuation,
    /// The first or only frame of a text message.
    Text,
    /// The first or only frame of a binary message.
    Binary,
    /// The closing handshake.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping, or is sent unasked as a sign of life.
    Pong,
}

impl Opcode {
    /// The opcode of these four bits; none if the RFC reserves them.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    /// The four bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// True for close, ping and pong: never fragmented, at most 125 bytes (RFC 6455 section 5.5).
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Status codes of a close frame that an intermediary sends (RFC 6455 section 7.4.1 and the IANA registry).
pub mod code {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// An endpoint goes away: a server that goes down, a page that was left.
    pub const GOING_AWAY: u16 = 1001;
    /// The other side broke the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A policy was violated, for instance a rate.
    pub const POLICY_VIOLATION: u16 = 1008;
    /// A message was too big to be processed.
    pub const MESSAGE_TOO_BIG: u16 = 1009;
    /// The server met a condition it did not expect.
    pub const INTERNAL_ERROR: u16 = 1011;
    /// The service restarts; the client may reconnect.
    pub const SERVICE_RESTART: u16 = 1012;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_of_the_rfcs_example_key() {
        assert_eq!(&accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_base64_of_exactly_sixteen_bytes() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(is_key(key([0xff; 16]).as_bytes()));
        for bad in [
            &b""[..],
            b"YWJj",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ= ",
            b"dGhlIHNhbXBsZSBub25jZWU=",
            b"dGhlIHNhbXBsZSBub25jZR==",
            b"dGhlIHNhbXBsZSBub25jZWVl",
            b"!GhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert!(!is_key(bad), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn every_opcode_goes_to_bits_and_back() {
        let known: Vec<u8> = (0..=15).filter(|bits| Opcode::from_bits(*bits).is_some()).collect();
        assert_eq!(known, [0, 1, 2, 8, 9, 10]);
        for bits in known {
            let opcode = Opcode::from_bits(bits).unwrap();
            assert_eq!(opcode.bits(), bits);
            assert_eq!(opcode.is_control(), bits >= 8);
        }
    }
}
