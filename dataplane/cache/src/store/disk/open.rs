//! Opening a store: what it says of itself, and what earlier processes said must not be forgotten.

use std::io;
use std::sync::Arc;

use super::io::{Dir, read_exact_at};
use super::journal::{self, JOURNAL};
use super::segment::sequence_of;
use super::superblock::{SUPERBLOCK, Superblock};
use super::{DiskConfig, SEARCHES, Store, segment_size};
use crate::key::Keyer;
use crate::purge::Epochs;
use crate::searches::kept;

/// Bits of the clock of purges that count within one process.
const CLOCK_BITS: u32 = 40;

/// More than a superblock has, bytes.
const MOST: usize = 4096;

/// A store that was opened, and is to be recovered.
#[derive(Debug)]
pub struct Opened {
    /// The store, in which nothing is found yet.
    pub store: Arc<Store>,
    /// What earlier processes kept of purges, for [`Superblock::restore`].
    pub purges: Vec<u8>,
    /// What earlier processes kept of queries, for [`crate::Cache::restore_searches`].
    pub searches: Vec<u8>,
    /// Why what was there is gone, if it is.
    pub emptied: Option<String>,
}

/// What a store says of itself, of purges and of queries, without changing it; `None` if it is not there or of no use.
pub fn peek(dir: &dyn Dir) -> Option<(Superblock, Vec<u8>, Vec<u8>)> {
    let superblock = Superblock::decode(&read(dir, SUPERBLOCK, MOST).ok()??).ok()?;
    Some((superblock, journal::read(dir).ok()??, searches(dir)))
}

/// What is kept of queries; nothing, if it cannot be read.
fn searches(dir: &dyn Dir) -> Vec<u8> {
    let kept = read(dir, SEARCHES, kept::MAX_BYTES);
    kept.ok().flatten().unwrap_or_default()
}

/// Opens the store in a directory that nobody else writes to, or makes one. `random` is used for a new one.
///
/// Its list of purges has to be taken over, and written anew, before anything is found.
///
/// # Errors
/// The directory cannot be used.
pub fn open(dir: Arc<dyn Dir>, config: &DiskConfig, random: [u128; 2]) -> io::Result<Opened> {
    let known = read(&*dir, SUPERBLOCK, MOST)?.map(|bytes| Superblock::decode(&bytes));
    let leftovers = || {
        dir.list()
            .map(|names| names.iter().any(|name| sequence_of(name).is_some()))
    };
    let mut emptied = match &known {
        Some(Err(why)) => Some(why.clone()),
        None if leftovers()? => Some("its superblock is missing".to_owned()),
        _ => None,
    };
    let mut purges = None;
    if let Some(Ok(block)) = &known {
        purges = journal::read(&*dir)?;
        let readable = purges.as_ref().map(|bytes| block.restore(&Epochs::new(1), bytes));
        match readable {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                emptied = Some(error.to_string());
                purges = None;
            }
            None => emptied = Some("its list of purges is missing".to_owned()),
        }
    }
    let superblock = match (known, &purges) {
        (Some(Ok(block)), Some(_)) => Superblock {
            boot: block.boot.saturating_add(1),
            ..block
        },
        (known, _) => {
            empty(&*dir)?;
            let [id, seed] = random;
            // Processes of before may still hash under the old seed, and count by the old number.
            let old = known.and_then(Result::ok);
            Superblock {
                id,
                seed: old.map_or(seed, |old| old.seed),
                segment: segment_size(config.bytes),
                boot: old.map_or(0, |old| old.boot).saturating_add(1),
            }
        }
    };
    if purges.is_none() {
        let none = Epochs::new(1).export(Keyer::new(superblock.seed).identity());
        // Before the superblock: with that and without a list it would be emptied.
        journal::Journal::create(&*dir, none.clone())?;
        purges = Some(none);
    }
    dir.replace(SUPERBLOCK, &superblock.encode())?;
    Ok(Opened {
        searches: searches(&*dir),
        store: Arc::new(Store::new(dir, superblock, config)),
        purges: purges.unwrap_or_default(),
        emptied,
    })
}

impl Superblock {
    /// Takes over what a list of purges says, and has the clock go on later than that of any earlier process.
    ///
    /// # Errors
    /// The list cannot be read: nothing that is stored may be used.
    pub fn restore(&self, epochs: &Epochs, purges: &[u8]) -> Result<(), crate::purge::journal::Error> {
        // Invalidations advance the clock without a word in the list: each process has a range of its own.
        let begin = u64::from(self.boot) << CLOCK_BITS;
        epochs
            .restore(purges, Keyer::new(self.seed).identity(), begin)
            .map(drop)
    }
}

/// A file's bytes, `most` at most; none if there is none.
fn read(dir: &dyn Dir, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match dir.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size.min(most)];
    read_exact_at(&*file, &mut bytes, 0)?;
    Ok(Some(bytes))
}

/// Removes everything of a store.
fn empty(dir: &dyn Dir) -> io::Result<()> {
    // The superblock first: without it nothing else counts.
    for name in [SUPERBLOCK, JOURNAL, SEARCHES] {
        match dir.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let names = dir.list()?;
    names
        .iter()
        .filter(|name| sequence_of(name).is_some())
        .try_for_each(|name| dir.remove(name))
}
