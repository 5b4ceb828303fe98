//! `urlDecode`, `urlDecodeUni`, `urlEncode`.
//!
//! A `%` that begins no encoding stays. `%uHHHH` is the best fit of code page 20127 (US-ASCII), all of it, which is what
//! `SecUnicodeMapFile unicode.mapping 20127` of the recommended settings asks for; a code that it does not have is its
//! lower byte, full-width ASCII as ASCII.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::digits::{hex_pair, narrow};
use super::encodings::hex_digits;
use super::settle;

pub(super) fn decode(input: &[u8]) -> Cow<'_, [u8]> {
    decode_with(input, b' ', pair)
}

/// What a path means: as [`decode`], but `+` stays.
pub(crate) fn percent_decoded(input: &[u8]) -> Cow<'_, [u8]> {
    decode_with(input, b'+', pair)
}

pub(super) fn decode_uni(input: &[u8]) -> Cow<'_, [u8]> {
    decode_with(input, b' ', |rest| match rest {
        [b'u' | b'U', a, b, c, d, tail @ ..] => {
            let (high, low) = (hex_pair(*a, *b)?, hex_pair(*c, *d)?);
            let byte = best_fit(u16::from_be_bytes([high, low])).unwrap_or_else(|| narrow(Some(high), low));
            Some((byte, tail))
        }
        _ => pair(rest),
    })
}

/// Letters, digits and `*` stay, a blank becomes `+`; lower case.
pub(super) fn encode(input: &[u8]) -> Cow<'_, [u8]> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'*';
    if input.iter().all(|&byte| plain(byte)) {
        return Cow::Borrowed(input);
    }
    let mut output = Vec::with_capacity(input.len() * 3);
    for &byte in input {
        match byte {
            b' ' => output.push(b'+'),
            _ if plain(byte) => output.push(byte),
            _ => {
                output.push(b'%');
                output.extend_from_slice(&hex_digits(byte));
            }
        }
    }
    Cow::Owned(output)
}

/// The byte of the two digits that stand first, and the rest.
fn pair(rest: &[u8]) -> Option<(u8, &[u8])> {
    match rest {
        [high, low, tail @ ..] => Some((hex_pair(*high, *low)?, tail)),
        _ => None,
    }
}

/// Copies `input` with `plus` for `+`; what stands behind a `%` is given to `escape`, which returns what it means and
/// the rest, if it means anything.
fn decode_with<'i>(
    input: &'i [u8],
    plus: u8,
    escape: impl for<'a> Fn(&'a [u8]) -> Option<(u8, &'a [u8])>,
) -> Cow<'i, [u8]> {
    if memchr2(b'%', b'+', input).is_none() {
        return Cow::Borrowed(input);
    }
    // No escape has a `+` in it.
    let mut text = input.to_vec();
    for byte in &mut text {
        *byte = if *byte == b'+' { plus } else { *byte };
    }
    let Some(first) = memchr(b'%', &text) else {
        return settle(input, text);
    };
    let (plain, mut rest) = text.split_at(first);
    let mut output = Vec::with_capacity(input.len());
    output.extend_from_slice(plain);
    // Escapes stand close together where there are any: a search for each would cost more than a look at each byte.
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let mut meant = byte;
        if byte == b'%'
            && let Some((byte, after)) = escape(tail)
        {
            (meant, rest) = (byte, after);
        }
        output.push(meant);
    }
    settle(input, output)
}

/// What code page 20127 has for a character beyond ASCII; full-width ASCII is not in the table.
fn best_fit(code: u16) -> Option<u8> {
    let after = BEST_FIT.partition_point(|(start, _)| *start <= code);
    let (start, run) = BEST_FIT.get(after.checked_sub(1)?)?;
    let byte = run.get(usize::from(code - start)).copied()?;
    (byte != 0).then_some(byte)
}

/// Runs of characters: the first code, and the byte for each; 0 where there is none. Ascending.
const BEST_FIT: [(u16, &[u8]); 21] = [
    (0x00a0, b" !c\0$Y|\0\0Ca<\0-R\0\0\0\x323\0\0\0.,1o>"),
    (
        0x00c0,
        b"AAAAAAACEEEEIIIIDNOOOOO\0OUUUUY\0\0aaaaaaaceeeeiiii\0nooooo\0ouuuuy\0yAaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGgGgGgHhHhIiIi\
          IiIiIi\0\0JjKk\0LlLlLl\0\0LlNnNnNn\0\0\0OoOoOoOoRrRrRrSsSsSsSsTtTtTtUuUuUuUuUuUuWwYyYZ\0ZzZz\0b",
    ),
    (0x0189, b"D"),
    (0x0191, b"Ff"),
    (0x0197, b"I\0\0l"),
    (0x019f, b"OOo"),
    (0x01ab, b"t\0\0TUu"),
    (0x01b6, b"z"),
    (0x01cd, b"AaIiOoUuUuUuUuUu\0Aa"),
    (0x01e4, b"GgGgKkOoOo\0\0j"),
    (0x0261, b"g"),
    (0x02b9, b"'\"\0'"),
    (0x02c4, b"^\0^\0'\0\0`\0_"),
    (0x02dc, b"~"),
    (0x0300, b"`\0^~"),
    (0x030e, b"\""),
    (0x0331, b"__"),
    (0x2000, b"       "),
    (0x2010, b"--\0--\0\0\0'',\0\"\"\"\0\0\0.\0\0\0."),
    (0x2032, b"'\0\0`\0\0\0<>"),
    (0x2122, b"T"),
];
