//! The frames of one direction of a connection, followed by their headers (RFC 6455 section 5), and the
//! frames that an intermediary sends of its own.
//!
//! [`FrameTracker`] is fed what was read and says how much of it may be sent on. Invariant: no byte of a frame
//! passes before its whole header was found good, so that a frame which breaks a rule is never begun towards
//! the other side, and every place where the tracker refuses to go on is a frame boundary: there a control
//! frame may be put in. Payload is counted, not looked at (only a close frame's code is). What is done about
//! a violation, and how often a message may come, is the relay's.

use super::{Opcode, code};

mod header;
mod write;

pub use header::MAX_HEADER;
use header::{Header, Parsed};
pub use write::{Frame, close_frame, ping_frame, pong_frame};

/// The longest payload of a control frame (RFC 6455 section 5.5).
pub const MAX_CONTROL_PAYLOAD: u64 = 125;

/// The most bytes of its input that [`FrameTracker::feed`] leaves over for want of more: a header of 14 bytes
/// without its last, which is longer than the header and code of a close frame.
pub const MAX_HELD: usize = MAX_HEADER - 1;

/// The payload of an intermediary's own pings. So short that its answer, masked, is no more than a direction holds
/// ([`MAX_HELD`]).
pub type PingPayload = [u8; 4];

/// Who sends the frames, which decides about the mask (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Every frame must be masked.
    Client,
    /// No frame may be masked.
    Server,
}

/// What a direction may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who sends.
    pub sender: Sender,
    /// permessage-deflate was agreed on: RSV1 may be set on the first frame of a message.
    pub compression: bool,
    /// The most payload bytes of a data frame, as sent (compressed, if it is).
    pub max_frame: u64,
    /// The most payload bytes of a message over all its frames, as sent (compressed, if it is).
    pub max_message: u64,
}

/// Where [`FrameTracker::feed`] is to stop before the end of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// How many frames that count (see [`Fed::charged`]) may still begin.
    pub charge: u32,
    /// Stop at the first frame boundary, be it the very beginning.
    pub boundary: bool,
    /// Stop in front of a close frame instead of after it.
    pub before_close: bool,
    /// Stop in front of a pong with just this payload: the answer to a ping that the other side did not send.
    pub answer: Option<PingPayload>,
}

impl Until {
    /// No stop but those the protocol demands.
    pub const END: Self = Self {
        charge: u32::MAX,
        boundary: false,
        before_close: false,
        answer: None,
    };
}

/// Why [`FrameTracker::feed`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All was consumed but at most [`MAX_HELD`] bytes, the beginning of a frame whose header is not complete: feed
    /// them again with what follows.
    More,
    /// At a frame boundary, as asked for by [`Until::boundary`].
    Boundary,
    /// In front of a frame that would exceed [`Until::charge`].
    Charge,
    /// In front of a close frame, as asked for by [`Until::before_close`].
    BeforeClose,
    /// In front of the pong of [`Until::answer`], which is here as a whole and takes so many bytes: feed what follows it
    /// and the other side never hears of it.
    Answer(usize),
    /// After a complete close frame: nothing may follow (RFC 6455 section 5.5.1), nothing more is consumed.
    Closed,
    /// In front of a frame that must not pass. Nothing more is consumed by later calls.
    Violation(Violation),
}

/// What one call of [`FrameTracker::feed`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// How many bytes of the input may be sent on.
    pub consumed: usize,
    /// The last frame boundary in `0..=consumed`, where a control frame may be put in; none if there is none.
    pub boundary: Option<usize>,
    /// Data messages that ended.
    pub messages: u32,
    /// Frames that began, control frames among them.
    pub frames: u32,
    /// Frames that began and count against a rate: each first frame of a message, each ping and pong, and each
    /// continuation so short (up to 125 bytes) that sending it costs no more than a message would.
    pub charged: u32,
    /// Payload bytes, of control frames too.
    pub payload: u64,
    /// Why it stopped.
    pub stop: Stop,
}

