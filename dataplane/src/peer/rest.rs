//! How long what failed is left alone: longer with each failure in a row.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How long after the first failure, milliseconds: doubled with each more in a row.
const REST_MS: u64 = 2_000;
const LONGEST_REST_MS: u64 = 60_000;

/// What is known of the failures of someone who is asked. Written by all workers, for misses only.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    failures: AtomicU32,
    until_ms: AtomicU64,
}

impl Rest {
    /// Whether it is not to be asked at `now_ms`.
    pub(crate) fn rests(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms.load(Relaxed)
    }

    /// It answered.
    pub(crate) fn answered(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// It did not answer: it rests.
    pub(crate) fn failed(&self, now_ms: u64) {
        let before = self.failures.fetch_add(1, Relaxed).min(16);
        let rest = (REST_MS << before).min(LONGEST_REST_MS);
        self.until_ms.fetch_max(now_ms.saturating_add(rest), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_doubles_the_rest_up_to_a_minute_and_an_answer_ends_the_row() {
        let rest = Rest::default();
        assert!(!rest.rests(0));
        let mut now = 0;
        for length in [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            rest.failed(now);
            assert!(rest.rests(now + length - 1) && !rest.rests(now + length), "{length}");
            now += length;
        }
        rest.answered();
        rest.failed(now);
        assert!(!rest.rests(now + 2_000));
    }
}
