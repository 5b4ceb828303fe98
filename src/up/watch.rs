//! Notices that a directory changed, and waits until it is quiet.
//!
//! Editors and `kubectl`-like tools write a file in several steps, and a ConfigMap mount swaps a symbolic link: so a
//! change is reported once nothing has happened for [`QUIET`], at the latest after [`PATIENCE`].
//!
//! Invariant: every change after [`watch`] is reported, also when a wait is given up halfway, and when another directory
//! takes the place of the one that is watched (a symbolic link to the release in use, `mv`, an editor that replaces the
//! one file).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::select_all;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

const QUIET: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(2);

/// How often is looked whether the directory is still the one that is watched; where the system cannot watch, whether
/// something in it changed.
const POLL: Duration = Duration::from_secs(2);

/// The changes of a directory.
pub(super) struct Changes {
    dir: PathBuf,
    told: mpsc::Sender<()>,
    events: mpsc::Receiver<()>,
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of what is watched; none while nothing is there.
    identity: Option<(u64, u64)>,
    warned: bool,
    /// Something changed and is not reported yet: when it must be.
    latest: Option<Instant>,
}

/// Watches `dir`. Where the system cannot, it is looked at every two seconds.
pub(super) fn watch(dir: &Path) -> Changes {
    // One waiting event is as good as many.
    let (told, events) = mpsc::channel(1);
    let mut changes = Changes {
        dir: dir.to_owned(),
        told,
        events,
        watcher: None,
        identity: None,
        warned: false,
        latest: None,
    };
    changes.look();
    changes
}

/// Resolves when something changed in one of the directories and it is quiet again there. Cancel safe.
pub(super) async fn any_settled(changes: &mut [Changes]) {
    select_all(changes.iter_mut().map(|changes| Box::pin(changes.settled()))).await;
}

impl Changes {
    /// Resolves when something changed and it is quiet again. Cancel safe.
    pub(super) async fn settled(&mut self) {
        let latest = loop {
            if let Some(latest) = self.latest {
                break latest;
            }
            let happened = match timeout(POLL, self.events.recv()).await {
                Ok(event) => event.is_some(),
                Err(_) => self.look(),
            };
            if happened {
                self.latest = Some(Instant::now() + PATIENCE);
            }
        };
        loop {
            let quiet = (Instant::now() + QUIET).min(latest);
            match timeout_at(quiet, self.events.recv()).await {
                Ok(Some(())) if Instant::now() < latest => {}
                _ => break,
            }
        }
        self.latest = None;
    }

    /// Watches what is there now, if it is not what was there before. Returns whether to read it.
    fn look(&mut self) -> bool {
        let there = std::fs::metadata(&self.dir);
        let identity = there.ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let same = identity == self.identity;
        if same && (identity.is_none() || self.watcher.is_some()) {
            return false;
        }
        self.identity = identity;
        self.watcher = None;
        if identity.is_some() {
            match self.watch() {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) if !self.warned => {
                    self.warned = true;
                    let dir = self.dir.display();
                    tracing::warn!(%error, %dir, "changes are not announced here: looking every 2 s");
                }
                Err(_) => {}
            }
        }
        true
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let told = self.told.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let read_only = event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
            if !read_only {
                // Full: one waits already.
                let _ = told.try_send(());
            }
        })?;
        watcher.watch(&self.dir, RecursiveMode::Recursive)?;
        Ok(watcher)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_change_is_reported_after_a_wait_that_was_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut changes = watch(dir.path());
        fs::write(dir.path().join("a.yaml"), "a").unwrap();
        while changes.latest.is_none() {
            // Given up long before it is quiet, as `select!` does when another branch is ready.
            let cut_short = timeout(Duration::from_millis(5), changes.settled()).await;
            assert!(cut_short.is_err());
        }
        timeout(DEADLINE, changes.settled()).await.unwrap();
    }

    #[tokio::test]
    async fn a_directory_in_the_place_of_the_watched_one_is_read_and_watched() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, current) = (dir.path().join("1"), dir.path().join("2"), dir.path().join("current"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        std::os::unix::fs::symlink(&one, &current).unwrap();
        let mut changes = watch(&current);
        std::os::unix::fs::symlink(&two, dir.path().join("next")).unwrap();
        fs::rename(dir.path().join("next"), &current).unwrap();
        timeout(DEADLINE, changes.settled()).await.unwrap();
        fs::write(two.join("a.yaml"), "a").unwrap();
        timeout(DEADLINE, changes.settled()).await.unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_goes_is_told_once_and_its_return_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifests");
        fs::create_dir(&path).unwrap();
        let mut changes = watch(&path);
        fs::remove_dir(&path).unwrap();
        assert!(changes.look());
        assert!(!changes.look());
        fs::create_dir(&path).unwrap();
        assert!(changes.look());
        assert!(!changes.look());
    }
}
