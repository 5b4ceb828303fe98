//! The disk tier beside the memory: what goes to it, and what comes back.
//!
//! Admission: at the second use. That is the first hit in memory, or the second fetch within a while of what memory did
//! not keep ([`Store::seen`]). It is written then, not when memory lets it go, so that what is hot is there after a
//! restart. What takes the place of something on the disk is written at once, and the old one is not found from then on.
//!
//! What a restart may bring back: a response that was replaced and not purged comes back only if the process was killed
//! before the log had the new one, or that the old one is removed, which goes ahead of all that waits: the writer is at
//! one record (4 MiB), or seals a segment. One of several variants may come back while its successor waits, if memory had
//! let it go before. A machine that stops may lose a second of the log. What comes back was right once, is not purged, and
//! is fresh only as far as it said itself. The end of what was invalidated and purged is told in [`Cache::note_news`].
//!
//! A store may come while requests are served: it is still being recovered, or another process has not let it go. Until
//! then every key that is stored or removed is noted, and forgotten on the disk when it comes.

mod spilled;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::{Cache, Lookup, only_if_cached};
use crate::key::Key;
use crate::object::{Body, Object, Touch};
use crate::policy::request::RequestMeta;
use crate::purge::{Purged, journal};
use crate::store::disk::{Loaded, Place, Settled, Store, StoredObject, Superblock, variant_key};
use crate::time::Timestamp;
use crate::vary::FieldValues;

/// Keys noted while a store is awaited; with more it is emptied.
const MAX_PENDING: usize = 1 << 20;

/// A confirmed response that is fresh for less than this is not written again, milliseconds.
const WORTH_CONFIRMING: u64 = 60_000;

/// The store, if there is one, or what has to be told to one that comes.
#[derive(Debug, Default)]
pub(super) struct Tier {
    store: OnceLock<Arc<Store>>,
    /// Where purges are kept: the same store, from before it is recovered.
    keeper: OnceLock<Arc<Store>>,
    /// An invalidation is not in the list yet, or a rule for queries is gone.
    news: AtomicBool,
    /// It is being written there.
    noting: AtomicBool,
    awaited: AtomicBool,
    pending: Mutex<Option<HashSet<Key, RandomState>>>,
}

/// What a record was to a request.
#[derive(Debug)]
pub enum Step {
    /// A stored response.
    Object(Arc<Object>),
    /// Look these up, in order.
    Variants(Vec<Key>),
    /// Nothing.
    Nothing,
}

/// A record's site is not known any more.
pub(super) struct Forgotten;

impl Tier {
    fn store(&self) -> Option<&Arc<Store>> {
        self.store.get().filter(|store| !store.is_closed())
    }

    /// The store, unless it is to come: then `key` is noted.
    fn store_or_note(&self, key: Key) -> Option<&Arc<Store>> {
        if self.store.get().is_none() && self.awaited.load(Ordering::Acquire) {
            let mut pending = self.pending.lock();
            if let Some(keys) = &mut *pending {
                if keys.len() <= MAX_PENDING {
                    keys.insert(key);
                }
                return None;
            }
        }
        self.store()
    }

    pub(super) fn remove(&self, key: Key) {
        if let Some(store) = self.store_or_note(key) {
            store.remove(key);
        }
    }

    /// Memory got `object` in the place of what it had of `key`, which the disk has at `former`, or was to get it and did
    /// not take it.
    pub(super) fn replaced(&self, key: Key, former: Option<Key>, object: &Arc<Object>, how: Stored) {
        let Some(store) = self.store_or_note(key) else { return };
        // Parts of a response are in memory only.
        if object.disk_key().is_some() || object.parts.is_some() {
            return;
        }
        let known = store.contains(key);
        let wanted = known || how == Stored::Used && store.seen(key);
        if !wanted {
            return;
        }
        if object.touch(Timestamp::default()) != Touch::First {
            // It is being written already.
            store.supersede(key, former);
            return;
        }
        let given = match known && how != Stored::Confirmed {
            true => store.put_over(key, former, object),
            false => store.put(key, object),
        };
        if !given {
            object.unmark_offered();
            // The disk must not have what is older.
            store.remove(key);
        }
    }

    /// As [`Self::replaced`], by what is on the disk alone.
    fn superseded(&self, key: Key, former: Option<Key>) {
        if let Some(store) = self.store_or_note(key) {
            store.supersede(key, former);
        }
    }
}

/// How a response comes to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// It was fetched, which is a use of its key.
    Used,
    /// It was made of what was fetched.
    Made,
    /// It is what was stored before, confirmed.
    Confirmed,
}

