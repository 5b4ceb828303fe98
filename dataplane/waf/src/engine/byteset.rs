//! Sets of bytes, and what a text must have for a pattern to match in it.
//!
//! A pattern that matches needs certain bytes: `<script` needs a `<` and an `s` or `S`, and so on. [`Needs`] holds a few
//! such sets; a text that has no byte of one of them cannot match. Most values of most requests are letters and digits, and
//! most patterns need more than that, so that one look at which bytes a value has rules most patterns out.
//!
//! Invariant: never rules out a pattern that matches.

use regex_syntax::hir::{Class, Hir, HirKind};

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    /// The bytes of a text.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut this = Self::default();
        if text.len() < 256 {
            for byte in text {
                this.insert(*byte);
            }
            return this;
        }
        // In a long text each step of the loop above would wait for the one before; stores into a table do not.
        let mut seen = [false; 256];
        for byte in text {
            if let Some(slot) = seen.get_mut(usize::from(*byte)) {
                *slot = true;
            }
        }
        (0..=255_u8)
            .zip(seen)
            .filter(|(_, seen)| *seen)
            .for_each(|(byte, _)| this.insert(byte));
        this
    }

    pub(super) fn insert(&mut self, byte: u8) {
        if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }

    pub(super) fn has(&self, byte: u8) -> bool {
        self.0
            .get(usize::from(byte >> 6))
            .is_some_and(|word| word >> (byte & 63) & 1 == 1)
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        let [a, b, c, d] = self.0;
        let [e, f, g, h] = other.0;
        (a & e) | (b & f) | (c & g) | (d & h) != 0
    }

    /// Whether it has a byte that `allowed` has not.
    pub(super) fn leaves(&self, allowed: &Self) -> bool {
        let [a, b, c, d] = self.0;
        let [e, f, g, h] = allowed.0;
        (a & !e) | (b & !f) | (c & !g) | (d & !h) != 0
    }

    pub(super) fn union(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// How often a byte of the set stands in ordinary text, roughly.
    fn weight(&self) -> u32 {
        let mut sum = 0;
        for (high, word) in (0_u8..).zip(self.0) {
            let mut rest = word;
            while rest != 0 {
                sum += frequency(high << 6 | rest.trailing_zeros() as u8);
                rest &= rest - 1;
            }
        }
        sum
    }
}

/// Most sets that are kept for one pattern.
const SETS: usize = 5;

/// Sets of which a text must have a byte each.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs(Box<[ByteSet]>);

impl Needs {
    /// Of a pattern in the form of [`super::operator::pattern`].
    pub(super) fn of_pattern(hir: &Hir) -> Self {
        Self(kept(sets(hir)).into_boxed_slice())
    }

    /// Of phrases, whatever their case: a text has one of them whole.
    pub(super) fn of_phrases<'p>(phrases: impl Iterator<Item = &'p [u8]>) -> Self {
        // The two rarest bytes of each; thousands of phrases are common.
        let of_phrase = |phrase: &[u8]| {
            let key = |byte: &u8| frequency(byte.to_ascii_lowercase());
            let first = phrase.iter().copied().min_by_key(key);
            let other = |byte: &u8| first.is_none_or(|first| !first.eq_ignore_ascii_case(byte));
            let second = phrase.iter().copied().filter(other).min_by_key(key);
            let any_case = |byte: u8| {
                let mut set = ByteSet::default();
                set.insert(byte.to_ascii_lowercase());
                set.insert(byte.to_ascii_uppercase());
                set
            };
            first.into_iter().chain(second).map(any_case).collect()
        };
        Self(any_of(phrases.map(of_phrase)).into_boxed_slice())
    }

    /// Whether a text with these bytes may match.
    pub(super) fn may_match(&self, bytes: &ByteSet) -> bool {
        self.0.iter().all(|set| set.meets(bytes))
    }
}

