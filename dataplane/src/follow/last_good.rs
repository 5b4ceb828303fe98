//! What is worth keeping on disk: each object at the last unit that worked.
//!
//! Pure. A broken object (rejected by the sink, or published as invalid) is kept at its last good unit when there is
//! one, and as it was published when there is none, so that a security object still fails closed after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use breakwater_snapshot::{Blob, Digest, Entry, Manifest, ObjectId, Rejection, Snapshot};

/// The last good configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct LastGood {
    snapshot: Snapshot,
    /// The entries of `snapshot` that hold a unit which was applied.
    good: BTreeMap<ObjectId, Entry>,
}

impl LastGood {
    /// Takes a copy that was read back, as it was kept.
    pub(super) fn restored(snapshot: &Snapshot) -> Self {
        Self::default().followed_by(snapshot, &[])
    }

    /// The last good configuration after `next` was applied but for `rejected`.
    pub(super) fn followed_by(&self, next: &Snapshot, rejected: &[Rejection]) -> Self {
        let rejected: BTreeSet<&ObjectId> = rejected.iter().map(|rejection| &rejection.id).collect();
        let mut good = BTreeMap::new();
        let mut entries = Vec::with_capacity(next.manifest().entries.len());
        for entry in &next.manifest().entries {
            let before = self.good.get(&entry.id);
            let works = !rejected.contains(&entry.id)
                && (before.is_some_and(|before| before.sha256 == entry.sha256) || is_valid(next, entry));
            let kept = if works { entry } else { before.unwrap_or(entry) };
            if works || before.is_some() {
                good.insert(entry.id.clone(), kept.clone());
            }
            entries.push(kept.clone());
        }
        let manifest = Manifest::new(entries);
        let blobs: BTreeMap<Digest, Arc<[u8]>> = manifest
            .entries
            .iter()
            .filter_map(|entry| {
                let bytes = next.blob(&entry.sha256).or_else(|| self.snapshot.blob(&entry.sha256))?;
                Some((entry.sha256, Arc::clone(bytes)))
            })
            .collect();
        // Every blob is one of `next` or one of ours, so this cannot fail; if it did, what was good stays good.
        Snapshot::assemble(manifest, blobs).map_or_else(|_| self.clone(), |snapshot| Self { snapshot, good })
    }

    pub(super) const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

fn is_valid(snapshot: &Snapshot, entry: &Entry) -> bool {
    let bytes = snapshot.blob(&entry.sha256);
    bytes.is_some_and(|bytes| matches!(Blob::from_json(bytes), Ok(Blob::Valid { .. })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::testing::{invalid, purge, snapshot};

    fn rejection(name: &str) -> Rejection {
        Rejection {
            id: purge(name, 1).0,
            message: "no".to_owned(),
        }
    }

    fn generation(good: &LastGood, name: &str) -> Option<i64> {
        let entry = good.snapshot.manifest().get(&purge(name, 1).0)?;
        assert!(good.snapshot.blob(&entry.sha256).is_some());
        Some(entry.generation)
    }

    #[test]
    fn a_broken_object_stays_at_its_last_good_unit_and_the_rest_moves_on() {
        let first = LastGood::default().followed_by(&snapshot([purge("a", 1), purge("b", 1), purge("c", 1)]), &[]);
        let next = snapshot([purge("a", 2), purge("b", 2), invalid("c", 2)]);
        let second = first.followed_by(&next, &[rejection("a")]);
        assert_eq!(
            ["a", "b", "c"].map(|name| generation(&second, name)),
            [Some(1), Some(2), Some(1)]
        );
    }

    #[test]
    fn the_last_good_unit_outlives_several_bad_ones_and_yields_to_the_fix() {
        let mut good = LastGood::default().followed_by(&snapshot([purge("a", 1)]), &[]);
        good = good.followed_by(&snapshot([purge("a", 2)]), &[rejection("a")]);
        good = good.followed_by(&snapshot([invalid("a", 3)]), &[]);
        assert_eq!(generation(&good, "a"), Some(1));
        good = good.followed_by(&snapshot([purge("a", 4)]), &[]);
        assert_eq!(generation(&good, "a"), Some(4));
    }

    #[test]
    fn an_object_that_was_never_good_is_kept_as_published() {
        let good = LastGood::default().followed_by(&snapshot([invalid("a", 1), purge("b", 1)]), &[rejection("b")]);
        assert_eq!(generation(&good, "a"), Some(1));
        assert_eq!(generation(&good, "b"), Some(1));
        assert!(good.good.is_empty());
    }

    #[test]
    fn a_deleted_object_leaves() {
        let good = LastGood::default().followed_by(&snapshot([purge("a", 1)]), &[]);
        assert_eq!(generation(&good.followed_by(&snapshot([]), &[]), "a"), None);
    }
}
