//! What the head sections of records say: a response without its content, the rules of a key's variants, removed keys.
//!
//! Invariant: what was written is read as the same, and everything else is refused. Whoever adds a field to
//! [`Metadata`] or [`Freshness`] adds it here and raises [`super::FORMAT`].

use bytes::Bytes;
use http::header::HeaderName;

use super::extents::Extents;
use super::wire::{Fields, WriteFields};
use crate::key::Key;
use crate::object::{Freshness, LastModified, Metadata, Object};
use crate::policy::store::MAX_TAGS;
use crate::time::Timestamp;
use crate::vary::{Fingerprint, Rule};

/// Rules of one key that are remembered, newest first.
pub(super) const MAX_RULES: usize = 8;

/// Keys of one removal.
pub(super) const MAX_REMOVED: usize = 250;

/// A response as its record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// The site, and when in purges it was asked for.
    pub site: u64,
    /// See `site`.
    pub at: u64,
    /// The key of the request, of which this may be one variant.
    pub base: Key,
    /// Which generation of the key's variants it belongs to; zero for the only one.
    pub salt: u64,
    /// Its status.
    pub status: u16,
    /// Its head as bytes.
    pub head: Bytes,
    /// What decides on its reuse.
    pub meta: Metadata,
    /// The values it is selected by.
    pub variant: Fingerprint,
    /// The same, with its language; see [`Object::in_language`].
    pub in_language: Option<Fingerprint>,
    /// Where its content is; `None`: behind the head.
    pub extents: Option<Extents>,
}

/// What is known of a key whose responses vary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variants {
    /// The generation: variants of an earlier one are not found any more.
    pub salt: u64,
    /// The rules they were stored under, newest first.
    pub rules: Vec<Rule>,
}

/// The head section of `object`, which is found by the request key `base`.
pub(super) fn encode_object(object: &Object, base: Key, salt: u64, extents: Option<&Extents>) -> Vec<u8> {
    encode_stored(&StoredObject {
        site: object.stamp().site(),
        at: object.stamp().at(),
        base,
        salt,
        status: object.status,
        head: object.head.clone(),
        meta: object.meta.clone(),
        variant: object.variant,
        in_language: object.in_language,
        extents: extents.cloned(),
    })
}

/// The head section of a response.
pub(super) fn encode_stored(stored: &StoredObject) -> Vec<u8> {
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
    let Metadata {
        freshness,
        date,
        etag,
        last_modified,
        vary,
        tags,
    } = meta;
    let Freshness {
        asked,
        received,
        initial_age,
        lifetime,
        no_cache,
        must_revalidate,
        while_revalidate,
        if_error,
    } = *freshness;
    let mut out = Vec::with_capacity(512 + head.len());
    out.put_u64(*site);
    out.put_u64(*at);
    out.put_u128(base.0);
    out.put_u64(*salt);
    out.put_u128(variant.to_bits());
    out.put_u8(u8::from(in_language.is_some()));
    out.put_u128(in_language.map_or(0, Fingerprint::to_bits));
    out.put_u16(*status);
    out.put_u8(u8::from(no_cache) | u8::from(must_revalidate) << 1 | u8::from(if_error.is_some()) << 2);
    out.put_u64(asked.as_millis());
    out.put_u64(received.as_millis());
    out.put_u64(initial_age);
    out.put_u64(lifetime);
    out.put_u64(while_revalidate);
    out.put_u64(if_error.unwrap_or_default());
    out.put_u64(date.as_millis());
    out.put_optional(etag.as_deref());
    out.put_optional(last_modified.as_ref().map(|modified| &modified.text[..]));
    out.put_u64(last_modified.as_ref().map_or(0, |modified| modified.at.as_millis()));
    encode_rule(vary, &mut out);
    out.put_u16(u16::try_from(tags.len()).unwrap_or(u16::MAX));
    tags.iter().for_each(|&tag| out.put_u64(tag));
    out.put_counted(head);
    out.put_u8(u8::from(extents.is_some()));
    if let Some(extents) = extents {
        extents.encode(&mut out);
    }
    out
}

