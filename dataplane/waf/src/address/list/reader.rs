//! Reads the text of a list as it comes, piece by piece, without holding it.
//!
//! Invariants: whatever the pieces, what is read is what [`super::parse`] reads of the whole; no error repeats what the
//! text holds, since who named the list need not be who may read what is there.

use ipnet::IpNet;

use super::net;
use crate::ConfigError;

/// Longest line of a text, its comment included.
pub const MAX_LINE: usize = 4096;

/// Reads one text.
#[derive(Debug)]
pub struct Reader {
    /// The line that is not at its end.
    line: Vec<u8>,
    number: usize,
    bytes: u64,
    max_bytes: u64,
    nets: Vec<IpNet>,
    max_nets: usize,
}

impl Reader {
    /// For a text of at most `max_bytes` with at most `max_nets` addresses and prefixes.
    #[must_use]
    pub const fn new(max_bytes: u64, max_nets: usize) -> Self {
        Self {
            line: Vec::new(),
            number: 1,
            bytes: 0,
            max_bytes,
            nets: Vec::new(),
            max_nets,
        }
    }

    /// How many addresses and prefixes were read.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.nets.len()
    }

    /// Whether none was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }

    /// Reads a piece.
    ///
    /// # Errors
    /// Names the first line that is neither an address nor a prefix, or the limit that is passed.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ConfigError> {
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        if self.bytes > self.max_bytes {
            let message = format!("is longer than {} bytes", self.max_bytes);
            return Err(ConfigError::new("the list", message));
        }
        let mut rest = piece;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (begun, after) = rest.split_at(end);
            self.extend(begun)?;
            self.end_line()?;
            rest = after.get(1..).unwrap_or_default();
        }
        self.extend(rest)
    }

    /// What was read, in the order of the lines.
    ///
    /// # Errors
    /// As [`Reader::push`], of a last line without an end.
    pub fn finish(mut self) -> Result<Vec<IpNet>, ConfigError> {
        self.end_line()?;
        Ok(self.nets)
    }

    fn extend(&mut self, part: &[u8]) -> Result<(), ConfigError> {
        if self.line.len().saturating_add(part.len()) > MAX_LINE {
            return Err(self.wrong(&format!("is longer than {MAX_LINE} bytes")));
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), ConfigError> {
        let entry = self.line.split(|b| matches!(b, b'#' | b';')).next();
        // A comment may be in any encoding.
        let entry = std::str::from_utf8(entry.unwrap_or_default()).map(str::trim);
        if entry != Ok("") {
            let read = entry.ok().and_then(net);
            let read = read.ok_or_else(|| self.wrong("is neither an address nor a prefix"))?;
            if self.nets.len() >= self.max_nets {
                let message = format!("has more than {} addresses and prefixes", self.max_nets);
                return Err(ConfigError::new("the list", message));
            }
            self.nets.push(read);
        }
        self.line.clear();
        self.number += 1;
        Ok(())
    }

    fn wrong(&self, what: &str) -> ConfigError {
        ConfigError::new(format!("line {}", self.number), what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::list::parse;

    fn read(pieces: &[&[u8]]) -> Result<Vec<IpNet>, String> {
        let mut reader = Reader::new(1000, 4);
        for piece in pieces {
            reader.push(piece).map_err(|error| error.to_string())?;
        }
        reader.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn a_text_in_pieces_is_read_as_the_whole_is() {
        let text = "# known\n\n203.0.113.0/24 # all\r\n198.51.100.7\n  2001:db8::1/32 ; SBL1\n\n10.0.0.1";
        let whole = parse(text).unwrap();
        assert_eq!(whole.len(), 4);
        for size in 1..=text.len() {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(read(&pieces).unwrap(), whole, "pieces of {size}");
        }
        assert_eq!(read(&[b"# caf\xe9\n"]).unwrap(), []);
    }

    #[test]
    fn an_error_names_the_line_and_not_what_it_holds() {
        let error = read(&[b"10.0.0.1\nroot:", b"x:0\n"]).unwrap_err();
        assert_eq!(error, "line 2: is neither an address nor a prefix");
        assert!(read(&[b"10.0.0.1\n\xff\n"]).unwrap_err().starts_with("line 2"));
    }

    #[test]
    fn text_line_and_entries_have_their_limits() {
        let five = "10.0.0.1\n".repeat(5);
        assert_eq!(
            read(&[five.as_bytes()]).unwrap_err(),
            "the list: has more than 4 addresses and prefixes"
        );
        let comments = "#\n".repeat(501);
        assert_eq!(
            read(&[comments.as_bytes()]).unwrap_err(),
            "the list: is longer than 1000 bytes"
        );
        let mut reader = Reader::new(1 << 20, 4);
        let long = vec![b'#'; MAX_LINE];
        reader.push(&long).unwrap();
        assert_eq!(
            reader.push(b"#").unwrap_err().to_string(),
            "line 1: is longer than 4096 bytes"
        );
    }
}
