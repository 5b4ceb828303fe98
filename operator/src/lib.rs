//! The operator: it watches custom resources, compiles them, publishes the result to the data plane and reports what
//! became of it in each object's status.
//!
//! ```text
//! API server -> watch -> World -> breakwater-compile -> Snapshot -> publish -> nodes
//!                                        |                             |
//!                                     Verdicts ------> status <------ acks
//!                                                        ^
//!                                                      lease (one replica writes)
//! ```
//!
//! Every replica watches, compiles and publishes; only the one that holds the Lease writes to the API server, and fetches
//! the [`lists`] of addresses that policies name by URL.

pub mod debounce;
mod error;
pub mod lease;
pub mod lists;
mod metrics;
pub mod publish;
pub mod rbac;
mod run;
pub mod status;
pub mod watch;

pub use error::{OperatorError, client};
pub use metrics::Metrics;
pub use run::{Operator, Options};
