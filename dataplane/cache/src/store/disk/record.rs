//! One record of the log: a header, a head section, content. Each of the three has a checksum.
//!
//! Records begin at multiples of [`UNIT`]. Invariant: [`Record::parse`] gives nothing whose bytes are not those that were
//! written as one record of this segment; what a record means is for [`super::codec`].

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};

use super::wire::{Fields, WriteFields};
use crate::key::Key;

/// What records are aligned to, bytes.
pub(super) const UNIT: u64 = 4096;

/// Bytes of a record's header.
pub(super) const HEADER: usize = 72;

/// Bytes of content in each piece of a large object but the last: with its header it fills whole units.
pub(super) const CHUNK: u64 = 128 * 1024 - HEADER as u64;

/// Units of a full piece.
pub(super) const CHUNK_UNITS: u32 = (128 * 1024 / UNIT) as u32;

/// The longest record: what a header may claim, and what one read brings in.
pub(super) const MAX_RECORD: u64 = 4 << 20;

const MAGIC: u32 = u32::from_le_bytes(*b"BWr1");

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A response: what it is reused by, its head, and small content or the places of large content.
    Object = 1,
    /// Which `Vary` rules the variants of a key were stored under.
    Vary = 2,
    /// A piece of large content.
    Chunk = 3,
    /// Keys that are forgotten.
    Remove = 4,
}

impl Kind {
    /// From its number.
    pub const fn of(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::Object),
            2 => Some(Self::Vary),
            3 => Some(Self::Chunk),
            4 => Some(Self::Remove),
            _ => None,
        }
    }
}

/// What every record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// The segment it was written to.
    pub sequence: u64,
    /// The process, counted over the life of the store, that wrote it.
    pub boot: u32,
    /// The key it is found by; of a chunk, of its object.
    pub key: Key,
    /// Which object a chunk is of.
    pub id: u64,
    /// Which piece of its object a chunk is.
    pub number: u32,
    /// Unix seconds from which it is not worth keeping.
    pub expiry: u32,
    /// Bytes of the head section.
    pub head: u32,
    /// Bytes of content.
    pub content: u32,
    /// Their checksums.
    pub head_crc: u32,
    /// See `head_crc`.
    pub content_crc: u32,
}

impl Header {
    /// A header for [`write()`], which fills in the rest.
    pub const fn new(kind: Kind, key: Key) -> Self {
        Self {
            kind,
            sequence: 0,
            boot: 0,
            key,
            id: 0,
            number: 0,
            expiry: 0,
            head: 0,
            content: 0,
            head_crc: 0,
            content_crc: 0,
        }
    }

    /// Bytes of the record, without what fills up its last unit.
    pub const fn size(&self) -> u64 {
        HEADER as u64 + self.head as u64 + self.content as u64
    }

    /// Units of the record.
    pub const fn units(&self) -> u32 {
        self.size().div_ceil(UNIT) as u32
    }

    /// From the first bytes of a record.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        let (covered, crc) = bytes.split_at_checked(HEADER - 4)?;
        if crc != crc32c(covered).to_le_bytes() {
            return None;
        }
        let mut fields = Fields(covered);
        if fields.u32()? != MAGIC {
            return None;
        }
        let kind = Kind::of(fields.u8()?)?;
        fields.bytes(3)?;
        let header = Self {
            kind,
            sequence: fields.u64()?,
            key: Key(fields.u128()?),
            id: fields.u64()?,
            boot: fields.u32()?,
            number: fields.u32()?,
            expiry: fields.u32()?,
            head: fields.u32()?,
            content: fields.u32()?,
            head_crc: fields.u32()?,
            content_crc: fields.u32()?,
        };
        (header.size() <= MAX_RECORD).then_some(header)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(MAGIC);
        out.put_u8(self.kind as u8);
        out.put(&[0; 3]);
        out.put_u64(self.sequence);
        out.put_u128(self.key.0);
        out.put_u64(self.id);
        out.put_u32(self.boot);
        out.put_u32(self.number);
        out.put_u32(self.expiry);
        out.put_u32(self.head);
        out.put_u32(self.content);
        out.put_u32(self.head_crc);
        out.put_u32(self.content_crc);
        let crc = crc32c(out.get(start..).unwrap_or_default());
        out.put_u32(crc);
    }
}

