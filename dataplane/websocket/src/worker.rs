//! What the relays of one thread have in common: a buffer, a clock and a list of deadlines.
//!
//! Invariant: nothing here is per connection except an entry in the list. Who turns the clock and calls
//! [`Wheel::tick`] is the thread's main loop.

use std::fmt;
use std::rc::Rc;

use crate::{SharedBuffer, Wheel};

/// Milliseconds since a fixed but arbitrary moment; never goes back. May be coarse: a cached reading that the
/// worker refreshes now and then is enough.
pub trait Clock {
    /// The time.
    fn now_ms(&self) -> u64;
}

impl<F: Fn() -> u64> Clock for F {
    fn now_ms(&self) -> u64 {
        self()
    }
}

/// The shared parts; cloning shares them.
#[derive(Clone)]
pub struct Worker(Rc<Parts>);

struct Parts {
    buffer: SharedBuffer,
    wheel: Wheel,
    clock: Box<dyn Clock>,
}

impl Worker {
    /// A worker with these parts.
    #[must_use]
    pub fn new(buffer: SharedBuffer, wheel: Wheel, clock: impl Clock + 'static) -> Self {
        Self(Rc::new(Parts {
            buffer,
            wheel,
            clock: Box::new(clock),
        }))
    }

    /// The buffer.
    #[must_use]
    pub fn buffer(&self) -> &SharedBuffer {
        &self.0.buffer
    }

    /// The deadlines.
    #[must_use]
    pub fn wheel(&self) -> &Wheel {
        &self.0.wheel
    }

    /// The time by the worker's clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Worker")
            .field("wheel", &self.0.wheel)
            .finish_non_exhaustive()
    }
}
