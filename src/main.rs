//! Breakwater: one binary, one page of subcommands.

mod cache;
mod check;
mod crds;
mod crs;
mod dataplane;
mod exit;
mod explain;
mod manifests;
mod node;
mod operator;
mod purge;
mod serve;
mod size;
mod stop;
mod supervisor;
mod up;
mod waf;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// An edge for Kubernetes: cache, web application firewall and WebSocket relay.
#[derive(Parser, Debug)]
#[command(name = "breakwater", version, about, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 good, 1 the input has errors, 2 usage or environment.\n\
Messages go to standard error; BREAKWATER_LOG sets how many (error, warn, info, debug, or per module).")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve a directory of manifests on this machine, without a cluster
    Up(up::UpArgs),
    /// Watch a cluster's resources, compile them for the nodes, report their status
    Operator(operator::OperatorArgs),
    /// Serve on a node of a cluster what its operator publishes
    Dataplane(dataplane::DataplaneArgs),
    /// Report every error and warning in a directory of manifests, with file and line
    ///
    /// Exit codes: 0 no errors, 1 errors found, 2 the directory or a file could not be read.
    Check(check::CheckArgs),
    /// Say which object serves a URL, which policies apply, the cache key and the rules in force
    Explain(explain::ExplainArgs),
    /// Have nodes forget what they stored: by URL, prefix, tag, or everything
    Purge(purge::PurgeArgs),
    /// Look at what a node has stored
    Cache(cache::CacheArgs),
    /// Check rules of the web application firewall
    Waf(waf::WafArgs),
    /// Print the CustomResourceDefinitions as YAML
    Crds(crds::CrdsArgs),
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("BREAKWATER_LOG").unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Else a line that cannot be written (a full disk) panics whoever wrote it.
        .log_internal_errors(false)
        .init();
    let done = match Cli::parse().command {
        Command::Up(args) => up::run(args),
        Command::Operator(args) => operator::run(args),
        Command::Dataplane(args) => dataplane::run(args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Cache(args) => cache::run(&args),
        Command::Waf(args) => waf::run(&args),
        Command::Crds(args) => crds::run(&args),
    };
    done.unwrap_or_else(|failure| {
        exit::complain(&failure);
        failure.code()
    })
}
