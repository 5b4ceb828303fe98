//! Sans-IO protocol logic: HTTP/1.1, HTTP/2, caching fields, WebSocket frames.
//!
//! Bytes in, values out: no sockets, no clock, no randomness, no runtime. Everything that comes from
//! outside is bounded, and nothing here panics on it. What a message means for a route, a cache or a
//! filter is decided by the crates that use this one.

pub mod accept_encoding;
pub mod age;
pub mod cache_control;
pub mod cache_status;
pub mod cdn_cache_control;
pub mod conditional;
pub mod device;
pub mod etag;
pub mod form;
pub mod forwarded;
pub mod hop;
pub mod http1;
pub mod http2;
pub mod http_date;
pub mod no_vary_search;
pub mod path;
pub mod peer;
pub mod proxy_protocol;
pub mod range;
pub mod sitemap;
pub mod structured;
pub mod surrogate_control;
pub mod vary;
pub mod websocket;
