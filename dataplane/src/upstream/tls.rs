//! TLS towards servers: who is believed, what we show, and the sessions that can be resumed.
//!
//! Invariant: a connection serves only requests of the same [`Identity`] and the same name, so that what was verified
//! for one route is never used by another that asks for more. Identities are made once and shared by all origins that
//! ask for the same; a new client certificate makes a new one.

mod fault;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Weak};

use breakwater_snapshot::{Digest, unit};
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::OriginError;
use crate::tls::{Certificate, PROVIDER};
pub(crate) use fault::{Kind, TlsFault};

/// Bytes of a request that a connection takes before the server has read what was sent.
const SEND_BUFFER: usize = 32 * 1024;

/// The authorities of this machine.
static SYSTEM: LazyLock<Result<Arc<RootCertStore>, String>> = LazyLock::new(system);

/// How a connection is secured. Two of the same number are the same.
pub(crate) struct Identity {
    pub(super) number: u64,
    name: Option<ServerName<'static>>,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Identity {
    /// Secures a connection to `host`; `http2` asks for that protocol (RFC 7301).
    ///
    /// # Errors
    /// When the handshake fails, or the server chose another protocol.
    pub(super) async fn secure(
        &self,
        host: &str,
        stream: TcpStream,
        http2: bool,
    ) -> Result<TlsStream<TcpStream>, OriginError> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| fault(Kind::WrongName, format!("`{host}` is no name a certificate could have")))?,
        };
        let connector = if http2 { &self.http2 } else { &self.http1 };
        let prepared = connector.connect_with(name, stream, |connection| {
            connection.set_buffer_limit(Some(SEND_BUFFER));
        });
        let stream = prepared
            .await
            .map_err(|error| OriginError::Tls(TlsFault::from_io(&error)))?;
        if http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(fault(Kind::Protocol, "it does not speak HTTP/2"));
        }
        Ok(stream)
    }
}

fn fault(kind: Kind, what: impl Into<String>) -> OriginError {
    OriginError::Tls(TlsFault::new(kind, what))
}

/// What it needs is missing.
pub(super) fn incomplete(reason: &str) -> OriginError {
    fault(Kind::Ours, reason)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.number)
    }
}

/// The identities in use.
#[derive(Debug, Default)]
pub(super) struct Identities {
    known: Mutex<HashMap<Digest, Weak<Identity>>>,
    next: AtomicU64,
}

/// The client certificate an origin names: the Secret's digest, and what it holds.
pub(crate) type Shown<'a> = Option<(Digest, &'a Certificate)>;

impl Identities {
    /// The identity for these terms, made if it is not known.
    ///
    /// # Errors
    /// What is missing or malformed, for a person.
    pub(super) fn find(&self, tls: &unit::OriginTls, shown: Shown<'_>) -> Result<Arc<Identity>, String> {
        if let Some(id) = &tls.certificate
            && shown.is_none()
        {
            return Err(format!("the client certificate {id} is missing or broken"));
        }
        let terms = serde_json::to_vec(&(tls, shown.map(|(digest, _)| digest))).map_err(|error| error.to_string())?;
        let mut known = self.known.lock();
        let key = Digest::of(&terms);
        if let Some(found) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(found);
        }
        // From 1: 0 stands for clear text.
        let number = self.next.fetch_add(1, Relaxed) + 1;
        let identity = Arc::new(identity(number, tls, shown.map(|(_, certificate)| certificate))?);
        known.insert(key, Arc::downgrade(&identity));
        Ok(identity)
    }

    /// Forgets what no origin uses.
    pub(super) fn prune(&self) {
        self.known.lock().retain(|_, identity| identity.strong_count() > 0);
    }
}

/// Checks what can be checked of the terms by themselves.
///
/// # Errors
/// What is wrong, for a person.
pub(crate) fn check(tls: &unit::OriginTls) -> Result<(), String> {
    server_name(tls)?;
    verifier(tls).map(drop)
}

fn identity(number: u64, tls: &unit::OriginTls, shown: Option<&Certificate>) -> Result<Identity, String> {
    let config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier(tls)?);
    let mut http1 = match shown {
        None => config.with_no_client_auth(),
        Some(certificate) => config.with_client_cert_resolver(certificate.for_client()),
    };
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut http2 = http1.clone();
    http2.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Identity {
        number,
        name: server_name(tls)?,
        http1: TlsConnector::from(Arc::new(http1)),
        http2: TlsConnector::from(Arc::new(http2)),
    })
}

fn server_name(tls: &unit::OriginTls) -> Result<Option<ServerName<'static>>, String> {
    let name = tls.server_name.clone();
    name.map(|name| ServerName::try_from(name.clone()).map_err(|_| format!("`{name}` is not a server name")))
        .transpose()
}

fn verifier(tls: &unit::OriginTls) -> Result<Arc<dyn ServerCertVerifier>, String> {
    if tls.insecure {
        return Ok(Arc::new(Anyone));
    }
    let roots = match &tls.ca_pem {
        Some(pem) => Arc::new(authorities(pem)?),
        None => SYSTEM.clone()?,
    };
    let built = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&PROVIDER)).build();
    built
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|error| error.to_string())
}

fn authorities(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "the authorities for the origin are not PEM")?;
        roots
            .add(certificate)
            .map_err(|error| format!("an authority for the origin cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("the authorities for the origin hold no certificate".to_owned());
    }
    Ok(roots)
}

/// Reads the usual places, `SSL_CERT_FILE` and `SSL_CERT_DIR` first.
fn system() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "this machine has no certificates of authorities (SSL_CERT_FILE, SSL_CERT_DIR and the usual places below /etc/ssl \
             were looked at): say whom to believe in the origin's tls, or mount a bundle"
                .to_owned(),
        );
    }
    Ok(Arc::new(roots))
}

/// Believes any certificate; whoever shows it must still hold its key.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
