//! A connection that speaks HTTP/2: the codec between the worker's buffers.
//!
//! Reads land in the worker's read buffer and output is put together in its write buffer, as for HTTP/1; the connection
//! owns bytes only while a frame is incomplete or output is unsent. A request that can be answered from memory is answered
//! in the poll that read it, and the answers of several streams leave in one write. Any other becomes an exchange, a task
//! of its own, which meets the connection in a [`crate::handler::Channel`].
//!
//! Invariant: while output is unsent nothing is read, so a client that takes nothing costs at most one batch.

mod output;
mod streams;
mod windows;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use breakwater_wire::http2::{Connection as Codec, ErrorCode, Event, Limits, StreamId};
use bytes::Bytes;
use tokio::io::ReadBuf;

use super::open::EVICTED;
use super::{Shared, Transport};
use crate::handler::{self, Answer, Channel, Job, Over, split_head};
use crate::respond;
use crate::worker::Worker;
use crate::worker::deadlines::{Deadline, Wait};
use crate::worker::turn::give_way;
use output::{Output, Unsent};
use streams::Streams;
use windows::Wider;

/// Between the two GOAWAY frames of an orderly end: requests on their way meanwhile are served (RFC 9113 section 6.8).
const GRACE_MS: u64 = 1000;

/// A read, and the frames that came with it, counts as so many requests do for when others have their turn;
const READ_TURNS: u32 = 4;

/// and so does a request that cannot be answered from memory,
const LEAVE_TURNS: u32 = 4;

/// and, although it costs little, one that was taken back with the bytes it came in: who does that makes work for nobody,
/// mostly on several connections at once, and others wait for all of their turns.
const WITHDRAWN_TURNS: u32 = 8;

/// What a connection does after [`Http2::poll`].
pub(super) enum Step {
    Close,
    /// Close, but first let the client read.
    Linger,
}

/// How far an orderly end has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// The client was asked, at this time, to open no more streams, or said then that it will not.
    Asked(u64),
    /// It was told which streams are served.
    Told,
}

pub(super) struct Http2<S> {
    stream: S,
    codec: Codec,
    /// What was read and not consumed.
    received: Vec<u8>,
    /// `received` may hold whole frames: it was left because a batch of output was full, or others have their turn.
    unserved: bool,
    unsent: Option<Box<Unsent>>,
    streams: Streams,
    /// Requests that need more than memory, until all frames that came with them are served: what is reset with the bytes
    /// it came in never begins.
    leaving_requests: Vec<(Rc<Channel>, Box<Job>)>,
    /// What its window for uploads may hold beyond the ordinary.
    wider: Wider,
    /// What the deadline is about.
    waits: Option<Wait>,
    /// A stream went on since: waiting begins anew.
    moved: bool,
    leaving: Leaving,
    then: Option<Step>,
}

impl<S> Http2<S> {
    /// Whether a request is with a handler.
    pub(super) const fn is_active(&self) -> bool {
        self.streams.is_active()
    }

    /// The connection ends: exchanges that are left learn of it.
    pub(super) fn abandon(&mut self, worker: &Worker) {
        self.streams.abandon_all();
        for (_, job) in self.leaving_requests.drain(..) {
            handler::never_begun(worker, &job);
        }
        self.wider.count(0, worker);
    }
}

