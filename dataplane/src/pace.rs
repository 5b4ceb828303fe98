//! How slow a client may be: a least rate, measured over the time we wait for it and no other.
//!
//! Deadlines that begin anew with each byte are no defence against a client that moves a byte now and then. A pace looks
//! at whole windows instead. Time in which the client waits for us (a slow origin) is not counted, so only the client's
//! own slowness is held against it.

/// What a client has to move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Least {
    /// Bytes per second.
    rate: u64,
    /// Over how long that is measured, milliseconds of waiting.
    window_ms: u64,
    /// Waiting that is not judged, at the beginning, milliseconds.
    grace_ms: u64,
}

impl Least {
    /// Of a request body.
    pub(crate) const BODY: Self = Self {
        rate: 500,
        window_ms: 10_000,
        grace_ms: 10_000,
    };

    /// Of a response.
    pub(crate) const SEND: Self = Self {
        rate: 500,
        window_ms: 60_000,
        grace_ms: 0,
    };
}

/// The progress of one message.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    least: Least,
    /// Since when the client is waited for.
    since_ms: Option<u64>,
    /// Of the window so far, the wait under way left out.
    waited_ms: u64,
    moved: u64,
    /// The window is the grace.
    grace: bool,
}

impl Pace {
    pub(crate) const fn new(least: Least) -> Self {
        Self {
            least,
            since_ms: None,
            waited_ms: 0,
            moved: 0,
            grace: least.grace_ms > 0,
        }
    }

    /// From now on the client is waited for, if it is not already.
    pub(crate) fn wait(&mut self, now_ms: u64) {
        self.since_ms.get_or_insert(now_ms);
    }

    /// The client moved `bytes`. False when it moved too little for too long.
    pub(crate) fn moved(&mut self, bytes: usize, now_ms: u64) -> bool {
        self.waited_ms = self.waited_until(now_ms);
        self.since_ms = None;
        self.moved = self.moved.saturating_add(bytes as u64);
        self.holds(now_ms)
    }

    /// False when the client moved too little for too long, as of now.
    pub(crate) fn holds(&mut self, now_ms: u64) -> bool {
        let waited = self.waited_until(now_ms);
        let window = if self.grace {
            self.least.grace_ms
        } else {
            self.least.window_ms
        };
        if waited < window {
            return true;
        }
        if !self.grace && self.moved.saturating_mul(1000) < self.least.rate.saturating_mul(waited) {
            return false;
        }
        self.grace = false;
        self.moved = 0;
        self.waited_ms = 0;
        self.since_ms = self.since_ms.map(|_| now_ms);
        true
    }

    fn waited_until(&self, now_ms: u64) -> u64 {
        let waiting = self.since_ms.map_or(0, |since| now_ms.saturating_sub(since));
        self.waited_ms.saturating_add(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Until when a client lasts that moves `bytes` every `every_ms`, of at most ten minutes.
    fn lasts(least: Least, bytes: usize, every_ms: usize) -> Option<u64> {
        let mut pace = Pace::new(least);
        (0..600_000).step_by(every_ms).map(|now| now as u64).find(|now| {
            let holds = pace.moved(bytes, *now);
            pace.wait(*now);
            !holds
        })
    }

    #[test]
    fn a_body_of_a_byte_each_second_is_cut_when_the_grace_and_a_window_are_over() {
        assert_eq!(lasts(Least::BODY, 1, 1000), Some(20_000));
    }

    #[test]
    fn a_body_at_the_least_rate_goes_on_for_as_long_as_it_takes() {
        assert_eq!(lasts(Least::BODY, 500, 1000), None);
        assert_eq!(lasts(Least::BODY, 499, 1000), Some(20_000));
    }

    #[test]
    fn what_was_moved_fast_at_first_buys_no_slowness_later() {
        let mut pace = Pace::new(Least::BODY);
        assert!(pace.moved(1 << 30, 0));
        pace.wait(0);
        assert!(pace.holds(10_000));
        assert!(pace.holds(19_999));
        assert!(!pace.holds(20_000));
    }

    #[test]
    fn a_client_that_takes_a_response_byte_by_byte_is_cut_after_a_minute() {
        assert_eq!(lasts(Least::SEND, 1, 1000), Some(60_000));
        assert_eq!(lasts(Least::SEND, 20_000, 29_000), None);
    }

    #[test]
    fn time_in_which_the_client_waits_for_us_is_not_held_against_it() {
        let mut pace = Pace::new(Least::BODY);
        for second in 0..3600 {
            let now = second * 1000;
            pace.wait(now);
            // It answers at once; the rest of the second is the origin's.
            assert!(pace.moved(1, now + 2), "after {second} s");
        }
    }
}
