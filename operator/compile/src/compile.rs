//! Puts the parts together: reads every object, settles conflicts, follows references, judges.

use std::collections::{HashMap, HashSet};

use breakwater_snapshot::unit::Unit;
use breakwater_snapshot::{Blob, Kind, ObjectId, Snapshot};

use crate::claims::{Claims, Held, Owners, age};
use crate::findings::Findings;
use crate::index::Index;
use crate::{
    Judgement, MOST_PURGES, Meta, Problem, Reason, Severity, Verdict, World, cache_purge, edge_cache, waf_policy,
    ws_route,
};

/// What the compile step gives.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// What nodes run.
    pub snapshot: Snapshot,
    /// What the objects' authors are told: one for each object of the World, sorted by object.
    pub verdicts: Vec<Verdict>,
}

/// Compiles a World. Never fails: what cannot be compiled is a verdict.
pub fn compile(world: &World) -> Output {
    let index = Index::new(world);
    let mut out = Builder::default();

    let mut edge_caches = Vec::with_capacity(world.edge_caches.len());
    for object in &world.edge_caches {
        let mut findings = Findings::default();
        let (claims, unit) = edge_cache::read(object, &mut findings);
        edge_caches.push((object, object.meta.id(Kind::EdgeCache), claims, unit, findings));
    }
    let mut ws_routes = Vec::with_capacity(world.ws_routes.len());
    for object in &world.ws_routes {
        let mut findings = Findings::default();
        let (claims, unit) = ws_route::read(object, &mut findings);
        ws_routes.push((object, object.meta.id(Kind::WsRoute), claims, unit, findings));
    }
    let owners = Owners::settle(
        edge_caches
            .iter()
            .map(|(object, id, claims, ..)| (age(&object.meta, Kind::EdgeCache), id.clone(), claims))
            .chain(
                ws_routes
                    .iter()
                    .map(|(object, id, claims, ..)| (age(&object.meta, Kind::WsRoute), id.clone(), claims)),
            )
            .collect(),
    );
    let cache_claims: HashMap<&ObjectId, &Claims> =
        edge_caches.iter().map(|(_, id, claims, ..)| (id, claims)).collect();
    purges(world, &index, &cache_claims, &mut out);
    policies(world, &index, &mut out);

    for (object, id, claims, mut unit, mut findings) in edge_caches {
        if let Some(message) = findings.invalid() {
            out.invalid(id, &object.meta, message, Vec::new(), findings);
            continue;
        }
        let held = owners.held(&id, &claims, &mut findings);
        let servers = std::mem::take(&mut unit.origin.endpoints);
        let (endpoints, resolved) = edge_cache::backend(object).resolve(&index, servers, &mut findings);
        unit.origin.endpoints = endpoints;
        let accepted = accepted(&held);
        unit.claims = held.claims;
        out.valid(
            id,
            &object.meta,
            Unit::EdgeCache(unit),
            accepted,
            Some(resolved),
            findings,
        );
    }
    for (object, id, claims, mut unit, mut findings) in ws_routes {
        if let Some(message) = findings.invalid() {
            out.invalid(id, &object.meta, message, Vec::new(), findings);
            continue;
        }
        let held = owners.held(&id, &claims, &mut findings);
        let servers = std::mem::take(&mut unit.backend.endpoints);
        let (endpoints, resolved) = ws_route::backend(object).resolve(&index, servers, &mut findings);
        unit.backend.endpoints = endpoints;
        let accepted = accepted(&held);
        unit.claims = held.claims;
        out.valid(
            id,
            &object.meta,
            Unit::WsRoute(unit),
            accepted,
            Some(resolved),
            findings,
        );
    }
    for broken in &world.broken {
        out.broken(broken);
    }
    out.finish()
}

/// What `Accepted` says of a valid route: it holds all, some or none of what it claims.
fn accepted(held: &Held) -> Judgement {
    match &held.lost {
        None => Judgement::new(true, Reason::Accepted, "the object is valid and holds all it claims"),
        Some(lost) if held.claims.is_empty() => Judgement::new(false, Reason::Conflicted, lost.clone()),
        Some(lost) => Judgement::new(true, Reason::Accepted, lost.clone()),
    }
}

fn policies(world: &World, index: &Index<'_>, out: &mut Builder) {
    let mut read = Vec::with_capacity(world.waf_policies.len());
    for object in &world.waf_policies {
        let mut findings = Findings::default();
        let unit = waf_policy::read(&object.spec, &mut findings);
        let invalid = findings.invalid();
        let (targets, accepted, resolved) = waf_policy::targets(object, index, &mut findings);
        let id = object.meta.id(Kind::WafPolicy);
        read.push((object, id, unit, invalid, targets, accepted, resolved, findings));
    }
    // Invalid policies have a place too: a node may run their last good unit.
    let orders = waf_policy::orders(
        read.iter()
            .map(|(object, id, _, _, targets, ..)| (age(&object.meta, Kind::WafPolicy), id, targets.as_slice()))
            .collect(),
    );
    for (object, id, mut unit, invalid, targets, accepted, resolved, findings) in read {
        if let Some(message) = invalid {
            out.invalid(id, &object.meta, message, targets, findings);
            continue;
        }
        unit.order = orders.get(&id).copied().unwrap_or_default();
        unit.targets = targets;
        out.valid(
            id,
            &object.meta,
            Unit::WafPolicy(unit),
            accepted,
            Some(resolved),
            findings,
        );
    }
}

