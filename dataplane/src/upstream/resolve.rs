//! Names to addresses.
//!
//! Names are looked up by a resolver of our own process, since a static binary has no system resolver; it reads
//! `resolv.conf` and `hosts`, or asks the name servers it is given.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// A name that has no address is asked for again after so long, whatever its zone says.
const NEGATIVE: Duration = Duration::from_secs(5);

/// Looks up names.
pub(super) struct Resolver {
    names: Option<TokioResolver>,
}

impl Resolver {
    /// Asks `name_servers`, or those of the system when there are none.
    pub(super) fn new(name_servers: &[SocketAddr]) -> Self {
        let builder = match name_servers {
            [] => TokioResolver::builder_tokio(),
            servers => {
                let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(name_server).collect());
                Ok(TokioResolver::builder_with_config(
                    config,
                    TokioRuntimeProvider::default(),
                ))
            }
        };
        let built = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.negative_max_ttl = Some(NEGATIVE);
            // Where a name has both, the older protocol is the one that every cluster routes.
            options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
            builder.build()
        });
        if let Err(error) = &built {
            tracing::warn!(%error, "no resolver configuration: origins must be given by address");
        }
        Self { names: built.ok() }
    }

    /// The addresses of a name, at least one, in order, and how long they hold.
    ///
    /// # Errors
    /// Why there are none, for a person.
    pub(super) async fn lookup(&self, name: &str) -> Result<(Vec<IpAddr>, Duration), String> {
        let Some(names) = &self.names else {
            return Err("this machine has no resolver configuration".to_owned());
        };
        let found = names.lookup_ip(name).await.map_err(|error| error.to_string())?;
        let mut addresses: Vec<_> = found.iter().collect();
        // Name servers turn the order; that changes nothing.
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err("it has no address".to_owned());
        }
        Ok((addresses, found.valid_until().saturating_duration_since(Instant::now())))
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}
