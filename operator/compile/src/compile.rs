//! Puts the parts together: reads every object, settles conflicts, follows references, judges.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use breakwater_snapshot::unit::{Claim, EdgeCache, Origin, Tls, Unit, WsRoute};
use breakwater_snapshot::{Blob, Kind, ObjectId, Snapshot};

use crate::certificate::{Certificates, Memo};
use crate::claims::{Age, Claims, Held, Owners, age};
use crate::findings::Findings;
use crate::index::Index;
use crate::origin::Servers;
use crate::purge_record::{self, Published};
use crate::tiering::PARENT;
use crate::tls::Deciders;
use crate::waf_link::{Known, Links};
use crate::{
    Judgement, MOST_PURGES, Meta, Problem, Reason, Severity, Verdict, World, cache_purge, edge_cache, tiering, tls,
    waf_policy, ws_route,
};

/// What the compile step gives.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// What nodes run.
    pub snapshot: Snapshot,
    /// What the objects' authors are told: one for each object of the World, sorted by object.
    pub verdicts: Vec<Verdict>,
    /// The purges that are published because their objects are there, by their EdgeCache: what is to be recorded.
    pub purges: BTreeMap<ObjectId, Vec<Published>>,
}

/// Compiles a World. Never fails: what cannot be compiled is a verdict.
pub fn compile(world: &World) -> Output {
    compile_again(world, &mut Memo::default())
}

/// As [`compile`], for whoever compiles again and again: what `memo` holds of the time before is not done anew. The
/// output is the same, whatever it holds.
pub fn compile_again(world: &World, memo: &mut Memo) -> Output {
    let index = Index::new(world);
    let mut out = Builder::default();

    let edge_caches: Vec<Read<'_, EdgeCache>> = world
        .edge_caches
        .iter()
        .map(|object| {
            let mut findings = Findings::default();
            let (claims, unit) = edge_cache::read(object, &mut findings);
            Read {
                meta: &object.meta,
                id: object.meta.id(Kind::EdgeCache),
                servers: edge_cache::servers(object),
                claims,
                unit,
                findings,
            }
        })
        .collect();
    let ws_routes: Vec<Read<'_, WsRoute>> = world
        .ws_routes
        .iter()
        .map(|object| {
            let mut findings = Findings::default();
            let (claims, unit) = ws_route::read(object, &mut findings);
            Read {
                meta: &object.meta,
                id: object.meta.id(Kind::WsRoute),
                servers: ws_route::servers(object),
                claims,
                unit,
                findings,
            }
        })
        .collect();
    let owners = Owners::settle(
        (edge_caches.iter().map(Read::claimant))
            .chain(ws_routes.iter().map(Read::claimant))
            .collect(),
    );
    let deciders = Deciders::settle(
        (edge_caches.iter().filter_map(|read| read.decider(&owners)))
            .chain(ws_routes.iter().filter_map(|read| read.decider(&owners)))
            .collect(),
    );
    let cache_claims: HashMap<&ObjectId, &Claims> = edge_caches.iter().map(|read| (&read.id, &read.claims)).collect();
    purges(world, &index, &cache_claims, &mut out);
    recorded_purges(world, &index, &mut out);
    policies(world, &index, &mut memo.links, &mut out);

    let mut settled = Settled {
        index,
        owners,
        deciders,
        certificates: Certificates::new(world, memo),
        blind_to_nodes: world.blind_to_nodes,
    };
    for read in edge_caches {
        read.finish(&mut settled, &mut out);
    }
    for read in ws_routes {
        read.finish(&mut settled, &mut out);
    }
    for broken in &world.broken {
        for secret in &broken.secrets {
            let _ = settled.certificates.judge(secret);
        }
        out.broken(broken);
    }
    out.blobs.extend(settled.certificates.blobs());
    out.finish()
}

/// A unit that serves hosts and paths.
trait Route {
    /// Its servers.
    fn origin(&mut self) -> &mut Origin;
    /// The servers that are asked before them.
    fn parent(&self) -> Option<&Origin>;
    /// Whether nodes are selected by labels to be asked before them.
    fn selects_nodes(&self) -> bool;
    /// What its author wrote of TLS.
    fn tls(&self) -> Option<&Tls>;
    /// The unit, with what it was given.
    fn finish(self, claims: Vec<Claim>, tls: Option<Tls>) -> Unit;
}

impl Route for EdgeCache {
    fn origin(&mut self) -> &mut Origin {
        &mut self.origin
    }

    fn parent(&self) -> Option<&Origin> {
        self.tiering.servers()
    }

    fn selects_nodes(&self) -> bool {
        tiering::selects_nodes(&self.tiering)
    }

    fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    fn finish(self, claims: Vec<Claim>, tls: Option<Tls>) -> Unit {
        Unit::EdgeCache(Self { claims, tls, ..self })
    }
}

impl Route for WsRoute {
    fn origin(&mut self) -> &mut Origin {
        &mut self.backend
    }

