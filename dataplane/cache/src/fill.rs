//! Fills: one fetch from the origin, shared by everyone who waits for it.
//!
//! [`Fills::join`] makes the first request for a key its leader and the others followers. The leader fetches
//! through a [`FillWriter`], which belongs to a task that outlives any client; clients, the leader's own
//! included, read through [`FillReader`]s, cursors over the same immutable chunks.
//!
//! - Interim responses (1xx) reach the request that is fetched for, in order, and nobody else.
//! - Followers wait for the head only. [`FillWriter::publish`] says whether they may share the response; if not,
//!   all are released at once to fetch for themselves, and the key is remembered so that later requests do not
//!   wait at all.
//! - When a fetch fails before its head, its client gets the failure and one follower takes over; the others go
//!   on waiting, a bounded number of times. After the head, readers get an error and end their answer early.
//! - A fill that will be stored never waits for a reader. One that outgrows the object limit or the memory of
//!   all fills passes through instead: what all readers have seen is dropped, and the writer waits for the slowest.
//!   Of a response that is announced to be too large the first [`FillConfig::window`] bytes stay until more came, and so
//!   long one can join; later only where it is kept from its beginning, in the disk tier or in a file ([`Spooler`]), by
//!   reading behind what comes ([`Join::Behind`]). What is kept in a file can be joined for as long as somebody reads it.
//!
//! Invariants: a writer that is dropped wakes everyone with an error; no lock is held while a waker runs or a
//! reader waits; wakers are plain [`std::task::Waker`]s, so readers and writer may live on different runtimes.
//! Fills, readers of a fill, buffered bytes and remembered keys are bounded ([`FillConfig`]). Deadlines and the
//! fetch itself belong to the caller.

mod reader;
mod spool;
mod state;
mod table;
mod uncacheable;
mod writer;

pub use reader::{FillReader, HeadOutcome, Interim};
pub use spool::{Follower, SPOOL_PIECE, SpoolLost, Spooler};
pub use table::{Behind, FillConfig, FillStats, Fills, Join, UnderWay};
pub use writer::{Disposition, FillWriter, NoReaders};

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;

use crate::policy::store::Storable;
use crate::vary::Fingerprint;

/// The head of a response under way.
#[derive(Clone, Debug)]
pub struct FillHead {
    /// Its status code.
    pub status: u16,
    /// Its fields as received, without those of the connection: what the request that was asked for gets.
    pub fields: HeaderMap,
    /// The status line and field lines as followers and later hits get them: without `Age` and without the fields
    /// that are not shared; `Content-Length` is there if it is known.
    pub head: Bytes,
    /// The length of its content where the origin announced one.
    pub content_length: Option<u64>,
    /// What it is stored with; `None` if it is not stored.
    pub storable: Option<Box<Storable>>,
    /// Whether it is stored, as far as that is known when the head is: not if it is announced to be too large.
    pub stored: bool,
    /// The values of the request it was fetched for, under its `Vary`.
    pub variant: Fingerprint,
    /// The same by the language of the response (see [`crate::object::Object::in_language`]).
    pub in_language: Option<Fingerprint>,
}

/// Why a fill brought no (complete) response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status for a client that has seen nothing yet, such as 502 or 504.
    pub status: u16,
    /// What went wrong, for people.
    pub reason: &'static str,
}

impl Failure {
    /// The writer was dropped before its fill was finished.
    pub const ABANDONED: Self = Self {
        status: 502,
        reason: "the fetch was abandoned",
    };
    /// The content did not have the announced length.
    pub const LENGTH: Self = Self {
        status: 502,
        reason: "the content did not have the announced length",
    };

    /// The origin took longer than it may. Who waited for it has waited as long, and is not asked to wait again.
    pub const fn is_timeout(&self) -> bool {
        self.status == 504
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests;
