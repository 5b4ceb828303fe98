//! A stored response.
//!
//! Invariant: immutable once made, apart from the memory of purges already compared. The head is kept as the
//! bytes that a hit sends: a hit copies [`Object::head`], appends `Age`, `Cache-Status` and the blank line, and
//! writes the body; it builds no header map. What a validation needs is in [`Metadata`]; the fields themselves
//! are parsed from the head when a 304 has to change them ([`Object::fields`]).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use breakwater_wire::etag::EntityTag;
use bytes::{Bytes, BytesMut};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use crate::key::Key;
use crate::partial::Parts;
use crate::purge::{Purged, Stamp};
use crate::store::disk::Extents;
use crate::time::Timestamp;
use crate::vary::{Fingerprint, Rule};

/// Bodies up to this size are one piece of memory, so that a hit is one copy.
pub const CONTIGUOUS_BODY: u64 = 64 * 1024;

/// What the store adds to an object's own bytes in its account: the slot, the map entry, the structs.
const OVERHEAD: u64 = 512;

/// A response as it is stored.
#[derive(Debug)]
pub struct Object {
    /// Its status code.
    pub status: u16,
    /// The status line and field lines, a CRLF after each, without the blank line. Neither `Age` nor
    /// connection-related fields; `Content-Length` is there whenever the status allows content.
    pub head: Bytes,
    /// Its content.
    pub body: Body,
    /// What decides on its reuse.
    pub meta: Metadata,
    /// The values that select it among the variants of its key.
    pub variant: Fingerprint,
    /// The same, with the language it is in for the languages that were accepted; see [`Rule::fingerprint_in`].
    pub in_language: Option<Fingerprint>,
    /// Of a response that is not the whole: what there is of its content, in place of `body`. The head then has neither
    /// `Content-Length` nor `Content-Range`.
    pub parts: Option<Box<Parts>>,
    stamp: Stamp,
    checked: AtomicU64,
    /// The tens of minutes in which it was last used, as far as the disk tier knows; zero: it does not know it.
    noted: AtomicU32,
    /// The key it has in the disk tier, once it is there.
    disk_key: OnceLock<Key>,
}

/// What the disk tier should do about a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// Nothing: it was told not long ago.
    Known,
    /// Take it.
    First,
    /// Count a use.
    Again,
}

/// What decides on a response's reuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// How long it is fresh, and what may be done with it afterwards.
    pub freshness: Freshness,
    /// When the origin made it (`Date`, or else when it was received).
    pub date: Timestamp,
    /// Its `ETag` as received.
    pub etag: Option<Bytes>,
    /// Its `Last-Modified`.
    pub last_modified: Option<LastModified>,
    /// Its `Vary`.
    pub vary: Rule,
    /// Hashes of its purge tags, the URL's among them.
    pub tags: Box<[u64]>,
}

impl Metadata {
    /// Its entity tag, if that is strong: what has the same is the same, byte by byte.
    pub fn strong_tag(&self) -> Option<&[u8]> {
        let tag = self.etag.as_deref()?;
        EntityTag::parse(tag).is_some_and(|tag| !tag.weak).then_some(tag)
    }
}

/// A `Last-Modified` field that is a date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastModified {
    /// The field's value as received.
    pub text: Bytes,
    /// The date it says.
    pub at: Timestamp,
}

/// How long a response is fresh (RFC 9111 section 4.2) and what may be done afterwards. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When the origin was asked for it, or to validate it.
    pub asked: Timestamp,
    /// When it was received or last validated.
    pub received: Timestamp,
    /// Its age at that time (`corrected_initial_age`).
    pub initial_age: u64,
    /// Its freshness lifetime, counted from age zero.
    pub lifetime: u64,
    /// `no-cache`: never reused without validation.
    pub no_cache: bool,
    /// `must-revalidate`, `proxy-revalidate` or `s-maxage`: never served stale.
    pub must_revalidate: bool,
    /// How long after the end of freshness it is served while it is revalidated (RFC 5861 section 3).
    pub while_revalidate: u64,
    /// How long after the end of freshness it stands in for an error of the origin (RFC 5861 section 4).
    /// `None`: nothing was said, and it may stand in when the origin cannot be reached.
    pub if_error: Option<u64>,
}

impl Freshness {
    /// `current_age` at `now`.
    pub const fn age(&self, now: Timestamp) -> u64 {
        self.initial_age.saturating_add(now.millis_since(self.received))
    }

