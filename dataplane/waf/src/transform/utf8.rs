//! `utf8toUnicode`: characters beyond ASCII as `%uHHHH`.
//!
//! As in ModSecurity: bytes that begin no whole character go (but those that never begin one, 0x80 to 0xBF and from 0xF5
//! on, stay), NULs go, and behind a character that is written with more bytes than it needs, or that is a surrogate, its
//! first byte stands too. A character beyond U+FFFF has five or six digits.

use std::borrow::Cow;

use super::encodings::hex_digits;
use super::settle;

pub(super) fn to_unicode(input: &[u8]) -> Cow<'_, [u8]> {
    if input.is_ascii() && memchr::memchr(0, input).is_none() {
        return Cow::Borrowed(input);
    }
    let mut output = Vec::with_capacity(input.len() * 2);
    let mut rest = input;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let (length, bits, least) = match first {
            0 => continue,
            0xc0..=0xdf => (1, 0x1f, 0x80),
            0xe0..=0xef => (2, 0x0f, 0x800),
            0xf0..=0xf7 => (3, 0x07, 0x1_0000),
            _ => {
                output.push(*first);
                continue;
            }
        };
        if *first >= 0xf5 {
            output.push(*first);
        }
        let Some((continuation, after)) = tail.split_at_checked(length) else {
            continue;
        };
        if !continuation.iter().all(|byte| byte & 0xc0 == 0x80) {
            continue;
        }
        let lead = u32::from(first & bits);
        let code = continuation
            .iter()
            .fold(lead, |code, byte| code << 6 | u32::from(byte & 0x3f));
        write(code, &mut output);
        if (0xd800..0xe000).contains(&code) || code < least {
            output.push(*first);
        }
        rest = after;
    }
    settle(input, output)
}

fn write(code: u32, output: &mut Vec<u8>) {
    output.extend_from_slice(b"%u");
    let [_, plane, high, low] = code.to_be_bytes();
    if plane != 0 {
        let digits = hex_digits(plane);
        output.extend_from_slice(if plane < 0x10 {
            digits.get(1..).unwrap_or_default()
        } else {
            &digits
        });
    }
    output.extend_from_slice(&hex_digits(high));
    output.extend_from_slice(&hex_digits(low));
}
