//! JSON whose strings are safe in a log that people and tools read line by line.
//!
//! The format itself escapes quotes, backslashes and the controls below U+0020. What it leaves and this escapes: DEL and
//! the C1 controls (terminals obey them), the line separators of Unicode (some readers split lines at them), and the
//! bidirectional controls (they make a line look like another).

use std::io;

use serde_json::{Serializer, ser::Formatter};

pub(super) fn serializer<W: io::Write>(writer: W) -> Serializer<W, Lines> {
    Serializer::with_formatter(writer, Lines)
}

pub(super) struct Lines;

impl Formatter for Lines {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // As nearly always: one pass over bytes, many at a time.
        if fragment.bytes().fold(true, |plain, byte| plain & (byte < 0x7f)) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(position) = rest.find(must_escape) {
            let (safe, tail) = rest.split_at(position);
            writer.write_all(safe.as_bytes())?;
            let mut characters = tail.chars();
            if let Some(c) = characters.next() {
                // All of them are in the basic plane: one escape each.
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

fn must_escape(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
