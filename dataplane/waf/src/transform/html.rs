//! `htmlEntityDecode`: numeric entities, `quot`, `amp`, `lt`, `gt` and `nbsp`, with or without a semicolon.
//!
//! A number is its lower byte; one beyond 63 bits is 0xFF, as C's `strtol` has it.

use std::borrow::Cow;

use super::digits::hex;
use super::settle;

pub(super) fn decode(input: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'&', input) else {
        return Cow::Borrowed(input);
    };
    let mut output = Vec::with_capacity(input.len());
    let (mut rest, mut at) = (input, Some(first));
    while let Some(end) = at {
        let (before, entity) = rest.split_at(end);
        output.extend_from_slice(before);
        let inside = entity.split_first().map_or(&[][..], |(_, tail)| tail);
        rest = match read(inside) {
            Some((byte, [b';', tail @ ..])) | Some((byte, tail)) => {
                output.push(byte);
                tail
            }
            None => {
                output.push(b'&');
                inside
            }
        };
        at = memchr::memchr(b'&', rest);
    }
    output.extend_from_slice(rest);
    settle(input, output)
}

/// What the entity means whose name or number `inside` begins with, and what follows that.
fn read(inside: &[u8]) -> Option<(u8, &[u8])> {
    match inside {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => {
            let count = inside.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            let (name, tail) = inside.split_at(count);
            let known: [(&[u8], u8); 5] = [
                (b"quot", b'"'),
                (b"amp", b'&'),
                (b"lt", b'<'),
                (b"gt", b'>'),
                (b"nbsp", 0xa0),
            ];
            let (_, byte) = known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
            Some((*byte, tail))
        }
    }
}

fn number(digits: &[u8], base: i64) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| hex(byte).map(i64::from).filter(|&value| value < base);
    let values = digits.iter().map_while(|&byte| digit(byte));
    let (value, count) = values.fold((0_i64, 0_usize), |(sum, count), value| {
        (sum.saturating_mul(base).saturating_add(value), count + 1)
    });
    let [.., byte] = value.to_be_bytes();
    (count > 0).then(|| (byte, digits.split_at(count).1))
}
