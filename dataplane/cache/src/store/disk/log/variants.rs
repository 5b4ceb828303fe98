//! Where a response goes among the variants of its key.
//!
//! A key whose responses vary has a record with the rules they were stored under and a salt; each variant has a key of
//! its own, made of the request's key, its values and the salt. When the request's key is forgotten, so is the salt, and
//! all variants with it.

use super::super::codec::{self, MAX_RULES, Variants};
use super::super::record::{Header, Kind};
use super::super::{Loaded, variant_key};
use super::{Log, Unwritten};
use crate::key::Key;
use crate::object::Object;

impl Log {
    /// The key to put `object` under, and the salt; writes the record of the request's key `base` where it has to change.
    pub(super) fn place_of(&mut self, base: Key, object: &Object, order: u64) -> Result<(Key, u64), Unwritten> {
        let rule = &object.meta.vary;
        if rule.is_empty() {
            return Ok((base, 0));
        }
        let known = self.variants_of(base);
        let mut variants = known.clone().unwrap_or_else(|| Variants {
            salt: self.store.next_id(),
            rules: Vec::new(),
        });
        if variants.rules.first() != Some(rule) {
            variants.rules.retain(|other| other != rule);
            variants.rules.insert(0, rule.clone());
            variants.rules.truncate(MAX_RULES);
        }
        if known.as_ref() != Some(&variants) {
            let header = Header {
                expiry: super::expiry(object),
                ..Header::new(Kind::Vary, base)
            };
            let at = self.append(header, &codec::encode_variants(&variants), std::iter::empty())?;
            self.find_at(base, base, at, header, order);
        }
        Ok((variant_key(base, object.variant, variants.salt), variants.salt))
    }

    fn variants_of(&self, base: Key) -> Option<Variants> {
        let place = self.store.place(base).filter(|place| place.vary)?;
        let bytes = place.read().ok()?;
        match self.store.decode(&place, base, &bytes) {
            Ok(Some(Loaded::Variants(variants))) => Some(variants),
            _ => None,
        }
    }
}
