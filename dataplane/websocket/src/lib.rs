//! WebSocket handshake, relay and limits.
