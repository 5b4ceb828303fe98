//! HTTP cache: keys, RFC 9111 policy, a store in memory, shared fetches, purges.
//!
//! Nothing here reads a clock, a random source or a socket, and nothing runs by itself: time and seed are
//! arguments, fetches are made by the caller, and every map, buffer and queue has a limit. [`Cache`] is the
//! whole; its parts can be used alone.

pub mod cache;
pub mod cache_status;
pub mod fill;
pub mod head;
pub mod history;
pub mod key;
pub mod object;
pub mod partial;
pub mod policy;
pub mod purge;
pub mod searches;
pub mod store;
pub mod time;
pub mod vary;

pub use cache::{Cache, Config, Joined, Lookup, Prefix, Purge, PurgeCounts, Revalidated, Stats, Stored, Target};
pub use key::Key;
pub use time::Timestamp;
