//! What the data plane tells about itself: counters, the access log and the audit log.
//!
//! Nothing here may delay a request: counters are cells of the worker, log lines go through a bounded queue to a
//! writer thread, and a full queue drops the line and counts the drop.

pub(crate) mod access_log;
pub(crate) mod cells;
pub(crate) mod collect;
pub(crate) mod line_log;
pub(crate) mod metrics;
pub(crate) mod rule_cells;

pub(crate) use cells::{CacheResult, ListenerCells, ParentResult, PrefetchResult, ResourceCells, WorkerCells};
pub(crate) use line_log::LineLog;
pub use line_log::{LogOptions, LogTarget};
pub(crate) use metrics::{Metrics, PolicyCells};
pub(crate) use rule_cells::Direction;
