//! The wish that a group of connections end soon: of a worker that stops, of a route or a server that is gone.
//!
//! Invariant: an order is seen by every relay of the group when it is next polled; who gives one wakes them
//! ([`Wheel::wake_all`](crate::Wheel::wake_all)). Each relay finds its own moment within the spread, evenly over the
//! group, so that the clients do not come back all at once. Who gives orders, and when, is left to others.

use std::cell::Cell;
use std::rc::Rc;

use breakwater_wire::websocket::code;

/// Why a group of connections is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The process goes away.
    Shutdown,
    /// The route is gone.
    RouteDeleted,
    /// The server behind is no longer one of the backend's.
    ServerRemoved,
}

impl Cause {
    /// The code of the close frame.
    ///
    /// 1001 (RFC 6455 section 7.4.1: "going away, such as a server going down") where what the client talks to goes:
    /// this process, or the address altogether. 1012 (service restart, of IANA's registry) where the address is served
    /// on, and only the server behind it goes: the client is to come back.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Shutdown | Self::RouteDeleted => code::GOING_AWAY,
            Self::ServerRemoved => code::SERVICE_RESTART,
        }
    }
}

/// That a group is to end: why, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Why.
    pub cause: Cause,
    /// When the first may close, milliseconds of the worker's clock.
    pub from_ms: u64,
    /// The connections are spread evenly over so many milliseconds from then on; zero closes all at once.
    pub spread_ms: u32,
    /// Any number: which of the moments within the spread is whose. Choose another for each order, so that groups of one
    /// connection each, on many workers and nodes, do not all close at the same moment.
    pub phase: u32,
}

/// A switch shared by a group of relays on one thread; cloning it shares it.
#[derive(Clone, Debug, Default)]
pub struct Drain(Rc<Cell<Option<Order>>>);

impl Drain {
    /// Closes every relay of the group at a moment within the spread. A later order replaces this one.
    pub fn begin(&self, order: Order) {
        self.0.set(Some(order));
    }

    /// Takes the order back: relays whose moment has not come go on.
    pub fn withdraw(&self) {
        self.0.set(None);
    }

    /// Why the group is to end, if it is.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.0.get().map(|order| order.cause)
    }

    /// Why, and when, the relay with this number in its worker is to close.
    pub(crate) fn moment(&self, number: u32) -> Option<(Cause, u64)> {
        let order = self.0.get()?;
        // Multiples of the golden ratio fill an interval evenly, however many there are.
        let share = u64::from(number.wrapping_mul(0x9E37_79B9).wrapping_add(order.phase));
        Some((
            order.cause,
            order.from_ms + ((share * u64::from(order.spread_ms)) >> 32),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Order = Order {
        cause: Cause::ServerRemoved,
        from_ms: 5_000,
        spread_ms: 10_000,
        phase: 0,
    };

    #[test]
    fn the_moments_of_a_group_fill_the_spread_evenly() {
        let drain = Drain::default();
        assert_eq!((drain.cause(), drain.moment(0)), (None, None));
        // Whatever the phase, and if only every seventh connection is of this group.
        for (phase, step) in [(0, 1), (0xC000_0000, 1), (77, 7)] {
            drain.begin(Order { phase, ..ORDER });
            let mut tenths = [0_u32; 10];
            for number in 0..1_000 {
                let (cause, at) = drain.moment(number * step).unwrap();
                assert_eq!(cause, Cause::ServerRemoved);
                tenths[usize::try_from((at - 5_000) / 1_000).unwrap()] += 1;
            }
            assert!(tenths.iter().all(|count| (95..=105).contains(count)), "{tenths:?}");
        }
    }

    #[test]
    fn groups_of_one_connection_each_close_at_moments_of_their_own() {
        let drain = Drain::default();
        let mut moments: Vec<u64> = (0..4)
            .map(|group: u32| {
                drain.begin(Order {
                    phase: group << 30,
                    ..ORDER
                });
                drain.moment(0).unwrap().1
            })
            .collect();
        moments.dedup();
        assert_eq!(moments, [5_000, 7_500, 10_000, 12_500]);
    }

    #[test]
    fn an_order_that_is_taken_back_closes_nobody() {
        let drain = Drain::default();
        drain.begin(ORDER);
        assert_eq!(drain.cause(), Some(Cause::ServerRemoved));
        drain.withdraw();
        assert_eq!((drain.cause(), drain.moment(3)), (None, None));
    }
}
