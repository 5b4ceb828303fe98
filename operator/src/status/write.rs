//! Writes status by server-side apply, and events. See [`super`] for when.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;

use breakwater_compile::Verdict;
use breakwater_compile::purge_record::{self, Published};
use breakwater_crds::{
    CachePurge, CachePurgeStatus, EdgeCache, EdgeCacheStatus, ResourceStatus, WafPolicy, WafPolicyStatus, WsRoute,
};
use breakwater_snapshot::{Kind, ObjectId};

use super::events::{self, Warnings};
use super::fleet::{Fleet, History};
use super::peers::Peers;
use super::{Compiled, Patience, judge, prefetch};
use crate::Metrics;
use crate::lease::Leadership;
use crate::publish::Publisher;
use crate::watch::{Facts, Watched, resource};

/// Who owns the fields of a status.
pub const FIELD_MANAGER: &str = "breakwater-operator-status";

/// Writes at once.
const CONCURRENCY: usize = 8;
/// How long what was written is believed over what the watch shows, which may be older.
const ECHO: Duration = Duration::from_secs(10);
/// Changes this close together are answered by one round.
const GATHER: Duration = Duration::from_millis(20);
/// Time between rounds while nothing changes: silent nodes are noticed, and a status that someone overwrote.
const IDLE: Duration = Duration::from_secs(10);
/// Writes status for as long as this replica leads.
pub struct StatusWriter {
    /// How long it waits.
    pub patience: Patience,
    client: Client,
    recorder: Recorder,
    watched: Watched,
    publisher: Publisher,
    peers: Peers,
    leadership: Leadership,
    metrics: Metrics,
    history: History,
    sent: HashMap<ObjectId, Sent>,
    holding: HashMap<ObjectId, Instant>,
    warnings: Warnings,
    /// When this replica began to lead.
    began: Instant,
}

struct Sent {
    at: Instant,
    uid: String,
    /// None when the write failed: what is there is not known.
    status: Option<Status>,
}

/// The status of any kind.
#[derive(Clone, Debug, PartialEq)]
enum Status {
    EdgeCache(EdgeCacheStatus),
    WafPolicy(WafPolicyStatus),
    Resource(ResourceStatus),
    Purge(CachePurgeStatus),
}

struct Write {
    id: ObjectId,
    uid: String,
    before: Status,
    status: Status,
}

