//! What words mean to SQL servers, and which patterns of kinds injections have: the two tables of libinjection.
//!
//! Both are facts, not code, and are read from `data/` once, when first asked for. Words are looked up by hash, with a
//! glance at their ends and length before that: most words of plain text are told from the list by it.

use std::sync::LazyLock;

use super::token::{Kind, Token};

static TABLES: LazyLock<Tables> = LazyLock::new(Tables::read);

/// The kind of `word`, in any case, if it means something to a server.
#[inline]
pub(super) fn kind_of(word: &[u8]) -> Option<Kind> {
    if !TABLES.words.has(word) {
        return None;
    }
    TABLES.find(&Key::of(word)?).map(|entry| entry.kind)
}

/// What two tokens are together, if that is something: `UNION` and `ALL` are `UNION ALL`.
pub(super) fn phrase_of(first: &[u8], second: &[u8]) -> Option<(Kind, &'static [u8])> {
    if !TABLES.phrase_starts.has(first) {
        return None;
    }
    let entry = TABLES.find(&Key::of_phrase(first, second)?)?;
    Some((entry.kind, entry.word))
}

/// Whether `pattern`, of at most five letters of kinds, is that of an injection.
pub(super) fn is_fingerprint(pattern: &[u8]) -> bool {
    TABLES.fingerprints.binary_search(&packed(pattern)).is_ok()
}

struct Tables {
    entries: Vec<Entry>,
    /// Indices into `entries`, open addressing; `EMPTY` where none is.
    slots: Vec<u16>,
    words: Looks,
    phrase_starts: Looks,
    /// Packed patterns in order.
    fingerprints: Vec<u64>,
}

struct Entry {
    key: Key,
    word: &'static [u8],
    kind: Kind,
}

const EMPTY: u16 = u16::MAX;
/// Four times the number of words: a lookup seldom sees two entries.
const SLOTS: usize = 4096;

impl Tables {
    fn read() -> Self {
        let mut tables = Self {
            entries: Vec::new(),
            slots: vec![EMPTY; SLOTS],
            words: Looks::NONE,
            phrase_starts: Looks::NONE,
            fingerprints: lines(include_str!("../../../data/sql_fingerprints.txt"))
                .flat_map(str::split_ascii_whitespace)
                .map(|pattern| packed(pattern.as_bytes()))
                .collect(),
        };
        tables.fingerprints.sort_unstable();
        for line in lines(include_str!("../../../data/sql_words.txt")) {
            tables.add(line);
        }
        tables
    }

    /// Takes in a line such as `U UNION ALL`. A line that is not one is left out; a test counts what was taken.
    fn add(&mut self, line: &'static str) {
        let Some((letter, word)) = line.split_once(' ') else {
            return;
        };
        let word = word.as_bytes();
        let kind = letter.bytes().next().and_then(Kind::of_word);
        let (Some(kind), Some(key), Ok(index)) = (kind, Key::of(word), u16::try_from(self.entries.len())) else {
            return;
        };
        self.words.add(word);
        for (at, _) in word.iter().enumerate().filter(|(_, byte)| **byte == b' ') {
            self.phrase_starts.add(word.get(..at).unwrap_or_default());
        }
        let mut slot = key.slot();
        while self.slots.get(slot).is_some_and(|taken| *taken != EMPTY) {
            slot = (slot + 1) % SLOTS;
        }
        if let Some(free) = self.slots.get_mut(slot) {
            *free = index;
        }
        self.entries.push(Entry { key, word, kind });
    }

