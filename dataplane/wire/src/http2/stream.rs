//! The streams of a connection that are neither idle nor closed.
//!
//! Invariant: sorted by identifier, each once. Empty, the list keeps room for [`KEEP`] streams and no more.

use super::priority::Priority;

/// Room that an idle connection keeps, so that one request at a time costs no allocation.
const KEEP: usize = 4;

/// One stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// What we may send; negative after the client made its initial window smaller.
    pub(super) send_window: i64,
    /// What the client may send.
    pub(super) recv_window: u32,
    /// Given back by the caller, not yet told to the client.
    pub(super) released: u32,
    /// What its window is wider by than at first.
    pub(super) wider: u32,
    /// Delivered to the caller and not given back.
    pub(super) held: u32,
    /// Bytes of content-length that have not come. None: there is no content-length.
    pub(super) length_left: Option<u64>,
    pub(super) priority: Priority,
    /// When an incremental stream sent last, in turns of the connection.
    pub(super) turn: u32,
    /// The request has ended.
    pub(super) remote_ended: bool,
    /// Nobody wants the request's body: it is ignored.
    pub(super) ignored: bool,
    /// The final response head was sent.
    pub(super) head_sent: bool,
    /// The caller has something to send.
    pub(super) waiting: bool,
}

/// The open streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    list: Vec<Stream>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Stream> {
        self.list.get(self.place(id)?)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let place = self.place(id)?;
        self.list.get_mut(place)
    }

    /// Adds a stream with a higher identifier than all others.
    pub(super) fn push(&mut self, stream: Stream) {
        if self.list.capacity() == 0 {
            self.list.reserve_exact(KEEP);
        }
        self.list.push(stream);
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Stream> {
        let stream = self.list.remove(self.place(id)?);
        if self.list.is_empty() && self.list.capacity() > KEEP {
            self.list = Vec::new();
        }
        Some(stream)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.list.iter_mut()
    }

    /// Bytes of heap.
    pub(super) fn heap(&self) -> usize {
        self.list.capacity() * size_of::<Stream>()
    }

    fn place(&self, id: u32) -> Option<usize> {
        // The newest is what is asked for most.
        if self.list.last().is_some_and(|last| last.id == id) {
            return Some(self.list.len() - 1);
        }
        self.list.binary_search_by_key(&id, |stream| stream.id).ok()
    }
}
