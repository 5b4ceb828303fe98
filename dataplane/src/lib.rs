//! The data plane: listeners, routing, access, handlers, upstreams, telemetry.
//!
//! One thread for each core, each with its own listeners, connections, clock and connection pools; the only things
//! workers share are the cache, the limit tables and the configuration they are given by message. A request walks one
//! way: listen, gate, route, access, handler (cache, WebSocket or proxy), upstream, filter, log. A cache hit is answered
//! within one poll of its connection from the worker's buffers; everything else becomes a boxed exchange
//! (`docs/architecture.md`).
//!
//! [`DataPlane`] is the way in: it starts the workers and applies snapshots. Where snapshots come from is left to
//! the caller: a directory (`breakwater up`) or an operator ([`follow`]).

mod access;
mod admin;
mod challenge;
mod clock;
mod config;
mod conn;
mod crs;
mod disk;
mod error;
mod filter;
pub mod follow;
pub mod geo;
mod handler;
mod inspect;
mod listen;
mod memory;
mod pace;
mod peer;
mod prefetch;
pub mod replay;
mod request_id;
mod respond;
mod route;
mod server;
mod spool;
pub mod takeover;
mod telemetry;
mod tls;
mod upstream;
mod worker;

pub use breakwater_cache::store::disk::SMALLEST as SMALLEST_DISK;
pub use crs::{CRS_DIRS, crs_dir, read_crs};
pub use disk::DiskOptions;
#[cfg(feature = "testing")]
pub use disk::{HeldReads, synthesize_disk};
pub use error::{CrsError, GeoError, StartError, TakeoverError};
pub use listen::Listen;
pub use memory::cgroup_memory_limit;
pub use server::{Applied, DataPlane, Options, default_workers};
pub use spool::SpoolOptions;
pub use telemetry::{LogOptions, LogTarget};
