//! Which nodes other nodes may ask, as all replicas together know it, and since when.
//!
//! Pure. A node is in the list once it has said for a while, without a break, that it may be asked at one address, so
//! that one that starts and fails does not move URLs back and forth. It leaves at once when it says so, and when it is
//! silent. The youngest word wins over replicas.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use breakwater_snapshot::{Labels, PeerAddress, PeerKey, Peers};
use serde::{Deserialize, Serialize};

/// How long a node has to be there before it is listed.
const SETTLED: Duration = Duration::from_secs(5);
/// How long it may be silent; its stream is seen to be alive every 15 s.
const SILENT: Duration = Duration::from_secs(45);

/// What a replica tells the others of nodes that may be asked, and its own keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersView {
    /// The replica that speaks.
    pub replica: String,
    /// Rises when more than ages changed.
    pub version: u64,
    /// What nodes said, sorted by name.
    pub nodes: Vec<PeerWord>,
    /// Keys that this replica gave out and that are still good.
    pub keys: Vec<PeerKey>,
}

/// What a node said of where it may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerWord {
    /// The node's name.
    pub node: String,
    /// How long ago it was seen, ms.
    pub seen_ms: u64,
    /// Where; none: nowhere, or it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<PeerAddress>,
}

/// The list, and who may be in it soon.
#[derive(Debug, Default)]
pub(super) struct Membership {
    since: BTreeMap<String, (PeerAddress, Instant)>,
    listed: Peers,
}

impl Membership {
    /// The list as it is now, from what replicas said, each some time ago, and the labels that nodes have.
    pub(super) fn step(
        &mut self,
        views: &[(PeersView, Duration)],
        mut labels: BTreeMap<String, Labels>,
        now: Instant,
    ) -> &Peers {
        let there = merge(views);
        self.since.retain(|node, (at, _)| there.get(node) == Some(at));
        for (node, at) in there {
            self.since.entry(node).or_insert((at, now));
        }
        let settled = |since: Instant| now.saturating_duration_since(since) >= SETTLED;
        let listed = &self.listed.members;
        let stays = |node: &String, at: &PeerAddress| listed.get(node) == Some(at);
        let members: BTreeMap<_, _> = self
            .since
            .iter()
            .filter(|(node, (at, since))| settled(*since) || stays(node, at))
            .map(|(node, (at, _))| (node.clone(), at.clone()))
            .take(Peers::MOST)
            .collect();
        labels.retain(|node, labels| !labels.is_empty() && members.contains_key(node));
        self.listed = Peers {
            members,
            labels,
            keys: keys(views),
        };
        &self.listed
    }
}

fn merge(views: &[(PeersView, Duration)]) -> BTreeMap<String, PeerAddress> {
    let mut youngest: BTreeMap<&str, (Duration, Option<&PeerAddress>)> = BTreeMap::new();
    for (view, ago) in views {
        for word in &view.nodes {
            let age = Duration::from_millis(word.seen_ms).saturating_add(*ago);
            let known = youngest.get(word.node.as_str());
            if known.is_none_or(|(known, _)| age < *known) {
                youngest.insert(&word.node, (age, word.at.as_ref()));
            }
        }
    }
    let there = youngest.into_iter().filter(|(_, (age, _))| *age < SILENT);
    there
        .filter_map(|(node, (_, at))| Some((node.to_owned(), at?.clone())))
        .collect()
}

