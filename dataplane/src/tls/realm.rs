//! Realms: who a handshake asked to prove themselves, and by which authorities.
//!
//! Invariant: what resumes a session (ticket keys, stored sessions) belongs to one realm, so that a session begun where
//! nobody asked for a certificate never resumes where one is required, nor one proved to other authorities. Realms with
//! the same authorities and the same rule are the same, over all routes and configurations.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use breakwater_snapshot::Digest;
use breakwater_snapshot::unit::ClientCertificates;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};

use super::PROVIDER;

/// Sessions of TLS 1.2 clients without tickets that a realm remembers.
const SESSIONS: usize = 4096;

/// The name of a realm: what a connection's handshake proved. Never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Realm(NonZeroU32);

impl Realm {
    /// Nobody was asked for a certificate.
    pub(crate) const OPEN: Self = Self(NonZeroU32::MIN);

    /// Less than 2^31: that many changes of authorities do not happen to a process.
    pub(super) const fn number(self) -> NonZeroU32 {
        self.0
    }
}

/// What the hosts of a realm share.
pub(crate) struct Shared {
    pub(super) realm: Realm,
    /// Whether a handshake without a certificate fails.
    pub(super) required: bool,
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) ticketer: Arc<dyn ProducesTickets>,
    pub(super) sessions: Arc<dyn StoresServerSessions>,
}

impl Shared {
    fn new(
        realm: Realm,
        required: bool,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Arc<Self>, rustls::Error> {
        Ok(Arc::new(Self {
            realm,
            required,
            verifier,
            ticketer: Ticketer::new()?,
            sessions: ServerSessionMemoryCache::new(SESSIONS),
        }))
    }
}

/// The realms of the process.
#[derive(Default)]
pub(crate) struct Realms(Mutex<Known>);

#[derive(Default)]
struct Known {
    open: Option<Arc<Shared>>,
    /// By the authorities' PEM and whether a certificate is required. Gone when no configuration names them.
    others: BTreeMap<(Digest, bool), Weak<Shared>>,
    last: u32,
}

impl Realms {
    /// The realm of these rules for clients.
    ///
    /// # Errors
    /// When the authorities are none, for a person.
    pub(crate) fn find(&self, clients: Option<&ClientCertificates>) -> Result<Arc<Shared>, String> {
        let no_randomness = |_| "the system gives no random numbers for TLS session tickets".to_owned();
        let mut known = self.0.lock();
        let Some(clients) = clients else {
            if let Some(open) = &known.open {
                return Ok(Arc::clone(open));
            }
            let open = Shared::new(Realm::OPEN, false, None).map_err(no_randomness)?;
            known.open = Some(Arc::clone(&open));
            return Ok(open);
        };
        let key = (Digest::of(clients.ca_pem.as_bytes()), clients.required);
        if let Some(found) = known.others.get(&key).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let verifier = verifier(clients)?;
        known.others.retain(|_, realm| realm.strong_count() > 0);
        known.last += 1;
        let realm = Realm(NonZeroU32::MIN.saturating_add(known.last));
        let shared = Shared::new(realm, clients.required, Some(verifier)).map_err(no_randomness)?;
        known.others.insert(key, Arc::downgrade(&shared));
        Ok(shared)
    }
}

fn verifier(clients: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(clients.ca_pem.as_bytes()) {
        let certificate =
            certificate.map_err(|_| "the authorities for client certificates (caCertificates) are not PEM")?;
        roots.add(certificate).map_err(|error| {
            format!("an authority for client certificates (caCertificates) cannot be used: {error}")
        })?;
    }
    if roots.is_empty() {
        return Err("the authorities for client certificates (caCertificates) are none".to_owned());
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&PROVIDER));
    let builder = if clients.required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder.build().map_err(|error| error.to_string())
}
