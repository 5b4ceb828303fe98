//! From a fetched response to a stored one: heads, contents, and what confirms them.
//!
//! Invariant: an object is in the store before its fill ends, so that a request finds one or the other; what was asked for
//! before a purge or an invalidation is not stored after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use breakwater_wire::hop::strip_hop_by_hop;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{self, HeaderName};

use super::tier::Stored as How;
use super::{Cache, Revalidated};
use crate::fill::{Disposition, Failure, FillHead, FillWriter};
use crate::head;
use crate::key::Key;
use crate::object::{Body, Object};
use crate::policy::request::{MethodClass, RequestMeta};
use crate::policy::site::SitePolicy;
use crate::policy::statuses::{self, Known};
use crate::policy::store::{Candidate, Decision, Reason, Storable, decide};
use crate::policy::validate::{self, Mismatch};
use crate::purge::Stamp;
use crate::store::disk::Spill;
use crate::time::Timestamp;
use crate::vary::{self, FieldValues};

impl Cache {
    /// Decides on a response's head and makes it one for a fill. `values` are the request's.
    pub fn head(
        &self,
        response: &Candidate<'_>,
        content_length: Option<u64>,
        values: &FieldValues<'_>,
    ) -> (FillHead, Option<Reason>) {
        let (storable, reason) = match decide(response) {
            Decision::Store(storable) => (Some(storable), None),
            Decision::Pass(reason) => (None, Some(reason)),
        };
        let mut fields = response.fields.clone();
        strip_hop_by_hop(&mut fields);
        head::date(&mut fields, response.received);
        let shared = shared_fields(&fields, storable.as_deref(), response.status, content_length);
        let head = FillHead {
            status: response.status,
            head: head::encode(response.status, &shared),
            fields,
            content_length,
            variant: storable
                .as_ref()
                .map(|storable| storable.metadata.vary.fingerprint(&self.keyer, values))
                .unwrap_or_default(),
            in_language: storable
                .as_ref()
                .and_then(|storable| self.in_language(&storable.metadata.vary, response.fields, values)),
            stored: storable.is_some(),
            storable,
        };
        (head, reason)
    }

    /// Publishes a head to the readers of a fill: to all if it is stored, else to the one it was fetched for.
    pub fn publish(&self, writer: &mut FillWriter, mut head: FillHead, policy: &SitePolicy, now: Timestamp) {
        let disposition = match &head.storable {
            // An error passes, and so does what is never stored, such as 429: it says nothing about the answers to come.
            None if head.status >= 500 || statuses::of(head.status) == Known::Never => Disposition::Unshared,
            None => Disposition::Private { now },
            // Those who joined since the purge must not have it; who came before cannot be told from them.
            Some(storable) if self.is_purged(writer.stamp(), &storable.metadata.tags) => Disposition::Unshared,
            Some(storable) => Disposition::Store {
                limit: policy.max_object_size.min(self.largest_body(&head)),
                shared: storable.metadata.freshness.is_for_all_who_wait(),
            },
        };
        head.stored = match disposition {
            Disposition::Store { limit, .. } => {
                writer.is_written() || head.content_length.is_none_or(|length| length <= limit)
            }
            Disposition::Private { .. } | Disposition::Unshared => false,
        };
        writer.publish(head, disposition);
    }

    /// Stores what a fill has brought, and ends it. `last` is the end of the content, if it is known to be that: readers
    /// get it when all of it is stored, so that whoever has read everything finds it. Returns the object if it was stored.
    ///
    /// # Errors
    /// The content is not as long as announced: nothing is stored, readers are told.
    pub fn complete(&self, key: Key, writer: FillWriter, last: Bytes) -> Result<Option<Arc<Object>>, Failure> {
        self.complete_spilled(key, writer, last, None)
    }

