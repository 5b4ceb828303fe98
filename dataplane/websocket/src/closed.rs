//! How a connection ended, for a log line and a metric.
//!
//! Invariant: the first cause counts; what follows from it does not replace it.

use std::fmt;

use breakwater_wire::websocket::frame::Violation;

use crate::{Cause, Side};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This side sent a close frame first.
    Closed(Side),
    /// This side ended its stream without a close frame.
    Eof(Side),
    /// This side's socket failed.
    Reset(Side),
    /// This side broke the protocol or sent more than it may.
    Violation(Side, Violation),
    /// The client sent messages faster than it may.
    Rate,
    /// Nobody, or not the side that had to, sent anything for too long.
    Idle,
    /// This side did not answer our ping.
    Unresponsive(Side),
    /// It had lived long enough.
    Lifetime,
    /// It was asked to end.
    Drain(Cause),
    /// It was dropped before it was over.
    Cut,
}

impl Reason {
    /// The value of a metric's `reason` label: one of a fixed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed(Side::Client) => "client_closed",
            Self::Closed(Side::Backend) => "backend_closed",
            Self::Eof(Side::Client) => "client_eof",
            Self::Eof(Side::Backend) => "backend_eof",
            Self::Reset(Side::Client) => "client_reset",
            Self::Reset(Side::Backend) => "backend_reset",
            Self::Violation(_, Violation::FrameTooBig) => "frame_too_big",
            Self::Violation(_, Violation::MessageTooBig) => "message_too_big",
            Self::Violation(Side::Client, _) => "client_protocol",
            Self::Violation(Side::Backend, _) => "backend_protocol",
            Self::Rate => "message_rate",
            Self::Idle => "idle",
            Self::Unresponsive(Side::Client) => "client_unresponsive",
            Self::Unresponsive(Side::Backend) => "backend_unresponsive",
            Self::Lifetime => "lifetime",
            Self::Drain(Cause::Shutdown) => "drain",
            Self::Drain(Cause::RouteDeleted) => "route_deleted",
            Self::Drain(Cause::ServerRemoved) => "server_removed",
            Self::Cut => "cut",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(side) => write!(formatter, "closed by the {side}"),
            Self::Eof(side) => write!(formatter, "the {side} left without a close frame"),
            Self::Reset(side) => write!(formatter, "the connection to the {side} failed"),
            Self::Violation(_, violation) => violation.fmt(formatter),
            Self::Rate => formatter.write_str("messages come too fast"),
            Self::Idle => formatter.write_str("idle for too long"),
            Self::Unresponsive(side) => write!(formatter, "the {side} does not answer"),
            Self::Lifetime => formatter.write_str("open for too long"),
            Self::Drain(Cause::Shutdown) => formatter.write_str("this process is going away"),
            Self::Drain(Cause::RouteDeleted) => formatter.write_str("the route is gone"),
            Self::Drain(Cause::ServerRemoved) => formatter.write_str("the server is no longer one of the backend's"),
            Self::Cut => formatter.write_str("cut off"),
        }
    }
}

/// What a relay leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub reason: Reason,
    /// The code of the close frame that began the end, sent by a side or by the relay; none if there was none, or
    /// none in it.
    pub code: Option<u16>,
    /// Data messages from the client that have passed completely.
    pub messages_in: u64,
    /// Data messages from the backend that have passed completely.
    pub messages_out: u64,
    /// Bytes from the client that were passed on, headers and control frames included.
    pub bytes_in: u64,
    /// Bytes from the backend that were passed on, headers and control frames included.
    pub bytes_out: u64,
    /// How long it lived, in milliseconds.
    pub duration_ms: u64,
}

impl Closed {
    /// The value of a metric's `code` label, one of a fixed set: registered codes as they are, those of libraries
    /// (3000 to 3999) and applications (4000 to 4999) together, `none`, `other`.
    #[must_use]
    pub fn code_label(&self) -> &'static str {
        const REGISTERED: [&str; 15] = [
            "1000", "1001", "1002", "1003", "other", "other", "other", "1007", "1008", "1009", "1010", "1011", "1012",
            "1013", "1014",
        ];
        match self.code {
            None => "none",
            Some(3000..=3999) => "3xxx",
            Some(4000..=4999) => "4xxx",
            Some(code) => code
                .checked_sub(1000)
                .and_then(|index| REGISTERED.get(usize::from(index)))
                .copied()
                .unwrap_or("other"),
        }
    }
}