impl StatusWriter {
    /// A writer that has written nothing. `identity` names this replica in events.
    pub fn new(
        client: Client,
        identity: &str,
        watched: Watched,
        publisher: Publisher,
        peers: Peers,
        leadership: Leadership,
        metrics: Metrics,
    ) -> Self {
        let reporter = Reporter {
            controller: "breakwater-operator".to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self {
            patience: Patience::default(),
            recorder: Recorder::new(client.clone(), reporter),
            client,
            watched,
            publisher,
            peers,
            leadership,
            metrics,
            history: History::default(),
            sent: HashMap::new(),
            holding: HashMap::new(),
            warnings: Warnings::default(),
            began: Instant::now(),
        }
    }

    /// Writes whenever there is something to say. Ends with the compiles.
    pub async fn run(mut self, mut compiled: watch::Receiver<Option<Compiled>>) {
        let mut nodes = self.publisher.nodes_changed();
        let mut peers = self.peers.changed();
        let mut facts = self.watched.facts_changed();
        let mut leadership = self.leadership.clone();
        let mut led = false;
        loop {
            let current = compiled.borrow_and_update().clone();
            if let Some(current) = &current {
                self.history.push(current.digest, current.manifest.clone());
            }
            let leads = self.leadership.holds(tokio::time::Instant::now());
            if leads && !led {
                self.began = Instant::now();
            }
            led = leads;
            let wait = match current {
                Some(current) if leads => self.round(&current).await,
                _ => IDLE,
            };
            tokio::select! {
                changed = compiled.changed() => if changed.is_err() { return },
                _ = nodes.changed() => {}
                _ = peers.changed() => {}
                _ = facts.changed() => {}
                () = tokio::time::sleep(wait) => {}
                () = leadership.gained(), if !self.leadership.holds(tokio::time::Instant::now()) => {}
            }
            tokio::time::sleep(GATHER).await;
            nodes.mark_unchanged();
            peers.mark_unchanged();
            facts.mark_unchanged();
        }
    }

    /// Writes what is due; the time until something may be due again.
    async fn round(&mut self, current: &Compiled) -> Duration {
        let now = Instant::now();
        let mut wait = IDLE;
        // Before anything is written: a status says which generation was spoken of.
        for (about, note) in self.new_warnings(current, now) {
            events::tell_warnings(&self.recorder, &about, &note).await;
        }
        let (writes, soonest) = self.due(current, now);
        wait = wait.min(soonest);
        let leadership = self.leadership.clone();
        let outcomes: Vec<_> = stream::iter(writes)
            .map(|write| {
                let (client, leadership) = (self.client.clone(), leadership.clone());
                async move {
                    if !leadership.holds(tokio::time::Instant::now()) {
                        return None;
                    }
                    let outcome = apply(client, &write).await;
                    Some((write, outcome))
                }
            })
            .buffer_unordered(CONCURRENCY)
            .filter_map(std::future::ready)
            .collect()
            .await;
        for (write, outcome) in outcomes {
            let result = match &outcome {
                Ok(()) => "ok",
                // Deleted or replaced meanwhile: the watch will say so.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => "gone",
                Err(error) => {
                    tracing::warn!(object = %write.id, %error, "a status could not be written and is tried again");
                    "failed"
                }
            };
            self.metrics.status_write(write.id.kind, result);
            if outcome.is_ok() {
                self.tell(&write).await;
            } else {
                wait = wait.min(self.patience.pace);
            }
            self.sent.insert(
                write.id,
                Sent {
                    at: now,
                    uid: write.uid,
                    status: outcome.is_ok().then_some(write.status),
                },
            );
        }
        wait
    }

    fn due(&mut self, current: &Compiled, now: Instant) -> (Vec<Write>, Duration) {
        let facts: HashMap<&ObjectId, (Facts, Status)> = current
            .verdicts
            .iter()
            .filter_map(|verdict| {
                // What was compiled before an object was made again under its name says nothing of the new one: a purge
                // would be complete before a node knows of it.
                let facts = self
                    .watched
                    .facts(&verdict.id)
                    .filter(|facts| verdict.is_about(&facts.uid))?;
                let before = self.before(&verdict.id, &facts, now);
                Some((&verdict.id, (facts, before)))
            })
            .collect();
        let young = now.saturating_duration_since(self.began) < self.patience.young;
        let floor = if young {
            facts.values().map(|(_, before)| before.desired()).max()
        } else {
            None
        };
        let fleet = self.fleet(floor.unwrap_or(0));
        let time = Timestamp::now();
        let mut wait = IDLE;
        if young {
            wait = self
                .patience
                .young
                .saturating_sub(now.saturating_duration_since(self.began))
                + GATHER;
        }
        let recorded = recorded(current, &facts);
        let mut writes = Vec::new();
        let mut holding = HashMap::new();
        for verdict in current.verdicts.iter() {
            let Some((facts, before)) = facts.get(&verdict.id) else {
                continue;
            };
            if verdict.prefetch && fleet.prefetch(&verdict.id, verdict.generation).running {
                // Counts are no news that would wake this.
                wait = wait.min(self.patience.progress);
            }
            let Some(status) = self.judge(verdict, current, &fleet, &recorded, before, time) else {
                continue;
            };
            if *before == status {
                continue;
            }
            if let Some(status) = status.record_alone(before) {
                // A purge waits for it; and what it is about waits for nothing else.
                writes.push(Write {
                    id: verdict.id.clone(),
                    uid: facts.uid.clone(),
                    before: before.clone(),
                    status,
                });
                continue;
            }
            if status.is_passing() {
                let since = *self.holding.get(&verdict.id).unwrap_or(&now);
                holding.insert(verdict.id.clone(), since);
                let patience = match before.was_programmed(verdict.generation) {
                    // Nodes are on their way back from the leader before.
                    true if young => self.patience.young,
                    true => self.patience.settle,
                    false => self.patience.first,
                };
                let left = patience.saturating_sub(now.saturating_duration_since(since));
                if !left.is_zero() {
                    wait = wait.min(left);
                    continue;
                }
            }
            if let Some(sent) = self.sent.get(&verdict.id).filter(|sent| sent.uid == facts.uid) {
                let pace = match status.without_prefetch() == before.without_prefetch() {
                    true => self.patience.progress,
                    false => self.patience.pace,
                };
                let left = pace.saturating_sub(now.saturating_duration_since(sent.at));
                if !left.is_zero() {
                    wait = wait.min(left);
                    continue;
                }
            }
            writes.push(Write {
                id: verdict.id.clone(),
                uid: facts.uid.clone(),
                before: before.clone(),
                status,
            });
        }
        self.holding = holding;
        self.sent
            .retain(|_, sent| now.saturating_duration_since(sent.at) < ECHO);
        (writes, wait)
    }

    fn fleet(&self, floor: usize) -> Fleet {
        let mut views = self.peers.views(Instant::now());
        views.push((self.publisher.nodes(), Duration::ZERO));
        Fleet::merge(&views, self.patience.node_memory, floor)
    }

    /// The status that is there: what was written a moment ago, or else what the watch shows.
    fn before(&self, id: &ObjectId, facts: &Facts, now: Instant) -> Status {
        let sent = self.sent.get(id);
        let fresh = sent.filter(|sent| sent.uid == facts.uid && now.saturating_duration_since(sent.at) < ECHO);
        if let Some(status) = fresh.and_then(|sent| sent.status.clone()) {
            return status;
        }
        match id.kind {
            Kind::EdgeCache => Status::EdgeCache(read(facts)),
            Kind::WafPolicy => Status::WafPolicy(read(facts)),
            Kind::CachePurge => Status::Purge(read(facts)),
            _ => Status::Resource(read(facts)),
        }
    }

    fn judge(
        &self,
        verdict: &Verdict,
        current: &Compiled,
        fleet: &Fleet,
        recorded: &HashSet<&str>,
        before: &Status,
        time: Timestamp,
    ) -> Option<Status> {
        let manifest = &current.manifest;
        let needs: Vec<_> = verdict.secrets.iter().filter_map(|id| manifest.get(id)).collect();
        let count = fleet.count(manifest.get(&verdict.id), &needs, &self.history);
        match before {
            Status::EdgeCache(before) => {
                let prefetched = fleet.prefetch(&verdict.id, verdict.generation);
                let purges = current.purges.get(&verdict.id).map_or(&[][..], Vec::as_slice);
                let judged = judge::edge_cache(verdict, &count, &prefetched, purges, before, time);
                Some(Status::EdgeCache(judged))
            }
            Status::WafPolicy(before) => {
                let judged = judge::waf_policy(verdict, &count, fleet.crs(), before, time);
                Some(Status::WafPolicy(judged))
            }
            Status::Resource(before) => Some(Status::Resource(judge::resource(verdict, &count, before, time))),
            Status::Purge(before) => {
                let recorded = verdict.uid.as_deref().is_some_and(|uid| recorded.contains(uid));
                judge::purge(verdict, &count, recorded, before, time).map(Status::Purge)
            }
        }
    }

    /// Tells the author of each fault that is new.
    async fn tell(&self, write: &Write) {
        let about = reference(&write.id, &write.uid);
        for fault in events::new_faults(write.before.conditions(), write.status.conditions()) {
            events::tell_fault(&self.recorder, &about, fault).await;
        }
    }

    /// Warnings of the compile step that were not told yet, and about what.
    fn new_warnings(&mut self, current: &Compiled, now: Instant) -> Vec<(ObjectReference, String)> {
        let mut news = Vec::new();
        for verdict in current.verdicts.iter() {
            let Some(facts) = self
                .watched
                .facts(&verdict.id)
                .filter(|facts| verdict.is_about(&facts.uid))
            else {
                continue;
            };
            let observed = self.before(&verdict.id, &facts, now).observed();
            if let Some(note) = self.warnings.news(verdict, &facts.uid, observed) {
                news.push((reference(&verdict.id, &facts.uid), note));
            }
        }
        let watched = &self.watched;
        self.warnings.retain(|id| watched.facts(id).is_some());
        news
    }
}

/// The purges that are recorded where nodes that were away hear of them, by UID.
fn recorded<'a>(current: &'a Compiled, facts: &HashMap<&ObjectId, (Facts, Status)>) -> HashSet<&'a str> {
    let mut recorded = HashSet::new();
    for (target, purges) in current.purges.iter() {
        if let Some((_, Status::EdgeCache(status))) = facts.get(target) {
            let known = |purge: &&Published| purge_record::is_recorded(&status.purges, purge.created, &purge.unit.uid);
            recorded.extend(purges.iter().filter(known).map(|purge| purge.unit.uid.as_str()));
        }
    }
    recorded
}

