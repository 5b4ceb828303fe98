//! Encodings of single bytes: letters, hexadecimal, digests, parity, `length`.

use std::borrow::Cow;

use ::md5::Md5;
use ::sha1::{Digest as _, Sha1};

use super::digits::hex_pair;
use super::{any, settle};

pub(super) fn lowercase(input: &[u8]) -> Cow<'_, [u8]> {
    if !any(input, |byte| byte.is_ascii_uppercase()) {
        return Cow::Borrowed(input);
    }
    Cow::Owned(input.to_ascii_lowercase())
}

pub(super) fn uppercase(input: &[u8]) -> Cow<'_, [u8]> {
    if !any(input, |byte| byte.is_ascii_lowercase()) {
        return Cow::Borrowed(input);
    }
    Cow::Owned(input.to_ascii_uppercase())
}

/// The count of bytes, in decimal.
pub(super) fn length(input: &[u8]) -> Cow<'_, [u8]> {
    settle(input, input.len().to_string().into_bytes())
}

/// The digest's twenty bytes, not their hexadecimal form.
pub(super) fn sha1(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(Sha1::digest(input).to_vec())
}

/// The digest's sixteen bytes, not their hexadecimal form.
pub(super) fn md5(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(Md5::digest(input).to_vec())
}

/// Lower case.
pub(super) fn hex_encode(input: &[u8]) -> Cow<'_, [u8]> {
    settle(input, input.iter().flat_map(|&byte| hex_digits(byte)).collect())
}

/// Pairs of digits; one that is left over goes. A pair that is none counts as ModSecurity's arithmetic has it.
pub(super) fn hex_decode(input: &[u8]) -> Cow<'_, [u8]> {
    let digit = |byte: u8| match byte {
        b'A'.. => (byte & 0xdf).wrapping_sub(b'A').wrapping_add(10),
        _ => byte.wrapping_sub(b'0'),
    };
    let (pairs, _) = input.as_chunks::<2>();
    let decode = |&[high, low]: &[u8; 2]| digit(high).wrapping_mul(16).wrapping_add(digit(low));
    settle(input, pairs.iter().map(decode).collect())
}

/// `0x414243` becomes `ABC`, wherever it stands. ModSecurity also loses the last byte of a value, what follows a NUL, and
/// does not see digits right behind others; that is not done here.
pub(super) fn sql_hex_decode(input: &[u8]) -> Cow<'_, [u8]> {
    if !memchr::memchr2_iter(b'x', b'X', input).any(|at| at > 0 && input.get(at - 1) == Some(&b'0')) {
        return Cow::Borrowed(input);
    }
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    loop {
        rest = match rest {
            [] => break,
            [b'0', b'x' | b'X', digits @ ..] if pair(digits).is_some() => {
                let mut digits = digits;
                while let Some((byte, tail)) = pair(digits) {
                    output.push(byte);
                    digits = tail;
                }
                digits
            }
            [byte, tail @ ..] => {
                output.push(*byte);
                tail
            }
        };
    }
    settle(input, output)
}

/// The byte that the first two digits write, and what follows them.
fn pair(digits: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, tail @ ..] = digits else { return None };
    Some((hex_pair(*high, *low)?, tail))
}

/// Sets the eighth bit of each byte as `set` says.
pub(super) fn parity(input: &[u8], set: fn(u8) -> u8) -> Cow<'_, [u8]> {
    if !input.iter().any(|&byte| set(byte) != byte) {
        return Cow::Borrowed(input);
    }
    Cow::Owned(input.iter().map(|&byte| set(byte)).collect())
}

/// The eighth bit is set where the count of bits was odd, and else cleared.
pub(super) fn even(byte: u8) -> u8 {
    if !byte.count_ones().is_multiple_of(2) {
        byte | 0x80
    } else {
        byte & 0x7f
    }
}

/// The eighth bit is set where the count of bits was even, and else cleared.
pub(super) fn odd(byte: u8) -> u8 {
    if byte.count_ones().is_multiple_of(2) {
        byte | 0x80
    } else {
        byte & 0x7f
    }
}

pub(super) fn zero(byte: u8) -> u8 {
    byte & 0x7f
}

/// Two lower case digits.
pub(super) fn hex_digits(byte: u8) -> [u8; 2] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    [digit(byte >> 4), digit(byte & 0xf)]
}
