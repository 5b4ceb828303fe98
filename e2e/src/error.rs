//! The one error type of this crate. Its messages are what a failed test prints, so each carries
//! what was attempted and the last thing seen.

use std::{fmt, path::PathBuf, process::ExitStatus};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a test and the programs it runs.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This machine lacks programs or rights the cluster needs.
    #[error("this machine cannot run the cluster; missing:\n{0}")]
    Missing(String),
    /// A command could not be started.
    #[error("cannot start `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// Why it did not start.
        source: std::io::Error,
    },
    /// A command ran and failed.
    #[error("`{command}` failed ({status}): {output}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// Its standard error, or its standard output where that is empty.
        output: String,
    },
    /// A condition did not come true in time.
    #[error("{what}: not within {seconds:.1} s; last state: {last}")]
    Timeout {
        /// The condition waited for.
        what: String,
        /// How long it was waited for.
        seconds: f64,
        /// What the last attempt saw.
        last: String,
    },
    /// A program that should keep running ended.
    #[error("{name} ended ({status}); {log} ends with:\n{tail}", log = log.display())]
    Ended {
        /// The name given at its start.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Where its output went.
        log: PathBuf,
        /// The last lines of that output.
        tail: String,
    },
    /// A file or system call failed.
    #[error("{action}: {source}")]
    Io {
        /// What was attempted, with the path.
        action: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Something was asked for that cannot be had, or an answer made no sense.
    #[error("{0}")]
    Invalid(String),
}

/// A test that returns an error shows it by `Debug`: the same text, for people.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Adds "what was attempted" to an I/O error.
pub(crate) trait Context<T> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            action: action(),
            source,
        })
    }
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            action: action(),
            source: source.into(),
        })
    }
}
