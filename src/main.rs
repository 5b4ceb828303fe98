//! Breakwater: one binary, one page of subcommands.

mod crds;
mod exit;

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
    /// Print the CustomResourceDefinitions as YAML
    Crds(crds::CrdsArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Crds(args) => crds::run(&args),
    };
    done.unwrap_or_else(|failure| {
        exit::complain(&failure);
        failure.code()
    })
}
