//! Parts of responses (206): stored under a key of their own beside that of the whole, combined, and made the whole.
//!
//! Invariant: only parts with the same strong entity tag are combined (RFC 9110 section 15.3.7.3); a purge of what any of
//! them was tagged with reaches all.

use std::sync::Arc;

use breakwater_wire::range::{ByteRange, ContentRange};
use http::{HeaderValue, header};

use super::tier::Stored as How;
use super::{Cache, Lookup, shared_fields};
use crate::fill::FillHead;
use crate::head;
use crate::key::Key;
use crate::object::{Body, Metadata, Object};
use crate::partial::Parts;
use crate::policy::request::RequestMeta;
use crate::policy::store::{MAX_TAGS, Storable};
use crate::purge::{Purged, Stamp};
use crate::time::Timestamp;
use crate::vary::FieldValues;

/// Parts of a response are stored under its key with these bits changed. The upper half, which chooses a guard, is the
/// same.
const PARTS: u128 = 0x6a09_e667_f3bc_c908;

impl Cache {
    /// A stored part that answers a request for one range: all of it is there and fresh.
    pub fn lookup_part(
        &self,
        key: Key,
        request: &RequestMeta,
        range: ByteRange,
        values: &FieldValues<'_>,
        now: Timestamp,
    ) -> Option<Lookup> {
        let found = self.find(part_key(key), request, values, now);
        match &found {
            Lookup::Hit { object, .. } => object.parts.as_ref()?.resolve(range).map(|_| found),
            _ => None,
        }
    }

    /// Stored parts that begin with the first byte of the response: the rest completes them.
    pub fn beginning(&self, key: Key, values: &FieldValues<'_>) -> Option<Arc<Object>> {
        let object = self.ram.get(part_key(key), &self.keyer, values)?;
        let begins = object.parts.as_ref().is_some_and(|parts| parts.beginning().is_some());
        (begins && object.purged() == Purged::No).then_some(object)
    }

    /// Forgets stored parts.
    pub fn forget_parts(&self, key: Key) {
        self.ram.lock(part_key(key)).remove();
    }

    /// Stores a part, with the parts that are there if they are of the same representation; what is the whole then is
    /// stored as such.
    pub(super) fn insert_part(
        &self,
        key: Key,
        head: &FillHead,
        storable: &Storable,
        body: Body,
        stamp: &Stamp,
    ) -> Option<Arc<Object>> {
        let ranges = head.fields.get_all(header::CONTENT_RANGE).iter();
        let range = ContentRange::parse_only(ranges.map(HeaderValue::as_bytes))?;
        let mut parts = Parts::new(range, body)?;
        let mut fields = head.fields.clone();
        let mut meta = storable.metadata.clone();
        let known = self.ram.lock(part_key(key)).find(&meta.vary, head.variant);
        if let Some(known) = known.filter(|known| known.purged() == Purged::No && same_strong_tag(known, &meta))
            && let Some(combined) = known.parts.as_ref().and_then(|known| known.combined(&parts))
        {
            parts = combined;
            // A purge of what any of the parts was tagged with reaches the whole.
            let added = known.meta.tags.iter().filter(|tag| !meta.tags.contains(tag));
            meta.tags = meta.tags.iter().chain(added).copied().collect();
            if meta.tags.len() > MAX_TAGS {
                return None;
            }
            let stored = known.fields();
            for name in stored.keys().filter(|name| !head.fields.contains_key(*name)) {
                for value in stored.get_all(name) {
                    fields.append(name, value.clone());
                }
            }
        }
        fields.remove(header::CONTENT_RANGE);
        let whole = parts.whole().cloned();
        let status = if whole.is_some() { 200 } else { 206 };
        let shared = shared_fields(&fields, Some(storable), status, whole.as_ref().map(Body::len));
        let bytes = head::encode(status, &shared);
        let (at, body) = match &whole {
            Some(body) => (key, body.clone()),
            None => (part_key(key), Body::default()),
        };
        let mut object = Object::new(status, bytes, body, meta, head.variant, stamp.clone()).found_in(head.in_language);
        if whole.is_some() {
            self.forget_parts(key);
        } else {
            object = object.of_parts(parts);
        }
        self.store_in_memory(at, Arc::new(object), stamp, How::Made)
    }
}

/// Where parts are stored of what belongs under `key`.
const fn part_key(key: Key) -> Key {
    Key(key.0 ^ PARTS)
}

/// Whether both have the same strong entity tag: then parts of one are parts of the other (RFC 9110 section 15.3.7.3).
fn same_strong_tag(known: &Object, new: &Metadata) -> bool {
    let tag = known.meta.strong_tag();
    tag.is_some() && tag == new.etag.as_deref()
}
