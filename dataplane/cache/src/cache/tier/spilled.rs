//! Responses that are written to the disk while they come: those that may not find room in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::{Cache, shared_fields};
use crate::fill::FillHead;
use crate::head;
use crate::key::Key;
use crate::object::{Body, Object};
use crate::policy::site::SitePolicy;
use crate::purge::Stamp;
use crate::store::disk::{INLINE, Spill};

/// A fetch that takes more than this part of the memory of all fetches is written to the disk while it comes.
const FILL_SHARE: u64 = 8;

impl Cache {
    /// Begins to write a response to the disk while it comes: one that is not for memory, or may turn out not to be.
    pub fn spill(&self, key: Key, head: &FillHead, policy: &SitePolicy) -> Option<Spill> {
        let store = self.tier.store()?;
        head.storable.as_ref().filter(|_| head.status != 206)?;
        let most = policy.max_object_size.min(store.largest());
        let wanted = self.may_spill(head) && head.content_length.is_none_or(|length| length <= most);
        let known = wanted && (store.contains(key) || store.seen(key));
        (known && store.has_room()).then(|| store.spill(key))
    }

    /// Whether a response may be stored in one tier or the other, as far as its head tells.
    pub fn may_keep(&self, head: &FillHead, policy: &SitePolicy) -> bool {
        let most = self.disk().map_or(0, |store| store.largest());
        let most = policy.max_object_size.min(most.max(self.largest_body(head)));
        head.storable.is_some() && head.content_length.is_none_or(|length| length <= most)
    }

    /// Whether a response may not find room in memory, or not while it is fetched: [`Self::spill`] decides on the disk then,
    /// not its being stored.
    pub(in crate::cache) fn may_spill(&self, head: &FillHead) -> bool {
        let room = self.largest_body(head).min(self.fills.most_buffered() / FILL_SHARE);
        head.content_length.is_none_or(|length| length > room.max(INLINE))
    }

    /// Completes what was written while it came. `stored`: memory has it, too.
    pub(crate) fn insert_spilled(
        &self,
        key: Key,
        head: &FillHead,
        mut spill: Spill,
        stamp: &Stamp,
        stored: Option<&Arc<Object>>,
    ) -> bool {
        let Some(storable) = head.storable.as_deref() else {
            return false;
        };
        let wrong = head.content_length.is_some_and(|length| length != spill.len());
        if wrong {
            return false;
        }
        // Who reads behind has joined before a purge, and gets all of it.
        spill.end();
        if self.is_purged(stamp, &storable.metadata.tags) {
            return false;
        }
        let shared = shared_fields(&head.fields, Some(storable), head.status, Some(spill.len()));
        let object = Object::new(
            head.status,
            head::encode(head.status, &shared),
            Body::default(),
            storable.metadata.clone(),
            head.variant,
            stamp.clone(),
        )
        .found_in(head.in_language);
        let slot = self.ram.lock(key);
        if stamp.is_before(self.guard(key).load(Ordering::Acquire)) {
            return false;
        }
        if stored.is_none() {
            // What is in memory by now was told of in its time.
            let former = slot.find(&object.meta.vary, object.variant);
            let former = former.and_then(|former| former.disk_key());
            self.tier.superseded(key, former);
            slot.remove_variant(&object);
        }
        let given = spill.finish(key, object);
        if !given {
            // The disk must not hold what is older than this.
            self.tier.remove(key);
            if let Some(stored) = stored {
                stored.unmark_offered();
            }
        }
        given
    }
}
