//! Which keys were seen not long ago: what is asked for once is not worth a write.
//!
//! Two Bloom filters, one that fills and the one before it; 8 bits and 3 probes for each of up to four million keys. A key
//! that was never seen counts as seen about once in thirty times: it costs a write.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::key::Key;

/// The most keys of one generation.
const MOST_KEYS: u64 = 4 << 20;

const PROBES: u32 = 3;

/// The filter.
#[derive(Debug)]
pub(super) struct Ghost {
    words: [Box<[AtomicU64]>; 2],
    /// Which of the two fills now, and how many keys it has.
    current: Mutex<(usize, u64)>,
    keys: u64,
}

impl Ghost {
    /// For about so many keys in each generation.
    pub(super) fn new(keys: u64) -> Self {
        let keys = keys.clamp(1024, MOST_KEYS).next_power_of_two();
        let words = || (0..keys / 8).map(|_| AtomicU64::new(0)).collect();
        Self {
            words: [words(), words()],
            current: Mutex::new((0, 0)),
            keys,
        }
    }

    /// Bytes of both filters.
    pub(super) const fn bytes(&self) -> u64 {
        self.keys * 2
    }

    /// Notes a key. Returns whether it was noted before.
    pub(super) fn seen(&self, key: Key) -> bool {
        let (fills, full) = {
            let mut current = self.current.lock();
            current.1 += 1;
            if current.1 > self.keys {
                *current = (1 - current.0, 1);
                (current.0, true)
            } else {
                (current.0, false)
            }
        };
        if full {
            self.words[fills]
                .iter()
                .for_each(|word| word.store(0, Ordering::Relaxed));
        }
        let mut seen = [true; 2];
        for probe in 0..PROBES {
            let bit = (key.0 >> (probe * 40)) as u64 % (self.keys * 8);
            let (word, mask) = ((bit / 64) as usize, 1u64 << (bit % 64));
            seen[fills] &= self.words[fills][word].fetch_or(mask, Ordering::Relaxed) & mask != 0;
            seen[1 - fills] &= self.words[1 - fills][word].load(Ordering::Relaxed) & mask != 0;
        }
        seen[0] || seen[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        crate::key::Keyer::new(1).start(n).finish()
    }

    #[test]
    fn a_key_is_seen_from_the_second_time_on() {
        let ghost = Ghost::new(1024);
        assert!(!ghost.seen(key(1)));
        assert!(ghost.seen(key(1)));
        assert!(!ghost.seen(key(2)));
    }

    #[test]
    fn what_was_not_seen_for_two_generations_is_forgotten() {
        let ghost = Ghost::new(1024);
        ghost.seen(key(0));
        let note = |n| {
            ghost.seen(key(n));
        };
        (1..=1024).for_each(note);
        assert!(ghost.seen(key(0)), "the generation before counts");
        (2000..2000 + 2048).for_each(note);
        assert!(!ghost.seen(key(5)));
    }

    #[test]
    fn new_keys_are_rarely_taken_for_old_ones() {
        let ghost = Ghost::new(1024);
        let wrong = (0..1024).filter(|&n| ghost.seen(key(n))).count();
        assert!(wrong < 1024 / 10, "{wrong}");
    }
}
