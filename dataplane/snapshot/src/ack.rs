//! What a node tells the operator.

use serde::{Deserialize, Serialize};

use crate::{Digest, ObjectId};

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
