//! The part of a connection that answers from memory: reads heads, serves hits and refusals, writes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use breakwater_wire::http1::request::head_may_be_complete;
use breakwater_wire::http1::{Limits, Parsed, parse_request};
use breakwater_wire::http2::PREFACE;
use bytes::Bytes;
use tokio::io::ReadBuf;

use super::{Shared, Transport};
use crate::handler::{Answer, Job, answer};
use crate::pace::{Least, Pace};
use crate::respond;
use crate::worker::Worker;
use crate::worker::deadlines::{Deadline, Wait};
use crate::worker::turn::give_way;

/// Bodies up to this size are copied behind the head and leave in one piece.
pub(crate) const COPY: usize = 8 * 1024;

/// Answers to pipelined requests are put together up to this size before they are sent.
const BATCH: usize = 48 * 1024;

/// Pieces of output handed to the kernel at once.
const PIECES: usize = 32;

const LIMITS: Limits = Limits::DEFAULT;

/// The reason under which connections are counted that went within a request head, because others came.
pub(super) const EVICTED: &str = "heads";

/// What a connection does after [`Open::poll`].
pub(super) enum Step {
    Close,
    /// Close, but first let the client read.
    Linger,
    /// The client speaks HTTP/2.
    Http2,
    /// A request leaves for a handler.
    Leave(Box<Job>),
}

/// Output that the kernel has not taken yet.
struct Unsent {
    head: Vec<u8>,
    body: Vec<Bytes>,
    sent: usize,
    pace: Pace,
}

pub(super) struct Open<S> {
    stream: S,
    /// None while the connection waits for its next request: then it owns nothing but its socket.
    pending: Option<Box<Pending>>,
}

/// What is left to do.
#[derive(Default)]
struct Pending {
    /// Bytes of requests that were read but not answered: an incomplete head, or what was pipelined.
    received: Vec<u8>,
    /// Bytes of `received` that were looked at and found to be no complete head.
    looked_at: usize,
    unsent: Option<Unsent>,
    /// What comes when all is sent.
    then: Option<Step>,
}

