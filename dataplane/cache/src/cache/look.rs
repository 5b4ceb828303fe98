//! What is stored for a request, for people: in memory, on the disk, and on its way.
//!
//! Looking counts as no use and changes nothing, not even what is found to be damaged or purged.

use std::sync::Arc;

use bytes::Bytes;

use super::Cache;
use crate::fill::UnderWay;
use crate::key::Key;
use crate::object::Object;
use crate::store::disk::{Loaded, Place, variant_key};
use crate::vary::FieldValues;

/// A response and where it is kept.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The response.
    pub object: Arc<Object>,
    /// The tier.
    pub tier: InTier,
}

/// Where a response is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InTier {
    /// In memory; its content too, unless that is large and on the disk.
    Ram(Written),
    /// On the disk.
    Disk {
        /// The number of the segment that has its record.
        segment: u64,
        /// Whether that is full and sealed, or still written to.
        sealed: bool,
        /// Bytes of its record, and of its content where that is apart.
        bytes: u64,
    },
}

/// Whether what is in memory is on the disk as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is not, or there is no disk.
    No,
    /// It waits to be written.
    Waiting,
    /// It is.
    Yes,
}

/// What a record on the disk is.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A response that this request would get.
    Stored(Stored),
    /// Look at these.
    Variants(Vec<Key>),
    /// Nothing to this request.
    Nothing,
}

impl Cache {
    /// All that is in memory under a key.
    pub fn stored(&self, key: Key) -> Vec<Stored> {
        let written = |object: &Object| {
            let Some(store) = self.disk() else { return Written::No };
            let takes = object.parts.is_none() && object.body.len() <= store.largest();
            match object.disk_key() {
                Some(at) if store.contains(at) => Written::Yes,
                None if takes && object.is_offered() => Written::Waiting,
                _ => Written::No,
            }
        };
        let in_ram = self.ram.variants(key).into_iter();
        in_ram
            .map(|object| Stored {
                tier: InTier::Ram(written(&object)),
                object,
            })
            .collect()
    }

    /// What the record that was read at `place` is, where `at` is: the key of the request, or of a variant of it.
    pub fn look(&self, (key, at): (Key, Key), place: &Place, bytes: &Bytes, values: &FieldValues<'_>) -> Seen {
        let Some(store) = self.disk() else {
            return Seen::Nothing;
        };
        match store.peek_at(place, at, bytes) {
            Some(Loaded::Object(stored, content)) => {
                let apart = stored.extents.as_ref().map_or(0, |extents| extents.len());
                let tier = InTier::Disk {
                    segment: place.name().0,
                    sealed: !store.is_active(place.name().0),
                    bytes: place.len() as u64 + apart,
                };
                match self.recalled(key, *stored, content, values) {
                    Some(Ok(object)) => Seen::Stored(Stored {
                        object: Arc::new(object),
                        tier,
                    }),
                    _ => Seen::Nothing,
                }
            }
            Some(Loaded::Variants(variants)) if key == at => {
                let prints = variants.rules.iter().map(|rule| rule.fingerprint(&self.keyer, values));
                Seen::Variants(prints.map(|print| variant_key(key, print, variants.salt)).collect())
            }
            _ => Seen::Nothing,
        }
    }

    /// The fetch that a request with these field values would join or wait for.
    pub fn under_way(&self, key: Key, values: &FieldValues<'_>) -> Option<UnderWay> {
        let rule = self.ram.rule(key).unwrap_or_default();
        self.fills
            .under_way(rule.fingerprint(&self.keyer, values).fill_key(key))
    }
}