/// The sets that a match needs.
fn sets(hir: &Hir) -> Vec<ByteSet> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Vec::new(),
        HirKind::Literal(literal) => literal
            .0
            .iter()
            .map(|byte| {
                let mut set = ByteSet::default();
                set.insert(*byte);
                set
            })
            .collect(),
        HirKind::Class(class) => {
            let mut set = ByteSet::default();
            match class {
                Class::Bytes(class) => {
                    for range in class.ranges() {
                        (range.start()..=range.end()).for_each(|byte| set.insert(byte));
                    }
                }
                // Only ASCII ones are exact as bytes.
                Class::Unicode(class) => {
                    for range in class.ranges() {
                        let (Ok(start), Ok(end)) = (u8::try_from(range.start()), u8::try_from(range.end())) else {
                            return Vec::new();
                        };
                        if end > 127 {
                            return Vec::new();
                        }
                        (start..=end).for_each(|byte| set.insert(byte));
                    }
                }
            }
            vec![set]
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => sets(&repetition.sub),
        HirKind::Repetition(_) => Vec::new(),
        HirKind::Capture(capture) => sets(&capture.sub),
        HirKind::Concat(parts) => kept(parts.iter().flat_map(sets).collect()),
        HirKind::Alternation(branches) => any_of(branches.iter().map(sets)),
    }
}

/// What is needed when one of several is there: one set that has the rarest of each, and one with the second rarest.
fn any_of(branches: impl Iterator<Item = Vec<ByteSet>>) -> Vec<ByteSet> {
    let (mut first, mut second) = (ByteSet::default(), Some(ByteSet::default()));
    let mut any = false;
    for branch in branches {
        any = true;
        let branch = kept(branch);
        let Some(rarest) = branch.first() else {
            return Vec::new();
        };
        first.union(rarest);
        second = match (second, branch.get(1)) {
            (Some(mut sum), Some(set)) => {
                sum.union(set);
                Some(sum)
            }
            _ => None,
        };
    }
    if !any {
        return Vec::new();
    }
    std::iter::once(first).chain(second).collect()
}

/// The rarest few, rarest first.
fn kept(mut all: Vec<ByteSet>) -> Vec<ByteSet> {
    all.sort_by_cached_key(ByteSet::weight);
    all.dedup();
    all.truncate(SETS);
    all
}

/// How often a byte stands in ordinary text, roughly and to no scale.
pub(super) const fn frequency(byte: u8) -> u32 {
    match byte {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 40,
        b'a'..=b'z' => 20,
        b' ' => 30,
        b'A'..=b'Z' | b'0'..=b'9' => 10,
        b'.' | b'/' | b'-' | b'_' | b',' | b':' | b'=' => 6,
        0x21..=0x7e => 2,
        _ => 1,
    }
}

/// The frequencies of all bytes together.
pub(super) const fn frequency_of_all() -> u32 {
    let (mut sum, mut byte) = (0, 0);
    while byte < 255 {
        sum += frequency(byte);
        byte += 1;
    }
    sum + frequency(255)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(pattern: &str) -> Needs {
        let hir = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .unicode(false)
            .build()
            .parse(pattern)
            .unwrap();
        Needs::of_pattern(&hir)
    }

    #[test]
    fn a_text_without_a_byte_that_every_match_has_is_ruled_out() {
        let needs = needs(r"(?i)<script|on[a-z]+\s*=");
        assert!(!needs.may_match(&ByteSet::of(b"plain text")));
        assert!(!needs.may_match(&ByteSet::of(b"a=b")));
        assert!(needs.may_match(&ByteSet::of(b"x onload=1")));
        assert!(needs.may_match(&ByteSet::of(b"<SCRIPT")));
    }

    #[test]
    fn what_may_be_left_out_is_not_needed() {
        assert!(needs("a*").may_match(&ByteSet::of(b"")));
        assert!(needs("^$").may_match(&ByteSet::of(b"")));
        assert!(needs("x|").may_match(&ByteSet::of(b"")));
        assert!(!needs("x|y").may_match(&ByteSet::of(b"z")));
    }

    #[test]
    fn phrases_are_needed_whatever_their_case() {
        let needs = Needs::of_phrases([&b"etc/passwd"[..], b"bin/sh"].into_iter());
        assert!(!needs.may_match(&ByteSet::of(b"etc passwd")));
        assert!(needs.may_match(&ByteSet::of(b"BIN/SH")));
    }

    #[test]
    fn sets_of_bytes_meet_where_they_share_one() {
        let set = ByteSet::of(b"\x00\x7f\xff");
        assert!(set.has(0) && set.has(0x7f) && set.has(0xff) && !set.has(1));
        assert!(set.meets(&ByteSet::of(b"\xff")));
        assert!(!set.meets(&ByteSet::of(b"abc")));
        assert_eq!(ByteSet::of(&b"ab\xff".repeat(200)), ByteSet::of(b"ab\xff"));
        assert!(ByteSet::of(b"ab").leaves(&ByteSet::of(b"a")));
        assert!(!ByteSet::of(b"a").leaves(&ByteSet::of(b"ab")));
    }
}
