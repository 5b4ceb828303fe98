//! `breakwater up`: the data plane on one machine, its configuration a directory of manifests.

mod demo;
mod lists;
mod peers;
mod reload;
mod secrets;
mod takeover;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::SignalKind;

use crate::exit::{Failure, complain};
use crate::serve::ServeArgs;
use crate::stop::{DrainArgs, Stop, receive};
use crate::supervisor::Supervisor;
use lists::Lists;
use peers::PeerArgs;
use reload::Reloader;
use secrets::{SecretArgs, Secrets};
use takeover::Takeover;

/// How often the configuration in force is noted as current.
const CONFIRM: Duration = Duration::from_secs(5);

/// Arguments of `breakwater up`.
#[derive(Args, Debug)]
pub(crate) struct UpArgs {
    /// Directory of manifests; read again when a file changes, and on SIGHUP
    #[arg(short = 'f', long = "file", value_name = "DIR", required_unless_present = "demo")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    secrets: SecretArgs,
    #[command(flatten)]
    peers: PeerArgs,
    /// Address for metrics and health
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Directory for what survives a restart: the last good version of each object and of each list behind a URL, and with --disk stored responses
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Take the place of the `up` that runs with the same --state-dir: take its listening sockets, and send it away once
    /// this one serves
    #[arg(long, requires = "state_dir")]
    takeover: bool,
    #[command(flatten)]
    drain: DrainArgs,
    /// Start a small origin as well, and say what to try; without -f, use built-in manifests for it
    #[arg(long)]
    demo: bool,
}

/// Runs until SIGTERM or SIGINT, or until another process has taken over.
pub(crate) fn run(args: UpArgs) -> Result<ExitCode, Failure> {
    crate::stop::runtime()?.block_on(up(args))
}

async fn up(args: UpArgs) -> Result<ExitCode, Failure> {
    // Before it says that it serves: from then on it may be told anything.
    let mut stop = Stop::new()?;
    let mut hangup = receive(SignalKind::hangup())?;
    let supervisor = Supervisor::from_env();
    let (takeover, sockets) = match args.state_dir.as_deref().filter(|_| args.takeover) {
        Some(dir) => Takeover::begin(dir)
            .await
            .map(|(takeover, sockets)| (Some(takeover), Some(sockets)))?,
        None => (None, None),
    };
    let mut demo = None;
    if args.demo {
        demo = Some(demo::start(args.dir.is_none()).await?);
    }
    let built_in = demo.as_ref().and_then(demo::Demo::manifests);
    let dir = args.dir.or(built_in).unwrap_or_default();
    // Before it is read: a change in between is seen, and the directory read again.
    let secrets = Secrets::new(args.secrets);
    let mut changes = secrets.changes();
    changes.push(watch::watch(&dir));
    let lists = Lists::open(args.state_dir.as_deref())?;
    let list_metrics = lists.metrics();
    let mut reloader = Reloader::open(dir, args.state_dir.clone(), secrets, lists)?;
    let peers = args.peers.read()?;
    let state = args.state_dir.as_deref();
    let serving = args
        .serve
        .start(&peers.node, args.admin, state, sockets, Duration::ZERO)
        .await?;
    let data_plane = serving.data_plane;
    peers.introduce(&data_plane);
    data_plane.more_metrics(list_metrics);
    let objects = reloader.start(&data_plane).await;
    let in_place_of_another = takeover.is_some();
    if let Some(takeover) = takeover {
        takeover.finish(&data_plane, &args.drain).await?;
    }
    let mut taken_over = takeover::offer(args.state_dir.as_deref(), &data_plane);

    complain(format!(
        "breakwater: serving {}, {objects} objects from {}",
        serving.described,
        reloader.dir().display()
    ));
    match in_place_of_another {
        true => supervisor.ready_in_place_of_another(),
        false => supervisor.ready(),
    }
    if let Some(demo) = &demo {
        demo.explain(data_plane.addresses().first().copied(), serving.admin, reloader.dir());
    }
    let mut confirm = tokio::time::interval(CONFIRM);
    let taken_over = loop {
        tokio::select! {
            () = stop.told() => break false,
            _ = &mut taken_over => break true,
            _ = hangup.recv() => {
                data_plane.reopen_logs();
                supervisor.reloading();
                reloader.reload(&data_plane, true).await;
                supervisor.ready();
            }
            () = watch::any_settled(&mut changes) => {
                supervisor.reloading();
                reloader.reload(&data_plane, false).await;
                supervisor.ready();
            }
            () = reloader.lists_changed() => reloader.recompile(&data_plane).await,
            // The directory is the authority, and it is watched: what was read last is current.
            _ = confirm.tick() => data_plane.confirm_age(Duration::ZERO),
        }
    };
    complain("breakwater: draining");
    if !taken_over {
        supervisor.stopping();
    }
    let leaving = async {
        if taken_over {
            data_plane.release_disk();
            // Nobody has to notice: the other process is ready at the same addresses.
            args.drain.drain(&data_plane).await;
        } else {
            args.drain.leave(&data_plane).await;
        }
    };
    tokio::select! {
        () = leaving => {}
        () = stop.told() => complain("breakwater: told again; leaving at once"),
    }
    Ok(ExitCode::SUCCESS)
}
