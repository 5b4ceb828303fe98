//! Puts the parts together and takes them down again.
//!
//! Down: streams end, so that nodes go to another replica; the Lease is released; open requests may finish. All of it
//! within [`Options::deadline`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use breakwater_compile::{Memo, Output, compile_again};
use breakwater_snapshot::Kind;
use breakwater_waf::catalog::Catalog;

use crate::debounce::Debounce;
use crate::lease::{Elector, Leadership, LeaseConfig};
use crate::lists::config_maps::ConfigMapShelf;
use crate::lists::{self, Fetcher};
use crate::publish::serve::{ServeLimits, serve};
use crate::publish::{Limits, PeersView, Publisher, admin_router, router};
use crate::status::peers::Peers;
use crate::status::{Compiled, Patience, StatusWriter};
use crate::watch::Watched;
use crate::{Metrics, OperatorError};

/// How an operator runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where nodes and peers are served.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub admin: SocketAddr,
    /// The operator's own namespace, where it keeps lists of addresses.
    pub namespace: String,
    /// The Core Rule Set, for what is to be said of policies that use it; none: it is not known here.
    pub crs: Option<Arc<Catalog>>,
    /// Whether lists may be fetched from this machine.
    pub lists_from_loopback: bool,
    /// The one namespace to watch, instead of all.
    pub watch_namespace: Option<String>,
    /// This replica's name, unique among them.
    pub identity: String,
    /// The Lease to hold; none: this is the only replica, and it leads.
    pub lease: Option<LeaseConfig>,
    /// `HOST:PORT` of all replicas: a headless Service.
    pub peers: Option<String>,
    /// What bounds publishing.
    pub limits: Limits,
    /// How changes are gathered.
    pub debounce: Debounce,
    /// How long status writing waits.
    pub patience: Patience,
    /// How long shutting down may take.
    pub deadline: Duration,
}

impl Options {
    /// The defaults, for one replica that leads.
    pub fn new(listen: SocketAddr, admin: SocketAddr, identity: impl Into<String>) -> Self {
        Self {
            listen,
            admin,
            namespace: "breakwater-system".to_owned(),
            crs: None,
            lists_from_loopback: false,
            watch_namespace: None,
            identity: identity.into(),
            lease: None,
            peers: None,
            limits: Limits::default(),
            debounce: Debounce::default(),
            patience: Patience::default(),
            deadline: Duration::from_secs(10),
        }
    }
}

/// An operator whose listeners are bound.
pub struct Operator {
    options: Options,
    client: Client,
    listener: TcpListener,
    admin: TcpListener,
}

