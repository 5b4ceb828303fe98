//! A segment of the log: one file of fixed size. A header, records, and when it is full a list of them and a seal.
//!
//! Invariant: a sealed segment is known by its list alone; one without a seal is read record by record, up to the first
//! that is not whole, or was written before its predecessor. What follows there was never acknowledged.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use crc32c::crc32c;

use super::codec;
use super::index::MAX_UNITS;
use super::io::{File, read_exact_at};
use super::record::{HEADER, Header, Kind, Record, UNIT};
use super::wire::{Fields, WriteFields};
use crate::key::Key;

const MAGIC: u32 = u32::from_le_bytes(*b"BWsg");
const SEAL: u32 = u32::from_le_bytes(*b"BWse");

/// Bytes of an entry in a segment's list.
const ENTRY: u64 = 32;

/// Bytes of a segment's own header, and of its seal, without their checksum.
const OWN: usize = 40;

/// An open segment. Who reads from it keeps its file, even when the store has let it go.
#[derive(Debug)]
pub struct Segment {
    /// Its number in the log.
    pub sequence: u64,
    pub(super) file: Arc<dyn File>,
}

/// One record in a segment's list. A record that removes keys has one for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What is there.
    pub kind: Kind,
    /// Its key; of a removal, the key that is removed.
    pub key: Key,
    /// Where it begins.
    pub unit: u32,
    /// How long it is.
    pub units: u32,
    /// Unix seconds from which it is not worth keeping.
    pub expiry: u32,
}

/// What a segment holds, as far as it can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its records in the order of the log.
    pub listed: Vec<Listed>,
    /// The first unit behind them.
    pub end: u32,
    /// Whether it is full and sealed.
    pub sealed: bool,
}

/// The name of a segment's file.
pub(super) fn name_of(sequence: u64) -> String {
    format!("{sequence:016x}.seg")
}

/// The segment that a file's name says.
pub(super) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16)
        .ok()
        .filter(|&sequence| name_of(sequence) == name)
}

/// Units of a segment of `size` bytes.
pub(super) const fn units_of(size: u64) -> u32 {
    let units = size / UNIT;
    (if units < MAX_UNITS { units } else { MAX_UNITS }) as u32
}

/// Units that the list of so many entries and the seal take.
pub(super) const fn list_units(entries: usize) -> u32 {
    (entries as u64 * ENTRY).div_ceil(UNIT) as u32 + 1
}

/// The first unit of a segment.
pub(super) fn encode_header(store: u128, sequence: u64, size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(UNIT as usize);
    out.put_u32(MAGIC);
    out.put_u32(super::FORMAT);
    out.put_u128(store);
    out.put_u64(sequence);
    out.put_u64(size);
    let crc = crc32c(&out);
    out.put_u32(crc);
    out.resize(UNIT as usize, 0);
    out
}

/// Whether the first unit of a segment says that it is this one.
pub(super) fn is_header(bytes: &[u8], store: u128, sequence: u64, size: u64) -> bool {
    let expected = encode_header(store, sequence, size);
    bytes.get(..OWN + 4) == expected.get(..OWN + 4)
}

/// The list of `listed`, whole units, and the unit of the seal, which comes last in the segment.
pub(super) fn encode_seal(sequence: u64, size: u64, end: u32, listed: &[Listed]) -> (Vec<u8>, Vec<u8>) {
    let mut list = Vec::with_capacity(listed.len() * ENTRY as usize);
    for entry in listed {
        list.put_u128(entry.key.0);
        list.put_u32(entry.unit);
        list.put_u32(entry.units);
        list.put_u32(entry.expiry);
        list.put_u32(entry.kind as u32);
    }
    let crc = crc32c(&list);
    list.resize(list.len().next_multiple_of(UNIT as usize), 0);
    let mut seal = Vec::with_capacity(UNIT as usize);
    seal.put_u32(SEAL);
    seal.put_u32(u32::try_from(listed.len()).unwrap_or(u32::MAX));
    seal.put_u64(sequence);
    seal.put_u64(size);
    seal.put_u32(end);
    seal.put_u32(crc);
    seal.put_u64(0);
    let crc = crc32c(&seal);
    seal.put_u32(crc);
    seal.resize(UNIT as usize, 0);
    (list, seal)
}

