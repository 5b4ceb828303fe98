//! The watches themselves: one task for each kind.
//!
//! Streaming lists are asked for first; an API server that refuses them is listed in pages from then on. A failure is
//! counted, logged when it changes, and tried again with backoff.

use std::fmt::Debug;
use std::pin::pin;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use breakwater_crds::{CachePurge, EdgeCache, WafPolicy, WsRoute};
use breakwater_snapshot::Kind;

use super::decode::{Custom, config_map, endpoint_slice, key, secret, service};
use super::nodes::node;
use super::slot::{Event, Item, Slot};
use super::{Objects, Watched};
use crate::Metrics;
use crate::lists::config_maps::{self, Piece};

pub(super) fn start(
    watched: &Watched,
    client: &Client,
    namespace: Option<&str>,
    own: &str,
    metrics: &Metrics,
    tasks: &mut JoinSet<()>,
) {
    let with = Watch {
        watched: watched.clone(),
        metrics: metrics.clone(),
    };
    let custom = |resource: &ApiResource| match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    tasks.spawn(
        with.clone()
            .kind(custom(&resource::<EdgeCache>()), Kind::EdgeCache, |o| {
                &mut o.edge_caches
            }),
    );
    tasks.spawn(
        with.clone()
            .kind(custom(&resource::<WafPolicy>()), Kind::WafPolicy, |o| {
                &mut o.waf_policies
            }),
    );
    tasks.spawn(
        with.clone()
            .kind(custom(&resource::<WsRoute>()), Kind::WsRoute, |o| &mut o.ws_routes),
    );
    tasks.spawn(
        with.clone()
            .kind(custom(&resource::<CachePurge>()), Kind::CachePurge, |o| {
                &mut o.cache_purges
            }),
    );
    tasks.spawn(with.clone().run::<v1::Service, _>(
        typed(client, namespace),
        "Service",
        Select::All,
        |o| &mut o.services,
        service,
    ));
    tasks.spawn(with.clone().run::<v1::Secret, _>(
        typed(client, namespace),
        "Secret",
        Select::Fields(TLS_SECRETS),
        |o| &mut o.secrets,
        secret,
    ));
    tasks.spawn(with.clone().run::<v1::ConfigMap, _>(
        typed(client, namespace),
        "ConfigMap",
        Select::Labels(format!("!{}", config_maps::LABEL)),
        |o| &mut o.config_maps,
        config_map,
    ));
    tasks.spawn(with.clone().run::<v1::ConfigMap, _>(
        Api::namespaced(client.clone(), own),
        "ConfigMap",
        Select::Labels(config_maps::LABEL.to_owned()),
        |o| &mut o.lists,
        Piece::read,
    ));
    tasks.spawn(with.clone().run::<discovery::EndpointSlice, _>(
        typed(client, namespace),
        "EndpointSlice",
        Select::All,
        |o| &mut o.endpoint_slices,
        endpoint_slice,
    ));
    if namespace.is_none() {
        let nodes = Api::<PartialObjectMeta<v1::Node>>::all(client.clone());
        tasks.spawn(async move {
            with.watched.selects_nodes().await;
            with.run(nodes, "Node", Select::All, |o| &mut o.nodes, node).await;
        });
    }
}

/// Which objects of a kind are watched.
enum Select {
    All,
    Fields(&'static str),
    Labels(String),
}

/// Passwords and tokens of others are not even sent to us.
const TLS_SECRETS: &str = "type=kubernetes.io/tls";

/// What the API server calls a kind.
pub(crate) fn resource<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

fn typed<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

#[derive(Clone)]
struct Watch {
    watched: Watched,
    metrics: Metrics,
}

impl Watch {
    async fn kind<S>(self, api: Api<DynamicObject>, kind: Kind, slot: fn(&mut Objects) -> &mut Slot<Custom<S>>)
    where
        S: DeserializeOwned + Serialize + PartialEq + Send + 'static,
    {
        let read = move |object: &DynamicObject| Custom::read(kind, object);
        self.run(api, kind.as_str(), Select::All, slot, read).await;
    }

    async fn run<K, T>(
        self,
        api: Api<K>,
        name: &'static str,
        select: Select,
        slot: fn(&mut Objects) -> &mut Slot<T>,
        read: impl Fn(&K) -> T + Send,
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        T: Item + Send,
    {
        let mut last_error = String::new();
        let mut streaming = true;
        loop {
            let config = match &select {
                Select::All => watcher::Config::default(),
                Select::Fields(fields) => watcher::Config::default().fields(fields),
                Select::Labels(labels) => watcher::Config::default().labels(labels),
            };
            let config = if streaming { config.streaming_lists() } else { config };
            let mut listing = true;
            let mut events = pin!(watcher(api.clone(), config).default_backoff());
            while let Some(event) = events.next().await {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        if streaming && listing && refuses_streaming(&error) {
                            tracing::info!(
                                resource = name,
                                error = describe(&error),
                                "the API server streams no lists; listing in pages"
                            );
                            streaming = false;
                            break;
                        }
                        self.metrics.watch_error(name);
                        let text = describe(&error);
                        if text == last_error {
                            tracing::debug!(resource = name, error = text, "the watch failed again");
                        } else {
                            tracing::warn!(resource = name, error = text, "the watch failed and is tried again");
                            last_error = text;
                        }
                        continue;
                    }
                };
                let event = match event {
                    watcher::Event::Apply(object) => Event::Apply(key(&object), read(&object)),
                    watcher::Event::Delete(object) => Event::Delete(key(&object)),
                    watcher::Event::Init => {
                        listing = true;
                        Event::Init
                    }
                    watcher::Event::InitApply(object) => Event::InitApply(key(&object), read(&object)),
                    watcher::Event::InitDone => {
                        last_error.clear();
                        listing = false;
                        Event::InitDone
                    }
                };
                self.watched.change(|objects| (slot(objects).event(event), ()));
            }
        }
    }
}

/// Whether the API server itself failed a streaming list, be it that it knows none or that its etcd is too old for
/// them. If something else is wrong, listing in pages fails as well and costs nothing.
const fn refuses_streaming(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::WatchError(_) | watcher::Error::WatchStartFailed(kube::Error::Api(_))
    )
}

/// The error and its causes on one line.
fn describe(error: &watcher::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
