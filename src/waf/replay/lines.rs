//! Lines of a file or of standard input, one at a time; one that is too long is passed over without being held.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::exit::Failure;

/// Longest line, bytes: audit lines with all their rules are shorter.
const LONGEST: usize = 2 << 20;

/// A log that is being read.
pub(super) struct Lines {
    source: BufReader<Box<dyn Read>>,
    name: String,
    line: Vec<u8>,
    read_bytes: u64,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<'a> {
    /// A line, without its end.
    Line(&'a [u8]),
    /// One longer than [`LONGEST`].
    TooLong,
}

impl Lines {
    /// Opens a file; `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::new("standard input".to_owned(), Box::new(io::stdin())));
        }
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Ok(Self::new(name, Box::new(file))),
            Err(error) => Err(unreadable(&name, &error)),
        }
    }

    fn new(name: String, source: Box<dyn Read>) -> Self {
        Self {
            source: BufReader::with_capacity(256 * 1024, source),
            name,
            line: Vec::new(),
            read_bytes: 0,
        }
    }

    /// Bytes read so far.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The next line; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Taken<'_>>, Failure> {
        self.line.clear();
        let mut too_long = false;
        let mut any = false;
        loop {
            let piece = match self.source.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(&self.name, &error)),
            };
            if piece.is_empty() {
                break;
            }
            any = true;
            let end = piece.iter().position(|byte| *byte == b'\n');
            let text = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            too_long |= self.line.len() + text.len() > LONGEST;
            if !too_long {
                self.line.extend_from_slice(text);
            }
            let used = text.len() + usize::from(end.is_some());
            self.source.consume(used);
            self.read_bytes += used as u64;
            if end.is_some() {
                break;
            }
        }
        Ok(match (any, too_long) {
            (false, _) => None,
            (true, true) => Some(Taken::TooLong),
            (true, false) => Some(Taken::Line(&self.line)),
        })
    }
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::environment(
        format!("{name} cannot be read: {error}"),
        "name a log, or - for standard input",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: Vec<u8>) -> Lines {
        Lines::new("test".to_owned(), Box::new(io::Cursor::new(text)))
    }

    #[test]
    fn lines_end_with_a_line_feed_or_with_the_file() {
        let mut lines = lines(b"a\n\nb".to_vec());
        for expected in [&b"a"[..], b"", b"b"] {
            assert_eq!(lines.next().unwrap(), Some(Taken::Line(expected)));
        }
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!(lines.read_bytes(), 4);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_not_held() {
        let mut text = vec![b'x'; 3 * LONGEST];
        text.extend_from_slice(b"\nb\n");
        let mut lines = lines(text);
        assert_eq!(lines.next().unwrap(), Some(Taken::TooLong));
        assert!(lines.line.capacity() <= 2 * LONGEST);
        assert_eq!(lines.next().unwrap(), Some(Taken::Line(b"b")));
    }

    #[test]
    fn a_log_that_is_not_there_is_told_by_name() {
        let error = Lines::open(Path::new("nowhere.log")).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("nowhere.log"), "{error}");
    }
}