/// What the seal says: the number of entries, the unit behind the last record, and the list's checksum.
pub(super) fn parse_seal(bytes: &[u8], sequence: u64, size: u64) -> Option<(u32, u32, u32)> {
    let (covered, crc) = bytes.get(..OWN + 4)?.split_at_checked(OWN)?;
    let mut fields = Fields(covered);
    if crc != crc32c(covered).to_le_bytes() || fields.u32()? != SEAL {
        return None;
    }
    let count = fields.u32()?;
    if (fields.u64()?, fields.u64()?) != (sequence, size) {
        return None;
    }
    let (end, list) = (fields.u32()?, fields.u32()?);
    let fits = u64::from(end) + u64::from(list_units(count as usize)) <= u64::from(units_of(size));
    (fits && end > 0).then_some((count, end, list))
}

/// The list of a sealed segment.
pub(super) fn parse_list(bytes: &[u8], count: u32, end: u32, crc: u32) -> Option<Vec<Listed>> {
    let bytes = bytes.get(..count as usize * ENTRY as usize)?;
    if crc32c(bytes) != crc {
        return None;
    }
    let mut fields = Fields(bytes);
    let mut entry = || {
        Some(Listed {
            key: Key(fields.u128()?),
            unit: fields.u32()?,
            units: fields.u32()?,
            expiry: fields.u32()?,
            kind: Kind::of(u8::try_from(fields.u32()?).ok()?)?,
        })
    };
    let listed = (0..count).map(|_| entry()).collect::<Option<Vec<_>>>()?;
    let fits = |entry: &Listed| entry.unit > 0 && u64::from(entry.unit) + u64::from(entry.units) <= u64::from(end);
    listed.iter().all(fits).then_some(listed)
}

impl Segment {
    /// What is in a segment of `size` bytes: from its seal, or record by record.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn contents(&self, size: u64) -> io::Result<Contents> {
        let units = units_of(size);
        let mut unit = vec![0; UNIT as usize];
        read_exact_at(&*self.file, &mut unit, u64::from(units - 1) * UNIT)?;
        if let Some((count, end, crc)) = parse_seal(&unit, self.sequence, size) {
            let mut list = vec![0; count as usize * ENTRY as usize];
            read_exact_at(&*self.file, &mut list, u64::from(end) * UNIT)?;
            if let Some(listed) = parse_list(&list, count, end, crc) {
                return Ok(Contents {
                    listed,
                    end,
                    sealed: true,
                });
            }
        }
        self.scan(units)
    }

    fn scan(&self, units: u32) -> io::Result<Contents> {
        let mut contents = Contents {
            listed: Vec::new(),
            end: 1,
            sealed: false,
        };
        let mut boot = 0;
        while contents.end < units {
            let Some(record) = self.read(contents.end, units)? else {
                break;
            };
            let header = record.header;
            if header.boot < boot || !contents.note(&header, &record.head) {
                break;
            }
            boot = header.boot;
        }
        Ok(contents)
    }

    fn read(&self, unit: u32, units: u32) -> io::Result<Option<Record>> {
        let mut first = vec![0; HEADER];
        read_exact_at(&*self.file, &mut first, u64::from(unit) * UNIT)?;
        let Some(header) = Header::parse(&first).filter(|header| unit + header.units() <= units) else {
            return Ok(None);
        };
        let mut bytes = vec![0; header.size() as usize];
        read_exact_at(&*self.file, &mut bytes, u64::from(unit) * UNIT)?;
        Ok(Record::parse(&Bytes::from(bytes), self.sequence).ok())
    }
}

impl Contents {
    /// Notes a record at the end. Returns whether it is one.
    pub(super) fn note(&mut self, header: &Header, head: &[u8]) -> bool {
        let listed = |key| Listed {
            kind: header.kind,
            key,
            unit: self.end,
            units: header.units(),
            expiry: header.expiry,
        };
        if header.kind == Kind::Remove {
            let Some(keys) = codec::decode_removed(head) else {
                return false;
            };
            let entries: Vec<_> = keys.into_iter().map(listed).collect();
            self.listed.extend(entries);
        } else {
            let entry = listed(header.key);
            self.listed.push(entry);
        }
        self.end += header.units();
        true
    }
}