/// All keys, in an order that every replica agrees on: a node shows the first few of them.
fn keys(views: &[(PeersView, Duration)]) -> Vec<PeerKey> {
    let keys = views.iter().flat_map(|(view, _)| &view.keys);
    let keys: BTreeMap<&str, &PeerKey> = keys.map(|key| (key.id.as_str(), key)).collect();
    keys.into_values().take(Peers::MOST_KEYS).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn at(port: u16) -> Option<PeerAddress> {
        let address = ([192, 0, 2, 1], port).into();
        Some(PeerAddress { address })
    }

    fn view(nodes: &[(&str, u64, Option<PeerAddress>)]) -> PeersView {
        let nodes = nodes.iter().map(|(node, seen_ms, at)| PeerWord {
            node: (*node).to_owned(),
            seen_ms: *seen_ms,
            at: at.clone(),
        });
        PeersView {
            nodes: nodes.collect(),
            ..PeersView::default()
        }
    }

    fn names(peers: &Peers) -> Vec<&str> {
        peers.members.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_node_is_listed_once_it_has_been_there_for_a_while_and_leaves_at_once() {
        let start = Instant::now();
        let mut members = Membership::default();
        let views = [(view(&[("a", 0, at(1))]), NOW)];
        assert!(members.step(&views, BTreeMap::new(), start).members.is_empty());
        assert_eq!(names(members.step(&views, BTreeMap::new(), start + SETTLED)), ["a"]);
        let left = [(view(&[("a", 0, None)]), NOW)];
        assert!(members.step(&left, BTreeMap::new(), start + SETTLED).members.is_empty());
        assert!(
            members
                .step(&views, BTreeMap::new(), start + SETTLED)
                .members
                .is_empty(),
            "it begins anew"
        );
        let silent = [(view(&[("a", 0, at(1))]), SILENT)];
        assert_eq!(names(members.step(&views, BTreeMap::new(), start + SETTLED * 3)), ["a"]);
        assert!(
            members
                .step(&silent, BTreeMap::new(), start + SETTLED * 3)
                .members
                .is_empty()
        );
    }

    #[test]
    fn labels_go_with_listed_nodes_and_with_no_others() {
        let start = Instant::now();
        let mut members = Membership::default();
        let views = [(view(&[("a", 0, at(1)), ("b", 0, at(2))]), NOW)];
        let first: Labels = [("tier".to_owned(), "first".to_owned())].into();
        let labels: BTreeMap<_, _> = [
            ("a".to_owned(), first.clone()),
            ("b".to_owned(), Labels::new()),
            ("elsewhere".to_owned(), first.clone()),
        ]
        .into();
        assert!(members.step(&views, labels.clone(), start).labels.is_empty());
        let listed = members.step(&views, labels, start + SETTLED);
        assert_eq!(listed.labels, [("a".to_owned(), first)].into());
        assert_eq!(names(listed), ["a", "b"]);
    }

    #[test]
    fn a_node_that_moved_is_listed_again_when_it_has_settled() {
        let start = Instant::now();
        let mut members = Membership::default();
        members.step(&[(view(&[("a", 0, at(1))]), NOW)], BTreeMap::new(), start);
        let moved = [(view(&[("a", 0, at(2))]), NOW)];
        assert!(
            members
                .step(&moved, BTreeMap::new(), start + SETTLED)
                .members
                .is_empty()
        );
        assert_eq!(
            members
                .step(&moved, BTreeMap::new(), start + SETTLED * 2)
                .members
                .get("a"),
            at(2).as_ref()
        );
    }

    #[test]
    fn the_youngest_word_wins_over_replicas() {
        let mut members = Membership::default();
        let start = Instant::now();
        let views = [
            (view(&[("a", 5_000, None)]), NOW),
            (view(&[("a", 1_000, at(1))]), NOW),
            (view(&[("a", 0, None)]), Duration::from_secs(3)),
        ];
        members.step(&views, BTreeMap::new(), start);
        assert_eq!(names(members.step(&views, BTreeMap::new(), start + SETTLED)), ["a"]);
    }

    #[test]
    fn every_replica_lists_the_same_keys_in_the_same_order() {
        let key = |id: &str| PeerKey {
            id: id.to_owned(),
            secret: String::new(),
        };
        let with = |keys: &[&str]| PeersView {
            keys: keys.iter().map(|id| key(id)).collect(),
            ..PeersView::default()
        };
        let one = [(with(&["3", "1"]), NOW), (with(&["2", "1"]), NOW)];
        let two = [(with(&["2", "1"]), NOW), (with(&["3", "1"]), NOW)];
        assert_eq!(keys(&one), keys(&two));
        assert_eq!(
            keys(&one).iter().map(|key| key.id.as_str()).collect::<Vec<_>>(),
            ["1", "2", "3"]
        );
    }
}
