//! `breakwater check`: every error and warning that the operator would report, offline, with file and line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use breakwater_compile::{Severity, compile};
use clap::{Args, ValueEnum};

use crate::crs::{catalog, read_crs};
use crate::exit::{self, Failure};
use crate::manifests::{self, Diagnostic, Loaded, Services};

/// What to check, and how to tell.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Directory of manifests: its *.yaml and *.yml files, not those of directories below; or one file
    #[arg(short = 'f', long = "filename", value_name = "DIR")]
    dir: PathBuf,
    /// Directory of the OWASP Core Rule Set that nodes have, to look at exclusions [default: as for `up`]
    #[arg(long, value_name = "DIR")]
    crs_dir: Option<PathBuf>,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// How a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; findings go to standard error
    Text,
    /// For programs, to standard output
    Json,
}

pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let loaded = load(&args.dir)?;
    let mut world = loaded.world();
    world.crs = catalog(read_crs(args.crs_dir.clone())?);
    let output = compile(&world);
    let found = loaded.report(&output, Services::Elsewhere);
    match args.output {
        Format::Json => exit::print(&to_json(&found)?)?,
        Format::Text => {
            found.iter().for_each(exit::complain);
            exit::print(&summary(&loaded, &found))?;
        }
    }
    Ok(code(&loaded, &found))
}

/// Reads a directory for a command that cannot go on without.
pub(crate) fn load(dir: &Path) -> Result<Loaded, Failure> {
    manifests::load(dir)
        .map_err(|error| Failure::environment(error.to_string(), "give a directory of manifests with -f DIR"))
}

/// 0 without errors, 1 with errors, 2 when a file could not be read.
pub(crate) fn code(loaded: &Loaded, found: &[Diagnostic]) -> ExitCode {
    if loaded.files.values().any(|file| file.unreadable) {
        ExitCode::from(exit::ENVIRONMENT)
    } else if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        ExitCode::from(exit::INPUT)
    } else {
        ExitCode::SUCCESS
    }
}

/// A value as a JSON text with a line end.
pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::environment(format!("the output cannot be written as JSON: {error}"), ""))
}

fn summary(loaded: &Loaded, found: &[Diagnostic]) -> String {
    let objects: usize = loaded.files.values().map(|file| file.objects.len()).sum();
    let errors = found.iter().filter(|d| d.severity == Severity::Error).count();
    let result = match (errors, found.len() - errors) {
        (0, 0) => "nothing to report".to_owned(),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    };
    format!(
        "{} in {}: {result}\n",
        count(objects, "object"),
        count(loaded.files.len(), "file")
    )
}

/// So many of a thing, in words.
pub(crate) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