    /// Whether it may answer requests that came before it did, besides the one it was fetched for: not if each of them
    /// has to be validated (RFC 9111 sections 4 and 5.2.2.4).
    pub const fn is_for_all_who_wait(&self) -> bool {
        !self.no_cache && (self.lifetime > 0 || (self.while_revalidate > 0 && !self.must_revalidate))
    }
}

/// A response's content: pieces that many readers share, or where it lies on the disk.
#[derive(Clone, Debug, Default)]
pub struct Body {
    chunks: Box<[Bytes]>,
    len: u64,
    extents: Option<Arc<Extents>>,
}

impl Body {
    /// From pieces in order. Small bodies are made one piece, and runs of small pieces larger ones, so that
    /// neither many tiny pieces nor the buffers they were cut from are kept.
    pub fn from_chunks(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        const SMALL: usize = 16 * 1024;
        let (mut out, mut run, mut len) = (Vec::new(), BytesMut::new(), 0);
        let chunks: Vec<Bytes> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let total: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if total <= CONTIGUOUS_BODY {
            run.reserve(total as usize);
        }
        for chunk in chunks {
            len += chunk.len() as u64;
            if total > CONTIGUOUS_BODY && chunk.len() >= SMALL {
                if !run.is_empty() {
                    out.push(run.split().freeze());
                }
                out.push(chunk);
                continue;
            }
            run.extend_from_slice(&chunk);
            if run.len() as u64 >= CONTIGUOUS_BODY && total > CONTIGUOUS_BODY {
                out.push(run.split().freeze());
            }
        }
        if !run.is_empty() {
            out.push(run.freeze());
        }
        Self {
            chunks: out.into(),
            len,
            extents: None,
        }
    }

    /// Content on the disk.
    pub(crate) fn on_disk(extents: Arc<Extents>) -> Self {
        Self {
            chunks: Box::default(),
            len: extents.len(),
            extents: Some(extents),
        }
    }

    /// Where the content lies on the disk; then none of it is here.
    pub const fn extents(&self) -> Option<&Arc<Extents>> {
        self.extents.as_ref()
    }

    /// Bytes it takes in memory.
    pub fn resident(&self) -> u64 {
        self.extents.as_ref().map_or(self.len, |extents| extents.size())
    }

    /// Bytes of content.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no content.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The content in order.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// All content when it is one piece (always up to [`CONTIGUOUS_BODY`], if it is in memory).
    pub fn contiguous(&self) -> Option<&[u8]> {
        match &*self.chunks {
            [] if self.len > 0 => None,
            [] => Some(&[]),
            [one] => Some(one),
            _ => None,
        }
    }

    /// `len` bytes from `start`, without copying; less when the content ends before.
    pub fn slice(&self, start: u64, len: u64) -> impl Iterator<Item = Bytes> + '_ {
        let (mut skip, mut left) = (start, len);
        self.chunks.iter().filter_map(move |chunk| {
            let size = chunk.len() as u64;
            let from = skip.min(size);
            skip -= from;
            let take = left.min(size - from);
            left -= take;
            (take > 0).then(|| chunk.slice(from as usize..(from + take) as usize))
        })
    }
}

impl Object {
    /// A response to store. `stamp` is from before the origin was asked.
    pub fn new(status: u16, head: Bytes, body: Body, meta: Metadata, variant: Fingerprint, stamp: Stamp) -> Self {
        Self {
            status,
            head,
            body,
            meta,
            variant,
            in_language: None,
            parts: None,
            stamp,
            checked: AtomicU64::new(0),
            noted: AtomicU32::new(0),
            disk_key: OnceLock::new(),
        }
    }

    /// Notes a use. Most are followed by others soon, which cost a read of memory that others read too.
    pub(crate) fn touch(&self, now: Timestamp) -> Touch {
        let now = u32::try_from(now.as_secs() / 600).unwrap_or(u32::MAX).max(2);
        match self.noted.load(Ordering::Relaxed) {
            noted if noted == now => Touch::Known,
            _ => match self.noted.swap(now, Ordering::Relaxed) {
                noted if noted == now => Touch::Known,
                0 => Touch::First,
                _ => Touch::Again,
            },
        }
    }

