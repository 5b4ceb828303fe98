//! What `up` and `dataplane` have in common: the data plane's own arguments, and starting it.

mod listen;
mod logs;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use breakwater_dataplane::takeover::Sockets;
use breakwater_dataplane::{
    DataPlane, DiskOptions, Listen, Options, SMALLEST_DISK, SpoolOptions, cgroup_memory_limit, crs_dir, default_workers,
};
use clap::Args;
use logs::LogArgs;

use crate::exit::Failure;
use crate::size::Size;

/// How a data plane is set up.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Address for clients in clear text; may be given several times. `,proxy-protocol=NETWORK` behind it: peers of that
    /// network begin with a PROXY header
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080", value_parser = listen::clear)]
    listen: Vec<Listen>,
    /// Address for clients with TLS; written as --listen [default: none]
    #[arg(long, value_name = "ADDR", value_parser = listen::tls)]
    listen_tls: Vec<Listen>,
    /// Address for other nodes, which ask here for what they have not stored (`tiering` in EdgeCaches) [default: none]
    #[arg(long, value_name = "ADDR", value_parser = listen::peer)]
    peer: Option<Listen>,
    /// Port of https as clients see it, where `tls.redirect` sends them
    #[arg(long, value_name = "PORT", default_value_t = 443, value_parser = clap::value_parser!(u16).range(1..))]
    https_port: u16,
    /// Worker threads [default: one for each processor this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Memory for stored responses, such as 512Mi [default: half of the memory limit, or 256Mi without one]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Disk for stored responses, such as 20Gi: they survive a restart. Needs a directory: --state-dir or --disk-dir
    #[arg(long, value_name = "SIZE")]
    disk: Option<Size>,
    /// Directory for them, which belongs to them alone [default: `cache` below --state-dir]
    #[arg(long, value_name = "DIR", requires = "disk")]
    disk_dir: Option<PathBuf>,
    /// Disk for what is too large for memory, while it is fetched, so that who comes late does not fetch it again; 0 is none
    /// [default: 1Gi, where there is a directory for it]
    #[arg(long, value_name = "SIZE")]
    spool: Option<Size>,
    /// Directory for it: its files have no names [default: --state-dir, or else --disk-dir]
    #[arg(long, value_name = "DIR")]
    spool_dir: Option<PathBuf>,
    /// Memory this process may use, 64Mi at the least; near it the cache shrinks, then new work is refused [default: the
    /// control group's]
    #[arg(long, value_name = "SIZE", value_parser = memory_limit)]
    memory_limit: Option<Size>,
    /// Client connections open at once [default: 100000; at most half of the open-file limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(64..))]
    max_connections: Option<u64>,
    /// Client connections of one IPv4 address or IPv6 /64 [default: a quarter of all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_connections_per_client: Option<u64>,
    /// Name server for the names of origins; may be given several times [default: those of the system]
    #[arg(long = "name-server", value_name = "ADDR")]
    name_servers: Vec<SocketAddr>,
    /// Directory of the OWASP Core Rule Set, for WafPolicies with `crs`: DIR/rules/*.conf with their data files, and
    /// DIR/crs-setup.conf [default: /usr/share/breakwater/crs or /usr/share/modsecurity-crs, if there is one]
    #[arg(long, value_name = "DIR")]
    crs_dir: Option<PathBuf>,
    /// Database of countries in MaxMind's format (mmdb), for WafPolicies with `countries`, rules with `@geoLookup`, and the
    /// `country` in log lines; read again when it changes [default: none]
    #[arg(long, value_name = "FILE")]
    geo_db: Option<PathBuf>,
    /// Database of autonomous systems in the same format, for WafPolicies with `asns` and the `asn` in audit lines
    /// [default: none]
    #[arg(long, value_name = "FILE")]
    asn_db: Option<PathBuf>,
    #[command(flatten)]
    logs: LogArgs,
}

/// The least ceiling for the memory of a process, bytes: below it would refuse all work from the beginning.
const LEAST_MEMORY: u64 = 64 << 20;

fn memory_limit(text: &str) -> Result<Size, String> {
    let limit: Size = text.parse()?;
    if limit.bytes() < LEAST_MEMORY {
        return Err("the process itself takes tens of mebibytes: give it 64Mi or more".to_owned());
    }
    Ok(limit)
}

/// A data plane that runs.
pub(crate) struct Serving {
    pub(crate) data_plane: Arc<DataPlane>,
    /// Where metrics and health are served.
    pub(crate) admin: SocketAddr,
    /// Its addresses, workers and Core Rule Set, for the line that says it serves.
    pub(crate) described: String,
}