/// How a frame breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A reserved bit that no extension gave a meaning, or RSV1 where RFC 7692 section 6 forbids it.
    #[error("a frame has a reserved bit set")]
    ReservedBit,
    /// An opcode the RFC reserves.
    #[error("a frame has a reserved opcode")]
    ReservedOpcode,
    /// A client's frame without a mask (RFC 6455 section 5.1).
    #[error("a client's frame is not masked")]
    Unmasked,
    /// A server's frame with a mask (RFC 6455 section 5.1).
    #[error("a server's frame is masked")]
    Masked,
    /// A control frame in fragments.
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// A control frame of more than 125 bytes.
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A close frame of one byte: half a code.
    #[error("a close frame has one byte of payload")]
    CloseLength,
    /// A continuation of nothing.
    #[error("a continuation frame continues no message")]
    UnexpectedContinuation,
    /// A new message within another.
    #[error("a message begins before the last one ended")]
    ExpectedContinuation,
    /// A 63-bit length with its top bit set, or a length in more bytes than it needs (RFC 6455 section 5.2).
    #[error("a frame's length is not encoded as the RFC demands")]
    Length,
    /// A frame longer than the route allows.
    #[error("a frame is longer than allowed")]
    FrameTooBig,
    /// A message longer than the route allows.
    #[error("a message is longer than allowed")]
    MessageTooBig,
}

impl Violation {
    /// The code to close with towards whoever broke the rule (RFC 6455 section 7.4.1).
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::FrameTooBig | Self::MessageTooBig => code::MESSAGE_TOO_BIG,
            _ => code::PROTOCOL_ERROR,
        }
    }

    /// The value of a metric's `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ReservedBit => "reserved_bit",
            Self::ReservedOpcode => "reserved_opcode",
            Self::Unmasked => "unmasked",
            Self::Masked => "masked",
            Self::ControlFragmented => "control_fragmented",
            Self::ControlTooLong => "control_too_long",
            Self::CloseLength => "close_length",
            Self::UnexpectedContinuation => "unexpected_continuation",
            Self::ExpectedContinuation => "expected_continuation",
            Self::Length => "length",
            Self::FrameTooBig => "frame_too_big",
            Self::MessageTooBig => "message_too_big",
        }
    }
}

/// Where a direction is: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameTracker {
    /// Payload bytes of the current frame that are still to come.
    remaining: u64,
    /// Payload bytes of the open message, counted when a frame begins.
    message: u64,
    /// A message has begun whose last frame has not.
    open: bool,
    /// The current frame is the last of a data message.
    last: bool,
    state: State,
    close_code: CloseCode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// A close frame's header was consumed.
    Closing,
    Failed(Violation),
}

/// The code of the close frame, 0 for none: an `Option` would cost the tracker eight more bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CloseCode(u16);

