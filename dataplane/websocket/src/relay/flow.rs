//! One direction of a relay: from a source to a sink.
//!
//! Invariant: `pending` is empty, and owns nothing, whenever the sink has taken everything. What the modes mean for
//! the sockets is [`super::pump`]'s.

use breakwater_wire::websocket::frame::{FrameTracker, MAX_HELD};

use super::keepalive::Pulse;

/// What becomes of the source's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are passed on.
    Relay,
    /// They are passed on until the source sends a close frame, in whose place the sink gets one with this code.
    Await(u16),
    /// They are passed on to the next boundary; there the sink gets a close frame with this code.
    Finish(u16),
    /// They are followed, to see the source's close frame, but not passed on: the sink has got its own.
    Discard,
    /// Nothing more is expected: what comes is not looked at.
    Drop,
    /// The source's stream has ended.
    Ended,
}

impl Mode {
    pub(super) fn passes(self) -> bool {
        matches!(self, Self::Relay | Self::Await(_) | Self::Finish(_))
    }

    /// Nothing is expected of the source any more.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Drop | Self::Ended)
    }
}

/// A direction.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) tracker: FrameTracker,
    /// What the sink has not taken.
    pending: Vec<u8>,
    /// How much of `pending` it has taken since.
    taken: u32,
    /// How much at the beginning of `pending` is a ping of our own.
    own: u8,
    /// The beginning of a header.
    held: [u8; MAX_HELD],
    held_length: u8,
    pub(super) mode: Mode,
    /// The sink must still be flushed.
    pub(super) unflushed: bool,
    /// The sink's write half was shut down.
    pub(super) shut: bool,
    /// The sink takes nothing any more.
    pub(super) broken: bool,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// When the source last sent, or the sink took, something but our pings and their answers.
    pub(super) active_ms: u64,
    /// Whether the source is still there.
    pub(super) pulse: Pulse,
}

impl Flow {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            tracker: FrameTracker::new(),
            pending: Vec::new(),
            taken: 0,
            own: 0,
            held: [0; MAX_HELD],
            held_length: 0,
            mode: Mode::Relay,
            unflushed: false,
            shut: false,
            broken: false,
            messages: 0,
            bytes: 0,
            active_ms: now_ms,
            pulse: Pulse::new(now_ms),
        }
    }

    /// What the sink has not taken yet.
    pub(super) fn pending(&self) -> &[u8] {
        self.pending.get(self.taken as usize..).unwrap_or_default()
    }

    /// Keeps bytes for the sink, unless it takes none any more.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        if !self.broken && !self.shut && !bytes.is_empty() {
            self.pending.reserve_exact(bytes.len());
            self.pending.extend_from_slice(bytes);
        }
    }

    /// Keeps a ping of our own for the sink, which has taken all else.
    pub(super) fn queue_ping(&mut self, ping: &[u8]) {
        self.queue(ping);
        self.own = self.pending().len() as u8;
    }

    /// The sink has taken this many of the pending bytes. False: of a ping of our own and of nothing else.
    pub(super) fn take(&mut self, count: usize) -> bool {
        let others = count.saturating_sub(usize::from(self.own));
        self.own = self.own.saturating_sub(u8::try_from(count).unwrap_or(u8::MAX));
        self.taken = self.taken.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if self.pending().is_empty() {
            self.pending = Vec::new();
            self.taken = 0;
        }
        others > 0
    }

    /// Takes the pending bytes out, and how many of them the sink has; [`Flow::give_back`] puts them in again.
    pub(super) fn lend(&mut self) -> (Vec<u8>, usize) {
        (std::mem::take(&mut self.pending), self.taken as usize)
    }

    /// Undoes [`Flow::lend`].
    pub(super) fn give_back(&mut self, pending: Vec<u8>) {
        self.pending = pending;
    }

    /// The sink takes nothing any more, and nothing is kept for it.
    pub(super) fn break_off(&mut self) {
        self.broken = true;
        self.pending = Vec::new();
        self.taken = 0;
        self.unflushed = false;
        if self.mode != Mode::Ended {
            self.mode = Mode::Drop;
        }
    }

    /// Keeps the beginning of a header until more of it comes.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        let length = bytes.len().min(MAX_HELD);
        if let (Some(target), Some(source)) = (self.held.get_mut(..length), bytes.get(..length)) {
            target.copy_from_slice(source);
        }
        self.held_length = length as u8;
    }

    /// Puts what was held at the beginning of `buffer`; returns how much it was.
    pub(super) fn unhold(&mut self, buffer: &mut [u8]) -> usize {
        let length = usize::from(self.held_length);
        match (buffer.get_mut(..length), self.held.get(..length)) {
            (Some(target), Some(source)) => target.copy_from_slice(source),
            _ => return 0,
        }
        length
    }

    /// Forgets what was held, as it was put into the input again.
    pub(super) fn forget_held(&mut self) {
        self.held_length = 0;
    }
}
