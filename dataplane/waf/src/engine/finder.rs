//! An automaton that finds fragments: all of them in one pass, a step for each byte.
//!
//! It is made for short texts in either case: a table of two bytes for each state and each byte that occurs in fragments,
//! letters once. States at whose end something is found come last, so that one comparison tells them.
//!
//! Invariant: what is in a text is found. More may be: bytes that are not ASCII are taken for one another, and so are the
//! rarest of many others.

use std::collections::HashMap;

use super::hits::Hits;

/// Most states: their numbers have 16 bits.
pub(super) const STATES: usize = 1 << 16;

/// Columns of the table. Bytes beyond the most common of these share the last one.
const COLUMNS: usize = 64;

/// Which fragments, by the bits they stand for, are in a text.
#[derive(Debug)]
pub(super) struct Finder {
    /// The column of each byte; the first is of bytes that no fragment has.
    columns: [u8; 256],
    next: Vec<[u16; COLUMNS]>,
    /// The first state at whose end something is found.
    found: u16,
    /// What is found at the end of each of those, as an index.
    ends: Vec<u16>,
    hits: Vec<Hits>,
}

impl Finder {
    /// Of fragments in lower case and their bits; none if they have too many states.
    pub(super) fn new<'f>(fragments: impl Iterator<Item = (&'f [u8], u16)> + Clone) -> Option<Self> {
        let columns = columns(fragments.clone().flat_map(|(text, _)| text));
        let mut trie = Trie {
            next: vec![[0; COLUMNS]],
            hits: vec![Hits::default()],
        };
        for (text, bit) in fragments {
            trie.insert(text.iter().map(|byte| column(&columns, *byte)), bit)?;
        }
        trie.complete();
        Some(trie.finish(columns))
    }

    /// Adds the bits of what is in a text.
    pub(super) fn find(&self, text: &[u8], hits: &mut Hits) {
        let (next, found) = (self.next.as_slice(), self.found);
        let mut state = 0_u16;
        for byte in text {
            let row = next.get(usize::from(state));
            state = row
                .and_then(|row| row.get(column(&self.columns, *byte)))
                .copied()
                .unwrap_or(0);
            if state >= found {
                self.note(state, hits);
            }
        }
    }

    #[cold]
    fn note(&self, state: u16, hits: &mut Hits) {
        let end = self.ends.get(usize::from(state - self.found));
        if let Some(found) = end.and_then(|end| self.hits.get(usize::from(*end))) {
            hits.union(found);
        }
    }
}

/// A column for each byte that occurs, letters in either case and what is not ASCII once.
fn columns<'b>(bytes: impl Iterator<Item = &'b u8>) -> [u8; 256] {
    let stands_for = |byte: u8| {
        if byte.is_ascii() {
            byte.to_ascii_lowercase()
        } else {
            128
        }
    };
    let mut count = [0_u32; 129];
    for byte in bytes {
        if let Some(count) = count.get_mut(usize::from(stands_for(*byte))) {
            *count += 1;
        }
    }
    let mut order: Vec<usize> = (0..count.len()).collect();
    order.sort_by_key(|kind| std::cmp::Reverse(count.get(*kind).copied()));
    let mut of_kind = [0_u8; 129];
    for (column, kind) in (1..).zip(order) {
        if let Some(place) = of_kind.get_mut(kind).filter(|_| count.get(kind) != Some(&0)) {
            *place = column.min(COLUMNS as u8 - 1);
        }
    }
    let mut columns = [0; 256];
    for (byte, column) in (0..=255).zip(&mut columns) {
        *column = of_kind.get(usize::from(stands_for(byte))).copied().unwrap_or(0);
    }
    columns
}

fn column(columns: &[u8; 256], byte: u8) -> usize {
    let column = columns.get(usize::from(byte)).copied().unwrap_or(0);
    usize::from(column) % COLUMNS
}

/// The automaton in the making: the beginnings of all fragments.
struct Trie {
    next: Vec<[u16; COLUMNS]>,
    hits: Vec<Hits>,
}

impl Trie {
    fn insert(&mut self, columns: impl Iterator<Item = usize>, bit: u16) -> Option<()> {
        let mut state = 0_u16;
        for column in columns {
            let new = self.hits.len();
            let place = self.next.get_mut(usize::from(state))?.get_mut(column)?;
            if *place == 0 {
                *place = u16::try_from(new).ok()?;
                state = *place;
                self.next.push([0; COLUMNS]);
                self.hits.push(Hits::default());
            } else {
                state = *place;
            }
        }
        self.hits.get_mut(usize::from(state))?.insert(bit);
        Some(())
    }

