//! The disk tier's thread that writes, its files, and a lock on the directory; and the threads that read ([`Reads`]), for
//! the tier and for what is [spooled](crate::spool).
//!
//! Starting: the lock is taken, the store opened, its purges taken over; then the writer's thread recovers what is stored,
//! for which the start waits a little ([`PATIENCE`]); what takes longer is served from when it is there. When another
//! process has the lock, which is so while one takes over another, the store is attached when that one lets go.

mod files;
mod reads;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use breakwater_cache::store::disk::{self, Complaint, DiskConfig, Log, Opened, Store, Superblock};
use breakwater_cache::{Cache, Timestamp};
use parking_lot::Mutex;

use crate::StartError;
pub(crate) use files::temporary;
use files::{Files, Lock};
#[cfg(feature = "testing")]
pub use reads::HeldReads;
pub(crate) use reads::Reads;

/// How long a start waits for what is stored to be found again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks whether another process has let go.
const PAUSE: Duration = Duration::from_millis(50);

/// How often marks of invalidations, which are written at once, reach the disk itself, and how often the writer looks
/// whether it should end.
const TICK: Duration = Duration::from_millis(500);

/// How long the end of a drain waits for what is queued to be written.
const FLUSH: Duration = Duration::from_secs(5);

/// Where stored responses go on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// A directory that belongs to the store alone.
    pub dir: PathBuf,
    /// Bytes it may take.
    pub bytes: u64,
}

/// A store on its way, from before there is a cache.
pub(crate) struct Opening {
    options: DiskOptions,
    files: Arc<Files>,
    /// As this process will have it.
    superblock: Superblock,
    purges: Vec<u8>,
    searches: Vec<u8>,
    /// None: another process has it still.
    opened: Option<(Lock, Opened)>,
}

/// The tier of a running data plane.
pub(crate) struct Disk {
    cache: Arc<Cache>,
    leaving: Arc<AtomicBool>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Opening {
    /// Opens the store, or looks at it when another process has it.
    pub(crate) fn begin(options: &DiskOptions) -> Result<Self, StartError> {
        let failed = |source| StartError::Disk {
            path: options.dir.clone(),
            source,
        };
        let files = Arc::new(Files::new(&options.dir).map_err(failed)?);
        let opened = match files.lock().map_err(failed)? {
            Some(lock) => Some((lock, open(&files, options).map_err(failed)?)),
            None => None,
        };
        let (superblock, purges, searches) = match &opened {
            Some((
                _,
                Opened {
                    store,
                    purges,
                    searches,
                    ..
                },
            )) => (*store.superblock(), purges.clone(), searches.clone()),
            None => {
                let (superblock, purges, searches) =
                    disk::peek(&*files).ok_or_else(|| StartError::DiskInUse(options.dir.clone()))?;
                let boot = superblock.boot.saturating_add(1);
                (Superblock { boot, ..superblock }, purges, searches)
            }
        };
        Ok(Self {
            options: options.clone(),
            files,
            superblock,
            purges,
            searches,
            opened,
        })
    }

    /// What keys are hashed with.
    pub(crate) const fn seed(&self) -> u128 {
        self.superblock.seed
    }

    /// Starts the threads; returns when what is stored is found again, or that takes too long.
    pub(crate) fn run(self, cache: &Arc<Cache>) -> Result<Disk, StartError> {
        let path = self.options.dir.clone();
        let failed = |source| StartError::Disk {
            path: path.clone(),
            source,
        };
        let unreadable = |error: breakwater_cache::purge::journal::Error| io::Error::other(error.to_string());
        let leaving = Arc::<AtomicBool>::default();
        let awaited = cache.await_disk(&self.superblock, &self.purges);
        if let Err(error) = awaited {
            return Err(failed(unreadable(error)));
        }
        cache.restore_searches(&self.searches);
        if let Some((_, opened)) = &self.opened
            && let Err(error) = cache.adopt_purges(&opened.store, &opened.purges)
        {
            return Err(failed(unreadable(error)));
        }
        let waits = self.opened.is_some();
        if !waits {
            tracing::info!(dir = %self.options.dir.display(), "another process has the disk store; it is used when that one lets go");
        }
        let (attached, told) = mpsc::sync_channel(1);
        let writer = Writer {
            opening: self,
            cache: Arc::clone(cache),
            leaving: Arc::clone(&leaving),
            attached,
        };
        let thread = thread::Builder::new()
            .name("disk-write".to_owned())
            .spawn(move || writer.run());
        let thread = thread.map_err(failed)?;
        if waits {
            // Ended, late, or there: in each case the start goes on.
            let _ = told.recv_timeout(PATIENCE);
        }
        Ok(Disk {
            cache: Arc::clone(cache),
            leaving,
            writer: Mutex::new(Some(thread)),
        })
    }
}

impl Disk {
    /// Lets the store go: what is queued is written, nothing more is read, and another process may have it.
    pub(crate) fn release(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.cache.keep_purges();
        self.cache.keep_searches();
        if let Some(store) = self.cache.disk() {
            store.close();
        }
        if let Some(thread) = &*self.writer.lock() {
            thread.thread().unpark();
        }
    }

