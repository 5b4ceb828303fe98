//! A WebSocket client and an echo server, small enough to read, for tests and demonstrations.
//!
//! Not for production: one message at a time, and everything is buffered (up to a stated limit).
