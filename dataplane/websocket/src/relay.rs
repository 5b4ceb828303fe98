//! The relay: one future that owns both sockets.
//!
//! Each direction is a [`Flow`]: what its tracker knows, what the sink has not taken yet, and a [`Mode`] that says
//! whether frames are passed on, passed on to the next boundary, or only looked at. Invariants:
//! - a side is read only when the other has taken everything, so that a direction holds at most one buffer's
//!   content and a close frame;
//! - what a side receives are whole, checked frames, and at most one close frame, which is the last of them;
//! - once the end has begun it is over after [`Settings::close_ms`], whatever the sides do.
//!
//! `poll_read` is used and not `readable` with `try_read`: it alone notes that a short read has emptied the
//! socket, which halves the system calls. Nothing here knows what a message says.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use breakwater_wire::websocket::code;
use breakwater_wire::websocket::frame::{Rules, Sender, Stop, Until};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::rate::Rate;
use crate::timers::{NEVER, Timer};
use crate::{Cause, Closed, Counters, Drain, Reason, Settings, Worker};

mod flow;
mod keepalive;
mod pump;
mod side;

use flow::{Flow, Mode};
pub use keepalive::Keepalive;
pub use side::Side;

/// How often both directions are served before other tasks get their turn.
const ROUNDS: u32 = 16;

/// How long a side that broke a rule still gets what the other had to say before it gets its close frame: the time
/// in which the other answers the close frame it got at once.
const GRACE_MS: u64 = 1_000;

/// What a relay needs besides its sockets.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    worker: &'a Worker,
    settings: &'a Rc<Settings>,
    drain: &'a Drain,
    counters: Option<&'a Arc<Counters>>,
    compression: bool,
    early_client: &'a [u8],
    early_backend: &'a [u8],
}

impl<'a> Session<'a> {
    /// A session without compression, counters or early bytes.
    #[must_use]
    pub fn new(worker: &'a Worker, settings: &'a Rc<Settings>, drain: &'a Drain) -> Self {
        Self {
            worker,
            settings,
            drain,
            counters: None,
            compression: false,
            early_client: &[],
            early_backend: &[],
        }
    }

    /// Adds to these while the connection is open.
    #[must_use]
    pub fn counters(mut self, counters: &'a Arc<Counters>) -> Self {
        self.counters = Some(counters);
        self
    }

    /// Whether permessage-deflate was agreed on.
    #[must_use]
    pub fn compression(mut self, agreed: bool) -> Self {
        self.compression = agreed;
        self
    }

    /// What was read from this side beyond its half of the handshake: frames that came in the same packet. The
    /// caller's read buffer bounds it.
    #[must_use]
    pub fn early(mut self, from: Side, bytes: &'a [u8]) -> Self {
        match from {
            Side::Client => self.early_client = bytes,
            Side::Backend => self.early_backend = bytes,
        }
        self
    }
}

/// Relays between a client and a backend until both are done; resolves to how it ended. Drop it to cut both off.
///
/// With two `TcpStream`s it takes 392 bytes; while idle it owns no heap memory.
#[derive(Debug)]
#[must_use = "a relay does nothing unless it is polled"]
pub struct Relay<C, B> {
    client: C,
    backend: B,
    from_client: Flow,
    from_backend: Flow,
    worker: Worker,
    settings: Rc<Settings>,
    drain: Drain,
    counters: Option<Arc<Counters>>,
    timer: Timer,
    rate: Rate,
    opened_ms: u64,
    ending: Option<Ending>,
    compression: bool,
}

/// The end has begun.
#[derive(Clone, Copy, Debug)]
struct Ending {
    reason: Reason,
    code: Option<u16>,
    /// Since when; after half a stream has ended, since when nothing has moved.
    since_ms: u64,
}

/// What became of the beginning of some input.
struct Judged {
    /// How much of it may be sent on.
    forward: usize,
    /// Then put in a close frame with this code.
    close: Option<u16>,
    /// Behind what is sent on are so many bytes that are for nobody else, and then more to judge. 0: there is nothing more.
    skip: usize,
}

