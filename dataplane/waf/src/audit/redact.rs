//! What never reaches a log: the values of named arguments and fields.
//!
//! What is kept back follows from what a text is made of, not from how a rule's author worded it:
//!
//! - The engine notes for each macro in a message or in log data where its value comes from. The value of a named argument,
//!   field or cookie is replaced as a whole, whatever transformations made of it. So is a piece (a capture) of one, a piece of
//!   a text that speaks of a hidden name, and what comes through a variable whose source is not known any more.
//! - All other text of a client is searched for hidden names ([`Redaction::behind_name`]): what stands behind one is
//!   replaced to the end, for what ends a value depends on who reads it (`&`, `;`, a quote, a tag).
//! - And for the values themselves ([`Mask`]): a password that was also sent in another place is replaced there too.
//!
//! When in doubt a value is replaced. Names are compared without case and with escapes undone ([`fold`]); `user[password]`,
//! `password[]` and `login.password` count as `password`. Names stay, so that a reader sees that something was there.
//!
//! All of it is linear in the text, and is done only for a line that is written.

mod fold;
mod mask;

use std::borrow::Cow;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use fold::Folded;
pub use mask::Mask;

use crate::transform::Transformation;

/// What a value is replaced by.
const REPLACEMENT: &str = "***";

/// Names whose values are replaced.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    /// In lower case.
    arguments: Vec<String>,
    headers: Vec<String>,
    /// Finds out at once that a text has none of the names: most have none. Absent where it does not know all names.
    any: Option<Arc<AhoCorasick>>,
}

impl Redaction {
    /// From the names of query arguments and of request fields, in any case.
    #[must_use]
    pub fn new(arguments: impl IntoIterator<Item = String>, headers: impl IntoIterator<Item = String>) -> Self {
        let lower = |name: String| name.to_ascii_lowercase();
        let mut this = Self {
            arguments: arguments
                .into_iter()
                .map(lower)
                .filter(|name| !name.is_empty())
                .collect(),
            headers: headers.into_iter().map(lower).filter(|name| !name.is_empty()).collect(),
            any: None,
        };
        let names = this
            .arguments
            .iter()
            .flat_map(|name| [Some(name.as_str()), last_part(name)]);
        let names = names
            .flatten()
            .chain(this.headers.iter().map(String::as_str))
            .map(as_sought);
        this.any = AhoCorasick::new(names).ok().map(Arc::new);
        this
    }

    /// Hides one more name; false if it was hidden.
    pub(crate) fn add(&mut self, name: &str, of_header: bool) -> bool {
        let name = name.to_ascii_lowercase();
        let names = if of_header {
            &mut self.headers
        } else {
            &mut self.arguments
        };
        let new = !name.is_empty() && !names.contains(&name);
        if new {
            names.push(name);
            self.any = None;
        }
        new
    }

