//! Breakwater: one binary, one page of subcommands.

mod check;
mod crds;
mod exit;
mod explain;
mod manifests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An edge for Kubernetes: cache, web application firewall and WebSocket relay.
#[derive(Parser, Debug)]
#[command(name = "breakwater", version, about, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 good, 1 the input has errors, 2 usage or environment.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Report every error and warning in a directory of manifests, with file and line
    ///
    /// Exit codes: 0 no errors, 1 errors found, 2 the directory or a file could not be read.
    Check(check::CheckArgs),
    /// Say which object serves a URL, which policies apply, the cache key and the rules in force
    Explain(explain::ExplainArgs),
    /// Print the CustomResourceDefinitions as YAML
    Crds(crds::CrdsArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Crds(args) => crds::run(&args),
    };
    done.unwrap_or_else(|failure| {
        exit::complain(&failure);
        failure.code()
    })
}
