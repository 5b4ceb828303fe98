//! `breakwater waf`: rules, before they are in force.

mod check;
mod replay;
mod test;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::exit::Failure;

/// What to do.
#[derive(Args, Debug)]
pub(crate) struct WafArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Say what is wrong with files of SecLang, with file and line, and what of them is not supported
    ///
    /// The files are read in order as one configuration. Exit codes: 0 no errors, 1 errors found, 2 a file could not be
    /// read.
    Check(check::CheckArgs),
    /// Run regression tests of the OWASP Core Rule Set through a data plane of this machine
    ///
    /// At blocking paranoia level 4, in DetectOnly, on loopback. Exit codes: 0 all hold, 1 some do not, 2 it could not be
    /// tried.
    Test(test::TestArgs),
    /// Say what the policies of a directory would have done to the requests of a log: who would be refused, who no longer
    ///
    /// A change of a policy, before it is in force. Reads access and audit logs of nodes (JSON), also mixed, and the
    /// combined log format of nginx and Apache. Each request is judged as nodes judge it, by lists, limits, rules and
    /// penalty, at the time of its line; compared with what the log says was done, or with what other manifests would do
    /// (--baseline). What is not in a log cannot be judged: bodies, most header fields, connections and responses.
    ///
    /// Exit codes: 0 done, whatever was found; 1 the manifests have errors, or --fail-on-new-blocks found new blocks;
    /// 2 something could not be read.
    Replay(replay::ReplayArgs),
}

pub(crate) fn run(args: &WafArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Check(args) => check::run(args),
        Command::Test(args) => test::run(args),
        Command::Replay(args) => replay::run(args),
    }
}