impl Cache {
    /// Says that a store will come, which `superblock` and its list of purges are of. To be called before anything is
    /// served, and with a `superblock` whose number is this process's.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn await_disk(&self, superblock: &Superblock, purges: &[u8]) -> Result<(), journal::Error> {
        superblock.restore(&self.epochs, purges)?;
        self.searches.begin(superblock.boot);
        *self.tier.pending.lock() = Some(HashSet::default());
        self.tier.awaited.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes over the purges of the store, which is this process's alone from now on, and has it keep those of this one.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn adopt_purges(&self, store: &Arc<Store>, purges: &[u8]) -> Result<(), journal::Error> {
        store.superblock().restore(&self.epochs, purges)?;
        self.epochs.keep_journal();
        let _ = self.tier.keeper.set(Arc::clone(store));
        self.keep_purges();
        Ok(())
    }

    /// Has everything that purges did so far survive a restart: when this returns it is on the disk, if there is one.
    pub fn keep_purges(&self) {
        self.write_purges(true);
    }

    /// Takes over what earlier processes kept of queries, after [`Self::await_disk`].
    pub fn restore_searches(&self, list: &[u8]) {
        self.searches.restore(list, self.keyer.identity());
    }

    /// Has what origins said of queries survive a restart, if there is something new.
    pub fn keep_searches(&self) {
        if let Some(store) = self.tier.keeper.get()
            && let Some(list) = self.searches.take(self.keyer.identity())
        {
            store.keep_searches(&list);
        }
    }

    /// Waits until what was invalidated so far survives the end of this process; none where it does already, where nothing is
    /// kept, and where the store is still to come.
    pub fn settled(&self) -> Option<Settled> {
        let store = self.tier.store()?;
        let unnoted = self.tier.news.load(Ordering::SeqCst) || self.tier.noting.load(Ordering::SeqCst);
        (unnoted || store.owes_removals()).then(|| store.settled())
    }

    /// Has everything that invalidations did so far survive the end of this process. For the thread that writes, after
    /// each piece of work: an invalidation wakes it, and [`Self::settled`] waits for it.
    pub fn note_news(&self) {
        if !self.tier.news.load(Ordering::SeqCst) {
            return;
        }
        self.tier.noting.store(true, Ordering::SeqCst);
        self.tier.news.store(false, Ordering::SeqCst);
        self.write_purges(false);
        self.keep_searches();
        self.tier.noting.store(false, Ordering::SeqCst);
    }

    fn write_purges(&self, synced: bool) {
        if let Some(store) = self.tier.keeper.get() {
            store.keep_purges(
                synced,
                || self.epochs.take_journal(),
                || self.epochs.export(self.keyer.identity()),
            );
        }
    }

    /// Has the writer call [`Self::note_news`].
    pub(super) fn has_news(&self) {
        if let Some(store) = self.tier.keeper.get() {
            self.tier.news.store(true, Ordering::SeqCst);
            store.wake();
        }
    }

    /// Begins to use a store that was recovered. Returns whether what it held is kept: not if too much happened meanwhile.
    pub fn attach_disk(&self, store: &Arc<Store>) -> bool {
        let mut pending = self.tier.pending.lock();
        let keys = pending.take().unwrap_or_default();
        let kept = keys.len() <= MAX_PENDING;
        if kept {
            keys.into_iter().for_each(|key| store.remove(key));
        } else {
            store.empty();
        }
        let _ = self.tier.store.set(Arc::clone(store));
        kept
    }

    /// The disk tier, if there is one now.
    pub fn disk(&self) -> Option<&Arc<Store>> {
        self.tier.store()
    }

    /// Tells the disk tier of a use.
    pub(super) fn used(&self, key: Key, object: &Arc<Object>, now: Timestamp) {
        let Some(store) = self.tier.store() else { return };
        match object.touch(now) {
            Touch::Known => {}
            Touch::First => self.admit(store, key, object),
            Touch::Again => {
                // Written, or under way; what was let go since is written again.
                if object.disk_key().is_some_and(|disk_key| !store.used(disk_key)) {
                    self.admit(store, key, object);
                }
            }
        }
    }

    fn admit(&self, store: &Store, key: Key, object: &Arc<Object>) {
        if object.parts.is_some() || object.body.len() > store.largest() || object.purged() != Purged::No {
            return;
        }
        if !store.has_room() || !store.put(key, object) {
            object.unmark_offered();
        }
    }

    /// What a request gets that memory does not answer, given what the disk has.
    pub fn judge(&self, key: Key, object: Arc<Object>, request: &RequestMeta, now: Timestamp) -> Lookup {
        only_if_cached(request, self.evaluate(key, object, request, now))
    }

    /// Takes in the record that was read at `place`, where `at` is: the key of the request, or of a variant of it.
    pub fn load(
        &self,
        (key, at): (Key, Key),
        place: &Place,
        bytes: &Bytes,
        values: &FieldValues<'_>,
        now: Timestamp,
    ) -> Step {
        let Some(store) = self.tier.store() else {
            return Step::Nothing;
        };
        match store.decode(place, at, bytes) {
            Ok(Some(Loaded::Object(stored, content))) => {
                self.adopt(store, (key, at), place, *stored, content, values, now)
            }
            Ok(Some(Loaded::Variants(variants))) if key == at => {
                let prints = variants.rules.iter().map(|rule| rule.fingerprint(&self.keyer, values));
                Step::Variants(prints.map(|print| variant_key(key, print, variants.salt)).collect())
            }
            // Of another key that looks the same in the index: one of them has to go.
            Ok(_) | Err(_) => {
                store.forget(at, place);
                Step::Nothing
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one caller, and no group of them means anything"
    )]
    fn adopt(
        &self,
        store: &Store,
        (key, at): (Key, Key),
        place: &Place,
        stored: StoredObject,
        content: Bytes,
        values: &FieldValues<'_>,
        now: Timestamp,
    ) -> Step {
        let object = match self.recalled(key, stored, content, values) {
            None => return Step::Nothing,
            Some(Ok(object)) if object.purged() != Purged::Hard => object,
            Some(_) => {
                store.forget(at, place);
                return Step::Nothing;
            }
        };
        object.set_disk_key(at);
        object.touch(now);
        store.count_loaded();
        let object = Arc::new(object);
        let mut slot = self.ram.lock(key);
        // Replaced or removed while it was read.
        if !store.is_at(at, place) {
            return match self.ram.get(key, &self.keyer, values) {
                Some(newer) => Step::Object(newer),
                None => Step::Nothing,
            };
        }
        if let Some(newer) = self.ram.get(key, &self.keyer, values) {
            return Step::Object(newer);
        }
        slot.insert(&object);
        Step::Object(object)
    }

    /// The response of a record: `None` if it is not this request's, an error if its site is not known any more.
    pub(super) fn recalled(
        &self,
        key: Key,
        stored: StoredObject,
        content: Bytes,
        values: &FieldValues<'_>,
    ) -> Option<Result<Object, Forgotten>> {
        let StoredObject {
            site,
            at,
            base,
            salt,
            status,
            head,
            meta,
            variant,
            in_language,
            extents,
        } = stored;
        let is_it = base == key && meta.vary.is_empty() == (salt == 0);
        if !is_it || meta.vary.fingerprint(&self.keyer, values) != variant {
            return None;
        }
        let body = match extents {
            Some(extents) => Body::on_disk(Arc::new(extents)),
            None => content.into(),
        };
        let Some(stamp) = self.epochs.stamp_at(site, at) else {
            return Some(Err(Forgotten));
        };
        let object = Object::new(status, head, body, meta, variant, stamp).found_in(in_language);
        Some(Ok(object))
    }

    /// Forgets an object whose content is not on the disk any more.
    pub fn content_lost(&self, key: Key, object: &Arc<Object>) {
        let slot = self.ram.lock(key);
        slot.remove_object(object);
    }

    /// Puts an object whose content was read from the disk into memory, whole.
    pub fn promote(&self, key: Key, object: &Arc<Object>, body: Body) -> bool {
        if body.len() != object.body.len() || object.purged() != Purged::No {
            return false;
        }
        let mut slot = self.ram.lock(key);
        let is_current = self.ram.holds(key, object);
        let whole = Object::new(
            object.status,
            object.head.clone(),
            body,
            object.meta.clone(),
            object.variant,
            object.stamp().clone(),
        )
        .found_in(object.in_language);
        if let Some(disk_key) = object.disk_key() {
            whole.set_disk_key(disk_key);
        }
        is_current && slot.insert(&Arc::new(whole))
    }

    /// Before `new`, which a 304 made of `old`, takes its place: what is on the disk stays there if it is good enough.
    pub(super) fn confirm(&self, key: Key, old: &Object, new: &Arc<Object>) {
        let Some(store) = self.tier.store() else { return };
        let Some(disk_key) = old.disk_key().filter(|_| old.meta.vary == new.meta.vary) else {
            return;
        };
        if old.variant != new.variant || !store.contains(disk_key) {
            return;
        }
        // Most are confirmed again before they are needed from there.
        if new.meta.freshness.lifetime < WORTH_CONFIRMING && store.contains(key) {
            new.set_disk_key(disk_key);
        }
    }
}

#[cfg(test)]
impl Cache {
    /// What memory has of a key without variants.
    pub(crate) fn peek(&self, key: Key) -> Option<Arc<Object>> {
        self.ram.get(key, &self.keyer, &|_, _| {})
    }

    /// Forgets a key, as a request of an unsafe method does.
    pub(crate) fn remove_for_tests(&self, key: Key) {
        self.remove(key);
    }
}

impl Lookup {
    /// Whether the disk may know better.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Miss | Self::Unavailable)
    }
}
