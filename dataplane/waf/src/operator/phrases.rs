//! `@pm` and `@pmFromFile`: whether a value holds any of many phrases, without regard to the case of ASCII letters.
//!
//! One automaton for all phrases: time does not grow with their number.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};

use crate::transform::{hex_pair, is_space};

/// Most bytes of all phrases of one set together.
pub const MAX_PHRASE_BYTES: usize = 16 << 20;

/// Why phrases cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Between bars there must be pairs of hexadecimal digits.
    #[error("between `|` and `|` there must be bytes in hexadecimal, such as `|41 42|`")]
    Hexadecimal,
    /// There is nothing to look for.
    #[error("there is no phrase to look for")]
    Empty,
    /// They are too many.
    #[error("the phrases have more than {MAX_PHRASE_BYTES} bytes together")]
    TooLarge,
}

/// Phrases, compiled.
#[derive(Clone, Debug)]
pub struct PhraseSet(AhoCorasick);

impl PhraseSet {
    /// Compiles phrases.
    ///
    /// # Errors
    /// There are none, one is empty, or they are too large together.
    pub fn new<P: AsRef<[u8]>>(phrases: &[P]) -> Result<Self, PhraseError> {
        if phrases.is_empty() || phrases.iter().any(|phrase| phrase.as_ref().is_empty()) {
            return Err(PhraseError::Empty);
        }
        if phrases.iter().map(|phrase| phrase.as_ref().len()).sum::<usize>() > MAX_PHRASE_BYTES {
            return Err(PhraseError::TooLarge);
        }
        let automaton = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(phrases)
            .map_err(|_| PhraseError::TooLarge)?;
        Ok(Self(automaton))
    }

    /// Where the phrase stands that ends first.
    #[must_use]
    pub fn find(&self, input: &[u8]) -> Option<Range<usize>> {
        self.0.find(input).map(|found| found.range())
    }

    /// How much memory the automaton takes, in bytes.
    #[must_use]
    pub fn memory_usage(&self) -> usize {
        self.0.memory_usage()
    }
}

/// The phrases that say all: without those that begin with another, as that one ends first, and in lower case. They are sorted.
///
/// An automaton in which one phrase ends on the way to the next, again and again, takes quadratic time to build.
#[must_use]
pub fn shortest(phrases: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = phrases.iter().map(|phrase| phrase.to_ascii_lowercase()).collect();
    all.sort_unstable();
    let mut kept: Vec<Vec<u8>> = Vec::with_capacity(all.len());
    for phrase in all {
        if kept.last().is_none_or(|last| !phrase.starts_with(last)) {
            kept.push(phrase);
        }
    }
    kept
}

/// The phrases of an argument of `@pm`: between whitespace. Quotes around all of it go; `|41 42|` is bytes in
/// hexadecimal, which also hold whitespace; `\` stands before `:`, `;`, `\` and `"`. With a `\` before anything else
/// nothing of this counts, as in ModSecurity 3, which also takes no digit between bars.
///
/// # Errors
/// What stands between bars is not hexadecimal, or there is no phrase.
pub fn phrases(argument: &str) -> Result<Vec<Vec<u8>>, PhraseError> {
    let text = argument.trim_start_matches([' ', '\t']);
    let quoted = text.strip_prefix('"').and_then(|inside| inside.strip_suffix('"'));
    let phrases = match read(quoted.unwrap_or(text).as_bytes())? {
        Some(phrases) => phrases,
        None => argument
            .split_ascii_whitespace()
            .map(|phrase| phrase.as_bytes().to_vec())
            .collect(),
    };
    if phrases.is_empty() {
        Err(PhraseError::Empty)
    } else {
        Ok(phrases)
    }
}

/// None: there is an escape that is not known.
fn read(text: &[u8]) -> Result<Option<Vec<Vec<u8>>>, PhraseError> {
    let mut phrases = Vec::new();
    let mut phrase = Vec::new();
    let mut rest = text;
    loop {
        rest = match rest {
            [] => break,
            [b'|', inside @ ..] => {
                let end = memchr::memchr(b'|', inside).ok_or(PhraseError::Hexadecimal)?;
                let (digits, tail) = inside.split_at(end);
                phrase.extend(hexadecimal(digits).ok_or(PhraseError::Hexadecimal)?);
                tail.get(1..).unwrap_or_default()
            }
            [b'\\', escaped @ (b':' | b';' | b'\\' | b'"'), tail @ ..] => {
                phrase.push(*escaped);
                tail
            }
            [b'\\', ..] => return Ok(None),
            [byte, tail @ ..] => {
                if is_space(*byte) {
                    phrases.push(std::mem::take(&mut phrase));
                } else {
                    phrase.push(*byte);
                }
                tail
            }
        };
    }
    phrases.push(phrase);
    phrases.retain(|phrase| !phrase.is_empty());
    Ok(Some(phrases))
}

fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| *byte != b' ').collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    if rest.is_empty() {
        pairs.iter().map(|&[high, low]| hex_pair(high, low)).collect()
    } else {
        None
    }
}

/// The phrases of a data file: one a line, blanks at either end included. Empty lines and those whose first character
/// is `#` say nothing.
pub fn data_file(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !matches!(line.trim_ascii_start(), [] | [b'#', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(argument: &str) -> Result<Vec<String>, PhraseError> {
        let phrases = phrases(argument)?;
        Ok(phrases.iter().map(|phrase| phrase.escape_ascii().to_string()).collect())
    }

    #[test]
    fn phrases_stand_between_whitespace() {
        assert_eq!(texts(" a  bc\td ").unwrap(), ["a", "bc", "d"]);
        assert_eq!(texts("\"a b\"").unwrap(), ["a", "b"]);
        assert_eq!(texts("\"a").unwrap(), ["\\\"a"]);
        assert_eq!(texts(" "), Err(PhraseError::Empty));
        assert_eq!(texts(""), Err(PhraseError::Empty));
    }

    #[test]
    fn hexadecimal_bytes_may_be_whitespace_and_must_be_whole() {
        assert_eq!(texts("a|41 42|b |20 0a| ||").unwrap(), ["aABb", " \\n"]);
        for bad in ["a|41", "|4|", "|4x|", "|"] {
            assert_eq!(texts(bad), Err(PhraseError::Hexadecimal), "{bad}");
        }
    }

    #[test]
    fn an_unknown_escape_makes_backslashes_ordinary() {
        assert_eq!(texts("a\\:b c\\\"").unwrap(), ["a:b", "c\\\""]);
        assert_eq!(texts("a\\d b\\:").unwrap(), ["a\\\\d", "b\\\\:"]);
        assert_eq!(texts("a\\").unwrap(), ["a\\\\"]);
    }

    #[test]
    fn a_data_file_has_comments_and_empty_lines() {
        let lines: Vec<_> = data_file(b"# comment\n\n one\r\ntwo # not a comment\n \t# comment\n   \nlast").collect();
        assert_eq!(lines, [&b" one"[..], b"two # not a comment", b"last"]);
    }

    #[test]
    fn letters_are_found_in_any_case_and_the_match_that_ends_first_counts() {
        let set = PhraseSet::new(&["select from", "from", "FRO"]).unwrap();
        assert_eq!(set.find(b"SELECT From x"), Some(7..10));
        assert_eq!(set.find(b"nothing"), None);
        assert_eq!(set.find(b""), None);
        assert!(set.memory_usage() > 0);
    }

    #[test]
    fn a_phrase_that_begins_with_another_says_nothing_more() {
        let all = ["Union select", "union", "uni", "selection", "select", "SELECT", "on"].map(|phrase| phrase.into());
        let kept = shortest(&all);
        assert_eq!(kept, ["on", "select", "uni"].map(|phrase| phrase.as_bytes().to_vec()));
        let (all, kept) = (PhraseSet::new(&all).unwrap(), PhraseSet::new(&kept).unwrap());
        for text in ["xUNION Select", "a selection", "non", "sel", "", "SELECT"] {
            assert_eq!(all.find(text.as_bytes()), kept.find(text.as_bytes()), "{text}");
        }
        let numbers: Vec<Vec<u8>> = (0..10_000).map(|number| format!("a{number}").into()).collect();
        assert_eq!(shortest(&numbers).len(), 10);
    }

    #[test]
    fn a_set_without_phrases_or_with_an_empty_one_is_refused() {
        assert_eq!(PhraseSet::new::<&str>(&[]).unwrap_err(), PhraseError::Empty);
        assert_eq!(PhraseSet::new(&["a", ""]).unwrap_err(), PhraseError::Empty);
    }
}