    fn parent(&self) -> Option<&Origin> {
        None
    }

    fn selects_nodes(&self) -> bool {
        false
    }

    fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    fn finish(self, claims: Vec<Claim>, tls: Option<Tls>) -> Unit {
        Unit::WsRoute(Self { claims, tls, ..self })
    }
}

/// A route as its author wrote it, read.
struct Read<'a, U> {
    meta: &'a Meta,
    id: ObjectId,
    claims: Claims,
    servers: Servers<'a>,
    unit: U,
    findings: Findings,
}

/// What is settled between objects.
struct Settled<'a> {
    index: Index<'a>,
    owners: Owners,
    deciders: Deciders,
    certificates: Certificates<'a>,
    blind_to_nodes: bool,
}

impl<U: Route> Read<'_, U> {
    fn claimant(&self) -> (Age<'_>, ObjectId, &Claims) {
        (age(self.meta, self.id.kind), self.id.clone(), &self.claims)
    }

    fn decider(&self, owners: &Owners) -> Option<(Age<'_>, ObjectId, BTreeSet<&str>, &Tls)> {
        let hosts = owners.hosts(&self.id, &self.claims);
        Some((age(self.meta, self.id.kind), self.id.clone(), hosts, self.unit.tls()?))
    }

    /// Gives it what it holds, follows its references, judges it.
    fn finish(self, settled: &mut Settled<'_>, out: &mut Builder) {
        let Self {
            meta,
            id,
            claims,
            servers,
            mut unit,
            mut findings,
        } = self;
        let certificates = &mut settled.certificates;
        let own = unit.tls().map(|tls| tls.certificate.clone());
        let shown = |origin: &Origin| origin.tls.as_ref().and_then(|tls| tls.certificate.clone());
        let towards_origin = shown(unit.origin());
        let towards_parent = unit.parent().and_then(shown);
        let named = own.iter().chain(&towards_origin).chain(&towards_parent);
        let named: BTreeSet<ObjectId> = named.cloned().collect();
        if let Some(message) = findings.invalid() {
            // Its last good unit lives on in nodes, and needs its certificates.
            for secret in &named {
                let _ = certificates.judge(secret);
            }
            out.invalid(id, meta, message, Vec::new(), findings);
            return;
        }
        let held = settled.owners.held(&id, &claims, &mut findings);
        let endpoints = std::mem::take(&mut unit.origin().endpoints);
        let (endpoints, mut resolved) = servers.resolve(&settled.index, endpoints, &mut findings);
        unit.origin().endpoints = endpoints;
        if settled.blind_to_nodes && unit.selects_nodes() {
            resolved = resolved.and(Err(tiering::unseen(&mut findings)));
        }

        let hosts = settled.owners.hosts(&id, &claims);
        let mut lost_tls = None;
        let mut tls = unit.tls().cloned();
        if let Some(written) = tls.take() {
            let followed = tls::follow(
                &written.certificate,
                &hosts,
                "spec.tls.secretName",
                certificates,
                &mut findings,
            );
            resolved = resolved.and(followed);
            (tls, lost_tls) = settled.deciders.decided(&id, &hosts, written, &mut findings);
        }
        let towards_servers = [(&towards_origin, servers.field), (&towards_parent, PARENT)];
        for (secret, field) in towards_servers {
            let Some(secret) = secret else { continue };
            let field = format!("{field}.tls.certificateSecretName");
            let followed = tls::follow(secret, &BTreeSet::new(), &field, certificates, &mut findings);
            resolved = resolved.and(followed);
        }
        let secrets = named.into_iter().filter(|id| certificates.judge(id).is_ok()).collect();
        let accepted = accepted(&held, lost_tls);
        let unit = unit.finish(held.claims, tls);
        out.valid(id, meta, unit, accepted, Some(resolved), secrets, findings);
    }
}

/// What `Accepted` says of a valid route: it holds all, some or none of what it claims, and decides on its TLS or not.
fn accepted(held: &Held, lost_tls: Option<String>) -> Judgement {
    let (status, reason, mut message) = match &held.lost {
        None => (
            true,
            Reason::Accepted,
            "the object is valid and holds all it claims".to_owned(),
        ),
        Some(lost) if held.claims.is_empty() => (false, Reason::Conflicted, lost.clone()),
        Some(lost) => (true, Reason::Accepted, lost.clone()),
    };
    if let Some(lost) = lost_tls {
        message = format!("{message}; {lost}");
    }
    Judgement::new(status, reason, message)
}

