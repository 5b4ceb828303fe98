//! `cluster`: a real Kubernetes on this machine, for people and for the tests of this repository.

use std::{io::Write, path::PathBuf, process::ExitCode};

use breakwater_e2e::{
    Error, Result,
    cluster::{Cluster, ControlPlane, build, run_dir},
    requirements::{self, Ring},
};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// A real Kubernetes on this machine.
#[derive(Parser)]
#[command(name = "cluster")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start one; it stays until interrupted
    Up {
        /// How many nodes run pods
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(breakwater_e2e::cluster::MAX_NODES)))]
        nodes: u8,
        /// Only etcd and kube-apiserver
        #[arg(long)]
        control_plane_only: bool,
    },
    /// Build the Kubernetes programs and images without starting anything
    Build,
    /// List what this machine lacks; fails if anything
    Check,
    /// Remove runs: the one given, else those whose owner is dead
    Down {
        /// A run directory
        run: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Action::Up {
            nodes,
            control_plane_only,
        } => up(nodes, control_plane_only).await,
        Action::Build => built().await,
        Action::Check => check(),
        Action::Down { run } => down(run),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere is left to report a closed standard error.
            let _ = writeln!(std::io::stderr(), "cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn up(nodes: u8, control_plane_only: bool) -> Result<()> {
    let listen = |kind| {
        signal(kind).map_err(|source| Error::Io {
            action: "listen for signals".to_owned(),
            source,
        })
    };
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let stop = async {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    };
    let run = async {
        // Held until the signal; dropping the future drops, and so removes, what was started.
        if control_plane_only {
            let control_plane = ControlPlane::start().await?;
            announce(&format!("export KUBECONFIG={}", control_plane.kubeconfig().display()))?;
            std::future::pending::<Result<()>>().await
        } else {
            let cluster = Cluster::start(nodes).await?;
            announce(&format!("export KUBECONFIG={}", cluster.kubeconfig().display()))?;
            for node in cluster.nodes() {
                announce(&format!("# {} {}", node.name(), node.address()))?;
            }
            std::future::pending::<Result<()>>().await
        }
    };
    tokio::select! { () = stop => Ok(()), outcome = run => outcome }
}

async fn built() -> Result<()> {
    requirements::require(Ring::Nodes)?;
    build::ensure(Ring::Nodes).await?;
    announce(&format!("{}", build::root().display()))
}

fn check() -> Result<()> {
    for (name, ring) in [("control plane", Ring::ControlPlane), ("nodes", Ring::Nodes)] {
        let missing = requirements::missing(ring);
        announce(&format!(
            "{name}: {}",
            if missing.is_empty() { "can run here" } else { "missing" }
        ))?;
        for missing in missing {
            announce(&missing.to_string())?;
        }
    }
    if requirements::missing(Ring::Nodes).is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid("something is missing".to_owned()))
    }
}

fn down(run: Option<PathBuf>) -> Result<()> {
    if let Some(run) = run {
        return run_dir::remove(&run);
    }
    for (run, owner_lives) in run_dir::list()? {
        if owner_lives {
            announce(&format!("{}: in use, left", run.display()))?;
        } else {
            run_dir::remove(&run)?;
            announce(&format!("{}: removed", run.display()))?;
        }
    }
    Ok(())
}

fn announce(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|source| Error::Io {
            action: "write to standard output".to_owned(),
            source,
        })
}
