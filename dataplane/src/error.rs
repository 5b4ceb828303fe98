//! Why a data plane cannot start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A data plane that cannot start: what was wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", bind_advice(.source))]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A log cannot be opened.
    #[error("cannot open the {log} log {}: {source}; choose a file in a directory that exists and can be written", .path.display())]
    Log {
        /// Which log: access or audit.
        log: &'static str,
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A worker cannot be started.
    #[error("cannot start a worker: {0}; fewer workers (--workers) or a higher process limit may help")]
    Worker(io::Error),
}

fn bind_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or choose another port",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability NET_BIND_SERVICE, or choose a higher one"
        }
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine, or 0.0.0.0 for all",
        _ => "choose another address",
    }
}
