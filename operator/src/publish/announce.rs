//! Tells nodes which of them may be asked: makes the list, and sends it when it has changed.
//!
//! Every replica does, from what nodes told it and what the others say; so a node may listen to any of them. Lists are
//! sent [`PACE`] apart at least: in a fleet where something always changes, nodes learn of it in lots. A replica that
//! just started sends none until the nodes had time to find it: those who listen keep the list they have.
//!
//! Keys: each replica makes its own, of which nodes accept any. They are renewed, are in memory only, and go to the other
//! replicas and to nodes, over the port where the private keys of TLS Secrets go as well.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use breakwater_snapshot::{Labels, PeerKey, Peers};
use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};

use super::Publisher;
use super::members::{Membership, PeersView};
use crate::status::peers::Peers as Replicas;

/// Shortest time between two lists.
const PACE: Duration = Duration::from_secs(2);
/// How often the list is made anew when nothing was heard: silence is news too, and labels change without a word.
const LOOK: Duration = Duration::from_secs(1);
/// How long a replica that started says nothing.
const YOUNG: Duration = Duration::from_secs(20);
/// How long a key is the newest, and how long it is still good after that.
const RENEW: Duration = Duration::from_secs(24 * 3600);
const KEEP: Duration = Duration::from_secs(3600);

/// A list that was sent, as a line for those who know nothing, and for those who know the one before.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) number: u64,
    pub(super) whole: Bytes,
    pub(super) since_last: Bytes,
    peers: Peers,
}

impl Announced {
    fn new(peers: Peers, before: Option<&Self>) -> Self {
        let line = |news| {
            let mut line = serde_json::to_vec(&serde_json::json!({ "peers": news })).unwrap_or_default();
            line.push(b'\n');
            Bytes::from(line)
        };
        Self {
            number: before.map_or(1, |before| before.number + 1),
            whole: line(peers.whole()),
            since_last: before.map_or_else(Bytes::new, |before| line(peers.since(&before.peers))),
            peers,
        }
    }
}

/// This replica's keys, oldest first, and when each was made.
#[derive(Debug)]
pub(super) struct OwnKeys(Vec<(PeerKey, Instant)>);

impl OwnKeys {
    pub(super) fn new(now: Instant) -> Self {
        let mut keys = Self(Vec::new());
        keys.renew(now);
        keys
    }

    /// Makes a new key when the newest is old, and drops what is no longer good.
    fn renew(&mut self, now: Instant) {
        let age = |made: Instant| now.saturating_duration_since(made);
        if self.0.last().is_none_or(|(_, made)| age(*made) >= RENEW)
            && let Some(key) = random_key()
        {
            self.0.push((key, now));
        }
        // The newest stays, whatever its age: there may be no other.
        let newest = self.0.last().map(|(key, _)| key.id.clone());
        self.0
            .retain(|(key, made)| age(*made) < RENEW + KEEP || Some(&key.id) == newest.as_ref());
    }

    fn all(&self) -> Vec<PeerKey> {
        self.0.iter().map(|(key, _)| key.clone()).collect()
    }
}

fn random_key() -> Option<PeerKey> {
    let mut bytes = [0; 40];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        tracing::error!("the system gives no random numbers: nodes get no key to know each other by");
        return None;
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let (id, secret) = bytes.split_at(8);
    Some(PeerKey {
        id: hex(id),
        secret: hex(secret),
    })
}

impl Publisher {
    /// What this replica tells the others.
    pub fn peers(&self) -> PeersView {
        let (version, nodes) = self.0.nodes.peers(Instant::now());
        PeersView {
            replica: self.0.identity.clone(),
            version,
            nodes,
            keys: self.0.keys.lock().all(),
        }
    }

    /// Sends a list to every stream, unless it is the one they have.
    fn announce(&self, peers: &Peers) -> bool {
        self.0.peers.send_if_modified(|now| {
            let news = now.as_ref().is_none_or(|now| now.peers != *peers);
            if news {
                *now = Some(Announced::new(peers.clone(), now.as_deref()).into());
            }
            news
        })
    }

    /// Keeps the nodes informed; `labels` are those of nodes, as they are now. Never returns.
    pub async fn announce_peers(
        self,
        replicas: Replicas<PeersView>,
        labels: impl Fn() -> BTreeMap<String, Labels> + Send,
    ) {
        self.announce_peers_after(YOUNG, replicas, labels).await;
    }

    /// The same, with the first list after this time.
    pub async fn announce_peers_after(
        self,
        young: Duration,
        replicas: Replicas<PeersView>,
        labels: impl Fn() -> BTreeMap<String, Labels> + Send,
    ) {
        tokio::time::sleep(young).await;
        let mut membership = Membership::default();
        let mut heard = self.0.nodes.peers_changed();
        let mut others = replicas.changed();
        loop {
            let now = Instant::now();
            self.0.keys.lock().renew(now);
            let mut views = replicas.views(now);
            views.push((self.peers(), Duration::ZERO));
            if self.announce(membership.step(&views, labels(), now)) {
                tokio::time::sleep(PACE).await;
            }
            tokio::select! {
                _ = heard.changed() => {}
                _ = others.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_renewed_and_the_former_is_good_for_a_while() {
        let start = Instant::now();
        let mut keys = OwnKeys::new(start);
        let first = keys.all();
        keys.renew(start + RENEW / 2);
        assert_eq!(keys.all(), first);
        keys.renew(start + RENEW);
        let both = keys.all();
        assert_eq!((both.len(), &both[0]), (2, &first[0]));
        keys.renew(start + RENEW + KEEP);
        assert_eq!(keys.all(), both[1..]);
        assert_ne!(both[0].secret, both[1].secret);
        assert_eq!((both[0].id.len(), both[0].secret.len()), (16, 64));
    }
}
