//! Where the content of a large object lies in the log: runs of full pieces, the last one perhaps shorter.

use super::record::{CHUNK, CHUNK_UNITS, HEADER, UNIT};
use super::wire::{Fields, WriteFields};
use crate::key::Key;

/// Runs of one object; one that is torn into more is not kept.
pub(super) const MAX_RUNS: usize = 65_536;

/// Pieces that follow each other in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The segment.
    pub(super) sequence: u64,
    /// The unit at which the first of them begins.
    pub(super) unit: u32,
    /// Their number.
    pub(super) count: u32,
}

/// A large object's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extents {
    /// The object its pieces say they are of.
    pub(super) id: u64,
    /// The key its pieces say they are of.
    pub(super) key: Key,
    pub(super) runs: Vec<Run>,
    pub(super) length: u64,
}

/// A piece, and which part of it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Index of its run.
    pub(super) run: usize,
    pub(super) unit: u32,
    pub(super) number: u32,
    /// Bytes of content it has.
    pub(super) length: u64,
}

impl Extents {
    pub(super) const fn new(id: u64, key: Key) -> Self {
        Self {
            id,
            key,
            runs: Vec::new(),
            length: 0,
        }
    }

    /// Bytes of content.
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is no content.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes this takes in memory.
    pub const fn size(&self) -> u64 {
        (self.runs.len() * size_of::<Run>() + 64) as u64
    }

    /// Notes where the next piece was written. Returns whether there was room to note it.
    pub(super) fn push(&mut self, sequence: u64, unit: u32, length: u64) -> bool {
        // A piece that is not full is the last.
        if !self.length.is_multiple_of(CHUNK) {
            return false;
        }
        self.length += length;
        if let Some(last) = self.runs.last_mut()
            && last.sequence == sequence
            && last.unit + last.count * CHUNK_UNITS == unit
        {
            last.count += 1;
            return true;
        }
        self.runs.push(Run {
            sequence,
            unit,
            count: 1,
        });
        self.runs.len() <= MAX_RUNS
    }

    /// The piece that holds the byte `offset`.
    pub(super) fn piece(&self, offset: u64) -> Option<Piece> {
        if offset >= self.length {
            return None;
        }
        let number = u32::try_from(offset / CHUNK).ok()?;
        let mut before = 0;
        let (run, found) = self.runs.iter().enumerate().find(|(_, run)| {
            before += run.count;
            number < before
        })?;
        let first = before - found.count;
        Some(Piece {
            run,
            unit: found.unit + (number - first) * CHUNK_UNITS,
            number,
            length: CHUNK.min(self.length - u64::from(number) * CHUNK),
        })
    }

    /// All places, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        (0..self.length.div_ceil(CHUNK)).filter_map(|number| self.piece(number * CHUNK))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.id);
        out.put_u128(self.key.0);
        out.put_u64(self.length);
        out.put_u32(u32::try_from(self.runs.len()).unwrap_or(u32::MAX));
        for run in &self.runs {
            out.put_u64(run.sequence);
            out.put_u32(run.unit);
            out.put_u32(run.count);
        }
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let (id, key, length) = (fields.u64()?, Key(fields.u128()?), fields.u64()?);
        let count = fields.u32()? as usize;
        if count > MAX_RUNS {
            return None;
        }
        let mut runs = Vec::with_capacity(count);
        let mut pieces = 0u64;
        for _ in 0..count {
            let run = Run {
                sequence: fields.u64()?,
                unit: fields.u32()?,
                count: fields.u32()?,
            };
            pieces += u64::from(run.count);
            let end = u64::from(run.unit) + u64::from(run.count) * u64::from(CHUNK_UNITS);
            if run.count == 0 || end > super::index::MAX_UNITS + u64::from(CHUNK_UNITS) {
                return None;
            }
            runs.push(run);
        }
        (pieces == length.div_ceil(CHUNK)).then_some(Self { id, key, runs, length })
    }
}

impl Piece {
    /// Bytes to read for it.
    pub(super) const fn bytes(&self) -> usize {
        HEADER + self.length as usize
    }

    /// Where it begins in its segment.
    pub(super) const fn offset(&self) -> u64 {
        self.unit as u64 * UNIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents() -> Extents {
        let mut extents = Extents::new(1, Key(2));
        assert!(extents.push(5, 1, CHUNK));
        assert!(extents.push(5, 1 + CHUNK_UNITS, CHUNK));
        assert!(extents.push(6, 90, CHUNK));
        assert!(extents.push(6, 90 + CHUNK_UNITS, 10));
        extents
    }

    #[test]
    fn a_byte_is_in_the_piece_that_was_written_for_it() {
        let extents = extents();
        assert_eq!((extents.len(), extents.runs.len()), (3 * CHUNK + 10, 2));
        for (offset, unit, length) in [
            (0, 1, CHUNK),
            (CHUNK - 1, 1, CHUNK),
            (CHUNK, 33, CHUNK),
            (2 * CHUNK, 90, CHUNK),
            (3 * CHUNK + 9, 122, 10),
        ] {
            let piece = extents.piece(offset).unwrap();
            assert_eq!((piece.unit, piece.length), (unit, length), "{offset}");
        }
        assert_eq!(extents.piece(3 * CHUNK + 10), None);
        assert_eq!(extents.pieces().count(), 4);
    }

    #[test]
    fn nothing_follows_a_piece_that_is_not_full() {
        assert!(!extents().push(6, 200, 1));
    }

    #[test]
    fn what_is_written_is_read_and_what_does_not_add_up_is_refused() {
        let extents = extents();
        let mut bytes = Vec::new();
        extents.encode(&mut bytes);
        assert_eq!(Extents::decode(&mut Fields(&bytes)), Some(extents));
        for length in 0..bytes.len() {
            assert_eq!(Extents::decode(&mut Fields(&bytes[..length])), None);
        }
        bytes[24] ^= 0xff;
        bytes[26] ^= 0xff;
        assert_eq!(Extents::decode(&mut Fields(&bytes)), None);
    }
}
