//! What is kept out of one transaction's line: hidden names, and the values they had in it.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::{Folded, REPLACEMENT, Redaction};

/// So many bytes of a value are sought; of a longer one all that stands behind them is replaced.
const PREFIX: usize = 64;

/// A value shorter than this is sought only as a word of its own: a PIN of two digits is in many numbers.
const SHORT: usize = 3;

/// Most values, and most bytes of them; beyond, all text of the client is replaced.
const VALUES: usize = 256;
const BYTES: usize = 64 << 10;

/// Names and values. Made when a line is to be written, of one transaction.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    names: Redaction,
    values: Vec<Vec<u8>>,
    bytes: usize,
    /// There are more values than are sought.
    doubt: bool,
    sought: Option<AhoCorasick>,
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
        if !this.values.is_empty() && !this.doubt {
            let prefixes = this.values.iter().map(|value| value.get(..PREFIX).unwrap_or(value));
            let built = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(prefixes);
            this.doubt = built.is_err();
            this.sought = built.ok();
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
        if self.names.is_empty() && self.sought.is_none() {
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
        let Some(sought) = &self.sought else { return Vec::new() };
        let text = folded.bytes.as_slice();
        let is_word = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
        let mut all = Vec::new();
        for found in sought.find_iter(text) {
            let length = self.values.get(found.pattern().as_usize()).map_or(0, Vec::len);
            let before = found.start().checked_sub(1).and_then(|at| text.get(at));
            if length < SHORT && (is_word(before) || is_word(text.get(found.end()))) {
                continue;
            }
            if length > PREFIX {
                all.push((found.start(), text.len()));
                break;
            }
            all.push((found.start(), found.end()));
        }
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
