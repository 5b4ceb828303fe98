//! The words of a directive: separated by spaces, or between quotes.
//!
//! Quotes count only at the beginning of a word. Between them a backslash keeps a quote of the same kind from ending the
//! word and goes; every other backslash stays, as in ModSecurity 3 (ModSecurity 2 makes one of two).

use std::borrow::Cow;

use super::lines::Line;
use super::{Mistake, Position};

/// A word, with its way back to the line it was on.
pub(super) struct Word<'l> {
    pub(super) text: Cow<'l, str>,
    line: &'l Line<'l>,
    /// Where the text begins in the line.
    start: usize,
    /// Where, in `text`, a backslash of the line is missing.
    removed: Vec<usize>,
}

impl Word<'_> {
    /// Where the byte at `offset` of the text stands.
    pub(super) fn position(&self, offset: usize) -> Position {
        let removed = self.removed.partition_point(|at| *at <= offset);
        self.line.position(self.start + offset + removed)
    }
}

/// The directive's name, where it begins, and its words.
pub(super) fn words<'l>(line: &'l Line<'l>) -> Result<(&'l str, usize, Vec<Word<'l>>), Mistake> {
    let text: &str = &line.text;
    let from = skip_spaces(text, 0);
    let end = end_of_plain(text, from);
    let name = part(text, from, end);
    let mut words = Vec::new();
    let mut at = skip_spaces(text, end);
    while let Some(first) = part(text, at, text.len()).chars().next() {
        let (word, end) = if matches!(first, '"' | '\'') {
            quoted(line, at, first)?
        } else {
            let end = end_of_plain(text, at);
            let word = Word {
                text: Cow::Borrowed(part(text, at, end)),
                line,
                start: at,
                removed: Vec::new(),
            };
            (word, end)
        };
        words.push(word);
        at = skip_spaces(text, end);
        if at == end && at < text.len() {
            return Err(Mistake::new(
                end,
                "a space is missing after the closing quote; a quote inside needs a backslash before it",
            ));
        }
    }
    Ok((name, from, words))
}

/// The word whose opening quote is at `at`, and where it ends.
fn quoted<'l>(line: &'l Line<'l>, at: usize, quote: char) -> Result<(Word<'l>, usize), Mistake> {
    let text: &str = &line.text;
    let start = at + 1;
    let mut out = String::new();
    let mut removed = Vec::new();
    // All before `copied` is in `out`.
    let mut copied = start;
    let mut bytes = text.bytes().enumerate().skip(start);
    while let Some((i, byte)) = bytes.next() {
        if byte == b'\\' {
            if bytes.next().is_some_and(|(_, next)| next == quote as u8) {
                out.push_str(part(text, copied, i));
                removed.push(out.len());
                copied = i + 1;
            }
        } else if byte == quote as u8 {
            let text = if removed.is_empty() {
                Cow::Borrowed(part(text, start, i))
            } else {
                out.push_str(part(text, copied, i));
                Cow::Owned(out)
            };
            return Ok((
                Word {
                    text,
                    line,
                    start,
                    removed,
                },
                i + 1,
            ));
        }
    }
    Err(Mistake::new(
        at,
        format!("the quote {quote} is not closed; close it, or end each line that goes on with a backslash"),
    ))
}

/// What stands before the `'` that ends a value, and where that is. A backslash keeps a quote from ending it, and goes;
/// every other backslash stays.
pub(super) fn single_quoted(rest: &str) -> Option<(Cow<'_, str>, usize)> {
    let mut escaped = false;
    let end = rest.bytes().position(|byte| {
        let ends = byte == b'\'' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    let inside = part(rest, 0, end);
    // Before every quote that is left there is a backslash.
    let inside = if inside.contains('\'') {
        Cow::Owned(inside.replace("\\'", "'"))
    } else {
        Cow::Borrowed(inside)
    };
    Some((inside, end))
}

fn skip_spaces(text: &str, from: usize) -> usize {
    let rest = part(text, from, text.len());
    from + (rest.len() - rest.trim_start().len())
}

fn end_of_plain(text: &str, from: usize) -> usize {
    let length = part(text, from, text.len()).find(char::is_whitespace);
    length.map_or(text.len(), |length| from + length)
}

/// The bytes `from..to`; the callers cut at ASCII or at the end, where characters begin.
pub(super) fn part(text: &str, from: usize, to: usize) -> &str {
    text.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::lines::Lines;
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let source = Arc::from("x.conf");
        let line = Lines::new(&source, text).next().unwrap().ok().unwrap();
        match words(&line) {
            Ok((name, _, words)) => {
                let words = words.iter().map(|word| word.text.clone().into_owned());
                Ok(std::iter::once(name.to_owned()).chain(words).collect())
            }
            Err(mistake) => Err(format!("{}: {}", mistake.at, mistake.message)),
        }
    }

    #[test]
    fn words_end_with_a_space_or_their_quote() {
        assert_eq!(read("  A b 'c d' \"e 'f'\"\t").unwrap(), ["A", "b", "c d", "e 'f'"]);
        assert_eq!(read("A b\"c \"\"").unwrap(), ["A", "b\"c", ""]);
    }

    #[test]
    fn a_backslash_before_the_quote_goes_and_every_other_stays() {
        assert_eq!(read(r#"A "a\"b\'\\c\d""#).unwrap(), ["A", r#"a"b\'\\c\d"#]);
        assert_eq!(read(r#"A "\\" b"#).unwrap(), ["A", r"\\", "b"]);
    }

    #[test]
    fn a_quote_that_is_not_closed_or_followed_by_no_space_is_a_mistake() {
        assert!(read("A \"b").unwrap_err().starts_with("2: the quote \" is not closed"));
        assert!(read("A \"b\\\"").unwrap_err().starts_with("2: the quote"));
        assert!(read("A 'b'c").unwrap_err().starts_with("5: a space is missing"));
    }

    #[test]
    fn a_byte_of_a_word_knows_its_line_past_backslashes_that_went() {
        let source = Arc::from("x.conf");
        let line = Lines::new(&source, "A \"\\\"\\\"\\\nb\\\n\\\"c\"")
            .next()
            .unwrap()
            .ok()
            .unwrap();
        let (_, _, words) = words(&line).ok().unwrap();
        let word = words.first().unwrap();
        assert_eq!(word.text, "\"\"b\"c");
        let at: Vec<u32> = (0..5).map(|offset| word.position(offset).line).collect();
        assert_eq!(at, [1, 1, 2, 3, 3]);
    }
}
