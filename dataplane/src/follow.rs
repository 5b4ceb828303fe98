//! The node's side of the manifest stream: it starts from the last good copy on disk, follows an operator, fetches
//! the blobs it lacks, hands each snapshot to a [`Sink`] and acknowledges it.
//!
//! ```text
//! disk ──> Sink::apply <── assemble <── fetch <── stream of manifests
//!  ^            |
//!  └── last good┴──> acknowledgement
//! ```
//!
//! Invariants
//! - A snapshot reaches the sink only with every blob present and matching its digest. When one cannot be fetched the
//!   node stays on what it runs and tries again: a blob that does not arrive says nothing about its object.
//! - The digest of a rejected object is not held: it is fetched anew with the next manifest, and a node that rejected
//!   anything asks for the whole manifest again when it reconnects.
//! - The copy on disk is the last *good* configuration (module `last_good`): after a restart with a broken object still
//!   in the manifest, the sink first sees the unit that worked and then the one that does not.
//! - Nothing here gives up: every failure is counted, shown in [`FollowState`] and tried again with full-jitter backoff.
//!
//! - A private key is written nowhere but into a directory given for that.
//!
//! Operator and node speak plain HTTP inside the cluster for now; identity and TLS come with the issue on securing the
//! control plane. What a unit means is left to the sink.

mod backoff;
mod client;
mod copy;
mod disk;
mod last_good;
mod run;
#[cfg(test)]
mod testing;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::watch;

use breakwater_snapshot::{Digest, PeerAddress, Peers, PrefetchProgress, Rejection, Snapshot};

pub use client::FetchError;
pub use copy::LastGoodCopy;
pub use disk::DiskError;

/// Takes snapshots into use.
pub trait Sink {
    /// Applies `snapshot` and returns the objects that could not be; those keep their last good unit, if they have one.
    fn apply(&mut self, snapshot: Snapshot) -> impl Future<Output = Vec<Rejection>> + Send;
}

/// What a [`Follower`] follows, and who it is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the operator is: `http://breakwater-operator:8600`.
    pub operator: Url,
    /// This node's name; in a cluster, that of the Kubernetes node.
    pub node: String,
    /// Where the last good copy is kept; without it a restart needs the operator.
    pub state_dir: Option<PathBuf>,
    /// Where the private keys of that copy are kept, best in memory; without it a restart has no TLS until the operator
    /// is heard.
    pub secrets_dir: Option<PathBuf>,
    /// How far the node is with what it fetches by itself, told at a bearable pace; goes with acknowledgements.
    pub prefetch: Option<watch::Receiver<Arc<[PrefetchProgress]>>>,
    /// Where other nodes may ask this one, and each change of it; it is told with the acknowledgement.
    pub peer: Option<watch::Receiver<Option<PeerAddress>>>,
    /// The version of the Core Rule Set this node has; it is told with each acknowledgement.
    pub crs: Option<String>,
    /// Waits and bounds.
    pub timing: Timing,
}

impl Config {
    /// A configuration with default timing and no copy on disk.
    pub fn new(operator: Url, node: impl Into<String>) -> Self {
        Self {
            operator,
            node: node.into(),
            state_dir: None,
            secrets_dir: None,
            prefetch: None,
            peer: None,
            crs: None,
            timing: Timing::default(),
        }
    }
}

/// Waits and bounds of a [`Follower`].
#[derive(Clone, Debug)]
pub struct Timing {
    /// Time between acknowledgements while nothing changes.
    pub ack_every: Duration,
    /// A stream that is silent for this long is dead; the operator sends a heartbeat every 15 s.
    pub silence: Duration,
    /// Longest wait for a connection, and for any answer but the stream.
    pub answer: Duration,
    /// First and longest wait before a retry; each wait is random below the bound.
    pub backoff: (Duration, Duration),
    /// Longest time that goodbye and the last write to disk may take.
    pub farewell: Duration,
    /// Blobs fetched at once.
    pub fetches: usize,
    /// The longest manifest, bytes.
    pub manifest_bytes: usize,
    /// The largest blob, bytes.
    pub blob_bytes: u64,
    /// How long a node that starts from its copy waits for the operator's word before it takes the copy. Nothing is right
    /// for a node whose cache begins empty; one whose cache outlived the restart must learn of the purges it missed
    /// before it is ready.
    pub first_word: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ack_every: Duration::from_secs(30),
            silence: Duration::from_secs(45),
            answer: Duration::from_secs(10),
            backoff: (Duration::from_millis(10), Duration::from_secs(15)),
            farewell: Duration::from_secs(3),
            fetches: 8,
            manifest_bytes: 64 * 1024 * 1024,
            blob_bytes: 64 * 1024 * 1024,
            first_word: Duration::ZERO,
        }
    }
}

