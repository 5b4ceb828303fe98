//! Notices that a directory changed, and waits until it is quiet.
//!
//! Editors and `kubectl`-like tools write a file in several steps, and a ConfigMap mount swaps a symbolic link: so a
//! change is reported once nothing has happened for [`QUIET`], at the latest after [`PATIENCE`].

use std::path::Path;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

const QUIET: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a directory that cannot be watched is looked at.
const POLL: Duration = Duration::from_secs(2);

/// The changes of a directory.
pub(super) struct Changes {
    events: mpsc::Receiver<()>,
    watcher: Option<RecommendedWatcher>,
}

/// Watches `dir`. Where the system cannot, it is looked at every two seconds.
pub(super) fn watch(dir: &Path) -> Changes {
    // One waiting event is as good as many.
    let (told, events) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let read_only = event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
        if !read_only {
            let _ = told.try_send(());
        }
    });
    let watching = watcher.and_then(|mut watcher| {
        watcher.watch(dir, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    if let Err(error) = &watching {
        tracing::warn!(%error, dir = %dir.display(), "changes are not announced here: looking every 2 s");
    }
    Changes {
        events,
        watcher: watching.ok(),
    }
}

impl Changes {
    /// Resolves when something changed and it is quiet again.
    pub(super) async fn settled(&mut self) {
        if self.watcher.is_none() {
            return tokio::time::sleep(POLL).await;
        }
        if self.events.recv().await.is_none() {
            return std::future::pending().await;
        }
        let latest = Instant::now() + PATIENCE;
        loop {
            let quiet = (Instant::now() + QUIET).min(latest);
            match timeout_at(quiet, self.events.recv()).await {
                Ok(Some(())) if Instant::now() < latest => {}
                _ => return,
            }
        }
    }
}
