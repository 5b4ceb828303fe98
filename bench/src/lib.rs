//! The bench's harness: the same load against Breakwater and its peers, in one run.
//!
//! What it does: starts each server pinned to one CPU, drives it from another, and divides the CPU time the kernel
//! charged to the server's process tree by the requests that completed ([`account`]). CPU per request is the figure
//! because it holds on a shared machine, where requests per second do not.
//!
//! Invariant: nothing is measured before the answers were compared with the origin's bytes and the origin saw that
//! they came from a cache ([`check`]); a server that cannot be measured is named with the reason, never left out.
//!
//! Left to others: what the rows are held against ([`report`]), options and files (`bin/bench.rs`).

pub mod account;
pub mod attack;
pub mod certificate;
pub mod check;
pub mod client;
pub mod crowd;
pub mod error;
pub mod floor;
pub mod hitrate;
pub mod idle;
pub mod latency;
pub mod load;
pub mod machine;
pub mod measure;
pub mod origin;
pub mod peer;
pub mod plot;
pub mod purge;
pub mod report;
pub mod server;
pub mod waf;
pub mod zipf;

pub use error::Error;