    /// Notes that the disk tier was given it.
    pub(crate) fn mark_offered(&self) {
        let _ = self.noted.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the disk tier was given it.
    pub(crate) fn is_offered(&self) -> bool {
        self.noted.load(Ordering::Relaxed) != 0
    }

    /// Notes that the disk tier does not have it.
    pub(crate) fn unmark_offered(&self) {
        self.noted.store(0, Ordering::Relaxed);
    }

    /// The key it has in the disk tier, if it is known to be there.
    pub fn disk_key(&self) -> Option<Key> {
        self.disk_key.get().copied()
    }

    /// Notes the key it has in the disk tier.
    pub(crate) fn set_disk_key(&self, key: Key) {
        let _ = self.disk_key.set(key);
        self.mark_offered();
    }

    /// This response, found by the language it is in.
    #[must_use]
    pub fn found_in(self, in_language: Option<Fingerprint>) -> Self {
        Self { in_language, ..self }
    }

    /// This response, of which there are only these parts.
    #[must_use]
    pub fn of_parts(self, parts: Parts) -> Self {
        Self {
            parts: Some(Box::new(parts)),
            ..self
        }
    }

    /// Bytes it takes in the store, its bookkeeping included.
    pub fn size(&self) -> u64 {
        let tags = self.meta.tags.len() as u64 * 8;
        let parts = self.parts.as_ref().map_or(0, |parts| parts.len());
        self.head.len() as u64 + self.body.resident() + parts + tags + OVERHEAD
    }

    /// When, in purges, it was asked for.
    pub const fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// What purges say about it.
    pub fn purged(&self) -> Purged {
        self.stamp.purged(&self.meta.tags, &self.checked)
    }

    /// Its stored fields, parsed from the head.
    pub fn fields(&self) -> HeaderMap {
        parse_fields(&self.head)
    }
}

#[cfg(test)]
impl Object {
    /// Any object.
    pub(crate) fn for_tests() -> Self {
        let freshness = Freshness {
            asked: Timestamp::default(),
            received: Timestamp::default(),
            initial_age: 0,
            lifetime: 1000,
            no_cache: false,
            must_revalidate: false,
            while_revalidate: 0,
            if_error: None,
        };
        let meta = Metadata {
            freshness,
            date: Timestamp::default(),
            etag: None,
            last_modified: None,
            vary: Rule::default(),
            tags: Box::default(),
        };
        let stamp = crate::purge::Epochs::default().stamp(1);
        Self::new(200, Bytes::new(), Body::default(), meta, Fingerprint::default(), stamp)
    }
}

/// The fields of a head as [`crate::head::encode`] wrote it.
fn parse_fields(head: &Bytes) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut at = 0;
    for line in head.split_inclusive(|&b| b == b'\n') {
        let start = at;
        at += line.len();
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            continue;
        };
        let Ok(name) = HeaderName::from_bytes(&line[..colon]) else {
            continue;
        };
        let value = head.slice_ref(head[start + colon + 1..at].trim_ascii());
        if let Ok(value) = HeaderValue::from_maybe_shared(value) {
            fields.append(name, value);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(sizes: &[usize]) -> Vec<Bytes> {
        let mut next = 0u8;
        let mut fill = || {
            next = next.wrapping_add(1);
            next
        };
        sizes
            .iter()
            .map(|&size| (0..size).map(|_| fill()).collect::<Vec<u8>>().into())
            .collect()
    }

    fn joined(chunks: impl IntoIterator<Item = Bytes>) -> Vec<u8> {
        chunks.into_iter().flat_map(|chunk| chunk.to_vec()).collect()
    }

    #[test]
    fn a_small_body_is_one_piece() {
        let chunks = bytes(&[10, 0, 20_000, 30]);
        let body = Body::from_chunks(chunks.clone());
        assert_eq!(body.contiguous().unwrap(), joined(chunks));
        assert_eq!(body.len(), 20_040);
        assert_eq!(Body::from_chunks([]).contiguous(), Some(&[][..]));
    }

    #[test]
    fn a_large_body_keeps_large_pieces_and_joins_small_ones() {
        let chunks = bytes(&[100, 100, 70_000, 1, 2, 65_536]);
        let body = Body::from_chunks(chunks.clone());
        assert_eq!(
            body.chunks().iter().map(Bytes::len).collect::<Vec<_>>(),
            [200, 70_000, 3, 65_536]
        );
        assert_eq!(joined(body.chunks().to_vec()), joined(chunks));
        assert_eq!(body.contiguous(), None);
    }

    #[test]
    fn a_slice_crosses_pieces_and_ends_with_the_content() {
        let body = Body::from_chunks(bytes(&[70_000, 70_000]));
        let all = joined(body.chunks().to_vec());
        for (start, len) in [
            (0, 5),
            (69_990, 20),
            (70_000, 70_000),
            (139_999, 9),
            (200_000, 1),
            (0, u64::MAX),
        ] {
            let from = (start as usize).min(all.len());
            let to = from + (len.min(all.len() as u64) as usize).min(all.len() - from);
            assert_eq!(joined(body.slice(start, len)), all[from..to], "{start}+{len}");
        }
    }
}
