//! Which fills are under way, and how many there may be.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::FillHead;
use super::reader::FillReader;
use super::spool::{Follower, Taken};
use super::state::{Fill, Kept, Phase, State};
use super::uncacheable::Uncacheable;
use super::writer::FillWriter;
use crate::key::Key;
use crate::purge::Stamp;
use crate::store::disk::Trail;
use crate::time::Timestamp;

const SHARDS: usize = 64;

/// Bounds of all fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillConfig {
    /// Fills under way at once; more requests fetch for themselves. Default 16,384.
    pub max_fills: usize,
    /// Readers of one fill; more requests fetch for themselves. Default 65,536.
    pub max_readers: usize,
    /// Bytes that all fills together hold; beyond, a fill passes through and is not stored. Default 256 MiB.
    pub max_buffered: u64,
    /// Bytes that a fill which passes through holds for its slowest reader. Default 1 MiB.
    pub window: u64,
    /// As `window`, while all fills together hold more than `max_buffered`. A chunk may come on top. Default 16 KiB.
    pub narrow_window: u64,
    /// Bytes that all spools together may take: files that keep what passes through for those who come late (see
    /// [`super::Spooler`]). 0, the default, is none.
    pub max_spooled: u64,
    /// Fetches for one fill until all its followers fail. Default 3.
    pub max_attempts: u32,
    /// How long a key is remembered as one whose answers cannot be shared, in milliseconds. Default 2 min.
    pub uncacheable_ms: u64,
    /// Keys remembered so. Default 65,536, of 48 bytes.
    pub max_uncacheable: usize,
}

impl Default for FillConfig {
    fn default() -> Self {
        Self {
            max_fills: 16_384,
            max_readers: 65_536,
            max_buffered: 256 << 20,
            window: 1 << 20,
            narrow_window: 16 << 10,
            max_spooled: 0,
            max_attempts: 3,
            uncacheable_ms: 120_000,
            max_uncacheable: 65_536,
        }
    }
}

/// Counters of all fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FillStats {
    /// Fills that exist, those that only readers still hold included.
    pub in_flight: u64,
    /// Bytes they hold.
    pub buffered: u64,
    /// Requests that joined a fill of another.
    pub followers: u64,
    /// Requests that a limit kept from joining.
    pub refused: u64,
    /// Fetches that a follower took over.
    pub successions: u64,
    /// Fills that outgrew a limit and passed through.
    pub passed_through: u64,
    /// Bytes of room that spools take.
    pub spooled: u64,
    /// Spools that began.
    pub spools: u64,
    /// Of those, how many lost something and were given up.
    pub spools_lost: u64,
}

/// A fetch that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// The status, when the head is there.
    pub status: Option<u16>,
    /// Bytes of content that came.
    pub bytes: u64,
    /// Bytes of content that were announced.
    pub length: Option<u64>,
    /// Who reads it.
    pub readers: u64,
    /// Bytes that are on the disk, where it is written there while it comes.
    pub written: Option<u64>,
}

/// What a request is to a fill.
#[derive(Debug)]
pub enum Join {
    /// The first: it has the fetch made. Its client reads like any other, or drops the reader.
    Leader(FillWriter, FillReader),
    /// One of those who wait.
    Follower(FillReader),
    /// Too late for the memory, but what was written of it can be read from its beginning. If the head's `Vary` does not
    /// match this request, join again under the key of its variant.
    Behind(Arc<FillHead>, Behind),
    /// Answers to this key could not be shared lately: fetch without waiting.
    Uncacheable,
    /// A limit is reached: fetch without waiting.
    Full,
}

/// Where the beginning is that memory does not have any more.
#[derive(Debug)]
pub enum Behind {
    /// In the disk tier.
    Disk(Trail),
    /// In a file of its own.
    Spool(Follower),
}

type Shard = Mutex<HashMap<Key, Arc<Fill>, RandomState>>;

/// The fills under way.
#[derive(Clone, Debug)]
pub struct Fills(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: FillConfig,
    shards: Box<[Shard]>,
    uncacheable: Uncacheable,
    in_flight: AtomicUsize,
    buffered: AtomicU64,
    followers: AtomicU64,
    refused: AtomicU64,
    pub(super) successions: AtomicU64,
    pub(super) passed_through: AtomicU64,
    pub(super) spools: Taken,
}

impl Fills {
    /// None under way.
    pub fn new(config: FillConfig) -> Self {
        Self(Arc::new(Inner {
            config,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            uncacheable: Uncacheable::new(config.max_uncacheable),
            in_flight: AtomicUsize::new(0),
            buffered: AtomicU64::new(0),
            followers: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            successions: AtomicU64::new(0),
            passed_through: AtomicU64::new(0),
            spools: Taken::default(),
        }))
    }

    /// Bytes that all fills together may hold.
    pub fn most_buffered(&self) -> u64 {
        self.0.config.max_buffered
    }