impl Operator {
    /// Binds the listeners.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub async fn bind(options: Options, client: Client) -> Result<Self, OperatorError> {
        Ok(Self {
            listener: bind(options.listen).await?,
            admin: bind(options.admin).await?,
            options,
            client,
        })
    }

    /// Where nodes are served, with the port the system chose when none was given.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where an administrator is served.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Runs until `stop` is ready and everything is taken down.
    ///
    /// # Errors
    /// When the metrics cannot be registered.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), OperatorError> {
        let Self {
            options,
            client,
            listener,
            admin,
        } = self;
        let metrics = Metrics::new()?;
        let publisher = Publisher::new(options.identity.clone(), options.limits.clone(), metrics.clone());
        let stopping = watch::Sender::new(false);
        let stopped = || {
            let mut stopping = stopping.subscribe();
            async move { stopping.wait_for(|stopping| *stopping).await.map_or((), drop) }
        };
        let limits = ServeLimits::default();
        let admin_limits = ServeLimits {
            connections: 256,
            ..limits
        };
        let mut ending = JoinSet::new();
        ending.spawn(serve(listener, router(publisher.clone()), limits, stopped()));
        ending.spawn(serve(admin, admin_router(publisher.clone()), admin_limits, stopped()));
        let leadership = match options.lease {
            Some(lease) => {
                let elector = Elector::new(&client, lease, metrics.clone());
                let leadership = elector.leadership();
                ending.spawn(elector.run(stopped()));
                leadership
            }
            None => {
                metrics.leader(true);
                Leadership::always()
            }
        };

        let mut tasks = JoinSet::new();
        let watched = Watched::start(
            &client,
            options.watch_namespace.as_deref(),
            &options.namespace,
            &metrics,
            &mut tasks,
        );
        let fetcher = Fetcher::new(options.lists_from_loopback);
        let shelf = ConfigMapShelf::new(client.clone(), &options.namespace, watched.clone(), leadership.clone());
        let (seen, list_metrics) = (watched.clone(), metrics.lists());
        tasks.spawn(async move {
            // What is kept must be known before anything is fetched.
            seen.synced().await;
            lists::keep(shelf, fetcher, list_metrics).await;
        });
        let peers = Peers::default();
        let replicas = Peers::<PeersView>::default();
        if let Some(name) = options.peers {
            let following = replicas
                .clone()
                .follow(name.clone(), options.identity.clone(), Leadership::always());
            tasks.spawn(following);
            tasks.spawn(peers.clone().follow(name, options.identity.clone(), leadership.clone()));
        }
        let seen = watched.clone();
        let announcing = publisher.clone().announce_peers(replicas, move || seen.node_labels());
        tasks.spawn(announcing);
        let (compiles, compiled) = watch::channel(None);
        let mut writer = StatusWriter::new(
            client,
            &options.identity,
            watched.clone(),
            publisher.clone(),
            peers,
            leadership,
            metrics.clone(),
        );
        writer.patience = options.patience;
        tasks.spawn(writer.run(compiled));
        tasks.spawn(compile_changes(
            watched,
            options.debounce,
            publisher.clone(),
            compiles,
            metrics,
            options.crs,
        ));

        stop.await;
        tracing::info!("shutting down");
        tasks.shutdown().await;
        publisher.close();
        stopping.send_replace(true);
        let ended = async { while ending.join_next().await.is_some() {} };
        if tokio::time::timeout(options.deadline, ended).await.is_err() {
            tracing::warn!("shutting down took too long and was cut short");
        }
        Ok(())
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, OperatorError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| OperatorError::Bind { address, error })
}

/// Compiles whenever what is watched changed, and publishes.
async fn compile_changes(
    watched: Watched,
    debounce: Debounce,
    publisher: Publisher,
    compiles: watch::Sender<Option<Compiled>>,
    metrics: Metrics,
    crs: Option<Arc<Catalog>>,
) {
    watched.synced().await;
    let mut changed = watched.changed();
    let mut memo = Memo::default();
    loop {
        changed.mark_unchanged();
        let mut world = watched.world();
        world.crs.clone_from(&crs);
        watched.select_nodes_by(&world);
        let begun = Instant::now();
        let mut remembered = std::mem::take(&mut memo);
        let compiled = tokio::task::spawn_blocking(move || {
            let output = compile_again(&world, &mut remembered);
            (output, remembered)
        });
        match compiled.await {
            Ok((output, remembered)) => {
                memo = remembered;
                let news = publisher.publish(&output.snapshot);
                metrics.compiled(begun.elapsed(), news);
                count(&output, &metrics);
                if news {
                    let objects = output.snapshot.manifest().entries.len();
                    let digest = output.snapshot.manifest().digest();
                    tracing::info!(manifest = %digest, objects, "configuration published");
                }
                compiles.send_replace(Some(Compiled {
                    digest: output.snapshot.manifest().digest(),
                    manifest: output.snapshot.manifest().clone().into(),
                    verdicts: output.verdicts.into(),
                    purges: output.purges.into(),
                }));
            }
            // A fault of ours in one object must not take down the configuration of all: the last one stays.
            Err(error) => tracing::error!(%error, "the compile step failed; the last configuration stays"),
        }
        if !debounce.settled(&mut changed).await {
            return;
        }
    }
}

fn count(output: &Output, metrics: &Metrics) {
    for kind in Kind::CUSTOM {
        let of_kind = || output.verdicts.iter().filter(|verdict| verdict.id.kind == kind);
        let accepted = of_kind().filter(|verdict| verdict.accepted.status).count();
        metrics.objects(kind, "accepted", accepted);
        metrics.objects(kind, "refused", of_kind().count() - accepted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakwater_compile::{World, compile};

    #[test]
    fn an_empty_world_publishes_an_empty_manifest() {
        let publisher = Publisher::new("me", Limits::default(), Metrics::new().unwrap());
        assert!(publisher.published().borrow().is_none());
        let output = compile(&World::default());
        assert!(publisher.publish(&output.snapshot));
        assert!(!publisher.publish(&output.snapshot));
    }
}