/// What can be believed of a whole segment's bytes, for fuzzing: the list if there is a seal, and the records.
pub fn believed(bytes: &[u8]) -> Option<Contents> {
    let size = bytes.len() as u64;
    let units = units_of(size);
    let at = |unit: u32| bytes.get(unit as usize * UNIT as usize..);
    let seal = at(units.checked_sub(1)?)?;
    if let Some((count, end, crc)) = parse_seal(seal, 1, size)
        && let Some(listed) = parse_list(at(end)?, count, end, crc)
    {
        return Some(Contents {
            listed,
            end,
            sealed: true,
        });
    }
    let mut contents = Contents {
        listed: Vec::new(),
        end: 0,
        sealed: false,
    };
    while let Some(rest) = at(contents.end).filter(|rest| !rest.is_empty()) {
        let Ok(record) = Record::parse(&Bytes::copy_from_slice(rest), 1) else {
            break;
        };
        if !contents.note(&record.header, &record.head) {
            break;
        }
    }
    Some(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 64 * UNIT;

    fn listed(n: u32) -> Vec<Listed> {
        let entry = |unit| Listed {
            kind: Kind::Object,
            key: Key(u128::from(unit)),
            unit,
            units: 1,
            expiry: 9,
        };
        (1..=n).map(entry).collect()
    }

    #[test]
    fn a_seal_and_its_list_are_read_as_they_were_written() {
        let listed = listed(5);
        let (list, seal) = encode_seal(3, SIZE, 6, &listed);
        let (count, end, crc) = parse_seal(&seal, 3, SIZE).unwrap();
        assert_eq!((count, end), (5, 6));
        assert_eq!(parse_list(&list, count, end, crc), Some(listed));
        assert_eq!(parse_seal(&seal, 4, SIZE), None);
        assert_eq!(parse_seal(&seal, 3, SIZE * 2), None);
    }

    #[test]
    fn a_seal_or_list_with_any_bit_changed_is_not_believed() {
        let (list, seal) = encode_seal(3, SIZE, 6, &listed(5));
        for bit in 0..(OWN + 4) * 8 {
            let mut changed = seal.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_seal(&changed, 3, SIZE), None, "bit {bit}");
        }
        let (count, end, crc) = parse_seal(&seal, 3, SIZE).unwrap();
        for bit in 0..5 * ENTRY as usize * 8 {
            let mut changed = list.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_list(&changed, count, end, crc), None, "bit {bit}");
        }
    }

    #[test]
    fn a_list_never_points_outside_its_segment() {
        let (list, seal) = encode_seal(3, SIZE, 3, &listed(5));
        let (count, end, crc) = parse_seal(&seal, 3, SIZE).unwrap();
        assert_eq!(parse_list(&list, count, end, crc), None);
        let (_, seal) = encode_seal(3, SIZE, 63, &listed(5));
        assert_eq!(parse_seal(&seal, 3, SIZE), None, "no room for the list");
    }

    #[test]
    fn a_header_is_of_one_store_one_segment_and_one_size() {
        let header = encode_header(7, 3, SIZE);
        assert!(is_header(&header, 7, 3, SIZE));
        assert!(!is_header(&header, 8, 3, SIZE) && !is_header(&header, 7, 4, SIZE) && !is_header(&header, 7, 3, 1));
        assert!(!is_header(&[], 7, 3, SIZE));
    }

    #[test]
    fn a_name_says_its_segment_and_no_other_does() {
        assert_eq!(sequence_of(&name_of(0xabc)), Some(0xabc));
        for name in [
            "abc.seg",
            "0000000000000ABC.seg",
            "+000000000000abc.seg",
            "0000000000000abc",
            "store",
        ] {
            assert_eq!(sequence_of(name), None, "{name}");
        }
    }
}