/// A record that was read whole.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it says of itself.
    pub header: Header,
    /// Its head section.
    pub head: Bytes,
    /// Its content.
    pub content: Bytes,
}

/// The bytes are not those of the record that was written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is damaged")]
pub struct Damaged;

impl Record {
    /// From the bytes at its place in the segment `sequence`.
    ///
    /// # Errors
    /// [`Damaged`], whatever is wrong.
    pub fn parse(bytes: &Bytes, sequence: u64) -> Result<Self, Damaged> {
        let header = Header::parse(bytes).filter(|header| header.sequence == sequence);
        let header = header.ok_or(Damaged)?;
        let head_end = HEADER + header.head as usize;
        let end = head_end + header.content as usize;
        if bytes.len() < end {
            return Err(Damaged);
        }
        let (head, content) = (bytes.slice(HEADER..head_end), bytes.slice(head_end..end));
        if crc32c(&head) != header.head_crc || crc32c(&content) != header.content_crc {
            return Err(Damaged);
        }
        Ok(Self { header, head, content })
    }
}

/// Writes a record, filled up to whole units, with `header`'s lengths and checksums made of the rest.
///
/// Returns the header as it was written.
pub(super) fn write<'a>(
    mut header: Header,
    head: &[u8],
    content: impl Iterator<Item = &'a [u8]> + Clone,
    out: &mut Vec<u8>,
) -> Header {
    let length: usize = content.clone().map(<[u8]>::len).sum();
    header.head = u32::try_from(head.len()).unwrap_or(u32::MAX);
    header.content = u32::try_from(length).unwrap_or(u32::MAX);
    header.head_crc = crc32c(head);
    header.content_crc = content.clone().fold(0, crc32c_append);
    out.clear();
    out.reserve(header.units() as usize * UNIT as usize);
    header.write(out);
    out.put(head);
    content.for_each(|piece| out.put(piece));
    out.resize(header.units() as usize * UNIT as usize, 0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> (Header, Bytes) {
        let header = Header {
            sequence: 7,
            boot: 3,
            id: 9,
            number: 4,
            expiry: 11,
            ..Header::new(Kind::Object, Key(5))
        };
        let mut out = Vec::new();
        let header = write(header, b"head", [&b"con"[..], b"tent"].into_iter(), &mut out);
        (header, out.into())
    }

    #[test]
    fn a_record_reads_as_it_was_written_and_fills_whole_units() {
        let (header, bytes) = record();
        assert_eq!(bytes.len() as u64, UNIT);
        let read = Record::parse(&bytes, 7).unwrap();
        assert_eq!(
            (read.header, &read.head[..], &read.content[..]),
            (header, &b"head"[..], &b"content"[..])
        );
    }

    #[test]
    fn a_record_with_any_bit_changed_is_damaged() {
        let (header, bytes) = record();
        for bit in 0..header.size() as usize * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::parse(&changed.into(), 7).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_that_was_cut_or_is_of_another_segment_is_damaged() {
        let (header, bytes) = record();
        for length in 0..header.size() as usize {
            assert!(Record::parse(&bytes.slice(..length), 7).is_err(), "{length} bytes");
        }
        assert!(Record::parse(&bytes, 8).is_err());
    }

    #[test]
    fn a_full_chunk_fills_its_units_exactly() {
        let header = Header {
            content: CHUNK as u32,
            ..Header::new(Kind::Chunk, Key(0))
        };
        assert_eq!(header.units(), CHUNK_UNITS);
        assert_eq!(header.size(), u64::from(CHUNK_UNITS) * UNIT);
    }
}