    /// Joins the fill of `key`, or begins one. `stamp` is of now. A fill that a purge came after, as far as
    /// `tags` and its head tell, or that began before the logical time `since`, takes no more followers: a new one begins.
    pub fn join(&self, key: Key, stamp: &Stamp, tags: &[u64], since: u64, now: Timestamp) -> Join {
        let inner = &self.0;
        if inner.uncacheable.contains(key, now) {
            return Join::Uncacheable;
        }
        let mut shard = inner.shard(key).lock();
        if let Some(fill) = shard.get(&key) {
            let mut state = fill.state.lock();
            let usable = !fill.is_purged(&state, tags) && !fill.stamp.is_before(since);
            if usable && let Some((head, kept)) = state.behind(now) {
                if kept.followers() >= inner.config.max_readers {
                    inner.refused.fetch_add(1, Ordering::Relaxed);
                    return Join::Full;
                }
                inner.followers.fetch_add(1, Ordering::Relaxed);
                let behind = match kept {
                    Kept::Disk(trail) => Behind::Disk(trail.clone()),
                    Kept::Spool(spool) => Behind::Spool(Follower::new(fill, spool)),
                };
                return Join::Behind(Arc::clone(head), behind);
            }
            if state.open && usable {
                if state.readers.len() >= inner.config.max_readers {
                    inner.refused.fetch_add(1, Ordering::Relaxed);
                    return Join::Full;
                }
                let id = state.add_reader();
                drop(state);
                inner.followers.fetch_add(1, Ordering::Relaxed);
                return Join::Follower(FillReader::new(Arc::clone(fill), id));
            }
        }
        let Some((fill, id)) = inner.begin(key, stamp) else {
            return Join::Full;
        };
        // A fill that no longer takes followers may still be here: it leaves its place.
        let old = shard.insert(key, Arc::clone(&fill));
        drop(shard);
        drop(old);
        Join::Leader(FillWriter::new(Arc::clone(&fill), Some(id)), FillReader::new(fill, id))
    }

    /// Begins a fill that nobody can join: a response that came to one request and may be stored. `None` when there are
    /// too many fills.
    pub fn alone(&self, key: Key, stamp: &Stamp) -> Option<(FillWriter, FillReader)> {
        let (fill, id) = self.0.begin(key, stamp)?;
        fill.state.lock().open = false;
        Some((FillWriter::new(Arc::clone(&fill), Some(id)), FillReader::new(fill, id)))
    }

    /// The fetch for `key`, for people.
    pub fn under_way(&self, key: Key) -> Option<UnderWay> {
        let fill = Arc::clone(self.0.shard(key).lock().get(&key)?);
        let state = fill.state.lock();
        Some(UnderWay {
            status: state.head.as_ref().map(|head| head.status),
            bytes: state.total,
            length: state.head.as_ref().and_then(|head| head.content_length),
            readers: (state.readers.len() + state.kept.as_ref().map_or(0, Kept::followers)) as u64,
            written: state.kept.as_ref().filter(|kept| kept.is_alive()).map(Kept::written),
        })
    }

    /// Remembers that answers to `key` cannot be shared.
    pub fn remember_uncacheable(&self, key: Key, now: Timestamp) {
        self.0.remember_uncacheable(key, now);
    }

    /// Forgets that answers to `key` could not be shared.
    pub fn forget_uncacheable(&self, key: Key) {
        self.0.uncacheable.remove(key);
    }

    /// Counters.
    pub fn stats(&self) -> FillStats {
        let inner = &self.0;
        let (spooled, spools, spools_lost) = inner.spools.read();
        FillStats {
            in_flight: inner.in_flight.load(Ordering::Relaxed) as u64,
            buffered: inner.buffered.load(Ordering::Relaxed),
            followers: inner.followers.load(Ordering::Relaxed),
            refused: inner.refused.load(Ordering::Relaxed),
            successions: inner.successions.load(Ordering::Relaxed),
            passed_through: inner.passed_through.load(Ordering::Relaxed),
            spooled,
            spools,
            spools_lost,
        }
    }
}

impl Inner {
    /// A fill with one reader; listed nowhere.
    fn begin(self: &Arc<Self>, key: Key, stamp: &Stamp) -> Option<(Arc<Fill>, u32)> {
        if self.in_flight.fetch_add(1, Ordering::AcqRel) >= self.config.max_fills {
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let mut state = State::new();
        let id = state.add_reader();
        let fill = Arc::new(Fill {
            key,
            table: Arc::clone(self),
            stamp: stamp.clone(),
            state: Mutex::new(state),
        });
        Some((fill, id))
    }

    pub(super) fn remember_uncacheable(&self, key: Key, now: Timestamp) {
        self.uncacheable
            .insert(key, now.plus_millis(self.config.uncacheable_ms));
    }

    /// Takes a fill that no longer takes followers out of the table.
    pub(super) fn delist(&self, fill: &Arc<Fill>) {
        let mut shard = self.shard(fill.key).lock();
        if shard.get(&fill.key).is_some_and(|listed| Arc::ptr_eq(listed, fill)) {
            let old = shard.remove(&fill.key);
            drop(shard);
            drop(old);
        }
    }

    /// Accounts for `bytes` more; returns whether the memory of all fills is exceeded.
    pub(super) fn hold(&self, bytes: u64) -> bool {
        self.buffered.fetch_add(bytes, Ordering::Relaxed) + bytes > self.config.max_buffered
    }

    /// Bytes that one fill which passes through may hold now, and whether that is less than it would like.
    pub(super) fn window(&self) -> (u64, bool) {
        if self.buffered.load(Ordering::Relaxed) > self.config.max_buffered {
            (self.config.narrow_window, true)
        } else {
            (self.config.window, false)
        }
    }

    pub(super) fn release(&self, bytes: u64) {
        self.buffered.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn fill_ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    fn shard(&self, key: Key) -> &Shard {
        &self.shards[key.0 as usize % SHARDS]
    }
}

impl Fill {
    /// Whether a fetch is under way or wanted.
    pub(super) fn is_waiting(state: &State) -> bool {
        matches!(state.phase, Phase::Waiting)
    }
}
