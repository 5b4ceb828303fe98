//! [`Nodes`] behind a lock, and whoever waits for changes of them.

use std::time::Instant;

use breakwater_snapshot::Ack;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Nodes, NodesError, NodesView};
use crate::publish::PeerWord;

/// A [`Nodes`] that is shared and tells of changes.
#[derive(Debug)]
pub(in crate::publish) struct NodeTable {
    nodes: Mutex<Nodes>,
    version: watch::Sender<u64>,
    peers_version: watch::Sender<u64>,
}

impl NodeTable {
    pub(in crate::publish) fn new(nodes: Nodes) -> Self {
        Self {
            nodes: Mutex::new(nodes),
            version: watch::Sender::new(0),
            peers_version: watch::Sender::new(0),
        }
    }

    pub(in crate::publish) fn ack(&self, ack: Ack, now: Instant) -> Result<(), NodesError> {
        self.change(|nodes| nodes.ack(ack, now))
    }

    pub(in crate::publish) fn touch(&self, name: &str, now: Instant) -> Result<(), NodesError> {
        self.change(|nodes| nodes.touch(name, now))
    }

    pub(in crate::publish) fn leave(&self, name: &str, now: Instant) -> Result<(), NodesError> {
        self.change(|nodes| nodes.leave(name, now))
    }

    pub(in crate::publish) fn view(&self, replica: &str, now: Instant) -> NodesView {
        self.nodes.lock().view(replica, now)
    }

    pub(in crate::publish) fn known(&self, now: Instant) -> usize {
        self.nodes.lock().known(now)
    }

    pub(in crate::publish) fn peers(&self, now: Instant) -> (u64, Vec<PeerWord>) {
        let nodes = self.nodes.lock();
        (nodes.peers_version, nodes.peers(now))
    }

    pub(in crate::publish) fn peers_changed(&self) -> watch::Receiver<u64> {
        self.peers_version.subscribe()
    }

    pub(in crate::publish) fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Nodes) -> Result<(), NodesError>) -> Result<(), NodesError> {
        let mut nodes = self.nodes.lock();
        let outcome = change(&mut nodes);
        self.version
            .send_if_modified(|seen| std::mem::replace(seen, nodes.version) != nodes.version);
        self.peers_version
            .send_if_modified(|seen| std::mem::replace(seen, nodes.peers_version) != nodes.peers_version);
        outcome
    }
}
