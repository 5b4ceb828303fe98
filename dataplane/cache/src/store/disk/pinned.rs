//! The content of a large object, held while it is read: segments that go meanwhile stay until it is let go.

use std::sync::Arc;

use bytes::Bytes;

use super::extents::{Extents, Piece};
use super::record::{CHUNK, Damaged, Kind, Record};
use super::segment::Segment;
use super::{File, Store, segment_of};

/// Content that can be read.
#[derive(Clone, Debug)]
pub struct Pinned {
    extents: Arc<Extents>,
    /// For each run.
    segments: Arc<[Arc<Segment>]>,
}

/// A piece of it, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    of: &'a Pinned,
    piece: Piece,
    /// Bytes of the piece before what is wanted.
    skip: usize,
}

impl Store {
    /// Holds an object's content; `None` if some of it is gone.
    pub fn pin(&self, extents: &Arc<Extents>) -> Option<Pinned> {
        let segments = self.segments.read();
        let segments = extents
            .runs
            .iter()
            .map(|run| segment_of(&segments, run.sequence).map(Arc::clone));
        Some(Pinned {
            segments: segments.collect::<Option<_>>()?,
            extents: Arc::clone(extents),
        })
    }
}

impl Pinned {
    /// Whether it is this content.
    pub fn is_of(&self, extents: &Arc<Extents>) -> bool {
        Arc::ptr_eq(&self.extents, extents)
    }

    /// The piece that has the byte `offset`.
    pub fn part(&self, offset: u64) -> Option<Part<'_>> {
        Some(Part {
            of: self,
            piece: self.extents.piece(offset)?,
            skip: (offset % CHUNK) as usize,
        })
    }
}

impl Part<'_> {
    fn segment(&self) -> Option<&Arc<Segment>> {
        self.of.segments.get(self.piece.run)
    }

    /// The file to read from.
    pub fn file(&self) -> Option<&Arc<dyn File>> {
        self.segment().map(|segment| &segment.file)
    }

    /// Where in the file, bytes.
    pub const fn offset(&self) -> u64 {
        self.piece.offset()
    }

    /// How much to read, bytes.
    pub const fn len(&self) -> usize {
        self.piece.bytes()
    }

    /// Whether there is nothing to read.
    pub const fn is_empty(&self) -> bool {
        self.piece.length == 0
    }

    /// The segment's number and the record's place in it: the same for the same bytes.
    pub fn name(&self) -> (u64, u32) {
        (
            self.segment().map_or(u64::MAX, |segment| segment.sequence),
            self.piece.unit,
        )
    }

    /// The content in what was read, from the byte that was asked for.
    ///
    /// # Errors
    /// [`Damaged`]: it is not this piece of this object.
    pub fn content(&self, bytes: &Bytes) -> Result<Bytes, Damaged> {
        let segment = self.segment().ok_or(Damaged)?;
        let record = Record::parse(bytes, segment.sequence)?;
        let (header, extents) = (&record.header, &self.of.extents);
        let is_it = header.kind == Kind::Chunk
            && (header.key, header.id, header.number) == (extents.key, extents.id, self.piece.number)
            && u64::from(header.content) == self.piece.length;
        let content = is_it.then_some(record.content).ok_or(Damaged)?;
        if self.skip > content.len() {
            return Err(Damaged);
        }
        Ok(content.slice(self.skip..))
    }
}
