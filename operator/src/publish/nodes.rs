//! What one replica knows of the nodes: who they are, when they last spoke, what they said they run.
//!
//! [`Nodes`] is a value that takes the time as an argument; [`NodeTable`] shares it and tells of changes. A node is
//! *seen* when it opens a stream, on each heartbeat of that stream, and when it acknowledges. A node that said
//! goodbye is kept as such until its entry ages out, so that older word of it at another replica is overruled.
//! Bounded: nodes, rejections for each, rejections in all. Ages go over the wire, never clock readings, so replicas
//! need not agree on the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use breakwater_snapshot::{Ack, Digest, PeerAddress, PrefetchProgress, Rejection};

use super::PeerWord;

pub(super) use table::NodeTable;

mod table;

/// Longest node name: that of a DNS subdomain name, which Kubernetes node names are.
const LONGEST_NAME: usize = 253;
/// Most prefetch lists whose progress is kept, over all nodes; past that a node's progress is not known.
const MOST_PREFETCHES: usize = 100_000;
/// Longest rejection message kept, bytes.
const LONGEST_MESSAGE: usize = 512;
/// Longest version of a Core Rule Set kept, bytes.
const LONGEST_VERSION: usize = 64;

/// What a replica tells its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesView {
    /// The replica that speaks.
    pub replica: String,
    /// Rises when more changed than ages, and counts of prefetching.
    pub version: u64,
    /// The nodes, sorted by name.
    pub nodes: Vec<NodeView>,
}

/// One node, as one replica knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node's name.
    pub node: String,
    /// How long ago it was seen, ms.
    pub seen_ms: u64,
    /// What it last said.
    #[serde(flatten)]
    pub state: NodeState,
}

/// What a node last said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum NodeState {
    /// Nothing yet: it reads the stream and has applied nothing.
    Starting,
    /// It runs a manifest.
    Running {
        /// How long ago it said so, ms.
        acked_ms: u64,
        /// Which.
        manifest: Digest,
        /// The objects it could not apply.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rejected: Vec<Rejection>,
        /// How many more it could not apply, which were not kept.
        #[serde(default, skip_serializing_if = "is_zero")]
        rejected_more: usize,
        /// How far it is with what it fetches by itself. Counts alone are no news: see [`NodesView::version`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prefetch: Vec<PrefetchProgress>,
        /// The version of the Core Rule Set it has; none: it has none, or does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        crs: Option<String>,
    },
    /// It said goodbye.
    Left,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde calls")]
const fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Word of a node that cannot be kept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodesError {
    /// The name is none.
    #[error("a node name is 1 to 253 letters, digits, `-`, `_` and `.`")]
    Name,
    /// The table is full.
    #[error("{0} nodes are known already, which is this operator's limit")]
    Full(usize),
}

/// The nodes one replica knows.
#[derive(Debug)]
pub struct Nodes {
    nodes: BTreeMap<String, Node>,
    limit: usize,
    rejections_per_node: usize,
    rejections: usize,
    memory: Duration,
    version: u64,
    /// Rises when a node says another address, or none.
    peers_version: u64,
}

#[derive(Debug)]
struct Node {
    seen: Instant,
    word: Word,
    /// Where it may be asked by other nodes, as it last said.
    peer: Option<PeerAddress>,
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    None,
    Ack {
        at: Instant,
        manifest: Digest,
        rejected: Vec<Rejection>,
        more: usize,
        prefetch: Vec<PrefetchProgress>,
        crs: Option<String>,
    },
    Left,
}

impl Nodes {
    /// An empty table of at most `limit` nodes, each forgotten after `memory` of silence.
    pub const fn new(limit: usize, rejections_per_node: usize, rejections: usize, memory: Duration) -> Self {
        Self {
            nodes: BTreeMap::new(),
            limit,
            rejections_per_node,
            rejections,
            memory,
            version: 0,
            peers_version: 0,
        }
    }

    /// Notes what a node runs.
    ///
    /// # Errors
    /// When the name is none or the table is full.
    pub fn ack(&mut self, ack: Ack, now: Instant) -> Result<(), NodesError> {
        self.admit(&ack.node, now)?;
        let others: usize = self
            .nodes
            .iter()
            .filter(|(name, _)| **name != ack.node)
            .map(|(_, node)| node.word.rejected())
            .sum();
        let prefetch = self.bounded(&ack.node, ack.prefetch);
        let room = self.rejections_per_node.min(self.rejections.saturating_sub(others));
        let mut rejected = ack.rejected;
        let more = rejected.len().saturating_sub(room);
        rejected.truncate(room);
        for rejection in &mut rejected {
            shorten(&mut rejection.message, LONGEST_MESSAGE);
        }
        let mut crs = ack.crs;
        if let Some(version) = &mut crs {
            shorten(version, LONGEST_VERSION);
        }
        let word = Word::Ack {
            at: now,
            manifest: ack.manifest,
            rejected,
            more,
            prefetch,
            crs,
        };
        self.put(ack.node, word, ack.peer, now);
        Ok(())
    }

