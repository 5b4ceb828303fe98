//! The boundary in a Content-Type of `multipart/form-data`.

use memchr::memmem;

use super::MultipartFlags;
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
    let mut marks = before.iter().filter(|&&byte| !is_space(byte));
    match (marks.next(), marks.next()) {
        (None, _) => flags.missing_semicolon = true,
        (Some(b';'), None) => {}
        _ => return Err("Invalid boundary in C-T (malformed)."),
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
    let boundary = match value {
        [b'"', inside @ .., b'"'] => {
            flags.boundary_quoted = true;
            inside
        }
        [b'"', ..] | [_, .., b'"'] => return Err("Invalid boundary in C-T (quote)."),
        _ => value,
    };
    if count(boundary) != 0 {
        return Err("Invalid boundary in C-T (content).");
    }
    // Some put a charset behind it, which no RFC has; that is let pass.
    let boundary = match memchr::memchr(b';', boundary) {
        Some(end) if !flags.boundary_quoted && !has_valid_characters(boundary) => boundary.split_at(end).0,
        _ => boundary,
    };
    if !has_valid_characters(boundary) {
        return Err("Invalid boundary in C-T (characters).");
    }
    if boundary.is_empty() {
        return Err("Invalid boundary in C-T (empty).");
    }
    Ok(Boundary {
        delimiter: [b"--", boundary].concat(),
        quoted: flags.boundary_quoted,
    })
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
