//! Why a data plane cannot start, or not take the place of another.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::telemetry::LogTarget;

/// A data plane that cannot start: what was wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", bind_advice(.source))]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A log cannot be opened.
    #[error(
        "cannot open the {log} log {target}: {source}; choose a file in a directory that exists and can be written"
    )]
    Log {
        /// Which log: access or audit.
        log: &'static str,
        /// Where it should go.
        target: LogTarget,
        /// Why.
        source: io::Error,
    },
    /// The disk store cannot be used.
    #[error("cannot use the disk store {}: {source}; choose a directory on a disk of this machine that can be written", .path.display())]
    Disk {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk store is another process's, and cannot be read.
    #[error("the disk store {} is in use by another process; give each a directory of its own", .0.display())]
    DiskInUse(PathBuf),
    /// The Core Rule Set cannot be used.
    #[error("{0}; name its directory with --crs-dir, or leave --crs-dir out if no WafPolicy has crs")]
    Crs(#[from] CrsError),
    /// A database of places cannot be used.
    #[error("{0}")]
    Geo(#[from] GeoError),
    /// A worker cannot be started.
    #[error("cannot start a worker: {0}; fewer workers (--workers) or a higher process limit may help")]
    Worker(io::Error),
}

/// Why a directory is not a Core Rule Set.
#[derive(Debug, thiserror::Error)]
pub enum CrsError {
    /// The operating system's reason.
    #[error("the Core Rule Set cannot be read, {}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} holds no Core Rule Set: {message}", path.display())]
    NotCrs {
        /// Which file or directory.
        path: PathBuf,
        /// What is missing or too much.
        message: String,
    },
    /// Its rules are not rules.
    #[error("the Core Rule Set in {} cannot be used: {first}{}", path.display(), more(*.others))]
    Rules {
        /// Which directory.
        path: PathBuf,
        /// The first mistake, with file and line.
        first: String,
        /// How many more there are.
        others: usize,
    },
}

/// Why a file is not a database of places.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// The operating system's reason.
    #[error("the {what} {} cannot be read: {source}; give {option} a file that is there, or leave it out if no WafPolicy needs it", path.display())]
    Io {
        /// What it should be.
        what: &'static str,
        /// The option that names it.
        option: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else, or damaged.
    #[error("{} is no {what}: {message}; give {option} a file in MaxMind's format (mmdb)", path.display())]
    NotOne {
        /// What it should be.
        what: &'static str,
        /// The option that names it.
        option: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

fn more(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    }
}

/// Why the listening sockets did not change hands. It says so for both processes: the old one goes on in every case.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// Nobody listens in the state directory.
    #[error("no process to take over at {}: {source}; start without --takeover, or give the --state-dir of the process that runs", .path.display())]
    Nobody {
        /// Its socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The other process is of another user.
    #[error("the other process is of user {theirs}, this one of {ours}; both must be of the same")]
    Owner {
        /// The other's user id.
        theirs: u32,
        /// This process's.
        ours: u32,
    },
    /// The other process is of a release that hands over in another way.
    #[error("the other process hands over by protocol {theirs}, this one by {ours}; stop one and start the other")]
    Version {
        /// The other's version.
        theirs: u8,
        /// This process's.
        ours: u8,
    },
    /// The old process is draining.
    #[error("the process that runs is leaving already; wait for its end and start without --takeover")]
    Leaving,
    /// The other process ended, or closed its end.
    #[error("the other process ended first")]
    Ended,
    /// The other process said nothing for too long.
    #[error("the other process says nothing; another takeover may be under way")]
    Silent,
    /// The new process did not serve in time.
    #[error("the new process was not ready within 60 s")]
    Late,
    /// The old process waited for too long, and serves on.
    #[error(
        "the process that runs has waited for too long and serves on; is the configuration large, or the machine busy?"
    )]
    GivenUp,
    /// What the other process sent is no message of this protocol.
    #[error("the other process sends what is no takeover")]
    Garbled,
    /// A socket failed.
    #[error("the sockets cannot be handed over: {0}")]
    Io(#[from] io::Error),
}

fn bind_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or choose another port",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability NET_BIND_SERVICE, or choose a higher one"
        }
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine, or 0.0.0.0 for all",
        _ => "choose another address",
    }
}
