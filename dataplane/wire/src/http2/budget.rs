//! Levels that rise with what a client does wrong and sink as time passes.
//!
//! A level that only rose would end every connection that lives long enough; one that is reset would let a
//! client attack in bursts. So each is a leaky bucket, without a timer: it sinks when it is looked at.

/// How much has been charged and not yet forgiven.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Level(u32);

impl Level {
    /// True if the level is then above `limit`.
    #[must_use]
    pub(super) fn charge(&mut self, amount: u32, limit: u16) -> bool {
        self.0 = self.0.saturating_add(amount);
        self.0 > u32::from(limit)
    }

    pub(super) fn forgive(&mut self, amount: u32) {
        self.0 = self.0.saturating_sub(amount);
    }

    pub(super) fn get(self) -> u32 {
        self.0
    }
}

/// The levels of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Levels {
    pub(super) glitches: Level,
    pub(super) resets: Level,
    pub(super) overhead: Level,
    /// The second up to which the passing of time is accounted for.
    second: u64,
}

impl Levels {
    /// Lets the levels sink: one glitch, one reset and ten frames each second.
    pub(super) fn pass(&mut self, now_ms: u64) {
        let now = now_ms / 1000;
        if now > self.second {
            let seconds = u32::try_from(now - self.second).unwrap_or(u32::MAX);
            self.second = now;
            self.glitches.forgive(seconds);
            self.resets.forgive(seconds);
            self.overhead.forgive(seconds.saturating_mul(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_sink_by_the_second_and_never_below_zero() {
        let mut levels = Levels::default();
        levels.pass(5_000);
        assert!(!levels.glitches.charge(10, 10));
        assert!(levels.glitches.charge(1, 10));
        levels.pass(5_999);
        assert_eq!(levels.glitches.get(), 11);
        levels.pass(8_000);
        assert_eq!(levels.glitches.get(), 8);
        levels.pass(u64::MAX);
        assert_eq!(levels.glitches.get(), 0);
        levels.pass(0);
        assert!(levels.overhead.charge(u32::MAX, 1000) && levels.overhead.charge(1, 1000));
    }
}
