//! Reads as they are when too many wait: for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::OwnedSemaphorePermit;

use super::Reads;

/// What tests do to reads.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Nothing is read at once.
    pub(super) holds: AtomicBool,
    /// How often somebody waited for a place.
    pub(super) waited: AtomicUsize,
}

/// Every place among the reads that wait is taken, and nothing is read from the page cache, until this is dropped.
#[derive(Debug)]
pub struct HeldReads {
    reads: Arc<Reads>,
    _places: OwnedSemaphorePermit,
}

impl HeldReads {
    /// None when some of the places are taken already.
    pub(crate) fn new(reads: &Arc<Reads>) -> Option<Self> {
        let places = u32::try_from(super::MAX_WAITING).ok()?;
        let _places = Arc::clone(&reads.places).try_acquire_many_owned(places).ok()?;
        reads.held.holds.store(true, Ordering::SeqCst);
        reads.held.waited.store(0, Ordering::SeqCst);
        let reads = Arc::clone(reads);
        Some(Self { reads, _places })
    }

    /// How many have waited for a place since.
    pub fn waited(&self) -> usize {
        self.reads.held.waited.load(Ordering::SeqCst)
    }
}

impl Drop for HeldReads {
    fn drop(&mut self) {
        self.reads.held.holds.store(false, Ordering::SeqCst);
    }
}
