//! The one error of the bench: what was being done, to what, and what the system said.

use std::io;

/// Why a figure could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool the run needs is not installed.
    #[error("{tool} is not on this machine: {how}")]
    Missing {
        /// The program that was looked for.
        tool: &'static str,
        /// How to get it.
        how: &'static str,
    },
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, with the path or address.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A server stopped, or never listened.
    #[error("{server} did not serve: {why}")]
    Server {
        /// The server's name.
        server: String,
        /// Its exit status or the last lines it printed.
        why: String,
    },
    /// An answer was not the origin's bytes, or not from the cache: a figure taken from it would mean nothing.
    #[error("{server} answered {path} wrongly: {why}")]
    Wrong {
        /// The server's name.
        server: String,
        /// The path that was asked for.
        path: String,
        /// The difference.
        why: String,
    },
    /// The load failed, or its report was not what is known.
    #[error("load on {server}: {why}")]
    Load {
        /// The server's name.
        server: String,
        /// What was wrong.
        why: String,
    },
}

impl Error {
    /// An [`Error::Io`] that says what was attempted.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
