//! Parts of a representation that are stored before the whole is (RFC 9111 sections 3.3 and 3.4).
//!
//! Invariant: parts do not overlap, are in order, and all of one representation: what is combined has the same strong
//! entity tag, the same length, and came with as many bytes as it announced. What came with fewer is kept for as far as
//! it goes, and combined with nothing.

use breakwater_wire::range::{ByteRange, ContentRange};
use bytes::Bytes;

use crate::object::Body;

/// Parts of one representation; with more, only the newest is kept.
pub const MAX_PARTS: usize = 64;

/// Parts of one representation.
#[derive(Clone, Debug)]
pub struct Parts {
    parts: Box<[Part]>,
    /// Bytes of the whole, if known.
    complete: Option<u64>,
    /// As many bytes came as were announced.
    exact: bool,
}

#[derive(Clone, Debug)]
struct Part {
    first: u64,
    body: Body,
}

impl Part {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.body.len())
    }
}

impl Parts {
    /// The one part of a 206 with this `Content-Range`. `None` if it is empty, or more than was announced.
    ///
    /// When fewer bytes came, they are believed to be where they were said to begin; and if they were said to reach the
    /// end, that is where they end.
    pub fn new(announced: ContentRange, body: Body) -> Option<Self> {
        let len = announced.last.checked_sub(announced.first)?.checked_add(1)?;
        if body.is_empty() || body.len() > len {
            return None;
        }
        let exact = body.len() == len;
        let part = Part {
            first: announced.first,
            body,
        };
        let reaches_end = announced.complete == announced.last.checked_add(1);
        let complete = if reaches_end {
            Some(part.end())
        } else {
            announced.complete
        };
        Some(Self {
            parts: Box::new([part]),
            complete,
            exact,
        })
    }

    /// Bytes of the whole, if known.
    pub const fn complete(&self) -> Option<u64> {
        self.complete
    }

