//! What the connections of a route are held to.
//!
//! Invariant: every field's default is stated here; by default sizes, rate, silence, lifetime and the end are all
//! limited, and only by the choice of the caller one of them is not.

use std::num::NonZeroU32;

use crate::rate::Allowance;
use crate::{Keepalive, Side};

/// The longest frame and message of one direction, in payload bytes as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Payload of one frame; default 16 MiB. Longer: 1009 to the sender.
    pub max_frame: u64,
    /// Payload of one message over all its frames; default 16 MiB. Longer: 1009 to the sender.
    pub max_message: u64,
}

/// Limits of a connection. Times are in milliseconds of the worker's [`Clock`](crate::Clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a client may send. Nothing is buffered for it, so that the defaults can be generous.
    pub from_client: Sizes,
    /// What a backend may send.
    pub from_backend: Sizes,
    /// Messages a client may send in a second, pings, pongs and short fragments included; more: 1008. Default
    /// 10,000.
    pub messages_per_second: Option<NonZeroU32>,
    /// How many of them may come at once; default (none): one second's worth.
    pub burst: Option<NonZeroU32>,
    /// Longest silence of both sides together; then 1001. Default 5 minutes.
    pub idle_ms: Option<u64>,
    /// Longest silence of the client, whatever the backend sends; then 1001. Default none: a client that only
    /// listens is not idle.
    pub client_idle_ms: Option<u64>,
    /// Longest silence of the backend, whatever the client sends; then 1001. Default none.
    pub backend_idle_ms: Option<u64>,
    /// Longest life; then 1000. Default 24 hours.
    pub lifetime_ms: Option<u64>,
    /// Pings of our own to both sides. By default after 30 seconds of a side's silence, and it has 10 seconds to answer.
    pub keepalive: Option<Keepalive>,
    /// How long the end may take, from the first close frame, end of stream or broken rule; default 5 seconds.
    pub close_ms: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            max_frame: 16 << 20,
            max_message: 16 << 20,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            from_client: Sizes::default(),
            from_backend: Sizes::default(),
            messages_per_second: NonZeroU32::new(10_000),
            burst: None,
            idle_ms: Some(5 * 60 * 1_000),
            client_idle_ms: None,
            backend_idle_ms: None,
            lifetime_ms: Some(24 * 60 * 60 * 1_000),
            keepalive: Some(Keepalive {
                interval_ms: 30_000,
                timeout_ms: 10_000,
            }),
            close_ms: 5_000,
        }
    }
}

impl Settings {
    pub(crate) fn sizes(&self, from: Side) -> Sizes {
        match from {
            Side::Client => self.from_client,
            Side::Backend => self.from_backend,
        }
    }

    /// Only clients are held to a rate: a backend is ours.
    pub(crate) fn allowance(&self, from: Side) -> Option<Allowance> {
        let per_second = self.messages_per_second.filter(|_| from == Side::Client)?;
        Some(Allowance {
            per_second,
            burst: self.burst.unwrap_or(per_second),
        })
    }
}