fn policies(world: &World, index: &Index<'_>, known: &mut Known, out: &mut Builder) {
    let mut links = Links::new(known);
    let mut read = Vec::with_capacity(world.waf_policies.len());
    for object in &world.waf_policies {
        let mut findings = Findings::default();
        let unit = waf_policy::read(object, index, &mut links, &mut findings);
        let invalid = findings.invalid().map(|message| (message, findings.only_waits()));
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
        if let Some((message, only_waits)) = invalid {
            // Nothing of one that was never edited was ever in force: to wait closed would be an outage on arrival.
            let targets = match only_waits && object.meta.generation == 1 {
                true => Vec::new(),
                false => targets,
            };
            out.invalid(id, &object.meta, message, targets, findings);
            continue;
        }
        unit.order = orders.get(&id).copied().unwrap_or_default();
        unit.targets = targets;
        let mut accepted = accepted;
        if let Some(warned) = findings.warned() {
            accepted.message = format!("{}; warning: {warned}", accepted.message);
        }
        out.valid(
            id,
            &object.meta,
            Unit::WafPolicy(unit),
            accepted,
            Some(resolved),
            Vec::new(),
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
            Some(refusal) => out.refused(
                id,
                Some(&object.meta),
                object.meta.generation,
                refusal,
                findings.finish(),
            ),
            None => {
                out.purges.entry(target).or_default().push(Published {
                    created: object.meta.created.unwrap_or(i64::MAX),
                    unit: unit.clone(),
                });
                let accepted = Judgement::new(true, Reason::Accepted, "the purge is valid");
                out.valid(
                    id,
                    &object.meta,
                    Unit::CachePurge(unit),
                    accepted,
                    None,
                    Vec::new(),
                    findings,
                );
            }
        }
    }
}

/// What nodes that were away have to hear of purges whose objects are gone.
fn recorded_purges(world: &World, index: &Index<'_>, out: &mut Builder) {
    let mut there = HashMap::new();
    for (at, (.., blob)) in out.blobs.iter().enumerate() {
        if let Blob::Valid { unit } = blob
            && let Unit::CachePurge(purge) = &**unit
        {
            there.insert(purge.uid.clone(), at);
        }
    }
    let each = purge_record::MOST_PUBLISHED / world.purge_records.len().max(1);
    for (target, records) in &world.purge_records {
        if !index.exists(target) {
            continue;
        }
        for record in purge_record::newest(records.clone(), each.max(1)) {
            let unit = Box::new(Unit::CachePurge(purge_record::to_unit(&record, target)));
            let blob = Blob::Valid { unit };
            match there.get(&record.uid).and_then(|at| out.blobs.get_mut(*at)) {
                // Who has not carried it out may have missed those before it.
                Some(published) if record.older => published.2 = blob,
                Some(_) => {}
                None => {
                    // No object has such a name.
                    let name = format!("{}:{}", target.name, record.uid);
                    let id = ObjectId::new(Kind::CachePurge, target.namespace.as_str(), name);
                    out.blobs.push((id, 0, blob));
                }
            }
        }
    }
}

/// Collects blobs and verdicts.
#[derive(Default)]
struct Builder {
    blobs: Vec<(ObjectId, i64, Blob)>,
    verdicts: Vec<Verdict>,
    purges: BTreeMap<ObjectId, Vec<Published>>,
}

impl Builder {
    #[expect(clippy::too_many_arguments, reason = "what there is to say of one object")]
    fn valid(
        &mut self,
        id: ObjectId,
        meta: &Meta,
        unit: Unit,
        accepted: Judgement,
        resolved_refs: Option<Judgement>,
        secrets: Vec<ObjectId>,
        findings: Findings,
    ) {
        let prefetch = matches!(&unit, Unit::EdgeCache(site) if site.prefetch.is_some());
        let crs =
            matches!(&unit, Unit::WafPolicy(policy) if policy.rules.as_ref().is_some_and(|rules| rules.crs.is_some()));
        let blob = Blob::Valid { unit: Box::new(unit) };
        self.blobs.push((id.clone(), meta.generation, blob));
        self.verdicts.push(Verdict {
            id,
            uid: Some(meta.uid.clone()),
            generation: meta.generation,
            accepted,
            resolved_refs,
            secrets,
            prefetch,
            crs,
            problems: findings.finish(),
        });
    }

    fn invalid(&mut self, id: ObjectId, meta: &Meta, message: String, targets: Vec<ObjectId>, findings: Findings) {
        let blob = Blob::Invalid {
            targets,
            message: message.clone(),
        };
        self.blobs.push((id.clone(), meta.generation, blob));
        let accepted = Judgement::new(false, Reason::Invalid, message);
        self.refused(id, Some(meta), meta.generation, accepted, findings.finish());
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
        self.refused(broken.id.clone(), None, broken.generation, accepted, vec![problem]);
    }

    fn refused(
        &mut self,
        id: ObjectId,
        meta: Option<&Meta>,
        generation: i64,
        accepted: Judgement,
        problems: Vec<Problem>,
    ) {
        self.verdicts.push(Verdict {
            id,
            uid: meta.map(|meta| meta.uid.clone()),
            generation,
            accepted,
            resolved_refs: None,
            secrets: Vec::new(),
            prefetch: false,
            crs: false,
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
            purges: self.purges,
        }
    }
}
