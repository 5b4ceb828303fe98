//! Whether text, put into a page, runs script.
//!
//! Nobody knows the page, so the text is read as text, and as a value of an attribute without quotes and in each kind of
//! quotes. A tag, an attribute or a comment that can run script in some browser is enough.

use super::bytes::begins_with;
use super::html::{Kind, Place, Tokens};
use super::script_names::{self, Attribute};

/// Whether any reading of `input` runs script.
pub(super) fn detect(input: &[u8]) -> bool {
    // Tags, comments and doctypes begin with `<`. An attribute counts with a value, and that is behind `=`. Without a
    // quote in the input a reading behind that quote is one value to the end.
    let has_open = memchr::memchr(b'<', input).is_some();
    let has_value = memchr::memchr(b'=', input).is_some();
    if !has_open && !has_value {
        return false;
    }
    (has_open && runs_script(input, Place::Data))
        || runs_script(input, Place::Unquoted)
        || [b'\'', b'"', b'`']
            .into_iter()
            .any(|quote| memchr::memchr(quote, input).is_some() && runs_script(input, Place::Quoted(quote)))
}

fn runs_script(input: &[u8], place: Place) -> bool {
    let mut attribute = Attribute::Harmless;
    Tokens::new(input, place).any(|(kind, text)| {
        let of_value = std::mem::replace(&mut attribute, Attribute::Harmless);
        match kind {
            Kind::Doctype => true,
            Kind::TagOpen => script_names::is_tag(text),
            Kind::AttributeName => {
                attribute = Attribute::named(text);
                false
            }
            Kind::AttributeValue => match of_value {
                Attribute::Harmless => false,
                Attribute::RunsScript => true,
                Attribute::TakesUrl => is_script_url(text),
                Attribute::TakesName => Attribute::named(text) != Attribute::Harmless,
            },
            Kind::Comment => is_live_comment(text),
            Kind::Text | Kind::TagEnd | Kind::TagSelfClose | Kind::TagClose => false,
        }
    })
}

/// Whether Internet Explorer does something with this comment: it ends tags with backticks, has conditions
/// (`<!--[if`), imports (`<?import`) and reads XML and its entities.
fn is_live_comment(text: &[u8]) -> bool {
    let begins = |word| begins_with(text, word);
    memchr::memchr(b'`', text).is_some()
        || (text.len() > 3 && (begins(b"[IF") || begins(b"XML")))
        || begins(b"IMPORT")
        || begins(b"ENTITY")
}

/// Whether a browser runs what this URL names. `JAVA` stands for `javascript:` too.
fn is_script_url(value: &[u8]) -> bool {
    let start = value
        .iter()
        .position(|byte| matches!(byte, 0x21..=0x7e))
        .unwrap_or(value.len());
    let mut characters = Characters(value.get(start..).unwrap_or_default());
    // What is left of each scheme that still can be it: all are matched in one pass, whatever is skipped before them.
    let mut schemes = [b"DATA".as_slice(), b"VIEW-SOURCE", b"JAVA", b"VBSCRIPT"].map(Some);
    let mut leading = true;
    loop {
        if schemes.contains(&Some(b"")) {
            return true;
        }
        let Some(character) = characters.next() else {
            return false;
        };
        if (leading && character <= 32) || matches!(character, 0 | 10) {
            continue;
        }
        leading = false;
        // Of a character beyond Latin-1 only the low byte is compared, as libinjection does.
        let [low, ..] = character.to_le_bytes();
        let byte = if character < 0x80 {
            low.to_ascii_uppercase()
        } else {
            low
        };
        schemes = schemes.map(|scheme| scheme?.strip_prefix(&[byte]));
        if schemes == [None; 4] {
            return false;
        }
    }
}

/// The characters of a value: bytes, and numbers such as `&#106;` and `&#x6a` for one.
struct Characters<'a>(&'a [u8]);

impl Iterator for Characters<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first()?;
        let (character, rest) = numeric_character(self.0).unwrap_or_else(|| (u32::from(*first), rest));
        self.0 = rest;
        Some(character)
    }
}

/// The character that `value` begins with if it is written as a number, and what is behind it.
///
/// A number that is too large is none; `&` is no part of a scheme, so its digits are not read a second time.
fn numeric_character(value: &[u8]) -> Option<(u32, &[u8])> {
    const LARGEST: u32 = 0x10_00ff;
    let number = value.strip_prefix(b"&#")?;
    let (radix, digits) = match number {
        [b'x' | b'X', digits @ ..] => (16, digits),
        digits => (10, digits),
    };
    let mut character = 0;
    let mut length = 0;
    while let Some(digit) = digits.get(length).and_then(|byte| char::from(*byte).to_digit(radix)) {
        character = character * radix + digit;
        if character > LARGEST {
            return None;
        }
        length += 1;
    }
    let (digits, rest) = digits.split_at_checked(length)?;
    (!digits.is_empty()).then(|| (character, rest.strip_prefix(b";").unwrap_or(rest)))
}