    /// Whether nothing is hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arguments.is_empty() && self.headers.is_empty()
    }

    /// Path and query joined, with the values of named arguments replaced.
    #[must_use]
    pub fn uri<'a>(&self, path: &'a str, query: Option<&str>) -> Cow<'a, str> {
        self.pieces(path, query, |piece| self.text(piece))
    }

    /// Path and query joined, each segment and each argument as `shown` has it.
    fn pieces<'a>(&self, path: &'a str, query: Option<&str>, shown: impl Fn(&str) -> Option<String>) -> Cow<'a, str> {
        let mut uri = String::with_capacity(path.len() + query.map_or(0, |query| 1 + query.len()));
        let mut changed = false;
        let mut put = |uri: &mut String, text: &str, separator: char| {
            for (index, piece) in text.split(separator).enumerate() {
                if index > 0 {
                    uri.push(separator);
                }
                match shown(piece) {
                    Some(new) => {
                        changed = true;
                        uri.push_str(&new);
                    }
                    None => uri.push_str(piece),
                }
            }
        };
        put(&mut uri, path, '/');
        if let Some(query) = query {
            uri.push('?');
            put(&mut uri, query, '&');
        } else if !changed {
            return path.into();
        }
        uri.into()
    }

    /// A text without what stands behind a hidden name; none if there is nothing to hide.
    pub(super) fn text(&self, text: &str) -> Option<String> {
        let folded = Folded::new(text.as_bytes());
        let at = folded.place(self.behind_name(&folded)?);
        Some(format!("{}{REPLACEMENT}", text.get(..text.floor_char_boundary(at))?))
    }

    /// Whether a text speaks of a hidden name in a way that what stands behind it may be its value.
    #[must_use]
    pub fn speaks_of(&self, text: &[u8]) -> bool {
        !self.is_empty() && self.behind_name(&Folded::new(text)).is_some()
    }

    /// What stands behind hidden names in a text, each up to what ends most values, with escapes undone.
    pub(crate) fn values_in(&self, text: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        if self.is_empty() {
            return all;
        }
        let mut folded = Folded::new(text);
        while let Some(at) = self.behind_name(&folded) {
            let rest = folded.bytes.split_off(at);
            let quotes = rest.iter().take_while(|byte| is_end(**byte)).count();
            let mut value = rest.get(quotes..).unwrap_or_default().to_vec();
            let end = value.iter().position(|byte| is_end(*byte)).unwrap_or(value.len());
            folded.bytes = value.split_off(end);
            // An argument's name ends with the one, a segment of a path with the other.
            if let Some(end) = memchr::memchr2(b'=', b'/', &value) {
                all.push(value.get(..end).unwrap_or_default().to_vec());
            }
            all.push(value);
            if all.len() >= VALUES_IN {
                break;
            }
        }
        all
    }

    /// Where the first thing begins that may be the value of a hidden name: behind its `=`, `:` or `>` if it has one,
    /// else behind the name. A name in prose, with a space or a full stop behind it, has no value.
    fn behind_name(&self, folded: &Folded) -> Option<usize> {
        let text = folded.bytes.as_slice();
        if self.any.as_ref().is_some_and(|any| !any.is_match(text)) {
            return None;
        }
        let mut first: Option<usize> = None;
        let mut note = |at: usize| {
            if at < text.len() {
                first = Some(first.map_or(at, |known| known.min(at)));
            }
        };
        for name in &self.arguments {
            for name in [name.as_str()].into_iter().chain(last_part(name)) {
                each(text, name, |start, end| note_argument(text, start, end, &mut note));
            }
        }
        for name in &self.headers {
            each(text, name, |_, end| {
                let (closed, delimiter) = behind(text, end);
                if matches!(delimiter, Some(b':' | b'=')) {
                    note(closed + 1);
                }
            });
        }
        first
    }

    /// Whether the value of the request field `name` is replaced.
    #[must_use]
    pub fn hides_header(&self, name: &[u8]) -> bool {
        let is_it = |header: &String| {
            header.as_bytes().eq_ignore_ascii_case(name)
                || (header == "cookie" && name.eq_ignore_ascii_case(b"set-cookie"))
        };
        self.headers.iter().any(is_it)
    }

    /// Whether any argument is hidden.
    #[must_use]
    pub fn hides_arguments(&self) -> bool {
        !self.arguments.is_empty()
    }

    /// Whether the value of the query or form argument `name` is replaced.
    #[must_use]
    pub fn hides_argument(&self, name: &str) -> bool {
        if self.arguments.is_empty() {
            return false;
        }
        let name = decode(name);
        let matches = |part: &str| {
            self.arguments
                .iter()
                .any(|argument| argument.eq_ignore_ascii_case(part.trim()))
        };
        matches(&name) || name.split(['[', ']', '.']).any(matches)
    }
}

/// Most values that are taken out of one text.
const VALUES_IN: usize = 32;

fn is_end(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'&' | b';' | b',' | b'"' | b'\'' | b'<' | b'>' | b'}' | b'\\')
}

/// A name as it stands in a folded text.
fn as_sought(name: &str) -> String {
    name.replace('+', " ")
}

/// Each place of a name in a text, as a word of its own.
fn each(text: &[u8], name: &str, mut found: impl FnMut(usize, usize)) {
    let is_word = |at: Option<&u8>| at.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let name = as_sought(name);
    for start in memchr::memmem::find_iter(text, name.as_bytes()) {
        let end = start + name.len();
        let before = start.checked_sub(1).and_then(|at| text.get(at));
        if !is_word(before) && !is_word(text.get(end)) {
            found(start, end);
        }
    }
}

fn note_argument(text: &[u8], start: usize, end: usize, note: &mut impl FnMut(usize)) {
    let (closed, delimiter) = behind(text, end);
    if matches!(delimiter, Some(b'=' | b':' | b'>')) {
        return note(closed + 1);
    }
    if closed >= text.len() {
        // Nothing but quotes and brackets.
        return;
    }
    let before = start.checked_sub(1).and_then(|at| text.get(at)).copied();
    let is_prose_before = before.is_none_or(|byte| byte.is_ascii_whitespace() || byte == b'(');
    let is_prose_behind = text
        .get(end)
        .is_none_or(|byte| byte.is_ascii_whitespace() || matches!(byte, b'.' | b',' | b'!' | b'?' | b')'));
    if !(is_prose_before && is_prose_behind) {
        note(end);
    }
}

/// What stands behind a name and what closes it: quotes, brackets, blanks.
fn behind(text: &[u8], end: usize) -> (usize, Option<u8>) {
    let closing = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b'[' | b']');
    let rest = text.get(end..).unwrap_or_default();
    let closed = rest.iter().position(|byte| !closing(byte)).unwrap_or(rest.len());
    (end + closed, rest.get(closed).copied())
}

