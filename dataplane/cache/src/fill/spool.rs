//! A response that passes through, kept in a file from its beginning for those who come too late for the memory.
//!
//! The [`Spooler`] is one more reader of the fill: what it has not written stays in memory, and when it falls behind the
//! fetch waits for it as for any reader. Who comes late is a [`Follower`]: it reads the file, at its own pace.
//!
//! Invariants: a spool begins before anything of the response is let go, so the file has all of it; room for what is
//! written is taken before ([`super::FillConfig::max_spooled`]) and given back with the last who holds the spool; one that
//! lost a byte is of no use to anybody. Making, writing and reading the file is the caller's, as is when to give it up.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::Failure;
use super::state::{Cursor, Fill, Kept, Phase, State, Wakers, wake};
use super::table::Inner;
use crate::store::disk::File;

/// Responses that are kept so at once.
const MAX_SPOOLS: usize = 64;

/// Bytes that are written, and read, in one go.
pub const SPOOL_PIECE: u64 = 32 << 10;

/// Of those, how many are written together at the most.
const BATCH: u64 = 8;

/// What all spools take.
#[derive(Debug, Default)]
pub(super) struct Taken {
    bytes: AtomicU64,
    spools: AtomicUsize,
    next: AtomicU64,
    begun: AtomicU64,
    lost: AtomicU64,
}

impl Taken {
    /// Bytes taken, and spools that began and that lost something.
    pub(super) fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.bytes), read(&self.begun), read(&self.lost))
    }

    fn take(&self, bytes: u64, limit: u64) -> bool {
        let more = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= limit);
        self.bytes
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, more)
            .is_ok()
    }
}

/// What the one who writes and those who read share.
#[derive(Debug)]
pub(super) struct Spool {
    table: Arc<Inner>,
    number: u64,
    file: OnceLock<Arc<dyn File>>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Room that is taken.
    room: u64,
    written: u64,
    /// All is written.
    ended: bool,
    /// Something is missing.
    failed: bool,
    followers: usize,
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

/// Something of what was kept is missing, or the fetch failed: there is nothing more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was kept of it is of no use")]
pub struct SpoolLost;

impl Spool {
    /// `length` as announced. `None` when there is no room.
    fn new(table: &Arc<Inner>, length: u64) -> Option<Arc<Self>> {
        let (taken, limit) = (&table.spools, table.config.max_spooled);
        if limit == 0 {
            return None;
        }
        if taken.spools.fetch_add(1, Ordering::AcqRel) >= MAX_SPOOLS {
            taken.spools.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let mut spool = Self {
            table: Arc::clone(table),
            number: taken.next.fetch_add(1, Ordering::Relaxed),
            file: OnceLock::new(),
            progress: Mutex::default(),
        };
        // From here on dropping it gives back what it has.
        if !taken.take(length, limit) {
            return None;
        }
        spool.progress.get_mut().room = length;
        taken.begun.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(spool))
    }

    /// Whether it has all that came.
    pub(super) fn is_alive(&self) -> bool {
        !self.progress.lock().failed
    }

    /// Who reads it.
    pub(super) fn followers(&self) -> usize {
        self.progress.lock().followers
    }

    /// Bytes written.
    pub(super) fn written(&self) -> u64 {
        self.progress.lock().written
    }

    /// Gives it up.
    pub(super) fn fail(&self) -> Wakers {
        let mut progress = self.progress.lock();
        if !progress.ended && !progress.failed {
            progress.failed = true;
            self.table.spools.lost.fetch_add(1, Ordering::Relaxed);
        }
        progress.wakers()
    }

