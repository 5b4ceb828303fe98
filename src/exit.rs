//! Exit codes and the form of error messages: `error: what, what to do` on standard error.
//!
//! 0: good. 1: the input has errors. 2: usage or environment.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// The input has errors.
pub(crate) const INPUT: u8 = 1;

/// The command was used wrongly, or something around it is missing.
pub(crate) const ENVIRONMENT: u8 = 2;

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    hint: String,
}

impl Failure {
    /// Something around the command is missing or in the way: exit code 2.
    pub(crate) fn environment(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// Standard output is gone.
    #[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
    pub(crate) fn output(error: io::Error) -> Self {
        Self::environment(
            format!("the output cannot be written: {error}"),
            "is its reader still there?",
        )
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(ENVIRONMENT)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if self.hint.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.hint)
        }
    }
}

/// Prints to standard output, which may be a pipe that closes early.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::output)
}

/// Prints a line to standard error; there is nowhere to report a failure of that.
pub(crate) fn complain(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
