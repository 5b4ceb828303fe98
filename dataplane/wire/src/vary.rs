//! Vary (RFC 9111 section 4.1): which request fields select a variant, and their comparable form.

use crate::http1::fields::{is_token, list_members};

/// Most field names that one response may vary on; with more it counts as `*`.
pub const MAX_NAMES: usize = 16;

/// The value of Vary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vary {
    /// `*`, or something that cannot be honoured: never select this response without asking the origin.
    Star,
    /// Field names in lower case, sorted, each once. Empty without Vary.
    Names(Vec<String>),
}

impl Vary {
    /// Reads all lines. `*` in any position counts, and so does a member that is not a field name.
    #[must_use]
    pub fn parse<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let mut names = Vec::new();
        for member in lines.into_iter().flat_map(list_members) {
            if member == b"*" || !is_token(member) || names.len() == MAX_NAMES {
                return Self::Star;
            }
            let name = String::from_utf8_lossy(member).to_ascii_lowercase();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Self::Names(names)
    }
}

/// The comparable form of a selecting field: equal forms select the same variant. `None` if the request does
/// not have it, which differs from an empty value.
///
/// Lines are combined and whitespace around commas and semicolons goes. Accept-Language is a set of
/// languages with weights: without regard to case, order or the way a weight is written.
#[must_use]
pub fn normalize_value<'v>(name: &str, lines: impl IntoIterator<Item = &'v [u8]>) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = lines.into_iter().collect();
    if lines.is_empty() {
        return None;
    }
    // Joined before it is split, so that a quoted string left open is read as a recipient of the joined
    // line would read it.
    let joined = lines.join(&b","[..]);
    let mut members: Vec<Vec<u8>> = split_members(&joined)
        .map(squeeze)
        .filter(|member| !member.is_empty())
        .collect();
    if name.eq_ignore_ascii_case("accept-language") {
        for member in &mut members {
            *member = language(member);
        }
        members.sort_unstable();
        members.dedup();
    }
    Some(members.join(&b","[..]))
}

/// The language that an Accept-Language wants more than every other, in lower case. `None` if there is none, or if it is a
/// wildcard.
#[must_use]
pub fn most_wanted_language<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> Option<Vec<u8>> {
    let joined = lines.into_iter().collect::<Vec<_>>().join(&b","[..]);
    let mut best: Option<(u32, Vec<u8>)> = None;
    let mut tied = false;
    for member in split_members(&joined).map(squeeze).filter(|member| !member.is_empty()) {
        let (range, weight) = match memchr::memchr(b';', &member) {
            Some(at) => {
                let weight = member.get(at + 1..)?;
                let weight = weight.strip_prefix(b"q=").or_else(|| weight.strip_prefix(b"Q="))?;
                (member.get(..at)?, thousandths(weight)?)
            }
            None => (member.as_slice(), 1000),
        };
        match &best {
            Some((most, _)) if weight < *most => {}
            Some((most, known)) if weight == *most => tied |= !known.eq_ignore_ascii_case(range),
            _ => {
                best = Some((weight, range.to_ascii_lowercase()));
                tied = false;
            }
        }
    }
    let (weight, range) = best?;
    (!tied && weight > 0 && range != b"*").then_some(range)
}

fn split_members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let list = rest?;
        let end = crate::cache_control::member_end(list);
        rest = list.get(end + 1..);
        list.get(..end)
    })
}

/// Removes whitespace at the ends and around `;`, and shortens other runs to one space, outside quotes.
fn squeeze(member: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(member.len());
    let (mut quoted, mut space, mut escaped) = (false, false, false);
    for &byte in member {
        if !quoted && matches!(byte, b' ' | b'\t') {
            space = true;
            continue;
        }
        if space && byte != b';' && !matches!(out.last(), None | Some(b';')) {
            out.push(b' ');
        }
        space = false;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        out.push(byte);
    }
    out
}

