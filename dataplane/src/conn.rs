//! A client's connection: a hand-written future, so that an idle one costs a socket and a few words.
//!
//! It owns bytes only while a head is incomplete or output is unsent; everything else lives in the worker's buffers,
//! borrowed within one poll, which answers only so many requests ([`TURNS`]). A request that cannot be answered from memory at once takes the socket along into a boxed
//! exchange, which gives it back when it is done. An established WebSocket takes it for good.

mod begin;
mod http2;
mod open;
#[cfg(test)]
mod testing;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use breakwater_waf::limit::ConnectionGuard;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::handler::{After, Relaying};
use crate::listen::Door;
use crate::telemetry::ListenerCells;
use crate::tls::Proof;
use crate::worker::deadlines::{Deadline, Wait};
use crate::worker::turn::give_way;
use crate::worker::{Counted, Worker};
pub(crate) use begin::begin;
use http2::Http2;
pub(crate) use open::COPY;
use open::{Open, Step};

/// What a connection runs over.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Transport for T {}

/// The longest that what a client still sends is taken in and thrown away before its connection is closed, so that it
/// reads the answer before it learns of the close (RFC 9112 section 9.6), milliseconds. [`Wait::Linger`] without a byte
/// ends it sooner. HTTP/1: the rest of a request's body. HTTP/2: it acknowledges what it reads.
const LONGEST_LINGER_MS: u64 = 10_000;
const LONGEST_LINGER_HTTP2_MS: u64 = 30_000;

/// Reads of that which are made before the worker turns to its other connections.
const LINGER_READS: u32 = 8;

/// Requests of one connection that are answered before the worker turns to its other connections.
const TURNS: u32 = 64;

/// What a connection speaks from its first byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1, unless a client in clear text begins with the preface of HTTP/2 (RFC 9113 section 3.3).
    Http1,
    /// HTTP/2, agreed on by ALPN.
    Http2,
    /// HTTP/1 of another node, which has proved that it is one.
    Peer,
}

/// A client's connection.
pub(crate) struct Connection<S> {
    state: State<S>,
    deadline: Deadline,
    shared: Shared,
}

/// What a connection keeps from one request to the next.
pub(crate) struct Shared {
    pub(crate) worker: Rc<Worker>,
    /// The client, or the last proxy before us that speaks HTTP.
    pub(crate) peer: IpAddr,
    /// What the TLS handshake proved; none is clear text.
    pub(crate) proof: Option<Proof>,
    counted: Counted,
    pub(crate) door: Door,
    /// The next byte is the first, in clear text: an HTTP/2 preface may come (RFC 9113 section 3.3).
    pub(crate) at_start: bool,
    /// Its places in the connection limits of policies, once one counted it.
    pub(crate) guard: Option<Box<ConnectionGuard>>,
}

enum State<S> {
    /// Between requests, within a head, or sending what was answered from memory.
    Open(Open<S>),
    Http2(Box<Http2<S>>),
    /// A request is with a handler.
    Exchange(Pin<Box<dyn Future<Output = After<S>>>>),
    /// A WebSocket.
    Relay(Pin<Box<Relaying<S>>>),
    /// The answer is sent, the client may not be done sending.
    Lingering {
        stream: S,
        until_ms: u64,
        shut: bool,
    },
    Closed,
}

impl Shared {
    /// Counts something of the listener's connections.
    fn count(&self, count: impl FnOnce(&ListenerCells)) {
        if let Some(cells) = self.worker.cells.listener(self.door) {
            count(cells);
        }
    }
}

