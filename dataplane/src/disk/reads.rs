//! Reads that no worker waits for.
//!
//! What is in the page cache is read at once, on the worker: a copy, without a system thread in between. The rest is read
//! by a few threads. Requests for the same bytes share one read.
//!
//! Bounds: the threads, and the reads that wait for one. Beyond that, who asks waits for a place among them, in the order
//! of asking and for a while ([`PATIENCE`]), or is told at once ([`Reads::read_now`]). Neither says anything of the disk.

#[cfg(feature = "testing")]
mod held;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use breakwater_cache::store::disk::File;
use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

#[cfg(feature = "testing")]
pub use held::HeldReads;

/// Threads that read.
const THREADS: usize = 4;

/// Reads that wait for a thread, or that one is at.
const MAX_WAITING: usize = 4096;

/// How long somebody waits for a place among them.
const PATIENCE: Duration = Duration::from_secs(10);

/// What identifies bytes of the store.
type Name = (u64, u32);

/// The threads and what waits for them.
#[derive(Debug)]
pub(crate) struct Reads {
    inner: Mutex<Inner>,
    more: Condvar,
    places: Arc<Semaphore>,
    patience: Duration,
    #[cfg(feature = "testing")]
    held: held::Held,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Placed>,
    /// Who waits for a read that is asked for already.
    asked: HashMap<Name, Vec<oneshot::Sender<Option<Bytes>>>, RandomState>,
    closed: bool,
}

#[derive(Clone, Debug)]
struct Read {
    name: Name,
    file: Arc<dyn File>,
    offset: u64,
    length: usize,
}

/// A read with its place among those that wait.
#[derive(Debug)]
struct Placed {
    read: Read,
    _place: OwnedSemaphorePermit,
}

type Answer = oneshot::Receiver<Option<Bytes>>;

impl Reads {
    fn new(places: usize, patience: Duration) -> Self {
        Self {
            inner: Mutex::default(),
            more: Condvar::new(),
            places: Arc::new(Semaphore::new(places)),
            patience,
            #[cfg(feature = "testing")]
            held: held::Held::default(),
        }
    }

    /// Starts the threads.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let reads = Arc::new(Self::new(MAX_WAITING, PATIENCE));
        for index in 0..THREADS {
            let reads = Arc::clone(&reads);
            thread::Builder::new()
                .name(format!("disk-read-{index}"))
                .spawn(move || reads.serve())?;
        }
        Ok(reads)
    }

    /// Reads `length` bytes; `name` is the same for the same bytes only. Waits for its turn.
    ///
    /// # Errors
    /// The disk's; or `WouldBlock`: too much waits, for too long.
    pub(crate) async fn read(&self, name: Name, file: &Arc<dyn File>, offset: u64, length: usize) -> io::Result<Bytes> {
        self.read_within(name, file, (offset, length), self.patience).await
    }

    /// As [`Self::read`], for who can do without: when too much waits, that is said at once.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn read_now(
        &self,
        name: Name,
        file: &Arc<dyn File>,
        offset: u64,
        length: usize,
    ) -> io::Result<Bytes> {
        self.read_within(name, file, (offset, length), Duration::ZERO).await
    }

    async fn read_within(
        &self,
        name: Name,
        file: &Arc<dyn File>,
        (offset, length): (u64, usize),
        patience: Duration,
    ) -> io::Result<Bytes> {
        if !self.is_held() {
            let mut bytes = vec![0; length];
            if file.read_cached_at(&mut bytes, offset).is_ok_and(|n| n == length) {
                return Ok(bytes.into());
            }
        }
        let read = Read {
            name,
            file: Arc::clone(file),
            offset,
            length,
        };
        let answer = match self.ask(&read, None)? {
            Some(answer) => answer,
            None => {
                let place = self.place(patience).await?;
                let answer = self.ask(&read, Some(place))?;
                answer.ok_or(io::ErrorKind::WouldBlock)?
            }
        };
        let read = answer.await.ok().flatten();
        read.filter(|bytes| bytes.len() == length)
            .ok_or_else(|| io::Error::other("the disk does not give what was written"))
    }

    /// Waits for a place.
    async fn place(&self, patience: Duration) -> io::Result<OwnedSemaphorePermit> {
        let busy = io::Error::from(io::ErrorKind::WouldBlock);
        if patience.is_zero() {
            return Err(busy);
        }
        #[cfg(feature = "testing")]
        self.held.waited.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(patience, place).await.map_err(|_| busy)?;
        place.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Takes a read on, with others for the same bytes if there are any. None: it needs a place, and there is none.
    fn ask(&self, read: &Read, place: Option<OwnedSemaphorePermit>) -> io::Result<Option<Answer>> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (sender, answer) = oneshot::channel();
        if let Some(others) = inner.asked.get_mut(&read.name) {
            others.push(sender);
            return Ok(Some(answer));
        }
        let place = place.or_else(|| Arc::clone(&self.places).try_acquire_owned().ok());
        let Some(_place) = place else {
            return Ok(None);
        };
        inner.asked.insert(read.name, vec![sender]);
        let read = read.clone();
        inner.waiting.push_back(Placed { read, _place });
        self.more.notify_one();
        Ok(Some(answer))
    }

    #[cfg(feature = "testing")]
    fn is_held(&self) -> bool {
        self.held.holds.load(std::sync::atomic::Ordering::SeqCst)
    }

    #[cfg(not(feature = "testing"))]
    #[expect(clippy::unused_self, reason = "it is what tests may do to it")]
    const fn is_held(&self) -> bool {
        false
    }

    /// Ends the threads when they have done what waits.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.places.close();
        self.more.notify_all();
    }

    fn serve(&self) {
        while let Some(Placed { read, _place }) = self.next() {
            let bytes = read.make();
            let asked = self.inner.lock().asked.remove(&read.name);
            for sender in asked.into_iter().flatten() {
                // Who went away does not need it.
                let _ = sender.send(bytes.clone());
            }
        }
    }

    fn next(&self) -> Option<Placed> {
        let mut inner = self.inner.lock();
        loop {
            if let Some(read) = inner.waiting.pop_front() {
                return Some(read);
            }
            if inner.closed {
                return None;
            }
            self.more.wait(&mut inner);
        }
    }
}

