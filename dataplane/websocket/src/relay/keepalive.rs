//! Pings of our own, which find a side that is gone without having said so (RFC 6455 section 5.5.2).
//!
//! A side that has sent nothing for a while is asked; one that then stays silent is dead, and the other side learns of it.
//! Invariants: at most one ping to a side waits for its answer, and that answer goes nowhere; a ping is put in at a frame
//! boundary. While a side does not take what it is sent, nobody is asked: a ping would wait behind the rest, and answers of
//! the other are not read. Then the limits on silence count.

use breakwater_wire::websocket::frame::{PingPayload, ping_frame};

use super::*;

/// How sides are asked whether they are still there. Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence of a side after which it is asked.
    pub interval_ms: u64,
    /// How long it may then stay silent.
    pub timeout_ms: u64,
}

/// What is known of the life of a direction's source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    /// When it last sent something, or took something.
    heard_ms: u64,
    /// When it was asked; 0: no answer is awaited.
    asked_ms: u64,
}

impl Pulse {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            heard_ms: now_ms,
            asked_ms: 0,
        }
    }

    /// It showed that it is there.
    pub(super) fn beats(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// The answer came. How long it took, milliseconds.
    fn answered(&mut self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(std::mem::take(&mut self.asked_ms))
    }

    /// What it was asked with, while that is not answered. Another connection, or another time, has another. There is no
    /// secret in it: a side that answers without having been asked only says that it is there.
    pub(super) fn awaited(&self, number: u32) -> Option<PingPayload> {
        (self.asked_ms != 0).then(|| own_bytes(self.asked_ms, number))
    }

    /// When it is to be asked, or was silent for too long.
    fn due(&self, keepalive: Keepalive) -> (Due, u64) {
        if self.asked_ms != 0 && self.asked_ms >= self.heard_ms {
            (Due::Dead, self.asked_ms.saturating_add(keepalive.timeout_ms))
        } else {
            (Due::Ask, self.heard_ms.saturating_add(keepalive.interval_ms))
        }
    }
}

enum Due {
    Ask,
    Dead,
}

impl<C, B> Relay<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// When a side is to be asked, or is found dead.
    pub(super) fn keepalive_deadline(&self) -> u64 {
        let Some(keepalive) = self.keepalive() else {
            return NEVER;
        };
        let [client, backend] = [&self.from_client, &self.from_backend].map(|flow| flow.pulse.due(keepalive).1);
        client.min(backend)
    }

    /// Asks who was silent for too long, and ends the connection if one stayed silent.
    pub(super) fn check_pulses(&mut self, now: u64) {
        let Some(keepalive) = self.keepalive() else { return };
        for side in [Side::Client, Side::Backend] {
            let (due, at) = self.flow(side).pulse.due(keepalive);
            if now < at {
                continue;
            }
            match due {
                Due::Ask => self.ask(side, now),
                Due::Dead => return self.end_both(Reason::Unresponsive(side), code::GOING_AWAY, now),
            }
        }
    }

    /// How sides of an open connection are asked, while nothing stands in the way of the ping, or of the answer: a side is
    /// not read while the other takes nothing.
    fn keepalive(&self) -> Option<Keepalive> {
        let free = self.from_client.pending().is_empty() && self.from_backend.pending().is_empty();
        self.settings.keepalive.filter(|_| free)
    }

    /// In the middle of a frame it is asked later.
    fn ask(&mut self, side: Side, now: u64) {
        if !self.flow(side.other()).tracker.at_boundary() {
            return;
        }
        let number = self.timer.number();
        let mask = (side == Side::Backend).then(|| self.mask());
        self.flow_mut(side).pulse.asked_ms = now;
        let ping = ping_frame(&own_bytes(now, number), mask);
        self.flow_mut(side.other()).queue_ping(ping.as_bytes());
    }

    /// A side has answered.
    pub(super) fn answered(&mut self, side: Side, now: u64) {
        let took = self.flow_mut(side).pulse.answered(now);
        if let Some(counters) = &self.counters {
            counters.answered(side, took);
        }
    }
}
