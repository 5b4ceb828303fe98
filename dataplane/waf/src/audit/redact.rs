//! What never reaches a log: the values of named query arguments and request fields.
//!
//! When in doubt a value is replaced: names are compared without case and with percent-encoding undone, `user[password]`
//! and `password[]` count as `password`, and so does what follows a `;` in a server's eyes. The names stay, so that a
//! reader sees that something was there.

use std::borrow::Cow;

/// What a value is replaced by.
const REPLACEMENT: &str = "***";

/// Names whose values are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    arguments: Vec<String>,
    headers: Vec<String>,
}

impl Redaction {
    /// From the names of query arguments and of request fields, in any case.
    #[must_use]
    pub fn new(arguments: impl IntoIterator<Item = String>, headers: impl IntoIterator<Item = String>) -> Self {
        Self {
            arguments: arguments.into_iter().collect(),
            headers: headers.into_iter().collect(),
        }
    }

    /// Path and query joined, with the values of named arguments replaced.
    #[must_use]
    pub fn uri<'a>(&self, path: &'a str, query: Option<&str>) -> Cow<'a, str> {
        let Some(query) = query else { return path.into() };
        let mut uri = String::with_capacity(path.len() + 1 + query.len());
        uri.push_str(path);
        let mut separator = '?';
        for argument in query.split('&') {
            uri.push(separator);
            separator = '&';
            match self.kept(argument) {
                Some(kept) => {
                    uri.push_str(kept);
                    uri.push_str(REPLACEMENT);
                }
                None => uri.push_str(argument),
            }
        }
        uri.into()
    }

    /// `value`, or its replacement if fields of `name` are redacted.
    #[must_use]
    pub fn header_value<'a>(&self, name: &str, value: &'a str) -> &'a str {
        if self.headers.iter().any(|header| header.eq_ignore_ascii_case(name)) {
            REPLACEMENT
        } else {
            value
        }
    }

    /// Whether the value of the query or form argument `name` is replaced.
    #[must_use]
    pub fn hides_argument(&self, name: &str) -> bool {
        if self.arguments.is_empty() {
            return false;
        }
        let name = decode(name);
        let matches = |part: &str| {
            self.arguments
                .iter()
                .any(|argument| argument.eq_ignore_ascii_case(part.trim()))
        };
        matches(&name) || name.split(['[', ']']).any(matches)
    }

    /// The part of an argument up to its first hidden value, `=` included; none if there is nothing to hide. All after
    /// it goes: a value may hold a `;` itself.
    fn kept<'q>(&self, argument: &'q str) -> Option<&'q str> {
        let mut start = 0;
        for part in argument.split(';') {
            if let Some((name, value)) = part.split_once('=')
                && !value.is_empty()
                && self.hides_argument(name)
            {
                return argument.get(..=start + name.len());
            }
            start += part.len() + 1;
        }
        None
    }
}

/// Percent-encoding and `+` undone once; what is not UTF-8 then is replaced, what is not an escape is kept.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', ..) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}
