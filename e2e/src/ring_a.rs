//! Our own programs on ring a: real operators and data planes beside a real API server, with a
//! scripted origin behind them.
//!
//! The operator never is an administrator: it has the ServiceAccount and the rules that the chart
//! renders, so that a missing permission fails every test. Programs listen on addresses
//! `127.NUMBER.*.*` of the run, with the ports they have in a cluster: no port is chosen at random,
//! and a restart finds its own again.

pub mod front;
pub mod origin;
mod programs;
mod start;

pub use programs::{DataPlane, Operator};
pub use start::{RingA, SYSTEM_NAMESPACE};
