//! Which nodes may be asked for what others lack, and the keys by which they know each other.
//!
//! Not part of the configuration: nodes come and go, and its digest must not change with them. A line of its own on the
//! stream of manifests. Bounded by who makes it; [`Peers::apply`] takes no more than [`Peers::MOST`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Where a node is asked by other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    /// Its peer listener, as others reach it.
    pub address: SocketAddr,
}

/// A node that may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name, which stays when its address changes: what is hashed.
    pub node: String,
    /// Where.
    #[serde(flatten)]
    pub at: PeerAddress,
    /// What it is selected by, as far as anything selects by it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// Labels of a node, by name.
pub type Labels = BTreeMap<String, String>;

/// A secret that every node has.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerKey {
    /// Its public name, 16 hexadecimal digits.
    pub id: String,
    /// 64 hexadecimal digits.
    pub secret: String,
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKey({})", self.id)
    }
}

impl PeerKey {
    /// The key of those who share a secret text that nobody gave out (`breakwater up`).
    pub fn from_secret(secret: &[u8]) -> Self {
        let derive = |what: &[u8]| Digest::of(&[what, secret].concat()).to_string();
        let mut id = derive(b"breakwater peer id\0");
        id.truncate(16);
        Self {
            id,
            secret: derive(b"breakwater peer key\0"),
        }
    }
}

/// The nodes that may be asked, by name, and the keys in an order that all agree on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// By name.
    pub members: BTreeMap<String, PeerAddress>,
    /// Labels of those that have some, by name. Others than members may be among them, and count for nothing.
    pub labels: BTreeMap<String, Labels>,
    /// Each of them is accepted.
    pub keys: Vec<PeerKey>,
}

/// What a line of the stream says of peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerNews {
    /// What is not mentioned stays as the line before said; else it is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delta: bool,
    /// Nodes that are new or elsewhere.
    pub members: Vec<Member>,
    /// Nodes that are not to be asked any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// All keys.
    pub keys: Vec<PeerKey>,
}

impl Peers {
    /// The most nodes that are taken.
    pub const MOST: usize = 10_000;
    /// The most keys that are taken.
    pub const MOST_KEYS: usize = 64;
    /// The most labels of one node that are taken.
    pub const MOST_LABELS: usize = 64;

    /// All of it, for a reader who knows nothing.
    pub fn whole(&self) -> PeerNews {
        PeerNews {
            delta: false,
            members: self.tell(self.members.iter()),
            gone: Vec::new(),
            keys: self.keys.clone(),
        }
    }

    /// What changed since `before`, for a reader who knows that.
    pub fn since(&self, before: &Self) -> PeerNews {
        let changed = self.members.iter().filter(|(name, at)| {
            before.members.get(*name) != Some(at) || before.labels_of(name) != self.labels_of(name)
        });
        let gone = before.members.keys().filter(|name| !self.members.contains_key(*name));
        PeerNews {
            delta: true,
            members: self.tell(changed),
            gone: gone.cloned().collect(),
            keys: self.keys.clone(),
        }
    }

    /// Takes in what a line says.
    pub fn apply(&mut self, news: PeerNews) {
        if !news.delta {
            self.members.clear();
            self.labels.clear();
        }
        for node in &news.gone {
            self.members.remove(node);
            self.labels.remove(node);
        }
        for member in news.members {
            if self.members.len() < Self::MOST || self.members.contains_key(&member.node) {
                let labels: Labels = member.labels.into_iter().take(Self::MOST_LABELS).collect();
                match labels.is_empty() {
                    true => self.labels.remove(&member.node),
                    false => self.labels.insert(member.node.clone(), labels),
                };
                self.members.insert(member.node, member.at);
            }
        }
        self.keys = news.keys;
        self.keys.truncate(Self::MOST_KEYS);
    }

    /// The labels of a node; none is the same as no labels.
    pub fn labels_of(&self, node: &str) -> Option<&Labels> {
        self.labels.get(node).filter(|labels| !labels.is_empty())
    }

