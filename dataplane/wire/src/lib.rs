//! Sans-IO protocol logic: HTTP/1.1, caching fields, WebSocket frames.
//!
//! Bytes in, values out: no sockets, no clock, no randomness, no runtime. Everything that comes from
//! outside is bounded, and nothing here panics on it. What a message means for a route, a cache or a
//! filter is decided by the crates that use this one.

pub mod forwarded;
pub mod hop;
pub mod http1;
pub mod path;
pub mod websocket;
