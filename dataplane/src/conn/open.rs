//! The part of a connection that answers from memory: reads heads, serves hits and refusals, writes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use breakwater_wire::http1::request::head_may_be_complete;
use breakwater_wire::http1::{Limits, Parsed, parse_request};
use bytes::Bytes;
use tokio::io::ReadBuf;

use super::{Shared, Transport};
use crate::handler::{Answer, Job, answer};
use crate::respond;
use crate::worker::Worker;
use crate::worker::deadlines::{Deadline, Wait};

/// Bodies up to this size are copied behind the head and leave in one piece.
pub(crate) const COPY: usize = 8 * 1024;

/// Answers to pipelined requests are put together up to this size before they are sent.
const BATCH: usize = 48 * 1024;

/// Pieces of output handed to the kernel at once.
const PIECES: usize = 32;

const LIMITS: Limits = Limits::DEFAULT;

/// What a connection does after [`Open::poll`].
pub(super) enum Step {
    Close,
    /// Close, but first let the client read.
    Linger,
    /// A request leaves for a handler.
    Leave(Box<Job>),
}

/// Output that the kernel has not taken yet.
struct Unsent {
    head: Vec<u8>,
    body: Vec<Bytes>,
    sent: usize,
}

pub(super) struct Open<S> {
    stream: S,
    /// Bytes of requests that were read but not answered: an incomplete head, or what was pipelined.
    received: Vec<u8>,
    /// Bytes of [`Open::received`] that were looked at and found to be no complete head.
    looked_at: usize,
    unsent: Option<Box<Unsent>>,
    then: Option<Step>,
}

/// What looking at received bytes led to. The answers are in the worker's write buffer.
#[derive(Default)]
struct Served {
    consumed: usize,
    /// What follows was looked at and is no complete head.
    partial: bool,
    body: Vec<Bytes>,
    then: Option<Step>,
}

impl Served {
    /// How much of `rest`, what was not consumed, was looked at.
    fn looked_at(&self, rest: &[u8]) -> usize {
        if self.partial { rest.len() } else { 0 }
    }
}