    fn find(&self, key: &Key) -> Option<&Entry> {
        let mut slot = key.slot();
        loop {
            // An empty slot is no index of an entry: the search ends there.
            let entry = self.entries.get(usize::from(*self.slots.get(slot)?))?;
            if entry.key == *key {
                return Some(entry);
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

fn lines(file: &'static str) -> impl Iterator<Item = &'static str> {
    file.lines().filter(|line| !line.starts_with('#'))
}

/// A word in upper case, padded, with its length in the last byte: two are equal if and only if the words are.
#[derive(PartialEq, Eq)]
struct Key([u8; Token::MAX_TEXT + 1]);

impl Key {
    #[inline]
    fn of(word: &[u8]) -> Option<Self> {
        let mut key = [0; Token::MAX_TEXT + 1];
        key.get_mut(..word.len())?.copy_from_slice(word);
        Self::finish(key, word.len())
    }

    fn of_phrase(first: &[u8], second: &[u8]) -> Option<Self> {
        let mut key = [0; Token::MAX_TEXT + 1];
        let length = first.len() + 1 + second.len();
        key.get_mut(..first.len())?.copy_from_slice(first);
        *key.get_mut(first.len())? = b' ';
        key.get_mut(first.len() + 1..length)?.copy_from_slice(second);
        Self::finish(key, length)
    }

    #[inline]
    fn finish(mut key: [u8; Token::MAX_TEXT + 1], length: usize) -> Option<Self> {
        if length > Token::MAX_TEXT {
            return None;
        }
        key.make_ascii_uppercase();
        key[Token::MAX_TEXT] = u8::try_from(length).ok()?;
        Some(Self(key))
    }

    #[inline]
    fn slot(&self) -> usize {
        let (parts, _) = self.0.as_chunks::<8>();
        let mixed = parts.iter().fold(0_u64, |sum, part| {
            (sum.rotate_left(23) ^ u64::from_le_bytes(*part)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        usize::try_from(mixed >> 52).unwrap_or_default() % SLOTS
    }
}

/// What words look like at a glance, by first and last byte and length: a set of bits, one for each look. No word is
/// missing from it, and one in ten others is in it.
struct Looks([u64; 1 << (Self::BITS - 6)]);

impl Looks {
    const BITS: u32 = 13;

    const NONE: Self = Self([0; 1 << (Self::BITS - 6)]);

    fn add(&mut self, word: &[u8]) {
        if let Some((part, bit)) = Self::place(word)
            && let Some(bits) = self.0.get_mut(part)
        {
            *bits |= bit;
        }
    }

    #[inline]
    fn has(&self, word: &[u8]) -> bool {
        Self::place(word).is_some_and(|(part, bit)| self.0.get(part).is_some_and(|bits| bits & bit != 0))
    }

    /// Where the bit of `word` is; the same in either case.
    #[inline]
    fn place(word: &[u8]) -> Option<(usize, u64)> {
        let (first, last) = (word.first()?, word.last()?);
        let length = u8::try_from(word.len()).ok()?;
        let look = u32::from_le_bytes([first | 0x20, last | 0x20, length, 0]);
        let hash = look.wrapping_mul(0x9e37_79b1) >> (u32::BITS - Self::BITS);
        Some((usize::try_from(hash >> 6).ok()?, 1 << (hash & 63)))
    }
}

/// A pattern in upper case as a number.
fn packed(pattern: &[u8]) -> u64 {
    pattern
        .iter()
        .fold(0, |sum, letter| (sum << 8) | u64::from(letter.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_is_taken_in() {
        assert_eq!(TABLES.entries.len(), 985);
        assert_eq!(TABLES.fingerprints.len(), 8367);
        for entry in &TABLES.entries {
            assert_eq!(
                kind_of(entry.word),
                Some(entry.kind),
                "{:?}",
                entry.word.escape_ascii().to_string()
            );
            assert_eq!(kind_of(&entry.word.to_ascii_lowercase()), Some(entry.kind));
        }
    }

    #[test]
    fn a_word_with_something_behind_it_is_another_word() {
        assert_eq!(kind_of(b"select"), Some(Kind::Expression));
        for other in [
            b"selec".as_slice(),
            b"selects",
            b"select\0",
            b"select ",
            b"",
            b"\0",
            &[b'S'; 40],
        ] {
            assert_eq!(kind_of(other), None, "{other:?}");
        }
    }

    #[test]
    fn two_words_are_one_phrase_if_a_server_knows_it() {
        assert_eq!(
            phrase_of(b"union", b"All"),
            Some((Kind::Union, b"UNION ALL".as_slice()))
        );
        assert_eq!(phrase_of(b"union", b"all "), None);
        assert_eq!(phrase_of(b"hello", b"world"), None);
        assert_eq!(phrase_of(&[b'a'; 31], &[b'b'; 31]), None);
    }

    #[test]
    fn patterns_are_looked_up_in_either_case() {
        assert!(is_fingerprint(b"1c") && is_fingerprint(b"1C") && is_fingerprint(b"s&1c") && is_fingerprint(b"X"));
        assert!(!is_fingerprint(b"") && !is_fingerprint(b"n") && !is_fingerprint(b"s&1cc"));
    }
}
