//! `breakwater waf`: rules, before they are in force.

mod check;
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
}

pub(crate) fn run(args: &WafArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Check(args) => check::run(args),
        Command::Test(args) => test::run(args),
    }
}