impl<S: Transport> Open<S> {
    pub(super) fn new(stream: S, received: Vec<u8>) -> Self {
        Self {
            stream,
            received,
            looked_at: 0,
            unsent: None,
            then: None,
        }
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.received)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, shared: &mut Shared, deadline: &Deadline) -> Poll<Step> {
        let worker = Rc::clone(&shared.worker);
        loop {
            if self.unsent.is_some() && ready!(self.poll_unsent(cx, &worker, deadline)).is_err() {
                return Poll::Ready(Step::Close);
            }
            if let Some(step) = self.then.take() {
                return Poll::Ready(step);
            }
            let served = if self.may_hold_a_head() {
                let received = std::mem::take(&mut self.received);
                let served = serve(&received, shared, &worker);
                self.received = received;
                drop(self.received.drain(..served.consumed.min(self.received.len())));
                self.looked_at = served.looked_at(&self.received);
                served
            } else {
                match ready!(self.poll_more(cx, shared, &worker, deadline)) {
                    Some(served) => served,
                    None => return Poll::Ready(Step::Close),
                }
            };
            if served.consumed > 0 {
                deadline.clear();
            }
            self.then = served.then;
            self.send(cx, served.body, &worker);
        }
    }

    /// Whether looking at what was received can lead to anything: a sender of single bytes does not cost a parse each.
    fn may_hold_a_head(&self) -> bool {
        self.looked_at < self.received.len()
            && (head_may_be_complete(&self.received, self.looked_at) || self.received.len() >= LIMITS.head)
    }

    /// Reads, and answers what is complete without copying it. None when the connection is over.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        shared: &mut Shared,
        worker: &Worker,
        deadline: &Deadline,
    ) -> Poll<Option<Served>> {
        let idle = self.received.is_empty();
        if deadline.expired() {
            return Poll::Ready(self.too_late(worker));
        }
        let mut buffer = worker.read.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
            Poll::Ready(_) => return Poll::Ready(None),
            Poll::Pending if idle && worker.draining.get() => return Poll::Ready(None),
            Poll::Pending => {
                let wait = if idle { Wait::Idle } else { Wait::Head };
                deadline.wait(wait, false, worker.clock.now_ms(), cx.waker());
                return Poll::Pending;
            }
        }
        let fresh = read.filled();
        if !idle {
            self.received.extend_from_slice(fresh);
            return Poll::Ready(Some(Served::default()));
        }
        let served = serve(fresh, shared, worker);
        self.received
            .extend_from_slice(fresh.get(served.consumed..).unwrap_or_default());
        self.looked_at = served.looked_at(&self.received);
        Poll::Ready(Some(served))
    }

    /// The wait for a request, or for the rest of one, was too long.
    fn too_late(&self, worker: &Worker) -> Option<Served> {
        if self.received.is_empty() {
            return None;
        }
        worker.cells.refuse("head_timeout");
        worker.cells.unrouted.add(408);
        respond::plain(
            &mut worker.write.borrow_mut(),
            worker,
            408,
            "the request did not arrive in time",
        );
        Some(Served {
            then: Some(Step::Close),
            ..Served::default()
        })
    }

    /// Hands the worker's write buffer and `body` to the kernel; keeps what it does not take.
    fn send(&mut self, cx: &mut Context<'_>, body: Vec<Bytes>, worker: &Worker) {
        let mut out = worker.write.borrow_mut();
        if out.is_empty() && body.is_empty() {
            return;
        }
        let total = out.len() + body.iter().map(Bytes::len).sum::<usize>();
        let mut sent = 0;
        // An error shows itself again when the rest is sent.
        while let Poll::Ready(Ok(n)) = write_some(&mut self.stream, cx, &out, &body, sent) {
            sent += n;
            if n == 0 || sent == total {
                break;
            }
        }
        if sent < total {
            self.unsent = Some(Box::new(Unsent {
                head: out.clone(),
                body,
                sent,
            }));
        }
        out.clear();
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>, worker: &Worker, deadline: &Deadline) -> Poll<io::Result<()>> {
        let Some(unsent) = &mut self.unsent else {
            return Poll::Ready(Ok(()));
        };
        let total = unsent.head.len() + unsent.body.iter().map(Bytes::len).sum::<usize>();
        let mut progress = false;
        loop {
            match write_some(&mut self.stream, cx, &unsent.head, &unsent.body, unsent.sent) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    unsent.sent += n;
                    progress = true;
                    if unsent.sent == total {
                        self.unsent = None;
                        deadline.clear();
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if deadline.expired() {
                        worker.cells.refuse("send_timeout");
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    deadline.wait(Wait::Send, progress, worker.clock.now_ms(), cx.waker());
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Answers complete requests at the start of `bytes` into the worker's write buffer.
fn serve(bytes: &[u8], shared: &mut Shared, worker: &Worker) -> Served {
    let mut out = worker.write.borrow_mut();
    out.clear();
    let mut served = Served::default();
    while let Some(rest) = bytes.get(served.consumed..)
        && !rest.is_empty()
        && out.len() < BATCH
    {
        match parse_request(rest, &LIMITS) {
            Ok(Parsed::Partial) => {
                served.partial = true;
                break;
            }
            Ok(Parsed::Complete(head)) => {
                let len = head.len;
                match answer(shared, &head, &mut out) {
                    Answer::Written { body, close } => {
                        served.consumed += len;
                        served.body = body;
                        if close {
                            served.then = Some(Step::Linger);
                            break;
                        }
                        if !served.body.is_empty() {
                            break;
                        }
                    }
                    Answer::Leave(job) => {
                        served.consumed += len;
                        served.then = Some(Step::Leave(job));
                        break;
                    }
                }
            }
            Err(error) => {
                worker.cells.refuse(error.label());
                worker.cells.unrouted.add(error.status());
                respond::plain(&mut out, worker, error.status(), &error.to_string());
                served.consumed = bytes.len();
                served.then = Some(Step::Linger);
                break;
            }
        }
    }
    served
}

/// One write of what follows `sent` bytes of `head` and `body`.
fn write_some<S: Transport>(
    stream: &mut S,
    cx: &mut Context<'_>,
    head: &[u8],
    body: &[Bytes],
    sent: usize,
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if body.is_empty() {
        return stream.poll_write(cx, head.get(sent..).unwrap_or_default());
    }
    let mut skip = sent;
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let mut count = 0;
    for piece in std::iter::once(head).chain(body.iter().map(|b| &b[..])) {
        if let Some(rest) = piece.get(skip..).filter(|rest| !rest.is_empty()) {
            pieces[count] = IoSlice::new(rest);
            count += 1;
            if count == PIECES {
                break;
            }
        }
        skip = skip.saturating_sub(piece.len());
    }
    stream.poll_write_vectored(cx, &pieces[..count])
}
