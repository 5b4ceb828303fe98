//! Logical lines: a line and those that a backslash at its end joins to it, without comments and blank lines.
//!
//! Joining is Apache's: the backslash and the line's end go, what follows is kept as it stands, its spaces too. A comment
//! ends with its own line even after a backslash, so that it never swallows a rule.

use std::borrow::Cow;
use std::sync::Arc;

use super::{MAX_LINE, ParseError, Position};

/// The logical lines of a source; each is a line or a mistake in it.
pub(super) struct Lines<'t> {
    source: Arc<str>,
    rest: &'t str,
    /// The number of the line that `rest` begins with.
    number: u32,
}

/// A logical line that is neither blank nor a comment.
pub(super) struct Line<'t> {
    source: Arc<str>,
    pub(super) text: Cow<'t, str>,
    /// Where each line begins in `text`, and its number; never empty, in order.
    pieces: Vec<(usize, u32)>,
}

impl Line<'_> {
    /// Where the byte at `offset` of the text stands.
    pub(super) fn position(&self, offset: usize) -> Position {
        let piece = self.pieces.partition_point(|(start, _)| *start <= offset);
        let line = self.pieces.get(piece.saturating_sub(1)).map_or(1, |(_, line)| *line);
        Position {
            source: Arc::clone(&self.source),
            line,
        }
    }
}

impl<'t> Lines<'t> {
    pub(super) fn new(source: &Arc<str>, text: &'t str) -> Self {
        Self {
            source: Arc::clone(source),
            rest: text.strip_prefix('\u{feff}').unwrap_or(text),
            number: 1,
        }
    }

    /// The next line without its end, and its number.
    fn physical(&mut self) -> Option<(&'t str, u32)> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        let number = self.number;
        self.number = number.saturating_add(1);
        Some((line.strip_suffix('\r').unwrap_or(line), number))
    }

    /// What `first` begins.
    fn logical(&mut self, first: &'t str, number: u32) -> Result<Line<'t>, ParseError> {
        let mut line = Line {
            source: Arc::clone(&self.source),
            text: Cow::Borrowed(first),
            pieces: vec![(0, number)],
        };
        let mut wrong = None;
        let mut last = (first, number);
        if let Some(start) = first.strip_suffix('\\') {
            let mut text = start.to_owned();
            while last.0.ends_with('\\') {
                let Some((next, number)) = self.physical() else {
                    break;
                };
                if next.trim_start().starts_with('#') {
                    // Mostly the lines after it belong to the directive: they are not read as directives.
                    wrong.get_or_insert_with(|| (number, COMMENT.to_owned()));
                    continue;
                }
                last = (next, number);
                let next = next.strip_suffix('\\').unwrap_or(next);
                if text.len() + next.len() > MAX_LINE {
                    // What is over the limit is read to its end, so that the next directive is found, and not kept.
                    wrong.get_or_insert_with(|| (number, too_long()));
                    continue;
                }
                line.pieces.push((text.len(), number));
                text.push_str(next);
            }
            line.text = Cow::Owned(text);
        } else if first.len() > MAX_LINE {
            wrong = Some((number, too_long()));
        }
        if last.0.trim_end().ends_with('\\') && !last.0.ends_with('\\') {
            wrong.get_or_insert_with(|| (last.1, SPACES.to_owned()));
        }
        match wrong {
            None => Ok(line),
            Some((number, message)) => Err(ParseError {
                position: Position {
                    source: Arc::clone(&self.source),
                    line: number,
                },
                message,
            }),
        }
    }
}

const COMMENT: &str =
    "a comment inside a directive that goes on over several lines; put it before the directive, or remove the line";
const SPACES: &str = "spaces after the backslash that should end the line; remove them, or the directive does not go on in the next line";

fn too_long() -> String {
    format!("the directive is longer than {MAX_LINE} bytes; cut it into several")
}

impl<'t> Iterator for Lines<'t> {
    type Item = Result<Line<'t>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (line, number) = self.physical()?;
            let trimmed = line.trim_start();
            // A lone backslash joins nothing to nothing.
            if trimmed.is_empty() || trimmed.starts_with('#') || trimmed == "\\" {
                continue;
            }
            return Some(self.logical(line, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Result<(String, u32), String>> {
        Lines::new(&Arc::from("x.conf"), text)
            .map(|line| match line {
                Ok(line) => {
                    let last = line.position(line.text.len()).line;
                    Ok((line.text.into_owned(), last))
                }
                Err(error) => Err(error.to_string()),
            })
            .collect()
    }

    #[test]
    fn a_backslash_joins_the_next_line_with_its_spaces() {
        assert_eq!(
            lines("a \\\n  b\\\r\nc\r\nd"),
            [Ok(("a   bc".to_owned(), 3)), Ok(("d".to_owned(), 4))]
        );
        assert_eq!(lines("a\\"), [Ok(("a".to_owned(), 1))]);
    }

    #[test]
    fn a_byte_of_a_joined_line_knows_the_line_it_was_on() {
        let source = Arc::from("x.conf");
        let line = Lines::new(&source, "\n#\nab\\\ncd\\\nef").next().unwrap().ok().unwrap();
        let at: Vec<u32> = (0..7).map(|offset| line.position(offset).line).collect();
        assert_eq!(at, [3, 3, 4, 4, 5, 5, 5]);
        assert_eq!(line.position(2).to_string(), "x.conf:4");
    }

    #[test]
    fn a_comment_ends_with_its_line_even_after_a_backslash() {
        assert_eq!(
            lines("# off \\\nSecRuleEngine On\n"),
            [Ok(("SecRuleEngine On".to_owned(), 2))]
        );
    }

    #[test]
    fn a_comment_inside_a_directive_is_a_mistake_and_what_follows_is_read() {
        let read = lines("a \\\n  # b\n c\nd\n");
        assert!(
            read[0].as_ref().unwrap_err().starts_with("x.conf:2: a comment inside"),
            "{read:?}"
        );
        assert_eq!(read[1..], [Ok(("d".to_owned(), 4))]);
    }

    #[test]
    fn spaces_after_the_last_backslash_are_told() {
        let read = lines("a \\ \nb");
        assert!(
            read[0].as_ref().unwrap_err().starts_with("x.conf:1: spaces after"),
            "{read:?}"
        );
    }

    #[test]
    fn a_line_over_the_limit_is_a_mistake_and_what_follows_is_read() {
        let piece = "x".repeat(MAX_LINE / 4);
        let long = format!("{piece}\\\n").repeat(5);
        let read = lines(&format!("{long}\nb\n{}\nc", "y".repeat(MAX_LINE + 1)));
        assert!(
            read[0]
                .as_ref()
                .unwrap_err()
                .starts_with("x.conf:5: the directive is longer"),
            "{:.99}",
            format!("{read:?}")
        );
        assert_eq!(read[1], Ok(("b".to_owned(), 7)));
        assert!(read[2].as_ref().unwrap_err().starts_with("x.conf:8: "));
        assert_eq!(read[3..], [Ok(("c".to_owned(), 9))]);
    }
}
