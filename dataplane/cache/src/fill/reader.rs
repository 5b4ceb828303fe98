//! A client's cursor over a fill.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::state::{Fate, Fill, Phase, Wakers, wake};
use super::writer::FillWriter;
use super::{Failure, FillHead};
use crate::object::Object;

/// An interim response (1xx): for the request that the origin was asked for, and for no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interim {
    /// 102 to 199.
    pub status: u16,
    /// Its fields as received.
    pub fields: HeaderMap,
}

/// What waiting for the head came to.
#[derive(Debug)]
pub enum HeadOutcome {
    /// An interim response; go on waiting.
    Interim(Interim),
    /// A head; chunks follow. If its `Vary` does not match this request, drop the reader and join again under
    /// the key of its variant.
    Head(Arc<FillHead>),
    /// A stored object answers: the origin confirmed it, or another fill had just stored it.
    Object(Arc<Object>),
    /// The response cannot be shared: fetch for yourself, without joining again.
    Released,
    /// The fetch before failed and this request takes over: make the fetch, then go on reading here.
    Lead(FillWriter),
    /// No response.
    Failed(Failure),
}

/// A cursor over a fill. Dropping it is how a client leaves.
#[derive(Debug)]
pub struct FillReader {
    fill: Arc<Fill>,
    id: u32,
}

impl FillReader {
    pub(super) const fn new(fill: Arc<Fill>, id: u32) -> Self {
        Self { fill, id }
    }

    /// Waits for the head. Cancel safe.
    pub async fn head(&mut self) -> HeadOutcome {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    /// The next piece of content, `None` at its end. To be called after a head. Cancel safe.
    ///
    /// # Errors
    /// The fetch failed: what was sent so far is not the whole, and the client has to be told so by ending
    /// the connection.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// As [`Self::head`]. Only the last task that polled is woken.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<HeadOutcome> {
        let mut state = self.fill.state.lock();
        let state = &mut *state;
        let Some(cursor) = state.readers.get_mut(&self.id) else {
            return Poll::Ready(HeadOutcome::Failed(Failure::ABANDONED));
        };
        if let Some(interim) = cursor.interim.pop_front() {
            return Poll::Ready(HeadOutcome::Interim(interim));
        }
        match cursor.fate {
            Fate::Shares => {}
            Fate::Released => return Poll::Ready(HeadOutcome::Released),
            Fate::Failed(failure) => return Poll::Ready(HeadOutcome::Failed(failure)),
        }
        if state.successor == Some(self.id) {
            state.successor = None;
            state.attempts += 1;
            self.fill.table.successions.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(HeadOutcome::Lead(FillWriter::new(
                Arc::clone(&self.fill),
                Some(self.id),
            )));
        }
        match (&state.phase, &state.head) {
            (Phase::Stored(object), _) => Poll::Ready(HeadOutcome::Object(Arc::clone(object))),
            // A head that is there is delivered, even when its content failed meanwhile.
            (_, Some(head)) => Poll::Ready(HeadOutcome::Head(Arc::clone(head))),
            (Phase::Failed(failure), None) => Poll::Ready(HeadOutcome::Failed(*failure)),
            (Phase::Waiting | Phase::Streaming | Phase::Complete, None) => {
                cursor.wait(cx);
                Poll::Pending
            }
        }
    }

    /// As [`Self::chunk`]. Only the last task that polled is woken.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        let mut guard = self.fill.state.lock();
        let state = &mut *guard;
        let Some(cursor) = state.readers.get_mut(&self.id) else {
            return Poll::Ready(Err(Failure::ABANDONED));
        };
        match cursor.fate {
            Fate::Shares => {}
            Fate::Released => return Poll::Ready(Err(Failure::ABANDONED)),
            Fate::Failed(failure) => return Poll::Ready(Err(failure)),
        }
        if let Some(chunk) = state.chunks.get((cursor.next - state.first) as usize) {
            let chunk = chunk.clone();
            cursor.next += 1;
            let dropped = state.trim();
            let writer = if dropped > 0 { state.writer.take() } else { None };
            drop(guard);
            self.fill.table.release(dropped);
            wake(Wakers::from_iter(writer));
            return Poll::Ready(Ok(Some(chunk)));
        }
        match state.phase {
            Phase::Complete => Poll::Ready(Ok(None)),
            Phase::Failed(failure) => Poll::Ready(Err(failure)),
            // An object is read from the object.
            Phase::Stored(_) => Poll::Ready(Ok(None)),
            Phase::Waiting | Phase::Streaming => {
                cursor.wait(cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for FillReader {
    fn drop(&mut self) {
        let mut state = self.fill.state.lock();
        let gone = state.readers.remove(&self.id);
        let mut wakers = Wakers::new();
        let mut ended = false;
        if state.successor == Some(self.id) {
            state.successor = None;
            match state.choose_successor() {
                Some(waker) => wakers.extend(waker),
                None => {
                    state.fail_all(Failure::ABANDONED);
                    wakers.extend(state.wake_readers());
                    ended = true;
                }
            }
        }
        let dropped = state.trim();
        if state.passing {
            wakers.extend(state.writer.take());
        }
        ended |= state.is_forsaken();
        drop(state);
        // A waker may own what it wakes: not under the lock.
        drop(gone);
        self.fill.table.release(dropped);
        if ended {
            self.fill.table.delist(&self.fill);
        }
        wake(wakers);
    }
}
