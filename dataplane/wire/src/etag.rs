//! Entity tags (RFC 9110 section 8.8.3) and lists of them.
//!
//! Strict: an opaque tag without quotes is not a tag. In a list, what is not a tag is skipped.

use crate::http1::fields::trim_ows;

/// An entity tag, borrowed from a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntityTag<'v> {
    /// `W/`.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: &'v [u8],
}

impl<'v> EntityTag<'v> {
    /// Parses a whole field value.
    #[must_use]
    pub fn parse(value: &'v [u8]) -> Option<Self> {
        let (tag, rest) = Self::split(trim_ows(value))?;
        rest.is_empty().then_some(tag)
    }

    /// Both strong and equal.
    #[must_use]
    pub fn strong_eq(&self, other: &EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Equal, whether weak or strong.
    #[must_use]
    pub fn weak_eq(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// The tag at the start of `value` and what follows it.
    fn split(value: &'v [u8]) -> Option<(Self, &'v [u8])> {
        let (weak, quoted) = match value.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', inner)?;
        let opaque = inner.get(..end)?;
        let valid = opaque.iter().all(|&b| matches!(b, 0x21 | 0x23..=0x7e | 0x80..));
        valid.then_some((Self { weak, opaque }, inner.get(end + 1..)?))
    }
}

/// The value of If-Match or If-None-Match.
#[derive(Debug, Clone)]
pub enum TagList<'v> {
    /// `*`.
    Any,
    /// The tags.
    Tags(Tags<'v>),
}

impl<'v> TagList<'v> {
    /// Reads a field value.
    #[must_use]
    pub fn parse(value: &'v [u8]) -> Self {
        if trim_ows(value) == b"*" {
            Self::Any
        } else {
            Self::Tags(Tags { rest: value })
        }
    }

    /// True for `*`, or if a tag of the list passes the comparison.
    pub fn any(self, mut compare: impl FnMut(&EntityTag<'_>) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(mut tags) => tags.any(|tag| compare(&tag)),
        }
    }
}

/// The tags of a list. A member that is not a tag is skipped up to the next comma.
#[derive(Debug, Clone)]
pub struct Tags<'v> {
    rest: &'v [u8],
}

impl<'v> Iterator for Tags<'v> {
    type Item = EntityTag<'v>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let [b' ' | b'\t' | b',', rest @ ..] = self.rest {
                self.rest = rest;
            }
            if self.rest.is_empty() {
                return None;
            }
            let tag = EntityTag::split(self.rest);
            let after = tag.map_or(self.rest, |(_, after)| after);
            let comma = memchr::memchr(b',', after).unwrap_or(after.len());
            let (between, rest) = after.split_at_checked(comma).unwrap_or((after, &[]));
            self.rest = rest;
            if let Some((tag, _)) = tag
                && trim_ows(between).is_empty()
            {
                return Some(tag);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> EntityTag<'_> {
        EntityTag::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn tags_are_quoted_and_may_be_weak() {
        assert_eq!(
            tag("\"a,b\""),
            EntityTag {
                weak: false,
                opaque: b"a,b"
            }
        );
        assert_eq!(
            tag(" W/\"\" "),
            EntityTag {
                weak: true,
                opaque: b""
            }
        );
        for bad in ["a", "w/\"a\"", "\"a", "\"a\"b", "W/a", "\"a b\"", "'a'", "*"] {
            assert_eq!(EntityTag::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn comparison_is_that_of_the_table_in_rfc_9110() {
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            assert_eq!(
                (tag(one).strong_eq(&tag(other)), tag(one).weak_eq(&tag(other))),
                (strong, weak),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn lists_may_have_commas_in_tags_and_garbage_between() {
        let tags = |list: &'static str| match TagList::parse(list.as_bytes()) {
            TagList::Any => panic!("not a list: {list}"),
            TagList::Tags(tags) => tags
                .map(|tag| String::from_utf8_lossy(tag.opaque).into_owned())
                .collect::<Vec<_>>(),
        };
        assert_eq!(tags("\"a\", W/\"b,c\" ,,\"d\""), ["a", "b,c", "d"]);
        assert_eq!(tags("a, \"b\"x, \"c\""), ["c"]);
        assert!(tags("").is_empty());
        assert!(TagList::parse(b" * ").any(|_| false));
    }
}
