//! A record's place in the log, held: its segment can be read even when the store has let it go.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::index::At;
use super::io::{File, read_exact_at};
use super::record::UNIT;
use super::segment::Segment;

/// Where a record is.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) segment: Arc<Segment>,
    pub(super) unit: u32,
    pub(super) units: u32,
    /// It says how the key's responses vary.
    pub vary: bool,
}

impl Place {
    pub(super) fn at(&self) -> At {
        At {
            sequence: self.segment.sequence,
            unit: self.unit,
        }
    }

    /// The segment's number and the record's place in it: the same for the same bytes.
    pub fn name(&self) -> (u64, u32) {
        (self.segment.sequence, self.unit)
    }

    /// The file to read from.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.segment.file
    }

    /// Where in the file, bytes.
    pub const fn offset(&self) -> u64 {
        self.unit as u64 * UNIT
    }

    /// How much to read, bytes.
    pub const fn len(&self) -> usize {
        self.units as usize * UNIT as usize
    }

    /// Whether there is nothing to read.
    pub const fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// Reads it, waiting for the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.len()];
        read_exact_at(&*self.segment.file, &mut bytes, self.offset())?;
        Ok(bytes.into())
    }
}
