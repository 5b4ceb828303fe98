//! The dynamic table of the decoder, stored compactly: one buffer of strings and one list of entries.
//!
//! Invariant: the sizes of RFC 7541 section 4.1 (32 bytes for each entry) never add up to more than the
//! limit, so there are at most 128 entries and 4 KiB of strings. An empty table owns nothing.

use std::collections::VecDeque;

use crate::http2::field::Class;

/// What RFC 7541 section 4.1 adds to each entry.
const OVERHEAD: usize = 32;

/// The size that a peer may use: the default, never changed by our SETTINGS.
pub(super) const MAX_SIZE: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u16,
    name: u16,
    value: u16,
    class: Class,
}

impl Entry {
    fn size(self) -> usize {
        usize::from(self.name) + usize::from(self.value) + OVERHEAD
    }
}

/// Newest first, as indices count.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    strings: Vec<u8>,
    size: u16,
    limit: u16,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            strings: Vec::new(),
            size: 0,
            limit: MAX_SIZE as u16,
        }
    }
}

impl Table {
    /// Name, value and what was found out about them; `index` counts from 0.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8], Class)> {
        let entry = self.entries.get(index)?;
        let both = self.strings.get(usize::from(entry.start)..)?;
        let (name, rest) = both.split_at_checked(usize::from(entry.name))?;
        Some((name, rest.get(..usize::from(entry.value))?, entry.class))
    }

    /// Puts an entry in front. One that is larger than the table empties it (RFC 7541 section 4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], class: Class) {
        let size = name.len() + value.len() + OVERHEAD;
        if size > usize::from(self.limit) {
            self.clear();
            return;
        }
        self.evict(usize::from(self.limit) - size);
        self.compact();
        let fresh = name.len() + value.len();
        if self.strings.capacity() - self.strings.len() < fresh {
            // Grown by half, not doubled: tables of idle connections are what there is most of.
            self.strings.reserve_exact(fresh.max(self.strings.len() / 2).max(64));
        }
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact((self.entries.len() / 2).max(4));
        }
        // Lengths are below the limit and the start is kept below two tables by `compact`: all fit in 16 bits.
        self.entries.push_front(Entry {
            start: self.strings.len() as u16,
            name: name.len() as u16,
            value: value.len() as u16,
            class,
        });
        self.strings.extend_from_slice(name);
        self.strings.extend_from_slice(value);
        self.size += size as u16;
    }

    /// Changes the limit, which is at most [`MAX_SIZE`], and drops what no longer fits.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_SIZE) as u16;
        self.evict(limit);
        if self.entries.is_empty() {
            self.clear();
        }
    }

    /// Bytes of heap.
    pub(super) fn heap(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.strings.capacity()
    }

    fn evict(&mut self, room: usize) {
        while usize::from(self.size) > room
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size() as u16;
        }
    }

    /// Moves the strings to the front when more of them are dead than alive.
    fn compact(&mut self) {
        let dead = self
            .entries
            .back()
            .map_or(self.strings.len(), |oldest| usize::from(oldest.start));
        if dead > self.strings.len() / 2 {
            self.strings.drain(..dead);
            for entry in &mut self.entries {
                entry.start -= dead as u16;
            }
        }
    }

    fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.strings = Vec::new();
        self.size = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_go_when_the_table_is_full() {
        let mut table = Table::default();
        for round in 0..1000_u32 {
            let value = round.to_string();
            table.insert(b"name", value.as_bytes(), Class::Plain);
            assert_eq!(
                table.get(0).map(|(name, value, _)| (name, value)),
                Some((&b"name"[..], value.as_bytes()))
            );
            assert!(usize::from(table.size) <= MAX_SIZE && table.strings.len() <= 2 * MAX_SIZE);
        }
        // 32 + 4 + 3 bytes each.
        assert_eq!(table.entries.len(), MAX_SIZE / 39);
        assert_eq!(table.get(104).map(|(_, value, _)| value), Some(&b"895"[..]));
        assert!(table.get(105).is_none());
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut table = Table::default();
        table.insert(b"a", b"b", Class::Plain);
        table.insert(b"a", &[b'x'; MAX_SIZE], Class::Plain);
        assert!(table.get(0).is_none());
        assert_eq!(table.heap(), 0);
        table.insert(b"a", &[b'x'; MAX_SIZE - 33], Class::Plain);
        assert_eq!(table.get(0).map(|(_, value, _)| value.len()), Some(MAX_SIZE - 33));
    }

    #[test]
    fn a_smaller_limit_evicts_and_zero_gives_the_memory_back() {
        let mut table = Table::default();
        table.insert(b"a", b"1", Class::Plain);
        table.insert(b"b", b"2", Class::Plain);
        table.set_limit(40);
        assert_eq!(table.get(0).map(|(name, ..)| name), Some(&b"b"[..]));
        assert!(table.get(1).is_none());
        table.set_limit(0);
        assert_eq!((table.heap(), table.get(0).is_none()), (0, true));
        table.insert(b"c", b"3", Class::Plain);
        assert!(table.get(0).is_none());
    }
}
