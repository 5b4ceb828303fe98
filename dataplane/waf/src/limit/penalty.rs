//! The penalty box: clients that were refused too often, and until when they are refused at once.
//!
//! Strikes are counted in windows: the first begins one, and as many as are allowed within its length put the client into
//! the box. Strikes in the box count for nothing, so a client leaves it when its time is over, whatever it sent.
//!
//! Invariant: memory is fixed when the table is made. When eight clients share a set and a ninth is struck, the one is
//! forgotten whose window began, or whose time in the box ends, first; [`PenaltyTable::evictions`] counts those that were
//! in the box still. Reading takes no lock; a strike takes one, and follows a refusal.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use parking_lot::Mutex;

/// How many entries share a set.
const WAYS: usize = 8;

/// Marks a state that is the end of a time in the box, in milliseconds.
const BOXED: u64 = 1 << 63;

/// How many bits of a state count strikes; those above are the window's beginning in milliseconds.
const COUNT_BITS: u32 = 20;

/// Most strikes that can be counted.
pub const MAX_STRIKES: u32 = (1 << COUNT_BITS) - 1;

/// What puts a client into the box, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// So many strikes; at most [`MAX_STRIKES`].
    pub strikes: u32,
    /// Within so many milliseconds of the first.
    pub per_ms: u64,
    /// Mean so many milliseconds.
    pub for_ms: u64,
}

/// See the module.
pub struct PenaltyTable {
    sets: Box<[[Entry; WAYS]]>,
    writing: Mutex<()>,
    evictions: AtomicU64,
}

/// One client of one policy. Fingerprint 0 is an entry never used.
#[derive(Default)]
struct Entry {
    fingerprint: AtomicU64,
    state: AtomicU64,
}

impl PenaltyTable {
    /// 65,536 entries take 1 MiB.
    pub const DEFAULT_ENTRIES: usize = 65_536;

    /// A table of at least `entries` entries (rounded up to a power of two, 8 at least, 2^28 at most), 16 bytes each.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let sets = entries.clamp(WAYS, 1 << 28).next_power_of_two() / WAYS;
        Self {
            sets: (0..sets).map(|_| <[Entry; WAYS]>::default()).collect(),
            writing: Mutex::new(()),
            evictions: AtomicU64::new(0),
        }
    }

    /// For how many more milliseconds the client known as `key` is in the box; none if it is not. `key` is a hash keyed
    /// by a secret, as [`RateTable::key`](super::RateTable::key) makes them.
    #[must_use]
    pub fn remaining(&self, key: u64, now_ms: u64) -> Option<u64> {
        let key = key.max(1);
        let set = self.set(key)?;
        let entry = set.iter().find(|entry| entry.fingerprint.load(Acquire) == key)?;
        let state = entry.state.load(Acquire);
        // Who takes over an entry writes its name before its state, so a state of another is seen with its name.
        if state & BOXED == 0 || entry.fingerprint.load(Acquire) != key {
            return None;
        }
        (state & !BOXED).checked_sub(now_ms).filter(|left| *left > 0)
    }

    /// Strikes the client known as `key`; whether that put it into the box.
    pub fn strike(&self, key: u64, now_ms: u64, terms: Terms) -> bool {
        let key = key.max(1);
        let Some(set) = self.set(key) else { return false };
        let _writing = self.writing.lock();
        let Some(entry) = self.entry(set, key, now_ms) else {
            return false;
        };
        let state = entry.state.load(Relaxed);
        if state & BOXED != 0 && state & !BOXED > now_ms {
            return false;
        }
        let now = now_ms & (!BOXED >> COUNT_BITS);
        let (began, count) = (state >> COUNT_BITS, state & u64::from(MAX_STRIKES));
        let fresh = state & BOXED != 0 || count == 0 || now.saturating_sub(began) >= terms.per_ms;
        let (began, count) = if fresh { (now, 1) } else { (began, count + 1) };
        let boxed = count >= u64::from(terms.strikes.min(MAX_STRIKES));
        let state = if boxed {
            BOXED | now_ms.saturating_add(terms.for_ms).min(!BOXED)
        } else {
            began << COUNT_BITS | count
        };
        entry.state.store(state, Release);
        boxed
    }

    /// How many clients were forgotten while they were in the box. If it grows the table is being flooded from very many
    /// addresses.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    fn set(&self, key: u64) -> Option<&[Entry; WAYS]> {
        // Chosen by the low bits; the number of sets is a power of two.
        self.sets.get(key as usize & (self.sets.len() - 1))
    }

    /// The entry of `key`, which takes over the oldest of its set if it has none.
    fn entry<'t>(&self, set: &'t [Entry; WAYS], key: u64, now_ms: u64) -> Option<&'t Entry> {
        let owned = |name| move |entry: &&Entry| entry.fingerprint.load(Relaxed) == name;
        if let Some(entry) = set.iter().find(owned(key)) {
            return Some(entry);
        }
        let entry = match set.iter().find(owned(0)) {
            Some(entry) => entry,
            None => set.iter().min_by_key(|entry| moment(entry.state.load(Relaxed)))?,
        };
        let state = entry.state.load(Relaxed);
        if state & BOXED != 0 && state & !BOXED > now_ms {
            self.evictions.fetch_add(1, Relaxed);
        }
        entry.state.store(0, Release);
        entry.fingerprint.store(key, Release);
        Some(entry)
    }
}

