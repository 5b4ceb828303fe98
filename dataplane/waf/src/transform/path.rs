//! `normalizePath`, `normalizePathWin`: no doubled slashes, no `.` and `..` segments.
//!
//! A relative path keeps the `..` that lead above where it begins; an absolute one loses them. There is a slash at the
//! end only if there was one. As in ModSecurity a segment that ends in two dots counts as `..`, and with `win` a
//! backslash is a slash. (ModSecurity leaves the last of three or more backslashes as it is; here it is a slash.)

use std::borrow::Cow;

use super::settle;

pub(super) fn normalize(input: &[u8], win: bool) -> Cow<'_, [u8]> {
    if is_normal(input, win) {
        return Cow::Borrowed(input);
    }
    let at = |index: usize| match input.get(index) {
        Some(b'\\') if win => Some(b'/'),
        other => other.copied(),
    };
    let Some(end) = input.len().checked_sub(1) else {
        return Cow::Borrowed(input);
    };
    let relative = at(0) != Some(b'/');
    let trailing = at(end) == Some(b'/');
    let mut output: Vec<u8> = Vec::with_capacity(input.len());
    // A `..` was kept, or nothing is left: what follows is at the root.
    let mut at_root = false;
    let mut source = 0;
    while let Some(byte) = at(source) {
        let last = source == end;
        let ends_segment = last || at(source + 1) == Some(b'/');
        if ends_segment && byte == b'.' {
            match output.last() {
                Some(b'.') if relative && (at_root || output.len() <= 2) => at_root = true,
                Some(b'.') => {
                    at_root |= remove_segment(&mut output);
                    if output.is_empty() && !relative && last {
                        output.push(b'/');
                    }
                    if last {
                        break;
                    }
                    source += 1;
                }
                None | Some(b'/') => {
                    if last {
                        break;
                    }
                    output.pop();
                    source += 1;
                }
                Some(_) => {}
            }
        } else if ends_segment && (last || byte != b'/') && !output.is_empty() {
            at_root = false;
        }
        if at(source) == Some(b'/') {
            while source < end && at(source + 1) == Some(b'/') {
                source += 1;
            }
            if relative && output.is_empty() {
                source += 1;
                continue;
            }
        }
        output.extend(at(source));
        source += 1;
    }
    if !trailing && output.last() == Some(&b'/') {
        output.pop();
    }
    settle(input, output)
}

/// Removes the first dot of a `..`, the slash before it and the segment before that, but for its slash. True if nothing
/// is left.
fn remove_segment(output: &mut Vec<u8>) -> bool {
    let from = output.len().saturating_sub(3);
    let slash = output.get(..=from).and_then(|kept| memchr::memrchr(b'/', kept));
    let keep = slash.filter(|_| output.len() > 3).unwrap_or(0);
    output.truncate(keep);
    keep == 0
}

/// Whether there is nothing to do: no doubled slash, and no dot at the end of a segment.
fn is_normal(input: &[u8], win: bool) -> bool {
    let before = |at: usize| at.checked_sub(1).and_then(|before| input.get(before));
    let mut slashes = memchr::memchr_iter(b'/', input);
    !(win && memchr::memchr(b'\\', input).is_some())
        && input.last() != Some(&b'.')
        && !slashes.any(|at| matches!(before(at), Some(b'/' | b'.')))
}
