//! Looking ahead in the input, for both tokenizers: find a byte, find a pair, measure a run of a class of bytes.
//!
//! Invariant: a position past the end is an empty rest, never a panic. In builds with debug assertions each look ahead
//! is counted, so that a tokenizer that looks at the same bytes again and again is noticed by its tests and by the
//! fuzzer, whatever the clock says ([`Bytes::assert_linear`]).

#[cfg(debug_assertions)]
use std::cell::Cell;

/// Whether `text` begins with `word`, in any case.
pub(super) fn begins_with(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// The input of one tokenizer.
#[derive(Clone, Debug)]
pub(super) struct Bytes<'a> {
    all: &'a [u8],
    #[cfg(debug_assertions)]
    looked_at: Cell<usize>,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Self {
            all,
            #[cfg(debug_assertions)]
            looked_at: Cell::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The byte at `at`, if the input is that long.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<u8> {
        self.all.get(at).copied()
    }

    /// Whether there is `byte` at `at`.
    #[inline]
    pub(super) fn is(&self, at: usize, byte: u8) -> bool {
        self.get(at) == Some(byte)
    }

    /// The bytes from `from` up to `to`, as far as there are any.
    #[inline]
    pub(super) fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        self.all.get(from..to.min(self.all.len())).unwrap_or_default()
    }

    /// The bytes from `from` on.
    #[inline]
    pub(super) fn rest(&self, from: usize) -> &'a [u8] {
        self.slice(from, self.all.len())
    }

    /// Where the next `byte` is, at `from` or later.
    pub(super) fn find(&self, byte: u8, from: usize) -> Option<usize> {
        let found = memchr::memchr(byte, self.rest(from)).map(|offset| from + offset);
        self.count(from, found);
        found
    }

    /// Where `first` is followed by `second`, at `from` or later, both before `to`.
    pub(super) fn find_pair(&self, first: u8, second: u8, from: usize, to: usize) -> Option<usize> {
        let found = memchr::memmem::find(self.slice(from, to), &[first, second]).map(|offset| from + offset);
        self.count(from, found.or(Some(to)));
        found
    }

    /// Where `needle` begins, at `from` or later.
    pub(super) fn find_bytes(&self, needle: &[u8], from: usize) -> Option<usize> {
        let found = memchr::memmem::find(self.rest(from), needle).map(|offset| from + offset);
        self.count(from, found);
        found
    }

    /// The first position from `from` on whose byte is not of the class, or the input's length.
    pub(super) fn skip(&self, from: usize, is_member: impl Fn(u8) -> bool) -> usize {
        let rest = self.rest(from);
        let end = from + rest.iter().position(|byte| !is_member(*byte)).unwrap_or(rest.len());
        self.count(from, Some(end));
        end
    }

    /// Fails a build with debug assertions if more was looked at than a tokenizer that goes through its input once, with
    /// a few looks ahead at each place, can need.
    pub(super) fn assert_linear(&self) {
        #[cfg(debug_assertions)]
        assert!(
            self.looked_at.get() <= 8 * self.all.len() + 256,
            "{} bytes looked at for {} bytes of input",
            self.looked_at.get(),
            self.all.len()
        );
    }

    #[inline]
    fn count(&self, from: usize, found: Option<usize>) {
        #[cfg(debug_assertions)]
        self.looked_at
            .update(|sum| sum + 1 + found.unwrap_or(self.all.len()).saturating_sub(from));
        #[cfg(not(debug_assertions))]
        let _ = (from, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_past_the_end_is_an_empty_rest() {
        let bytes = Bytes::new(b"abc");
        assert_eq!(bytes.get(9), None);
        assert_eq!(bytes.rest(9), b"");
        assert_eq!(bytes.slice(2, 1), b"");
        assert_eq!(bytes.find(b'a', 9), None);
        assert_eq!(bytes.find_pair(b'a', b'b', 9, 12), None);
        assert_eq!(bytes.skip(3, |byte| byte == b'x'), 3);
    }

    #[test]
    fn a_pair_is_found_whole_before_the_end_that_is_given() {
        let bytes = Bytes::new(b"**/ */");
        assert_eq!(bytes.find_pair(b'*', b'/', 0, 6), Some(1));
        assert_eq!(bytes.find_pair(b'*', b'/', 0, 2), None);
        assert_eq!(bytes.find_pair(b'*', b'/', 2, 99), Some(4));
    }
}
