//! Why an operator cannot run.

use std::io;
use std::net::SocketAddr;

/// Why an operator cannot run. What fails later is logged, counted and tried again.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {error}; choose another address or stop what uses it")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The metrics cannot be registered.
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// There is no way to the API server.
    #[error("no way to the API server: {0}; run in a cluster, or set KUBECONFIG")]
    Kube(String),
}

/// A client for the API server: KUBECONFIG, or the pod's ServiceAccount.
///
/// # Errors
/// When neither is there or cannot be used.
pub async fn client() -> Result<kube::Client, OperatorError> {
    kube::Client::try_default()
        .await
        .map_err(|error| OperatorError::Kube(error.to_string()))
}
