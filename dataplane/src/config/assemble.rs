//! From snapshots to configurations, object by object.
//!
//! Invariant: a bad object touches nothing but itself. Its last good version stays in force until a good one comes,
//! however many snapshots later; a policy that never was good fails closed on what it should have protected. Each
//! purge is carried out once. What a site stored goes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use breakwater_cache::Cache;
use breakwater_cache::key::Keyer;
use breakwater_cache::purge::Mode;
use breakwater_snapshot::unit::{self, Unit};
use breakwater_snapshot::{Blob, Digest, Entry, Kind, Manifest, ObjectId, Rejection, Snapshot};
use breakwater_waf::bundle::Crs;
use breakwater_waf::limit::Tables;
use serde::Serialize;

use super::build::{self, Built};
use super::rules::RuleSets;
use super::{Config, Protection, Resource, ResourceKind, Route};
use crate::Applied;
use crate::access::ClientRule;
use crate::challenge::{Cookies, cookie_of};
use crate::geo::Known;
use crate::route::Router;
use crate::telemetry::Metrics;
use crate::tls::{HostTls, Hosts, Realms, Servers, Terms};
use crate::upstream::{Origin, Parent};

/// Keeps what was built, and builds what changed.
pub(crate) struct Assembler {
    held: BTreeMap<ObjectId, Held>,
    metrics: Arc<Metrics>,
    cache: Arc<Cache>,
    tables: Arc<Tables>,
    realms: Realms,
    servers: Servers,
    rule_sets: RuleSets,
    https_port: u16,
    marker: Keyer,
    loaded: Loaded,
}

struct Held {
    /// The blob it was built from.
    digest: Digest,
    generation: i64,
    built: Built,
}

/// What is loaded, for people: `GET /v1/snapshot`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Loaded {
    digest: Option<Digest>,
    /// The version of the Core Rule Set that this node has; none: it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    crs: Option<String>,
    /// Its rules that this node cannot run, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    crs_left_out: Vec<String>,
    objects: Vec<LoadedObject>,
    rejected: Vec<Rejection>,
}

#[derive(Clone, Debug, Serialize)]
struct LoadedObject {
    #[serde(flatten)]
    id: ObjectId,
    generation: i64,
    sha256: Digest,
    /// The version in force is older than the manifest's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    last_good: bool,
}