/// Where a node stands, for `/readyz` and metrics.
#[derive(Clone, Debug, Default)]
pub struct FollowState {
    /// Whether a stream is open.
    pub connected: bool,
    /// The manifest in use; none until the first was applied.
    pub manifest: Option<Digest>,
    /// Whether what is in use came from disk and the operator has not confirmed it yet.
    pub from_disk: bool,
    /// When the operator last confirmed what is in use, by sending it or by a heartbeat; none before.
    pub confirmed: Option<Instant>,
    /// What the sink rejected of the manifest in use.
    pub rejected: Vec<Rejection>,
    /// The latest failure of each part; none once that part succeeded again.
    errors: [Option<String>; 3],
    /// Failed connections, fetches and acknowledgements.
    pub failures: u64,
    /// Failed writes of the copy on disk.
    pub disk_failures: u64,
}

/// The parts that can fail.
#[derive(Clone, Copy, Debug)]
enum Source {
    Stream,
    Fetch,
    Ack,
}

impl FollowState {
    /// What is wrong now, for a person; none when the operator is heard, everything it sent is in use and it knows.
    pub fn last_error(&self) -> Option<&str> {
        self.errors.iter().flatten().next().map(String::as_str)
    }

    const fn error_of(&mut self, source: Source) -> &mut Option<String> {
        let [stream, fetch, ack] = &mut self.errors;
        match source {
            Source::Stream => stream,
            Source::Fetch => fetch,
            Source::Ack => ack,
        }
    }

    /// Whether a full snapshot was applied: what readiness waits for.
    pub const fn is_ready(&self) -> bool {
        self.manifest.is_some()
    }

    /// How old the word is that this node runs on; none when the operator was never heard.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.confirmed.map(|at| now.saturating_duration_since(at))
    }
}

/// Why a [`Follower`] cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The operator's address is none.
    #[error("the operator's address `{0}` cannot be used: write http://HOST:PORT")]
    Url(Url),
    /// The node has no legal name.
    #[error("the node name `{0}` cannot be used: 1 to 253 letters, digits, `-`, `_` and `.`")]
    Node(String),
    /// The HTTP client cannot be made.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Follows an operator on behalf of a [`Sink`].
#[derive(Debug)]
pub struct Follower<S> {
    config: Config,
    client: client::Client,
    state: watch::Sender<FollowState>,
    peers: watch::Sender<Peers>,
    sink: S,
}

impl<S: Sink + Send> Follower<S> {
    /// A follower that has not started.
    ///
    /// # Errors
    /// When the operator's address or the node's name cannot be used.
    pub fn new(config: Config, sink: S) -> Result<Self, FollowError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if config.node.is_empty() || config.node.len() > 253 || !config.node.bytes().all(legal) {
            return Err(FollowError::Node(config.node));
        }
        if config.operator.scheme() != "http" || config.operator.host_str().is_none() {
            return Err(FollowError::Url(config.operator));
        }
        Ok(Self {
            client: client::Client::new(&config)?,
            state: watch::Sender::new(FollowState::default()),
            peers: watch::Sender::default(),
            config,
            sink,
        })
    }

    /// Where the node stands, now and at each change.
    pub fn state(&self) -> watch::Receiver<FollowState> {
        self.state.subscribe()
    }

    /// Which nodes may be asked, now and at each change. What was said last stays while no operator is heard.
    pub fn peers(&self) -> watch::Receiver<Peers> {
        self.peers.subscribe()
    }

    /// Follows until `stop` is ready; then says goodbye, so that the node is not waited for, and finishes the copy on
    /// disk, both for at most [`Timing::farewell`]. Gives the sink back.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> S {
        run::run(self, stop).await
    }
}
