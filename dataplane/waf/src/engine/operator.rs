//! Operators: the tests that rules make of a value.
//!
//! A [`Test`] is compiled once. What depends on the transaction (macros in an argument) is expanded by the caller; here
//! stand the tests themselves, bytes in, a verdict out, each in linear time.

use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use regex::bytes::Regex;
use regex_automata::meta;

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
    CreditCard(Box<Regex>),
    SocialSecurity(Box<Regex>),
    Cpf(Box<Regex>),
}

/// A compiled `@rx`.
#[derive(Debug)]
pub(super) struct Pattern {
    /// None only while rules are compiled.
    pub(super) regex: Option<meta::Regex>,
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

    /// Whether the pattern that the macros came to matches; false where it is none or too long.
    pub(super) fn matches(&self, pattern: &[u8], value: &[u8]) -> bool {
        if pattern.len() >= Self::BYTES {
            return false;
        }
        let known = self
            .known
            .lock()
            .iter()
            .find(|(text, _)| text == pattern)
            .map(|(_, regex)| regex.clone());
        let regex = known.unwrap_or_else(|| {
            let text = std::str::from_utf8(pattern).ok();
            let regex = text.and_then(|text| pattern::compile(text, false).ok()).map(Arc::new);
            let mut all = self.known.lock();
            if all.len() >= Self::KNOWN {
                all.remove(0);
            }
            all.push((pattern.to_vec(), regex.clone()));
            regex
        });
        regex.is_some_and(|regex| regex.is_match(value))
    }
}

/// A compiled `@pm`.
#[derive(Debug)]
pub(super) struct Phrases {
    pub(super) set: PhraseSet,
    pub(super) filter: Filter,
}

/// What rules a text out without a search of its own.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) needs: Needs,
    /// See [`super::scan`].
    pub(super) bit: Option<u8>,
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