    /// Bytes that are here.
    pub fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.body.len()).sum()
    }

    /// Whether there is nothing; never.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The first and last byte of `range`, if all of it is here.
    pub fn resolve(&self, range: ByteRange) -> Option<(u64, u64)> {
        let (first, last) = match (range, self.complete) {
            (range, Some(complete)) => range.resolve(complete)?,
            (ByteRange::FromTo(first, last), None) => (first, last),
            (ByteRange::From(_) | ByteRange::Suffix(_), None) => return None,
        };
        let covers = |part: &Part| part.first <= first && last < part.end();
        self.parts.iter().any(covers).then_some((first, last))
    }

    /// `len` bytes from `first`, as [`Self::resolve`] found them.
    pub fn slice(&self, first: u64, len: u64) -> Vec<Bytes> {
        let part = self.parts.iter().find(|part| part.first <= first && first < part.end());
        part.map(|part| part.body.slice(first - part.first, len).collect())
            .unwrap_or_default()
    }

    /// What is here from the first byte on, if the whole is known to be longer.
    pub fn beginning(&self) -> Option<&Body> {
        let first = self.parts.first().filter(|part| part.first == 0)?;
        self.complete
            .is_none_or(|complete| complete > first.end())
            .then_some(&first.body)
    }

    /// Whether as many bytes came as were announced.
    pub const fn is_exact(&self) -> bool {
        self.exact
    }

    /// The parts of both, which have the same strong entity tag. `None` if they cannot be of one representation, or are
    /// too many.
    pub fn combined(&self, newer: &Self) -> Option<Self> {
        let same_length = match (self.complete, newer.complete) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        if !self.exact || !newer.exact || !same_length {
            return None;
        }
        let mut all: Vec<Part> = self.parts.iter().chain(&newer.parts).cloned().collect();
        all.sort_by_key(|part| part.first);
        let mut out: Vec<Part> = Vec::new();
        for part in all {
            match out.last_mut() {
                Some(last) if part.first <= last.end() => {
                    let known = last.end() - part.first;
                    if known < part.body.len() {
                        let more: Vec<Bytes> = part.body.slice(known, part.body.len() - known).collect();
                        last.body = Body::from_chunks(last.body.chunks().iter().cloned().chain(more));
                    }
                }
                _ => out.push(part),
            }
        }
        (out.len() <= MAX_PARTS).then(|| Self {
            parts: out.into(),
            complete: self.complete.or(newer.complete),
            exact: true,
        })
    }

    /// The whole content, if all of it is here.
    pub fn whole(&self) -> Option<&Body> {
        match &*self.parts {
            [part] if self.exact && part.first == 0 && Some(part.end()) == self.complete => Some(&part.body),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(range: &str, body: &str) -> Option<Parts> {
        let body = Body::from_chunks([Bytes::copy_from_slice(body.as_bytes())]);
        Parts::new(ContentRange::parse(range.as_bytes()).unwrap(), body)
    }

    fn read(parts: &Parts, range: ByteRange) -> Option<String> {
        let (first, last) = parts.resolve(range)?;
        let bytes = parts.slice(first, last - first + 1).concat();
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_a_part_covers_is_read_from_it_and_nothing_else() {
        let parts = parts("bytes 4-8/20", "45678").unwrap();
        assert_eq!(read(&parts, ByteRange::FromTo(5, 7)).as_deref(), Some("567"));
        assert_eq!(read(&parts, ByteRange::FromTo(4, 8)).as_deref(), Some("45678"));
        for range in [
            ByteRange::FromTo(3, 5),
            ByteRange::FromTo(7, 9),
            ByteRange::From(5),
            ByteRange::Suffix(2),
            ByteRange::From(30),
        ] {
            assert_eq!(read(&parts, range), None, "{range:?}");
        }
    }

    #[test]
    fn without_a_known_length_the_end_is_not_known() {
        let parts = parts("bytes 4-8/*", "45678").unwrap();
        assert_eq!(read(&parts, ByteRange::FromTo(8, 8)).as_deref(), Some("8"));
        assert_eq!(read(&parts, ByteRange::From(5)), None);
        assert_eq!(read(&parts, ByteRange::Suffix(1)), None);
    }

    #[test]
    fn a_body_shorter_than_announced_is_of_use_as_far_as_it_goes_and_one_longer_is_not() {
        let short = parts("bytes 4-9/10", "01234").unwrap();
        assert_eq!(read(&short, ByteRange::FromTo(6, 8)).as_deref(), Some("234"));
        assert_eq!(read(&short, ByteRange::From(6)).as_deref(), Some("234"));
        assert_eq!(read(&short, ByteRange::Suffix(1)).as_deref(), Some("4"));
        assert_eq!(read(&short, ByteRange::Suffix(5)).as_deref(), Some("01234"));
        assert!(short.whole().is_none());
        assert!(parts("bytes 0-3/10", "01234").is_none());
        assert!(parts("bytes 0-3/10", "").is_none());
        let other = parts("bytes 0-3/9", "abcd").unwrap();
        assert!(short.combined(&other).is_none(), "a liar is not combined");
        assert!(other.combined(&short).is_none());
    }

    #[test]
    fn parts_are_combined_until_they_are_the_whole() {
        let (a, b, c) = (
            parts("bytes 0-3/10", "0123").unwrap(),
            parts("bytes 6-9/10", "6789").unwrap(),
            parts("bytes 3-6/*", "3456").unwrap(),
        );
        let two = b.combined(&a).unwrap();
        assert_eq!(two.len(), 8);
        assert_eq!(read(&two, ByteRange::FromTo(2, 7)), None, "there is a gap");
        assert_eq!(read(&two, ByteRange::Suffix(3)).as_deref(), Some("789"));
        assert!(two.whole().is_none());
        let all = two.combined(&c).unwrap();
        let whole = all.whole().unwrap();
        assert_eq!((whole.contiguous(), all.len()), (Some(&b"0123456789"[..]), 10));
        assert_eq!(all.combined(&a).unwrap().len(), 10, "what is known is not kept twice");
    }

    #[test]
    fn parts_of_different_lengths_are_of_different_representations() {
        let a = parts("bytes 0-3/10", "0123").unwrap();
        assert!(a.combined(&parts("bytes 4-5/11", "45").unwrap()).is_none());
    }

    #[test]
    fn the_beginning_is_what_the_rest_is_missing_from() {
        let a = parts("bytes 0-3/10", "0123").unwrap();
        assert_eq!(a.beginning().map(Body::len), Some(4));
        assert!(parts("bytes 1-3/10", "123").unwrap().beginning().is_none());
        assert!(parts("bytes 0-3/4", "0123").unwrap().beginning().is_none());
    }

    #[test]
    fn there_are_not_more_parts_than_the_limit() {
        let part = |at: usize| parts(&format!("bytes {}-{}/10000", at * 10, at * 10), "x").unwrap();
        let mut all = part(0);
        for at in 1..MAX_PARTS {
            all = all.combined(&part(at)).unwrap();
        }
        assert!(all.combined(&part(MAX_PARTS)).is_none());
    }
}
