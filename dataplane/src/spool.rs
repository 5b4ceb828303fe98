//! Responses too large for memory, kept in a file while they come, for those who come late.
//!
//! The cache says which and when ([`Spooler`]); here are the files and the thread that writes them. A file has no name: it
//! goes with the process, however that ends.
//!
//! Invariants: no worker waits for the disk; a slow or failing one costs those who come late a fetch of their own, and
//! nobody else anything but a moment ([`PATIENCE`]).

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use breakwater_cache::fill::Spooler;
use breakwater_cache::store::disk::{File, write_all_at};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::disk::temporary;

/// How long fetches that nobody follows wait for the disk, each in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes that wait for the thread. Each spool has one at a time, and there are no more spools than this.
const MAX_WAITING: usize = 64;

/// Where what comes is kept for those who come late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// A directory that can be written. Files in it have no names.
    pub dir: PathBuf,
    /// Bytes they may take together.
    pub bytes: u64,
}

impl SpoolOptions {
    /// Bytes that they may take when nobody says.
    pub const DEFAULT_BYTES: u64 = 1 << 30;
}

/// The thread that writes.
#[derive(Clone, Debug)]
pub(crate) struct Spools {
    jobs: mpsc::SyncSender<Job>,
}

#[derive(Debug)]
enum Job {
    Create(oneshot::Sender<io::Result<Arc<dyn File>>>),
    Write {
        file: Arc<dyn File>,
        at: u64,
        pieces: Vec<Bytes>,
        done: oneshot::Sender<io::Result<()>>,
    },
}

impl Spools {
    /// Starts the thread, which ends with the last handle.
    pub(crate) fn start(options: &SpoolOptions) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::sync_channel(MAX_WAITING);
        let dir = options.dir.clone();
        let serve = move || {
            for job in waiting {
                match job {
                    // Who asked may have given up.
                    Job::Create(done) => drop(done.send(temporary(&dir))),
                    Job::Write { file, at, pieces, done } => drop(done.send(write(&*file, at, &pieces))),
                }
            }
        };
        thread::Builder::new().name("spool-write".to_owned()).spawn(serve)?;
        Ok(Self { jobs })
    }

    /// Writes what `spooler` has until its end; or gives it up.
    pub(crate) async fn keep(&self, spooler: Spooler) {
        if let Err(error) = self.try_keep(spooler).await {
            tracing::warn!(%error, "a response is not kept for those who come late");
        }
    }

    async fn try_keep(&self, mut spooler: Spooler) -> io::Result<()> {
        let file = self.ask(&spooler, Job::Create).await?;
        spooler.write_to(Arc::clone(&file));
        let mut at = 0;
        let mut held_up = Duration::ZERO;
        loop {
            // A fetch that failed says so itself; for want of room there is nothing to say.
            let Ok(pieces) = spooler.pieces().await else {
                return Ok(());
            };
            if pieces.is_empty() {
                spooler.end();
                return Ok(());
            }
            let begun = Instant::now();
            let written = self.ask(&spooler, |done| Job::Write {
                file: Arc::clone(&file),
                at,
                pieces: pieces.clone(),
                done,
            });
            written.await?;
            if spooler.holds_up() {
                held_up += begun.elapsed();
            }
            if held_up > PATIENCE && !spooler.is_followed() {
                return Err(io::Error::other("the disk is slower than the origin and its clients"));
            }
            at += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
            spooler.wrote(&pieces);
        }
    }

    /// Has the thread do something; not for ever, unless somebody reads what it does.
    async fn ask<T>(
        &self,
        spooler: &Spooler,
        job: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Job,
    ) -> io::Result<T> {
        let (done, mut answer) = oneshot::channel();
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.jobs.try_send(job(done)).map_err(|_| ended())?;
        loop {
            match tokio::time::timeout(PATIENCE, &mut answer).await {
                Ok(answer) => return answer.map_err(|_| ended())?,
                Err(_) if spooler.is_followed() => {}
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }
}

fn write(file: &dyn File, mut at: u64, pieces: &[Bytes]) -> io::Result<()> {
    for piece in pieces {
        write_all_at(file, piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}
