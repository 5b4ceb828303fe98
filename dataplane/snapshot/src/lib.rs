//! The compiled configuration that the operator publishes and the data plane applies.
//!
//! A [`Snapshot`] is a [`Manifest`] (a sorted list of what there is, by digest) and the blobs the digests name: one
//! [`Blob`] for each object a user wrote. Equal input gives equal bytes, so a digest is an identity: replicas agree,
//! an unchanged unit is neither sent nor rebuilt, and a copy on disk can be checked.
//!
//! This crate knows neither Kubernetes types nor sockets; both sides speak through it and through nothing else.

mod ack;
mod digest;
mod manifest;
mod object;
mod peers;
mod snapshot;
pub mod unit;

pub use ack::{Ack, PrefetchProgress, Rejection};
pub use digest::{Digest, DigestError};
pub use manifest::{Entry, Manifest};
pub use object::{Kind, ObjectId, ObjectIdError};
pub use peers::{Labels, Member, PeerAddress, PeerKey, PeerNews, Peers};
pub use snapshot::{Blob, Snapshot, SnapshotError};
