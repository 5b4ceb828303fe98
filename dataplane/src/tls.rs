//! TLS towards clients: certificates, and which of them a host is served with.
//!
//! Invariants: a name is served with the certificate of its own host or not at all, never with another's. A private key
//! is in memory only and in no message. Everything here is built by the control thread when a configuration is
//! assembled; a handshake only looks up ([`Hosts::by_name`]), so a new table counts for new handshakes and changes
//! nothing for connections that are open. How bytes are exchanged is left to `conn::begin`.

mod certificate;
mod der;
mod hosts;
mod realm;
mod server;
mod terms;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub(crate) use certificate::Certificate;
pub(crate) use hosts::{HostTls, Hosts, Proof};
pub(crate) use realm::{Realm, Realms};
pub(crate) use server::{Servers, prepare};
pub(crate) use terms::{Hsts, Terms};

/// The cryptography of every handshake: ring's.
pub(crate) static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
