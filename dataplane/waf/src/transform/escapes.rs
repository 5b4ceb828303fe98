//! Backslash escapes: `cssDecode`, `jsDecode`, `escapeSeqDecode`.

use std::borrow::Cow;

use super::blanks::is_space;
use super::digits::{hex, hex_pair, narrow, octal};
use super::settle;

/// `\` and one to six hexadecimal digits is the byte of the last two (full-width ASCII as ASCII), and one whitespace
/// after it goes; `\` and a line feed is nothing; `\` and anything else is that; `\` at the end is nothing. ModSecurity
/// 3 cuts the outcome at a NUL; that is not done here.
pub(super) fn css(input: &[u8]) -> Cow<'_, [u8]> {
    decode(input, |rest, output| {
        let count = rest.iter().take(6).take_while(|&&digit| hex(digit).is_some()).count();
        let (digits, after) = rest.split_at(count);
        if let Some(byte) = css_byte(digits) {
            output.push(byte);
            return match after {
                [blank, tail @ ..] if is_space(*blank) => tail,
                _ => after,
            };
        }
        match rest {
            [] | [b'\n'] => &[],
            [b'\n', tail @ ..] => tail,
            [byte, tail @ ..] => {
                output.push(*byte);
                tail
            }
        }
    })
}

/// What up to six digits of CSS write: the last two, as those of a longer code are not looked at; `ffHH` is full width,
/// with as many zeros before it as fit.
fn css_byte(digits: &[u8]) -> Option<u8> {
    let low = match digits {
        [] => return None,
        [one] => hex(*one)?,
        [.., high, low] => hex_pair(*high, *low)?,
    };
    let high = match digits {
        [high, next, _, _] | [b'0', high, next, _, _] | [b'0', b'0', high, next, _, _] => hex_pair(*high, *next),
        _ => None,
    };
    Some(narrow(high, low))
}

/// `\uHHHH` (the lower byte, full-width ASCII as ASCII), `\xHH`, `\OOO` up to `\377`, C's letters; `\` and anything else
/// is that. `\` at the end stays.
pub(super) fn js(input: &[u8]) -> Cow<'_, [u8]> {
    decode(input, |rest, output| {
        let (byte, tail) = match rest {
            [] => (b'\\', rest),
            [b'u', a, b, c, d, tail @ ..] if all_hex(&[*a, *b, *c, *d]) => {
                (narrow(hex_pair(*a, *b), hex_pair(*c, *d).unwrap_or_default()), tail)
            }
            [b'x', a, b, tail @ ..] if all_hex(&[*a, *b]) => (hex_pair(*a, *b).unwrap_or_default(), tail),
            [first @ b'0'..=b'7', ..] => {
                // Three digits would be more than a byte from 400 on.
                let (value, count) = octal(rest, if *first > b'3' { 2 } else { 3 });
                (low_byte(value), rest.split_at(count).1)
            }
            [letter, tail @ ..] => (c_letter(*letter).unwrap_or(*letter), tail),
        };
        output.push(byte);
        tail
    })
}

/// C's escapes: `\xHH`, `\OOO` (the lower byte), letters; `\` and anything else is that. `\` at the end stays.
pub(super) fn ansi_c(input: &[u8]) -> Cow<'_, [u8]> {
    decode(input, |rest, output| {
        let (byte, tail) = match rest {
            [] => (b'\\', rest),
            [b'x' | b'X', a, b, tail @ ..] if all_hex(&[*a, *b]) => (hex_pair(*a, *b).unwrap_or_default(), tail),
            [b'0'..=b'7', ..] => {
                let (value, count) = octal(rest, 3);
                (low_byte(value), rest.split_at(count).1)
            }
            [letter, tail @ ..] => (c_letter(*letter).unwrap_or(*letter), tail),
        };
        output.push(byte);
        tail
    })
}

/// Copies `input`; what stands behind a backslash is given to `escape`, which writes what it means and returns the rest.
fn decode<'i>(input: &'i [u8], escape: impl for<'a> Fn(&'a [u8], &mut Vec<u8>) -> &'a [u8]) -> Cow<'i, [u8]> {
    let Some(first) = memchr::memchr(b'\\', input) else {
        return Cow::Borrowed(input);
    };
    let mut output = Vec::with_capacity(input.len());
    let (mut rest, mut at) = (input, Some(first));
    while let Some(end) = at {
        let (before, escaped) = rest.split_at(end);
        output.extend_from_slice(before);
        rest = escape(escaped.split_first().map_or(&[], |(_, tail)| tail), &mut output);
        at = memchr::memchr(b'\\', rest);
    }
    output.extend_from_slice(rest);
    settle(input, output)
}

fn all_hex(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

fn low_byte(value: u16) -> u8 {
    let [_, low] = value.to_be_bytes();
    low
}

fn c_letter(letter: u8) -> Option<u8> {
    Some(match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        _ => return None,
    })
}
