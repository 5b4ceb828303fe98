//! Which ranges of a stored response are sent, and several of them in one answer (RFC 9110 sections 14.2 and 14.6).
//!
//! Invariant: no byte is sent twice, so that an answer is never much larger than what is stored: ranges that overlap, or
//! are closer to each other than what would separate them, are one.

use breakwater_cache::object::Object;
use breakwater_wire::range::{ByteRange, parse, parse_single};
use bytes::Bytes;

use super::{content_range, slice};
use crate::server::random;

/// About what a part of a multipart answer adds to its bytes.
const OVERHEAD: u64 = 80;

/// What a `Range` comes to.
pub(super) enum Chosen {
    /// It says nothing that is understood, or asks for too many: the whole.
    Whole,
    /// One range: first and last byte.
    One(u64, u64),
    /// Several.
    Several(Vec<(u64, u64)>),
    /// None of them is there.
    None,
}

/// What of `object` a `Range` field asks for.
pub(super) fn choose(range: &[u8], object: &Object) -> Chosen {
    // One range, by far the most frequent: without allocation.
    if let Some(range) = parse_single(range) {
        return resolve(range, object).map_or(Chosen::None, |(first, last)| Chosen::One(first, last));
    }
    let Some(ranges) = parse(range).filter(|_| object.parts.is_none()) else {
        return Chosen::Whole;
    };
    let mut found: Vec<_> = ranges.iter().filter_map(|range| resolve(*range, object)).collect();
    if touch(&found) {
        found = coalesced(found);
    }
    match found[..] {
        [] => Chosen::None,
        [(first, last)] => Chosen::One(first, last),
        _ => Chosen::Several(found),
    }
}

fn resolve(range: ByteRange, object: &Object) -> Option<(u64, u64)> {
    match &object.parts {
        Some(parts) => parts.resolve(range),
        None => range.resolve(object.body.len()),
    }
}

/// Whether some of them overlap or nearly do. Otherwise they are sent in the order in which they were asked for.
fn touch(ranges: &[(u64, u64)]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let near = |pair: &[(u64, u64)]| matches!(pair, [a, b] if b.0 <= a.1.saturating_add(OVERHEAD));
    sorted.windows(2).any(near)
}

fn coalesced(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (first, last) in ranges {
        match out.last_mut() {
            Some(before) if first <= before.1.saturating_add(OVERHEAD) => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

/// Several ranges as `multipart/byteranges`.
pub(super) struct Multipart {
    boundary: String,
    /// What stands before each range, and the range; the last is none.
    stretches: Vec<Stretch>,
    len: u64,
}

/// Bytes of our own, and the stored ones behind them.
pub(in crate::handler) struct Stretch {
    pub(in crate::handler) text: Bytes,
    pub(in crate::handler) start: u64,
    pub(in crate::handler) length: u64,
}

impl Multipart {
    pub(super) fn new(object: &Object, ranges: &[(u64, u64)]) -> Self {
        // Nobody who makes the content can know it.
        let boundary = format!("{:032x}", random());
        let mut lines = object.head.split(|b| *b == b'\n').skip(1);
        let kind = lines.find(|line| line.starts_with(b"content-type:"));
        let mut stretches = Vec::with_capacity(ranges.len() + 1);
        for (first, last) in ranges {
            let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
            if stretches.is_empty() {
                head.drain(..2);
            }
            if let Some(kind) = kind {
                head.extend_from_slice(kind.trim_ascii_end());
                head.extend_from_slice(b"\r\n");
            }
            head.extend_from_slice(b"Content-Range: ");
            content_range(object, *first, *last).write(&mut head);
            head.extend_from_slice(b"\r\n\r\n");
            stretches.push(Stretch {
                text: head.into(),
                start: *first,
                length: last - first + 1,
            });
        }
        stretches.push(Stretch {
            text: format!("\r\n--{boundary}--\r\n").into(),
            start: 0,
            length: 0,
        });
        let len = stretches
            .iter()
            .map(|stretch| stretch.text.len() as u64 + stretch.length)
            .sum();
        Self {
            boundary,
            stretches,
            len,
        }
    }

    /// Bytes of content.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Appends the field that says how to read it.
    pub(super) fn write_type(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Content-Type: multipart/byteranges; boundary=");
        out.extend_from_slice(self.boundary.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// All of it, from memory.
    pub(super) fn content(&self, object: &Object) -> Vec<Bytes> {
        let content = |stretch: &Stretch| {
            let text = std::iter::once(stretch.text.clone());
            text.chain(slice(object, stretch.start, stretch.length))
                .collect::<Vec<_>>()
        };
        self.stretches.iter().flat_map(content).collect()
    }

    pub(super) fn into_stretches(self) -> Vec<Stretch> {
        self.stretches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_or_nearly_do_are_one() {
        assert!(!touch(&[(500, 600), (0, 100)]));
        assert!(touch(&[(0, 100), (100, 200)]));
        assert!(touch(&[(0, 100), (150, 200)]));
        assert_eq!(coalesced(vec![(500, 600), (0, 100), (90, 420)]), [(0, 600)]);
        assert_eq!(coalesced(vec![(500, 600), (0, 100), (0, 50)]), [(0, 100), (500, 600)]);
        assert_eq!(coalesced(vec![(0, u64::MAX), (0, 1)]), [(0, u64::MAX)]);
    }
}
