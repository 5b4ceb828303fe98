//! Operators: the tests that rules make of a value.
//!
//! A [`Test`] is compiled once. What depends on the transaction (macros in an argument) is expanded by the caller; here
//! stand the tests themselves, bytes in, a verdict out, each in linear time.

use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use regex::bytes::Regex;
use regex_automata::{Input, meta};

use super::byteset::{ByteSet, Needs};
use super::program::Text;
use crate::operator::{self as bytes, PhraseSet};

pub(super) use bytes::parse_number as number;

pub(super) mod networks;
pub(super) mod pattern;

/// A compiled operator.
#[derive(Debug)]
pub(super) enum Test {
    Always,
    Never,
    Pattern(Box<Pattern>),
    Expanded(Box<Expanded>),
    Phrases(Box<Phrases>),
    Compare(Compare, Number),
    Text(TextTest, Text),
    Addresses(Box<[IpNet]>),
    ByteRange(ByteSet),
    UrlEncoding,
    Utf8,
    /// Where an address is: fills GEO.
    Place,
    Sqli,
    Xss,
    /// Whether any of what a pattern finds has the check digits of its kind.
    Numbers(Box<meta::Regex>, fn(&[u8]) -> bool),
}

/// A compiled `@rx`.
#[derive(Debug)]
pub(super) struct Pattern {
    /// None only while rules are compiled. Shared with other rule sets, as are phrases.
    pub(super) regex: Option<Arc<meta::Regex>>,
    pub(super) filter: Filter,
}

/// An `@rx` with macros in it: what they come to is compiled when it is seen first.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) text: Text,
    pub(super) known: Mutex<Vec<Known>>,
}

/// What macros came to, and its pattern, if it is one. Shared: a clone of a [`Regex`] makes memory to search in anew.
type Known = (Vec<u8>, Option<Arc<Regex>>);

impl Expanded {
    /// Most bytes of a pattern with its macros expanded.
    pub(super) const BYTES: usize = 4096;

    /// Most expansions that are remembered.
    const KNOWN: usize = 8;

    /// Most memory of such a pattern's program: a client may have written it, and each transaction compiles some.
    const SIZE: usize = 256 << 10;

    /// The pattern that the macros came to, `Some(None)` where it is none. It is compiled where it is not known, which takes
    /// one of `left`; none where none is left.
    pub(super) fn regex(&self, pattern: &[u8], left: &mut usize) -> Option<Option<Arc<Regex>>> {
        let known = self.known.lock().iter().find(|(text, _)| text == pattern).cloned();
        if let Some((_, regex)) = known {
            return Some(regex);
        }
        *left = left.checked_sub(1)?;
        let text = std::str::from_utf8(pattern).ok();
        let regex = text.and_then(|text| pattern::compile(text, false, Self::SIZE).ok());
        let regex = regex.map(Arc::new);
        let mut all = self.known.lock();
        if all.len() >= Self::KNOWN {
            all.remove(0);
        }
        all.push((pattern.to_vec(), regex.clone()));
        Some(regex)
    }
}

/// Most bytes from the beginning of a search for a number to its end.
const NUMBER: usize = 512;

/// What a pattern finds, in order, without overlap. A search looks no further than [`NUMBER`] bytes, as a pattern may look to the
/// end of a text for each of many short matches.
pub(super) fn numbers<'v>(regex: &meta::Regex, value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < value.len() {
            let until = value.len().min(at + NUMBER);
            match regex.search(&Input::new(value).range(at..until)) {
                // It may go on behind what was looked at.
                Some(found) if found.end() == until && until < value.len() && found.start() > at => at = found.start(),
                Some(found) => {
                    at = found.end().max(at + 1);
                    return value.get(found.range());
                }
                // A match that begins in the second half may go on behind it.
                None if until < value.len() => at += NUMBER / 2,
                None => return None,
            }
        }
        None
    })
}

/// A compiled `@pm`.
#[derive(Debug)]
pub(super) struct Phrases {
    pub(super) set: Arc<PhraseSet>,
    pub(super) filter: Filter,
}

/// What rules a text out without a search of its own.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) needs: Needs,
    /// See [`super::scan`].
    pub(super) bit: Option<u16>,
    /// Its number among what is wanted, until there are groups.
    pub(super) number: u32,
}

/// Comparisons of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
}

/// The other side of a comparison.
#[derive(Debug)]
pub(super) enum Number {
    Constant(i64),
    Slot(u16),
    Text(Text),
}

/// Comparisons of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextTest {
    BeginsWith,
    Contains,
    ContainsWord,
    EndsWith,
    Equals,
    Within,
}

impl Test {
    /// The filter of an operator that has one.
    pub(super) fn filter(&self) -> Option<&Filter> {
        match self {
            Self::Pattern(pattern) => Some(&pattern.filter),
            Self::Phrases(phrases) => Some(&phrases.filter),
            _ => None,
        }
    }

    pub(super) fn filter_mut(&mut self) -> Option<&mut Filter> {
        match self {
            Self::Pattern(pattern) => Some(&mut pattern.filter),
            Self::Phrases(phrases) => Some(&mut phrases.filter),
            _ => None,
        }
    }
}

impl Compare {
    pub(super) fn holds(self, value: i64, than: i64) -> bool {
        match self {
            Self::Eq => value == than,
            Self::Ge => value >= than,
            Self::Gt => value > than,
            Self::Le => value <= than,
            Self::Lt => value < than,
        }
    }
}

impl TextTest {
    /// Whether `value` stands to `text` as this says.
    pub(super) fn holds(self, value: &[u8], text: &[u8]) -> bool {
        match self {
            Self::BeginsWith => value.starts_with(text),
            Self::EndsWith => value.ends_with(text),
            Self::Equals => value == text,
            Self::Contains => bytes::contains(value, text),
            Self::Within => bytes::within(value, text),
            Self::ContainsWord => bytes::contains_word(value, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_as_their_operators_say() {
        assert!(TextTest::Within.holds(b"GET", b"GET POST"));
        assert!(!TextTest::Within.holds(b"PUT", b"GET POST"));
        assert!(TextTest::Contains.holds(b"a#b", b"#"));
        assert!(TextTest::EndsWith.holds(b"a.pdf", b".pdf"));
        assert!(TextTest::BeginsWith.holds(b"/admin/x", b"/admin"));
        assert!(!TextTest::Equals.holds(b"get", b"GET"));
    }
}
