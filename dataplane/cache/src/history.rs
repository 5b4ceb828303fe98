//! Which purges there had been at which time.
//!
//! Purges are ordered by a logical clock that nobody else shares. A response that another cache fetched comes with how
//! long ago it asked for it: this says what the logical clock showed then.
//!
//! Invariant: the answer is never later than the truth. What is not known exactly counts as older, so that a response
//! is forgotten for a purge it came after, but never kept in spite of one it came before. Bounded: 4,096 notes; when
//! they are full every second one goes, and what lay between counts as older.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Notes that are kept.
const MOST: usize = 4096;

/// At a time, what the logical clock showed.
#[derive(Clone, Copy, Debug)]
struct Note {
    ms: u64,
    logical: u64,
}

/// Readings of the logical clock.
#[derive(Debug, Default)]
pub struct History {
    /// What the newest note says: most readings are no news.
    newest: AtomicU64,
    notes: Mutex<Vec<Note>>,
}

impl History {
    /// Notes that the logical clock has shown `logical` by the time that `now_ms` reads now.
    pub fn note(&self, now_ms: impl FnOnce() -> u64, logical: u64) {
        if self.newest.load(Ordering::Relaxed) == logical {
            return;
        }
        let now_ms = now_ms();
        let mut notes = self.notes.lock();
        // Readings of several threads may come out of order: what is not newer in both says nothing.
        if notes.last().is_some_and(|last| logical <= last.logical) {
            return;
        }
        let ms = notes.last().map_or(now_ms, |last| now_ms.max(last.ms));
        if notes.len() >= MOST {
            let mut odd = false;
            notes.retain(|_| {
                odd = !odd;
                odd
            });
        }
        notes.push(Note { ms, logical });
        self.newest.store(logical, Ordering::Relaxed);
    }

    /// What the logical clock showed at `ms` at least; 0 before the first note.
    pub fn at(&self, ms: u64) -> u64 {
        let notes = self.notes.lock();
        let after = notes.partition_point(|note| note.ms <= ms);
        let last = after.checked_sub(1).and_then(|index| notes.get(index));
        last.map_or(0, |note| note.logical)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_between_two_notes_counts_as_the_earlier() {
        let history = History::default();
        assert_eq!(history.at(u64::MAX), 0);
        history.note(|| 100, 1);
        history.note(|| 200, 5);
        history.note(|| 300, 5);
        let readings = [99, 100, 199, 200, 1_000].map(|ms| history.at(ms));
        assert_eq!(readings, [0, 1, 1, 5, 5]);
    }

    #[test]
    fn readings_out_of_order_never_make_anything_younger() {
        let history = History::default();
        history.note(|| 200, 5);
        history.note(|| 100, 3);
        history.note(|| 150, 6);
        assert_eq!((history.at(150), history.at(199), history.at(200)), (0, 0, 6));
    }

    #[test]
    fn a_full_history_forgets_details_and_stays_on_the_safe_side() {
        let history = History::default();
        for n in 1..=3 * MOST as u64 {
            history.note(|| n, n);
        }
        assert!(history.notes.lock().len() <= MOST);
        assert!((1..=3 * MOST as u64).all(|n| history.at(n) <= n));
        assert_eq!(history.at(3 * MOST as u64), 3 * MOST as u64);
    }
}
