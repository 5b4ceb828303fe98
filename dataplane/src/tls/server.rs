//! What a handshake needs of a certificate and its terms: rustls' configuration, made once and kept while it is in use.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use breakwater_snapshot::Digest;
use breakwater_snapshot::unit::TlsVersion;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConnection, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::{Certificate, PROVIDER, Realm, Terms};
use crate::clock::unix_seconds;

/// What is offered by ALPN (RFC 7301), the first first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Bytes of a response that a connection takes before the client has read what was sent: one record, and some.
const SEND_BUFFER: usize = 32 * 1024;

/// rustls' configurations, by what they are made of.
#[derive(Default)]
pub(crate) struct Servers(BTreeMap<(Digest, TlsVersion, Realm), Weak<ServerConfig>>);

impl Servers {
    /// The configuration for a certificate, of which `digest` is the unit's, and terms. The same as long as it is used.
    pub(crate) fn find(
        &mut self,
        certificate: &Certificate,
        digest: Digest,
        terms: &Terms,
    ) -> Option<Arc<ServerConfig>> {
        let key = (digest, terms.min_version, terms.realm());
        if let Some(found) = self.0.get(&key).and_then(Weak::upgrade) {
            return Some(found);
        }
        let server = Arc::new(server(certificate, terms)?);
        self.0.insert(key, Arc::downgrade(&server));
        Some(server)
    }

    /// Forgets what no configuration uses.
    pub(crate) fn prune(&mut self) {
        self.0.retain(|_, server| server.strong_count() > 0);
    }
}

/// None only if ring had no cipher suite for the versions, which it has.
fn server(certificate: &Certificate, terms: &Terms) -> Option<ServerConfig> {
    let versions: &[_] = match terms.min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let verifier = match &terms.realm.verifier {
        Some(verifier) => Arc::clone(verifier),
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(versions)
        .ok()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(OneCertificate(certificate.clone())));
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    server.ticketer = Arc::clone(&terms.realm.ticketer);
    server.session_storage = Arc::clone(&terms.realm.sessions);
    Some(server)
}

/// The certificate of a host, with its staple for as long as that is good: clients refuse a connection over an old one.
#[derive(Debug)]
struct OneCertificate(Certificate);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = match &self.0.stapled {
            Some((stapled, until)) if *until > i64::try_from(unix_seconds()).unwrap_or(i64::MAX) => stapled,
            _ => &self.0.key,
        };
        Some(Arc::clone(key))
    }
}

/// Sets up a connection that begins.
pub(crate) fn prepare(connection: &mut ServerConnection) {
    connection.set_buffer_limit(Some(SEND_BUFFER));
}
