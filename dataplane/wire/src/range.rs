//! Byte ranges (RFC 9110 section 14): Range, If-Range and Content-Range.

use crate::etag::EntityTag;
use crate::http_date;
use crate::http1::fields::{list_members, parse_length, trim_ows};

/// Most ranges in one request; with more the field is ignored.
pub const MAX_RANGES: usize = 16;

/// One range as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, both included.
    FromTo(u64, u64),
    /// `first-`.
    From(u64),
    /// `-length`: the last bytes.
    Suffix(u64),
}

impl ByteRange {
    /// The first and last byte in a representation of `len` bytes; `None` if it cannot be satisfied.
    #[must_use]
    pub fn resolve(self, len: u64) -> Option<(u64, u64)> {
        let end = len.checked_sub(1)?;
        match self {
            Self::FromTo(first, last) => (first <= end).then_some((first, last.min(end))),
            Self::From(first) => (first <= end).then_some((first, end)),
            Self::Suffix(0) => None,
            Self::Suffix(length) => Some((len.saturating_sub(length), end)),
        }
    }
}

/// The ranges of a Range field, in order. `None` if it is not a valid set of byte ranges or has more than
/// [`MAX_RANGES`]: then the field is ignored.
#[must_use]
pub fn parse(value: &[u8]) -> Option<Vec<ByteRange>> {
    let set = ranges_of(value)?;
    let mut ranges = Vec::new();
    for spec in list_members(set) {
        if ranges.len() == MAX_RANGES {
            return None;
        }
        ranges.push(parse_one(spec)?);
    }
    (!ranges.is_empty()).then_some(ranges)
}

/// The range if the field asks for exactly one; does not allocate.
#[must_use]
pub fn parse_single(value: &[u8]) -> Option<ByteRange> {
    let mut members = list_members(ranges_of(value)?);
    let range = parse_one(members.next()?)?;
    members.next().is_none().then_some(range)
}

fn ranges_of(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at_checked(memchr::memchr(b'=', value)?)?;
    unit.eq_ignore_ascii_case(b"bytes").then(|| set.get(1..)).flatten()
}

fn parse_one(spec: &[u8]) -> Option<ByteRange> {
    let (first, last) = spec.split_at_checked(memchr::memchr(b'-', spec)?)?;
    // Positions past 63 bits lie behind every representation.
    let position = |digits: &[u8]| {
        parse_length(digits)
            .or_else(|too_large| if too_large { Ok(u64::MAX) } else { Err(()) })
            .ok()
    };
    match (first, last.get(1..)?) {
        ([], last) => Some(ByteRange::Suffix(position(last)?)),
        (first, []) => Some(ByteRange::From(position(first)?)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(ByteRange::FromTo(first, last))
        }
    }
}

/// True if the range may be served: If-Range names this very representation, by a strong tag, or by a date
/// equal to Last-Modified (RFC 9110 section 13.1.5). `now` is unix seconds.
#[must_use]
pub fn if_range_holds(if_range: &[u8], etag: Option<&[u8]>, last_modified: Option<&[u8]>, now: u64) -> bool {
    if let Some(wanted) = EntityTag::parse(if_range) {
        return etag
            .and_then(EntityTag::parse)
            .is_some_and(|etag| etag.strong_eq(&wanted));
    }
    let wanted = http_date::parse(if_range, now);
    wanted.is_some() && wanted == last_modified.and_then(|value| http_date::parse(value, now))
}

/// Content-Range of a 206.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub first: u64,
    /// Last byte, included.
    pub last: u64,
    /// Length of the whole representation, if known.
    pub complete: Option<u64>,
}

