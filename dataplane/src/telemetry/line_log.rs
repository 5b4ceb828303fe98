//! Logs of one JSON line each, written by threads of their own.
//!
//! A request never waits for a log: a full queue drops the line and counts it, and a destination that fails is said
//! once and tried again with the next line. Each destination has a queue and a thread, so that one that stands still does
//! not hold up another.

mod file;
mod sink;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use sink::Sink;

/// Lines that may wait for a writer.
const QUEUE: usize = 8192;

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file.
    File(PathBuf),
}

impl FromStr for LogTarget {
    type Err = Infallible;

    /// `stdout`, `stderr` or `-`, and anything else is a file.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "stdout" => Self::Stdout,
            "stderr" | "-" => Self::Stderr,
            path => Self::File(path.into()),
        })
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::Stderr => f.write_str("standard error"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Where a log goes, and how large its files become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Each gets every line. None: there is no such log.
    pub to: Vec<LogTarget>,
    /// A file that would become larger than so many bytes is set aside: `FILE` becomes `FILE.1`, which was that before
    /// `FILE.2`. 0: files grow for as long as nobody else sets them aside.
    pub max_size: u64,
    /// Files that are kept of those that were set aside.
    pub keep: u32,
}

impl LogOptions {
    /// The default of [`LogOptions::max_size`].
    pub const MAX_SIZE: u64 = 100 << 20;
    /// The default of [`LogOptions::keep`].
    pub const KEEP: u32 = 5;

    /// A log with these destinations, and default limits.
    #[must_use]
    pub const fn new(to: Vec<LogTarget>) -> Self {
        Self {
            to,
            max_size: Self::MAX_SIZE,
            keep: Self::KEEP,
        }
    }
}

/// A log of lines. Cloning gives another handle to the same log.
#[derive(Clone, Debug)]
pub(crate) struct LineLog(Arc<[Destination]>);

#[derive(Debug)]
struct Destination {
    queue: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

/// What a destination's thread shares with those who write.
#[derive(Debug, Default)]
struct Shared {
    taken: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    /// Its file shall be opened again.
    reopen: AtomicBool,
}

impl LineLog {
    /// Opens every destination.
    ///
    /// # Errors
    /// The first that cannot be opened, and why.
    pub(crate) fn open(name: &str, options: &LogOptions) -> Result<Self, (LogTarget, io::Error)> {
        let destinations = options
            .to
            .iter()
            .map(|target| Destination::open(name, target, options).map_err(|error| (target.clone(), error)));
        Ok(Self(destinations.collect::<Result<_, _>>()?))
    }

    /// A log that is read here, by whoever writes it: lines beyond those of its queue are dropped.
    pub(crate) fn kept() -> (Self, Receiver<Vec<u8>>) {
        let (queue, lines) = sync_channel(QUEUE);
        let shared = Arc::default();
        (Self([Destination { queue, shared }].into()), lines)
    }

    /// Queues a line, which must end with a newline.
    pub(crate) fn write(&self, line: Vec<u8>) {
        let Some((last, others)) = self.0.split_last() else {
            return;
        };
        for destination in others {
            destination.write(line.clone());
        }
        last.write(line);
    }

    /// Has files opened again: someone moved them away.
    pub(crate) fn reopen(&self) {
        for destination in &*self.0 {
            destination.shared.reopen.store(true, Ordering::Release);
            // Wakes the thread; one with a full queue is awake.
            let _ = destination.queue.try_send(Vec::new());
        }
    }

    /// Whether every line that was taken is written or lost: none waits for a writer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.iter().all(|destination| {
            let Shared {
                taken,
                written,
                dropped,
                ..
            } = &*destination.shared;
            let done = written.load(Ordering::Relaxed) + dropped.load(Ordering::Relaxed);
            done >= taken.load(Ordering::Relaxed)
        })
    }

    /// Lines written, over all destinations.
    pub(crate) fn written(&self) -> u64 {
        self.sum(|shared| &shared.written)
    }

    /// Lines lost, over all destinations.
    pub(crate) fn dropped(&self) -> u64 {
        self.sum(|shared| &shared.dropped)
    }

    fn sum(&self, count: impl Fn(&Shared) -> &AtomicU64) -> u64 {
        let all = self.0.iter();
        all.map(|destination| count(&destination.shared).load(Ordering::Relaxed))
            .sum()
    }
}

