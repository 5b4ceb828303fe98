//! What writer and readers of one fill share.
//!
//! Invariant: `chunks[i]` is chunk number `first + i`; a reader's `next` is never below `first`. `first` only
//! grows once the fill passes through; then, nobody can join any more but behind what is [`Kept`] of it. Everything here is
//! called under the lock; wakers are handed out, to be woken after it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::spool::Spool;
use super::table::Inner;
use super::{Failure, FillHead, Interim};
use crate::key::Key;
use crate::object::Object;
use crate::purge::{Purged, Stamp};
use crate::store::disk::Trail;
use crate::time::Timestamp;

/// Wakers to be woken when the lock is released.
pub(super) type Wakers = Vec<Waker>;

/// One fill.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) key: Key,
    pub(super) table: Arc<Inner>,
    /// From before the first fetch.
    pub(super) stamp: Stamp,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// Whether new followers may join.
    pub(super) open: bool,
    pub(super) head: Option<Arc<FillHead>>,
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) first: u64,
    /// Bytes in `chunks`.
    pub(super) buffered: u64,
    /// Bytes written in all.
    pub(super) total: u64,
    /// The most content that is kept for the store.
    pub(super) limit: u64,
    /// Whether chunks that all readers have seen are dropped.
    pub(super) passing: bool,
    /// Before so many bytes were written nothing is dropped, for those who join late.
    pub(super) beginning: u64,
    /// Where it is from its beginning, for those who come too late for the memory.
    pub(super) kept: Option<Kept>,
    /// The place of the one who writes that.
    pub(super) spooling: Option<Cursor>,
    pub(super) readers: BTreeMap<u32, Cursor>,
    next_reader: u32,
    pub(super) writer: Option<Waker>,
    /// The reader that may take over as writer.
    pub(super) successor: Option<u32>,
    /// Fetches begun.
    pub(super) attempts: u32,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// No head yet.
    Waiting,
    /// Head published, chunks come.
    Streaming,
    /// All chunks are there.
    Complete,
    /// A stored object answers in place of a fetched one.
    Stored(Arc<Object>),
    /// Nothing more comes.
    Failed(Failure),
}

/// Where all of a response is, in memory or not.
#[derive(Debug)]
pub(super) enum Kept {
    /// In the disk tier, whether it becomes an object there or not.
    Disk(Trail),
    /// In a file of its own, which goes with its last reader.
    Spool(Arc<Spool>),
}

impl Kept {
    /// Whether it can be read from its beginning.
    pub(super) fn is_alive(&self) -> bool {
        match self {
            Self::Disk(trail) => trail.is_alive(),
            Self::Spool(spool) => spool.is_alive(),
        }
    }

    /// Who does.
    pub(super) fn followers(&self) -> usize {
        match self {
            Self::Disk(trail) => trail.followers(),
            Self::Spool(spool) => spool.followers(),
        }
    }

    /// Bytes that are written.
    pub(super) fn written(&self) -> u64 {
        match self {
            Self::Disk(trail) => trail.written(),
            Self::Spool(spool) => spool.written(),
        }
    }
}

/// One reader's place.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    pub(super) next: u64,
    /// What came before the head, for the reader that is fetched for.
    pub(super) interim: VecDeque<Interim>,
    pub(super) waker: Option<Waker>,
    pub(super) fate: Fate,
}