    /// Waits until the store is let go; for a slow disk not for ever.
    pub(crate) async fn flushed(&self) {
        self.release();
        let until = Instant::now() + FLUSH;
        let ended = || self.writer.lock().as_ref().is_none_or(thread::JoinHandle::is_finished);
        while !ended() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.release();
    }
}

/// The thread that writes.
struct Writer {
    opening: Opening,
    cache: Arc<Cache>,
    leaving: Arc<AtomicBool>,
    attached: mpsc::SyncSender<()>,
}

impl Writer {
    fn run(mut self) {
        let Some((lock, opened)) = self.opening.opened.take().or_else(|| self.wait()) else {
            return;
        };
        if let Some(why) = &opened.emptied {
            tracing::warn!(dir = %self.opening.options.dir.display(), "the disk store is emptied: {why}");
        }
        let store = opened.store;
        let begun = Instant::now();
        let log = match store.recover() {
            Ok(log) => log,
            Err(error) => return tracing::error!(%error, "the disk store cannot be read; serving without it"),
        };
        let took = begun.elapsed();
        store.recovered_in(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        if !self.cache.attach_disk(&store) {
            tracing::warn!("too much happened before the disk store could be used; it is emptied");
        }
        let stats = store.stats();
        tracing::info!(
            objects = stats.objects,
            bytes = stats.bytes,
            ?took,
            "the disk store is in use"
        );
        // Nobody may wait any more.
        let _ = self.attached.try_send(());
        self.write(&store, log);
        drop(lock);
    }

    /// Waits for another process to let go.
    fn wait(&self) -> Option<(Lock, Opened)> {
        let Opening { files, options, .. } = &self.opening;
        loop {
            if self.leaving.load(Ordering::SeqCst) {
                return None;
            }
            match files.lock() {
                Ok(Some(lock)) => return self.take_over(lock, open(files, options)),
                Ok(None) => thread::park_timeout(PAUSE),
                Err(error) => {
                    tracing::error!(%error, "the disk store cannot be locked; serving without it");
                    return None;
                }
            }
        }
    }

    fn take_over(&self, lock: Lock, opened: io::Result<Opened>) -> Option<(Lock, Opened)> {
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, "the disk store cannot be opened; serving without it");
                return None;
            }
        };
        let theirs = opened.store.superblock();
        let same = theirs.seed == self.opening.superblock.seed && theirs.boot >= self.opening.superblock.boot;
        if !same || self.cache.adopt_purges(&opened.store, &opened.purges).is_err() {
            tracing::error!("the disk store became another one meanwhile; serving without it");
            return None;
        }
        Some((lock, opened))
    }

    fn write(&self, store: &Store, mut log: Log) {
        let mut kept = Instant::now();
        loop {
            let turn = store.turn();
            if !log.work(now(), TICK) {
                return;
            }
            if self.leaving.load(Ordering::SeqCst) && !store.is_closed() {
                store.close();
            }
            self.cache.note_news();
            store.settle(turn);
            if kept.elapsed() >= TICK {
                kept = Instant::now();
                self.cache.keep_purges();
                self.cache.keep_searches();
            }
            match store.complaint() {
                Some(Complaint::Resting { error, ms }) => {
                    tracing::error!(
                        error,
                        "the disk store cannot be written; trying again in {} s",
                        ms / 1000
                    );
                }
                Some(Complaint::Distrusted(why)) => {
                    tracing::error!("the disk store is not used after a restart: {why}");
                }
                None => {}
            }
        }
    }
}

fn open(files: &Arc<Files>, options: &DiskOptions) -> io::Result<Opened> {
    let config = DiskConfig { bytes: options.bytes };
    let dir = Arc::clone(files);
    disk::open(dir, &config, [crate::server::random(), crate::server::random()])
}

/// Fills a directory with a store of this size whose objects take 32 KiB each and are not there, to measure a start with
/// it. Returns their number.
///
/// # Errors
/// The disk's.
#[cfg(feature = "testing")]
pub fn synthesize_disk(options: &DiskOptions) -> io::Result<u64> {
    let files: Arc<dyn disk::Dir> = Arc::new(Files::new(&options.dir)?);
    disk::synthesize(&files, &DiskConfig { bytes: options.bytes }, 8)
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
