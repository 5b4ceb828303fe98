//! What the data plane reads: the manifest stream, the blobs it names, and the acknowledgements that come back.
//!
//! ```text
//! GET    /v1/manifest               the manifest; ETag is its digest
//! GET    /v1/stream?have=&node=     one JSON line for each new manifest and list of peers, a heartbeat line every 15 s
//! GET    /v1/blobs/<sha256>         one compiled unit; immutable
//! POST   /v1/ack                    a node's word about what it runs
//! GET    /v1/nodes?since=&wait_ms=  what this replica knows of the nodes; waits for news
//! GET    /v1/peers?since=&wait_ms=  which nodes it knows that other nodes may ask, and its keys
//! DELETE /v1/nodes/<node>           goodbye
//! ```
//!
//! Every replica publishes: equal input compiles to equal bytes, so a node may talk to any of them.
//! Invariants: a manifest is sent only after all its blobs can be fetched; a reader that falls behind gets the newest
//! manifest and none of those between; streams, node table, bodies and retired blobs are bounded by [`Limits`].
//! The stream is plain HTTP inside the cluster for now: nobody is asked who they are. Identity (a projected token,
//! checked by TokenReview) and TLS come with the issue on securing the control plane.
//! Accepting connections is left to [`serve`]; who is counted in a status, to `status`.

mod announce;
mod blobs;
mod members;
mod nodes;
mod routes;
pub mod serve;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use breakwater_snapshot::{Ack, Digest, Manifest, Snapshot};

use crate::Metrics;
use announce::{Announced, OwnKeys};
use blobs::BlobStore;
pub use members::{PeerWord, PeersView};
use nodes::NodeTable;
pub use nodes::{NodeState, NodeView, Nodes, NodesError, NodesView};
pub use routes::{admin_router, router};

/// The line that shows a stream is alive: an object without `entries`.
pub const HEARTBEAT: &str = "{\"heartbeat\":true}\n";

/// What bounds a [`Publisher`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Streams open at once; further ones are answered 503.
    pub streams: usize,
    /// Nodes remembered; acknowledgements of further ones are answered 503.
    pub nodes: usize,
    /// Size of an acknowledgement, bytes; larger ones are answered 413.
    pub ack_bytes: usize,
    /// Rejections remembered for one node; the rest is only counted.
    pub rejections_per_node: usize,
    /// Rejections remembered in all; past that a node's are only counted.
    pub rejections: usize,
    /// How long a node that says nothing is remembered.
    pub node_memory: Duration,
    /// How long blobs of earlier manifests can still be fetched.
    pub blob_memory: Duration,
    /// The bytes such blobs may take; the oldest go first.
    pub retired_blob_bytes: usize,
    /// Time between heartbeats on a silent stream.
    pub heartbeat: Duration,
    /// Shortest and longest life of a stream; each takes a random one, so that nodes spread over new replicas.
    pub stream_life: (Duration, Duration),
    /// Longest wait of `GET /v1/nodes`.
    pub longest_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 10_000,
            nodes: 10_000,
            ack_bytes: 256 * 1024,
            rejections_per_node: 256,
            rejections: 100_000,
            node_memory: Duration::from_secs(90),
            blob_memory: Duration::from_secs(600),
            retired_blob_bytes: 256 * 1024 * 1024,
            heartbeat: Duration::from_secs(15),
            stream_life: (Duration::from_secs(45 * 60), Duration::from_secs(75 * 60)),
            longest_wait: Duration::from_secs(10),
        }
    }
}

/// A published configuration.
#[derive(Debug)]
pub struct Published {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest as a line of the stream: the JSON the digest is taken of, and a line feed.
    line: Bytes,
}

impl Published {
    /// The manifest as JSON: what the digest is taken of.
    fn json(&self) -> Bytes {
        self.line.slice(..self.line.len().saturating_sub(1))
    }
}

/// Publishes snapshots and collects acknowledgements. Cheap to clone: clones are the same publisher.
#[derive(Clone, Debug)]
pub struct Publisher(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    identity: String,
    limits: Limits,
    metrics: Metrics,
    current: watch::Sender<Option<Arc<Published>>>,
    closing: watch::Sender<bool>,
    blobs: Mutex<BlobStore>,
    nodes: NodeTable,
    streams: Arc<Semaphore>,
    /// Which nodes may be asked, as it was sent last.
    peers: watch::Sender<Option<Arc<Announced>>>,
    keys: Mutex<OwnKeys>,
}

impl Publisher {
    /// A publisher with nothing published; `identity` names this replica to its peers.
    pub fn new(identity: impl Into<String>, limits: Limits, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            identity: identity.into(),
            current: watch::Sender::new(None),
            closing: watch::Sender::new(false),
            blobs: Mutex::default(),
            nodes: NodeTable::new(Nodes::new(
                limits.nodes,
                limits.rejections_per_node,
                limits.rejections,
                limits.node_memory,
            )),
            streams: Arc::new(Semaphore::new(limits.streams)),
            peers: watch::Sender::new(None),
            keys: Mutex::new(OwnKeys::new(Instant::now())),
            limits,
            metrics,
        }))
    }

    /// Publishes `snapshot` to every stream. False, and nothing sent, when it equals the one before.
    pub fn publish(&self, snapshot: &Snapshot) -> bool {
        let mut line = snapshot.manifest().to_json();
        let digest = Digest::of(&line);
        if self.0.current.borrow().as_ref().is_some_and(|now| now.digest == digest) {
            return false;
        }
        line.push(b'\n');
        self.0.blobs.lock().replace(
            snapshot,
            Instant::now(),
            self.0.limits.blob_memory,
            self.0.limits.retired_blob_bytes,
        );
        self.0.current.send_replace(Some(Arc::new(Published {
            digest,
            manifest: snapshot.manifest().clone(),
            line: line.into(),
        })));
        true
    }

    /// What is published, and each change of it. `None` until the first compile.
    pub fn published(&self) -> watch::Receiver<Option<Arc<Published>>> {
        self.0.current.subscribe()
    }

    /// What this replica knows of the nodes.
    pub fn nodes(&self) -> NodesView {
        self.0.nodes.view(&self.0.identity, Instant::now())
    }

    /// Changes whenever [`Publisher::nodes`] changes by more than a node's age.
    pub fn nodes_changed(&self) -> watch::Receiver<u64> {
        self.0.nodes.changed()
    }

    /// Ends every stream, so that the nodes go to another replica.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    fn ack(&self, ack: Ack) -> Result<(), NodesError> {
        let outcome = self.0.nodes.ack(ack, Instant::now());
        self.0.metrics.ack(outcome.is_ok());
        self.count_nodes();
        outcome
    }

    fn touch(&self, node: &str) -> Result<(), NodesError> {
        let outcome = self.0.nodes.touch(node, Instant::now());
        self.count_nodes();
        outcome
    }

    fn leave(&self, node: &str) -> Result<(), NodesError> {
        let outcome = self.0.nodes.leave(node, Instant::now());
        self.count_nodes();
        outcome
    }

    fn count_nodes(&self) {
        self.0.metrics.nodes(self.0.nodes.known(Instant::now()));
    }
}