    /// As [`Self::complete`], of a fetch that was written to the disk as well, but for `last`.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub fn complete_spilled(
        &self,
        key: Key,
        mut writer: FillWriter,
        last: Bytes,
        mut spill: Option<Spill>,
    ) -> Result<Option<Arc<Object>>, Failure> {
        let head = writer.head();
        let stored = match (&head, writer.body(last.clone())) {
            (Some(head), Some(body)) => {
                let uses = (!self.may_spill(head), spill.is_some());
                self.insert_fetched(key, head, body, writer.stamp(), uses)
            }
            _ => None,
        };
        if let Some(spill) = &mut spill {
            spill.push(&last);
        }
        writer.push_last(last);
        let stamp = writer.stamp().clone();
        writer.finish()?;
        if let (Some(head), Some(spill)) = (&head, spill) {
            self.insert_spilled(key, head, spill, &stamp, stored.as_ref());
        }
        Ok(stored)
    }

    /// Stores a complete response, unless it may not be, is too large, or a purge came since `stamp`.
    pub fn insert(&self, key: Key, head: &FillHead, body: Body, stamp: &Stamp) -> Option<Arc<Object>> {
        self.insert_fetched(key, head, body, stamp, (true, false))
    }

    /// As [`Self::insert`]; `fresh`: it counts as a use of its key, and `spilled`: it is on its way to the disk already.
    fn insert_fetched(
        &self,
        key: Key,
        head: &FillHead,
        body: Body,
        stamp: &Stamp,
        (fresh, spilled): (bool, bool),
    ) -> Option<Arc<Object>> {
        let storable = head.storable.as_deref()?;
        if head.content_length.is_some_and(|length| length != body.len()) {
            return None;
        }
        if head.status == 206 {
            return self.insert_part(key, head, storable, body, stamp);
        }
        let shared = shared_fields(&head.fields, Some(storable), head.status, Some(body.len()));
        let bytes = head::encode(head.status, &shared);
        let object = Object::new(
            head.status,
            bytes,
            body,
            storable.metadata.clone(),
            head.variant,
            stamp.clone(),
        )
        .found_in(head.in_language);
        let object = Arc::new(object);
        if spilled {
            object.mark_offered();
        }
        let how = if fresh { How::Used } else { How::Made };
        let stored = self.store_in_memory(key, object, stamp, how)?;
        self.fills.forget_uncacheable(key);
        self.fills.forget_uncacheable(head.variant.fill_key(key));
        Some(stored)
    }

    /// Takes in what a HEAD brought for a stored response (RFC 9111 section 4.3.5): `response` has its fields and status
    /// 200. `None` if it is about another representation; what is stored is then no longer fresh.
    pub fn updated_by_head(
        &self,
        key: Key,
        object: &Arc<Object>,
        response: &Candidate<'_>,
        values: &FieldValues<'_>,
        stamp: &Stamp,
    ) -> Option<Revalidated> {
        if !validate::is_same(object, response.fields) {
            self.forget(key, object);
            return None;
        }
        let get = RequestMeta {
            method: MethodClass::Get,
            ..response.request.clone()
        };
        let as_get = Candidate {
            request: &get,
            ..*response
        };
        self.revalidated(key, object, &as_get, values, stamp).ok()
    }

    /// Takes a 304 in: `response` has its fields and status 304; `stamp` is from before the origin was asked.
    ///
    /// # Errors
    /// [`Mismatch`]: it is about another representation; fetch again without conditions.
    pub fn revalidated(
        &self,
        key: Key,
        object: &Arc<Object>,
        response: &Candidate<'_>,
        values: &FieldValues<'_>,
        stamp: &Stamp,
    ) -> Result<Revalidated, Mismatch> {
        let fields = validate::update(object, response.fields, response.received)?;
        let decision = decide(&Candidate {
            status: object.status,
            fields: &fields,
            ..*response
        });
        let (meta, storable, reason) = match &decision {
            Decision::Store(storable) => (storable.metadata.clone(), Some(&**storable), None),
            Decision::Pass(reason) => (object.meta.clone(), None, Some(*reason)),
        };
        let variant = meta.vary.fingerprint(&self.keyer, values);
        let shared = shared_fields(&fields, storable, object.status, Some(object.body.len()));
        let bytes = head::encode(object.status, &shared);
        let in_language = self.in_language(&meta.vary, &fields, values);
        let new = Object::new(object.status, bytes, object.body.clone(), meta, variant, stamp.clone());
        let new = new.found_in(in_language);
        let new = Arc::new(new);
        let stored = match reason {
            None => {
                self.confirm(key, object, &new);
                self.store_in_memory(key, Arc::clone(&new), stamp, How::Confirmed)
                    .is_some()
            }
            // The request is what kept it from being stored: the old one may serve others.
            Some(Reason::Authorization | Reason::RequestNoStore | Reason::Method) => false,
            Some(_) => {
                self.forget(key, object);
                false
            }
        };
        Ok(Revalidated {
            object: new,
            stored,
            reason,
        })
    }

    /// What finds a response by its language.
    fn in_language(
        &self,
        rule: &vary::Rule,
        fields: &HeaderMap,
        values: &FieldValues<'_>,
    ) -> Option<vary::Fingerprint> {
        if !rule.names().contains(&header::ACCEPT_LANGUAGE) {
            return None;
        }
        rule.fingerprint_in(&self.keyer, values, &vary::language_of(fields)?)
    }

    /// Stores an object in memory.
    pub(super) fn store_in_memory(
        &self,
        key: Key,
        object: Arc<Object>,
        stamp: &Stamp,
        how: How,
    ) -> Option<Arc<Object>> {
        if self.is_purged(stamp, &object.meta.tags) {
            return None;
        }
        let mut slot = self.ram.lock(key);
        if stamp.is_before(self.guard(key).load(Ordering::Acquire)) {
            return None;
        }
        let former = slot.find(&object.meta.vary, object.variant);
        let former = former.and_then(|former| former.disk_key());
        let fits = slot.insert(&object);
        self.tier.replaced(key, former, &object, how);
        fits.then_some(object)
    }

    /// The longest content that fits into the store with this head.
    pub(super) fn largest_body(&self, head: &FillHead) -> u64 {
        self.ram.largest().saturating_sub(head.head.len() as u64 + 4096)
    }
}

/// The fields that everyone may have.
pub(super) fn shared_fields(
    fields: &HeaderMap,
    storable: Option<&Storable>,
    status: u16,
    length: Option<u64>,
) -> HeaderMap {
    let mut shared = fields.clone();
    head::strip(&mut shared);
    let omit: &[HeaderName] = storable.map_or(&[], |storable| &storable.omit);
    for name in omit {
        shared.remove(name);
    }
    match length {
        Some(length) => head::set_length(status, &mut shared, length),
        None => {
            shared.remove(header::CONTENT_LENGTH);
        }
    }
    shared
}
