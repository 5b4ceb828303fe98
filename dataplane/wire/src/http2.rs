//! A sans-IO HTTP/2 server codec (RFC 9113), with header compression (RFC 7541) and priorities (RFC 9218).
//!
//! Bytes of a client in, [`Event`]s out; response heads as the handlers write them for HTTP/1.1 in, frames
//! out. Invariant: a request comes out as the same [`RequestHead`] that HTTP/1.1 gives, after the rules of
//! HTTP/2 and the gate of HTTP/1.1; what a client can make the connection hold, do or write is bounded by
//! [`Limits`]; and an idle connection owns its compression table and little else. Sockets, deadlines, TLS
//! and what waits to be sent belong to the caller.
//!
//! [`RequestHead`]: crate::http1::RequestHead

mod blocks;
mod budget;
mod connection;
mod error;
mod field;
mod frame;
mod hpack;
mod limits;
mod priority;
mod request;
mod stream;

pub use blocks::{Blocks, write_field, write_status};
pub use connection::{Connection, Event, Sent};
pub use error::{ConnectionError, ErrorCode, SendError, StreamError};
pub use limits::Limits;
pub use request::Scratch;

/// Odd, from 1 to 2^31-1: clients open all streams here.
pub type StreamId = u32;

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests;
