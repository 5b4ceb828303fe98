//! The nodes as all replicas together know them, and how many of them run an object.
//!
//! Pure. A node may be known to several replicas: the youngest word wins, and a goodbye overrules what is older.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use breakwater_snapshot::{Digest, Entry, Manifest, ObjectId, PrefetchProgress, Rejection};

use super::crs::Versions;
use super::prefetch::PrefetchCount;
use crate::publish::{NodeState, NodesView};

/// How many manifests are remembered: nodes that run one of these are judged by what it holds.
const REMEMBERED: usize = 64;

/// The manifests published of late, newest last.
#[derive(Debug, Default)]
pub struct History(VecDeque<(Digest, Arc<Manifest>)>);

impl History {
    /// Remembers a manifest.
    pub fn push(&mut self, digest: Digest, manifest: Arc<Manifest>) {
        self.0.retain(|(known, _)| *known != digest);
        self.0.push_back((digest, manifest));
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    fn get(&self, digest: &Digest) -> Option<&Manifest> {
        let found = self.0.iter().rev().find(|(known, _)| known == digest);
        found.map(|(_, manifest)| &**manifest)
    }
}

/// The nodes, grouped by the manifest they run.
#[derive(Debug, Default)]
pub struct Fleet {
    groups: BTreeMap<Option<Digest>, Group>,
    /// By object and generation.
    prefetch: BTreeMap<ObjectId, BTreeMap<i64, PrefetchCount>>,
    /// How many nodes have which Core Rule Set.
    crs: Versions,
    nodes: usize,
    floor: usize,
}

#[derive(Debug, Default)]
struct Group {
    nodes: usize,
    rejected: BTreeMap<ObjectId, Vec<(String, String)>>,
    /// Nodes that rejected more than is known here: nothing can be said for them.
    unclear: usize,
}

/// How many nodes run an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many should.
    pub desired: usize,
    /// How many do.
    pub programmed: usize,
    /// How many refused it.
    pub rejected: usize,
    /// The first few that refused, and why.
    pub reasons: Vec<(String, String)>,
}

impl Fleet {
    /// Merges what replicas said, each some time ago; nodes silent for `memory` are forgotten. `floor`: how many nodes
    /// there are at least, for a leader that just started and has not heard of all.
    pub fn merge(views: &[(NodesView, Duration)], memory: Duration, floor: usize) -> Self {
        let mut nodes: BTreeMap<&str, Merged<'_>> = BTreeMap::new();
        for (view, ago) in views {
            for node in &view.nodes {
                let merged = nodes.entry(&node.node).or_default();
                let aged = |ms: u64| Duration::from_millis(ms).saturating_add(*ago);
                let seen = aged(node.seen_ms);
                let youngest = |age: &mut Option<Duration>| *age = Some(age.map_or(seen, |age| age.min(seen)));
                match &node.state {
                    NodeState::Left => youngest(&mut merged.left),
                    NodeState::Starting => youngest(&mut merged.seen),
                    NodeState::Running {
                        acked_ms,
                        manifest,
                        rejected,
                        rejected_more,
                        prefetch,
                        crs,
                    } => {
                        youngest(&mut merged.seen);
                        let acked = aged(*acked_ms);
                        if merged.word.as_ref().is_none_or(|word| acked < word.age) {
                            merged.word = Some(Word {
                                age: acked,
                                manifest: *manifest,
                                rejected,
                                unclear: *rejected_more > 0,
                                prefetch,
                                crs: crs.as_deref(),
                            });
                        }
                    }
                }
            }
        }
        let mut fleet = Self {
            floor,
            ..Self::default()
        };
        for (name, node) in nodes {
            let there = |seen: Duration| seen < memory && node.left.is_none_or(|left| seen < left);
            if node.seen.is_some_and(there) {
                fleet.add(name, node.word);
            }
        }
        fleet
    }

    fn add(&mut self, name: &str, word: Option<Word<'_>>) {
        self.nodes += 1;
        let group = self.groups.entry(word.as_ref().map(|word| word.manifest)).or_default();
        group.nodes += 1;
        let Some(word) = word else { return };
        for progress in word.prefetch {
            let counts = self.prefetch.entry(progress.id.clone()).or_default();
            counts.entry(progress.generation).or_default().add(name, progress);
        }
        if let Some(version) = word.crs {
            *self.crs.entry(version.to_owned()).or_default() += 1;
        }
        group.unclear += usize::from(word.unclear);
        for rejection in word.rejected {
            let reasons = group.rejected.entry(rejection.id.clone()).or_default();
            reasons.push((name.to_owned(), rejection.message.clone()));
        }
    }

    /// How many nodes are counted on.
    pub fn desired(&self) -> usize {
        self.nodes.max(self.floor)
    }

    /// How many nodes have which version of the Core Rule Set; those that have none are left out.
    pub const fn crs(&self) -> &Versions {
        &self.crs
    }