impl FrameTracker {
    /// A direction in which nothing was sent yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// True between frames: here a control frame may be put in.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.remaining == 0
    }

    /// True within a message: between its frames too, where no other data frame may be put in.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.open || (self.remaining > 0 && self.last)
    }

    /// True once a whole close frame has passed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closing && self.remaining == 0
    }

    /// The code of the close frame that has passed; none if it carried none.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        (self.close_code.0 != 0).then_some(self.close_code.0)
    }

    /// Follows `input`: what was left over by the last call, and what came after it. The result does not depend on
    /// where the stream is cut into inputs.
    pub fn feed(&mut self, rules: &Rules, input: &[u8], until: Until) -> Fed {
        let mut fed = Fed {
            consumed: 0,
            boundary: self.at_boundary().then_some(0),
            messages: 0,
            frames: 0,
            charged: 0,
            payload: 0,
            stop: Stop::More,
        };
        loop {
            let rest = input.get(fed.consumed..).unwrap_or_default();
            if self.remaining > 0 {
                self.pass_payload(rest, &mut fed);
                if self.remaining > 0 {
                    return fed;
                }
                self.end_frame(&mut fed);
                continue;
            }
            if let Some(stop) = self.begin_frame(rules, rest, until, &mut fed) {
                fed.stop = stop;
                return fed;
            }
        }
    }

    fn pass_payload(&mut self, rest: &[u8], fed: &mut Fed) {
        let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(rest.len());
        self.remaining -= length as u64;
        fed.payload += length as u64;
        fed.consumed += length;
    }

    fn end_frame(&mut self, fed: &mut Fed) {
        fed.boundary = Some(fed.consumed);
        if std::mem::take(&mut self.last) {
            fed.messages += 1;
        }
    }

    /// Consumes one header, and the whole frame if it is empty; or says why not.
    fn begin_frame(&mut self, rules: &Rules, rest: &[u8], until: Until, fed: &mut Fed) -> Option<Stop> {
        match self.state {
            State::Failed(violation) => return Some(Stop::Violation(violation)),
            State::Closing => return Some(Stop::Closed),
            State::Open if until.boundary => return Some(Stop::Boundary),
            State::Open => {}
        }
        let header = match Header::parse(rest) {
            Parsed::Header(header) => header,
            Parsed::Incomplete => return Some(Stop::More),
            Parsed::Invalid(violation) => return Some(self.fail(violation)),
        };
        let opcode = match self.check(rules, &header) {
            Ok(opcode) => opcode,
            Err(violation) => return Some(self.fail(violation)),
        };
        if opcode == Opcode::Close {
            if until.before_close {
                return Some(Stop::BeforeClose);
            }
            match header.close_code(rest) {
                Parsed::Incomplete => return Some(Stop::More),
                Parsed::Header(close_code) => self.close_code = CloseCode(close_code),
                Parsed::Invalid(violation) => return Some(self.fail(violation)),
            }
            self.state = State::Closing;
        } else if let Some(expected) = until.answer.filter(|_| opcode == Opcode::Pong)
            && let Some(step) = header.answers(rest, expected)
        {
            return Some(step);
        } else if opcode != Opcode::Continuation || header.length <= MAX_CONTROL_PAYLOAD {
            if fed.charged >= until.charge {
                return Some(Stop::Charge);
            }
            fed.charged += 1;
        }
        if !opcode.is_control() {
            let begun = if opcode == Opcode::Continuation {
                self.message
            } else {
                0
            };
            self.message = begun + header.length;
            self.open = !header.fin;
            self.last = header.fin;
        }
        fed.frames += 1;
        fed.consumed += header.size;
        self.remaining = header.length;
        if self.remaining == 0 {
            self.end_frame(fed);
        }
        None
    }

    fn fail(&mut self, violation: Violation) -> Stop {
        self.state = State::Failed(violation);
        Stop::Violation(violation)
    }

    fn check(&self, rules: &Rules, header: &Header) -> Result<Opcode, Violation> {
        let opcode = Opcode::from_bits(header.opcode).ok_or(Violation::ReservedOpcode)?;
        let first = matches!(opcode, Opcode::Text | Opcode::Binary);
        let allowed_bits = if rules.compression && first { header::RSV1 } else { 0 };
        if header.reserved & !allowed_bits != 0 {
            return Err(Violation::ReservedBit);
        }
        match rules.sender {
            Sender::Client if !header.masked => return Err(Violation::Unmasked),
            Sender::Server if header.masked => return Err(Violation::Masked),
            _ => {}
        }
        if opcode.is_control() {
            if !header.fin {
                return Err(Violation::ControlFragmented);
            }
            if header.length > MAX_CONTROL_PAYLOAD {
                return Err(Violation::ControlTooLong);
            }
            if opcode == Opcode::Close && header.length == 1 {
                return Err(Violation::CloseLength);
            }
            return Ok(opcode);
        }
        match (first, self.open) {
            (true, true) => return Err(Violation::ExpectedContinuation),
            (false, false) => return Err(Violation::UnexpectedContinuation),
            _ => {}
        }
        if header.length > rules.max_frame {
            return Err(Violation::FrameTooBig);
        }
        let begun = if first { 0 } else { self.message };
        if header.length > rules.max_message.saturating_sub(begun) {
            return Err(Violation::MessageTooBig);
        }
        Ok(opcode)
    }
}

#[cfg(test)]
mod tests;
