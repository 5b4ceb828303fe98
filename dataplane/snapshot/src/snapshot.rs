//! The snapshot: manifest and blobs together.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::unit::Unit;
use crate::{Digest, Entry, Manifest, ObjectId};

/// What a blob holds: a compiled unit, or word that its object is broken.
///
/// A broken object is part of the configuration so that each node can keep the last good unit it has of it; a node
/// that never had one fails closed on `targets` (a security object) or goes without (all others).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state")]
pub enum Blob {
    /// The object compiled.
    Valid {
        /// What it compiled to.
        unit: Box<Unit>,
    },
    /// The object is invalid; its status says the same.
    Invalid {
        /// The objects a broken security policy would have protected.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        targets: Vec<ObjectId>,
        /// Why, for a person.
        message: String,
    },
}

impl Blob {
    /// The canonical bytes, which [`Entry::sha256`] is taken of.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a blob.
    ///
    /// # Errors
    /// When the bytes are not a blob of this version.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SnapshotError> {
        serde_json::from_slice(bytes).map_err(|error| SnapshotError::Malformed(error.to_string()))
    }
}

/// A whole configuration: the manifest and every blob it names.
#[derive(Clone, Default)]
pub struct Snapshot {
    manifest: Manifest,
    blobs: BTreeMap<Digest, Arc<[u8]>>,
}

impl std::fmt::Debug for Snapshot {
    /// Without the blobs, some of which hold private keys: they must never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Puts compiled objects together.
    pub fn build(objects: impl IntoIterator<Item = (ObjectId, i64, Blob)>) -> Self {
        let mut entries = Vec::new();
        let mut blobs = BTreeMap::new();
        for (id, generation, blob) in objects {
            let bytes = blob.to_json();
            let sha256 = Digest::of(&bytes);
            entries.push(Entry {
                id,
                generation,
                sha256,
                size: bytes.len() as u64,
            });
            blobs.insert(sha256, bytes.into());
        }
        Self {
            manifest: Manifest::new(entries),
            blobs,
        }
    }

    /// Puts a manifest and fetched blobs together, checking that each blob is there and is what its digest says.
    ///
    /// # Errors
    /// [`SnapshotError::Missing`] or [`SnapshotError::Mismatch`], naming the object.
    pub fn assemble(manifest: Manifest, mut fetched: BTreeMap<Digest, Arc<[u8]>>) -> Result<Self, SnapshotError> {
        let mut blobs = BTreeMap::new();
        for entry in &manifest.entries {
            if blobs.contains_key(&entry.sha256) {
                continue;
            }
            let bytes = fetched
                .remove(&entry.sha256)
                .ok_or_else(|| SnapshotError::Missing(entry.id.clone()))?;
            if Digest::of(&bytes) != entry.sha256 {
                return Err(SnapshotError::Mismatch(entry.id.clone()));
            }
            blobs.insert(entry.sha256, bytes);
        }
        Ok(Self { manifest, blobs })
    }

    /// This snapshot, and of `other` the objects that this one does not have.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let missing = other
            .manifest
            .entries
            .iter()
            .filter(|entry| self.manifest.get(&entry.id).is_none());
        let mut blobs = self.blobs.clone();
        for entry in missing.clone() {
            if let Some(bytes) = other.blob(&entry.sha256) {
                blobs.insert(entry.sha256, Arc::clone(bytes));
            }
        }
        let entries = self.manifest.entries.iter().chain(missing).cloned().collect();
        Self {
            manifest: Manifest::new(entries),
            blobs,
        }
    }

    /// The manifest.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// One blob's bytes.
    pub fn blob(&self, digest: &Digest) -> Option<&Arc<[u8]>> {
        self.blobs.get(digest)
    }

    /// Every blob.
    pub fn blobs(&self) -> impl Iterator<Item = (&Digest, &Arc<[u8]>)> {
        self.blobs.iter()
    }
}

/// A configuration that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A blob is not of this version's form.
    #[error("the compiled unit cannot be read: {0}; operator and data plane must be of the same version")]
    Malformed(String),
    /// The manifest names a blob that is not there.
    #[error("the blob of {0} is missing")]
    Missing(ObjectId),
    /// A blob is not what its digest says.
    #[error("the blob of {0} does not match its digest")]
    Mismatch(ObjectId),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn broken(name: &str) -> (ObjectId, i64, Blob) {
        let blob = Blob::Invalid {
            targets: Vec::new(),
            message: format!("{name} is broken"),
        };
        (ObjectId::new(Kind::EdgeCache, "default", name), 1, blob)
    }

    #[test]
    fn the_order_of_objects_does_not_change_the_digest() {
        let one = Snapshot::build([broken("a"), broken("b")]);
        let other = Snapshot::build([broken("b"), broken("a")]);
        assert_eq!(one.manifest().digest(), other.manifest().digest());
    }

    #[test]
    fn a_blob_that_does_not_match_its_digest_is_refused_by_name() {
        let snapshot = Snapshot::build([broken("a")]);
        let blobs = snapshot
            .blobs()
            .map(|(digest, _)| (*digest, Arc::from(&b"lie"[..])))
            .collect();
        let error = Snapshot::assemble(snapshot.manifest().clone(), blobs).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the blob of EdgeCache/default/a does not match its digest"
        );
    }

    #[test]
    fn what_one_snapshot_lacks_the_other_gives_and_nothing_more() {
        let (one, other) = (
            Snapshot::build([broken("a")]),
            Snapshot::build([broken("a"), broken("b")]),
        );
        let both = one.or(&other);
        assert_eq!(both.manifest(), other.manifest());
        assert_eq!(other.or(&one).manifest(), other.manifest());
        assert!(
            both.manifest()
                .entries
                .iter()
                .all(|entry| both.blob(&entry.sha256).is_some())
        );
    }

    #[test]
    fn a_missing_blob_is_named() {
        let snapshot = Snapshot::build([broken("a")]);
        let error = Snapshot::assemble(snapshot.manifest().clone(), BTreeMap::new()).unwrap_err();
        assert!(matches!(error, SnapshotError::Missing(id) if id.name == "a"));
    }
}
