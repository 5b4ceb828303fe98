//! Control frames to send, complete with header (RFC 6455 section 5.5).
//!
//! Payloads are cut to the 125 bytes a control frame may have. The mask is an argument: towards a server a frame
//! must have one, from a source the peer cannot foresee wherever the payload is not ours (section 10.3).

use super::MAX_CONTROL_PAYLOAD;
use crate::websocket::Opcode;

const LONGEST: usize = MAX_CONTROL_PAYLOAD as usize;

/// A control frame, ready to be written: at most 131 bytes, without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    bytes: [u8; 2 + 4 + LONGEST],
    length: u8,
}

impl Frame {
    /// The frame's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    fn new(opcode: Opcode, payload: &[&[u8]], mask: Option<[u8; 4]>) -> Self {
        let header = if mask.is_some() { 6 } else { 2 };
        let mut bytes = [0; 2 + 4 + LONGEST];
        let mut length = 0_u8;
        let source = payload.iter().flat_map(|part| part.iter()).take(LONGEST);
        for ((index, target), byte) in bytes.iter_mut().skip(header).enumerate().zip(source) {
            *target = mask.map_or(*byte, |mask| byte ^ mask[index % 4]);
            length += 1;
        }
        bytes[0] = 0x80 | opcode.bits();
        bytes[1] = length;
        if let Some(mask) = mask {
            bytes[1] |= 0x80;
            bytes[2..6].copy_from_slice(&mask);
        }
        Self {
            bytes,
            length: length + header as u8,
        }
    }
}

/// A close frame with this code and reason; the reason is cut to 123 bytes, at a character's boundary.
#[must_use]
pub fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Frame {
    let reason = reason
        .get(..reason.floor_char_boundary(LONGEST - 2))
        .unwrap_or_default();
    Frame::new(Opcode::Close, &[&code.to_be_bytes(), reason.as_bytes()], mask)
}

/// A ping; the payload is cut to 125 bytes.
#[must_use]
pub fn ping_frame(payload: &[u8], mask: Option<[u8; 4]>) -> Frame {
    Frame::new(Opcode::Ping, &[payload], mask)
}

/// A pong; the payload is cut to 125 bytes.
#[must_use]
pub fn pong_frame(payload: &[u8], mask: Option<[u8; 4]>) -> Frame {
    Frame::new(Opcode::Pong, &[payload], mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_for_a_client_is_not_masked() {
        assert_eq!(close_frame(1001, "bye", None).as_bytes(), b"\x88\x05\x03\xe9bye");
    }

    #[test]
    fn a_close_frame_for_a_server_is_masked() {
        let frame = close_frame(1000, "", Some([1, 2, 3, 4]));
        assert_eq!(frame.as_bytes(), [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe8 ^ 2]);
    }

    #[test]
    fn payloads_are_cut_to_what_a_control_frame_may_carry() {
        let reason = "é".repeat(100);
        let frame = close_frame(1000, &reason, None);
        assert_eq!(frame.as_bytes().len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame.as_bytes()[4..]).is_ok());
        assert_eq!(ping_frame(&[7; 200], Some([0; 4])).as_bytes().len(), 2 + 4 + 125);
        assert_eq!(pong_frame(b"", None).as_bytes(), [0x8A, 0]);
    }
}
