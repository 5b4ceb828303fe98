//! Time for the workers: one reading serves many requests.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use breakwater_cache::Timestamp;
use breakwater_wire::http1::encode::imf_fixdate;

/// Unix time now, seconds.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// A worker's clock. Reading it costs a load; it moves when the worker [`Clock::refresh`]es it, once for each wake-up
/// of a connection and with each tick.
pub(crate) struct Clock {
    started: Instant,
    monotonic_ms: Cell<u64>,
    unix_seconds: Cell<u64>,
    /// Unix time at which the monotonic reading was zero, milliseconds.
    epoch_ms: Cell<u64>,
    date: RefCell<[u8; 29]>,
    /// What a test has moved it on by.
    #[cfg(test)]
    skipped_ms: Cell<u64>,
}

impl Clock {
    /// Starts a clock that counts from `started`, one moment for all workers: limits they share compare its readings.
    pub(crate) fn new(started: Instant) -> Self {
        let clock = Self {
            started,
            monotonic_ms: Cell::new(0),
            unix_seconds: Cell::new(0),
            epoch_ms: Cell::new(0),
            date: RefCell::new([0; 29]),
            #[cfg(test)]
            skipped_ms: Cell::new(0),
        };
        clock.tick();
        clock
    }

    /// Moves the monotonic reading.
    pub(crate) fn refresh(&self) -> Instant {
        let now = Instant::now();
        let ms = u64::try_from((now - self.started).as_millis()).unwrap_or(u64::MAX);
        #[cfg(test)]
        let ms = ms + self.skipped_ms.get();
        self.monotonic_ms.set(ms);
        now
    }

    /// Moves every reading. Called by the worker each [`TICK`].
    pub(crate) fn tick(&self) {
        self.refresh();
        let now = SystemTime::now();
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        self.epoch_ms.set(ms.saturating_sub(self.monotonic_ms.get()));
        let seconds = since_epoch.as_secs();
        if seconds != self.unix_seconds.replace(seconds) {
            *self.date.borrow_mut() = imf_fixdate(seconds);
        }
    }

    /// Sets every reading but the date, for what was: `monotonic_ms` since the start, at this Unix time.
    pub(crate) fn set(&self, monotonic_ms: u64, unix_ms: u64) {
        self.monotonic_ms.set(monotonic_ms);
        self.epoch_ms.set(unix_ms.saturating_sub(monotonic_ms));
        self.unix_seconds.set(unix_ms / 1000);
    }

    /// Moves it on, from the next reading on.
    #[cfg(test)]
    pub(crate) fn skip(&self, ms: u64) {
        self.skipped_ms.set(self.skipped_ms.get() + ms);
    }

    /// Milliseconds since the process started its workers.
    pub(crate) fn now_ms(&self) -> u64 {
        self.monotonic_ms.get()
    }

    /// The same, read anew.
    pub(crate) fn read_ms(&self) -> u64 {
        self.refresh();
        self.now_ms()
    }

    /// The moment of the last reading.
    pub(crate) fn last(&self) -> Instant {
        self.started + Duration::from_millis(self.now_ms())
    }

    /// Unix time, seconds.
    pub(crate) fn unix(&self) -> u64 {
        self.unix_seconds.get()
    }

    /// Unix time for the cache, which reckons in milliseconds.
    pub(crate) fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.epoch_ms.get().saturating_add(self.monotonic_ms.get()))
    }

    /// The value of a `Date` field (RFC 9110 section 5.6.7).
    pub(crate) fn date(&self) -> [u8; 29] {
        *self.date.borrow()
    }
}

/// How often a worker's clock ticks and its deadlines are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(250);
