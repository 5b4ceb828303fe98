//! Whitespace and NULs: `trim`, `compressWhitespace`, `removeWhitespace`, `removeNulls`, `replaceNulls`, `cmdLine`.
//!
//! Whitespace is what C's `isspace` says in the C locale: blank, tab, line feed, vertical tab, form feed, carriage
//! return.

use std::borrow::Cow;

use super::{any, any_pair, settle};

pub(super) fn trim_left(input: &[u8]) -> &[u8] {
    let start = input.iter().position(|&byte| !is_space(byte)).unwrap_or(input.len());
    input.split_at(start).1
}

pub(super) fn trim_right(input: &[u8]) -> &[u8] {
    let end = input
        .iter()
        .rposition(|&byte| !is_space(byte))
        .map_or(0, |last| last + 1);
    input.split_at(end).0
}

/// Each run of whitespace becomes one blank.
pub(super) fn compress(input: &[u8]) -> Cow<'_, [u8]> {
    let changes = any(input, |byte| is_space(byte) && byte != b' ') || any_pair(input, |a, b| a == b' ' && b == b' ');
    if !changes {
        return Cow::Borrowed(input);
    }
    let mut output = Vec::with_capacity(input.len());
    let mut blank = false;
    for &byte in input {
        let before = std::mem::replace(&mut blank, is_space(byte));
        match (before, blank) {
            (true, true) => {}
            (false, true) => output.push(b' '),
            (_, false) => output.push(byte),
        }
    }
    settle(input, output)
}

/// Whitespace is removed, and the bytes of no-break spaces: 0xA0, and the 0xC2 before it in UTF-8, wherever they stand.
pub(super) fn remove(input: &[u8]) -> Cow<'_, [u8]> {
    without(input, |byte| REMOVED.get(usize::from(byte)) == Some(&true))
}

pub(super) fn remove_nulls(input: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(0, input).is_none() {
        return Cow::Borrowed(input);
    }
    without(input, |byte| byte == 0)
}

pub(super) fn replace_nulls(input: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(0, input).is_none() {
        return Cow::Borrowed(input);
    }
    Cow::Owned(input.iter().map(|&byte| if byte == 0 { b' ' } else { byte }).collect())
}

/// What a shell would see: quotes, backslashes and carets go; commas, semicolons and whitespace become one blank, none
/// before `/` and `(`; letters are lower case.
pub(super) fn cmd_line(input: &[u8]) -> Cow<'_, [u8]> {
    let goes = |byte: u8| {
        matches!(byte, b'"' | b'\'' | b'\\' | b'^' | b',' | b';' | b'\t' | b'\r' | b'\n') || byte.is_ascii_uppercase()
    };
    let changes = any(input, goes) || any_pair(input, |a, b| a == b' ' && matches!(b, b' ' | b'/' | b'('));
    if !changes {
        return Cow::Borrowed(input);
    }
    let mut output = Vec::with_capacity(input.len());
    // The last byte of `output` is a blank that stands for a run.
    let mut blank = false;
    for &byte in input {
        match byte {
            b'"' | b'\'' | b'\\' | b'^' => {}
            b' ' | b',' | b';' | b'\t' | b'\r' | b'\n' => {
                if !std::mem::replace(&mut blank, true) {
                    output.push(b' ');
                }
            }
            b'/' | b'(' => {
                if std::mem::replace(&mut blank, false) {
                    output.pop();
                }
                output.push(byte);
            }
            _ => {
                blank = false;
                output.push(byte.to_ascii_lowercase());
            }
        }
    }
    settle(input, output)
}

/// Without the bytes that `unwanted` holds for.
fn without(input: &[u8], unwanted: impl Fn(u8) -> bool) -> Cow<'_, [u8]> {
    let Some(first) = input.iter().position(|&byte| unwanted(byte)) else {
        return Cow::Borrowed(input);
    };
    let mut output = input.to_vec();
    // Every byte is written, and the next one over it if it is unwanted: a branch for each would be guessed wrong often.
    let mut kept = first;
    for &byte in input.split_at(first).1 {
        if let Some(place) = output.get_mut(kept) {
            *place = byte;
        }
        kept += usize::from(!unwanted(byte));
    }
    output.truncate(kept);
    Cow::Owned(output)
}

/// What [`remove`] removes: one look at a table instead of several comparisons.
const REMOVED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_space(byte as u8) || matches!(byte, 0xa0 | 0xc2);
        byte += 1;
    }
    table
};

pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
