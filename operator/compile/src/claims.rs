//! Claims and their conflicts: who serves which pair of host and path.

use std::collections::{BTreeSet, HashMap};

use breakwater_crds as crds;
use breakwater_snapshot::unit::{Claim, PathMatch};
use breakwater_snapshot::{Kind, ObjectId};

use crate::findings::Findings;
use crate::{Meta, value};

/// When an object came to be, with ties settled: smaller is older.
pub(crate) type Age<'a> = (i64, &'a str, &'a str, Kind);

pub(crate) fn age(meta: &Meta, kind: Kind) -> Age<'_> {
    (meta.created.unwrap_or(i64::MAX), &meta.namespace, &meta.name, kind)
}

/// What one object claims, each pair once, with the field of its host.
pub(crate) struct Claims {
    pub(crate) pairs: Vec<(Claim, String)>,
}

impl Claims {
    /// Reads `spec.hostnames` and `spec.paths`. What cannot be read claims nothing and is a finding.
    pub(crate) fn read(hostnames: &[crds::Hostname], paths: &[crds::PathMatch], findings: &mut Findings) -> Self {
        let mut hosts: Vec<(String, String)> = Vec::new();
        if hostnames.is_empty() {
            findings.error(
                "spec.hostnames",
                "the list is empty: name at least one host, or * for every host",
            );
        }
        for (i, name) in hostnames.iter().enumerate() {
            let field = format!("spec.hostnames[{i}]");
            let Some(host) = findings.take(&field, value::hostname(name.as_str())) else {
                continue;
            };
            if hosts.iter().any(|(known, _)| *known == host) {
                findings.warning(field, format!("`{host}` is listed twice"));
            } else {
                hosts.push((host, field));
            }
        }
        if paths.is_empty() {
            findings.error("spec.paths", "the list is empty: leave it out to serve every path");
        }
        let mut unique: Vec<PathMatch> = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            let Some(path) = findings.take(format!("spec.paths[{i}].value"), value::path(path)) else {
                continue;
            };
            if unique.contains(&path) {
                findings.warning(
                    format!("spec.paths[{i}]"),
                    format!("{} is listed twice", describe(&path)),
                );
            } else {
                unique.push(path);
            }
        }
        let pairs = hosts
            .iter()
            .flat_map(|(host, field)| {
                unique.iter().map(|path| {
                    let claim = Claim {
                        host: host.clone(),
                        path: path.clone(),
                    };
                    (claim, field.clone())
                })
            })
            .collect();
        Self { pairs }
    }
}

/// Who serves each pair.
pub(crate) struct Owners(HashMap<Claim, ObjectId>);

/// What an object keeps of its claims.
pub(crate) struct Held {
    /// The pairs it serves, sorted.
    pub(crate) claims: Vec<Claim>,
    /// For the condition: what is lost and to whom; none when nothing is.
    pub(crate) lost: Option<String>,
}

/// Most lost pairs of one object that are listed one by one.
const LISTED: usize = 8;

impl Owners {
    /// Settles all conflicts: each pair goes to the oldest object that claims it.
    pub(crate) fn settle<'a>(mut claimants: Vec<(Age<'a>, ObjectId, &'a Claims)>) -> Self {
        claimants.sort_by(|a, b| a.0.cmp(&b.0));
        let mut owners = HashMap::new();
        for (_, id, claims) in claimants {
            for (claim, _) in &claims.pairs {
                owners.entry(claim.clone()).or_insert_with(|| id.clone());
            }
        }
        Self(owners)
    }

    /// The hosts of which `id` serves a path.
    pub(crate) fn hosts<'a>(&self, id: &ObjectId, claims: &'a Claims) -> BTreeSet<&'a str> {
        let own = |claim: &&Claim| self.0.get(*claim) == Some(id);
        let claims = claims.pairs.iter().map(|(claim, _)| claim);
        claims.filter(own).map(|claim| claim.host.as_str()).collect()
    }

    /// What `id` keeps. Each lost pair is a finding that names the winner.
    pub(crate) fn held(&self, id: &ObjectId, claims: &Claims, findings: &mut Findings) -> Held {
        let mut kept = Vec::new();
        let mut lost = Vec::new();
        for (claim, field) in &claims.pairs {
            match self.0.get(claim) {
                Some(winner) if winner != id => {
                    let text = format!(
                        "{} {} is served by {winner}, which is older",
                        claim.host,
                        describe(&claim.path)
                    );
                    if lost.len() < LISTED {
                        findings.error(field, format!("{text}: remove the host or path here or there"));
                    }
                    lost.push(text);
                }
                _ => kept.push(claim.clone()),
            }
        }
        if lost.len() > LISTED {
            let more = lost.len() - LISTED;
            findings.error(
                "spec.hostnames",
                format!("{more} more pairs of host and path are served by older objects"),
            );
        }
        kept.sort();
        let total = claims.pairs.len();
        Held {
            claims: kept,
            lost: lost.first().map(|first| {
                let count = lost.len();
                match count {
                    1 => format!("1 of {total} pairs of host and path is lost: {first}"),
                    _ => format!("{count} of {total} pairs of host and path are lost, first: {first}"),
                }
            }),
        }
    }
}

pub(crate) fn describe(path: &PathMatch) -> String {
    format!("{:?} {}", path.kind, path.value)
}
