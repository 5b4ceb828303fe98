//! TLS to the servers of lists: 1.2 and 1.3.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// The machine's authorities: the usual places, `SSL_CERT_FILE` and `SSL_CERT_DIR` first.
///
/// # Errors
/// When it has none.
pub(super) fn system() -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this machine has no certificates of authorities: set SSL_CERT_FILE, or mount a bundle".to_owned());
    }
    Ok(Arc::new(roots))
}

/// Believes these authorities.
///
/// # Errors
/// When there is no protocol version, which the provider rules out.
pub(super) fn connector(roots: Arc<RootCertStore>) -> Result<TlsConnector, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
