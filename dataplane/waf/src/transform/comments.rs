//! `removeComments`, `removeCommentsChar`, `replaceComments`.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

use super::settle;

/// `/* … */` and `<!-- … -->` go, with either end for either beginning; `--` and `#` end the value. The byte after a
/// comment is copied as it is, even if it begins another; at the end of the value that is a NUL. An open comment becomes
/// a blank.
pub(super) fn remove(input: &[u8]) -> Cow<'_, [u8]> {
    if !has_mark(input) {
        return Cow::Borrowed(input);
    }
    let mut output = Vec::with_capacity(input.len() + 1);
    let mut rest = input;
    loop {
        match rest {
            [b'/', b'*', inside @ ..] | [b'<', b'!', b'-', b'-', inside @ ..] => {
                let Some(after) = after_comment(inside) else {
                    output.push(b' ');
                    break;
                };
                let (next, tail) = after.split_first().unwrap_or((&0, &[]));
                output.push(*next);
                rest = tail;
            }
            [] | [b'-', b'-', ..] | [b'#', ..] => break,
            [byte, tail @ ..] => {
                output.push(*byte);
                rest = tail;
            }
        }
    }
    settle(input, output)
}

/// What begins and ends comments goes; what they hold stays.
pub(super) fn remove_marks(input: &[u8]) -> Cow<'_, [u8]> {
    if !has_mark(input) && !memchr_iter(b'*', input).any(|at| input.get(at + 1) == Some(&b'/')) {
        return Cow::Borrowed(input);
    }
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    loop {
        rest = match rest {
            [] => break,
            [b'<', b'!', b'-', b'-', tail @ ..]
            | [b'-', b'-', b'>', tail @ ..]
            | [b'/', b'*', tail @ ..]
            | [b'*', b'/', tail @ ..]
            | [b'-', b'-', tail @ ..]
            | [b'#', tail @ ..] => tail,
            [byte, tail @ ..] => {
                output.push(*byte);
                tail
            }
        };
    }
    settle(input, output)
}

/// Each `/* … */` becomes a blank, an open one too.
pub(super) fn replace(input: &[u8]) -> Cow<'_, [u8]> {
    let opens = |text: &[u8]| memchr_iter(b'/', text).find(|at| text.get(at + 1) == Some(&b'*'));
    if opens(input).is_none() {
        return Cow::Borrowed(input);
    }
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = opens(rest) {
        let (before, comment) = rest.split_at(at);
        output.extend_from_slice(before);
        output.push(b' ');
        let inside = comment.get(2..).unwrap_or_default();
        let end = memchr_iter(b'*', inside).find(|at| inside.get(at + 1) == Some(&b'/'));
        rest = end.and_then(|end| inside.get(end + 2..)).unwrap_or_default();
    }
    output.extend_from_slice(rest);
    settle(input, output)
}

/// Whether a comment may begin in it.
fn has_mark(input: &[u8]) -> bool {
    let followed = |first, second| memchr_iter(first, input).any(|at| input.get(at + 1) == Some(&second));
    memchr(b'#', input).is_some() || followed(b'/', b'*') || followed(b'-', b'-')
}

/// What stands after the first `*/` or `-->`.
fn after_comment(inside: &[u8]) -> Option<&[u8]> {
    memchr::memchr2_iter(b'*', b'-', inside).find_map(|at| match inside.get(at..) {
        Some([b'*', b'/', after @ ..] | [b'-', b'-', b'>', after @ ..]) => Some(after),
        _ => None,
    })
}
