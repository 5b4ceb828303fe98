//! `base64Decode`, `base64DecodeExt`, `base64Encode`.
//!
//! ModSecurity 3 decodes nothing of a value with one invalid character in it, and loses what an unpadded end holds, so
//! that one more byte hides a payload. Here, as in ModSecurity 2, what stands before the first such character is
//! decoded. `base64DecodeExt` skips whatever is not of the alphabet, padding in the middle included.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::settle;

pub(super) fn decode(input: &[u8]) -> Cow<'_, [u8]> {
    settle(input, decode_alphabet(input, true))
}

pub(super) fn decode_ext(input: &[u8]) -> Cow<'_, [u8]> {
    settle(input, decode_alphabet(input, false))
}

pub(super) fn encode(input: &[u8]) -> Cow<'_, [u8]> {
    settle(input, STANDARD.encode(input).into_bytes())
}

/// Decodes what of `input` is in the alphabet; `stops` at the first byte that is not and no line end either.
fn decode_alphabet(input: &[u8], stops: bool) -> Vec<u8> {
    let mut output = Vec::with_capacity(input.len() / 4 * 3 + 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut rest = input;
    loop {
        // Where nothing is held, four make three bytes.
        while held == 0
            && let Some(([a, b, c, d], tail)) = rest.split_first_chunk()
            && let (Some(a), Some(b), Some(c), Some(d)) = (sextet(*a), sextet(*b), sextet(*c), sextet(*d))
        {
            let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
            let [_, decoded @ ..] = bits.to_be_bytes();
            output.extend_from_slice(&decoded);
            rest = tail;
        }
        let Some((byte, tail)) = rest.split_first() else { break };
        rest = tail;
        let Some(value) = sextet(*byte) else {
            if stops && !matches!(byte, b'\r' | b'\n') {
                break;
            }
            continue;
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            let [.., byte] = (bits >> held).to_be_bytes();
            output.push(byte);
        }
    }
    output
}

fn sextet(byte: u8) -> Option<u8> {
    SEXTETS.get(usize::from(byte)).copied().filter(|value| *value < 64)
}

/// The value of each byte; 64 where it is not of the alphabet.
const SEXTETS: [u8; 256] = {
    let mut table = [64; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < 64 {
        table[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    table
};
