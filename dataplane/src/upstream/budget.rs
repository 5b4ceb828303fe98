//! A budget for retries: they may add only so much to the load, so that a failing origin is not buried under them.

use std::cell::RefCell;

/// Requests of so many seconds earn retries.
const SECONDS: usize = 10;

/// Retries that are always allowed in that time.
const FLOOR: u64 = 10;

/// A worker's budget for one origin: requests and retries of the last ten seconds.
#[derive(Debug)]
pub(crate) struct Budget {
    percent: u64,
    window: RefCell<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// The second the newest slot stands for.
    second: u64,
    slots: [Slot; SECONDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u32,
    retries: u32,
}

impl Budget {
    pub(crate) fn new(percent: u32) -> Self {
        Self {
            percent: percent.into(),
            window: RefCell::default(),
        }
    }

    /// Counts a request.
    pub(crate) fn request(&self, now_ms: u64) {
        let mut window = self.window.borrow_mut();
        if let Some(slot) = window.at(now_ms) {
            slot.requests = slot.requests.saturating_add(1);
        }
    }

    /// Counts a retry, if there is room for it.
    pub(crate) fn retry(&self, now_ms: u64) -> bool {
        let mut window = self.window.borrow_mut();
        let _ = window.at(now_ms);
        let requests: u64 = window.slots.iter().map(|slot| u64::from(slot.requests)).sum();
        let retries: u64 = window.slots.iter().map(|slot| u64::from(slot.retries)).sum();
        if retries >= FLOOR + requests * self.percent / 100 {
            return false;
        }
        if let Some(slot) = window.at(now_ms) {
            slot.retries += 1;
        }
        true
    }
}

impl Window {
    /// The slot of now; those of long ago are emptied.
    fn at(&mut self, now_ms: u64) -> Option<&mut Slot> {
        let second = now_ms / 1000;
        let passed = second.saturating_sub(self.second);
        for n in 1..=passed.min(SECONDS as u64) {
            let old = (self.second + n) as usize % SECONDS;
            if let Some(slot) = self.slots.get_mut(old) {
                *slot = Slot::default();
            }
        }
        self.second = self.second.max(second);
        self.slots.get_mut(self.second as usize % SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(budget: &Budget, now_ms: u64) -> usize {
        (0..1_000).take_while(|_| budget.retry(now_ms)).count()
    }

    #[test]
    fn a_few_retries_are_always_allowed() {
        assert_eq!(retries(&Budget::new(0), 1_000), 10);
    }

    #[test]
    fn requests_earn_retries_for_ten_seconds() {
        let budget = Budget::new(20);
        (0..100).for_each(|n| budget.request(1_000 + n));
        assert_eq!(retries(&budget, 5_000), 30);
        assert_eq!(retries(&budget, 10_999), 0, "the requests of ten seconds are not over");
        assert_eq!(
            retries(&budget, 11_000),
            0,
            "the retries are not over, the requests are"
        );
        assert_eq!(retries(&budget, 15_000), 10);
        assert_eq!(retries(&budget, 60_000), 10);
    }
}
