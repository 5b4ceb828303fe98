//! What is kept out of one transaction's line: hidden names, and the values they had in it.

use std::borrow::Cow;
use std::cmp::Reverse;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use memchr::memmem::Finder;

use super::{Folded, REPLACEMENT, Redaction};

/// So many bytes of a value are sought; of a longer one all that stands behind them is replaced.
const PREFIX: usize = 64;

/// A value shorter than this is sought only as a word of its own: a PIN of two digits is in many numbers.
const SHORT: usize = 3;

/// Most values, and most bytes of them; beyond, all text of the client is replaced.
const VALUES: usize = 256;
const BYTES: usize = 64 << 10;

/// So many values are sought one by one: to build an automaton takes longer than to read a few lines so often.
const FEW: usize = 8;

/// How values are sought.
#[derive(Clone, Debug, Default)]
enum Sought {
    #[default]
    Nothing,
    Few(Vec<Finder<'static>>),
    Many(AhoCorasick),
}

/// Names and values. Made when a line is to be written, of one transaction.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    names: Redaction,
    values: Vec<Vec<u8>>,
    bytes: usize,
    /// There are more values than are sought.
    doubt: bool,
    sought: Sought,
}

impl Mask {
    /// Of names, and of the values they had; in `doubt` there are more.
    pub(crate) fn new<'v>(names: Redaction, values: impl IntoIterator<Item = Cow<'v, [u8]>>, doubt: bool) -> Self {
        let mut this = Self {
            names,
            doubt,
            ..Self::default()
        };
        for value in values {
            this.add(&value);
        }
        let prefixes = this.values.iter().map(|value| value.get(..PREFIX).unwrap_or(value));
        if this.values.is_empty() || this.doubt {
            return this;
        }
        if this.values.len() <= FEW {
            this.sought = Sought::Few(prefixes.map(|value| Finder::new(value).into_owned()).collect());
            return this;
        }
        let built = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(prefixes);
        match built {
            Ok(automaton) => this.sought = Sought::Many(automaton),
            Err(_) => this.doubt = true,
        }
        this
    }

    fn add(&mut self, value: &[u8]) {
        if self.doubt {
            return;
        }
        if self.values.len() >= VALUES || self.bytes + value.len() > BYTES {
            self.doubt = true;
            return;
        }
        let folded = Folded::new(value.trim_ascii()).bytes;
        if folded.is_empty() || self.values.contains(&folded) {
            return;
        }
        self.bytes += folded.len();
        self.values.push(folded);
    }

    /// A text of the client without what is hidden.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.changed(text).map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// Whether a text may be a piece of a hidden value.
    pub(crate) fn is_piece(&self, text: &[u8]) -> bool {
        let folded = Folded::new(text).bytes;
        let within = |value: &Vec<u8>| memchr::memmem::find(value, &folded).is_some();
        !folded.is_empty() && (self.doubt || self.values.iter().any(within))
    }

    /// Path and query joined, without what is hidden.
    #[must_use]
    pub fn uri<'a>(&self, path: &'a str, query: Option<&str>) -> Cow<'a, str> {
        if self.doubt && query.is_some() {
            return format!("{}?{REPLACEMENT}", self.names.uri(path, None)).into();
        }
        self.names.pieces(path, query, |piece| self.changed(piece))
    }

    fn changed(&self, text: &str) -> Option<String> {
        if self.doubt && !text.is_empty() {
            return Some(REPLACEMENT.to_owned());
        }
        if self.names.is_empty() && matches!(self.sought, Sought::Nothing) {
            return None;
        }
        let folded = Folded::new(text.as_bytes());
        let end = self.names.behind_name(&folded);
        let stop = end.unwrap_or(folded.bytes.len());
        let mut out = String::new();
        let mut from = 0;
        for (start, until) in self.found(&folded).into_iter().filter(|(start, _)| *start < stop) {
            let start = text.floor_char_boundary(folded.place(start)).max(from);
            out.push_str(text.get(from..start).unwrap_or_default());
            out.push_str(REPLACEMENT);
            from = text.ceil_char_boundary(folded.place(until)).max(from);
        }
        if from == 0 && out.is_empty() && end.is_none() {
            return None;
        }
        let stop = text.floor_char_boundary(folded.place(stop)).max(from);
        out.push_str(text.get(from..stop).unwrap_or_default());
        if end.is_some() && !(out.ends_with(REPLACEMENT) && from == stop) {
            out.push_str(REPLACEMENT);
        }
        Some(out)
    }

    fn found(&self, folded: &Folded) -> Vec<(usize, usize)> {
        let text = folded.bytes.as_slice();
        let is_word = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
        let mut all = Vec::new();
        for (start, end, value) in self.places(text) {
            let length = self.values.get(value).map_or(0, Vec::len);
            let before = start.checked_sub(1).and_then(|at| text.get(at));
            if length < SHORT && (is_word(before) || is_word(text.get(end))) {
                continue;
            }
            if length > PREFIX {
                all.push((start, text.len()));
                break;
            }
            all.push((start, end));
        }
        all
    }

    /// Where values stand, and which: of those that overlap the first, of those that begin together the longest.
    fn places(&self, text: &[u8]) -> Vec<(usize, usize, usize)> {
        let finders = match &self.sought {
            Sought::Nothing => return Vec::new(),
            Sought::Many(automaton) => {
                let found = automaton.find_iter(text);
                return found
                    .map(|found| (found.start(), found.end(), found.pattern().as_usize()))
                    .collect();
            }
            Sought::Few(finders) => finders,
        };
        let mut all: Vec<(usize, usize, usize)> = Vec::new();
        for (value, finder) in finders.iter().enumerate() {
            let length = finder.needle().len();
            all.extend(finder.find_iter(text).map(|start| (start, start + length, value)));
        }
        all.sort_unstable_by_key(|(start, end, _)| (*start, Reverse(*end)));
        let mut behind = 0;
        all.retain(|(start, end, _)| {
            let is_free = *start >= behind;
            if is_free {
                behind = *end;
            }
            is_free
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(values: &[&str]) -> Mask {
        let names = Redaction::new(["password".to_owned()], []);
        Mask::new(names, values.iter().map(|value| Cow::Borrowed(value.as_bytes())), false)
    }

    #[test]
    fn a_value_is_replaced_wherever_it_stands_and_however_it_is_written() {
        let mask = mask(&["O'Hara geheim", "42"]);
        assert_eq!(mask.text("x=o%27hara+geheim&y"), "x=***&y");
        assert_eq!(mask.text("hello O&#39;Hara geheim!"), "hello ***!");
        assert_eq!(mask.text("1424 and 42."), "1424 and ***.");
        assert_eq!(mask.text("é42é password=42 or more"), "é***é password=***");
        assert!(matches!(mask.text("nothing here"), Cow::Borrowed(_)));
    }

    #[test]
    fn few_values_and_many_are_found_alike() {
        let values = ["ab", "abc", "bcd", "x", "long value", "ong"];
        let many: Vec<String> = (0..20).map(|n| format!("never-{n}-there")).collect();
        let all: Vec<&str> = values.into_iter().chain(many.iter().map(String::as_str)).collect();
        let (few, many) = (mask(&values), mask(&all));
        assert!(matches!((&few.sought, &many.sought), (Sought::Few(_), Sought::Many(_))));
        for text in [
            "abcd",
            "aabcabx",
            "a long value",
            "ab ab ab",
            "x bcd abcbcd",
            "",
            "ong long valu",
        ] {
            assert_eq!(few.text(text), many.text(text), "{text}");
        }
    }

    #[test]
    fn a_piece_of_a_value_is_one_and_other_text_is_not() {
        let mask = mask(&["geheim"]);
        assert!(mask.is_piece(b"EHEI") && !mask.is_piece(b"../") && !mask.is_piece(b""));
    }

    #[test]
    fn of_a_value_that_is_cut_off_nothing_is_left() {
        let long = "geheim-".repeat(100);
        let mask = mask(&[&long]);
        assert_eq!(mask.text(&format!("a {}", &long[..300])), "a ***");
    }

    #[test]
    fn with_more_values_than_are_sought_all_text_is_replaced() {
        let values: Vec<String> = (0..300).map(|n| format!("value{n}")).collect();
        let mask = mask(&values.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(mask.text("anything"), "***");
        assert_eq!(mask.uri("/p", Some("a=1")), "/p?***");
    }

    #[test]
    fn the_path_and_the_query_are_searched_too() {
        assert_eq!(
            mask(&["geheim"]).uri("/reset/geheim/x;password=a", Some("q=GEHEIM&x=1;password=b&y=2")),
            "/reset/***/x;password=***?q=***&x=1;password=***&y=2"
        );
    }
}