/// When a window began or a time in the box ends, in milliseconds.
const fn moment(state: u64) -> u64 {
    if state & BOXED == 0 {
        state >> COUNT_BITS
    } else {
        state & !BOXED
    }
}

impl std::fmt::Debug for PenaltyTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PenaltyTable")
            .field("entries", &(self.sets.len() * WAYS))
            .field("evictions", &self.evictions())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use super::*;

    const TERMS: Terms = Terms {
        strikes: 3,
        per_ms: 1000,
        for_ms: 5000,
    };

    #[test]
    fn as_many_strikes_as_allowed_within_the_time_put_a_client_into_the_box_until_it_is_over() {
        let table = PenaltyTable::new(64);
        assert!(!table.strike(7, 100, TERMS));
        assert!(!table.strike(7, 200, TERMS));
        assert_eq!(table.remaining(7, 1099), None);
        assert!(table.strike(7, 1099, TERMS));
        assert_eq!(table.remaining(7, 1099), Some(5000));
        assert_eq!(table.remaining(8, 1099), None);
        assert_eq!(table.remaining(7, 6098), Some(1));
        assert_eq!(table.remaining(7, 6099), None);
    }

    #[test]
    fn strikes_that_are_too_far_apart_put_nobody_into_the_box() {
        let table = PenaltyTable::new(64);
        for round in 0..100 {
            assert!(!table.strike(7, round * 500, TERMS), "{round}");
        }
        assert_eq!(table.remaining(7, 0), None);
    }

    #[test]
    fn strikes_in_the_box_neither_prolong_it_nor_count_after_it() {
        let table = PenaltyTable::new(64);
        for _ in 0..50 {
            table.strike(7, 0, TERMS);
        }
        assert_eq!(table.remaining(7, 4999), Some(1));
        assert!(!table.strike(7, 4999, TERMS));
        assert!(!table.strike(7, 5000, TERMS));
        assert!(!table.strike(7, 5001, TERMS));
        assert!(table.strike(7, 5002, TERMS));
    }

    #[test]
    fn one_strike_is_enough_where_one_is_allowed() {
        let table = PenaltyTable::new(64);
        assert!(table.strike(7, 0, Terms { strikes: 1, ..TERMS }));
        assert_eq!(table.remaining(7, 0), Some(5000));
    }

    #[test]
    fn a_full_set_forgets_a_client_that_was_struck_before_one_in_the_box() {
        let table = PenaltyTable::new(WAYS);
        let at_once = Terms { strikes: 1, ..TERMS };
        for key in 1..WAYS as u64 {
            assert!(table.strike(key, key, at_once));
        }
        assert!(!table.strike(100, 50, TERMS));
        assert!(!table.strike(101, 60, TERMS), "takes the place of 100");
        assert_eq!(table.evictions(), 0);
        assert!((1..WAYS as u64).all(|key| table.remaining(key, 60).is_some()));
        assert!(table.strike(102, 61, at_once), "takes the place of 101");
        assert!(table.strike(103, 62, at_once), "nobody is left but who is in the box");
        assert_eq!((table.evictions(), table.remaining(1, 62)), (1, None));
    }

    #[test]
    fn extreme_arguments_do_not_overflow() {
        let table = PenaltyTable::new(0);
        for now in [0, u64::MAX] {
            for number in [0, 1, u32::MAX] {
                let terms = Terms {
                    strikes: number,
                    per_ms: u64::MAX,
                    for_ms: u64::MAX,
                };
                table.strike(0, now, terms);
                assert!(table.remaining(1, now) <= Some(u64::MAX));
            }
        }
    }

    #[test]
    fn a_client_that_was_never_struck_is_never_seen_in_the_box_while_others_take_its_places() {
        let (table, done) = (PenaltyTable::new(WAYS), AtomicBool::new(false));
        let at_once = Terms { strikes: 1, ..TERMS };
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..200_000u64 {
                    // Odd clients go into the box; even ones are struck once, of two.
                    let terms = if round % 2 == 1 {
                        at_once
                    } else {
                        Terms { strikes: 2, ..TERMS }
                    };
                    table.strike(round % 24 + 2, round * 10_000, terms);
                }
                done.store(true, Release);
            });
            while !done.load(Acquire) {
                for key in (2..26).step_by(2) {
                    assert_eq!(table.remaining(key, 0), None);
                }
            }
        });
    }
}
