//! The manifest: what there is, by digest.

use serde::{Deserialize, Serialize};

use crate::{Digest, ObjectId};

/// One object of a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which object.
    #[serde(flatten)]
    pub id: ObjectId,
    /// `metadata.generation` of the object the blob was compiled from; 0 outside Kubernetes.
    pub generation: i64,
    /// The digest of its blob.
    pub sha256: Digest,
    /// The blob's size, bytes.
    pub size: u64,
}

/// A sorted list of entries, one for each object. Its digest names the whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The entries, sorted by object name, each name once.
    pub entries: Vec<Entry>,
}

impl Manifest {
    /// Sorts `entries` into a manifest.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        entries.dedup_by(|later, first| later.id == first.id);
        Self { entries }
    }

    /// The JSON text that [`Manifest::digest`] is taken of and that the operator serves.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The digest of the whole configuration.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_json())
    }

    /// The entry of one object.
    pub fn get(&self, id: &ObjectId) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.id.cmp(id)).ok()?;
        self.entries.get(at)
    }
}
