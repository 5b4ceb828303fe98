//! The wish that a group of connections end soon: of a route that is gone, of a worker that stops.
//!
//! Invariant: an order, once given, is seen by every relay of the group when it is next polled, and giving it
//! wakes them all. Each relay finds its own moment within the spread, evenly over the group, so that the
//! clients do not come back all at once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::Worker;

/// A switch shared by a group of relays on one thread; cloning it shares it.
#[derive(Clone, Debug, Default)]
pub struct Drain(Rc<Cell<Option<Order>>>);

#[derive(Clone, Copy, Debug)]
struct Order {
    code: u16,
    from_ms: u64,
    spread_ms: u32,
}

impl Drain {
    /// Closes every relay of the group with `code` (1001 going away, 1012 service restart) at a moment within
    /// `spread` from now; zero closes all at once. A later order replaces this one.
    pub fn begin(&self, worker: &Worker, code: u16, spread: Duration) {
        let spread_ms = u32::try_from(spread.as_millis()).unwrap_or(u32::MAX);
        self.0.set(Some(Order {
            code,
            from_ms: worker.now_ms(),
            spread_ms,
        }));
        worker.wheel().wake_all();
    }

    /// True once [`Drain::begin`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.get().is_some()
    }

    /// The code, and when the relay with this number in its worker is to close.
    pub(crate) fn moment(&self, number: u32) -> Option<(u16, u64)> {
        let order = self.0.get()?;
        // Multiples of the golden ratio fill an interval evenly, however many there are.
        let share = u64::from(number.wrapping_mul(0x9E37_79B9));
        Some((order.code, order.from_ms + ((share * u64::from(order.spread_ms)) >> 32)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SharedBuffer, Wheel};

    #[test]
    fn the_moments_of_a_group_fill_the_spread_evenly() {
        let worker = Worker::new(SharedBuffer::new(0), Wheel::new(100), || 5_000);
        let drain = Drain::default();
        assert!(!drain.is_draining());
        assert_eq!(drain.moment(0), None);
        drain.begin(&worker, 1012, Duration::from_secs(10));
        let mut tenths = [0_u32; 10];
        for number in 0..1_000 {
            let (code, at) = drain.moment(number).unwrap();
            assert_eq!(code, 1012);
            tenths[usize::try_from((at - 5_000) / 1_000).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (95..=105).contains(count)), "{tenths:?}");
    }
}