impl ServeArgs {
    /// Starts the data plane, with an empty configuration, and its admin port; on the sockets of the process it takes
    /// over, if there is one, where it does not accept yet. `node` is its name among other nodes, `prefetch_spread` is of
    /// the data plane's options.
    pub(crate) async fn start(
        self,
        node: &str,
        admin: SocketAddr,
        state_dir: Option<&Path>,
        inherited: Option<Sockets>,
        prefetch_spread: Duration,
    ) -> Result<Serving, Failure> {
        if let (Some(memory), Some(limit)) = (self.memory, self.memory_limit)
            && memory.bytes() >= limit.bytes()
        {
            return Err(Failure::environment(
                "--memory leaves nothing of --memory-limit for the process itself",
                "leave --memory away for half of the limit",
            ));
        }
        let disk = self.disk_options(state_dir)?;
        let spool = self.spool_options(state_dir)?;
        let (audit_log, access_log) = self.logs.options()?;
        let defaults = Options::default();
        let memory_limit = self.memory_limit.map(Size::bytes).or_else(cgroup_memory_limit);
        let options = Options {
            listen: self
                .listen
                .into_iter()
                .chain(self.listen_tls)
                .chain(self.peer)
                .collect(),
            node: node.to_owned(),
            https_port: self.https_port,
            workers: self.workers.map_or_else(default_workers, usize::from),
            memory: match self.memory {
                Some(memory) => memory.bytes(),
                None => memory_limit.map_or(defaults.memory, |limit| limit / 2),
            },
            disk,
            spool,
            memory_limit,
            access_log,
            audit_log,
            max_connections: self.max_connections.unwrap_or(defaults.max_connections),
            name_servers: self.name_servers,
            max_connections_per_client: self.max_connections_per_client,
            crs_dir: crs_dir(self.crs_dir),
            geo_db: self.geo_db,
            asn_db: self.asn_db,
            challenge_key: state_dir.map(|dir| dir.join("challenge.key")),
            prefetch_spread,
        };
        let refused = |error: breakwater_dataplane::StartError| Failure::environment(error.to_string(), "");
        let data_plane = match inherited {
            Some(sockets) => DataPlane::take_over(&options, admin, sockets),
            None => DataPlane::start(&options),
        };
        let data_plane = Arc::new(data_plane.map_err(refused)?);
        let watched = Arc::clone(&data_plane);
        tokio::spawn(async move { watched.watch_memory().await });
        let watched = Arc::clone(&data_plane);
        tokio::spawn(async move { watched.watch_databases().await });
        let admin = data_plane
            .serve_admin(admin, axum::Router::new())
            .await
            .map_err(refused)?;
        let addresses: Vec<_> = data_plane.listeners().iter().map(listen::url).collect();
        let workers = options.workers;
        let crs = data_plane
            .crs_version()
            .map_or_else(String::new, |version| format!(", Core Rule Set {version}"));
        Ok(Serving {
            described: format!(
                "{} with {workers} workers, admin http://{admin}{crs}",
                addresses.join(" ")
            ),
            data_plane,
            admin,
        })
    }

    /// Whether stored responses outlive a restart.
    pub(crate) const fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    fn spool_options(&self, state_dir: Option<&Path>) -> Result<Option<SpoolOptions>, Failure> {
        let dir = self.spool_dir.as_deref().or(state_dir).or(self.disk_dir.as_deref());
        let bytes = self.spool.map(Size::bytes);
        match (dir, bytes) {
            (_, Some(0)) | (None, None) => Ok(None),
            (Some(dir), bytes) => Ok(Some(SpoolOptions {
                dir: dir.to_owned(),
                bytes: bytes.unwrap_or(SpoolOptions::DEFAULT_BYTES),
            })),
            (None, Some(_)) => Err(Failure::environment(
                "--spool needs a directory",
                "add --state-dir DIR or --spool-dir DIR",
            )),
        }
    }

    fn disk_options(&self, state_dir: Option<&Path>) -> Result<Option<DiskOptions>, Failure> {
        let Some(size) = self.disk else { return Ok(None) };
        let dir = self.disk_dir.clone().or_else(|| Some(state_dir?.join("cache")));
        let dir = dir
            .ok_or_else(|| Failure::environment("--disk needs a directory", "add --state-dir DIR or --disk-dir DIR"))?;
        if size.bytes() < SMALLEST_DISK {
            let smallest = SMALLEST_DISK >> 20;
            return Err(Failure::environment(
                format!("--disk {} is too small", size.bytes()),
                format!("give at least {smallest}Mi"),
            ));
        }
        Ok(Some(DiskOptions {
            dir,
            bytes: size.bytes(),
        }))
    }
}
