//! The header of one frame (RFC 6455 section 5.2), parsed from the beginning of a slice.
//!
//! Only what can be wrong with a header by itself is judged here, and as early as it can be; what depends on
//! the direction and on the frames before is the tracker's.

use super::{PingPayload, Stop, Violation};

/// The longest header: two bytes, eight of length, four of mask.
pub const MAX_HEADER: usize = 14;

/// The reserved bit of permessage-deflate, in place.
pub(super) const RSV1: u8 = 0x40;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0F;
const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7F;

/// The outcome of reading something from the beginning of the input.
pub(super) enum Parsed<T> {
    Header(T),
    Incomplete,
    Invalid(Violation),
}

/// A frame's header.
pub(super) struct Header {
    pub(super) fin: bool,
    /// The three reserved bits, in place.
    pub(super) reserved: u8,
    /// The four opcode bits.
    pub(super) opcode: u8,
    pub(super) masked: bool,
    /// Bytes of payload, below 2^63.
    pub(super) length: u64,
    /// Bytes of the header itself, mask included.
    pub(super) size: usize,
}

impl Header {
    pub(super) fn parse(input: &[u8]) -> Parsed<Self> {
        let &[first, second, ref rest @ ..] = input else {
            return Parsed::Incomplete;
        };
        let masked = second & MASK != 0;
        let (length, length_size) = match (second & LENGTH, rest) {
            (126, &[a, b, ..]) => (u64::from(u16::from_be_bytes([a, b])), 2),
            (127, &[a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 8),
            (126 | 127, _) => return Parsed::Incomplete,
            (short, _) => (u64::from(short), 0),
        };
        let shortest = match length_size {
            2 => 126,
            8 => 1 << 16,
            _ => 0,
        };
        if length < shortest || length > i64::MAX as u64 {
            return Parsed::Invalid(Violation::Length);
        }
        let size = 2 + length_size + if masked { 4 } else { 0 };
        if input.len() < size {
            return Parsed::Incomplete;
        }
        Parsed::Header(Self {
            fin: first & FIN != 0,
            reserved: first & RESERVED,
            opcode: first & OPCODE,
            masked,
            length,
            size,
        })
    }

    /// Whether the payload of a pong is `expected`: that is an answer, and one that is not complete has to be waited
    /// for. None if it is another's. `input` begins with the header.
    pub(super) fn answers(&self, input: &[u8], expected: PingPayload) -> Option<Stop> {
        if self.length != expected.len() as u64 {
            return None;
        }
        let end = self.size + expected.len();
        let Some(payload) = input.get(self.size..end) else {
            return Some(Stop::More);
        };
        let mask = match input.get(2..self.size) {
            Some(&[a, b, c, d]) if self.masked => [a, b, c, d],
            _ => [0; 4],
        };
        let same = payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask).eq(expected);
        same.then_some(Stop::Answer(end))
    }

    /// The code at the beginning of a close frame's payload, 0 if the payload is empty. `input` begins with the
    /// header.
    pub(super) fn close_code(&self, input: &[u8]) -> Parsed<u16> {
        if self.length == 0 {
            return Parsed::Header(0);
        }
        let mask = match input.get(2..4) {
            Some(&[a, b]) if self.masked => [a, b],
            _ => [0, 0],
        };
        match input.get(self.size..self.size + 2) {
            Some(&[high, low]) => Parsed::Header(u16::from_be_bytes([high ^ mask[0], low ^ mask[1]])),
            _ => Parsed::Incomplete,
        }
    }
}
