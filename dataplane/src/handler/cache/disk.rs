//! Stored responses that lie on the disk: looked up without holding the worker, streamed while they are read.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use breakwater_cache::cache::Step;
use breakwater_cache::fill;
use breakwater_cache::object::{Body, Object};
use breakwater_cache::store::disk::{Follower, Part, Pinned, Store};
use breakwater_cache::vary::values_of;
use breakwater_cache::{Key, Lookup};
use bytes::Bytes;

use super::Request;
use crate::handler::Failure;
use crate::handler::client::Client;
use crate::handler::stored::Stretch;
use crate::upstream::OriginError;

/// How often a request looks again because the content of what it found was gone.
const MAX_LOOKUPS: usize = 3;

/// Content up to this size may be taken into memory as a whole, bytes.
const PROMOTED: u64 = 8 << 20;

/// Of that, bytes that one worker takes in at once.
const PROMOTING: u64 = 16 << 20;

/// What tells the names of files apart from those of the disk tier's segments, which are counted from one.
const SPOOLED: u64 = 1 << 63;

thread_local! {
    static PROMOTIONS: Cell<u64> = const { Cell::new(0) };
}

impl Request<'_> {
    /// What memory has for this request, or else the disk. What lies on the disk is held until the request is over.
    pub(super) async fn look_up(&self, rule: Option<&breakwater_cache::policy::site::Rule>) -> Lookup {
        let values = values_of(&self.job.request.headers);
        let cache = &self.worker.cache;
        let now = || self.worker.clock.timestamp();
        for _ in 0..MAX_LOOKUPS {
            let mut lookup = cache.lookup(self.target.key, &self.meta, rule, &values, now());
            let mut loaded = false;
            if lookup.is_missing()
                && self.lost.get().is_none()
                && let Some(object) = self.load().await
            {
                loaded = true;
                lookup = cache.judge(self.target.key, object, &self.meta, now());
            }
            let (Lookup::Hit { object, .. } | Lookup::Stale { object, .. }) = &lookup else {
                return lookup;
            };
            let Some(extents) = object.body.extents() else {
                return lookup;
            };
            if self.lost.get().is_some() {
                return Lookup::Miss;
            }
            if let Some(pinned) = cache.disk().and_then(|store| store.pin(extents)) {
                self.promotes.set(!loaded);
                self.held.replace(Some(pinned));
                return lookup;
            }
            // Part of it went with the oldest of the log. What the disk has of it now is newer, or nothing.
            cache.content_lost(self.target.key, object);
            if loaded && let (Some(store), Some(key)) = (cache.disk(), object.disk_key()) {
                store.remove(key);
            }
        }
        Lookup::Miss
    }

    /// What the disk has for this request.
    async fn load(&self) -> Option<Arc<Object>> {
        let key = self.target.key;
        match self.load_at(key).await? {
            Step::Object(object) => Some(object),
            Step::Variants(keys) => {
                for at in keys {
                    if let Some(Step::Object(object)) = self.load_at(at).await {
                        return Some(object);
                    }
                }
                None
            }
            Step::Nothing => None,
        }
    }

    async fn load_at(&self, at: Key) -> Option<Step> {
        let cache = &self.worker.cache;
        let store = cache.disk()?;
        let place = store.find(at)?;
        let reads = self.worker.reads.as_ref()?;
        // The origin is asked sooner than a disk that has too much to do.
        match reads
            .read_now(place.name(), place.file(), place.offset(), place.len())
            .await
        {
            Ok(bytes) => {
                let values = values_of(&self.job.request.headers);
                let now = self.worker.clock.timestamp();
                let step = cache.load((self.target.key, at), &place, &bytes, &values, now);
                if matches!(step, Step::Object(_)) {
                    self.job.local().cells.from_disk.add(1);
                }
                Some(step)
            }
            Err(error) if is_busy(&error) => {
                store.count_busy();
                None
            }
            Err(error) => {
                tracing::debug!(%error, "a stored response cannot be read");
                store.count_read_error();
                store.forget(at, &place);
                None
            }
        }
    }

    /// The content of `object`, which lies on the disk: what is held, or can be.
    fn content_of(&self, object: &Arc<Object>) -> Option<Pinned> {
        let extents = object.body.extents()?;
        let held = self.held.borrow();
        match &*held {
            Some(pinned) if pinned.is_of(extents) => Some(pinned.clone()),
            _ => self.worker.cache.disk()?.pin(extents),
        }
    }

    /// Sends a head that announces so many bytes, and these stretches of content. What turns out to be damaged on the way
    /// comes from the origin, if it is the same there.
    pub(super) async fn send_from_disk<C: Client>(
        &self,
        client: &mut C,
        object: &Arc<Object>,
        (head, length): (&[u8], u64),
        stretches: &[Stretch],
    ) -> Result<(), Failure> {
        let lost = |why| {
            self.lost.set(Some(why));
            OriginError::Unexpected("what is stored of it cannot be read")
        };
        let gone = || lost(Unread::Damaged);
        let pinned = self.content_of(object).ok_or_else(gone)?;
        let whole = object.body.len();
        let all = matches!(stretches, [all] if all.length == whole);
        let mut promotion = (self.promotes.get() && all).then(|| Promotion::begin(whole)).flatten();
        // Before the head: what cannot be read at all is not announced.
        let start = stretches.first().map_or(0, |stretch| stretch.start);
        let first = pinned.part(start).ok_or_else(gone)?;
        let mut ahead = Some(self.read(first, object).await.map_err(lost)?);
        client.begin_whole(head, length).await?;
        for Stretch { text, start, length } in stretches {
            if !text.is_empty() {
                client.send_body(text.clone()).await?;
            }
            let (mut at, end) = (*start, start + length);
            while at < end {
                let piece = match (ahead.take(), pinned.part(at)) {
                    (Some(piece), _) => Ok(piece),
                    (None, Some(part)) => self.read(part, object).await,
                    (None, None) => Err(Unread::Damaged),
                };
                let mut piece = match piece {
                    Ok(piece) => piece,
                    Err(why) => {
                        promotion = None;
                        let rest = self.send_rest(client, object, at, end).await;
                        let cells = &self.job.local().cells;
                        match (why, &rest) {
                            (Unread::Damaged, Ok(())) => cells.damaged_mended.add(1),
                            (Unread::Damaged, Err(_)) => cells.damaged_cut.add(1),
                            (Unread::Busy, _) => {}
                        }
                        rest?;
                        break;
                    }
                };
                piece.truncate(usize::try_from(end - at).unwrap_or(usize::MAX));
                at += piece.len() as u64;
                if let Some(promotion) = &mut promotion {
                    promotion.pieces.push(piece.clone());
                }
                client.send_body(piece).await?;
            }
        }
        client.finish(None).await?;
        if let Some(mut promotion) = promotion {
            let body = Body::from_chunks(std::mem::take(&mut promotion.pieces));
            self.worker.cache.promote(self.target.key, object, body);
        }
        Ok(())
    }

    /// Sends what another's fetch writes to the disk, from the beginning and while it comes, behind a head that is sent.
    pub(super) async fn send_behind<C: Client>(&self, client: &mut C, behind: &Follower) -> Result<(), Failure> {
        let lost = || OriginError::Fetch("what was written of it was lost");
        let reads = self.worker.reads.as_ref().ok_or_else(lost)?;
        let mut at = 0;
        while let Some(pinned) = behind.from(at).await.map_err(|_| lost())? {
            while let Some(part) = pinned.part(at) {
                let file = part.file().ok_or_else(lost)?;
                let read = reads.read(part.name(), file, part.offset(), part.len()).await;
                let piece = read.ok().and_then(|bytes| part.content(&bytes).ok()).ok_or_else(lost)?;
                at += piece.len() as u64;
                client.send_body(piece).await?;
            }
        }
        Ok(())
    }

    /// Sends what another's fetch is kept of in a file, from the beginning and while it comes, behind a head that is sent.
    pub(super) async fn send_spooled<C: Client>(&self, client: &mut C, behind: &fill::Follower) -> Result<(), Failure> {
        let lost = || OriginError::Fetch("what was kept of it was lost");
        let reads = self.worker.reads.as_ref().ok_or_else(lost)?;
        let mut at = 0;
        while let Some((file, length)) = behind.at(at).await.map_err(|_| lost())? {
            let piece = u32::try_from(at / fill::SPOOL_PIECE).map_err(|_| lost())?;
            let name = (SPOOLED | behind.file_number(), piece);
            let bytes = reads.read(name, file, at, length).await.map_err(|_| lost())?;
            at += bytes.len() as u64;
            client.send_body(bytes).await?;
        }
        Ok(())
    }

    /// Reads a part of an object's content; when that is damaged, the object is forgotten.
    async fn read(&self, part: Part<'_>, object: &Arc<Object>) -> Result<Bytes, Unread> {
        // What is held can be read when the store is let go.
        let store = self.worker.cache.disk();
        let (Some(reads), Some(file)) = (self.worker.reads.as_ref(), part.file()) else {
            return Err(Unread::Damaged);
        };
        let read = reads.read(part.name(), file, part.offset(), part.len()).await;
        let counted: fn(&Store) = match read {
            Ok(bytes) => match part.content(&bytes) {
                Ok(content) => return Ok(content),
                Err(_) => |store| store.count_damaged(),
            },
            // It may be read later.
            Err(error) if is_busy(&error) => {
                if let Some(store) = store {
                    store.count_busy();
                }
                return Err(Unread::Busy);
            }
            Err(_) => |store| store.count_read_error(),
        };
        tracing::debug!("a stored response cannot be read");
        self.worker.cache.content_lost(self.target.key, object);
        if let Some(store) = store {
            counted(store);
            if let Some(key) = object.disk_key() {
                store.remove(key);
            }
        }
        Err(Unread::Damaged)
    }
}

/// Why content cannot be sent from the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not there, or not what was written.
    Damaged,
    /// Too much waits to be read, for too long.
    Busy,
}

/// Whether too much waits to be read, which says nothing of the disk.
fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Content that is kept while it is sent, to be stored in memory: it was used before, and is small enough.
struct Promotion {
    pieces: Vec<Bytes>,
    length: u64,
}

impl Promotion {
    fn begin(length: u64) -> Option<Self> {
        let under_way = PROMOTIONS.get();
        let fits = length <= PROMOTED && under_way + length <= PROMOTING;
        fits.then(|| {
            PROMOTIONS.set(under_way + length);
            Self {
                pieces: Vec::new(),
                length,
            }
        })
    }
}

impl Drop for Promotion {
    fn drop(&mut self) {
        PROMOTIONS.set(PROMOTIONS.get().saturating_sub(self.length));
    }
}