impl Status {
    /// What is there with nothing but its record of purges brought up to date; none if that is so already.
    fn record_alone(&self, before: &Self) -> Option<Self> {
        match (self, before) {
            (Self::EdgeCache(status), Self::EdgeCache(before)) if status.purges != before.purges => {
                Some(Self::EdgeCache(EdgeCacheStatus {
                    purges: status.purges.clone(),
                    ..before.clone()
                }))
            }
            _ => None,
        }
    }

    fn conditions(&self) -> &[Condition] {
        match self {
            Self::EdgeCache(status) => &status.resource.conditions,
            Self::WafPolicy(status) => &status.resource.conditions,
            Self::Resource(status) => &status.conditions,
            Self::Purge(status) => &status.conditions,
        }
    }

    /// The generation it speaks of.
    const fn observed(&self) -> Option<i64> {
        match self {
            Self::EdgeCache(status) => status.resource.observed_generation,
            Self::WafPolicy(status) => status.resource.observed_generation,
            Self::Resource(status) => status.observed_generation,
            Self::Purge(status) => status.observed_generation,
        }
    }

    /// What every kind but a purge has.
    const fn resource(&self) -> Option<&ResourceStatus> {
        match self {
            Self::EdgeCache(status) => Some(&status.resource),
            Self::WafPolicy(status) => Some(&status.resource),
            Self::Resource(status) => Some(status),
            Self::Purge(_) => None,
        }
    }

