//! `breakwater dataplane`: a node of a cluster, its configuration from an operator.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use breakwater_dataplane::DataPlane;
use breakwater_dataplane::follow::{Config, FollowState, Follower, Sink};
use breakwater_snapshot::{PeerAddress, Peers, Rejection, Snapshot};
use clap::Args;
use reqwest::Url;
use tokio::signal::unix::SignalKind;
use tokio::sync::watch;

use crate::exit::{Failure, complain};
use crate::serve::ServeArgs;
use crate::stop::{DrainArgs, Stop, receive};

/// The nodes of a cluster hear of a change at once; they begin to prefetch within this time.
const PREFETCH_SPREAD: Duration = Duration::from_secs(5);

/// Arguments of `breakwater dataplane`.
#[derive(Args, Debug)]
pub(crate) struct DataplaneArgs {
    /// Where the operator is, such as http://breakwater-operator:8600
    #[arg(long, value_name = "URL")]
    operator: Url,
    /// This node's name [default: the host's name]
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node: Option<String>,
    #[command(flatten)]
    serve: ServeArgs,
    /// This node's address as other nodes reach it, for the port of --peer [default: the address of --peer]
    #[arg(long, value_name = "IP", env = "POD_IP")]
    pod_ip: Option<IpAddr>,
    /// Address for metrics and health
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:9090")]
    admin: SocketAddr,
    /// Directory for the last good configuration, from which a restart serves without the operator
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Directory for the private keys of that configuration, best in memory; without it they are kept nowhere, and a
    /// restart has no TLS until the operator is heard
    #[arg(long, value_name = "DIR", requires = "state_dir")]
    secrets_dir: Option<PathBuf>,
    #[command(flatten)]
    drain: DrainArgs,
}

/// How long a node whose cache outlived a restart waits for the operator, and so for the purges it missed, before it goes
/// on with its copy of the configuration.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(args: DataplaneArgs) -> Result<ExitCode, Failure> {
    crate::stop::runtime()?.block_on(serve(args))
}

async fn serve(args: DataplaneArgs) -> Result<ExitCode, Failure> {
    // Before it says that it serves: from then on it may be told anything.
    let mut stop = Stop::new()?;
    let mut hangup = receive(SignalKind::hangup())?;
    let node = match args.node {
        Some(node) => node,
        None => host_name()?,
    };
    let state = args.state_dir.as_deref();
    let outlives = args.serve.has_disk();
    let serving = args
        .serve
        .start(&node, args.admin, state, None, PREFETCH_SPREAD)
        .await?;
    let data_plane = serving.data_plane;
    let peer = match data_plane.peer_address() {
        None => None,
        Some(listens) => {
            let ip = args.pod_ip.unwrap_or_else(|| listens.ip());
            if ip.is_unspecified() {
                return Err(Failure::environment(
                    format!("other nodes cannot reach this one at {listens}"),
                    "give its address with --pod-ip, or to --peer",
                ));
            }
            Some(PeerAddress {
                address: SocketAddr::new(ip, listens.port()),
            })
        }
    };
    let (may_be_asked, asked_at) = watch::channel(None);
    let mut config = Config {
        state_dir: args.state_dir,
        secrets_dir: args.secrets_dir,
        prefetch: Some(data_plane.follow_prefetches()),
        peer: Some(asked_at),
        crs: data_plane.crs_version().map(str::to_owned),
        ..Config::new(args.operator.clone(), node.clone())
    };
    if outlives {
        config.timing.first_word = FIRST_WORD;
    }
    let follower = Follower::new(config, Applier(Arc::clone(&data_plane)))
        .map_err(|error| Failure::environment(error.to_string(), ""))?;
    complain(format!(
        "breakwater: node {node} listens on {}, operator {}",
        serving.described, args.operator
    ));
    let state = follower.state();
    let confirming = tokio::spawn(confirm(Arc::clone(&data_plane), state, peer, may_be_asked));
    let knowing = tokio::spawn(know(Arc::clone(&data_plane), follower.peers()));
    let of_logs = Arc::clone(&data_plane);
    let reopening = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            of_logs.reopen_logs();
        }
    });
    let (stopping, told) = tokio::sync::oneshot::channel::<()>();
    let following = tokio::spawn(follower.run(async move {
        let _ = told.await;
    }));
    stop.told().await;
    complain("breakwater: draining");
    // The follower says goodbye to the operator, so that nobody waits for this node.
    let _ = stopping.send(());
    let leaving = async {
        args.drain.leave(&data_plane).await;
        let _ = following.await;
    };
    tokio::select! {
        () = leaving => {}
        () = stop.told() => complain("breakwater: told again; leaving at once"),
    }
    confirming.abort();
    knowing.abort();
    reopening.abort();
    Ok(ExitCode::SUCCESS)
}

/// Applies what the follower fetched.
struct Applier(Arc<DataPlane>);

impl Sink for Applier {
    async fn apply(&mut self, snapshot: Snapshot) -> Vec<Rejection> {
        let applied = self.0.apply(&snapshot).await;
        for rejection in &applied.rejected {
            let last_good = applied.kept.contains(&rejection.id);
            tracing::warn!(object = %rejection.id, last_good, "rejected: {}", rejection.message);
        }
        tracing::info!(manifest = %applied.manifest, objects = snapshot.manifest().entries.len(), "applied");
        applied.rejected
    }
}

/// Tells the data plane which other nodes there are.
async fn know(data_plane: Arc<DataPlane>, mut peers: watch::Receiver<Peers>) {
    while peers.changed().await.is_ok() {
        let peers = peers.borrow_and_update().clone();
        data_plane.set_peers(&peers);
    }
}

/// Keeps `snapshot_age_seconds` true: it grows while the operator is silent. And says whether other nodes may ask at
/// `peer`: while this one is ready.
async fn confirm(
    data_plane: Arc<DataPlane>,
    mut state: watch::Receiver<FollowState>,
    peer: Option<PeerAddress>,
    may_be_asked: watch::Sender<Option<PeerAddress>>,
) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        let now = peer.clone().filter(|_| data_plane.ready());
        may_be_asked.send_if_modified(|said| std::mem::replace(said, now.clone()) != now);
        let state = state.borrow_and_update();
        if let Some(age) = state.age(std::time::Instant::now()) {
            data_plane.confirm_age(age);
        }
    }
}

pub(crate) fn host_name() -> Result<String, Failure> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => Err(Failure::environment("this host has no name", "give one with --node")),
        name => Ok(name.to_owned()),
    }
}
