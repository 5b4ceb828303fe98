//! What a node tells the operator.

use serde::{Deserialize, Serialize};

use crate::{Digest, ObjectId, PeerAddress};

/// A node's word about the manifest it runs: sent on each change and every 30 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The node's name; in a cluster, the Kubernetes node.
    pub node: String,
    /// The manifest it has applied.
    pub manifest: Digest,
    /// Objects of that manifest which it could not apply and for which it runs the last good unit, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejection>,
    /// How far it is with what it fetches by itself, sorted by object; [`PrefetchProgress::MOST`] at the most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefetch: Vec<PrefetchProgress>,
    /// Where other nodes may ask it for what they lack; none: nowhere, or not now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerAddress>,
    /// The version of the Core Rule Set it has on disk, such as `OWASP_CRS/4.28.0`; none: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crs: Option<String>,
}

/// One object that a node could not apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Which object.
    #[serde(flatten)]
    pub id: ObjectId,
    /// Why, for a person.
    pub message: String,
}

/// How far a node is with the prefetch list of one EdgeCache. Counts are those of the run in progress, or else of the last
/// one; `urls` = `fetched` + `fresh` + `failed` + those that are left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefetchProgress {
    /// Which object.
    #[serde(flatten)]
    pub id: ObjectId,
    /// The generation of the object whose list this is.
    pub generation: i64,
    /// Whether a run is in progress.
    pub running: bool,
    /// Requests to make, as far as known.
    pub urls: u32,
    /// Those that brought something into the cache, or confirmed it.
    pub fetched: u32,
    /// Those for which something fresh was stored already.
    pub fresh: u32,
    /// Those that left nothing of use.
    pub failed: u32,
    /// When a run through this list was last over, Unix seconds; none: never yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
    /// The first few failures of the last run that is over, or of the first one; [`PrefetchProgress::REASONS`] at the
    /// most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// When what failed is tried again, Unix seconds; none: nothing failed, or it is being tried now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u64>,
}

impl PrefetchProgress {
    /// Objects that a node speaks of.
    pub const MOST: usize = 256;
    /// Failures that are told of each.
    pub const REASONS: usize = 3;
    /// Longest text of a failure, bytes.
    pub const LONGEST: usize = 256;

    /// Requests not made yet.
    pub const fn pending(&self) -> u32 {
        self.urls
            .saturating_sub(self.fetched)
            .saturating_sub(self.fresh)
            .saturating_sub(self.failed)
    }

    /// What does not change with each request: word of it need not wait.
    pub fn milestones(&self) -> (&ObjectId, i64, bool, Option<u64>) {
        (&self.id, self.generation, self.running, self.completed)
    }
}
