//! Compiles who is asked before the origin.

use std::collections::BTreeMap;

use breakwater_crds::{self as crds, ParentFallback, TieringMode};
use breakwater_snapshot::unit::{FirstLevel, Parent, Tiering};

use crate::findings::Findings;
use crate::origin::Servers;
use crate::{Judgement, Reason, value};

/// The field that says who the first level is.
pub(crate) const PARENT: &str = "spec.tiering.parent";

/// Longest wait for a connection to another edge: it is one of several who can answer.
const CONNECT: &str = "1s";
/// How much longer than the origin another edge may take: it waits for the origin itself, and may try twice.
const LONGER_MS: u64 = 1_000;

/// Reads `spec.tiering`. `response_ms` is how long the origin may take.
pub(crate) fn read(namespace: &str, spec: &crds::EdgeCacheSpec, response_ms: u64, findings: &mut Findings) -> Tiering {
    let Some(tiering) = &spec.tiering else {
        return Tiering::Local;
    };
    match (tiering.mode, &tiering.parent) {
        (TieringMode::Local, None) => Tiering::Local,
        (TieringMode::Owner, None) => Tiering::Owner,
        (TieringMode::Local | TieringMode::Owner, Some(_)) => {
            findings.error(
                PARENT,
                "nobody is asked there without mode: Parent: write that, or leave parent out",
            );
            Tiering::Local
        }
        (TieringMode::Parent, None) => {
            findings.error(
                PARENT,
                "nothing says who the first level is: give parent.nodes or parent.urls",
            );
            Tiering::Local
        }
        (TieringMode::Parent, Some(parent)) => match level(namespace, parent, response_ms, findings) {
            Some(level) => Tiering::Parent(Parent {
                level,
                fallback: parent.fallback == ParentFallback::Origin,
            }),
            None => Tiering::Local,
        },
    }
}

/// Whether nodes are selected by labels.
pub(crate) fn selects_nodes(tiering: &Tiering) -> bool {
    matches!(tiering, Tiering::Parent(parent) if matches!(parent.level, FirstLevel::Nodes(_)))
}

/// Nodes are selected by labels that cannot be seen.
pub(crate) fn unseen(findings: &mut Findings) -> Judgement {
    let field = format!("{PARENT}.nodes");
    let message = "Nodes are in no namespace, and this operator watches one only: no node is of the first level; give urls, or have the operator watch all namespaces";
    findings.error(&field, message);
    Judgement::new(false, Reason::RefNotPermitted, format!("{field}: {message}"))
}

fn level(namespace: &str, parent: &crds::Parent, response_ms: u64, findings: &mut Findings) -> Option<FirstLevel> {
    match (&parent.nodes, &parent.urls) {
        (None, None) => {
            findings.error(PARENT, "nothing says who the first level is: give nodes or urls");
            None
        }
        (Some(_), Some(_)) => {
            findings.error(PARENT, "nodes and urls exclude each other: leave one out");
            None
        }
        (Some(nodes), None) => {
            let of_urls = [("tls", parent.tls.is_some()), ("health", parent.health.is_some())];
            for (field, _) in of_urls.into_iter().filter(|(_, given)| *given) {
                findings.error(
                    format!("{PARENT}.{field}"),
                    format!("{field} is of urls; nodes know each other without: leave it out"),
                );
            }
            Some(FirstLevel::Nodes(labels(&nodes.match_labels, findings)))
        }
        (None, Some(urls)) => {
            // Read as an origin is, with what does not fit left at what it is by default.
            let servers = crds::Origin {
                service: None,
                urls: Some(urls.clone()),
                weights: BTreeMap::new(),
                // Each has its part of the paths stored, and not all of them all.
                balance: crds::Balance::Hash,
                hash: Some(crds::Hash {
                    by: crds::HashBy::Path,
                    name: None,
                }),
                slow_start: None,
                health: parent.health.clone(),
                ejection: crds::Ejection::default(),
                circuit: crds::Circuit::default(),
                retries: crds::Retries::default(),
                tls: parent.tls.clone(),
                protocol: crds::OriginProtocol::default(),
                timeouts: crds::OriginTimeouts {
                    connect: CONNECT.into(),
                    ..crds::OriginTimeouts::default()
                },
            };
            let servers = Servers::of_parent(namespace, &servers).read(response_ms + LONGER_MS, findings);
            Some(FirstLevel::Servers(Box::new(servers)))
        }
    }
}

fn labels(wanted: &BTreeMap<String, String>, findings: &mut Findings) -> BTreeMap<String, String> {
    let field = format!("{PARENT}.nodes.matchLabels");
    if wanted.is_empty() {
        findings.error(
            &field,
            "without a label every node would be of the first level: name one, or write mode: Owner",
        );
    }
    if wanted.len() > 8 {
        findings.error(&field, "more than 8 labels: name fewer");
    }
    for (name, value) in wanted {
        findings.take(&field, value::label(name, value));
    }
    wanted.clone()
}

#[cfg(test)]
mod tests {
    use crate::{Meta, Object, Reason, World, compile};

    #[test]
    fn where_nodes_cannot_be_seen_a_first_level_of_nodes_is_not_resolved_and_the_object_serves_all_the_same() {
        let spec = serde_json::json!({
            "hostnames": ["a.example.com"],
            "origin": {"urls": ["http://192.0.2.1"]},
            "tiering": {"mode": "Parent", "parent": {"nodes": {"matchLabels": {"tier": "first"}}}},
        });
        let mut world = World {
            edge_caches: vec![Object {
                meta: Meta::default(),
                spec: serde_json::from_value(spec).unwrap(),
            }],
            ..World::default()
        };
        for blind in [false, true] {
            world.blind_to_nodes = blind;
            let verdict = compile(&world).verdicts.pop().unwrap();
            let resolved = verdict.resolved_refs.unwrap();
            let reason = if blind {
                Reason::RefNotPermitted
            } else {
                Reason::ResolvedRefs
            };
            assert_eq!(
                (verdict.accepted.status, resolved.status, resolved.reason),
                (true, !blind, reason)
            );
        }
    }
}
