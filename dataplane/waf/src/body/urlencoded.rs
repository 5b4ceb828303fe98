//! `application/x-www-form-urlencoded`, and the query.
//!
//! Where there is nothing between two separators there is no argument: it could hold no attack, and a body of
//! separators must not use up the limit. A name ends at the first `=`.

use super::{Arguments, Limits};
use crate::{operator, transform::Transformation::UrlDecode};

pub(super) fn parse(input: &[u8], separator: u8, limits: Limits) -> Arguments<'_> {
    let mut arguments = Arguments::default();
    for pair in input.split(|&byte| byte == separator).filter(|pair| !pair.is_empty()) {
        if arguments.pairs.len() >= limits.items {
            arguments.truncated = true;
            break;
        }
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (
                pair.get(..at).unwrap_or_default(),
                pair.get(at + 1..).unwrap_or_default(),
            ),
            None => (pair, &[][..]),
        };
        arguments.invalid_encoding |= !operator::is_url_encoded(pair);
        arguments.pairs.push((UrlDecode.apply(name), UrlDecode.apply(value)));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { items: 4, depth: 1 };

    fn pairs(input: &str) -> Vec<(String, String)> {
        let text = |part: &[u8]| part.escape_ascii().to_string();
        let arguments = parse(input.as_bytes(), b'&', LIMITS);
        arguments
            .pairs
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn names_and_values_are_decoded_after_they_are_split() {
        assert_eq!(
            pairs("a=1&b+c=%26%3d&d"),
            owned(&[("a", "1"), ("b c", "&="), ("d", "")])
        );
        assert_eq!(pairs("a=b=c&=x&a="), owned(&[("a", "b=c"), ("", "x"), ("a", "")]));
    }

    #[test]
    fn nothing_between_separators_is_no_argument() {
        assert_eq!(pairs("&&a=1&&&"), owned(&[("a", "1")]));
        assert_eq!(pairs(""), owned(&[]));
    }

    #[test]
    fn what_is_not_encoded_well_is_flagged_and_stays() {
        for (input, invalid) in [
            ("a=%41", false),
            ("a=%4", true),
            ("%zz=1", true),
            ("a=%", true),
            ("a=1&b=%%41", true),
        ] {
            assert_eq!(
                parse(input.as_bytes(), b'&', LIMITS).invalid_encoding,
                invalid,
                "{input}"
            );
        }
        assert_eq!(pairs("a=%zz%41"), owned(&[("a", "%zzA")]));
    }

    #[test]
    fn arguments_over_the_limit_are_left_out_and_that_is_said() {
        let arguments = parse(b"a&b&c&d", b'&', LIMITS);
        assert!(!arguments.truncated);
        assert_eq!(arguments.pairs.len(), 4);
        let arguments = parse(b"a&b&c&d&e&f", b'&', LIMITS);
        assert!(arguments.truncated);
        assert_eq!(arguments.pairs.len(), 4);
    }

    #[test]
    fn another_separator_can_be_chosen() {
        let arguments = parse(b"a=1;b=2&c", b';', LIMITS);
        assert_eq!(arguments.pairs.len(), 2);
        assert_eq!(&*arguments.pairs[1].1, b"2&c");
    }
}
