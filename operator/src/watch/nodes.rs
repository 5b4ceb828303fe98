//! Labels of Nodes: nothing else of them is asked for, and nothing at all until an EdgeCache selects nodes by labels.
//!
//! Invariant: a label that is not selected by is not handed out. A name stays one to select by for as long as the process
//! lives: nodes may run the last good version of an EdgeCache that is gone here. Bounded: [`MOST_NAMES`] names.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1;
use kube::core::PartialObjectMeta;

use breakwater_compile::World;
use breakwater_snapshot::{Labels, Peers};

use super::Watched;
use super::slot::{Change, Item};

/// Names that are selected by; further ones select nothing.
const MOST_NAMES: usize = Peers::MOST_LABELS;

/// The labels of one Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeLabels(Labels);

impl Item for NodeLabels {
    /// The compile step does not look at labels.
    fn change(&self, _: &Self) -> Change {
        Change::default()
    }
}

/// What is kept of a Node.
pub(super) fn node(node: &PartialObjectMeta<v1::Node>) -> NodeLabels {
    NodeLabels(node.metadata.labels.clone().unwrap_or_default())
}

impl Watched {
    /// Ready once an EdgeCache selects nodes by labels.
    pub(super) async fn selects_nodes(&self) {
        // The sender is ours, so this ends only when it is true.
        let _ = self.0.selecting.subscribe().wait_for(|names| !names.is_empty()).await;
    }

    /// Notes by which labels the EdgeCaches of `world` select nodes.
    pub(crate) fn select_nodes_by(&self, world: &World) {
        let parents = world.edge_caches.iter().filter_map(|object| {
            let parent = object.spec.tiering.as_ref()?.parent.as_ref()?;
            parent.nodes.as_ref()
        });
        let names = parents.flat_map(|nodes| nodes.match_labels.keys());
        let names: Vec<&String> = names.collect();
        self.0.selecting.send_if_modified(|selecting| {
            let before = selecting.len();
            for name in names {
                if selecting.len() < MOST_NAMES {
                    selecting.insert(name.clone());
                } else if !selecting.contains(name) {
                    tracing::warn!(
                        label = name,
                        "nodes are selected by {MOST_NAMES} labels already: this one selects none"
                    );
                }
            }
            selecting.len() != before
        });
    }

    /// The labels that nodes are selected by, of each node that has some.
    pub(crate) fn node_labels(&self) -> BTreeMap<String, Labels> {
        let selecting = self.0.selecting.borrow();
        if selecting.is_empty() {
            return BTreeMap::new();
        }
        let objects = self.0.objects.lock();
        let nodes = objects.nodes.entries().map(|((_, node), NodeLabels(labels))| {
            let wanted = labels.iter().filter(|(name, _)| selecting.contains(*name));
            (
                node.clone(),
                wanted
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect::<Labels>(),
            )
        });
        nodes.filter(|(_, labels)| !labels.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::slot::Event;
    use breakwater_compile::{Meta, Object};
    use breakwater_crds::EdgeCacheSpec;

    fn world(labels: &[&str]) -> World {
        let spec = |label: &&str| -> EdgeCacheSpec {
            serde_json::from_value(serde_json::json!({
                "hostnames": ["a.example.com"],
                "origin": {"urls": ["http://192.0.2.1"]},
                "tiering": {"mode": "Parent", "parent": {"nodes": {"matchLabels": {*label: "first"}}}},
            }))
            .unwrap()
        };
        let edge_caches = labels.iter().map(|label| Object {
            meta: Meta::default(),
            spec: spec(label),
        });
        World {
            edge_caches: edge_caches.collect(),
            ..World::default()
        }
    }

    fn watched(nodes: &[(&str, &[(&str, &str)])]) -> Watched {
        let watched = Watched::default();
        for (node, labels) in nodes {
            let labels = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let event = Event::Apply((String::new(), (*node).to_owned()), NodeLabels(labels.collect()));
            watched.0.objects.lock().nodes.event(event);
        }
        watched
    }

    #[test]
    fn only_labels_that_are_selected_by_are_handed_out_and_they_stay_selected_by() {
        let watched = watched(&[("a", &[("tier", "first"), ("zone", "x")]), ("b", &[("zone", "y")])]);
        assert!(watched.node_labels().is_empty());
        watched.select_nodes_by(&world(&["tier"]));
        let first: Labels = [("tier".to_owned(), "first".to_owned())].into();
        assert_eq!(watched.node_labels(), [("a".to_owned(), first.clone())].into());
        watched.select_nodes_by(&world(&[]));
        assert_eq!(watched.node_labels(), [("a".to_owned(), first)].into());
        watched.select_nodes_by(&world(&["zone"]));
        assert_eq!(watched.node_labels().len(), 2);
    }

    #[test]
    fn names_to_select_by_are_bounded() {
        let watched = watched(&[]);
        let names: Vec<_> = (0..MOST_NAMES + 3).map(|n| format!("l{n}")).collect();
        watched.select_nodes_by(&world(&names.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!(watched.0.selecting.borrow().len(), MOST_NAMES);
    }
}
