//! What is wrong with a pattern: the reason, the part of the pattern, and where that stands.
//!
//! The parser sees the pattern rewritten; what is told is of the pattern as it was written.

use std::fmt;

use regex_syntax::{ast, hir};

use super::rewrite_and;

/// Most bytes of a pattern that a message shows.
const SHOWN: usize = 32;

/// What is wrong with a pattern, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    message: String,
    /// It is sound, but no engine of linear time can run it.
    pub(crate) is_not_regular: bool,
}

impl Fault {
    /// What the parser says of a pattern, in terms of the pattern as it was written.
    pub(super) fn new(pattern: &str, error: &regex_syntax::Error) -> Self {
        let (span, reason, is_not_regular) = match error {
            regex_syntax::Error::Parse(error) => {
                let kind = error.kind();
                let linear = matches!(
                    kind,
                    ast::ErrorKind::UnsupportedLookAround | ast::ErrorKind::UnsupportedBackreference
                );
                (Some(error.span()), kind.to_string(), linear)
            }
            regex_syntax::Error::Translate(error) => {
                let reason = match error.kind() {
                    hir::ErrorKind::UnicodeNotAllowed
                    | hir::ErrorKind::UnicodePropertyNotFound
                    | hir::ErrorKind::UnicodePropertyValueNotFound => {
                        "patterns match bytes, and classes of Unicode are none; write the bytes, such as [A-Za-z]"
                            .to_owned()
                    }
                    kind => kind.to_string(),
                };
                (Some(error.span()), reason, false)
            }
            _ => (None, "it is no regular expression".to_owned(), false),
        };
        let reason = match is_not_regular {
            true => format!("{reason}: patterns run in linear time here, so write it without"),
            false => reason,
        };
        let message = match span.map(|span| place(pattern, span)) {
            Some((at, part)) => format!("`{part}` at byte {} of the pattern: {reason}", at + 1),
            None => reason,
        };
        Self {
            message,
            is_not_regular,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.message
    }
}

/// Where in a pattern a part of its rewritten form comes from, and that part, shortened.
fn place(pattern: &str, span: &ast::Span) -> (usize, String) {
    let (mut from, mut to) = (0, None);
    rewrite_and(pattern, &mut |at, out| {
        if out <= span.start.offset {
            from = at;
        }
        if out >= span.end.offset && at > from {
            to.get_or_insert(at);
        }
    });
    let bytes = pattern.as_bytes();
    let part = bytes.get(from..to.unwrap_or(bytes.len())).unwrap_or_default();
    let text = String::from_utf8_lossy(part.get(..SHOWN).unwrap_or(part));
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_debug()),
            false => shown.push(c),
        }
    }
    if part.len() > SHOWN {
        shown.push('…');
    }
    (from, shown)
}

#[cfg(test)]
mod tests {
    use super::super::{SIZE, compile, tree};

    #[test]
    fn a_fault_is_told_with_the_part_of_the_pattern_and_where_that_stands() {
        for (pattern, place, reason) in [
            ("a(?z)b", "`z` at byte 4 of the pattern: ", "unrecognized flag"),
            (r"^\pL+", r"`\pL` at byte 2 of the pattern: ", "[A-Za-z]"),
            ("\u{e9}{x(", "`(` at byte 5 of the pattern: ", "unclosed group"),
            (r"[\h]a)", "`)` at byte 6 of the pattern: ", "unopened group"),
            ("a**{2}x[z-a]", "`z-a` at byte 9 of the pattern: ", "invalid"),
            (r"(a)\1", r"`\1` at byte 4 of the pattern: ", "linear time"),
            ("x(?=y)", "`(?=` at byte 2 of the pattern: ", "look-ahead"),
        ] {
            for message in [
                tree(pattern).unwrap_err().to_string(),
                compile(pattern, true, SIZE).unwrap_err(),
            ] {
                assert!(
                    message.starts_with(place) && message.contains(reason),
                    "{pattern}: {message}"
                );
            }
        }
        let long = tree(&format!("({}", r"\pL".repeat(100))).unwrap_err().to_string();
        assert!(long.len() < 200, "{long}");
    }
}
