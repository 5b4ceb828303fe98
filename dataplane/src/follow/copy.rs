//! The last good configuration on disk, for whoever applies snapshots without a stream: `breakwater up`.

use std::path::PathBuf;

use breakwater_snapshot::{Rejection, Snapshot};

use super::Timing;
use super::disk::Disk;
use super::last_good::LastGood;

/// A directory that holds each object at the last version that worked. A disk that is full or fails is said and
/// survived: what was kept before stays usable.
#[derive(Debug)]
pub struct LastGoodCopy {
    disk: Disk,
    good: LastGood,
}

impl LastGoodCopy {
    /// The copy in `dir`, which is made when it is first written. Secrets are not in it.
    pub fn open(dir: PathBuf) -> Self {
        let limits = Timing::default();
        Self {
            disk: Disk::new(dir, None, limits.manifest_bytes as u64, limits.blob_bytes),
            good: LastGood::default(),
        }
    }

    /// What was kept by an earlier run; none when there is nothing that can be used.
    pub fn load(&mut self) -> Option<Snapshot> {
        match self.disk.load() {
            Ok(found) => {
                let snapshot = found?;
                self.good = LastGood::restored(&snapshot);
                Some(snapshot)
            }
            Err(error) => {
                tracing::warn!(%error, "the copy of the last good configuration cannot be used");
                None
            }
        }
    }

    /// Keeps `snapshot`, but for the objects that were rejected: their last good version stays. Blocks on the disk.
    pub fn keep(&mut self, snapshot: &Snapshot, rejected: &[Rejection]) {
        self.good = self.good.followed_by(snapshot, rejected);
        if let Err(error) = self.disk.save(self.good.snapshot()) {
            tracing::warn!(%error, "the last good configuration cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakwater_snapshot::{Blob, Kind, ObjectId};

    fn snapshot(message: &str) -> Snapshot {
        let id = ObjectId::new(Kind::EdgeCache, "default", "site");
        let blob = Blob::Invalid {
            targets: Vec::new(),
            message: message.to_owned(),
        };
        Snapshot::build([(id, 1, blob)])
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        LastGoodCopy::open(dir.path().join("state")).keep(&snapshot("one"), &[]);
        let restored = LastGoodCopy::open(dir.path().join("state")).load().unwrap();
        assert_eq!(restored.manifest(), snapshot("one").manifest());
    }

    #[test]
    fn an_empty_directory_has_nothing_and_that_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(LastGoodCopy::open(dir.path().to_owned()).load().is_none());
    }
}
