//! Who comes in: the places of a worker, the places of one client, and how long the idle may stay.
//!
//! A full worker closes the connection that has been idle for the longest time and gives its place away; when none is
//! idle, the one that owes its first bytes or the rest of a head for the longest time. Only when every connection has a
//! request in progress the newcomer is refused; how slow those may be is bounded elsewhere (`pace`). The counts per
//! client are shared by all workers, exact while their table has room, and cost an idle connection nothing: its address
//! is the key.

use std::net::IpAddr;
use std::sync::Arc;

use breakwater_waf::ClientKey;
use breakwater_waf::limit::{ConnectionTable, Count};

use super::Worker;
use super::deadlines::Wait;
use crate::listen::Door;

/// How long a connection may be idle while its worker drains, milliseconds: long enough for a client that is at work to
/// send its next request and learn from the answer that the connection ends.
const DRAINING_IDLE_MS: u64 = 1_000;

/// The least time a connection may be idle, whatever the pressure, milliseconds.
const PRESSED_IDLE_MS: u64 = 5_000;

/// Connections of one worker that may be at a PROXY header or a handshake at once. Each holds some tens of kilobytes.
const MAX_BEGINNING: u64 = 2048;

/// The connections of each client, over all workers.
pub(crate) struct Clients {
    table: ConnectionTable,
    most: u32,
}

impl Clients {
    /// Places for `all` connections, at most `most` of one client. `seed` keys the table's hash.
    pub(crate) fn new(all: u64, most: u64, seed: u64) -> Arc<Self> {
        // Twice as many entries as there can be clients: the shards do not fill evenly.
        let entries = usize::try_from(all.saturating_mul(2)).unwrap_or(usize::MAX);
        Arc::new(Self {
            table: ConnectionTable::new(entries, seed),
            most: u32::try_from(most).unwrap_or(u32::MAX),
        })
    }

    fn enter(&self, client: IpAddr) -> Option<Counted> {
        match self.table.enter(LIMIT, ClientKey::from(client), self.most) {
            Count::Counted => Some(Counted(true)),
            Count::NoRoom => Some(Counted(false)),
            Count::Overdrawn => None,
        }
    }

    fn leave(&self, client: IpAddr, counted: Counted) {
        if counted.0 {
            self.table.leave(LIMIT, ClientKey::from(client));
        }
    }
}

/// The table holds one limit.
const LIMIT: u64 = 0;

/// Whether a connection is counted for its client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted(bool);

impl Counted {
    /// It is not.
    pub(crate) const NOT: Self = Self(false);
}

impl Worker {
    /// Counts a connection of `client` for it; none, and a refusal counted, when it has as many as it may.
    pub(crate) fn count(&self, client: IpAddr) -> Option<Counted> {
        let counted = self.clients.enter(client);
        if counted.is_none() {
            self.cells.refuse("connections_per_client");
        }
        counted
    }

    /// Takes back what [`Worker::count`] gave.
    pub(crate) fn uncount(&self, client: IpAddr, counted: Counted) {
        self.clients.leave(client, counted);
    }

    /// Counts a connection of a listener in; false, and a refusal counted, when there is no place for it.
    pub(crate) fn admit(&self, door: Door) -> bool {
        if !self.make_room() {
            self.cells.refuse("connections");
            return false;
        }
        self.set_connections(self.connections.get() + 1);
        if let Some(cells) = self.cells.listener(door) {
            cells.accepted.add(1);
        }
        true
    }

    /// Counts a connection of a listener out.
    pub(crate) fn leave(&self, door: Door) {
        self.set_connections(self.connections.get().saturating_sub(1));
        if let Some(cells) = self.cells.listener(door) {
            cells.closed.add(1);
        }
    }

    /// Whether there is a place, or will be as soon as those that were told to go are gone.
    fn make_room(&self) -> bool {
        let evicting = || self.deadlines.borrow().evicting();
        while self.connections.get().saturating_sub(evicting()) >= self.max_connections {
            if !self.evict() {
                return false;
            }
        }
        true
    }

    /// Has the connection that is missed least make room. False when there is none.
    pub(super) fn evict(&self) -> bool {
        let evicted = self.deadlines.borrow_mut().evict();
        if evicted {
            self.cells.evicted.add(1);
        }
        evicted
    }

    /// Sees to it that there is a place for one more connection that begins: the one that has begun for the longest time
    /// gives its place away. At most half of all places are for such connections.
    pub(crate) fn make_room_to_begin(&self) {
        let most = MAX_BEGINNING.min(self.max_connections / 2).max(1);
        let mut deadlines = self.deadlines.borrow_mut();
        while self
            .cells
            .beginning
            .get()
            .saturating_sub(deadlines.evicting_from(Wait::Handshake))
            >= most
        {
            if !deadlines.evict_from(Wait::Handshake) {
                return;
            }
        }
    }

    /// Sets how long connections may be idle, by how many there are.
    pub(super) fn press_idle(&self) {
        let allowed = if self.draining.get() {
            DRAINING_IDLE_MS
        } else {
            idle_allowed(self.connections.get(), self.max_connections)
        };
        self.deadlines.borrow_mut().allow(Wait::Idle, allowed);
    }
}

/// How long connections may be idle when `open` of `most` are there, milliseconds: the full time up to three quarters,
/// then less and less.
fn idle_allowed(open: u64, most: u64) -> u64 {
    let full = Wait::Idle.allowed_ms();
    let free = most.saturating_sub(open).saturating_mul(4);
    if free >= most {
        return full;
    }
    PRESSED_IDLE_MS + (full - PRESSED_IDLE_MS) * free / most.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_stay_for_less_and_less_time_as_places_run_out() {
        assert_eq!([0, 500, 750].map(|open| idle_allowed(open, 1000)), [60_000; 3]);
        assert_eq!(
            [875, 1000, 1001].map(|open| idle_allowed(open, 1000)),
            [32_500, 5_000, 5_000]
        );
        assert_eq!(idle_allowed(0, 0), 60_000);
    }

    #[test]
    fn a_client_has_its_places_however_many_others_there_are() {
        let clients = Clients::new(64, 2, 1);
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let first = clients.enter(address(1)).unwrap();
        let second = clients.enter(address(1)).unwrap();
        assert!(clients.enter(address(1)).is_none());
        assert!(clients.enter(address(2)).is_some());
        clients.leave(address(1), first);
        assert!(clients.enter(address(1)).is_some());
        assert!(clients.enter(address(1)).is_none());
        clients.leave(address(1), second);
    }
}