    /// How far the nodes are with the prefetch list of an object of this generation.
    pub fn prefetch(&self, id: &ObjectId, generation: i64) -> PrefetchCount {
        let found = self.prefetch.get(id).and_then(|counts| counts.get(&generation));
        PrefetchCount {
            desired: self.desired(),
            ..found.cloned().unwrap_or_default()
        }
    }

    /// How many nodes run `entry` and what it needs: those whose manifest holds all of these at that generation and
    /// digest, and who did not reject any.
    pub fn count(&self, entry: Option<&Entry>, needs: &[&Entry], history: &History) -> Count {
        let mut count = Count {
            desired: self.desired(),
            ..Count::default()
        };
        let Some(entry) = entry else { return count };
        for (manifest, group) in &self.groups {
            let Some(manifest) = manifest.as_ref().and_then(|digest| history.get(digest)) else {
                continue;
            };
            let all = || std::iter::once(&entry).chain(needs);
            let holds = |entry: &&Entry| {
                manifest
                    .get(&entry.id)
                    .is_some_and(|held| held.generation == entry.generation && held.sha256 == entry.sha256)
            };
            if !all().all(holds) {
                continue;
            }
            // A node that refused several of them is one node.
            let mut refused: BTreeMap<&str, String> = BTreeMap::new();
            for wanted in all() {
                for (node, message) in group.rejected.get(&wanted.id).into_iter().flatten() {
                    refused.entry(node).or_insert_with(|| match wanted.id == entry.id {
                        true => message.clone(),
                        false => format!("{}: {message}", wanted.id),
                    });
                }
            }
            count.rejected += refused.len();
            count.programmed += group.nodes.saturating_sub(refused.len()).saturating_sub(group.unclear);
            let room = 3usize.saturating_sub(count.reasons.len());
            let reasons = refused.into_iter().map(|(node, message)| (node.to_owned(), message));
            count.reasons.extend(reasons.take(room));
        }
        count
    }
}

#[derive(Default)]
struct Merged<'a> {
    seen: Option<Duration>,
    left: Option<Duration>,
    word: Option<Word<'a>>,
}

