//! Full-jitter backoff: each wait is random between nothing and a bound that doubles.
//!
//! Invariant: a thousand nodes that lose one operator at once come back spread over the bound, not in step.

use std::time::Duration;

/// The waits between attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    bound: Duration,
}

impl Backoff {
    pub(super) const fn new((first, longest): (Duration, Duration)) -> Self {
        Self {
            first,
            longest,
            bound: first,
        }
    }

    /// The next wait; `random` is from 0 to 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let wait = self.bound.mul_f64(random);
        self.bound = (self.bound * 2).min(self.longest);
        wait
    }

    /// An attempt succeeded.
    pub(super) const fn reset(&mut self) {
        self.bound = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_longest_and_starts_over_after_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new((ms(10), ms(50)));
        let waits: Vec<_> = (0..5).map(|_| backoff.next(1.0)).collect();
        assert_eq!(waits, [ms(10), ms(20), ms(40), ms(50), ms(50)]);
        assert_eq!(backoff.next(0.0), ms(0));
        backoff.reset();
        assert_eq!(backoff.next(0.5), ms(5));
    }
}
