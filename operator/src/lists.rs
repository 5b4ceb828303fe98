//! Lists of addresses behind URLs: fetched, kept, fetched again.
//!
//! ```text
//! wanted URLs -> keeper -> fetcher -> parse, pack -> record -> shelf
//! ```
//!
//! [`keeper`] says when, [`fetch`] how, [`record`] what becomes of what is known; a [`Shelf`] is where it is known: ConfigMaps of the
//! operator ([`config_maps`]), which its leader writes and all replicas read, or the memory and the state directory of
//! `breakwater up`.
//!
//! Invariants: a list that was fetched stays until a whole and readable one takes its place. No text of a list and no query of a URL is
//! in a message, a log line, or a metric. Everything is bounded: text, entries, packed size, all lists together, redirects,
//! times, fetches at once.

pub mod address;
pub mod config_maps;
pub mod fetch;
pub mod keeper;
pub mod metrics;
pub mod record;
mod tls;

pub use fetch::Fetcher;
pub use keeper::{Shelf, Wanted, keep};
pub use metrics::ListMetrics;
pub use record::Record;

/// Longest text of one list, bytes after decompression.
pub const MAX_TEXT: u64 = 64 << 20;

/// Most addresses and prefixes of one list.
pub const MAX_ENTRIES: usize = 2 << 20;

/// Largest packed list, bytes.
pub const MAX_PACKED: usize = 8 << 20;

/// All lists together as they are kept, bytes.
pub const MAX_KEPT: usize = 32 << 20;

/// What a URL is called in names and metrics: the first 16 bytes of its SHA-256, in hexadecimal digits.
#[must_use]
pub fn key(url: &str) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, url.as_bytes()).as_ref(), 16)
}

/// The first `bytes` of a digest, in hexadecimal digits.
fn hex(digest: &[u8], bytes: usize) -> String {
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