struct Word<'a> {
    age: Duration,
    manifest: Digest,
    rejected: &'a [Rejection],
    unclear: bool,
    prefetch: &'a [PrefetchProgress],
    crs: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::NodeView;
    use breakwater_snapshot::{Blob, Kind, Snapshot};

    const MEMORY: Duration = Duration::from_secs(90);

    fn manifest(generation: i64) -> Arc<Manifest> {
        let blob = Blob::Invalid {
            targets: Vec::new(),
            message: generation.to_string(),
        };
        let snapshot = Snapshot::build([(ObjectId::new(Kind::EdgeCache, "d", "shop"), generation, blob)]);
        Arc::new(snapshot.manifest().clone())
    }

    fn running(node: &str, acked_ms: u64, manifest: &Manifest, rejected: &[&str], more: usize) -> NodeView {
        let rejection = |message: &&str| Rejection {
            id: ObjectId::new(Kind::EdgeCache, "d", "shop"),
            message: (*message).to_owned(),
        };
        NodeView {
            node: node.to_owned(),
            seen_ms: acked_ms,
            state: NodeState::Running {
                acked_ms,
                manifest: manifest.digest(),
                rejected: rejected.iter().map(rejection).collect(),
                rejected_more: more,
                prefetch: Vec::new(),
                crs: None,
            },
        }
    }

    fn other(node: &str, seen_ms: u64, state: NodeState) -> NodeView {
        NodeView {
            node: node.to_owned(),
            seen_ms,
            state,
        }
    }

    fn view(nodes: Vec<NodeView>) -> (NodesView, Duration) {
        let view = NodesView {
            nodes,
            ..NodesView::default()
        };
        (view, Duration::ZERO)
    }

    #[test]
    fn nodes_are_counted_by_what_their_manifest_holds() {
        let (old, new) = (manifest(1), manifest(2));
        let unknown = manifest(3);
        let mut history = History::default();
        history.push(old.digest(), old.clone());
        history.push(new.digest(), new.clone());
        let views = [view(vec![
            running("a", 1, &new, &[], 0),
            running("b", 1, &old, &[], 0),
            running("c", 1, &unknown, &[], 0),
            running("d", 1, &new, &["no"], 0),
            running("e", 1, &new, &[], 5),
            other("f", 1, NodeState::Starting),
        ])];
        let count = Fleet::merge(&views, MEMORY, 0).count(new.entries.first(), &[], &history);
        assert_eq!(
            count,
            Count {
                desired: 6,
                programmed: 1,
                rejected: 1,
                reasons: vec![("d".to_owned(), "no".to_owned())],
            }
        );
    }

    #[test]
    fn an_entry_that_did_not_change_is_programmed_by_an_older_manifest_that_holds_it() {
        let first = manifest(1);
        let second = Arc::new(Manifest::new(
            [
                first.entries.clone(),
                vec![Entry {
                    id: ObjectId::new(Kind::WsRoute, "d", "chat"),
                    ..first.entries[0].clone()
                }],
            ]
            .concat(),
        ));
        let mut history = History::default();
        history.push(first.digest(), first.clone());
        history.push(second.digest(), second.clone());
        let fleet = Fleet::merge(&[view(vec![running("a", 1, &first, &[], 0)])], MEMORY, 0);
        let counts = second
            .entries
            .iter()
            .map(|entry| fleet.count(Some(entry), &[], &history).programmed);
        assert_eq!(counts.collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn a_refused_secret_shows_in_the_object_that_needs_it() {
        let site = ObjectId::new(Kind::EdgeCache, "d", "shop");
        let secret = ObjectId::new(Kind::Secret, "d", "shop-tls");
        let blob = |text: &str| Blob::Invalid {
            targets: Vec::new(),
            message: text.to_owned(),
        };
        let build = |certificate: &str| {
            let objects = [(site.clone(), 1, blob("site")), (secret.clone(), 0, blob(certificate))];
            Arc::new(Snapshot::build(objects).manifest().clone())
        };
        let (old, new) = (build("old"), build("new"));
        let mut history = History::default();
        history.push(old.digest(), old.clone());
        history.push(new.digest(), new.clone());
        let mut refusing = running("b", 1, &new, &[], 0);
        if let NodeState::Running { rejected, .. } = &mut refusing.state {
            rejected.push(Rejection {
                id: secret.clone(),
                message: "no".to_owned(),
            });
        }
        let nodes = vec![running("a", 1, &new, &[], 0), refusing, running("c", 1, &old, &[], 0)];
        let fleet = Fleet::merge(&[view(nodes)], MEMORY, 0);
        let needs = [new.get(&secret).unwrap()];
        let count = fleet.count(new.get(&site), &needs, &history);
        assert_eq!(
            count,
            Count {
                desired: 3,
                programmed: 1,
                rejected: 1,
                reasons: vec![("b".to_owned(), "Secret/d/shop-tls: no".to_owned())],
            }
        );
        assert_eq!(fleet.count(new.get(&site), &[], &history).programmed, 3);
    }

    #[test]
    fn the_youngest_word_wins_over_replicas() {
        let (old, new) = (manifest(1), manifest(2));
        let mut history = History::default();
        history.push(new.digest(), new.clone());
        for (a, b, programmed) in [(10, 5_000, 1), (5_000, 10, 0)] {
            let views = [
                view(vec![running("a", a, &new, &[], 0)]),
                view(vec![running("a", b, &old, &[], 0)]),
            ];
            let fleet = Fleet::merge(&views, MEMORY, 0);
            assert_eq!(fleet.desired(), 1);
            assert_eq!(fleet.count(new.entries.first(), &[], &history).programmed, programmed);
        }
    }

    #[test]
    fn a_goodbye_overrules_older_word_and_yields_to_younger() {
        let new = manifest(2);
        for (left, acked, desired) in [(10, 5_000, 0), (5_000, 10, 1)] {
            let views = [
                view(vec![other("a", left, NodeState::Left)]),
                view(vec![running("a", acked, &new, &[], 0)]),
            ];
            assert_eq!(Fleet::merge(&views, MEMORY, 0).desired(), desired, "{left} {acked}");
        }
    }

    #[test]
    fn what_a_silent_peer_said_ages() {
        let new = manifest(2);
        let (said, _) = view(vec![running("a", 1_000, &new, &[], 0)]);
        assert_eq!(Fleet::merge(&[(said.clone(), MEMORY / 2)], MEMORY, 0).desired(), 1);
        assert_eq!(Fleet::merge(&[(said, MEMORY)], MEMORY, 0).desired(), 0);
    }

    #[test]
    fn versions_of_the_core_rule_set_are_counted_by_the_youngest_word_of_each_node() {
        let new = manifest(2);
        let with = |node: &str, acked_ms: u64, version: Option<&str>| {
            let mut view = running(node, acked_ms, &new, &[], 0);
            if let NodeState::Running { crs, .. } = &mut view.state {
                *crs = version.map(str::to_owned);
            }
            view
        };
        let views = [
            view(vec![
                with("a", 1, Some("4")),
                with("b", 9_000, Some("3")),
                with("c", 1, None),
            ]),
            view(vec![with("b", 1, Some("4")), with("d", 1, Some("3"))]),
        ];
        let fleet = Fleet::merge(&views, MEMORY, 0);
        let counted = BTreeMap::from([("3".to_owned(), 1), ("4".to_owned(), 2)]);
        assert_eq!(fleet.crs(), &counted);
    }

    #[test]
    fn a_young_leader_counts_on_the_nodes_there_were() {
        let new = manifest(2);
        let views = [view(vec![running("a", 1, &new, &[], 0)])];
        assert_eq!(Fleet::merge(&views, MEMORY, 3).desired(), 3);
    }
}