impl<S: Transport> Connection<S> {
    /// Takes over an accepted socket that [`Worker::admit`] counted in.
    pub(crate) fn new(
        worker: Rc<Worker>,
        stream: S,
        peer: IpAddr,
        (counted, door): (Counted, Door),
        proof: Option<Proof>,
        protocol: Protocol,
    ) -> Self {
        Self {
            state: match protocol {
                Protocol::Http1 | Protocol::Peer => State::Open(Open::new(stream, Vec::new())),
                Protocol::Http2 => State::Http2(Box::new(Http2::new(stream, Vec::new()))),
            },
            deadline: Deadline::new(&worker.deadlines),
            shared: Shared {
                worker,
                peer,
                at_start: proof.is_none() && protocol == Protocol::Http1,
                proof,
                counted,
                door,
                guard: None,
            },
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>, turns: &mut u32) -> Poll<()> {
        let State::Open(open) = &mut self.state else {
            return Poll::Ready(());
        };
        let step = ready!(open.poll(cx, &mut self.shared, &self.deadline, turns));
        self.deadline.clear();
        let State::Open(open) = std::mem::replace(&mut self.state, State::Closed) else {
            return Poll::Ready(());
        };
        match step {
            Step::Close => self.close(open.into_stream(), cx),
            Step::Linger => self.linger(open.into_stream(), LONGEST_LINGER_MS),
            Step::Http2 => {
                let (stream, received) = open.into_parts();
                self.state = State::Http2(Box::new(Http2::new(stream, received)));
            }
            Step::Leave(job) => {
                let (stream, received) = open.into_parts();
                self.shared.count(|cells| cells.active.add(1));
                self.state = State::Exchange(crate::handler::exchange(&self.shared, *job, stream, received));
            }
        }
        Poll::Ready(())
    }

    fn poll_http2(&mut self, cx: &mut Context<'_>, turns: &mut u32) -> Poll<()> {
        let State::Http2(http2) = &mut self.state else {
            return Poll::Ready(());
        };
        let was_active = http2.is_active();
        let step = http2.poll(cx, &mut self.shared, &self.deadline, turns);
        if step.is_ready() {
            http2.abandon(&self.shared.worker);
        }
        match (was_active, http2.is_active()) {
            (false, true) => self.shared.count(|cells| cells.active.add(1)),
            (true, false) => self.shared.count(|cells| cells.active.sub(1)),
            _ => {}
        }
        let step = ready!(step);
        self.deadline.clear();
        let State::Http2(http2) = std::mem::replace(&mut self.state, State::Closed) else {
            return Poll::Ready(());
        };
        match step {
            http2::Step::Close => self.close(http2.into_stream(), cx),
            http2::Step::Linger => self.linger(http2.into_stream(), LONGEST_LINGER_HTTP2_MS),
        }
        Poll::Ready(())
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Exchange(exchange) = &mut self.state else {
            return Poll::Ready(());
        };
        let after = ready!(exchange.as_mut().poll(cx));
        self.shared.count(|cells| cells.active.sub(1));
        self.state = State::Closed;
        match after {
            After::Next { stream, received } => self.state = State::Open(Open::new(stream, received)),
            After::Relay(relaying) => {
                self.shared.count(|cells| cells.websockets.add(1));
                self.state = State::Relay(relaying);
            }
            After::Linger(stream) => self.linger(stream, LONGEST_LINGER_MS),
            After::Close => {}
        }
        Poll::Ready(())
    }

    fn close(&self, mut stream: S, cx: &mut Context<'_>) {
        if self.shared.proof.is_some() {
            // A client that is told can tell the end from a cut (RFC 8446 section 6.1). It is not waited for.
            let _ = Pin::new(&mut stream).poll_shutdown(cx);
        }
    }

    fn linger(&mut self, stream: S, longest_ms: u64) {
        self.state = State::Lingering {
            stream,
            until_ms: self.shared.worker.clock.now_ms() + longest_ms,
            shut: false,
        };
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let worker = Rc::clone(&self.shared.worker);
        let now = worker.clock.now_ms();
        let State::Lingering { stream, until_ms, shut } = &mut self.state else {
            return Poll::Ready(());
        };
        // Asked first: to wait again would be to begin again.
        if self.deadline.expired() || now >= *until_ms {
            return Poll::Ready(());
        }
        self.deadline.wait(Wait::Linger, false, now, cx.waker());
        if !*shut {
            if ready!(Pin::new(&mut *stream).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            *shut = true;
        }
        let mut buffer = worker.read.borrow_mut();
        for _ in 0..LINGER_READS {
            let mut read = ReadBuf::new(&mut buffer);
            let failed = ready!(Pin::new(&mut *stream).poll_read(cx, &mut read)).is_err();
            if failed || read.filled().is_empty() {
                return Poll::Ready(());
            }
            // It is still there, and takes what it was sent.
            self.deadline.wait(Wait::Linger, true, now, cx.waker());
        }
        give_way(cx);
        Poll::Pending
    }
}

impl<S: Transport> Future for Connection<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.shared.worker.clock.refresh();
        let mut turns = TURNS;
        loop {
            match &mut this.state {
                State::Open(_) => ready!(this.poll_open(cx, &mut turns)),
                State::Http2(_) => ready!(this.poll_http2(cx, &mut turns)),
                State::Exchange(_) => {
                    ready!(this.poll_exchange(cx));
                    turns = turns.saturating_sub(1);
                }
                State::Relay(relaying) => {
                    ready!(relaying.as_mut().poll(cx));
                    this.shared.count(|cells| cells.websockets.sub(1));
                    this.state = State::Closed;
                }
                State::Lingering { .. } => {
                    ready!(this.poll_linger(cx));
                    this.state = State::Closed;
                }
                State::Closed => return Poll::Ready(()),
            }
        }
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        match &mut self.state {
            State::Http2(http2) => {
                if http2.is_active() {
                    self.shared.count(|cells| cells.active.sub(1));
                }
                http2.abandon(&self.shared.worker);
            }
            State::Exchange(_) => self.shared.count(|cells| cells.active.sub(1)),
            State::Relay(_) => self.shared.count(|cells| cells.websockets.sub(1)),
            _ => {}
        }
        self.shared.worker.uncount(self.shared.peer, self.shared.counted);
        self.shared.worker.leave(self.shared.door);
    }
}