impl<S: Transport> Http2<S> {
    /// `received` is what the client sent already, the preface first.
    pub(super) fn new(stream: S, received: Vec<u8>) -> Self {
        let mut settings = Vec::new();
        let codec = Codec::new(&Limits::DEFAULT, &mut settings);
        Self {
            stream,
            codec,
            unserved: !received.is_empty(),
            received,
            unsent: Some(Box::new(Unsent::new(settings))),
            streams: Streams::default(),
            leaving_requests: Vec::new(),
            wider: Wider::default(),
            waits: None,
            moved: false,
            leaving: Leaving::No,
            then: None,
        }
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// `turns` is how many requests may be answered before others have their turn.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &mut Shared,
        deadline: &Deadline,
        turns: &mut u32,
    ) -> Poll<Step> {
        let worker = Rc::clone(&shared.worker);
        self.streams.listen(cx.waker());
        loop {
            if !ready!(self.poll_unsent(cx, &worker, deadline)) {
                return Poll::Ready(Step::Close);
            }
            if let Some(step) = self.then.take() {
                return Poll::Ready(step);
            }
            if *turns == 0 {
                give_way(cx);
                return Poll::Pending;
            }
            let mut output = Output::new(worker.write.borrow_mut());
            self.streams
                .take_from_exchanges(&mut self.codec, &mut self.wider, &mut output, &worker);
            let read = self.poll_serve(cx, shared, &worker, &mut output, turns);
            if matches!(read, Poll::Ready(false)) {
                return Poll::Ready(Step::Close);
            }
            self.wider.count(self.codec.wider(), &worker);
            self.moved |= self.streams.fill(&mut self.codec, &mut output, &worker);
            self.streams.reset_stalled(&mut self.codec, &mut output, &worker);
            self.leave(&worker, &mut output);
            let idle = read.is_pending() && output.len() == 0;
            // Asked last: who did something in time goes on.
            if idle && deadline.expired() && !self.moved {
                self.too_late(deadline.evicted(), &worker, &mut output);
                deadline.clear();
            } else if idle && self.then.is_none() {
                self.wait(cx, &worker, deadline);
                return Poll::Pending;
            }
            self.send(cx, output);
        }
    }

