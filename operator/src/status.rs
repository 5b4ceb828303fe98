//! Tells the authors of objects what became of them: conditions, counts of nodes, events. Leader only.
//!
//! Invariants: a status is written only when it differs from what is there, each object at most once a second, a few
//! at once, and never by a replica that does not hold the Lease at that moment. What nodes run is judged by what their
//! manifest holds, so an object that did not change stays programmed while another one is rolled out.
//! A condition does not flicker: an object that was programmed is called otherwise only when that has lasted
//! [`Patience::settle`], since each change of an endpoint makes a new unit that every node has within milliseconds. A
//! replica that just began to lead counts on as many nodes as statuses speak of, for [`Patience::young`]: nodes that spoke
//! to the leader before take that long to come back. A purge is recorded in the status of its EdgeCache before it is called
//! complete: from then on its object may be deleted.

pub mod crs;
mod events;
pub mod fleet;
pub mod judge;
pub mod peers;
pub mod prefetch;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use breakwater_compile::Verdict;
use breakwater_compile::purge_record::Published;
use breakwater_snapshot::{Digest, Manifest, ObjectId};

pub use write::{FIELD_MANAGER, StatusWriter};

/// What a compile says that status writing needs.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Arc<Manifest>,
    /// What there is to say of each object.
    pub verdicts: Arc<[Verdict]>,
    /// The purges that are published, by their EdgeCache.
    pub purges: Arc<BTreeMap<ObjectId, Vec<Published>>>,
}

/// How long status writing waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Shortest time between two writes of one object's status.
    pub pace: Duration,
    /// Shortest time between two writes of one object's status that tell nothing but how far prefetching is.
    pub progress: Duration,
    /// How long an object must have ceased to be programmed before that is said.
    pub settle: Duration,
    /// How long nodes get to run something new before it is said that they do not yet: they mostly do by then, and
    /// one write that says so comes sooner than two.
    pub first: Duration,
    /// How long a new leader counts on nodes it has not heard of.
    pub young: Duration,
    /// How long a silent node is counted.
    pub node_memory: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pace: Duration::from_secs(1),
            progress: Duration::from_secs(5),
            settle: Duration::from_secs(2),
            first: Duration::from_millis(500),
            young: Duration::from_secs(30),
            node_memory: Duration::from_secs(90),
        }
    }
}
