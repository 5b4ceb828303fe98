//! The file of purges: [`crate::purge::journal`] on the disk.
//!
//! Invariant: after [`Journal::sync`] or [`Journal::create`] has returned well, what it was given is on the disk; after
//! [`Journal::append`] it outlives the process. What cannot be read voids everything stored ([`super::open()`]): what was purged is not known any more.

use std::io;
use std::sync::Arc;

use super::io::{Dir, File, read_exact_at, write_all_at};
use crate::purge::journal::{MAX_BYTES, RECORD};

/// The file.
pub(super) const JOURNAL: &str = "purges";

/// Room reserved, so that a full disk does not keep purges from being noted. Zeros are no records.
const RESERVED: usize = 1 << 20;

/// Growth after which it is written anew.
const GROWTH: u64 = 16 << 20;

/// The file, open.
#[derive(Debug)]
pub(super) struct Journal {
    file: Arc<dyn File>,
    end: u64,
    /// Something was appended since it was last synced.
    unsynced: bool,
    /// The size from which it is written anew.
    full: u64,
}

impl Journal {
    /// Begins anew with these bytes.
    pub(super) fn create(dir: &dyn Dir, mut bytes: Vec<u8>) -> io::Result<Self> {
        let end = bytes.len();
        if end < RESERVED {
            bytes.resize(RESERVED, 0);
        }
        dir.replace(JOURNAL, &bytes)?;
        Ok(Self {
            file: dir.open(JOURNAL)?,
            end: end as u64,
            unsynced: false,
            full: end as u64 + GROWTH,
        })
    }

    /// Appends bytes, if there are any.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        write_all_at(&*self.file, bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// Waits until what was appended is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync()?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Whether it should be written anew.
    pub(super) const fn is_full(&self) -> bool {
        self.end > self.full
    }
}

/// The bytes of the file; none if there is none, or it is larger than any that is written.
pub(super) fn read(dir: &dyn Dir) -> io::Result<Option<Vec<u8>>> {
    let file = match dir.open(JOURNAL) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    if size > MAX_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    read_exact_at(&*file, &mut bytes, 0)?;
    // Without what is reserved.
    const STEP: usize = 128 * RECORD;
    let last = bytes.chunks(STEP).rposition(|chunk| chunk != &[0; STEP][..chunk.len()]);
    bytes.truncate(last.map_or(0, |last| (last + 1) * STEP));
    Ok(Some(bytes))
}