#[cfg(test)]
mod tests {
    use breakwater_wire::http2::PREFACE;

    use super::testing::{ByHand, frame, frames};
    use super::*;

    /// How many answers came with each poll of a connection whose client sent `bytes`, until it is not woken by itself any
    /// more. `answers` counts them in what came.
    fn answers_of_polls(bytes: &[u8], answers: impl Fn(&[u8]) -> usize) -> Vec<usize> {
        let mut connection = ByHand::new();
        connection.send(bytes);
        let (mut polls, mut seen) = (Vec::new(), 0);
        loop {
            let again = connection.poll();
            let now = answers(&connection.received);
            polls.push(now - seen);
            seen = now;
            if !again {
                return polls;
            }
        }
    }

    #[test]
    fn others_have_their_turn_after_so_many_pipelined_requests() {
        let requests = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(150);
        let heads = |bytes: &[u8]| memchr::memmem::find_iter(bytes, b"HTTP/1.1 404 ").count();
        assert_eq!(answers_of_polls(&requests, heads), [64, 64, 22]);
    }

    #[test]
    fn others_have_their_turn_after_so_many_requests_over_http2() {
        // GET, http, / are in the static table; the authority is a literal.
        let block = [b"\x82\x86\x84\x01\x06", &b"a.test"[..]].concat();
        let mut bytes = [&PREFACE[..], &frame(4, 0, 0, &[])].concat();
        for n in 0..150 {
            bytes.extend(frame(1, 5, 2 * n + 1, &block));
        }
        let ended = |bytes: &[u8]| {
            frames(bytes)
                .filter(|frame| frame.kind < 2 && frame.flags & 1 != 0)
                .count()
        };
        let polls = answers_of_polls(&bytes, ended);
        assert_eq!(polls.iter().sum::<usize>(), 150);
        assert!(polls.iter().all(|answers| *answers <= 64), "{polls:?}");
    }

    #[test]
    fn others_have_their_turn_after_a_few_requests_that_were_taken_back_at_once() {
        let mut connection = ByHand::new();
        connection.send(&[&PREFACE[..], &frame(4, 0, 0, &[])].concat());
        for n in 0..40 {
            connection.send(&frame(1, 5, 2 * n + 1, b"\x82\x86\x84\x01\x06a.test"));
            connection.send(&frame(3, 0, 2 * n + 1, &8_u32.to_be_bytes()));
        }
        let mut polls = Vec::new();
        loop {
            let again = connection.poll();
            let all: u64 = connection.worker.cells.unrouted.seen().map(|(_, n)| n).sum();
            polls.push(all - polls.iter().sum::<u64>());
            if !again {
                break;
            }
        }
        assert_eq!(polls, [8, 8, 8, 8, 8, 0]);
        let answered = frames(&connection.received).filter(|frame| frame.kind < 2).count();
        assert_eq!(answered, 0);
    }

    /// With the task around it, it fits an allocation of 256 bytes; the registration with the reactor is another. So an
    /// idle connection stays within the 0.75 KiB of the memory budget (docs/architecture.md).
    #[test]
    fn an_idle_connection_is_small() {
        let size = size_of::<Connection<tokio::net::TcpStream>>();
        assert!(size <= 112, "a connection has grown to {size} bytes");
    }
}
