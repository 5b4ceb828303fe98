//! How far the lists are, for everybody but the workers: the admin port, metrics, acknowledgements.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use breakwater_snapshot::{ObjectId, PrefetchProgress};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

/// Shortest time between two tellings of counts; what begins or is over is told at once.
const PACE: Duration = Duration::from_secs(5);

/// What workers tell of their lists, and what they need to know of each other.
pub(crate) struct Board {
    workers: usize,
    /// Runs begin within this time, so that nodes do not all begin at once.
    spread: Duration,
    /// The port of `https` as clients see it.
    pub(crate) https_port: u16,
    /// One sitemap is read at a time.
    pub(crate) sitemaps: Semaphore,
    entries: Mutex<Entries>,
    told: watch::Sender<Arc<[PrefetchProgress]>>,
}

#[derive(Default)]
struct Entries {
    all: BTreeMap<ObjectId, PrefetchProgress>,
    told_at: Option<Instant>,
}

impl Board {
    pub(crate) fn new(workers: usize, spread: Duration, https_port: u16) -> Self {
        Self {
            workers: workers.max(1),
            spread,
            https_port,
            sitemaps: Semaphore::new(1),
            entries: Mutex::default(),
            told: watch::Sender::new(Arc::default()),
        }
    }

    /// Whether a site's list is `worker`'s.
    pub(crate) fn is_of(&self, site: u64, worker: usize) -> bool {
        site % self.workers as u64 == worker as u64
    }

    /// How long a run waits before it begins, by chance.
    pub(super) fn delay_ms(&self) -> u64 {
        let most = u64::try_from(self.spread.as_millis()).unwrap_or(u64::MAX);
        if most == 0 { 0 } else { fastrand::u64(..most) }
    }

    pub(super) fn set(&self, progress: PrefetchProgress) {
        let mut entries = self.entries.lock();
        let before = entries.all.get(&progress.id);
        if before == Some(&progress) {
            return;
        }
        let news = before.is_none_or(|before| before.milestones() != progress.milestones());
        entries.all.insert(progress.id.clone(), progress);
        self.tell(&mut entries, news);
    }

    pub(super) fn remove(&self, id: &ObjectId) {
        let mut entries = self.entries.lock();
        if entries.all.remove(id).is_some() {
            self.tell(&mut entries, true);
        }
    }

    fn tell(&self, entries: &mut Entries, news: bool) {
        let now = Instant::now();
        let due = entries
            .told_at
            .is_none_or(|at| now.saturating_duration_since(at) >= PACE);
        if news || due {
            entries.told_at = Some(now);
            let most = PrefetchProgress::MOST;
            self.told
                .send_replace(entries.all.values().take(most).cloned().collect());
        }
    }

    /// How far each list is now.
    pub(crate) fn all(&self) -> Vec<PrefetchProgress> {
        self.entries.lock().all.values().cloned().collect()
    }

    /// How far the lists are, told at a bearable pace.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<[PrefetchProgress]>> {
        self.told.subscribe()
    }
}