    /// Gives every state a next one for every byte: that of the longest end of what was read that begins a fragment.
    fn complete(&mut self) {
        let mut fails = vec![0_u16; self.hits.len()];
        let mut order: Vec<u16> = self.row(0).into_iter().filter(|state| *state != 0).collect();
        let mut at = 0;
        while let Some(state) = order.get(at).copied() {
            at += 1;
            let fail = fails.get(usize::from(state)).copied().unwrap_or(0);
            let shorter = self.hits.get(usize::from(fail)).copied().unwrap_or_default();
            if let Some(hits) = self.hits.get_mut(usize::from(state)) {
                hits.union(&shorter);
            }
            let row_of_fail = self.row(fail);
            let Some(row) = self.next.get_mut(usize::from(state)) else {
                continue;
            };
            for (place, of_fail) in row.iter_mut().zip(row_of_fail) {
                if *place == 0 {
                    *place = of_fail;
                    continue;
                }
                order.push(*place);
                if let Some(fail) = fails.get_mut(usize::from(*place)) {
                    *fail = of_fail;
                }
            }
        }
    }

    fn row(&self, state: u16) -> [u16; COLUMNS] {
        self.next.get(usize::from(state)).copied().unwrap_or([0; COLUMNS])
    }

    /// States without a hit first.
    fn finish(self, columns: [u8; 256]) -> Finder {
        let is_hit = |state: &u16| {
            self.hits
                .get(usize::from(*state))
                .is_some_and(|hits| *hits != Hits::default())
        };
        let all = || (0..=u16::MAX).take(self.hits.len());
        let order: Vec<u16> = all()
            .filter(|state| !is_hit(state))
            .chain(all().filter(is_hit))
            .collect();
        let mut number = vec![0_u16; order.len()];
        for (new, old) in (0..=u16::MAX).zip(&order) {
            if let Some(place) = number.get_mut(usize::from(*old)) {
                *place = new;
            }
        }
        let renamed = |state: u16| number.get(usize::from(state)).copied().unwrap_or(0);
        let next = order.iter().map(|state| self.row(*state).map(renamed)).collect();
        let (mut hits, mut ends) = (Vec::new(), Vec::new());
        let mut known: HashMap<Hits, u16> = HashMap::new();
        for state in order.iter().filter(|state| is_hit(state)) {
            let found = self.hits.get(usize::from(*state)).copied().unwrap_or_default();
            ends.push(*known.entry(found).or_insert_with(|| {
                hits.push(found);
                hits.len() as u16 - 1
            }));
        }
        Finder {
            columns,
            next,
            found: (order.len() - ends.len()) as u16,
            ends,
            hits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(fragments: &[(&str, u16)]) -> Finder {
        Finder::new(fragments.iter().map(|(text, bit)| (text.as_bytes(), *bit))).unwrap()
    }

    fn found(finder: &Finder, text: &[u8]) -> Vec<u16> {
        let mut hits = Hits::default();
        finder.find(text, &mut hits);
        (0..512).filter(|bit| hits.has(*bit)).collect()
    }

    #[test]
    fn all_that_is_in_a_text_is_found_in_either_case_and_nothing_else() {
        let finder = finder(&[
            ("she", 0),
            ("he", 1),
            ("hers", 300),
            ("his", 3),
            ("\u{e9}", 4),
            ("he", 511),
        ]);
        assert_eq!(found(&finder, b"uSHErs"), [0, 1, 300, 511]);
        assert_eq!(found(&finder, b"shi"), [0; 0]);
        assert_eq!(found(&finder, b"hhis"), [3]);
        assert_eq!(found(&finder, "x\u{e9}".as_bytes()), [4]);
        assert_eq!(found(&finder, b"shxe"), [0; 0]);
        assert_eq!(found(&finder, b""), [0; 0]);
    }

    #[test]
    fn it_finds_what_a_plain_search_finds() {
        let words: Vec<String> = (0_u32..300)
            .map(|at| {
                let word = format!("{:b}", at.wrapping_mul(2_654_435_761) >> 20);
                word.chars().take(1 + at as usize % 5).collect()
            })
            .collect();
        let finder = Finder::new(words.iter().zip(0_u16..).map(|(word, bit)| (word.as_bytes(), bit))).unwrap();
        for seed in 0_u32..200 {
            let text = format!("{:b}x{:b}", seed.wrapping_mul(40_503), seed);
            let expected: Vec<u16> = words
                .iter()
                .zip(0_u16..)
                .filter(|(word, _)| text.contains(word.as_str()))
                .map(|(_, bit)| bit)
                .collect();
            assert_eq!(found(&finder, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn more_fragments_than_there_are_states_for_are_refused() {
        let texts: Vec<String> = (0..70_000).map(|at| format!("{at:05}x")).collect();
        assert!(Finder::new(texts.iter().map(|text| (text.as_bytes(), 0))).is_none());
    }
}
