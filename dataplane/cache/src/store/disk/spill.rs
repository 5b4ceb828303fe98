//! A response that is written while it comes, because it is too large for memory or worth a place at once.
//!
//! The fetch pushes content as it arrives; pieces go to the writer through its queue. Invariant: a spill that lost a piece
//! never becomes an object. Its pieces stay in the log until their segment is reclaimed.
//!
//! Who comes while it is written can read behind it ([`Trail`]), piece by piece as they reach the log. While somebody does,
//! the fetch waits for room in the queue instead of losing pieces ([`Spill::room`]).

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::Store;
use super::extents::Extents;
use super::pinned::Pinned;
use super::queue::Work;
use super::record::CHUNK;
use crate::key::Key;
use crate::object::Object;

/// Bytes of one spill that wait to be written while somebody reads behind it.
const WAITING: u64 = 4 << 20;

/// The number of the fetch among those who wait.
const FETCH: u64 = 0;

/// What fetch, writer and those behind share of one spill.
#[derive(Debug)]
pub(super) struct Spilled {
    pub(super) extents: Mutex<Extents>,
    /// A piece was lost, or the fetch failed.
    failed: AtomicBool,
    /// Bytes of content, once they are known: the fetch is over.
    end: AtomicU64,
    /// Who reads behind.
    followers: AtomicUsize,
    /// The number of the next one.
    next: AtomicU64,
    /// Those who wait for the next piece, by their number: the fetch for its being written, the others for its being there.
    waiting: Mutex<BTreeMap<u64, Waker>>,
}

impl Spilled {
    /// Whether it is of no use.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Gives it up.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.wake();
    }

    /// A piece was written, or nothing more comes.
    pub(super) fn wake(&self) {
        std::mem::take(&mut *self.waiting.lock())
            .into_values()
            .for_each(Waker::wake);
    }

    /// Has `waker` woken at the next change; whoever looks again after this misses none.
    fn wait(&self, number: u64, waker: &Waker) {
        let former = self.waiting.lock().insert(number, waker.clone());
        // A waker may own what it wakes: not under the lock.
        drop(former);
    }
}

/// What is written of a response that is still coming, to be read from its beginning.
#[derive(Clone, Debug)]
pub struct Trail {
    store: Arc<Store>,
    shared: Arc<Spilled>,
}

/// One who reads behind.
#[derive(Debug)]
pub struct Follower {
    trail: Trail,
    number: u64,
}

/// What is written was lost, or the fetch failed: there is nothing more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was written of it is of no use")]
pub struct Lost;

impl Trail {
    /// Whether it can be followed.
    pub fn is_alive(&self) -> bool {
        !self.shared.has_failed() && !self.store.is_closed()
    }

    /// Who reads behind.
    pub fn followers(&self) -> usize {
        self.shared.followers.load(Ordering::Relaxed)
    }

    /// Bytes that are written.
    pub fn written(&self) -> u64 {
        self.shared.extents.lock().len()
    }

    /// Begins to read behind.
    #[must_use]
    pub fn follow(self) -> Follower {
        self.shared.followers.fetch_add(1, Ordering::AcqRel);
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        Follower { trail: self, number }
    }
}

impl Follower {
    /// Whether there is more to come, or at least nothing was lost.
    pub fn is_alive(&self) -> bool {
        self.trail.is_alive()
    }

    /// Content that has the byte `offset`, as far as it is written; waits until it is. `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn from(&self, offset: u64) -> Result<Option<Pinned>, Lost> {
        poll_fn(|cx| {
            let Trail { store, shared } = &self.trail;
            shared.wait(self.number, cx.waker());
            let failed = !self.trail.is_alive();
            let written = {
                let extents = shared.extents.lock();
                (extents.len() > offset).then(|| Arc::new(extents.clone()))
            };
            match written {
                Some(extents) => Poll::Ready(store.pin(&extents).map(Some).ok_or(Lost)),
                None if shared.end.load(Ordering::Acquire) <= offset => Poll::Ready(Ok(None)),
                None if failed => Poll::Ready(Err(Lost)),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let shared = &self.trail.shared;
        let mine = shared.waiting.lock().remove(&self.number);
        drop(mine);
        if shared.followers.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The fetch need not wait any more.
            shared.wake();
        }
    }
}

/// A spill, as its fetch has it.
#[derive(Debug)]
pub struct Spill {
    store: Arc<Store>,
    shared: Arc<Spilled>,
    piece: BytesMut,
    length: u64,
}

impl Spill {
    pub(super) fn new(store: Arc<Store>, id: u64, key: Key) -> Self {
        Self {
            store,
            shared: Arc::new(Spilled {
                extents: Mutex::new(Extents::new(id, key)),
                failed: AtomicBool::new(false),
                end: AtomicU64::new(u64::MAX),
                followers: AtomicUsize::new(0),
                next: AtomicU64::new(FETCH + 1),
                waiting: Mutex::default(),
            }),
            piece: BytesMut::new(),
            length: 0,
        }
    }

    /// Whether it can still become an object.
    pub fn is_alive(&self) -> bool {
        !self.shared.has_failed()
    }

    /// What those who come late can follow.
    #[must_use]
    pub fn trail(&self) -> Trail {
        Trail {
            store: Arc::clone(&self.store),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Waits until little enough waits to be written, if somebody reads behind. Cancel safe.
    pub async fn room(&self) {
        poll_fn(|cx| {
            let enough = || {
                let written = self.shared.extents.lock().len();
                self.shared.followers.load(Ordering::Acquire) == 0
                    || !self.is_alive()
                    || self.length - self.piece.len() as u64 - written <= WAITING
            };
            if enough() {
                return Poll::Ready(());
            }
            self.shared.wait(FETCH, cx.waker());
            if enough() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Bytes of content so far.
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether there was no content yet.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends content.
    pub fn push(&mut self, mut content: &[u8]) {
        self.length += content.len() as u64;
        if self.length > self.store.largest() {
            self.lose();
        }
        while !content.is_empty() && self.is_alive() {
            let room = CHUNK as usize - self.piece.len();
            let (now, later) = content.split_at(room.min(content.len()));
            self.piece.extend_from_slice(now);
            content = later;
            if self.piece.len() == CHUNK as usize {
                self.flush();
            }
        }
    }

    /// The content is complete, whether an object becomes of it or not.
    pub(crate) fn end(&mut self) {
        if !self.piece.is_empty() {
            self.flush();
        }
        self.shared.end.store(self.length, Ordering::Release);
        self.shared.wake();
    }

    /// Makes an object of what [`Self::end`] has ended. `object` has everything but the content.
    pub(crate) fn finish(self, key: Key, object: Object) -> bool {
        let (of, object) = (Arc::clone(&self.shared), Arc::new(object));
        self.is_alive() && self.store.queue(Work::Commit { of, key, object })
    }

    fn flush(&mut self) {
        let data: Bytes = self.piece.split().freeze();
        let of = Arc::clone(&self.shared);
        if !self.store.queue(Work::Chunk { of, data }) {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.shared.fail();
        self.piece = BytesMut::new();
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // The fetch failed: nothing more comes.
        if self.shared.end.load(Ordering::Acquire) == u64::MAX {
            self.shared.fail();
        }
    }
}