impl Assembler {
    /// `marker`: see [`Resource::marker`].
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        cache: Arc<Cache>,
        tables: Arc<Tables>,
        https_port: u16,
        marker: Keyer,
        crs: Option<Arc<Crs>>,
        databases: Known,
    ) -> Self {
        Self {
            held: BTreeMap::new(),
            metrics,
            cache,
            tables,
            realms: Realms::default(),
            servers: Servers::default(),
            loaded: Loaded {
                crs: crs.as_deref().map(|crs| crate::crs::describe(crs).to_owned()),
                ..Loaded::default()
            },
            rule_sets: RuleSets::new(crs, databases),
            https_port,
            marker,
        }
    }

    /// What is loaded.
    pub(crate) fn loaded(&self) -> Loaded {
        self.loaded.clone()
    }

    /// Builds the configuration of `snapshot`.
    pub(crate) fn assemble(&mut self, snapshot: &Snapshot) -> (Config, Applied) {
        let manifest = snapshot.manifest();
        let mut rejected = Vec::new();
        for entry in &manifest.entries {
            if let Some(held) = self.held.get_mut(&entry.id)
                && held.digest == entry.sha256
            {
                held.generation = entry.generation;
                continue;
            }
            if let Err(message) = self.take(entry, snapshot.blob(&entry.sha256)) {
                rejected.push(Rejection {
                    id: entry.id.clone(),
                    message,
                });
            }
        }
        self.held.retain(|id, _| manifest.get(id).is_some());
        self.rule_sets.prune();
        self.forget_sites(manifest);
        self.forget_purges();
        self.note_certificates();
        let kept = rejected
            .iter()
            .map(|r| r.id.clone())
            .filter(|id| self.in_force(id))
            .collect();
        let digest = manifest.digest();
        self.loaded = Loaded {
            digest: Some(digest),
            crs: self.loaded.crs.take(),
            crs_left_out: self.rule_sets.left_out(),
            objects: self
                .held
                .iter()
                .map(|(id, held)| held.describe(id, manifest.get(id)))
                .collect(),
            rejected: rejected.clone(),
        };
        let applied = Applied {
            manifest: digest,
            rejected,
            kept,
        };
        (self.config(), applied)
    }

    /// Builds one object in place of its held version. On error the held version stays.
    fn take(&mut self, entry: &Entry, blob: Option<&Arc<[u8]>>) -> Result<(), String> {
        let bytes = blob.ok_or("its compiled unit is missing from the snapshot")?;
        let blob = Blob::from_json(bytes).map_err(|error| error.to_string());
        let built = blob.and_then(|blob| match blob {
            Blob::Valid { unit } => {
                let protects = match &*unit {
                    Unit::WafPolicy(policy) => policy.targets.clone(),
                    _ => Vec::new(),
                };
                let (metrics, tables, realms) = (&self.metrics, &self.tables, &self.realms);
                let built = build::build(&entry.id, *unit, metrics, tables, realms, &mut self.rule_sets);
                // Under no digest: it is rejected each time until it can be built.
                built.inspect_err(|message| self.fail_closed(entry, Digest::of(&[]), protects, message))
            }
            Blob::Invalid { message, targets } => {
                self.fail_closed(entry, entry.sha256, targets, &message);
                Err(message)
            }
        })?;
        if let Built::Purge(purge) = &built {
            self.purge(purge);
        }
        let held = Held {
            digest: entry.sha256,
            generation: entry.generation,
            built,
        };
        self.held.insert(entry.id.clone(), held);
        Ok(())
    }

    /// Carries out a purge, unless that was done. Sites come before purges in a manifest, so the site is held if it has
    /// a good version.
    fn purge(&self, purge: &unit::CachePurge) {
        let (epochs, uid) = (self.cache.epochs(), purge_uid(&purge.uid));
        if epochs.is_done(uid) {
            return;
        }
        match self.held.get(&purge.target).map(|held| &held.built) {
            Some(Built::Site(site)) => super::purge::purge(&self.cache, site, &purge.selector, purge.mode),
            // Something may be stored of it from before a restart; what its keys are made of is not known.
            _ => {
                let all = breakwater_cache::Purge::Everything;
                self.cache.purge(build::site_id(&purge.target), all, Mode::Hard)
            }
        };
        epochs.set_done(uid);
    }

    /// Lets a policy that has no good version refuse everything on its targets.
    fn fail_closed(&mut self, entry: &Entry, digest: Digest, targets: Vec<ObjectId>, message: &str) {
        if entry.id.kind != Kind::WafPolicy || self.in_force(&entry.id) {
            return;
        }
        let protection = build::fail_closed(&entry.id, message, &self.metrics);
        let held = Held {
            digest,
            generation: entry.generation,
            built: Built::Closed(Arc::new(protection), targets),
        };
        self.held.insert(entry.id.clone(), held);
    }

    /// Whether a good version of the object is held.
    fn in_force(&self, id: &ObjectId) -> bool {
        self.held
            .get(id)
            .is_some_and(|held| !matches!(held.built, Built::Closed(..)))
    }

    /// What a removed site stored is gone: one of the same name that comes later may be quite another. One that is
    /// invalid at present is not removed.
    fn forget_sites(&self, manifest: &Manifest) {
        let listed = manifest.entries.iter().map(|entry| &entry.id);
        let sites: BTreeSet<u64> = listed
            .filter(|id| id.kind == Kind::EdgeCache)
            .map(build::site_id)
            .collect();
        self.cache.retain_sites(|id| sites.contains(&id));
        // Those that are new are known from now on, and not only from their first request on: what a store keeps of a site
        // that is not known when the process dies is lost.
        sites.iter().for_each(|&id| drop(self.cache.stamp(id)));
    }

    fn forget_purges(&self) {
        let known: BTreeSet<_> = self
            .held
            .values()
            .filter_map(|held| match &held.built {
                Built::Purge(purge) => Some(purge_uid(&purge.uid)),
                _ => None,
            })
            .collect();
        self.cache.epochs().retain_done(|uid| known.contains(&uid));
    }

    /// When certificates expire, for metrics.
    fn note_certificates(&self) {
        let expiries = self.held.iter().filter_map(|(id, held)| match &held.built {
            Built::Certificate(certificate) => Some((format!("{}/{}", id.namespace, id.name), certificate.expires)),
            _ => None,
        });
        self.metrics.set_certificates(expiries.collect());
    }

    /// How hosts are served over TLS. On a host that several objects name, which the compile step does not let happen,
    /// the first of them decides.
    fn tls(&mut self) -> Hosts {
        let mut hosts = Hosts::default();
        for held in self.held.values() {
            let Some(terms) = held.terms() else { continue };
            let certificate = self.held.get(&terms.certificate).and_then(|held| match &held.built {
                Built::Certificate(certificate) => Some((certificate, held.digest)),
                _ => None,
            });
            let server = certificate.and_then(|(certificate, digest)| self.servers.find(certificate, digest, terms));
            let certificate = certificate.map(|(certificate, _)| certificate);
            let tls = Arc::new(HostTls::new(terms, certificate, server, self.https_port));
            terms.hosts.iter().for_each(|host| hosts.add(host, &tls));
        }
        self.servers.prune();
        hosts
    }

    fn config(&mut self) -> Config {
        let tls = self.tls();
        let mut router = Router::default();
        let mut resources = Vec::new();
        for (id, held) in &self.held {
            let (kind, claims) = match &held.built {
                Built::Site(site) => (ResourceKind::Cache(Arc::clone(site)), &site.claims),
                Built::WebSocket(route) => (ResourceKind::WebSocket(Arc::clone(route)), &route.claims),
                _ => continue,
            };
            let resource = u32::try_from(resources.len()).unwrap_or(u32::MAX);
            for claim in claims {
                let route = Route {
                    resource,
                    tls: tls.of_claim(&claim.host),
                };
                // The unit was refused when its expressions did not compile.
                if let Err(error) = router.add(claim, route) {
                    tracing::error!(resource = %id, %error, "a path cannot be routed");
                }
            }
            resources.push(self.resource(id, kind, held.generation));
        }
        router.finish();
        let labels = |resource: &Resource| {
            let parent = resource.parent.as_ref().map(|parent| parent.origin.label.clone());
            std::iter::once(resource.label.clone())
                .chain(parent)
                .collect::<Vec<_>>()
        };
        let labels: BTreeSet<_> = resources.iter().flat_map(labels).collect();
        self.metrics.fleet.settle(|label| labels.contains(label));
        Config { router, resources, tls }
    }

    /// The servers that a resource calls `label`, with the client certificate they are shown.
    fn origin(&self, label: &str, unit: &unit::Origin) -> Arc<Origin> {
        let named = unit.tls.as_ref().and_then(|tls| tls.certificate.as_ref());
        let shown = named
            .and_then(|id| self.held.get(id))
            .and_then(|held| match &held.built {
                Built::Certificate(certificate) => Some((held.digest, certificate)),
                _ => None,
            });
        self.metrics.fleet.origin(label, unit, shown)
    }

    /// The edge that is asked before the origin of a site, if one is.
    fn parent(&self, id: &ObjectId, kind: &ResourceKind) -> Option<Arc<Parent>> {
        let ResourceKind::Cache(site) = kind else { return None };
        let unit::Tiering::Parent(parent) = &site.tiering else {
            return None;
        };
        let servers = self.origin(&format!("{id} parent"), site.tiering.servers()?);
        Some(Arc::new(Parent::new(servers, parent.fallback)))
    }

    fn resource(&self, id: &ObjectId, kind: ResourceKind, generation: i64) -> Resource {
        let mut protections: Vec<Arc<Protection>> = self
            .held
            .values()
            .filter_map(|held| match &held.built {
                Built::Policy(protection, targets) | Built::Closed(protection, targets) if targets.contains(id) => {
                    Some(Arc::clone(protection))
                }
                _ => None,
            })
            .collect();
        protections.sort_by_key(|protection| protection.order);
        let trusted = protections.iter().flat_map(|p| p.trusted.iter().copied()).collect();
        let header = protections.iter().find_map(|p| p.client_header.clone());
        Resource {
            label: id.to_string(),
            counts_connections: protections.iter().any(|p| p.policy.counts_connections()),
            client: ClientRule::new(trusted, header),
            has_rules: protections.iter().any(|p| p.rules.is_some()),
            inspects_responses: protections
                .iter()
                .filter_map(|p| p.rules.as_ref())
                .any(|rules| rules.inspect_response.is_some()),
            cookies: Cookies::new(
                protections
                    .iter()
                    .filter(|p| p.policy.has_challenge())
                    .map(|p| cookie_of(&p.policy.identity().name)),
            ),
            protections,
            generation,
            origin: self.origin(&id.to_string(), kind.origin()),
            parent: self.parent(id, &kind),
            marker: self.marker.clone(),
            kind,
        }
    }
}

impl Held {
    /// How it wants its hosts served over TLS.
    fn terms(&self) -> Option<&Arc<Terms>> {
        match &self.built {
            Built::Site(site) => site.tls.as_ref(),
            Built::WebSocket(route) => route.tls.as_ref(),
            _ => None,
        }
    }

    fn describe(&self, id: &ObjectId, entry: Option<&Entry>) -> LoadedObject {
        LoadedObject {
            id: id.clone(),
            generation: self.generation,
            sha256: self.digest,
            last_good: entry.is_some_and(|entry| entry.sha256 != self.digest),
        }
    }
}

/// The cache's name for a purge, which outlives the process with what is stored.
fn purge_uid(uid: &str) -> u128 {
    Digest::of(uid.as_bytes()).half()
}

/// Whether a unit is of the kind its name says.
pub(super) const fn kind_of(unit: &Unit) -> Kind {
    match unit {
        Unit::EdgeCache(_) => Kind::EdgeCache,
        Unit::WafPolicy(_) => Kind::WafPolicy,
        Unit::WsRoute(_) => Kind::WsRoute,
        Unit::CachePurge(_) => Kind::CachePurge,
        Unit::Certificate(_) => Kind::Secret,
    }
}