/// `de-AT;q=0.50` as `de-at;q=500`.
fn language(member: &[u8]) -> Vec<u8> {
    let mut out = member.to_ascii_lowercase();
    let Some(semicolon) = memchr::memchr(b';', &out) else {
        return out;
    };
    let Some(weight) = out
        .get(semicolon + 1..)
        .and_then(|parameter| parameter.strip_prefix(b"q="))
        .and_then(thousandths)
    else {
        return out;
    };
    out.truncate(semicolon);
    if weight != 1000 {
        out.extend_from_slice(format!(";q={weight}").as_bytes());
    }
    out
}

fn thousandths(weight: &[u8]) -> Option<u32> {
    let (whole, fraction) = match weight {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut value = match whole {
        b'0' => 0,
        b'1' => 1,
        _ => return None,
    };
    for place in 0..3 {
        let digit = fraction.get(place).copied().unwrap_or(b'0');
        value = value * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&'static str]) -> Vary {
        Vary::parse(lines.iter().map(|line| line.as_bytes()))
    }

    fn form(name: &str, lines: &[&str]) -> Option<String> {
        normalize_value(name, lines.iter().map(|line| line.as_bytes()))
            .map(|form| String::from_utf8_lossy(&form).into_owned())
    }

    #[test]
    fn names_are_a_set_over_all_lines() {
        assert_eq!(
            parse(&["Foo, bar,,", "FOO"]),
            Vary::Names(vec!["bar".into(), "foo".into()])
        );
        assert_eq!(parse(&[]), Vary::Names(vec![]));
    }

    #[test]
    fn a_star_anywhere_is_a_star() {
        for lines in [&["*"][..], &["a, *"], &["a", "*, b"], &[", *"], &["a b"]] {
            assert_eq!(parse(lines), Vary::Star, "{lines:?}");
        }
        let many: String = (0..17).map(|n| format!("h{n},")).collect();
        assert_eq!(Vary::parse([many.as_bytes()]), Vary::Star);
    }

    #[test]
    fn absent_differs_from_empty() {
        assert_eq!(form("foo", &[]), None);
        assert_eq!(form("foo", &[""]), Some(String::new()));
    }

    #[test]
    fn lines_are_combined_and_whitespace_is_stripped() {
        assert_eq!(form("foo", &["1, 2"]), form("foo", &["1", "2"]));
        assert_eq!(form("foo", &[" 1 ,\t2 ; q=1"]), Some("1,2;q=1".into()));
        assert_eq!(form("foo", &["\"a  , b\", c"]), Some("\"a  , b\",c".into()));
        assert_ne!(form("foo", &["1, 2"]), form("foo", &["2, 1"]));
    }

    #[test]
    fn a_quote_left_open_on_one_line_goes_on_on_the_next() {
        let once = form("foo", &["a, \"b , ", "c \" 1"]).expect("present");
        assert_eq!(once, "a,\"b , ,c \" 1");
        assert_eq!(form("foo", &[&once]), Some(once));
    }

    #[test]
    fn the_most_wanted_language_is_the_only_one_with_the_greatest_weight() {
        let wanted = |lines: &[&str]| {
            let wanted = most_wanted_language(lines.iter().map(|line| line.as_bytes()));
            wanted.map(|language| String::from_utf8_lossy(&language).into_owned())
        };
        assert_eq!(wanted(&["fr;q=0.5, de;q=1.0"]).as_deref(), Some("de"));
        assert_eq!(wanted(&["de-AT, de;q=0.9", "en;q=0.8"]).as_deref(), Some("de-at"));
        assert_eq!(wanted(&["en;q=0.2, EN;q=0.2"]).as_deref(), Some("en"));
        for nothing in [
            &[][..],
            &[""],
            &["en, de"],
            &["*"],
            &["en;q=0"],
            &["en;q=2, de"],
            &["en;level=1"],
        ] {
            assert_eq!(wanted(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn accept_language_is_a_weighted_set() {
        assert_eq!(
            form("Accept-Language", &["en, de;q=0.50"]),
            form("accept-language", &["DE; q=0.5 , EN;q=1.0"])
        );
        assert_ne!(
            form("accept-language", &["en, de;q=0.5"]),
            form("accept-language", &["en, de;q=0.4"])
        );
        assert_ne!(form("accept-language", &["en"]), form("accept-language", &["en;q=2"]));
    }
}
