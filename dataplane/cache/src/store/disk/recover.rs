//! Finding again what a store holds: the lists of sealed segments, and the last one record by record.
//!
//! Invariant: the same log gives the same findable keys, whoever wrote it and however it ended.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Store;
use super::io::read_exact_at;
use super::log::{Active, Log};
use super::record::UNIT;
use super::segment::{Contents, Segment, is_header, name_of, sequence_of};

impl Store {
    /// Reads what is there, and gives the writer. To be called once, before anything is found or written.
    ///
    /// # Errors
    /// The directory cannot be read. A segment that cannot be read is let go instead.
    pub fn recover(self: &Arc<Self>) -> io::Result<Log> {
        let mut sequences: Vec<_> = self.dir.list()?.iter().filter_map(|name| sequence_of(name)).collect();
        sequences.sort_unstable();
        let next = sequences.last().map_or(0, |last| last + 1);
        self.sequence.store(next, Ordering::Relaxed);
        // One more is let go when the first is written.
        let surplus = sequences
            .len()
            .saturating_sub(usize::try_from(self.max_segments()).unwrap_or(usize::MAX));
        for sequence in sequences.drain(..surplus) {
            self.let_go(sequence);
        }
        let mut last = None;
        for sequence in sequences {
            match self.read_segment(sequence) {
                Ok((segment, contents)) => {
                    self.replay(sequence, &contents.listed);
                    self.segments.write().push_back(Arc::clone(&segment));
                    last = Some(Active { segment, contents });
                }
                Err(_) => {
                    self.counters.errors.read.fetch_add(1, Ordering::Relaxed);
                    self.let_go(sequence);
                }
            }
        }
        // Others without a seal are as they are: their writer had a reason to go on elsewhere.
        let active = last.filter(|active| !active.contents.sealed && active.segment.sequence + 1 == next);
        Ok(Log::new(Arc::clone(self), active))
    }

    fn read_segment(&self, sequence: u64) -> io::Result<(Arc<Segment>, Contents)> {
        let file = self.dir.open(&name_of(sequence))?;
        let size = self.superblock.segment;
        let mut first = vec![0; UNIT as usize];
        read_exact_at(&*file, &mut first, 0)?;
        if !is_header(&first, self.superblock.id, sequence, size) || file.size()? != size {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let segment = Segment { sequence, file };
        let contents = segment.contents(size)?;
        Ok((Arc::new(segment), contents))
    }

    fn let_go(&self, sequence: u64) {
        if self.dir.remove(&name_of(sequence)).is_err() {
            self.counters.errors.write.fetch_add(1, Ordering::Relaxed);
        }
    }
}