impl<C, B> Relay<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// A relay between sockets on which the handshake is complete: the backend's 101 was checked and written to
    /// the client.
    pub fn new(client: C, backend: B, session: Session<'_>) -> Self {
        let worker = session.worker.clone();
        let now = worker.now_ms();
        let mut relay = Self {
            client,
            backend,
            from_client: Flow::new(now),
            from_backend: Flow::new(now),
            settings: Rc::clone(session.settings),
            drain: session.drain.clone(),
            counters: session.counters.cloned(),
            timer: worker.wheel().timer(),
            rate: Rate::default(),
            opened_ms: now,
            ending: None,
            compression: session.compression,
            worker,
        };
        for (from, early) in [
            (Side::Client, session.early_client),
            (Side::Backend, session.early_backend),
        ] {
            if !early.is_empty() {
                let judged = relay.judge(from, early, now);
                relay
                    .flow_mut(from)
                    .queue(early.get(..judged.forward).unwrap_or_default());
                relay.close_after(from, judged.close);
            }
        }
        relay
    }

    /// The latest moment at which it must be polled again, in milliseconds of the worker's clock; it sees to that
    /// itself by its entry in the worker's [`Wheel`](crate::Wheel).
    #[must_use]
    pub fn deadline(&self) -> u64 {
        let Some(ending) = self.ending else {
            let ends = self.open_deadlines().map(|(at, _, _)| at);
            return ends.into_iter().fold(self.keepalive_deadline(), u64::min);
        };
        let waits = [&self.from_client, &self.from_backend]
            .iter()
            .any(|flow| matches!(flow.mode, Mode::Await(_)));
        ending.since_ms + if waits { self.grace_ms() } else { self.settings.close_ms }
    }

    /// When an open connection ends by itself, why, and with which code.
    fn open_deadlines(&self) -> [(u64, Reason, u16); 5] {
        let (client, backend) = (self.from_client.active_ms, self.from_backend.active_ms);
        let after = |since: u64, limit: Option<u64>| limit.map_or(NEVER, |limit| since.saturating_add(limit));
        let (cause, drain_at) = self
            .drain
            .moment(self.timer.number())
            .unwrap_or((Cause::Shutdown, NEVER));
        [
            (drain_at, Reason::Drain(cause), cause.code()),
            (
                after(self.opened_ms, self.settings.lifetime_ms),
                Reason::Lifetime,
                code::NORMAL,
            ),
            (
                after(client.max(backend), self.settings.idle_ms),
                Reason::Idle,
                code::GOING_AWAY,
            ),
            (
                after(client, self.settings.client_idle_ms),
                Reason::Idle,
                code::GOING_AWAY,
            ),
            (
                after(backend, self.settings.backend_idle_ms),
                Reason::Idle,
                code::GOING_AWAY,
            ),
        ]
    }

    fn grace_ms(&self) -> u64 {
        GRACE_MS.min(self.settings.close_ms / 2)
    }

    /// Begins the end if its time has come, and hurries it on if it takes too long.
    fn check_time(&mut self, now: u64) {
        if let Some(ending) = self.ending {
            if now >= ending.since_ms + self.grace_ms() {
                for from in [Side::Client, Side::Backend] {
                    if let Mode::Await(code) = self.flow(from).mode {
                        self.close_at_boundary(from, code);
                    }
                }
            }
            return;
        }
        let due = self.open_deadlines().into_iter().find(|(at, _, _)| now >= *at);
        if let Some((_, reason, code)) = due {
            self.end_both(reason, code, now);
        } else {
            self.check_pulses(now);
        }
    }

    /// Begins the end with the same close frame for both sides.
    fn end_both(&mut self, reason: Reason, code: u16, now: u64) {
        self.end(reason, Some(code), now);
        self.close_at_boundary(Side::Client, code);
        self.close_at_boundary(Side::Backend, code);
    }

    fn end(&mut self, reason: Reason, code: Option<u16>, now: u64) {
        self.ending.get_or_insert(Ending {
            reason,
            code,
            since_ms: now,
        });
    }

    /// Passes frames from this side on to the next boundary, then puts in a close frame.
    fn close_at_boundary(&mut self, from: Side, code: u16) {
        let flow = self.flow_mut(from);
        if !flow.mode.passes() {
            return;
        }
        flow.mode = Mode::Finish(code);
        if flow.tracker.at_boundary() {
            flow.mode = Mode::Discard;
            self.close_after(from, Some(code));
        }
    }

    /// Follows `input` (what this side's flow held, and what was read after it) and decides what becomes of it. What
    /// is the beginning of a header is held.
    fn judge(&mut self, from: Side, input: &[u8], now: u64) -> Judged {
        let rules = self.rules(from);
        let allowance = self.settings.allowance(from);
        let mut judged = Judged {
            forward: 0,
            close: None,
            skip: 0,
        };
        let all = Until {
            answer: self.flow(from).pulse.awaited(self.timer.number()),
            ..Until::END
        };
        let mut at = 0;
        loop {
            let mode = self.flow(from).mode;
            let until = match mode {
                Mode::Relay => Until {
                    charge: allowance.map_or(u32::MAX, |allowance| self.rate.available(allowance, now)),
                    ..all
                },
                Mode::Await(_) => Until {
                    before_close: true,
                    ..all
                },
                Mode::Finish(_) => Until { boundary: true, ..all },
                Mode::Discard => all,
                Mode::Drop | Mode::Ended => return judged,
            };
            let rest = input.get(at..).unwrap_or_default();
            let fed = self.flow_mut(from).tracker.feed(&rules, rest, until);
            at += fed.consumed;
            if mode.passes() {
                judged.forward = at;
                self.count(from, fed.messages, fed.consumed);
                if let Some(allowance) = allowance {
                    self.rate.take(allowance, now, fed.charged);
                }
            }
            match (fed.stop, mode) {
                (Stop::More, _) => {
                    self.flow_mut(from).hold(input.get(at..).unwrap_or_default());
                    return judged;
                }
                (Stop::Answer(size), _) => {
                    self.answered(from, now);
                    judged.skip = size;
                    return judged;
                }
                (Stop::Boundary, Mode::Finish(code)) | (Stop::BeforeClose, Mode::Await(code)) => {
                    judged.close = Some(code);
                    self.flow_mut(from).mode = Mode::Discard;
                }
                (Stop::Closed, _) => {
                    if mode.passes() {
                        self.end(Reason::Closed(from), self.flow(from).tracker.close_code(), now);
                    }
                    self.flow_mut(from).mode = Mode::Drop;
                }
                (Stop::Violation(violation), _) if mode.passes() => {
                    judged.close = Some(self.refuse(from, Reason::Violation(from, violation), now));
                }
                (Stop::Charge, _) if mode.passes() => {
                    judged.close = Some(self.refuse(from, Reason::Rate, now));
                }
                _ => self.flow_mut(from).mode = Mode::Drop,
            }
        }
    }

    /// Ends the connection because of what this side sent. The other side gets its close frame at once (the code is
    /// the result); this side gets its own after what the other still had to say.
    fn refuse(&mut self, from: Side, reason: Reason, now: u64) -> u16 {
        let own = match reason {
            Reason::Violation(_, violation) => violation.close_code(),
            _ => code::POLICY_VIOLATION,
        };
        self.end(reason, Some(own), now);
        let others = match (self.flow(from).mode, from) {
            (Mode::Finish(code) | Mode::Await(code), _) => code,
            // What a client does is not its backend's to answer for: to the backend, the client leaves.
            (_, Side::Client) => code::GOING_AWAY,
            (_, Side::Backend) => code::INTERNAL_ERROR,
        };
        self.flow_mut(from).mode = Mode::Drop;
        let back = self.flow_mut(from.other());
        match back.mode {
            Mode::Relay => back.mode = Mode::Await(own),
            Mode::Ended if back.tracker.at_boundary() => self.close_after(from.other(), Some(own)),
            _ => {}
        }
        others
    }

    fn rules(&self, from: Side) -> Rules {
        let sizes = self.settings.sizes(from);
        let sender = match from {
            Side::Client => Sender::Client,
            Side::Backend => Sender::Server,
        };
        Rules {
            sender,
            compression: self.compression,
            max_frame: sizes.max_frame,
            max_message: sizes.max_message,
        }
    }

    fn count(&mut self, from: Side, messages: u32, bytes: usize) {
        let flow = self.flow_mut(from);
        flow.messages += u64::from(messages);
        flow.bytes += bytes as u64;
        if let Some(counters) = &self.counters {
            counters.add(from, messages, bytes);
        }
    }

    fn flow(&self, from: Side) -> &Flow {
        match from {
            Side::Client => &self.from_client,
            Side::Backend => &self.from_backend,
        }
    }

    fn flow_mut(&mut self, from: Side) -> &mut Flow {
        match from {
            Side::Client => &mut self.from_client,
            Side::Backend => &mut self.from_backend,
        }
    }

    fn is_done(&self, now: u64) -> bool {
        let quiet = |flow: &Flow| flow.mode == Mode::Ended && (flow.shut || flow.broken);
        (quiet(&self.from_client) && quiet(&self.from_backend))
            || self
                .ending
                .is_some_and(|ending| now >= ending.since_ms + self.settings.close_ms)
    }

    fn closed(&self, now: u64) -> Closed {
        let (reason, code) = self
            .ending
            .map_or((Reason::Eof(Side::Client), None), |end| (end.reason, end.code));
        self.left_behind(reason, code, now)
    }
}

