//! The relay's sockets: what is read, written, flushed and shut down, and when.
//!
//! Invariant: every `Pending` met here has left a waker with the socket, and everything that could still move is
//! tried again in the same poll; so a relay that returns `Pending` is woken by whatever can move it on.

use std::io;

use breakwater_wire::websocket::frame::close_frame;
use tokio::io::ReadBuf;

use super::*;

/// What a write attempt came to.
enum Written {
    All,
    Some(usize),
    Failed,
}

impl<C, B> Relay<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// Moves on the flow from this side. True if it should be tried again.
    pub(super) fn pump(&mut self, context: &mut Context<'_>, from: Side, buffer: &mut [u8], now: u64) -> bool {
        let moved = self.drain_pending(context, from, now);
        let blocked = self.flow(from).mode.passes() && !self.flow(from).pending().is_empty();
        if blocked || self.flow(from).mode == Mode::Ended {
            return self.finish_sink(context, from) || moved;
        }
        let held = self.flow_mut(from).unhold(buffer);
        let mut free = ReadBuf::new(buffer.get_mut(held..).unwrap_or_default());
        let read = match self.poll_read(context, from, &mut free) {
            Poll::Pending => return self.finish_sink(context, from) || moved,
            Poll::Ready(Err(_)) => {
                self.source_failed(from, now);
                return true;
            }
            Poll::Ready(Ok(())) => free.filled().len(),
        };
        if read == 0 {
            self.source_ended(from, now);
            return true;
        }
        self.flow_mut(from).forget_held();
        self.flow_mut(from).pulse.beats(now);
        let mut input = buffer.get(..held + read).unwrap_or_default();
        loop {
            let judged = self.judge(from, input, now);
            let forward = input.get(..judged.forward).unwrap_or_default();
            if judged.skip != input.len() {
                self.touch(from, now);
            }
            self.send(context, from, forward, now);
            self.close_after(from, judged.close);
            input = input.get(judged.forward + judged.skip..).unwrap_or_default();
            if judged.skip == 0 || input.is_empty() {
                break;
            }
        }
        self.finish_sink(context, from);
        true
    }

    /// Queues a close frame behind what the sink of this flow was sent.
    pub(super) fn close_after(&mut self, from: Side, code: Option<u16>) {
        let Some(code) = code else { return };
        let mask = (from == Side::Client).then(|| self.mask());
        let reason = self.ending.map(|ending| ending.reason.to_string()).unwrap_or_default();
        self.flow_mut(from).queue(close_frame(code, &reason, mask).as_bytes());
    }

    /// Of a frame of our own towards the backend. Foreseeable, but so is the payload: there is nothing in it that an
    /// attacker has chosen (RFC 6455 section 10.3).
    pub(super) fn mask(&self) -> [u8; 4] {
        own_bytes(self.worker.now_ms(), self.timer.number())
    }

    /// Something moved. Half a connection may stay as long as things move, the route is there, and its life lasts.
    fn touch(&mut self, from: Side, now: u64) {
        let flow = self.flow_mut(from);
        flow.active_ms = now;
        let passes = flow.mode.passes();
        let lasts = self
            .settings
            .lifetime_ms
            .is_none_or(|limit| now < self.opened_ms.saturating_add(limit));
        if let Some(Ending {
            reason: Reason::Eof(_),
            since_ms,
            ..
        }) = &mut self.ending
            && passes
            && lasts
            && self.drain.cause().is_none()
        {
            *since_ms = now;
        }
    }

    /// Writes at once what can be written, and queues the rest.
    fn send(&mut self, context: &mut Context<'_>, from: Side, bytes: &[u8], now: u64) {
        if bytes.is_empty() || self.flow(from).broken {
            return;
        }
        if !self.flow(from).pending().is_empty() {
            return self.flow_mut(from).queue(bytes);
        }
        match self.write(context, from, bytes) {
            Written::All => {}
            Written::Some(count) => self.flow_mut(from).queue(bytes.get(count..).unwrap_or_default()),
            Written::Failed => return self.sink_failed(from, now),
        }
        self.flow_mut(from).unflushed = true;
    }

    /// Writes what is pending. True if the flow is no longer blocked, or failed.
    fn drain_pending(&mut self, context: &mut Context<'_>, from: Side, now: u64) -> bool {
        if self.flow(from).pending().is_empty() {
            return false;
        }
        // Taken out, so that the socket can be borrowed beside it.
        let (pending, taken) = self.flow_mut(from).lend();
        let written = self.write(context, from, pending.get(taken..).unwrap_or_default());
        self.flow_mut(from).give_back(pending);
        let count = match written {
            Written::All => self.flow(from).pending().len(),
            Written::Some(count) => count,
            Written::Failed => {
                self.sink_failed(from, now);
                return true;
            }
        };
        if count > 0 {
            // One shows that it is there, and of the other nothing could be heard until now.
            self.from_client.pulse.beats(now);
            self.from_backend.pulse.beats(now);
            let flow = self.flow_mut(from);
            flow.unflushed = true;
            if flow.take(count) {
                self.touch(from, now);
            }
        }
        self.flow(from).pending().is_empty()
    }

    /// Flushes the sink of this flow, and shuts it down once nothing more will be sent. True if it was shut down.
    fn finish_sink(&mut self, context: &mut Context<'_>, from: Side) -> bool {
        let flow = self.flow(from);
        if flow.shut || flow.broken || !flow.pending().is_empty() {
            return false;
        }
        if flow.unflushed {
            match self.poll_flush(context, from) {
                Poll::Ready(Ok(())) => self.flow_mut(from).unflushed = false,
                Poll::Ready(Err(_)) => {
                    self.sink_failed(from, self.worker.now_ms());
                    return true;
                }
                Poll::Pending => return false,
            }
        }
        let (mode, back) = (self.flow(from).mode, self.flow(from.other()).mode);
        // A stream that has ended is ended towards the sink too. After close frames, the sink is let go when it has
        // answered with its own.
        let last = mode == Mode::Ended || (matches!(mode, Mode::Drop | Mode::Discard) && back.is_over());
        if !last {
            return false;
        }
        match self.poll_shutdown(context, from) {
            Poll::Ready(Ok(())) => self.flow_mut(from).shut = true,
            Poll::Ready(Err(_)) => self.flow_mut(from).broken = true,
            Poll::Pending => return false,
        }
        true
    }

    fn source_ended(&mut self, from: Side, now: u64) {
        let flow = self.flow_mut(from);
        let mode = std::mem::replace(&mut flow.mode, Mode::Ended);
        let boundary = flow.tracker.at_boundary();
        match mode {
            Mode::Await(code) | Mode::Finish(code) if boundary => self.close_after(from, Some(code)),
            _ => self.end(Reason::Eof(from), None, now),
        }
    }

    fn source_failed(&mut self, from: Side, now: u64) {
        self.end(Reason::Reset(from), None, now);
        self.source_ended(from, now);
        self.flow_mut(from.other()).break_off();
    }

    /// The sink of this flow takes nothing any more; it may still have something to say.
    fn sink_failed(&mut self, from: Side, now: u64) {
        self.end(Reason::Reset(from.other()), None, now);
        self.flow_mut(from).break_off();
    }

    fn write(&mut self, context: &mut Context<'_>, from: Side, bytes: &[u8]) -> Written {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.poll_write(context, from, rest) {
                Poll::Ready(Ok(0) | Err(_)) => return Written::Failed,
                Poll::Ready(Ok(count)) => written += count,
                Poll::Pending => return Written::Some(written),
            }
        }
        Written::All
    }

    fn poll_read(&mut self, context: &mut Context<'_>, from: Side, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match from {
            Side::Client => Pin::new(&mut self.client).poll_read(context, buffer),
            Side::Backend => Pin::new(&mut self.backend).poll_read(context, buffer),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, from: Side, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match from {
            Side::Client => Pin::new(&mut self.backend).poll_write(context, bytes),
            Side::Backend => Pin::new(&mut self.client).poll_write(context, bytes),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>, from: Side) -> Poll<io::Result<()>> {
        match from {
            Side::Client => Pin::new(&mut self.backend).poll_flush(context),
            Side::Backend => Pin::new(&mut self.client).poll_flush(context),
        }
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>, from: Side) -> Poll<io::Result<()>> {
        match from {
            Side::Client => Pin::new(&mut self.backend).poll_shutdown(context),
            Side::Backend => Pin::new(&mut self.client).poll_shutdown(context),
        }
    }
}