fn purges(world: &World, index: &Index<'_>, claims: &HashMap<&ObjectId, &Claims>, out: &mut Builder) {
    let mut newest: Vec<_> = world.cache_purges.iter().collect();
    newest.sort_by(|a, b| cache_purge::newest_first(&a.meta, &b.meta));
    for (place, object) in newest.into_iter().enumerate() {
        let mut findings = Findings::default();
        let id = object.meta.id(Kind::CachePurge);
        let target = cache_purge::target(object);
        let unit = cache_purge::read(object, claims.get(&target).copied(), &mut findings);
        // A purge that cannot be carried out is not published: there is nothing of it that a node could keep.
        let refusal = if let Some(message) = findings.invalid() {
            Some(Judgement::new(false, Reason::Invalid, message))
        } else if !index.exists(&target) {
            let message = format!(
                "there is no EdgeCache {}/{}: create it, or name another one in a new purge",
                target.namespace, target.name
            );
            findings.error("spec.edgeCacheRef.name", &message);
            Some(Judgement::new(false, Reason::TargetNotFound, message))
        } else if place >= MOST_PURGES {
            let message =
                format!("only the newest {MOST_PURGES} purges are carried out: delete those that are complete");
            findings.warning("", &message);
            Some(Judgement::new(false, Reason::TooManyPurges, message))
        } else {
            None
        };
        match refusal {
            Some(refusal) => out.verdict(id, object.meta.generation, refusal, None, findings.finish()),
            None => {
                let accepted = Judgement::new(true, Reason::Accepted, "the purge is valid");
                out.valid(id, &object.meta, Unit::CachePurge(unit), accepted, None, findings);
            }
        }
    }
}

/// Collects blobs and verdicts.
#[derive(Default)]
struct Builder {
    blobs: Vec<(ObjectId, i64, Blob)>,
    verdicts: Vec<Verdict>,
}

impl Builder {
    fn valid(
        &mut self,
        id: ObjectId,
        meta: &Meta,
        unit: Unit,
        accepted: Judgement,
        resolved_refs: Option<Judgement>,
        findings: Findings,
    ) {
        let blob = Blob::Valid { unit: Box::new(unit) };
        self.blobs.push((id.clone(), meta.generation, blob));
        self.verdict(id, meta.generation, accepted, resolved_refs, findings.finish());
    }

    fn invalid(&mut self, id: ObjectId, meta: &Meta, message: String, targets: Vec<ObjectId>, findings: Findings) {
        let blob = Blob::Invalid {
            targets,
            message: message.clone(),
        };
        self.blobs.push((id.clone(), meta.generation, blob));
        let accepted = Judgement::new(false, Reason::Invalid, message);
        self.verdict(id, meta.generation, accepted, None, findings.finish());
    }

    fn broken(&mut self, broken: &crate::Broken) {
        let place = if broken.field.is_empty() {
            String::new()
        } else {
            format!("{}: ", broken.field)
        };
        let message = format!("{place}{}", broken.message);
        if broken.id.kind != Kind::CachePurge {
            let blob = Blob::Invalid {
                targets: broken.targets.clone(),
                message: message.clone(),
            };
            self.blobs.push((broken.id.clone(), broken.generation, blob));
        }
        let problem = Problem {
            severity: Severity::Error,
            field: broken.field.clone(),
            message: broken.message.clone(),
        };
        let accepted = Judgement::new(false, Reason::Invalid, message);
        self.verdict(broken.id.clone(), broken.generation, accepted, None, vec![problem]);
    }

    fn verdict(
        &mut self,
        id: ObjectId,
        generation: i64,
        accepted: Judgement,
        resolved_refs: Option<Judgement>,
        problems: Vec<Problem>,
    ) {
        self.verdicts.push(Verdict {
            id,
            generation,
            accepted,
            resolved_refs,
            problems,
        });
    }

    /// Sorts. Should one object be there twice (a caller's fault), the one with the smaller bytes stays, so that the
    /// order of the input still does not matter.
    fn finish(mut self) -> Output {
        self.blobs
            .sort_by_cached_key(|(id, generation, blob)| (id.clone(), *generation, blob.to_json()));
        let mut seen = HashSet::new();
        self.blobs.retain(|(id, ..)| seen.insert(id.clone()));
        self.verdicts
            .sort_by_cached_key(|verdict| (verdict.id.clone(), verdict.generation));
        self.verdicts.dedup_by(|later, first| later.id == first.id);
        Output {
            snapshot: Snapshot::build(self.blobs),
            verdicts: self.verdicts,
        }
    }
}
