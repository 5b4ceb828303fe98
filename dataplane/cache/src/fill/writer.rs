//! The origin's side of a fill.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::spool::Spooler;
use super::state::{Fate, Fill, Kept, Phase, Wakers, wake};
use super::{Failure, FillHead, Interim};
use crate::key::Key;
use crate::object::{Body, Object};
use crate::purge::{Purged, Stamp};
use crate::store::disk::Trail;
use crate::time::Timestamp;

/// Interim responses that wait for their reader.
const MAX_INTERIM: usize = 16;

/// Who may have a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is stored if its content is no longer than `limit` bytes.
    Store {
        /// The most content that is stored.
        limit: u64,
        /// Everyone may have it, without asking the origin whether it is still so.
        shared: bool,
    },
    /// Only the request it was fetched for. The key is remembered from now on.
    Private {
        /// The present.
        now: Timestamp,
    },
    /// Only the request it was fetched for, this time.
    Unshared,
}

/// A fill that passes through has lost its last reader: the fetch may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads this response any more")]
pub struct NoReaders;

/// Writes one fetch into a fill. Dropped before [`Self::finish`], it fails the fill.
#[derive(Debug)]
pub struct FillWriter {
    fill: Arc<Fill>,
    /// The reader of the request that has this fetch made.
    own: Option<u32>,
    /// When the response was asked for, if that was elsewhere and before.
    older: Option<Stamp>,
    ended: bool,
    /// The content is of use even if nobody reads it.
    kept: bool,
    /// To be taken by the fetch.
    spooler: Option<Spooler>,
}

impl FillWriter {
    pub(super) const fn new(fill: Arc<Fill>, own: Option<u32>) -> Self {
        Self {
            fill,
            own,
            older: None,
            ended: false,
            kept: false,
            spooler: None,
        }
    }

    /// The key of this fill.
    pub fn key(&self) -> Key {
        self.fill.key
    }

    /// When, in purges, the first fetch of this fill began, or what it brings was asked for ([`Self::asked_at`]).
    pub fn stamp(&self) -> &Stamp {
        self.older.as_ref().unwrap_or(&self.fill.stamp)
    }

    /// What this fill brings comes from another cache, which asked for it at `stamp`, before this fill began.
    pub fn asked_at(&mut self, stamp: Stamp) {
        self.older = Some(stamp);
    }

    /// Readers at present.
    pub fn readers(&self) -> usize {
        self.fill.state.lock().readers.len()
    }

    /// Gives an interim response to the reader that is fetched for. More than `MAX_INTERIM` that it did not take yet are
    /// dropped.
    pub fn interim(&self, interim: Interim) {
        let waker = {
            let mut state = self.fill.state.lock();
            let Some(cursor) = self.own.and_then(|id| state.readers.get_mut(&id)) else {
                return;
            };
            if cursor.interim.len() == MAX_INTERIM {
                return;
            }
            cursor.interim.push_back(interim);
            cursor.waker.take()
        };
        wake(Wakers::from_iter(waker));
    }