    fn tell<'a>(&self, list: impl Iterator<Item = (&'a String, &'a PeerAddress)>) -> Vec<Member> {
        list.map(|(node, at)| Member {
            node: node.clone(),
            at: at.clone(),
            labels: self.labels_of(node).cloned().unwrap_or_default(),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(nodes: &[(&str, u16)]) -> Peers {
        let members = nodes.iter().map(|(name, port)| {
            let at = PeerAddress {
                address: SocketAddr::from(([192, 0, 2, 1], *port)),
            };
            ((*name).to_owned(), at)
        });
        let key = PeerKey {
            id: "0011223344556677".to_owned(),
            secret: "ab".repeat(32),
        };
        Peers {
            members: members.collect(),
            keys: vec![key],
            ..Peers::default()
        }
    }

    fn labelled(mut peers: Peers, node: &str, labels: &[(&str, &str)]) -> Peers {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        peers.labels.insert(node.to_owned(), labels.collect());
        peers
    }

    #[test]
    fn a_node_whose_labels_change_is_told_anew_and_labels_go_with_it() {
        let none = peers(&[("a", 1), ("b", 2)]);
        let some = labelled(none.clone(), "b", &[("tier", "first")]);
        let news = some.since(&none);
        assert_eq!((news.members.len(), news.members[0].node.as_str()), (1, "b"));
        let mut reader = Peers::default();
        reader.apply(none.whole());
        reader.apply(serde_json::from_slice(&serde_json::to_vec(&news).unwrap()).unwrap());
        assert_eq!(reader, some);
        let other = labelled(none.clone(), "b", &[("tier", "second")]);
        reader.apply(other.since(&some));
        assert_eq!(reader, other);
        reader.apply(none.since(&other));
        assert_eq!(reader, none);
        reader.apply(some.whole());
        reader.apply(peers(&[("a", 1)]).since(&some));
        assert_eq!(reader, peers(&[("a", 1)]));
        // Labels of nodes that are no members are not told.
        assert_eq!(
            labelled(peers(&[("a", 1)]), "c", &[("x", "y")]).whole(),
            peers(&[("a", 1)]).whole()
        );
    }

    #[test]
    fn a_node_with_more_labels_than_are_taken_keeps_the_first() {
        let mut news = peers(&[("a", 1)]).whole();
        let many = (0..Peers::MOST_LABELS + 5).map(|n| (format!("l{n:03}"), String::new()));
        news.members[0].labels = many.collect();
        let mut reader = Peers::default();
        reader.apply(news);
        assert_eq!(reader.labels_of("a").unwrap().len(), Peers::MOST_LABELS);
    }

    #[test]
    fn a_reader_of_changes_knows_what_a_reader_of_the_whole_knows() {
        let before = peers(&[("a", 1), ("b", 2), ("c", 3)]);
        let after = peers(&[("b", 9), ("c", 3), ("d", 4)]);
        let news = after.since(&before);
        assert_eq!((news.members.len(), news.gone.as_slice()), (2, &["a".to_owned()][..]));
        let mut reader = Peers::default();
        reader.apply(before.whole());
        reader.apply(serde_json::from_slice(&serde_json::to_vec(&news).unwrap()).unwrap());
        assert_eq!(reader, after);
        reader.apply(before.whole());
        assert_eq!(reader, before);
    }

    #[test]
    fn a_key_of_a_shared_secret_is_the_same_for_all_who_have_it() {
        let key = PeerKey::from_secret(b"open sesame");
        assert_eq!(key, PeerKey::from_secret(b"open sesame"));
        assert_ne!(key.id, PeerKey::from_secret(b"open sesam").id);
        assert_eq!((key.id.len(), key.secret.len()), (16, 64));
        assert_ne!(key.id, key.secret[..16]);
    }

    #[test]
    fn a_key_never_shows_its_secret() {
        let shown = format!("{:?}", peers(&[("a", 1)]));
        assert!(shown.contains("0011223344556677") && !shown.contains("abab"), "{shown}");
    }

    #[test]
    fn more_nodes_than_are_taken_are_left_out() {
        let mut reader = Peers::default();
        let mut news = peers(&[("a", 1)]).whole();
        let many = (0..Peers::MOST + 5).map(|n| Member {
            node: format!("n{n}"),
            ..news.members[0].clone()
        });
        news.members = many.collect();
        reader.apply(news);
        assert_eq!(reader.members.len(), Peers::MOST);
    }
}
