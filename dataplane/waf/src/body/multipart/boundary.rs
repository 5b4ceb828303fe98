//! The boundary in a Content-Type of `multipart/form-data`.
//!
//! Other parameters may stand before and behind it, in any order (Spring writes `charset` first). Invariant: there is one
//! boundary, by whichever name in whichever case and place a server may look for it, and all around it is well-formed.

use memchr::memmem;

use super::{MultipartFlags, disposition::is_token};
use crate::transform::is_space;

/// Longest Content-Type.
const MAX_CONTENT_TYPE: usize = 1024;

pub(super) struct Boundary {
    /// `--` and the boundary.
    pub(super) delimiter: Vec<u8>,
    quoted: bool,
}

impl Boundary {
    /// Whether a line that begins with `--` has the boundary behind a quote or whitespace.
    pub(super) fn disguised_in(&self, line: &[u8]) -> Option<&'static str> {
        let boundary = self.delimiter.get(2..)?;
        let rest = line.get(2..)?;
        if self.quoted && rest.strip_prefix(b"\"").is_some_and(|rest| rest.starts_with(boundary)) {
            return Some("Invalid boundary (quotes).");
        }
        let blanks = rest.iter().take_while(|&&byte| is_space(byte)).count();
        let (_, text) = rest.split_at(blanks);
        (blanks > 0 && text.starts_with(boundary)).then_some("Invalid boundary (whitespace).")
    }
}

/// The boundary, or what is wrong.
pub(super) fn read(content_type: &[u8], flags: &mut MultipartFlags) -> Result<Boundary, &'static str> {
    if content_type.is_empty() {
        return Err("Content-Type header not available.");
    }
    if content_type.len() > MAX_CONTENT_TYPE {
        return Err("Invalid boundary in C-T (length).");
    }
    let (kind, parameters) = content_type.split_at_checked(19).unwrap_or_default();
    if !kind.eq_ignore_ascii_case(b"multipart/form-data") {
        return Err("Invalid MIME type.");
    }
    if count(content_type) > 1 {
        return Err("Multiple boundary parameters in C-T.");
    }
    let Some(at) = memmem::find(parameters, b"boundary") else {
        return Err(if count(content_type) > 0 {
            "Invalid boundary in C-T (case sensitivity)."
        } else {
            "Boundary not found in C-T."
        });
    };
    let (before, parameter) = parameters.split_at(at);
    if skip_spaces(before).is_empty() {
        flags.missing_semicolon = true;
    } else if others(before) != Some(End::Semicolon) {
        return Err("Invalid boundary in C-T (malformed).");
    }
    let after = parameter.get(8..).unwrap_or_default();
    let Some(equals) = memchr::memchr(b'=', after) else {
        return Err("Invalid boundary in C-T (malformed).");
    };
    let (gap, value) = after.split_at(equals);
    if !gap.iter().all(|&byte| is_space(byte)) {
        return Err("Invalid boundary in C-T (parameter name).");
    }
    let value = value.get(1..).unwrap_or_default();
    flags.boundary_whitespace = !gap.is_empty() || value.first().copied().is_some_and(is_space);
    let (boundary, behind) = split(value)?;
    flags.boundary_quoted = value.starts_with(b"\"");
    if !has_valid_characters(boundary) {
        return Err("Invalid boundary in C-T (characters).");
    }
    if boundary.is_empty() {
        return Err("Invalid boundary in C-T (empty).");
    }
    if others(behind).is_none() {
        return Err("Invalid boundary in C-T (malformed).");
    }
    Ok(Boundary {
        delimiter: [b"--", boundary].concat(),
        quoted: flags.boundary_quoted,
    })
}

/// A boundary without its quotes, and what stands behind it.
fn split(value: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let quote = Err("Invalid boundary in C-T (quote).");
    if let Some(inside) = value.strip_prefix(b"\"") {
        let Some(end) = memchr::memchr(b'"', inside) else {
            return quote;
        };
        let (boundary, behind) = inside.split_at(end);
        return Ok((boundary, behind.get(1..).unwrap_or_default()));
    }
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let (boundary, behind) = value.split_at(end);
    if boundary.ends_with(b"\"") {
        return quote;
    }
    Ok((boundary, behind))
}

/// What a list of parameters ends with.
#[derive(PartialEq, Eq)]
enum End {
    /// A parameter, or there is none.
    Parameter,
    /// A semicolon, behind which one more may follow.
    Semicolon,
}

/// Reads `; name=value` as often as it stands there; none if anything stands there that RFC 2045 section 5.1 does not have,
/// or that is read in more than one way: blanks around `=`, two semicolons, a backslash in quotes.
fn others(mut rest: &[u8]) -> Option<End> {
    loop {
        rest = match skip_spaces(rest) {
            [] => return Some(End::Parameter),
            [b';', tail @ ..] => skip_spaces(tail),
            _ => return None,
        };
        if rest.is_empty() {
            return Some(End::Semicolon);
        }
        let (name, tail) = token(rest);
        let tail = tail.strip_prefix(b"=").filter(|_| !name.is_empty())?;
        rest = if let Some(inside) = tail.strip_prefix(b"\"") {
            let (text, tail) = inside.split_at(memchr::memchr(b'"', inside)?);
            if !text.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\') {
                return None;
            }
            tail.get(1..)?
        } else {
            let (text, tail) = token(tail);
            if text.is_empty() {
                return None;
            }
            tail
        };
    }
}

/// A token, which may be empty, and what follows.
fn token(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|&&byte| is_token(byte)).count())
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    text.split_at(text.iter().take_while(|&&byte| is_space(byte)).count()).1
}

/// How often `boundary` stands before a `=`, in any case.
fn count(text: &[u8]) -> usize {
    let lower = text.to_ascii_lowercase();
    let Some(last) = memchr::memrchr(b'=', &lower) else {
        return 0;
    };
    memmem::find_iter(&lower, b"boundary")
        .filter(|at| at + 8 <= last)
        .count()
}

/// RFC 2046, section 5.1.1: no space at the end.
fn has_valid_characters(boundary: &[u8]) -> bool {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b" '()+_,-./:=?".contains(byte);
    boundary.iter().all(valid) && !boundary.ends_with(b" ")
}
