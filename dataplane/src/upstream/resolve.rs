//! Names to addresses.
//!
//! An address written as such is used as it is. Names are looked up by a resolver of our own process, since a static
//! binary has no system resolver; it reads `resolv.conf` and `hosts`, and keeps answers as long as their TTL says.

use std::net::{IpAddr, SocketAddr};

use breakwater_snapshot::unit::Endpoint;
use hickory_resolver::TokioResolver;

use super::OriginError;

/// A worker's resolver.
pub(crate) struct Resolver {
    names: Option<TokioResolver>,
}

impl Resolver {
    /// Reads the system's configuration. Without one, only addresses and `localhost` are understood.
    pub(crate) fn from_system() -> Self {
        let built = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        if let Err(error) = &built {
            tracing::warn!(%error, "no resolver configuration: origins must be given by address");
        }
        Self { names: built.ok() }
    }

    /// The addresses of an endpoint, at least one.
    pub(crate) async fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<SocketAddr>, OriginError> {
        let host = endpoint.host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, endpoint.port)]);
        }
        let unknown = |reason: String| OriginError::Resolve {
            name: host.to_owned(),
            reason,
        };
        let Some(resolver) = &self.names else {
            return Err(unknown("this machine has no resolver configuration".to_owned()));
        };
        let found = resolver
            .lookup_ip(host)
            .await
            .map_err(|error| unknown(error.to_string()))?;
        let addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, endpoint.port)).collect();
        if addresses.is_empty() {
            return Err(unknown("it has no address".to_owned()));
        }
        Ok(addresses)
    }
}
