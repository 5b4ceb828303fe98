//! Logs of one JSON line each, written by a thread of their own.
//!
//! A request never waits for a log: a full queue drops the line and counts it, and a destination that fails is said
//! once and tried again with the next line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

/// A log of lines. Cloning gives another handle to the same log.
#[derive(Clone, Debug)]
pub(crate) struct LineLog {
    queue: SyncSender<Vec<u8>>,
    taken: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

impl LineLog {
    /// Opens a log that appends to `path`; `-` or none means standard error.
    pub(crate) fn open(name: &str, path: Option<&Path>) -> io::Result<Self> {
        let mut sink = match path {
            Some(path) if path != Path::new("-") => Sink::file(path)?,
            _ => Sink::Stderr,
        };
        let (queue, lines) = sync_channel(QUEUE);
        let log = Self {
            queue,
            taken: Arc::default(),
            written: Arc::default(),
            dropped: Arc::default(),
        };
        let (written, dropped) = (Arc::clone(&log.written), Arc::clone(&log.dropped));
        thread::Builder::new()
            .name(format!("{name}-log"))
            .spawn(move || write_lines(&lines, &mut sink, &written, &dropped))?;
        Ok(log)
    }

    /// Queues a line, which must end with a newline.
    pub(crate) fn write(&self, line: Vec<u8>) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        match self.queue.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether every line that was taken is written or lost: none waits for the writer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.written() + self.dropped() >= self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn write_lines(lines: &Receiver<Vec<u8>>, sink: &mut Sink, written: &AtomicU64, dropped: &AtomicU64) {
    let mut failing = false;
    while let Ok(mut batch) = lines.recv() {
        let mut count = 1;
        while batch.len() < 64 * 1024 {
            let Ok(line) = lines.try_recv() else { break };
            batch.extend_from_slice(&line);
            count += 1;
        }
        match sink.write(&batch) {
            Ok(()) => {
                written.fetch_add(count, Ordering::Relaxed);
                failing = false;
            }
            Err(error) => {
                dropped.fetch_add(count, Ordering::Relaxed);
                if !failing {
                    tracing::error!(%error, "{sink}: lines are lost until it can be written again");
                }
                failing = true;
            }
        }
    }
}

enum Sink {
    Stderr,
    File(PathBuf, File),
}

impl Sink {
    fn file(path: &Path) -> io::Result<Self> {
        // A FIFO that nobody reads is refused at once, and not waited for. Writing may wait: it has a thread of its own.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .custom_flags(flags)
            .open(path)?;
        let status = fcntl_getfl(&file)?;
        fcntl_setfl(&file, status - OFlags::NONBLOCK)?;
        Ok(Self::File(path.to_owned(), file))
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(batch),
            Self::File(_, file) => file.write_all(batch),
        }
    }
}

impl std::fmt::Display for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stderr => f.write_str("the log on standard error cannot be written"),
            Self::File(path, _) => write!(f, "the log {} cannot be written", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_reach_the_file_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let log = LineLog::open("audit", Some(&path)).unwrap();
        for n in 0..100 {
            log.write(format!("{n}\n").into_bytes());
        }
        while !log.is_quiet() {
            thread::yield_now();
        }
        let expected: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_fifo_that_nobody_reads_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        assert!(LineLog::open("audit", Some(&path)).is_err());
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error_at_once() {
        assert!(LineLog::open("audit", Some(Path::new("/nowhere/audit.log"))).is_err());
    }
}