    /// Sends what is left of the last batch. False when that fails or takes too long.
    fn poll_unsent(&mut self, cx: &mut Context<'_>, worker: &Worker, deadline: &Deadline) -> Poll<bool> {
        let Some(unsent) = &mut self.unsent else {
            return Poll::Ready(true);
        };
        let (written, moved) = unsent.poll_write(&mut self.stream, cx);
        match written {
            Poll::Ready(Ok(())) => {
                self.unsent = None;
                self.codec.flushed();
                if self.waits.take().is_some() {
                    deadline.clear();
                }
                Poll::Ready(true)
            }
            Poll::Ready(Err(_)) => Poll::Ready(false),
            Poll::Pending => {
                let now = worker.clock.now_ms();
                let too_slow = if moved == 0 {
                    (self.waits == Some(Wait::Send) && deadline.expired()).then_some("send_timeout")
                } else {
                    (!unsent.pace.moved(moved, now)).then_some("send_rate")
                };
                if let Some(reason) = too_slow {
                    worker.cells.refuse(reason);
                    return Poll::Ready(false);
                }
                unsent.pace.wait(now);
                self.waits = Some(Wait::Send);
                deadline.wait(Wait::Send, moved > 0, now, cx.waker());
                Poll::Pending
            }
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, output: Output<'_>) {
        self.unsent = output.write(&mut self.stream, cx).map(Box::new);
        if self.unsent.is_none() {
            self.codec.flushed();
        }
    }

    /// Reads and serves what was read. Pending when there is nothing to read, false when the client is gone.
    fn poll_serve(
        &mut self,
        cx: &mut Context<'_>,
        shared: &mut Shared,
        worker: &Rc<Worker>,
        output: &mut Output<'_>,
        turns: &mut u32,
    ) -> Poll<bool> {
        if output.is_full() {
            return Poll::Ready(true);
        }
        if self.unserved {
            let received = std::mem::take(&mut self.received);
            self.serve(&received, cx.waker(), shared, worker, output, turns);
            return Poll::Ready(true);
        }
        let mut buffer = worker.read.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        // The beginning of a frame is far smaller than the buffer.
        read.put_slice(&self.received);
        let before = read.filled().len();
        if ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)).is_err() || read.filled().len() == before {
            return Poll::Ready(false);
        }
        self.serve(read.filled(), cx.waker(), shared, worker, output, turns);
        *turns = turns.saturating_sub(READ_TURNS);
        Poll::Ready(true)
    }

    /// Serves complete frames at the start of `input`; keeps what is left. Exchanges begin behind the last of them.
    fn serve(
        &mut self,
        mut input: &[u8],
        waker: &Waker,
        shared: &mut Shared,
        worker: &Rc<Worker>,
        output: &mut Output<'_>,
        turns: &mut u32,
    ) {
        let now = worker.clock.now_ms();
        let mut scratch = worker.http2.borrow_mut();
        loop {
            self.unserved = output.is_full() || *turns == 0;
            if self.unserved {
                break;
            }
            match self.codec.next(&mut input, &mut scratch, &mut output.frames, now) {
                Ok(Some(event)) => {
                    self.moved = true;
                    let cost = match event {
                        Event::Request { withdrawn: true, .. } => WITHDRAWN_TURNS,
                        Event::Request { .. } | Event::Refused { .. } => 1,
                        _ => 0,
                    };
                    *turns = turns.saturating_sub(cost);
                    let leaving = self.leaving_requests.len();
                    self.on_event(event, waker, shared, worker, output);
                    if self.leaving_requests.len() > leaving {
                        *turns = turns.saturating_sub(LEAVE_TURNS - 1);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    worker.cells.refuse(error.label());
                    self.then = Some(Step::Linger);
                    input = &[];
                    break;
                }
            }
        }
        self.received = input.to_vec();
        if !self.unserved {
            for (channel, job) in std::mem::take(&mut self.leaving_requests) {
                handler::begin_on_a_stream(worker, shared.peer, channel, job);
            }
        }
    }

    fn on_event(
        &mut self,
        event: Event<'_>,
        waker: &Waker,
        shared: &mut Shared,
        worker: &Rc<Worker>,
        output: &mut Output<'_>,
    ) {
        match event {
            Event::Request {
                head, withdrawn: true, ..
            } => handler::withdrawn(shared, &head),
            Event::Request {
                stream,
                head,
                end_stream,
                withdrawn: false,
            } => {
                let mut page = worker.page.borrow_mut();
                page.clear();
                match handler::answer(shared, &head, &mut page) {
                    Answer::Written { block, body, .. } => self.respond(stream, &page, block, body, output),
                    Answer::Leave(job) => {
                        let channel = self.streams.begin_exchange(stream, end_stream, waker);
                        self.leaving_requests.push((channel, job));
                    }
                }
            }
            Event::Refused { stream, error } => {
                worker.cells.refuse(error.label());
                worker.cells.unrouted.add(error.status());
                let mut page = worker.page.borrow_mut();
                page.clear();
                respond::plain(&mut page, worker, error.status(), &error.to_string());
                self.respond(stream, &page, None, Vec::new(), output);
            }
            Event::Data {
                stream,
                bytes,
                end_stream,
            } => {
                let wanted = self.streams.receive(stream, bytes, end_stream);
                if !wanted {
                    self.codec.release(stream, bytes.len(), &mut output.frames);
                }
            }
            // Fields that cannot be in a map were refused by the codec.
            Event::Trailers { stream, fields } => self.streams.end_request(stream, fields.to_map().ok()),
            Event::Reset { stream, .. } => self.streams.abandon(stream, Over::Gone),
            Event::Failed { stream, error } => {
                worker.cells.refuse(error.label());
                self.streams.abandon(stream, Over::Gone);
            }
            // Windows are looked at after each read, and what a client that leaves has opened is finished.
            _ => {}
        }
    }

    /// Answers from memory: `page` is the head, a field block of `block` bytes or in HTTP/1 form, and the beginning of the
    /// body; `body` is the rest.
    fn respond(&mut self, id: StreamId, page: &[u8], block: Option<usize>, body: Vec<Bytes>, output: &mut Output<'_>) {
        let (head, mut start) = match block {
            Some(length) => page.split_at_checked(length).unwrap_or_default(),
            None => split_head(page),
        };
        let no_body = start.is_empty() && body.is_empty();
        let sent = match block {
            Some(_) => self.codec.send_block(id, head, no_body, &mut output.frames),
            None => self.codec.send_head(id, head, no_body, &mut output.frames),
        };
        if sent.is_err() {
            self.codec.send_reset(id, ErrorCode::InternalError, &mut output.frames);
            return;
        }
        if !start.is_empty() {
            let Ok(sent) = self.codec.send_data(id, start, body.is_empty(), &mut output.frames) else {
                return;
            };
            start = start.get(sent.bytes..).unwrap_or_default();
        }
        if !start.is_empty() || !body.is_empty() {
            let start = (!start.is_empty()).then(|| Bytes::copy_from_slice(start));
            let rest = start.into_iter().chain(body);
            self.streams.wait(id, rest, &mut self.codec);
        }
    }

    /// An orderly end, when the worker drains or the client leaves, once all streams are done.
    fn leave(&mut self, worker: &Worker, output: &mut Output<'_>) {
        if worker.draining.get() && self.leaving == Leaving::No {
            self.codec.shutdown(&mut output.frames);
            self.leaving = Leaving::Asked(worker.clock.now_ms());
        }
        if let Leaving::Asked(since) = self.leaving
            && worker.clock.now_ms().saturating_sub(since) >= GRACE_MS
        {
            self.tell(output);
        }
        if self.streams.is_empty() && self.codec.is_drained() {
            match self.leaving {
                // A client that says goodbye closes the connection itself, and may still have a PING to be answered.
                Leaving::No => self.leaving = Leaving::Asked(worker.clock.now_ms()),
                // What was sent may still be on its way, and a client acknowledges what it reads.
                Leaving::Told if self.then.is_none() => self.then = Some(Step::Linger),
                Leaving::Asked(_) | Leaving::Told => {}
            }
        }
    }

    fn tell(&mut self, output: &mut Output<'_>) {
        self.leaving = Leaving::Told;
        self.codec.goaway(ErrorCode::NoError, &mut output.frames);
    }

    fn begun(&self) -> bool {
        !self.received.is_empty() || self.codec.in_header_block()
    }

    /// Nothing is left to do but to wait.
    fn wait(&mut self, cx: &mut Context<'_>, worker: &Worker, deadline: &Deadline) {
        let moved = std::mem::take(&mut self.moved);
        let wait = if self.begun() {
            // Who has requests in progress keeps its place.
            let busy = !self.streams.is_empty();
            Some(if busy { Wait::Frame } else { Wait::Head })
        } else if matches!(self.leaving, Leaving::Asked(_)) {
            Some(Wait::Goodbye)
        } else if self.streams.any_waits() {
            Some(Wait::Send)
        } else if self.streams.is_empty() && self.codec.open_streams() == 0 {
            Some(Wait::Idle)
        } else {
            // A handler works, and has its own deadlines.
            None
        };
        match wait {
            Some(wait) => deadline.wait(wait, moved, worker.clock.now_ms(), cx.waker()),
            None => deadline.clear(),
        }
        self.waits = wait;
    }

    /// The deadline has passed, or somebody else needs the place.
    fn too_late(&mut self, evicted: bool, worker: &Worker, output: &mut Output<'_>) {
        match self.waits.take() {
            Some(Wait::Goodbye) => self.tell(output),
            Some(Wait::Send) => self.streams.look_now(),
            Some(Wait::Head) if evicted => {
                worker.cells.refuse(EVICTED);
                self.close(Step::Close, output);
            }
            Some(Wait::Head | Wait::Frame) => {
                worker.cells.refuse("head_timeout");
                self.close(Step::Linger, output);
            }
            // It was idle when the drain began: it is asked first, too.
            Some(Wait::Idle) if self.leaving != Leaving::No => {}
            // Its place is wanted now.
            _ if evicted => self.close(Step::Close, output),
            _ => self.close(Step::Linger, output),
        }
    }

    fn close(&mut self, step: Step, output: &mut Output<'_>) {
        self.tell(output);
        self.then = Some(step);
    }
}

#[cfg(test)]
mod tests;
