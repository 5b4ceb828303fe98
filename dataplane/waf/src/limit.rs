//! Limits per client: request rates, open connections and penalties, in tables of fixed size that all threads share.
//! Rates may hold across nodes: what is to be told to the others is taken here, what they tell is added here.
//!
//! A table outlives any one configuration: a policy that is compiled anew finds its clients' counts where the old one
//! left them, because a limit is known by name and not by position. Time is an argument, from a monotonic clock.

mod connections;
mod fleet;
mod penalty;
mod rate;
mod spent;

use std::sync::Arc;

pub use connections::{ConnectionGuard, ConnectionTable, Count, Overdrawn};
pub use fleet::Heard;
pub(crate) use fleet::{FleetLimit, FleetLimits};
pub use penalty::{MAX_STRIKES, PenaltyTable, Terms};
pub use rate::{Check, RateTable};
pub use spent::Spent;

/// The tables that one process keeps for all its policies.
#[derive(Debug)]
pub struct Tables {
    /// Request rates.
    pub rates: RateTable,
    /// Open connections.
    pub connections: Arc<ConnectionTable>,
    /// Who was refused too often.
    pub penalties: PenaltyTable,
    /// Limits on rates that hold across nodes.
    pub(crate) fleet: FleetLimits,
}

impl Tables {
    /// Tables of the default sizes. `seed` keys the hashes: draw it from the system's randomness at start and keep it
    /// secret, or a client may choose its addresses so that they fall on another's entries.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rates: RateTable::new(RateTable::DEFAULT_ENTRIES, seed),
            connections: Arc::new(ConnectionTable::new(ConnectionTable::DEFAULT_ENTRIES, seed)),
            penalties: PenaltyTable::new(PenaltyTable::DEFAULT_ENTRIES),
            fleet: FleetLimits::default(),
        }
    }

    /// Whether any limit holds across nodes.
    #[must_use]
    pub fn has_fleet_limits(&self) -> bool {
        self.fleet.any()
    }

    /// What clients were allowed here, under limits that hold across nodes, since this was asked for the last time: to
    /// be told to every other node, once.
    #[must_use]
    pub fn take_spent(&self) -> Vec<Spent> {
        self.fleet.take(&self.rates)
    }

    /// Counts what another node told as if it had been allowed here, at `now_ms` on this node's clock. `nodes` is how
    /// many there are: a client comes to owe no more than a burst for each of them.
    pub fn add_spent(&self, told: impl IntoIterator<Item = Spent>, now_ms: u64, nodes: u32) -> Heard {
        self.fleet.add(&self.rates, told, now_ms, nodes)
    }

    /// Requests and connections that were allowed under limits across nodes, and that other nodes are not told of
    /// because there were too many clients to remember.
    #[must_use]
    pub fn lost_spent(&self) -> u64 {
        self.fleet.lost()
    }
}