    /// Takes room for so many bytes behind what is written.
    fn has_room(&self, bytes: u64) -> bool {
        let mut progress = self.progress.lock();
        let more = (progress.written + bytes).saturating_sub(progress.room);
        let taken = more == 0 || self.table.spools.take(more, self.table.config.max_spooled);
        if taken {
            progress.room += more;
        }
        taken
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let room = self.progress.get_mut().room;
        self.table.spools.bytes.fetch_sub(room, Ordering::AcqRel);
        self.table.spools.spools.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Progress {
    fn wakers(&mut self) -> Wakers {
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}

impl Fill {
    /// Begins to keep what comes, if its beginning is about to be let go and others may still want it. To be called before
    /// [`State::trim`].
    pub(super) fn begin_spool(self: &Arc<Self>, state: &mut State) -> Option<Spooler> {
        let due = state.passing && state.open && state.kept.is_none() && state.first == 0;
        if !due || state.total < state.beginning {
            return None;
        }
        let length = state.head.as_ref().and_then(|head| head.content_length);
        let spool = Spool::new(&self.table, length.unwrap_or(state.total))?;
        state.kept = Some(Kept::Spool(Arc::clone(&spool)));
        state.spooling = Some(Cursor::default());
        Some(Spooler {
            fill: Arc::clone(self),
            spool,
        })
    }
}

/// Who writes the file. Dropped before [`Self::end`], what was written is of no use.
#[derive(Debug)]
pub struct Spooler {
    fill: Arc<Fill>,
    spool: Arc<Spool>,
}

impl Spooler {
    /// What is written is in `file`.
    pub fn write_to(&self, file: Arc<dyn File>) {
        let _ = self.spool.file.set(file);
    }

    /// The next pieces of content, which are to be written behind what was ([`Self::wrote`]); none at its end. The same
    /// again until then. Cancel safe.
    ///
    /// # Errors
    /// The fetch failed, or there is no more room.
    pub async fn pieces(&mut self) -> Result<Vec<Bytes>, Failure> {
        poll_fn(|cx| self.poll_pieces(cx)).await
    }

    /// As [`Self::pieces`].
    ///
    /// # Errors
    /// As [`Self::pieces`].
    pub fn poll_pieces(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Bytes>, Failure>> {
        let mut state = self.fill.state.lock();
        let state = &mut *state;
        let Some(cursor) = &mut state.spooling else {
            return Poll::Ready(Err(Failure::ABANDONED));
        };
        let mut size = 0;
        let come = state.chunks.iter().skip((cursor.next - state.first) as usize);
        let pieces: Vec<_> = come
            .take_while(|chunk| {
                let takes = size < SPOOL_PIECE * BATCH;
                size += chunk.len() as u64;
                takes
            })
            .cloned()
            .collect();
        if !pieces.is_empty() {
            let sum: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
            let fits = self.spool.has_room(sum);
            return Poll::Ready(if fits { Ok(pieces) } else { Err(Failure::ABANDONED) });
        }
        match state.phase {
            Phase::Complete | Phase::Stored(_) => Poll::Ready(Ok(Vec::new())),
            Phase::Failed(failure) => Poll::Ready(Err(failure)),
            Phase::Waiting | Phase::Streaming => {
                cursor.wait(cx);
                Poll::Pending
            }
        }
    }

    /// Says that `pieces` are in the file, which has to be known by now.
    pub fn wrote(&mut self, pieces: &[Bytes]) {
        let size: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let readers = {
            let mut progress = self.spool.progress.lock();
            progress.written += size;
            progress.wakers()
        };
        let (dropped, writer) = {
            let mut state = self.fill.state.lock();
            if let Some(cursor) = &mut state.spooling {
                cursor.next += pieces.len() as u64;
            }
            let dropped = state.trim();
            (dropped, state.writer.take())
        };
        self.fill.table.release(dropped);
        wake(readers);
        wake(Wakers::from_iter(writer));
    }

    /// Whether somebody reads the file.
    pub fn is_followed(&self) -> bool {
        self.spool.followers() > 0
    }

    /// Whether the fetch waits for this and for no client.
    pub fn holds_up(&self) -> bool {
        let state = self.fill.state.lock();
        let Some(own) = &state.spooling else { return false };
        state.writer.is_some() && state.readers.values().all(|cursor| cursor.next > own.next)
    }

    /// All is written.
    pub fn end(self) {
        let wakers = {
            let mut progress = self.spool.progress.lock();
            progress.ended = true;
            progress.wakers()
        };
        wake(wakers);
    }
}

impl Drop for Spooler {
    fn drop(&mut self) {
        wake(self.spool.fail());
        let (own, dropped, writer, forsaken) = {
            let mut state = self.fill.state.lock();
            let own = state.spooling.take();
            (own, state.trim(), state.writer.take(), state.is_forsaken())
        };
        // A waker may own what it wakes: not under the lock.
        drop(own);
        self.fill.table.release(dropped);
        if forsaken {
            self.fill.table.delist(&self.fill);
        }
        wake(Wakers::from_iter(writer));
    }
}

/// Who reads what is kept, from its beginning.
#[derive(Debug)]
pub struct Follower {
    fill: Arc<Fill>,
    spool: Arc<Spool>,
    number: u64,
}

impl Follower {
    /// To be called under the lock of the fill, so that the fetch does not end meanwhile for want of readers.
    pub(super) fn new(fill: &Arc<Fill>, spool: &Arc<Spool>) -> Self {
        let number = {
            let mut progress = spool.progress.lock();
            progress.followers += 1;
            progress.next += 1;
            progress.next
        };
        Self {
            fill: Arc::clone(fill),
            spool: Arc::clone(spool),
            number,
        }
    }

    /// The same for the same file.
    pub fn file_number(&self) -> u64 {
        self.spool.number
    }

    /// The file, and how many bytes can be read at `offset`: [`SPOOL_PIECE`], or less at the end, where it is `None`. Waits
    /// until they are there. Cancel safe.
    ///
    /// # Errors
    /// [`SpoolLost`].
    pub async fn at(&self, offset: u64) -> Result<Option<(&Arc<dyn File>, usize)>, SpoolLost> {
        poll_fn(|cx| self.poll_at(offset, cx)).await
    }

    /// As [`Self::at`].
    ///
    /// # Errors
    /// As [`Self::at`].
    #[expect(clippy::type_complexity, reason = "it is what `at` returns")]
    pub fn poll_at(&self, offset: u64, cx: &Context<'_>) -> Poll<Result<Option<(&Arc<dyn File>, usize)>, SpoolLost>> {
        let mut progress = self.spool.progress.lock();
        let there = progress.written.saturating_sub(offset).min(SPOOL_PIECE);
        if there == SPOOL_PIECE || progress.ended {
            if there == 0 {
                return Poll::Ready(Ok(None));
            }
            let file = self.spool.file.get().ok_or(SpoolLost);
            return Poll::Ready(file.map(|file| Some((file, there as usize))));
        }
        if progress.failed {
            return Poll::Ready(Err(SpoolLost));
        }
        let former = progress.waiting.insert(self.number, cx.waker().clone());
        drop(progress);
        drop(former);
        Poll::Pending
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mine = {
            let mut progress = self.spool.progress.lock();
            progress.followers -= 1;
            progress.waiting.remove(&self.number)
        };
        drop(mine);
        let forsaken = self.fill.state.lock().is_forsaken();
        if forsaken {
            self.fill.table.delist(&self.fill);
        }
    }
}

#[cfg(test)]
mod tests;
