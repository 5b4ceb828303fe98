//! What a store counts, and what it has to say to people.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Store;
use super::superblock::SUPERBLOCK;

/// Counters of a store.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) errors: Errors,
    pub(super) admitted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) rewritten: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) loaded: AtomicU64,
    pub(super) recovery_ms: AtomicU64,
    distrusted: AtomicBool,
    complaint: Mutex<Option<Complaint>>,
}

/// Errors by what failed.
#[derive(Debug, Default)]
pub(super) struct Errors {
    pub(super) read: AtomicU64,
    pub(super) write: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) checksum: AtomicU64,
    pub(super) busy: AtomicU64,
}

/// What people should hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Nothing is written for a while.
    Resting {
        /// The last error.
        error: String,
        /// For how long, milliseconds.
        ms: u64,
    },
    /// What is stored is not used after a restart.
    Distrusted(String),
}

/// What a store holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Objects that can be found; variants count one by one.
    pub objects: u64,
    /// Bytes of disk in use.
    pub bytes: u64,
    /// The limit of `bytes`.
    pub limit: u64,
    /// Memory of the index and what belongs to it, bytes.
    pub index_bytes: u64,
    /// Content that waits to be written, bytes.
    pub queued: u64,
    /// Objects that went to make room, on the disk or in the index.
    pub evictions: u64,
    /// Objects written.
    pub admitted: u64,
    /// Bytes written.
    pub written: u64,
    /// Objects written again because they were used.
    pub rewritten: u64,
    /// Objects refused because too much waited.
    pub refused: u64,
    /// Objects that were taken and could not be written.
    pub lost: u64,
    /// Objects read for a request.
    pub loaded: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Writes that failed because the disk was full.
    pub full_errors: u64,
    /// Records that were not what was written.
    pub checksum_errors: u64,
    /// Reads that were given up because too much waited.
    pub busy: u64,
    /// How long recovery took, milliseconds.
    pub recovery_ms: u64,
}

impl Store {
    /// What it holds and did.
    pub fn stats(&self) -> DiskStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters {
            errors,
            admitted,
            refused,
            lost,
            rewritten,
            written,
            evicted,
            loaded,
            recovery_ms,
            ..
        } = &self.counters;
        DiskStats {
            objects: self.index.len(),
            bytes: self.segment_count() * self.superblock.segment,
            limit: self.limit(),
            index_bytes: self.index.bytes() + self.ghost.bytes(),
            queued: self.queue.bytes(),
            evictions: self.index.evictions() + read(evicted),
            admitted: read(admitted),
            written: read(written),
            rewritten: read(rewritten),
            refused: read(refused),
            lost: read(lost),
            loaded: read(loaded),
            read_errors: read(&errors.read),
            write_errors: read(&errors.write),
            full_errors: read(&errors.full),
            checksum_errors: read(&errors.checksum),
            busy: read(&errors.busy),
            recovery_ms: read(recovery_ms),
        }
    }

    /// Notes how long recovery took.
    pub fn recovered_in(&self, ms: u64) {
        self.counters.recovery_ms.store(ms, Ordering::Relaxed);
    }

    /// Counts an object that was read for a request.
    pub fn count_loaded(&self) {
        self.counters.loaded.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a read that failed.
    pub fn count_read_error(&self) {
        self.counters.errors.read.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a read that was given up because too much waited.
    pub fn count_busy(&self) {
        self.counters.errors.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a record that is not what was written.
    pub fn count_damaged(&self) {
        self.counters.errors.checksum.fetch_add(1, Ordering::Relaxed);
    }

    /// The last thing that people should hear, once.
    pub fn complaint(&self) -> Option<Complaint> {
        self.counters.complaint.lock().take()
    }

    pub(super) fn note_rest(&self, error: &io::Error, ms: u64) {
        let error = error.to_string();
        *self.counters.complaint.lock() = Some(Complaint::Resting { error, ms });
    }

    /// Keeps the store from being used after a restart: something that must not be forgotten cannot be written.
    pub(super) fn distrust(&self, why: &str) {
        if self.counters.distrusted.swap(true, Ordering::SeqCst) {
            return;
        }
        *self.counters.complaint.lock() = Some(Complaint::Distrusted(why.to_owned()));
        if self.dir.remove(SUPERBLOCK).is_err() {
            self.counters.errors.write.fetch_add(1, Ordering::Relaxed);
        }
    }
}
