//! The TLS handshake: the host the client names decides on everything else.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use breakwater_snapshot::unit::TlsVersion;
use rustls::ProtocolVersion;
use rustls::server::Acceptor;
use rustls::{AlertDescription, CertificateError, Error, HandshakeKind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::{Proof, prepare};
use crate::worker::Worker;

/// A fatal alert `unrecognized_name` (RFC 6066 section 3) in a record of its own, in clear text: nothing is agreed yet.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Shakes hands. Boxed: what a TLS connection keeps would make every connection's state as large.
///
/// # Errors
/// The label of what was wrong; the client was told by an alert where it could be.
pub(super) async fn shake_hands(
    worker: &Rc<Worker>,
    stream: TcpStream,
) -> Result<(Box<TlsStream<TcpStream>>, Proof), &'static str> {
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream)
        .await
        .map_err(|error| label(&error))?;
    let name = start.client_hello().server_name().map(str::to_owned);
    let host = worker
        .config
        .borrow()
        .shared
        .tls()
        .by_name(name.as_deref())
        .map(Arc::clone);
    let server = host.as_ref().and_then(|host| host.server.clone());
    let (Some(host), Some(server)) = (&host, server) else {
        // Never another certificate: the client would be told a name that is not the one it asked for.
        let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
        let _ = start.io.shutdown().await;
        return Err(match (&host, name) {
            (Some(_), _) => "tls_no_certificate",
            (None, Some(_)) => "tls_unknown_name",
            (None, None) => "tls_no_name",
        });
    };
    let stream = start.into_stream_with(server, prepare).await;
    let stream = Box::new(stream.map_err(|error| label(&error))?);
    let (_, session) = stream.get_ref();
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    let tls13 = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    worker.cells.handshake(tls13, resumed);
    let version = if tls13 { TlsVersion::Tls13 } else { TlsVersion::Tls12 };
    Ok((stream, Proof::new(host.realm, version)))
}

fn label(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        None => "tls_closed",
        Some(Error::NoCertificatesPresented) => "tls_client_certificate_missing",
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "tls_client_certificate_expired"
        }
        Some(Error::InvalidCertificate(_)) => "tls_client_certificate_invalid",
        Some(Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate)) => {
            "tls_certificate_refused"
        }
        Some(Error::AlertReceived(_)) => "tls_alert",
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => "tls_incompatible",
        Some(Error::InvalidMessage(_) | Error::InappropriateMessage { .. }) => "tls_not_tls",
        Some(_) => "tls_handshake",
    }
}
