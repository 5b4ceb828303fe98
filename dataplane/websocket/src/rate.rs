//! How many messages may come now: the generic cell rate algorithm, in eight bytes.
//!
//! Invariant: over any span of `t` seconds at most `burst + rate * t` are taken. The clock may be coarse: time
//! that has passed is credited when it is seen.

use std::num::NonZeroU32;

/// Thousandths of a millisecond, so that a rate of up to a million a second keeps its cost above zero.
const PER_MS: u64 = 1_000;

/// A rate and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) per_second: NonZeroU32,
    pub(crate) burst: NonZeroU32,
}

impl Allowance {
    fn cost(self) -> u64 {
        (1_000 * PER_MS / u64::from(self.per_second.get())).max(1)
    }

    fn window(self) -> u64 {
        self.cost() * u64::from(self.burst.get())
    }
}

/// When the allowance would be untouched again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    full_at: u64,
}

impl Rate {
    /// How many may be taken now.
    pub(crate) fn available(self, allowance: Allowance, now_ms: u64) -> u32 {
        let used = self.full_at.saturating_sub(now_ms.saturating_mul(PER_MS));
        u32::try_from(allowance.window().saturating_sub(used) / allowance.cost()).unwrap_or(u32::MAX)
    }

    /// Takes `count`, which must be available.
    pub(crate) fn take(&mut self, allowance: Allowance, now_ms: u64, count: u32) {
        let now = now_ms.saturating_mul(PER_MS);
        self.full_at = self
            .full_at
            .max(now)
            .saturating_add(allowance.cost() * u64::from(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(per_second: u32, burst: u32) -> Allowance {
        Allowance {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let ten = allowance(10, 20);
        let mut rate = Rate::default();
        assert_eq!(rate.available(ten, 1_000), 20);
        rate.take(ten, 1_000, 20);
        assert_eq!(rate.available(ten, 1_000), 0);
        assert_eq!(rate.available(ten, 1_099), 0);
        assert_eq!(rate.available(ten, 1_100), 1);
        assert_eq!(rate.available(ten, 1_500), 5);
        rate.take(ten, 1_500, 5);
        assert_eq!(rate.available(ten, 1_500), 0);
        assert_eq!(rate.available(ten, 60_000), 20);
    }

    #[test]
    fn the_largest_rate_still_has_an_end() {
        let most = allowance(u32::MAX, 2);
        let mut rate = Rate::default();
        assert_eq!(rate.available(most, 0), 2);
        rate.take(most, 0, 2);
        assert_eq!(rate.available(most, 0), 0);
    }
}