/// The last name of `user[password]` or `login.password`, by which bodies that are not taken apart have it.
fn last_part(name: &str) -> Option<&str> {
    name.contains(['[', '.'])
        .then(|| name.split(['[', ']', '.']).rfind(|part| !part.is_empty()))
        .flatten()
}

/// Percent-encoding and `+` undone once; what is not UTF-8 then is replaced, what is not an escape is kept.
fn decode(text: &str) -> Cow<'_, str> {
    match Transformation::UrlDecode.apply(text.as_bytes()) {
        Cow::Borrowed(_) => text.into(),
        Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn redaction() -> Redaction {
        Redaction::new(
            ["password".to_owned(), "token".to_owned()],
            ["Authorization".to_owned(), "cookie".to_owned()],
        )
    }

    fn uri(query: &str) -> String {
        redaction().uri("/p", Some(query)).into_owned()
    }

    #[test]
    fn without_a_query_the_path_is_borrowed() {
        assert!(matches!(redaction().uri("/p", None), Cow::Borrowed("/p")));
    }

    #[test]
    fn values_of_named_arguments_are_replaced_and_the_rest_is_kept_as_sent() {
        assert_eq!(
            uri("a=1&password=secret&b=%20x&token=t"),
            "/p?a=1&password=***&b=%20x&token=***"
        );
        assert_eq!(uri(""), "/p?");
        assert_eq!(uri("&&a&=b&"), "/p?&&a&=b&");
        assert_eq!(uri("password"), "/p?password");
        assert_eq!(uri("password="), "/p?password=");
        assert_eq!(uri("mypassword=1&passwords=2"), "/p?mypassword=1&passwords=2");
    }

    #[test]
    fn disguised_names_are_seen_through() {
        for (query, hidden) in [
            ("PassWord=secret", "PassWord=***"),
            ("%70assword=secret", "%70assword=***"),
            ("pass%77ord=secret", "pass%77ord=***"),
            ("+password=secret", "+password=***"),
            ("password[]=secret", "password[]=***"),
            ("user[password]=secret", "user[password]=***"),
            ("user%5Bpassword%5D=secret", "user%5Bpassword%5D=***"),
            ("password=a=secret", "password=***"),
            ("password=a;secret", "password=***"),
            ("a=1;password=secret", "a=1;password=***"),
        ] {
            assert_eq!(uri(query), format!("/p?{hidden}"));
        }
    }

    #[test]
    fn what_stands_behind_a_hidden_name_is_replaced_whatever_separates_them() {
        let redaction = redaction();
        for text in [
            "1;password=geheim",
            "{\"a\":1,\"password\" : \"geheim\"}",
            "{\\\"password\\\":\\\"geheim\\\"}",
            "{\"p\\u0061ssword\":\"geheim\"}",
            "<password type=\"x\">geheim</password>",
            "name=\"password\"\r\n\r\ngeheim",
            "a%26pass%2577ord%3Dgeheim",
            "password:geheim",
            "[[\"password\",\"geheim\"]]",
            "Host: x\nAuthorization: Basic geheim",
            "hostxauthorization:geheim".split_at(5).1,
        ] {
            let shown = redaction.text(text).unwrap_or_else(|| panic!("{text}"));
            assert!(!shown.contains("geheim") && shown.ends_with("***"), "{shown}");
        }
        for text in [
            "I forgot my password and <script>",
            "document.cookie",
            "/password",
            "passwords=1",
            "é password",
        ] {
            assert_eq!(redaction.text(text), None, "{text}");
        }
    }

    #[test]
    fn broken_escapes_are_kept_and_do_not_panic() {
        for query in ["%=1", "%7=1", "%zz=1", "%ff%fe=1", "a=%", "é%é=1"] {
            assert_eq!(uri(query), format!("/p?{query}"));
        }
    }

    #[test]
    fn no_random_query_leaks_a_secret_or_loses_anything_else() {
        let mut random = Random::new(13);
        let pieces = ["a", "=", "&", ";", "%", "+", "[", "]", "x=1", "é", "%41", "&b"];
        for _ in 0..20_000 {
            let noise = |random: &mut Random| -> String {
                (0..random.below(6))
                    .map(|_| pieces[random.below(pieces.len() as u64) as usize])
                    .collect()
            };
            let (before, after) = (noise(&mut random), noise(&mut random));
            let query = format!("{before}&password=SECRET&{after}");
            let shown = redaction().uri("/", Some(&query)).into_owned();
            // Noise may itself hold no hidden name, so exactly the secret is gone.
            assert_eq!(shown, format!("/?{before}&password=***&{after}"));
            assert_eq!(
                redaction().uri("/", Some(&format!("{before}{after}"))),
                format!("/?{before}{after}")
            );
        }
    }
}