    fn bounded(&self, node: &str, mut prefetch: Vec<PrefetchProgress>) -> Vec<PrefetchProgress> {
        let others = self.nodes.iter().filter(|(name, _)| *name != node);
        let others: usize = others.map(|(_, node)| node.word.prefetches()).sum();
        prefetch.truncate(PrefetchProgress::MOST.min(MOST_PREFETCHES.saturating_sub(others)));
        for progress in &mut prefetch {
            progress.failures.truncate(PrefetchProgress::REASONS);
            progress
                .failures
                .iter_mut()
                .for_each(|text| shorten(text, LONGEST_MESSAGE));
        }
        prefetch
    }

    /// Notes that a node reads the stream.
    ///
    /// # Errors
    /// When the name is none or the table is full.
    pub fn touch(&mut self, name: &str, now: Instant) -> Result<(), NodesError> {
        self.admit(name, now)?;
        match self.nodes.get_mut(name) {
            Some(node) if node.word != Word::Left => node.seen = now,
            _ => self.put(name.to_owned(), Word::None, None, now),
        }
        Ok(())
    }

    /// Notes that a node said goodbye.
    ///
    /// # Errors
    /// When the name is none or the table is full.
    pub fn leave(&mut self, name: &str, now: Instant) -> Result<(), NodesError> {
        self.admit(name, now)?;
        self.put(name.to_owned(), Word::Left, None, now);
        Ok(())
    }

    /// What a peer is told.
    pub fn view(&self, replica: &str, now: Instant) -> NodesView {
        let age = |at: Instant| u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
        let nodes = self
            .nodes
            .iter()
            .filter(|(_, node)| self.remembers(node, now))
            .map(|(name, node)| NodeView {
                node: name.clone(),
                seen_ms: age(node.seen),
                state: match &node.word {
                    Word::None => NodeState::Starting,
                    Word::Left => NodeState::Left,
                    Word::Ack {
                        at,
                        manifest,
                        rejected,
                        more,
                        prefetch,
                        crs,
                    } => NodeState::Running {
                        acked_ms: age(*at),
                        manifest: *manifest,
                        rejected: rejected.clone(),
                        rejected_more: *more,
                        prefetch: prefetch.clone(),
                        crs: crs.clone(),
                    },
                },
            })
            .collect();
        NodesView {
            replica: replica.to_owned(),
            version: self.version,
            nodes,
        }
    }

    /// Where nodes may be asked, as this replica heard it.
    pub fn peers(&self, now: Instant) -> Vec<PeerWord> {
        let age = |at: Instant| u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
        // A node that only reads the stream has not said where it may be asked, or that it may not.
        let said = |node: &Node| node.word != Word::None && self.remembers(node, now);
        let said = self.nodes.iter().filter(|(_, node)| said(node));
        said.map(|(name, node)| PeerWord {
            node: name.clone(),
            seen_ms: age(node.seen),
            at: node.peer.clone(),
        })
        .collect()
    }

    /// How many nodes are known and have not left.
    fn known(&self, now: Instant) -> usize {
        self.nodes
            .values()
            .filter(|node| node.word != Word::Left && self.remembers(node, now))
            .count()
    }

    fn remembers(&self, node: &Node, now: Instant) -> bool {
        now.saturating_duration_since(node.seen) < self.memory
    }

    /// Refuses what is no name, and a new node when there is no room even after the silent ones were forgotten.
    fn admit(&mut self, name: &str, now: Instant) -> Result<(), NodesError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(legal) {
            return Err(NodesError::Name);
        }
        if self.nodes.contains_key(name) || self.nodes.len() < self.limit {
            return Ok(());
        }
        let memory = self.memory;
        self.nodes
            .retain(|_, node| now.saturating_duration_since(node.seen) < memory);
        if self.nodes.len() < self.limit {
            Ok(())
        } else {
            Err(NodesError::Full(self.limit))
        }
    }

    fn put(&mut self, name: String, word: Word, peer: Option<PeerAddress>, now: Instant) {
        let memory = self.memory;
        let before = self
            .nodes
            .get(&name)
            .filter(|node| now.saturating_duration_since(node.seen) < memory);
        if !before.is_some_and(|node| node.word.says_the_same(&word)) {
            self.version += 1;
        }
        if before.and_then(|node| node.peer.as_ref()) != peer.as_ref() {
            self.peers_version += 1;
        }
        self.nodes.insert(name, Node { seen: now, word, peer });
    }
}

impl Word {
    const fn rejected(&self) -> usize {
        match self {
            Self::Ack { rejected, .. } => rejected.len(),
            Self::None | Self::Left => 0,
        }
    }

    const fn prefetches(&self) -> usize {
        match self {
            Self::Ack { prefetch, .. } => prefetch.len(),
            Self::None | Self::Left => 0,
        }
    }

    fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Ack {
                    manifest,
                    rejected,
                    more,
                    prefetch,
                    crs,
                    ..
                },
                Self::Ack {
                    manifest: m,
                    rejected: r,
                    more: n,
                    prefetch: p,
                    crs: c,
                    ..
                },
            ) => {
                let milestones = PrefetchProgress::milestones;
                let same = prefetch.iter().map(milestones).eq(p.iter().map(milestones));
                manifest == m && rejected == r && more == n && crs == c && same
            }
            _ => self == other,
        }
    }
}

fn shorten(message: &mut String, longest: usize) {
    if message.len() > longest {
        let end = (0..=longest)
            .rev()
            .find(|at| message.is_char_boundary(*at))
            .unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
}

#[cfg(test)]
mod tests;
