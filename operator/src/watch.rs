//! Reads the API server: four custom kinds, Services, EndpointSlices, TLS Secrets and ConfigMaps, as one [`World`] of plain values;
//! and the labels of Nodes, once an EdgeCache selects nodes by them, which are no part of it.
//!
//! Invariants: nothing is handed out before every kind was listed once; an object that cannot be read is
//! [`Broken`](breakwater_compile::Broken) and stops no other; a change of status, or any other change the compile step
//! does not look at, is no change. Of statuses it looks at what those of EdgeCaches have recorded of purges. A watch that
//! fails is tried again with backoff while the last known world stays.
//!
//! All Services, EndpointSlices, ConfigMaps and Secrets of type `kubernetes.io/tls` of the watched namespaces are read,
//! whether an object names them or not; only what the compile step needs of each is kept: of a ConfigMap, texts that hold
//! rules or lists of addresses. Lists that the leader fetched are in ConfigMaps of the operator's own namespace, which have a
//! watch of their own. Kubernetes types end here.

mod decode;
mod lists;
mod nodes;
mod reflect;
mod slot;

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Client;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use breakwater_compile::{ConfigMap, EndpointSlice, Secret, Service, World};
use breakwater_crds::{CachePurgeSpec, EdgeCacheSpec, WafPolicySpec, WsRouteSpec};
use breakwater_snapshot::{Kind, ObjectId};

use crate::Metrics;
use crate::lists::config_maps::{Assembled, Piece};
use decode::Custom;
use nodes::NodeLabels;
pub(crate) use reflect::resource;
use slot::Slot;

/// What status writing needs to know of an object besides its verdict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its status as last seen; null when it has none.
    pub status: Value,
}

/// Everything that is watched. Cheap to clone: clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    objects: Mutex<Objects>,
    assembled: Mutex<Assembled>,
    /// Rises with each change that the compile step can see.
    changed: watch::Sender<u64>,
    /// Rises with each change of an object's status or UID.
    facts_changed: watch::Sender<u64>,
    synced: watch::Sender<bool>,
    /// Names of labels by which EdgeCaches select nodes, or did.
    selecting: watch::Sender<BTreeSet<String>>,
    /// Nodes are not for us to see.
    blind_to_nodes: bool,
}

#[derive(Debug, Default)]
struct Objects {
    edge_caches: Slot<Custom<EdgeCacheSpec>>,
    waf_policies: Slot<Custom<WafPolicySpec>>,
    ws_routes: Slot<Custom<WsRouteSpec>>,
    cache_purges: Slot<Custom<CachePurgeSpec>>,
    services: Slot<Service>,
    endpoint_slices: Slot<EndpointSlice>,
    secrets: Slot<Secret>,
    config_maps: Slot<ConfigMap>,
    /// Lists of addresses that the leader fetched.
    lists: Slot<Piece>,
    nodes: Slot<NodeLabels>,
}

impl Watched {
    /// Starts watching; the tasks end when `tasks` is dropped. `namespace`: that one only, instead of all. `own`: where
    /// lists of addresses are kept.
    pub fn start(
        client: &Client,
        namespace: Option<&str>,
        own: &str,
        metrics: &Metrics,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let watched = Self(Arc::new(Shared {
            // They belong to no namespace.
            blind_to_nodes: namespace.is_some(),
            ..Shared::default()
        }));
        reflect::start(&watched, client, namespace, own, metrics, tasks);
        watched
    }

    /// Ready once every kind was listed.
    pub async fn synced(&self) {
        // The sender is ours, so this ends only when it is true.
        let _ = self.0.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Changes with each change that the compile step can see.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Changes with each change of an object's status.
    pub fn facts_changed(&self) -> watch::Receiver<u64> {
        self.0.facts_changed.subscribe()
    }

    /// The world as it is now.
    pub fn world(&self) -> World {
        let objects = self.0.objects.lock();
        let mut world = World {
            services: objects.services.values().cloned().collect(),
            endpoint_slices: objects.endpoint_slices.values().cloned().collect(),
            secrets: objects.secrets.values().cloned().collect(),
            config_maps: objects.config_maps.values().cloned().collect(),
            purge_records: objects.edge_caches.purge_records(Kind::EdgeCache),
            blind_to_nodes: self.0.blind_to_nodes,
            ..World::default()
        };
        objects.edge_caches.split(&mut world.edge_caches, &mut world.broken);
        objects.waf_policies.split(&mut world.waf_policies, &mut world.broken);
        objects.ws_routes.split(&mut world.ws_routes, &mut world.broken);
        objects.cache_purges.split(&mut world.cache_purges, &mut world.broken);
        world.url_lists = Some(lists::of(&world, &objects.lists, &mut self.0.assembled.lock()));
        world
    }

    /// What is known of one object; none when it is gone.
    pub fn facts(&self, id: &ObjectId) -> Option<Facts> {
        let objects = self.0.objects.lock();
        match id.kind {
            Kind::EdgeCache => objects.edge_caches.facts(id),
            Kind::WafPolicy => objects.waf_policies.facts(id),
            Kind::WsRoute => objects.ws_routes.facts(id),
            Kind::CachePurge => objects.cache_purges.facts(id),
            Kind::Secret => None,
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Objects) -> (slot::Change, T)) -> T {
        let mut objects = self.0.objects.lock();
        let (change, out) = change(&mut objects);
        let synced = objects.edge_caches.synced()
            && objects.waf_policies.synced()
            && objects.ws_routes.synced()
            && objects.cache_purges.synced()
            && objects.services.synced()
            && objects.endpoint_slices.synced()
            && objects.secrets.synced()
            && objects.config_maps.synced()
            && objects.lists.synced();
        drop(objects);
        if change.seen {
            self.0.changed.send_modify(|version| *version += 1);
        }
        if change.facts {
            self.0.facts_changed.send_modify(|version| *version += 1);
        }
        if synced {
            self.0
                .synced
                .send_if_modified(|before| !std::mem::replace(before, true));
        }
        out
    }
}