/// A head section of `encode_object`. Nothing of `bytes` is kept: they are part of a record with content, which would stay
/// in memory with them.
pub fn decode_object(bytes: &[u8]) -> Option<StoredObject> {
    let bytes = Bytes::copy_from_slice(bytes);
    let own = |part: &[u8]| bytes.slice_ref(part);
    let mut fields = Fields(&bytes);
    let (site, at) = (fields.u64()?, fields.u64()?);
    let (base, salt) = (Key(fields.u128()?), fields.u64()?);
    let variant = Fingerprint::from_bits(fields.u128()?);
    let has_language = fields.u8().filter(|flag| *flag < 2)? == 1;
    let language = fields.u128().filter(|bits| has_language || *bits == 0)?;
    let status = fields.u16().filter(|status| (200..600).contains(status))?;
    let flags = fields.u8().filter(|flags| *flags < 8)?;
    let asked = Timestamp::from_millis(fields.u64()?);
    let received = Timestamp::from_millis(fields.u64()?);
    let (initial_age, lifetime) = (fields.u64()?, fields.u64()?);
    let (while_revalidate, if_error) = (fields.u64()?, fields.u64()?);
    let date = Timestamp::from_millis(fields.u64()?);
    let etag = fields.optional()?.map(own);
    let modified = fields.optional()?.map(own);
    let modified_at = Timestamp::from_millis(fields.u64()?);
    let vary = decode_rule(&mut fields)?;
    let count = usize::from(fields.u16()?);
    if count > MAX_TAGS {
        return None;
    }
    let tags = (0..count).map(|_| fields.u64()).collect::<Option<Box<[u64]>>>()?;
    let head = own(fields.counted()?);
    let extents = match fields.u8()? {
        0 => None,
        1 => Some(Extents::decode(&mut fields)?),
        _ => return None,
    };
    let meta = Metadata {
        freshness: Freshness {
            asked,
            received,
            initial_age,
            lifetime,
            no_cache: flags & 1 != 0,
            must_revalidate: flags & 2 != 0,
            while_revalidate,
            if_error: (flags & 4 != 0).then_some(if_error),
        },
        date,
        etag,
        last_modified: modified.map(|text| LastModified { text, at: modified_at }),
        vary,
        tags,
    };
    fields.0.is_empty().then_some(StoredObject {
        site,
        at,
        base,
        salt,
        status,
        head,
        meta,
        variant,
        in_language: has_language.then(|| Fingerprint::from_bits(language)),
        extents,
    })
}

/// The head section that says how a key's responses vary.
pub(super) fn encode_variants(variants: &Variants) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.put_u64(variants.salt);
    out.put_u8(u8::try_from(variants.rules.len()).unwrap_or(u8::MAX));
    variants.rules.iter().for_each(|rule| encode_rule(rule, &mut out));
    out
}

/// A head section of `encode_variants`.
pub fn decode_variants(bytes: &[u8]) -> Option<Variants> {
    let mut fields = Fields(bytes);
    let salt = fields.u64()?;
    let count = usize::from(fields.u8()?);
    if count > MAX_RULES {
        return None;
    }
    let rules = (0..count)
        .map(|_| decode_rule(&mut fields))
        .collect::<Option<Vec<_>>>()?;
    fields.0.is_empty().then_some(Variants { salt, rules })
}

/// The head section that says which keys are forgotten, at most [`MAX_REMOVED`].
pub(super) fn encode_removed(keys: &[Key]) -> Vec<u8> {
    let mut out = Vec::with_capacity(keys.len() * 16);
    keys.iter().for_each(|key| out.put_u128(key.0));
    out
}