impl Pending {
    /// Whether looking at what was received can lead to anything: a sender of single bytes does not cost a parse each.
    fn may_hold_a_head(&self) -> bool {
        self.looked_at < self.received.len()
            && (head_may_be_complete(&self.received, self.looked_at) || self.received.len() >= LIMITS.head)
    }
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
        let pending = (!received.is_empty()).then(|| {
            Box::new(Pending {
                received,
                ..Pending::default()
            })
        });
        Self { stream, pending }
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (
            self.stream,
            self.pending.map(|pending| pending.received).unwrap_or_default(),
        )
    }

    /// `turns` is how many requests may be answered before others have their turn; what was is taken from it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &mut Shared,
        deadline: &Deadline,
        turns: &mut u32,
    ) -> Poll<Step> {
        let worker = Rc::clone(&shared.worker);
        loop {
            if let Some(pending) = &mut self.pending {
                if pending.unsent.is_some() && ready!(self.poll_unsent(cx, &worker, deadline)).is_err() {
                    return Poll::Ready(Step::Close);
                }
                if let Some(step) = self.pending.as_mut().and_then(|pending| pending.then.take()) {
                    return Poll::Ready(step);
                }
            }
            if *turns == 0 {
                give_way(cx);
                return Poll::Pending;
            }
            let served = if self.pending.as_ref().is_some_and(|pending| pending.may_hold_a_head()) {
                self.serve_received(shared, &worker, turns)
            } else {
                match ready!(self.poll_more(cx, shared, &worker, deadline, turns)) {
                    Some(served) => served,
                    None => return Poll::Ready(Step::Close),
                }
            };
            if served.consumed > 0 {
                deadline.clear();
            }
            let sent = self.send(cx, served.body, &worker);
            match served.then {
                Some(step) if sent => return Poll::Ready(step),
                Some(step) => self.pending().then = Some(step),
                None => {}
            }
        }
    }

    fn pending(&mut self) -> &mut Pending {
        self.pending.get_or_insert_default()
    }

    /// Looks at what was received before. Gives the memory back when nothing is left.
    fn serve_received(&mut self, shared: &mut Shared, worker: &Worker, turns: &mut u32) -> Served {
        let Some(pending) = &mut self.pending else {
            return Served::default();
        };
        let served = serve(&pending.received, shared, worker, turns);
        drop(pending.received.drain(..served.consumed.min(pending.received.len())));
        pending.looked_at = served.looked_at(&pending.received);
        if pending.received.is_empty() {
            self.pending = None;
        }
        served
    }

    /// Reads, and answers what is complete without copying it. None when the connection is over.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        shared: &mut Shared,
        worker: &Worker,
        deadline: &Deadline,
        turns: &mut u32,
    ) -> Poll<Option<Served>> {
        let idle = self.pending.as_ref().is_none_or(|pending| pending.received.is_empty());
        let mut buffer = worker.read.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
            Poll::Ready(_) => return Poll::Ready(None),
            // Asked last: a request that came first is answered.
            Poll::Pending if deadline.expired() => {
                return Poll::Ready(if idle {
                    None
                } else if deadline.evicted() {
                    worker.cells.refuse(EVICTED);
                    None
                } else {
                    Some(too_late(worker))
                });
            }
            Poll::Pending => {
                let wait = if idle { Wait::Idle } else { Wait::Head };
                deadline.wait(wait, false, worker.clock.now_ms(), cx.waker());
                return Poll::Pending;
            }
        }
        let fresh = read.filled();
        if !idle {
            self.pending().received.extend_from_slice(fresh);
            return Poll::Ready(Some(Served::default()));
        }
        let served = serve(fresh, shared, worker, turns);
        let rest = fresh.get(served.consumed..).unwrap_or_default();
        self.pending = None;
        if !rest.is_empty() {
            let looked_at = served.looked_at(rest);
            let pending = self.pending();
            pending.received.extend_from_slice(rest);
            pending.looked_at = looked_at;
        }
        Poll::Ready(Some(served))
    }

    /// Hands the worker's write buffer and `body` to the kernel; keeps what it does not take. True when it took all.
    fn send(&mut self, cx: &mut Context<'_>, body: Vec<Bytes>, worker: &Worker) -> bool {
        let mut out = worker.write.borrow_mut();
        if out.is_empty() && body.is_empty() {
            return true;
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
        // TLS may hold back what it took. An error shows itself at the next read.
        let sent_all = sent == total && Pin::new(&mut self.stream).poll_flush(cx).is_ready();
        if !sent_all {
            let head = out.clone();
            self.pending().unsent = Some(Unsent {
                head,
                body,
                sent,
                pace: Pace::new(Least::SEND),
            });
        }
        out.clear();
        sent_all
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>, worker: &Worker, deadline: &Deadline) -> Poll<io::Result<()>> {
        let Some(pending) = &mut self.pending else {
            return Poll::Ready(Ok(()));
        };
        let Some(unsent) = &mut pending.unsent else {
            return Poll::Ready(Ok(()));
        };
        let total = unsent.head.len() + unsent.body.iter().map(Bytes::len).sum::<usize>();
        let now = worker.clock.now_ms();
        let before = unsent.sent;
        loop {
            let all = unsent.sent == total;
            let written = if all {
                Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| 0)
            } else {
                write_some(&mut self.stream, cx, &unsent.head, &unsent.body, unsent.sent)
            };
            match written {
                Poll::Ready(Ok(_)) if all => {
                    pending.unsent = None;
                    deadline.clear();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    unsent.sent += n;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let taken = unsent.sent - before;
                    let too_slow = if taken == 0 {
                        deadline.expired().then_some("send_timeout")
                    } else {
                        (!unsent.pace.moved(taken, now)).then_some("send_rate")
                    };
                    if let Some(reason) = too_slow {
                        worker.cells.refuse(reason);
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    unsent.pace.wait(now);
                    deadline.wait(Wait::Send, taken > 0, now, cx.waker());
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Answers complete requests at the start of `bytes` into the worker's write buffer.
fn serve(bytes: &[u8], shared: &mut Shared, worker: &Worker, turns: &mut u32) -> Served {
    let mut out = worker.write.borrow_mut();
    out.clear();
    let mut served = Served::default();
    if std::mem::take(&mut shared.at_start) && PREFACE.starts_with(bytes.get(..PREFACE.len()).unwrap_or(bytes)) {
        if bytes.len() < PREFACE.len() {
            shared.at_start = true;
            served.partial = true;
        } else {
            served.then = Some(Step::Http2);
        }
        return served;
    }
    while let Some(rest) = bytes.get(served.consumed..)
        && !rest.is_empty()
        && out.len() < BATCH
        && *turns > 0
    {
        match parse_request(rest, &LIMITS) {
            Ok(Parsed::Partial) => {
                served.partial = true;
                break;
            }
            Ok(Parsed::Complete(head)) => {
                let len = head.len;
                *turns -= 1;
                match answer(shared, &head, &mut out) {
                    Answer::Written { body, close, .. } => {
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

/// The wait for the rest of a request was too long.
fn too_late(worker: &Worker) -> Served {
    worker.cells.refuse("head_timeout");
    worker.cells.unrouted.add(408);
    let message = "the request did not arrive in time";
    respond::plain(&mut worker.write.borrow_mut(), worker, 408, message);
    Served {
        then: Some(Step::Close),
        ..Served::default()
    }
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