    /// Gives the head to whom `disposition` lets have it, and releases the others.
    pub fn publish(&mut self, head: FillHead, disposition: Disposition) {
        let mut wakers;
        let mut delist = false;
        let outgrown;
        {
            let mut state = self.fill.state.lock();
            match disposition {
                Disposition::Store { limit, shared } => {
                    state.limit = limit;
                    if !shared {
                        state.open = false;
                        // Nor may anybody follow on the disk, who looks before it is out of the table.
                        state.kept = None;
                        delist = true;
                        state.release_all_but(self.own);
                    }
                    if head.content_length.is_some_and(|length| length > limit) {
                        state.passing = true;
                        state.beginning = self.fill.table.config.window;
                    }
                }
                Disposition::Private { .. } | Disposition::Unshared => {
                    state.passing = true;
                    state.open = false;
                    delist = true;
                    state.release_all_but(self.own);
                }
            }
            outgrown = state.passing;
            state.head = Some(Arc::new(head));
            state.phase = Phase::Streaming;
            wakers = state.wake_readers();
        }
        match disposition {
            Disposition::Private { now } => self.fill.table.remember_uncacheable(self.fill.key, now),
            Disposition::Store { .. } if outgrown => {
                self.fill.table.passed_through.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        if delist {
            self.fill.table.delist(&self.fill);
        }
        wake(std::mem::take(&mut wakers));
    }

    /// What comes is written to the disk as well: who comes too late for the memory may follow there. To be called before
    /// [`Self::publish`].
    pub fn written_to(&self, trail: Trail) {
        self.fill.state.lock().kept = Some(Kept::Disk(trail));
    }

    /// Whether [`Self::written_to`] was called.
    pub fn is_written(&self) -> bool {
        matches!(self.fill.state.lock().kept, Some(Kept::Disk(_)))
    }

    /// Says whether the content is of use even if it passes through and nobody reads it any more.
    pub const fn keep(&mut self, kept: bool) {
        self.kept = kept;
    }

    /// Who has to write what comes to a file from now on, for those who come late: once, when the memory is about to let the
    /// beginning go. Dropped, it is not written.
    #[must_use]
    pub const fn take_spooler(&mut self) -> Option<Spooler> {
        self.spooler.take()
    }

    /// Waits until there is room for a chunk: at once, unless the fill passes through. Cancel safe.
    ///
    /// # Errors
    /// [`NoReaders`]: the fill passes through and nobody is left.
    pub async fn ready(&mut self) -> Result<(), NoReaders> {
        poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// As [`Self::ready`].
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NoReaders>> {
        let mut state = self.fill.state.lock();
        if !state.passing {
            return Poll::Ready(Ok(()));
        }
        if !state.readers.values().any(|cursor| matches!(cursor.fate, Fate::Shares)) {
            if self.kept {
                return Poll::Ready(Ok(()));
            }
            // Who reads a file waits for whoever writes it: the window holds for both.
            let followed =
                |kept: &Kept| matches!(kept, Kept::Spool(spool) if spool.is_alive() && spool.followers() > 0);
            if !state.kept.as_ref().is_some_and(followed) {
                // The fetch ends: who comes now begins another.
                state.open = false;
                let nobody = state.lose_kept();
                drop(state);
                wake(nobody);
                return Poll::Ready(Err(NoReaders));
            }
        }
        let (window, narrow) = self.fill.table.window();
        if narrow && state.beginning > 0 {
            // There is no memory for who comes late.
            state.beginning = 0;
            let spooler = self.fill.begin_spool(&mut state);
            self.spooler = self.spooler.take().or(spooler);
            self.fill.table.release(state.trim());
        }
        // A spooler has to begin before it can be waited for.
        if state.buffered < window || self.spooler.is_some() {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Appends content. `chunk` should own no more memory than it shows; [`Self::ready`] comes first.
    pub fn push(&mut self, chunk: Bytes) {
        self.append(chunk, true);
    }

    /// As [`Self::push`], of the end of the content, which nobody comes late to: no spool begins with it.
    pub fn push_last(&mut self, chunk: Bytes) {
        self.append(chunk, false);
    }

    fn append(&mut self, chunk: Bytes, more: bool) {
        let size = chunk.len() as u64;
        if size == 0 {
            return;
        }
        let table = &self.fill.table;
        let no_memory = table.hold(size);
        let (wakers, dropped, outgrown, delist);
        {
            let mut state = self.fill.state.lock();
            state.chunks.push_back(chunk);
            state.buffered += size;
            state.total += size;
            outgrown = !state.passing && (no_memory || state.total > state.limit);
            if outgrown {
                state.passing = true;
            }
            if more {
                let spooler = self.fill.begin_spool(&mut state);
                self.spooler = self.spooler.take().or(spooler);
            }
            state.open &= !outgrown;
            delist = outgrown && state.kept.is_none();
            dropped = state.trim();
            wakers = state.wake_readers();
        }
        table.release(dropped);
        if outgrown {
            table.passed_through.fetch_add(1, Ordering::Relaxed);
        }
        if delist {
            table.delist(&self.fill);
        }
        wake(wakers);
    }

    /// The whole content, of which `last` is the end that was not pushed yet, to be stored; `None` if the fill passed
    /// through or its length is not the announced one.
    pub fn body(&self, last: Bytes) -> Option<Body> {
        let (chunks, head) = {
            let state = self.fill.state.lock();
            if state.passing || state.total + last.len() as u64 > state.limit {
                return None;
            }
            (state.chunks.clone(), state.head.clone()?)
        };
        let body = Body::from_chunks(chunks.into_iter().chain([last]));
        head.content_length
            .is_none_or(|length| length == body.len())
            .then_some(body)
    }

    /// The published head.
    pub fn head(&self) -> Option<Arc<FillHead>> {
        self.fill.state.lock().head.clone()
    }

    /// Whether the response outgrew a limit or is private, and will not be stored.
    pub fn is_passing(&self) -> bool {
        self.fill.state.lock().passing
    }

    /// Ends the content. What is stored has to be in the store by now: later requests find no fill.
    ///
    /// # Errors
    /// [`Failure::LENGTH`]: the content is not as long as announced, which readers are told;
    /// [`Failure::ABANDONED`]: no head was published.
    pub fn finish(mut self) -> Result<(), Failure> {
        let failure = {
            let state = self.fill.state.lock();
            match &state.head {
                None => Some(Failure::ABANDONED),
                Some(head) => head
                    .content_length
                    .filter(|&length| length != state.total)
                    .map(|_| Failure::LENGTH),
            }
        };
        if let Some(failure) = failure {
            self.end_failed(failure);
            return Err(failure);
        }
        self.end(Phase::Complete);
        Ok(())
    }

    /// Answers everyone with a stored object: the origin confirmed it, or it was stored meanwhile. When a purge since
    /// the fetch began concerns it, only the request it was fetched for has it; the others fetch for themselves, because
    /// those who joined since the purge cannot be told from those who came before.
    pub fn answer(self, object: Arc<Object>) {
        if self.fill.stamp.purged(&object.meta.tags, &AtomicU64::new(0)) == Purged::No {
            self.end(Phase::Stored(object));
        } else {
            self.answer_alone(object);
        }
    }

    /// As [`Self::answer`], but for the request it was fetched for only: what the origin said is for nobody else.
    pub fn answer_alone(self, object: Arc<Object>) {
        self.fill.state.lock().release_all_but(self.own);
        self.end(Phase::Stored(object));
    }

    /// Releases everyone to fetch for themselves, without remembering the key.
    pub fn release(self) {
        self.fill.state.lock().release_all_but(None);
        self.end(Phase::Failed(Failure::ABANDONED));
    }

    /// Ends the fetch without a response: before the head, the reader it was made for fails and another takes
    /// over; after it, all readers fail.
    pub fn fail(mut self, failure: Failure) {
        self.end_failed(failure);
    }

    fn end(mut self, phase: Phase) {
        self.ended = true;
        let (wakers, dropped, lingers);
        {
            let mut state = self.fill.state.lock();
            state.phase = phase;
            state.open = false;
            // Who comes now does not read it from memory.
            state.beginning = 0;
            dropped = state.trim();
            lingers = state.lingers();
            wakers = state.wake_readers();
        }
        self.fill.table.release(dropped);
        if !lingers {
            self.fill.table.delist(&self.fill);
        }
        wake(wakers);
    }

    fn end_failed(&mut self, failure: Failure) {
        self.ended = true;
        let mut wakers: Wakers;
        let ended;
        {
            let mut state = self.fill.state.lock();
            if Fill::is_waiting(&state) {
                wakers = state.fail_fetch(failure, self.own, self.fill.table.config.max_attempts);
            } else {
                state.fail_all(failure);
                wakers = state.wake_readers();
                wakers.extend(state.lose_kept());
            }
            ended = !state.open;
        }
        if ended {
            self.fill.table.delist(&self.fill);
        }
        wake(wakers);
    }
}

impl Drop for FillWriter {
    fn drop(&mut self) {
        if !self.ended {
            self.end_failed(Failure::ABANDONED);
        }
    }
}