/// A head section of `encode_removed`.
pub fn decode_removed(bytes: &[u8]) -> Option<Vec<Key>> {
    let (keys, rest) = bytes.as_chunks::<16>();
    let keys: Vec<_> = keys.iter().map(|key| Key(u128::from_le_bytes(*key))).collect();
    (rest.is_empty() && keys.len() <= MAX_REMOVED).then_some(keys)
}

fn encode_rule(rule: &Rule, out: &mut Vec<u8>) {
    out.put_u8(u8::try_from(rule.names().len()).unwrap_or(u8::MAX));
    rule.names()
        .iter()
        .for_each(|name| out.put_counted(name.as_str().as_bytes()));
}

fn decode_rule(fields: &mut Fields<'_>) -> Option<Rule> {
    let count = usize::from(fields.u8()?);
    if count > breakwater_wire::vary::MAX_NAMES {
        return None;
    }
    let name = |_| HeaderName::from_bytes(fields.counted()?).ok();
    let names = (0..count).map(name).collect::<Option<Vec<_>>>()?;
    Some(Rule::from_names(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> StoredObject {
        let any = Object::for_tests();
        let names = vec![HeaderName::from_static("accept"), HeaderName::from_static("x-y")];
        StoredObject {
            site: any.stamp().site(),
            at: any.stamp().at(),
            base: Key(77),
            salt: 4,
            status: 404,
            head: Bytes::from_static(b"HTTP/1.1 404 Not Found\r\netag: \"x\"\r\n"),
            meta: Metadata {
                freshness: Freshness {
                    asked: Timestamp::from_millis(1),
                    received: Timestamp::from_millis(1),
                    initial_age: 2,
                    lifetime: 3,
                    no_cache: true,
                    must_revalidate: false,
                    while_revalidate: 4,
                    if_error: Some(5),
                },
                date: Timestamp::from_millis(6),
                etag: Some(Bytes::from_static(b"\"x\"")),
                last_modified: Some(LastModified {
                    text: Bytes::from_static(b"some day"),
                    at: Timestamp::from_millis(7),
                }),
                vary: Rule::from_names(names),
                tags: [8, 9].into(),
            },
            variant: Fingerprint::from_bits(10),
            in_language: Some(Fingerprint::from_bits(11)),
            extents: None,
        }
    }

    fn encoded(stored: &StoredObject) -> Bytes {
        encode_stored(stored).into()
    }

    #[test]
    fn a_response_is_read_as_it_was_written() {
        let stored = stored();
        assert_eq!(decode_object(&encoded(&stored)), Some(stored.clone()));
        let mut extents = Extents::new(1, Key(77));
        extents.push(1, 1, 100);
        let with = StoredObject {
            extents: Some(extents),
            ..stored
        };
        assert_eq!(decode_object(&encoded(&with)), Some(with));
    }

    #[test]
    fn what_was_read_keeps_nothing_of_the_record_that_it_was_read_from() {
        let bytes = encoded(&stored());
        let read = decode_object(&bytes).unwrap();
        assert!(bytes.is_unique());
        assert_eq!(read, stored());
    }

    #[test]
    fn what_is_cut_or_has_more_behind_it_is_refused() {
        let bytes = encoded(&stored());
        for length in 0..bytes.len() {
            assert_eq!(decode_object(&bytes.slice(..length)), None, "{length}");
        }
        let longer: Bytes = [&bytes[..], b"x"].concat().into();
        assert_eq!(decode_object(&longer), None);
    }

    #[test]
    fn rules_and_removed_keys_are_read_as_they_were_written() {
        let variants = Variants {
            salt: 5,
            rules: vec![stored().meta.vary, Rule::default()],
        };
        let bytes = encode_variants(&variants);
        assert_eq!(decode_variants(&bytes), Some(variants));
        assert_eq!(decode_variants(&bytes[..bytes.len() - 1]), None);
        let keys = [Key(1), Key(u128::MAX)];
        assert_eq!(decode_removed(&encode_removed(&keys)), Some(keys.to_vec()));
        assert_eq!(decode_removed(&[0; 15]), None);
    }
}
