//! `breakwater up`: the data plane on one machine, its configuration a directory of manifests.

mod demo;
mod reload;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::SignalKind;

use crate::exit::{Failure, complain};
use crate::serve::ServeArgs;
use crate::stop::{Stop, receive};
use reload::Reloader;

/// Longest time from SIGTERM to exit.
const DRAIN: Duration = Duration::from_secs(30);

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
    /// Address for metrics and health
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Directory for what survives a restart: the last good version of each object
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Start a small origin as well, and say what to try; without -f, use built-in manifests for it
    #[arg(long)]
    demo: bool,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(args: UpArgs) -> Result<ExitCode, Failure> {
    crate::stop::runtime()?.block_on(up(args))
}

async fn up(args: UpArgs) -> Result<ExitCode, Failure> {
    // Before it says that it serves: from then on it may be told anything.
    let mut stop = Stop::new()?;
    let mut hangup = receive(SignalKind::hangup())?;
    let mut demo = None;
    if args.demo {
        demo = Some(demo::start(args.dir.is_none()).await?);
    }
    let built_in = demo.as_ref().and_then(demo::Demo::manifests);
    let dir = args.dir.or(built_in).unwrap_or_default();
    // Before it is read: a change in between is seen, and the directory read again.
    let mut changes = watch::watch(&dir);
    let mut reloader = Reloader::open(dir, args.state_dir)?;
    let serving = args.serve.start(args.admin).await?;
    let data_plane = serving.data_plane;
    let objects = reloader.start(&data_plane).await;

    complain(format!(
        "breakwater: serving {}, {objects} objects from {}",
        serving.described,
        reloader.dir().display()
    ));
    if let Some(demo) = &demo {
        demo.explain(data_plane.addresses().first().copied(), serving.admin, reloader.dir());
    }
    let mut confirm = tokio::time::interval(CONFIRM);
    loop {
        tokio::select! {
            () = stop.told() => break,
            _ = hangup.recv() => reloader.reload(&data_plane, true).await,
            () = changes.settled() => reloader.reload(&data_plane, false).await,
            // The directory is the authority, and it is watched: what was read last is current.
            _ = confirm.tick() => data_plane.confirm_age(Duration::ZERO),
        }
    }
    complain("breakwater: draining");
    tokio::select! {
        () = data_plane.drain(DRAIN) => {}
        () = stop.told() => complain("breakwater: told again; leaving at once"),
    }
    Ok(ExitCode::SUCCESS)
}
