//! A WebSocket client and an echo server, small enough to read, for tests and demonstrations.
//!
//! [`connect`] makes a client, [`serve_echo`] a server; both speak through a [`Connection`]. Bounded: a handshake
//! of 16 KiB, a message of [`MAX_MESSAGE`], [`MAX_CONNECTIONS`] of the server. Not for production: masks are
//! foreseeable, text is not checked as it comes, and there are no timeouts; put one around a call.

mod connection;
mod echo;
mod handshake;

pub use connection::{Connection, Message};
pub use echo::{MAX_CONNECTIONS, echo, serve_echo};
pub use handshake::connect;

/// The longest message that is read.
pub const MAX_MESSAGE: usize = 16 << 20;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed, or ended within a frame.
    #[error("the socket failed: {0}")]
    Io(#[from] std::io::Error),
    /// The stream ended without a close frame: what a browser reports as 1006.
    #[error("the stream ended without a close frame (1006)")]
    Eof,
    /// The answer to the handshake was not a 101.
    #[error("the handshake was answered with {status}")]
    Refused {
        /// The status.
        status: u16,
        /// The whole head.
        head: String,
    },
    /// The handshake is not one.
    #[error("the handshake is malformed: {0}")]
    Handshake(&'static str),
    /// A frame broke the protocol.
    #[error("a frame broke the protocol: {0}")]
    Frame(&'static str),
}