impl Destination {
    fn open(name: &str, target: &LogTarget, options: &LogOptions) -> io::Result<Self> {
        let sink = Sink::open(target, options)?;
        let (queue, lines) = sync_channel(QUEUE);
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("{name}-log"))
            .spawn(move || write_lines(&lines, sink, &of_thread))?;
        Ok(Self { queue, shared })
    }

    fn write(&self, line: Vec<u8>) {
        self.shared.taken.fetch_add(1, Ordering::Relaxed);
        match self.queue.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn write_lines(lines: &Receiver<Vec<u8>>, mut sink: Sink, shared: &Shared) {
    let mut failing = false;
    while let Ok(mut batch) = lines.recv() {
        let mut count = u64::from(!batch.is_empty());
        while batch.len() < 64 * 1024 {
            let Ok(line) = lines.try_recv() else { break };
            count += u64::from(!line.is_empty());
            batch.extend_from_slice(&line);
        }
        if shared.reopen.swap(false, Ordering::Acquire)
            && let Err(error) = sink.reopen()
        {
            tracing::error!(%error, "{sink} cannot be opened again; lines go on into the file that is open");
        }
        if batch.is_empty() {
            continue;
        }
        let (written, outcome) = sink.write(&batch);
        // Of a batch that was cut short some lines are there as a whole.
        let whole = match &outcome {
            Ok(()) => count,
            Err(_) => {
                let written = batch.get(..written).unwrap_or_default();
                memchr::memchr_iter(b'\n', written).count() as u64
            }
        };
        shared.written.fetch_add(whole, Ordering::Relaxed);
        shared.dropped.fetch_add(count.saturating_sub(whole), Ordering::Relaxed);
        if let Err(error) = &outcome
            && !failing
        {
            tracing::error!(%error, "{sink} cannot be written; lines are lost until it can be");
        }
        failing = outcome.is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn to(paths: &[&Path]) -> LogOptions {
        let files = paths.iter().map(|path| LogTarget::File((*path).to_owned()));
        LogOptions::new(files.collect())
    }

    fn settle(log: &LineLog) {
        while !log.is_quiet() {
            thread::yield_now();
        }
    }

    #[test]
    fn lines_reach_every_destination_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a.log", "b.log"].map(|name| dir.path().join(name));
        let log = LineLog::open("audit", &to(&paths.each_ref().map(PathBuf::as_path))).unwrap();
        for n in 0..100 {
            log.write(format!("{n}\n").into_bytes());
        }
        settle(&log);
        let expected: String = (0..100).map(|n| format!("{n}\n")).collect();
        for path in &paths {
            assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
        }
        assert_eq!((log.written(), log.dropped()), (200, 0));
    }

    #[test]
    fn a_destination_that_is_full_loses_its_lines_counted_and_holds_up_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let log = LineLog::open("audit", &to(&[Path::new("/dev/full"), &path])).unwrap();
        for _ in 0..10 {
            log.write(b"line\n".to_vec());
        }
        settle(&log);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\n".repeat(10));
        assert_eq!((log.written(), log.dropped()), (10, 10));
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("audit.log"), dir.path().join("old"));
        let log = LineLog::open("audit", &to(&[&path])).unwrap();
        let write = |line: &str| {
            log.write(line.as_bytes().to_vec());
            settle(&log);
        };
        write("one\n");
        std::fs::rename(&path, &moved).unwrap();
        write("two\n");
        log.reopen();
        while !path.exists() {
            thread::yield_now();
        }
        write("three\n");
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!((log.written(), log.dropped()), (3, 0));
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a/audit.log"), dir.path().join("b"));
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let log = LineLog::open("audit", &to(&[&path])).unwrap();
        std::fs::rename(dir.path().join("a"), &moved).unwrap();
        log.reopen();
        log.write(b"one\n".to_vec());
        settle(&log);
        assert_eq!(std::fs::read_to_string(moved.join("audit.log")).unwrap(), "one\n");
    }

    #[test]
    fn a_fifo_that_nobody_reads_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        assert!(LineLog::open("audit", &to(&[&path])).is_err());
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error_at_once() {
        let path = Path::new("/nowhere/audit.log");
        let (target, _) = LineLog::open("audit", &to(&[path])).unwrap_err();
        assert_eq!(target, LogTarget::File(path.to_owned()));
    }

    #[test]
    fn standard_streams_have_names() {
        let read = |text: &str| text.parse::<LogTarget>().unwrap();
        assert_eq!([read("-"), read("stderr")], [LogTarget::Stderr, LogTarget::Stderr]);
        assert_eq!(read("stdout"), LogTarget::Stdout);
        assert_eq!(read("./stdout"), LogTarget::File("./stdout".into()));
    }
}