impl<C, B> Relay<C, B> {
    /// What it leaves behind if it is dropped now.
    #[must_use]
    pub fn cut(&self) -> Closed {
        self.left_behind(Reason::Cut, None, self.worker.now_ms())
    }

    fn left_behind(&self, reason: Reason, code: Option<u16>, now: u64) -> Closed {
        Closed {
            reason,
            code,
            messages_in: self.from_client.messages,
            messages_out: self.from_backend.messages,
            bytes_in: self.from_client.bytes,
            bytes_out: self.from_backend.bytes,
            duration_ms: now.saturating_sub(self.opened_ms),
        }
    }
}

/// Wakes the task of `context` when the sockets of the runtime were looked at, behind the tasks that this woke. A task that
/// wakes itself is polled before that, and a few busy relays would keep everybody else waiting.
fn give_way(context: &mut Context<'_>) {
    // Its first poll asks the runtime for just that; the future itself is not needed any more.
    let _pending = pin!(tokio::task::yield_now()).poll(context);
}

/// The mask or the payload of a frame of our own, by its time and the connection's number: what is asked for later need
/// not be kept.
fn own_bytes(at_ms: u64, number: u32) -> [u8; 4] {
    (at_ms as u32)
        .wrapping_mul(0x9E37_79B9)
        .wrapping_add(number)
        .to_be_bytes()
}

impl<C, B> Future for Relay<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Closed;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Closed> {
        let relay = self.get_mut();
        let worker = relay.worker.clone();
        let now = worker.now_ms();
        let Some(mut buffer) = worker.buffer().borrow() else {
            // Whoever holds the buffer gives it back before other tasks run.
            context.waker().wake_by_ref();
            return Poll::Pending;
        };
        relay.check_time(now);
        let mut rounds = 0;
        loop {
            let client = relay.pump(context, Side::Client, &mut buffer, now);
            let backend = relay.pump(context, Side::Backend, &mut buffer, now);
            if !client && !backend {
                break;
            }
            rounds += 1;
            if rounds == ROUNDS {
                give_way(context);
                break;
            }
        }
        if relay.is_done(now) {
            return Poll::Ready(relay.closed(now));
        }
        relay.timer.set(relay.deadline(), context.waker());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
