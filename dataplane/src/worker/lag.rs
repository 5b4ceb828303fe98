//! How late a worker is, and what it refuses for it.
//!
//! A probe asks to be woken at a moment and looks how late it was: the time that anything ready waits for its turn. As in
//! CoDel, only a delay that stands is overload: one long poll, or a processor that was away, refuses nobody. First new
//! connections are refused, then what needs an origin; what is stored is served and what is in progress goes on.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Worker;

/// What is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// Nothing.
    #[default]
    None,
    /// New connections.
    Connections,
    /// New connections, and requests that need an origin.
    Misses,
}

impl Pressure {
    /// From [`Pressure::as_u8`].
    pub(crate) const fn from_u8(level: u8) -> Self {
        match level {
            0 => Self::None,
            1 => Self::Connections,
            _ => Self::Misses,
        }
    }

    /// For an atomic.
    pub(crate) const fn as_u8(self) -> u8 {
        self as u8
    }
}

/// The delay from which on new connections are refused, milliseconds.
const CONNECTIONS_MS: u64 = 250;

/// The delay from which on misses are refused, milliseconds.
const MISSES_MS: u64 = 500;

/// How long a delay must stand before anything is refused, milliseconds.
const RISE_MS: u64 = 1_000;

/// How long the delay must be below half of its mark before nothing is refused any more, milliseconds.
const FALL_MS: u64 = 250;

/// How often a calm worker is probed, and one that was late.
const CALM: Duration = Duration::from_millis(250);
const LATE: Duration = Duration::from_millis(50);

/// One mark with its hysteresis.
#[derive(Debug)]
struct Gate {
    mark_ms: u64,
    shut: bool,
    /// Since when the delay says otherwise.
    since_ms: Option<u64>,
}

impl Gate {
    const fn new(mark_ms: u64) -> Self {
        Self {
            mark_ms,
            shut: false,
            since_ms: None,
        }
    }

    fn observe(&mut self, lag_ms: u64, now_ms: u64) {
        let (otherwise, needed) = if self.shut {
            (lag_ms < self.mark_ms / 2, FALL_MS)
        } else {
            (lag_ms >= self.mark_ms, RISE_MS)
        };
        if !otherwise {
            self.since_ms = None;
        } else if now_ms.saturating_sub(*self.since_ms.get_or_insert(now_ms)) >= needed {
            self.shut = !self.shut;
            self.since_ms = None;
        }
    }
}

/// What the delays of one worker amount to.
#[derive(Debug)]
struct Lag {
    connections: Gate,
    misses: Gate,
}

impl Lag {
    const fn new() -> Self {
        Self {
            connections: Gate::new(CONNECTIONS_MS),
            misses: Gate::new(MISSES_MS),
        }
    }

    fn observe(&mut self, lag_ms: u64, now_ms: u64) -> Pressure {
        self.connections.observe(lag_ms, now_ms);
        self.misses.observe(lag_ms, now_ms);
        match (self.connections.shut, self.misses.shut) {
            (_, true) => Pressure::Misses,
            (true, false) => Pressure::Connections,
            (false, false) => Pressure::None,
        }
    }
}

/// Probes the worker for as long as it lives. A task like any connection's, so that it waits as they do.
pub(super) async fn probe(worker: Rc<Worker>) {
    let mut lag = Lag::new();
    let mut pause = CALM;
    loop {
        let due = Instant::now() + pause;
        tokio::time::sleep_until(due).await;
        let late = due.elapsed() + worker.heartbeat.pretended_lag();
        worker.clock.refresh();
        let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        worker.cells.lag_us.store(late_us, Ordering::Relaxed);
        let pressure = lag.observe(late_us / 1000, worker.clock.now_ms());
        let before = worker.pressure.replace(pressure);
        if before != pressure {
            tracing::warn!(
                worker = worker.index,
                late_ms = late_us / 1000,
                "{}",
                match pressure {
                    Pressure::None => "the worker keeps up again; nothing is refused",
                    Pressure::Connections if before == Pressure::Misses =>
                        "the worker is less late; only new connections are refused",
                    Pressure::Connections => "the worker is late; new connections are refused",
                    Pressure::Misses => "the worker is late; new connections and what is not stored are refused",
                }
            );
        }
        let calm = pressure == Pressure::None && late < Duration::from_millis(CONNECTIONS_MS / 2);
        pause = if calm { CALM } else { LATE };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What delays, one every 50 ms, lead to.
    fn after(lag: &mut Lag, now_ms: &mut u64, delays: &[u64]) -> Pressure {
        let mut pressure = Pressure::None;
        for delay in delays {
            *now_ms += 50;
            pressure = lag.observe(*delay, *now_ms);
        }
        pressure
    }

    #[test]
    fn a_delay_that_does_not_stand_refuses_nobody() {
        let (mut lag, mut now) = (Lag::new(), 0);
        for _ in 0..10 {
            assert_eq!(
                after(&mut lag, &mut now, &[5000, 200, 90, 60, 90, 200, 90, 60, 3]),
                Pressure::None
            );
        }
    }

    #[test]
    fn a_standing_delay_refuses_connections_first_and_misses_when_it_is_worse() {
        let (mut lag, mut now) = (Lag::new(), 0);
        assert_eq!(after(&mut lag, &mut now, &[300; 21]), Pressure::Connections);
        assert_eq!(after(&mut lag, &mut now, &[600; 20]), Pressure::Connections);
        assert_eq!(after(&mut lag, &mut now, &[600; 1]), Pressure::Misses);
    }

    #[test]
    fn it_is_over_soon_after_the_delay_is_below_half_of_the_mark() {
        let (mut lag, mut now) = (Lag::new(), 0);
        assert_eq!(after(&mut lag, &mut now, &[2500; 21]), Pressure::Misses);
        assert_eq!(after(&mut lag, &mut now, &[260; 100]), Pressure::Misses);
        assert_eq!(after(&mut lag, &mut now, &[200; 6]), Pressure::Connections);
        assert_eq!(after(&mut lag, &mut now, &[50; 5]), Pressure::Connections);
        assert_eq!(after(&mut lag, &mut now, &[50; 1]), Pressure::None);
    }
}
