//! `breakwater crds`: prints the CustomResourceDefinitions, or writes them to files.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::exit::{self, Failure};

/// Where the definitions go.
#[derive(Args, Debug)]
pub(crate) struct CrdsArgs {
    /// Write one file for each kind into this directory instead of printing all of them
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &CrdsArgs) -> Result<ExitCode, Failure> {
    let environment = |what: String| Failure::environment(what, "");
    match &args.dir {
        None => {
            let text = breakwater_crds::yaml().map_err(|error| environment(error.to_string()))?;
            exit::print(&text)?;
        }
        Some(dir) => {
            let files = breakwater_crds::files().map_err(|error| environment(error.to_string()))?;
            for (name, text) in files {
                let path = dir.join(name);
                std::fs::write(&path, text).map_err(|error| {
                    Failure::environment(
                        format!("{} cannot be written: {error}", path.display()),
                        "give a directory that exists and may be written",
                    )
                })?;
                writeln!(io::stdout(), "{}", path.display()).map_err(Failure::output)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
