//! End-to-end tests on real parts, and the cluster they run on.
//!
//! Nothing here is a stand-in: [`cluster`] starts the upstream Kubernetes programs on this machine,
//! [`kubectl`] and [`helm`] are the clients people use, [`client`] is a machine outside the pod
//! network; [`breakwater`] runs the program itself, without a cluster, [`load`] asks it steadily, and
//! [`origin`] stands behind it, [`cache_tests`] is the conformance suite. The invariant of the crate: whatever a test starts is gone when its guard is dropped,
//! also when the test panics, and what a killed test left behind is removed by the next one.

pub mod breakwater;
pub mod cache_tests;
pub mod client;
pub mod cluster;
pub mod command;
pub mod differential;
pub mod edge;
mod error;
pub mod helm;
pub mod http;
pub mod http2;
pub mod installed;
pub mod kubectl;
pub mod load;
pub mod origin;
pub mod process;
pub mod product;
pub mod requirements;
pub mod ring_a;
pub mod takeover;
pub mod wait;

pub use error::{Error, Result};