impl Read {
    fn make(&self) -> Option<Bytes> {
        let mut bytes = vec![0; self.length];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, self.offset + done as u64) {
                Ok(0) => return None,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gives its bytes once it is let.
    #[derive(Debug)]
    struct Slow {
        gate: Mutex<()>,
        reads: AtomicUsize,
        cached: bool,
    }

    impl File for Slow {
        fn read_at(&self, buffer: &mut [u8], _: u64) -> io::Result<usize> {
            let _open = self.gate.lock();
            self.reads.fetch_add(1, Ordering::Relaxed);
            buffer.fill(7);
            Ok(buffer.len())
        }

        fn read_cached_at(&self, buffer: &mut [u8], _: u64) -> io::Result<usize> {
            if !self.cached {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            buffer.fill(8);
            Ok(buffer.len())
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }

        fn size(&self) -> io::Result<u64> {
            Ok(10)
        }
    }

    fn slow(cached: bool) -> Arc<Slow> {
        Arc::new(Slow {
            gate: Mutex::new(()),
            reads: AtomicUsize::new(0),
            cached,
        })
    }

    #[tokio::test]
    async fn what_is_in_memory_is_read_at_once() {
        let reads = Reads::new(0, Duration::ZERO);
        let file: Arc<dyn File> = slow(true);
        let read = reads.read((1, 1), &file, 0, 10).await.unwrap();
        assert_eq!(read[..], [8; 10]);
    }

    #[tokio::test]
    #[expect(
        clippy::await_holding_lock,
        reason = "the thread that reads waits for it, and nothing here does"
    )]
    async fn requests_for_the_same_bytes_share_a_read() {
        let reads = Reads::start().unwrap();
        let slow = slow(false);
        let file: Arc<dyn File> = Arc::clone(&slow) as Arc<dyn File>;
        let gate = slow.gate.lock();
        let mut all = Vec::new();
        for _ in 0..10 {
            all.push(Box::pin(reads.read((1, 1), &file, 0, 10)));
        }
        for read in &mut all {
            assert!(futures_util::poll!(read).is_pending());
        }
        drop(gate);
        for read in all {
            assert_eq!(read.await.unwrap()[..], [7; 10]);
        }
        assert_eq!(slow.reads.load(Ordering::Relaxed), 1);
        reads.close();
        assert!(reads.read((1, 2), &file, 0, 10).await.is_err());
    }

    /// Reads without threads, whose only place is taken, and what took it.
    async fn full(file: &Arc<dyn File>, patience: Duration) -> (Arc<Reads>, impl Future<Output = io::Result<Bytes>>) {
        let reads = Arc::new(Reads::new(1, patience));
        let (own, other) = (Arc::clone(&reads), Arc::clone(file));
        let mut first = Box::pin(async move { own.read((1, 0), &other, 0, 10).await });
        assert!(futures_util::poll!(&mut first).is_pending());
        (reads, first)
    }

    #[tokio::test]
    async fn what_finds_no_place_waits_for_its_turn() {
        let file: Arc<dyn File> = slow(false);
        let (reads, first) = full(&file, PATIENCE).await;
        let mut second = Box::pin(reads.read((1, 1), &file, 0, 10));
        assert!(futures_util::poll!(&mut second).is_pending());
        let serving = Arc::clone(&reads);
        let thread = thread::spawn(move || serving.serve());
        assert_eq!(first.await.unwrap()[..], [7; 10]);
        assert_eq!(second.await.unwrap()[..], [7; 10]);
        reads.close();
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_for_a_place_for_ever_or_who_does_not_want_to() {
        let file: Arc<dyn File> = slow(false);
        let (reads, _first) = full(&file, Duration::from_millis(1)).await;
        let busy = reads.read((1, 1), &file, 0, 10).await.unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::WouldBlock);
        let busy = reads.read_now((1, 1), &file, 0, 10).await.unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::WouldBlock);
        // The same bytes need no place of their own.
        let mut same = Box::pin(reads.read_now((1, 0), &file, 0, 10));
        assert!(futures_util::poll!(&mut same).is_pending());
    }

    #[tokio::test]
    async fn who_waits_for_a_place_is_told_when_the_threads_end() {
        let file: Arc<dyn File> = slow(false);
        let (reads, _first) = full(&file, PATIENCE).await;
        let mut second = Box::pin(reads.read((1, 1), &file, 0, 10));
        assert!(futures_util::poll!(&mut second).is_pending());
        reads.close();
        assert_eq!(second.await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
