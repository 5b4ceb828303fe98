//! Limits per client: request rates, open connections and penalties, in tables of fixed size that all threads share.
//!
//! A table outlives any one configuration: a policy that is compiled anew finds its clients' counts where the old one
//! left them, because a limit is known by name and not by position. Time is an argument, from a monotonic clock.

mod connections;
mod penalty;
mod rate;

use std::sync::Arc;

pub use connections::{ConnectionGuard, ConnectionTable, Count, Overdrawn};
pub use penalty::{MAX_STRIKES, PenaltyTable, Terms};
pub use rate::{Check, RateTable};

/// The tables that one process keeps for all its policies.
#[derive(Debug)]
pub struct Tables {
    /// Request rates.
    pub rates: RateTable,
    /// Open connections.
    pub connections: Arc<ConnectionTable>,
    /// Who was refused too often.
    pub penalties: PenaltyTable,
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
        }
    }
}
