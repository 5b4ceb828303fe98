//! Whether text, put into an SQL statement, changes what it does.
//!
//! Nobody knows the statement, so the text is read as it stands, then as the rest of a string in single quotes, then of
//! one in double quotes; where MySQL reads differently, as MySQL too. Each reading is cut into tokens
//! ([`scan`]), folded to at most five ([`fold`]), and their kinds, a letter each, are looked up among the patterns of
//! injections ([`words`]). Some patterns are also those of plain text: [`is_plain`] has the exceptions.

mod class;
pub(super) mod fold;
mod literals;
pub(super) mod scan;
pub(super) mod token;
mod words;

use self::fold::Folded;
use self::scan::Context;
use self::token::{Kind, Token};
use super::Fingerprint;
use super::bytes::begins_with;

/// The pattern of the first reading that is an injection.
pub(super) fn detect(input: &[u8]) -> Option<Fingerprint> {
    if is_one_token(input) {
        return None;
    }
    read_as_all(input, None)
        .or_else(|| memchr::memchr(b'\'', input).and_then(|_| read_as_all(input, Some(b'\''))))
        .or_else(|| memchr::memchr(b'"', input).and_then(|_| read(input, Some(b'"'), true).0))
}

/// Whether `input` is one word or one run of digits. No pattern but that of evil tokens has one letter, so that is plain
/// in the first reading; and it has no quote, so there is no other.
fn is_one_token(input: &[u8]) -> bool {
    let rest = match input {
        [b'0'..=b'9', ..] => input.iter().position(|byte| !byte.is_ascii_digit()),
        [b'a'..=b'z' | b'A'..=b'Z', ..] => input
            .iter()
            .position(|byte| !matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_')),
        [] => None,
        _ => Some(0),
    };
    rest.is_none()
}

/// Reads as most servers do, and then, if it makes a difference, as MySQL does.
fn read_as_all(input: &[u8], quote: Option<u8>) -> Option<Fingerprint> {
    let (fingerprint, mysql_differs) = read(input, quote, false);
    if fingerprint.is_none() && mysql_differs {
        return read(input, quote, true).0;
    }
    fingerprint
}

/// The pattern of this reading if it is an injection; and whether MySQL reads differently.
fn read(input: &[u8], quote: Option<u8>, mysql: bool) -> (Option<Fingerprint>, bool) {
    let mut folded = Folded::of(input, Context { quote, mysql });
    hide_open_backtick(&mut folded);
    if folded.tokens().iter().any(|token| token.kind == Kind::Evil) {
        return (Some(Fingerprint(*b"X\0\0\0\0\0\0\0")), folded.mysql_differs());
    }
    let mut letters = [0; 8];
    for (place, token) in letters.iter_mut().zip(folded.tokens()) {
        *place = token.kind.letter();
    }
    let pattern = letters.get(..folded.tokens().len()).unwrap_or_default();
    let found = words::is_fingerprint(pattern) && !is_plain(input, pattern, &folded);
    (found.then_some(Fingerprint(letters)), folded.mysql_differs())
}

/// A backtick at the very end that is not closed is a comment to MySQL behind PHP.
fn hide_open_backtick(folded: &mut Folded<'_>) {
    if folded.tokens().len() > 2
        && let Some(last) = folded.last_mut()
        && last.kind == Kind::Bareword
        && last.opened == b'`'
        && last.closed == 0
        && last.text.is_empty()
    {
        last.kind = Kind::Comment;
    }
}

/// Whether what has the pattern of an injection is plain text all the same.
fn is_plain(input: &[u8], pattern: &[u8], folded: &Folded<'_>) -> bool {
    // SQL Server leaves statements with this word out of its log.
    if pattern.len() > 1 && pattern.ends_with(b"c") && memchr::memmem::find(input, b"sp_password").is_some() {
        return false;
    }
    match *folded.tokens() {
        [first, second] => is_plain_pair(input, &first, &second, folded.read()),
        [first, second, third] => match pattern {
            // `…foo' + 'bar…`: no quote before, none behind, the same between.
            b"sos" | b"s&s" => first.opened != 0 || third.closed != 0 || first.closed != third.opened,
            // `sexy and 17` is plain; `sexy and 17<18` came from more tokens.
            b"s&n" | b"n&1" | b"1&1" | b"1&v" | b"1&s" => folded.read() == 3,
            _ => {
                let writes_file = second.text.len() >= 5 && begins_with(second.text, b"INTO");
                second.kind == Kind::Keyword && !writes_file
            }
        },
        _ => false,
    }
}

/// The same for two tokens, which is little to tell by.
fn is_plain_pair(input: &[u8], first: &Token<'_>, second: &Token<'_>, read: usize) -> bool {
    let mark = second.text.first().copied().unwrap_or_default();
    match (first.kind, second.kind) {
        // A number and the word UNION, without anything folded or commented out between.
        (_, Kind::Union) => read == 2,
        _ if mark == b'#' => true,
        (Kind::Bareword, Kind::Comment) if mark != b'/' => true,
        (Kind::Number, Kind::Comment) if mark == b'/' => false,
        (Kind::Number, Kind::Comment) if read > 2 => false,
        // Base64 has `1234-ABCDEFG--`; what follows a real number is space or the comment. The number is taken to be at
        // the start of the input, and bytes above 0x7f are below space, as C's `char` has it where ModSecurity runs.
        (Kind::Number, Kind::Comment) => {
            let next = input.get(first.text.len()..).unwrap_or_default();
            !(matches!(next, [] | [0..=b' ' | 0x80.., ..]) || next.starts_with(b"/*") || next.starts_with(b"--"))
        }
        // Many write `--` in plain text: only at the very end is it one of a scanner's attempts.
        _ => mark == b'-' && second.text.len() > 2,
    }
}
