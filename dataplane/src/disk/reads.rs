//! Reads that no worker waits for.
//!
//! What is in the page cache is read at once, on the worker: a copy, without a system thread in between. The rest is read
//! by a few threads. Requests for the same bytes share one read.
//!
//! Bounds: the threads, and the reads that wait for one; beyond that, what is asked for counts as unreadable now.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread;

use breakwater_cache::store::disk::File;
use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// Threads that read.
const THREADS: usize = 4;

/// Reads that wait for a thread.
const MAX_WAITING: usize = 4096;

/// What identifies bytes of the store.
type Name = (u64, u32);

/// The threads and what waits for them.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    inner: Mutex<Inner>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Read>,
    /// Who waits for a read that is asked for already.
    asked: HashMap<Name, Vec<oneshot::Sender<Option<Bytes>>>, RandomState>,
    closed: bool,
}

#[derive(Debug)]
struct Read {
    name: Name,
    file: Arc<dyn File>,
    offset: u64,
    length: usize,
}

impl Reads {
    /// Starts the threads.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let reads = Arc::<Self>::default();
        for index in 0..THREADS {
            let reads = Arc::clone(&reads);
            thread::Builder::new()
                .name(format!("disk-read-{index}"))
                .spawn(move || reads.serve())?;
        }
        Ok(reads)
    }

    /// Reads `length` bytes; `name` is the same for the same bytes only.
    ///
    /// # Errors
    /// The disk's; or too much waits.
    pub(crate) async fn read(&self, name: Name, file: &Arc<dyn File>, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        if file.read_cached_at(&mut bytes, offset).is_ok_and(|n| n == length) {
            return Ok(bytes.into());
        }
        drop(bytes);
        let (sender, receiver) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            if inner.closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let full = inner.waiting.len() >= MAX_WAITING;
            match inner.asked.get_mut(&name) {
                Some(others) => others.push(sender),
                None if full => return Err(io::ErrorKind::WouldBlock.into()),
                None => {
                    inner.asked.insert(name, vec![sender]);
                    inner.waiting.push_back(Read {
                        name,
                        file: Arc::clone(file),
                        offset,
                        length,
                    });
                    self.more.notify_one();
                }
            }
        }
        let read = receiver.await.ok().flatten();
        read.filter(|bytes| bytes.len() == length)
            .ok_or_else(|| io::Error::other("the disk does not give what was written"))
    }

    /// Ends the threads when they have done what waits.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.more.notify_all();
    }

    fn serve(&self) {
        while let Some(read) = self.next() {
            let bytes = read.make();
            let asked = self.inner.lock().asked.remove(&read.name);
            for sender in asked.into_iter().flatten() {
                // Who went away does not need it.
                let _ = sender.send(bytes.clone());
            }
        }
    }

    fn next(&self) -> Option<Read> {
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
        let reads = Reads::default();
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

    #[tokio::test]
    async fn what_nobody_can_take_on_is_refused() {
        let reads = Reads::default();
        let file: Arc<dyn File> = slow(false);
        let mut all = Vec::new();
        for n in 0..MAX_WAITING as u32 {
            let mut read = Box::pin(reads.read((1, n), &file, 0, 1));
            assert!(futures_util::poll!(&mut read).is_pending());
            all.push(read);
        }
        let refused = reads.read((2, 0), &file, 0, 1).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}
