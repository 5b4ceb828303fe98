//! A response that is written while it comes, because it is too large for memory or worth a place at once.
//!
//! The fetch pushes content as it arrives; pieces go to the writer through its queue. Invariant: a spill that lost a piece
//! never becomes an object. Its pieces stay in the log until their segment is reclaimed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::Store;
use super::extents::Extents;
use super::queue::Work;
use super::record::CHUNK;
use crate::key::Key;
use crate::object::Object;

/// What fetch and writer share of one spill.
#[derive(Debug)]
pub(super) struct Spilled {
    pub(super) extents: Mutex<Extents>,
    /// A piece was lost.
    pub(super) failed: AtomicBool,
}

/// A spill, as its fetch has it.
#[derive(Debug)]
pub struct Spill {
    store: Arc<Store>,
    shared: Arc<Spilled>,
    piece: BytesMut,
    length: u64,
}

impl Spill {
    pub(super) fn new(store: Arc<Store>, id: u64, key: Key) -> Self {
        Self {
            store,
            shared: Arc::new(Spilled {
                extents: Mutex::new(Extents::new(id, key)),
                failed: AtomicBool::new(false),
            }),
            piece: BytesMut::new(),
            length: 0,
        }
    }

    /// Whether it can still become an object.
    pub fn is_alive(&self) -> bool {
        !self.shared.failed.load(Ordering::Relaxed)
    }

    /// Bytes of content so far.
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether there was no content yet.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends content.
    pub fn push(&mut self, mut content: &[u8]) {
        self.length += content.len() as u64;
        if self.length > self.store.largest() {
            self.lose();
        }
        while !content.is_empty() && self.is_alive() {
            let room = CHUNK as usize - self.piece.len();
            let (now, later) = content.split_at(room.min(content.len()));
            self.piece.extend_from_slice(now);
            content = later;
            if self.piece.len() == CHUNK as usize {
                self.flush();
            }
        }
    }

    /// Ends it. `object` has everything but the content.
    pub(crate) fn finish(mut self, key: Key, object: Object) -> bool {
        if !self.piece.is_empty() {
            self.flush();
        }
        let (of, object) = (Arc::clone(&self.shared), Arc::new(object));
        self.is_alive() && self.store.queue(Work::Commit { of, key, object })
    }

    fn flush(&mut self) {
        let data: Bytes = self.piece.split().freeze();
        let of = Arc::clone(&self.shared);
        if !self.store.queue(Work::Chunk { of, data }) {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.shared.failed.store(true, Ordering::Relaxed);
        self.piece = BytesMut::new();
    }
}