/// What became of one reader, apart from the rest.
#[derive(Debug, Default)]
pub(super) enum Fate {
    /// It shares the fill.
    #[default]
    Shares,
    /// It has to fetch for itself.
    Released,
    /// Its own fetch failed; others may still wait for another.
    Failed(Failure),
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Waiting,
            open: true,
            head: None,
            chunks: VecDeque::new(),
            first: 0,
            buffered: 0,
            total: 0,
            limit: u64::MAX,
            passing: false,
            beginning: 0,
            kept: None,
            spooling: None,
            readers: BTreeMap::new(),
            next_reader: 0,
            writer: None,
            successor: None,
            attempts: 1,
        }
    }

    /// Adds a reader at the beginning.
    pub(super) fn add_reader(&mut self) -> u32 {
        let id = self.next_reader;
        self.next_reader = self.next_reader.wrapping_add(1);
        self.readers.insert(
            id,
            Cursor {
                next: self.first,
                ..Cursor::default()
            },
        );
        id
    }

    /// The wakers of all readers that wait.
    pub(super) fn wake_readers(&mut self) -> Wakers {
        self.readers
            .values_mut()
            .chain(&mut self.spooling)
            .filter_map(|cursor| cursor.waker.take())
            .collect()
    }

    /// Drops what all readers have seen, if the fill passes through; nobody can join it any more then. Returns the bytes
    /// dropped.
    pub(super) fn trim(&mut self) -> u64 {
        if !self.passing || self.total < self.beginning {
            return 0;
        }
        let end = self.first + self.chunks.len() as u64;
        let slowest = self
            .readers
            .values()
            .chain(&self.spooling)
            .map(|cursor| cursor.next)
            .min()
            .unwrap_or(end);
        let mut dropped = 0;
        while self.first < slowest {
            let Some(chunk) = self.chunks.pop_front() else { break };
            dropped += chunk.len() as u64;
            self.first += 1;
        }
        self.buffered -= dropped;
        self.open &= self.first == 0;
        dropped
    }

    /// What is to be read behind, by somebody who comes too late for the memory. What came completely is given to others as
    /// long as it is fresh.
    pub(super) fn behind(&self, now: Timestamp) -> Option<(&Arc<FillHead>, &Kept)> {
        let head = self.head.as_ref().filter(|_| !self.open)?;
        let kept = self.kept.as_ref().filter(|kept| kept.is_alive())?;
        let may = match self.phase {
            Phase::Streaming => true,
            Phase::Complete => head.storable.as_ref().is_none_or(|storable| {
                let freshness = &storable.metadata.freshness;
                freshness.age(now) < freshness.lifetime
            }),
            Phase::Waiting | Phase::Stored(_) | Phase::Failed(_) => false,
        };
        may.then_some((head, kept))
    }

    /// Whether all came, and somebody still reads it and may be joined behind what is kept of it.
    pub(super) fn lingers(&self) -> bool {
        match (&self.phase, &self.kept) {
            (Phase::Complete, Some(Kept::Spool(spool))) if spool.is_alive() => {
                !self.readers.is_empty() || self.spooling.is_some() || spool.followers() > 0
            }
            _ => false,
        }
    }

    /// Whether it might have lingered and nobody reads it any more: it is not to be found any longer. To be asked when
    /// somebody left.
    pub(super) fn is_forsaken(&self) -> bool {
        matches!((&self.phase, &self.kept), (Phase::Complete, Some(Kept::Spool(_)))) && !self.lingers()
    }

    /// Has all readers but the one that is fetched for fetch for themselves.
    pub(super) fn release_all_but(&mut self, own: Option<u32>) {
        let others = self.readers.iter_mut().filter(|(id, _)| Some(**id) != own);
        others.for_each(|(_, cursor)| cursor.end(Fate::Released));
    }

    /// Ends a fetch that brought no head: its own reader fails, one other may take over, unless it took too long: then all
    /// fail. Returns who to wake.
    pub(super) fn fail_fetch(&mut self, failure: Failure, own: Option<u32>, max_attempts: u32) -> Wakers {
        let mut wake = Wakers::new();
        if let Some(cursor) = own.and_then(|id| self.readers.get_mut(&id)) {
            cursor.end(Fate::Failed(failure));
            wake.extend(cursor.waker.take());
        }
        if !failure.is_timeout()
            && self.attempts < max_attempts
            && let Some(waker) = self.choose_successor()
        {
            wake.extend(waker);
            return wake;
        }
        self.fail_all(failure);
        wake.extend(self.wake_readers());
        wake
    }

    /// Offers the fetch to the reader that has waited longest; `None` when there is none.
    pub(super) fn choose_successor(&mut self) -> Option<Option<Waker>> {
        let (&id, cursor) = self
            .readers
            .iter_mut()
            .find(|(_, cursor)| matches!(cursor.fate, Fate::Shares))?;
        self.successor = Some(id);
        Some(cursor.waker.take())
    }

    /// Ends the fill for everyone.
    pub(super) fn fail_all(&mut self, failure: Failure) {
        self.phase = Phase::Failed(failure);
        self.open = false;
    }

    /// Takes what is kept from those who read it, as far as it is not written yet. Returns who to wake.
    pub(super) fn lose_kept(&mut self) -> Wakers {
        match self.kept.take() {
            Some(Kept::Spool(spool)) => spool.fail(),
            Some(Kept::Disk(_)) | None => Wakers::new(),
        }
    }
}

impl Fill {
    /// Whether a purge since the first fetch concerns a response with these tags, or with those of the head.
    pub(super) fn is_purged(&self, state: &State, tags: &[u64]) -> bool {
        let known = state.head.as_ref().and_then(|head| head.storable.as_ref());
        let tags = known.map_or(tags, |storable| &storable.metadata.tags);
        self.stamp.purged(tags, &AtomicU64::new(0)) != Purged::No
    }
}

impl Cursor {
    /// Parts this reader from the fill: it reads nothing more, so it holds nothing back.
    pub(super) fn end(&mut self, fate: Fate) {
        self.fate = fate;
        self.next = u64::MAX;
    }

    /// Has the task of `cx` woken at the next change.
    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.table.release(self.state.get_mut().buffered);
        self.table.fill_ended();
    }
}

/// Wakes all, with no lock held.
pub(super) fn wake(wakers: Wakers) {
    wakers.into_iter().for_each(Waker::wake);
}
