//! `breakwater up`: the data plane on one machine, its configuration a directory of manifests.

mod demo;
mod reload;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use breakwater_dataplane::{DataPlane, Options, default_workers};
use clap::Args;
use tokio::signal::unix::SignalKind;

use crate::exit::{Failure, complain};
use crate::size::Size;
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
    /// Address for clients; may be given several times
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    listen: Vec<SocketAddr>,
    /// Address for metrics and health
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Directory for what survives a restart: the last good version of each object
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Worker threads [default: one for each processor this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Memory for stored responses, such as 512Mi
    #[arg(long, value_name = "SIZE", default_value = "256Mi")]
    memory: Size,
    /// File for the audit log, one JSON line for each event [default: standard error]
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// File for the access log, one JSON line for each request; `-` is standard error [default: off]
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
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
    let options = Options {
        listen: args.listen,
        workers: args.workers.map_or_else(default_workers, usize::from),
        memory: args.memory.bytes(),
        access_log: args.access_log,
        audit_log: args.audit_log,
        ..Options::default()
    };
    let data_plane = DataPlane::start(&options).map_err(|error| Failure::environment(error.to_string(), ""))?;
    let data_plane = Arc::new(data_plane);
    let admin = data_plane
        .serve_admin(args.admin, axum::Router::new())
        .await
        .map_err(|error| Failure::environment(error.to_string(), ""))?;
    let objects = reloader.start(&data_plane).await;

    let listen = data_plane
        .addresses()
        .iter()
        .map(|a| format!("http://{a}"))
        .collect::<Vec<_>>()
        .join(" ");
    complain(format!(
        "breakwater: serving {listen} with {} workers, admin http://{admin}, {objects} objects from {}",
        options.workers,
        reloader.dir().display()
    ));
    if let Some(demo) = &demo {
        demo.explain(data_plane.addresses().first().copied(), admin, reloader.dir());
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