impl ContentRange {
    /// Parses `bytes first-last/complete` or `bytes first-last/*`.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (unit, rest) = trim_ows(value).split_at_checked(6)?;
        if !unit.eq_ignore_ascii_case(b"bytes ") {
            return None;
        }
        let (range, complete) = rest.split_at_checked(memchr::memchr(b'/', rest)?)?;
        let (first, last) = range.split_at_checked(memchr::memchr(b'-', range)?)?;
        let (first, last) = (parse_length(first).ok()?, parse_length(last.get(1..)?).ok()?);
        let complete = match complete.get(1..)? {
            b"*" => None,
            digits => Some(parse_length(digits).ok()?),
        };
        (first <= last && complete.is_none_or(|complete| last < complete)).then_some(Self { first, last, complete })
    }

    /// The range that the lines of a field name; `None` if there is not exactly one, which can be read.
    #[must_use]
    pub fn parse_only<'v>(mut lines: impl Iterator<Item = &'v [u8]>) -> Option<Self> {
        let range = Self::parse(lines.next()?)?;
        lines.next().is_none().then_some(range)
    }

    /// Writes the field value.
    pub fn write(&self, out: &mut Vec<u8>) {
        use crate::http1::encode::write_decimal;
        out.extend_from_slice(b"bytes ");
        write_decimal(out, self.first);
        out.push(b'-');
        write_decimal(out, self.last);
        out.push(b'/');
        match self.complete {
            Some(complete) => write_decimal(out, complete),
            None => out.push(b'*'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_and_resolved() {
        for (text, len, expected) in [
            ("bytes=0-4", 10, Some((0, 4))),
            ("Bytes=5-", 10, Some((5, 9))),
            ("bytes=-3", 10, Some((7, 9))),
            ("bytes=-30", 10, Some((0, 9))),
            ("bytes=5-500", 10, Some((5, 9))),
            ("bytes=10-", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-0", 0, None),
            ("bytes=0-99999999999999999999", 10, Some((0, 9))),
        ] {
            let range = parse_single(text.as_bytes()).expect(text);
            assert_eq!(range.resolve(len), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_byte_range_is_ignored() {
        for bad in [
            "",
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=-",
            "items=0-1",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes 0-1",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse(format!("bytes={}", vec!["0-1"; 17].join(",")).as_bytes()), None);
        assert_eq!(
            parse(b"bytes=0-1, 4-"),
            Some(vec![ByteRange::FromTo(0, 1), ByteRange::From(4)])
        );
        assert_eq!(parse_single(b"bytes=0-1, 4-"), None);
    }

    #[test]
    fn if_range_needs_a_strong_tag_or_the_same_date() {
        let date = &b"Sun, 06 Nov 1994 08:49:37 GMT"[..];
        assert!(if_range_holds(b"\"a\"", Some(b"\"a\""), None, 0));
        assert!(!if_range_holds(b"W/\"a\"", Some(b"W/\"a\""), None, 0));
        assert!(if_range_holds(date, None, Some(date), 0));
        assert!(!if_range_holds(date, None, Some(b"Sun, 06 Nov 1994 08:49:36 GMT"), 0));
        assert!(!if_range_holds(b"garbage", None, Some(b"garbage"), 0));
    }

    #[test]
    fn content_range_goes_both_ways_and_must_be_consistent() {
        for text in ["bytes 0-4/10", "bytes 4-9/*"] {
            let mut out = Vec::new();
            ContentRange::parse(text.as_bytes()).expect(text).write(&mut out);
            assert_eq!(out, text.as_bytes());
        }
        for bad in [
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes */10",
            "bytes 0-4",
            "items 0-4/10",
            "bytes 0-4/x",
        ] {
            assert_eq!(ContentRange::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_content_range_is_one_line() {
        let only = |lines: &[&'static str]| ContentRange::parse_only(lines.iter().map(|line| line.as_bytes()));
        let range = ContentRange::parse(b"bytes 0-4/10");
        assert!(range.is_some());
        assert_eq!(only(&["bytes 0-4/10"]), range);
        for lines in [&[][..], &["bytes 0-4/10", "bytes 0-4/10"], &["bytes 4-0/10"]] {
            assert_eq!(only(lines), None);
        }
    }
}
