//! Windows in both directions: how wide those for uploads may become, and how a client treats those that responses wait
//! for.
//!
//! A window for uploads grows while a handler takes what comes as fast as it comes; what that may hold in the worst case
//! is counted, and bounded for a worker ([`UPLOAD_WINDOWS`]). In the other direction a client may not keep a window shut
//! for long, nor open it by a few bytes now and then for ever. Only time in which it is shut and something waits for it
//! counts; a body that waits for its turn, or for the socket, is not held against the client here.

use crate::pace::{Least, Pace};
use crate::worker::Worker;

/// Bytes by which the windows for uploads of all connections of a worker may be wider than at first.
pub(super) const UPLOAD_WINDOWS: u64 = 32 * 1024 * 1024;

/// What a connection's window for uploads is wider by than at first, as it is counted for the worker.
#[derive(Default)]
pub(super) struct Wider(u32);

impl Wider {
    pub(super) fn count(&mut self, now: u32, worker: &Worker) {
        let before = std::mem::replace(&mut self.0, now);
        if now != before {
            worker.cells.upload_windows.add(u64::from(now));
            worker.cells.upload_windows.sub(u64::from(before));
        }
    }
}

/// Longest a body may wait for a window without moving, milliseconds.
const PATIENCE_MS: u64 = 30_000;

/// A window of a stream, or that of the connection.
pub(super) struct Windows {
    pace: Pace,
    /// Since when nothing moves because it is shut.
    shut_ms: Option<u64>,
    /// What moved was too little.
    slow: bool,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            pace: Pace::new(Least::SEND),
            shut_ms: None,
            slow: false,
        }
    }
}

impl Windows {
    /// So many bytes left through it.
    pub(super) fn moved(&mut self, bytes: usize, now_ms: u64) {
        self.shut_ms = None;
        self.slow |= !self.pace.moved(bytes, now_ms);
    }

    /// Whether something waits for it to open.
    pub(super) fn waits(&mut self, waits: bool, now_ms: u64) {
        if waits {
            self.shut_ms.get_or_insert(now_ms);
            self.pace.wait(now_ms);
        } else if self.shut_ms.is_some() {
            self.moved(0, now_ms);
        }
    }

    /// The reason to wait no longer, if there is one.
    pub(super) fn too_slow(&mut self, now_ms: u64) -> Option<&'static str> {
        let shut = self
            .shut_ms
            .is_some_and(|since| now_ms.saturating_sub(since) >= PATIENCE_MS);
        if shut {
            Some("send_timeout")
        } else {
            (self.slow || !self.pace.holds(now_ms)).then_some("send_rate")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When, and why, a client is waited for no longer that opens the window by `bytes` every `every_ms`, within an hour.
    fn lasts(bytes: usize, every_ms: u64) -> Option<(u64, &'static str)> {
        let mut window = Windows::default();
        window.waits(true, 0);
        (0..3_600_000).step_by(1000).find_map(|now| {
            if now > 0 && now % every_ms == 0 {
                window.moved(bytes, now);
                window.waits(true, now);
            }
            window.too_slow(now).map(|reason| (now, reason))
        })
    }

    #[test]
    fn a_window_that_stays_shut_is_waited_for_for_half_a_minute() {
        assert_eq!(lasts(1, 40_000), Some((30_000, "send_timeout")));
    }

    #[test]
    fn a_window_that_opens_byte_by_byte_is_waited_for_for_a_minute() {
        assert_eq!(lasts(1, 1000), Some((60_000, "send_rate")));
        assert_eq!(lasts(1, 29_000), Some((60_000, "send_rate")));
    }

    #[test]
    fn a_window_that_opens_at_the_least_rate_is_waited_for_as_long_as_it_takes() {
        assert_eq!(lasts(20_000, 29_000), None);
        assert_eq!(lasts(500, 1000), None);
    }

    #[test]
    fn waiting_for_a_turn_is_not_held_against_the_client() {
        let mut window = Windows::default();
        for minute in 0..60 {
            let now = minute * 60_000;
            window.waits(true, now);
            window.waits(false, now + 900);
            assert_eq!(window.too_slow(now + 59_000), None, "after {minute} minutes");
        }
    }
}
