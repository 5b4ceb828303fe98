//! The blobs that can be fetched: those of the published manifest, and for a while those of earlier ones.
//!
//! Invariant: every blob of the newest snapshot is there. Retired blobs leave by age, and the oldest first when they
//! take more than their budget. A blob is compressed once, when a node first asks for it compressed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use breakwater_snapshot::{Digest, Snapshot};

/// zstd's own default: on compiled units, higher levels gain little and cost much.
const LEVEL: i32 = 3;

/// One blob.
#[derive(Debug)]
pub(super) struct StoredBlob {
    bytes: Bytes,
    zstd: OnceLock<Option<Bytes>>,
}

impl StoredBlob {
    fn new(bytes: &Arc<[u8]>) -> Self {
        Self {
            bytes: Bytes::from_owner(Arc::clone(bytes)),
            zstd: OnceLock::new(),
        }
    }

    /// The blob as it is.
    pub(super) fn identity(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The blob compressed; none when that would not make it smaller.
    pub(super) fn zstd(&self) -> Option<Bytes> {
        let compress = || {
            let smaller = zstd::bulk::compress(&self.bytes, LEVEL).ok()?;
            (smaller.len() < self.bytes.len()).then(|| smaller.into())
        };
        self.zstd.get_or_init(compress).clone()
    }
}

/// Blobs by digest.
#[derive(Debug, Default)]
pub(super) struct BlobStore {
    blobs: HashMap<Digest, Arc<StoredBlob>>,
    /// Blobs no longer in the manifest, oldest first. One that came back into the manifest may still be listed.
    retired: VecDeque<(Instant, Digest)>,
}

impl BlobStore {
    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<StoredBlob>> {
        self.blobs.get(digest).cloned()
    }

    /// Takes in the blobs of `snapshot` and retires all others.
    pub(super) fn replace(&mut self, snapshot: &Snapshot, now: Instant, keep: Duration, budget: usize) {
        // A blob that is back is no longer retired; what stays in the list is retired once and not current.
        self.retired.retain(|(_, digest)| snapshot.blob(digest).is_none());
        let listed: HashSet<Digest> = self.retired.iter().map(|(_, digest)| *digest).collect();
        let gone = self
            .blobs
            .keys()
            .filter(|digest| snapshot.blob(digest).is_none() && !listed.contains(digest))
            .map(|digest| (now, *digest));
        self.retired.extend(gone);
        for (digest, bytes) in snapshot.blobs() {
            self.blobs
                .entry(*digest)
                .or_insert_with(|| Arc::new(StoredBlob::new(bytes)));
        }
        self.sweep(now, keep, budget);
    }

    fn sweep(&mut self, now: Instant, keep: Duration, budget: usize) {
        let size = |blobs: &HashMap<Digest, Arc<StoredBlob>>, digest: &Digest| {
            blobs.get(digest).map_or(0, |blob| blob.bytes.len())
        };
        let mut held: usize = self.retired.iter().map(|(_, digest)| size(&self.blobs, digest)).sum();
        while let Some(&(since, digest)) = self.retired.front() {
            if held <= budget && now.saturating_duration_since(since) < keep {
                break;
            }
            held -= size(&self.blobs, &digest);
            self.blobs.remove(&digest);
            self.retired.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakwater_snapshot::{Blob, Kind, ObjectId};

    const KEEP: Duration = Duration::from_secs(60);

    fn snapshot(message: &str) -> (Snapshot, Digest) {
        let blob = Blob::Invalid {
            targets: Vec::new(),
            message: message.to_owned(),
        };
        let digest = Digest::of(&blob.to_json());
        let id = ObjectId::new(Kind::EdgeCache, "default", "a");
        (Snapshot::build([(id, 1, blob)]), digest)
    }

    #[test]
    fn a_retired_blob_stays_for_a_while_and_then_leaves() {
        let start = Instant::now();
        let (one, first) = snapshot("one");
        let (two, second) = snapshot("two");
        let mut store = BlobStore::default();
        store.replace(&one, start, KEEP, 1 << 20);
        store.replace(&two, start, KEEP, 1 << 20);
        assert!(store.get(&first).is_some());
        store.replace(&two, start + KEEP, KEEP, 1 << 20);
        assert!(store.get(&first).is_none());
        assert!(store.get(&second).is_some());
    }

    #[test]
    fn a_blob_that_comes_back_is_not_swept_with_its_former_self() {
        let start = Instant::now();
        let (one, first) = snapshot("one");
        let (two, _) = snapshot("two");
        let mut store = BlobStore::default();
        for snapshot in [&one, &two, &one] {
            store.replace(snapshot, start, KEEP, 1 << 20);
        }
        store.replace(&one, start + KEEP * 2, KEEP, 0);
        assert!(store.get(&first).is_some());
    }

    #[test]
    fn retired_blobs_never_exceed_their_budget() {
        let start = Instant::now();
        let mut store = BlobStore::default();
        let (_, last) = snapshot("39");
        for n in 0..40 {
            store.replace(&snapshot(&n.to_string()).0, start, KEEP, 400);
        }
        let total: usize = store.blobs.values().map(|blob| blob.bytes.len()).sum();
        let current = store.get(&last).unwrap().bytes.len();
        assert!(total - current <= 400, "{total}");
        assert!(total > current, "some history stays");
    }

    #[test]
    fn a_blob_that_does_not_shrink_is_not_sent_compressed() {
        let tiny = StoredBlob::new(&Arc::from(&b"x"[..]));
        assert_eq!(tiny.zstd(), None);
        let long = StoredBlob::new(&Arc::from(vec![b'x'; 10_000]));
        assert!(long.zstd().unwrap().len() < 200);
    }
}