    /// Everything but how far prefetching is.
    fn without_prefetch(&self) -> Self {
        let mut status = self.clone();
        if let Self::EdgeCache(status) = &mut status {
            status.prefetch = None;
            let conditions = &mut status.resource.conditions;
            conditions.retain(|condition| condition.type_ != prefetch::CONDITION);
        }
        status
    }

    fn desired(&self) -> usize {
        // How many nodes there were when a purge completed says nothing of today.
        let desired = self
            .resource()
            .and_then(|status| status.nodes.as_ref())
            .map(|nodes| nodes.desired);
        desired.and_then(|desired| usize::try_from(desired).ok()).unwrap_or(0)
    }

    /// Whether it says that nodes are on their way: worth waiting whether that lasts.
    fn is_passing(&self) -> bool {
        self.conditions().iter().any(|condition| {
            matches!(
                condition.type_.as_str(),
                "Programmed" | "Complete" | prefetch::CONDITION
            ) && matches!(
                condition.reason.as_str(),
                "Pending" | "PartiallyProgrammed" | "InProgress" | "NoNodes"
            )
        })
    }

    /// Whether it says that every node runs `generation`.
    fn was_programmed(&self, generation: i64) -> bool {
        self.resource().is_some_and(|status| {
            status.observed_generation == Some(generation) && judge::is_true(&status.conditions, "Programmed")
        })
    }
}

fn read<S: DeserializeOwned + Default>(facts: &Facts) -> S {
    // A status that cannot be read was written by another version: it is written anew.
    serde_json::from_value(facts.status.clone()).unwrap_or_default()
}

fn api_resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::EdgeCache => resource::<EdgeCache>(),
        Kind::WafPolicy => resource::<WafPolicy>(),
        Kind::WsRoute => resource::<WsRoute>(),
        Kind::CachePurge => resource::<CachePurge>(),
        Kind::Secret => ApiResource::erase::<Secret>(&()),
    }
}

async fn apply(client: Client, write: &Write) -> Result<(), kube::Error> {
    let resource = api_resource(write.id.kind);
    let status = match &write.status {
        Status::EdgeCache(status) => json!(status),
        Status::WafPolicy(status) => json!(status),
        Status::Resource(status) => json!(status),
        Status::Purge(status) => json!(status),
    };
    // The UID makes sure that an object that was replaced by one of the same name does not get this status.
    let body = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"namespace": write.id.namespace, "name": write.id.name, "uid": write.uid},
        "status": status,
    });
    let api: Api<DynamicObject> = Api::namespaced_with(client, &write.id.namespace, &resource);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch_status(&write.id.name, &params, &Patch::Apply(&body))
        .await
        .map(drop)
}

fn reference(id: &ObjectId, uid: &str) -> ObjectReference {
    let resource = api_resource(id.kind);
    ObjectReference {
        api_version: Some(resource.api_version),
        kind: Some(resource.kind),
        namespace: Some(id.namespace.clone()),
        name: Some(id.name.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}
