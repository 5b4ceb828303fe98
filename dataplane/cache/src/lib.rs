//! HTTP cache: keys, RFC 9111 policy, stores, fills, purge.

pub mod fill;
pub mod head;
pub mod key;
pub mod object;
pub mod purge;
pub mod store;
pub mod time;
pub mod vary;
