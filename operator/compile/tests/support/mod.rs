//! Reads a World from YAML documents in Kubernetes' form, and shuffles one.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use breakwater_compile::{
    Broken, ConfigMap, EndpointSlice, FetchedList, ListFailure, Meta, Object, Secret, Service, ServicePort, UrlList,
    World, decode,
};
use breakwater_snapshot::{Kind, ObjectId};
use breakwater_waf::address::list;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) fn world(yaml: &str) -> World {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let mut world = World::default();
    for document in &documents {
        add(&mut world, document);
    }
    world
}

fn add(world: &mut World, document: &Value) {
    let metadata = &document["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = Meta {
        namespace: metadata["namespace"].as_str().unwrap_or("default").to_owned(),
        name: text(&metadata["name"]),
        uid: text(&metadata["uid"]),
        generation: metadata["generation"].as_i64().unwrap_or(1),
        created: metadata["created"].as_i64(),
    };
    let kind = document["kind"].as_str().unwrap();
    if let Some(records) = document["status"].get("purges") {
        let id = ObjectId::new(Kind::EdgeCache, meta.namespace.as_str(), meta.name.as_str());
        let records = serde_json::from_value(records.clone()).unwrap();
        world.purge_records.push((id, records));
    }
    match kind {
        "EdgeCache" => read(
            &mut world.edge_caches,
            &mut world.broken,
            Kind::EdgeCache,
            meta,
            document,
        ),
        "WafPolicy" => read(
            &mut world.waf_policies,
            &mut world.broken,
            Kind::WafPolicy,
            meta,
            document,
        ),
        "WsRoute" => read(&mut world.ws_routes, &mut world.broken, Kind::WsRoute, meta, document),
        "CachePurge" => read(
            &mut world.cache_purges,
            &mut world.broken,
            Kind::CachePurge,
            meta,
            document,
        ),
        "Service" => world.services.push(Service {
            namespace: meta.namespace,
            name: meta.name,
            ports: ports(&document["spec"]["ports"]),
        }),
        "EndpointSlice" => world.endpoint_slices.push(EndpointSlice {
            namespace: meta.namespace,
            service: text(&metadata["labels"]["kubernetes.io/service-name"]),
            ports: ports(&document["ports"]),
            ready: document["endpoints"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|endpoint| endpoint["conditions"]["ready"].as_bool().unwrap_or(true))
                .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten().map(text))
                .collect(),
        }),
        "ConfigMap" => {
            let data = document["data"].as_object().into_iter().flatten();
            let data = data.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
            let map = ConfigMap::new(meta.namespace, meta.name, data);
            world.config_maps.push(map);
        }
        "Secret" => world.secrets.push(secret(meta, document)),
        "UrlLists" => world.url_lists = Some(url_lists(&document["lists"])),
        other => panic!("a case has an object of unknown kind {other}"),
    }
}

/// Lists by URL: `text`, `failure`, both, or neither of a list that is not fetched yet.
fn url_lists(lists: &Value) -> BTreeMap<String, UrlList> {
    let mut out = BTreeMap::new();
    for (url, list) in lists.as_object().into_iter().flatten() {
        let text = |key: &str| list[key].as_str().map(str::to_owned);
        let failure = text("failure").map(|message| ListFailure {
            since: Some("2026-11-28T12:00:00Z".to_owned()),
            message,
        });
        let fetched = text("text").map(|text| {
            let nets = list::parse(&text).unwrap();
            let confirmed = failure.as_ref().map(|_| "2026-11-28T11:00:00Z".to_owned());
            FetchedList {
                packed: STANDARD.encode(list::pack(&nets)).into(),
                entries: nets.len() as u64,
                confirmed: confirmed.unwrap_or_default(),
            }
        });
        out.insert(url.clone(), UrlList { list: fetched, failure });
    }
    out
}

/// A Secret: `data` holds plain text here, `files` names files of `tests/test-only`.
fn secret(meta: Meta, document: &Value) -> Secret {
    let kind = document["type"].as_str().unwrap_or("Opaque");
    Secret::new(meta.namespace, meta.name, kind, |key| {
        let file = document["files"][key].as_str().map(|name| {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/test-only");
            std::fs::read(dir.join(name)).unwrap()
        });
        // U+FFFD stands for a byte that is no text.
        let text = document["data"][key].as_str();
        file.or_else(|| {
            text.map(|text| {
                text.replace('\u{fffd}', "\0")
                    .bytes()
                    .map(|b| if b == 0 { 0xff } else { b })
                    .collect()
            })
        })
    })
}

fn read<S: DeserializeOwned + Serialize>(
    objects: &mut Vec<Object<S>>,
    broken: &mut Vec<Broken>,
    kind: Kind,
    meta: Meta,
    document: &Value,
) {
    let id = ObjectId::new(kind, meta.namespace.as_str(), meta.name.as_str());
    match decode(&id, meta.generation, &document["spec"]) {
        Ok(spec) => objects.push(Object { meta, spec }),
        Err(fault) => broken.push(*fault),
    }
}

fn ports(list: &Value) -> Vec<ServicePort> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|port| ServicePort {
            name: port["name"].as_str().unwrap_or_default().to_owned(),
            port: u16::try_from(port["port"].as_u64().unwrap()).unwrap(),
        })
        .collect()
}

pub(crate) fn shuffle(mut world: World, seed: u64) -> World {
    let mut state = seed;
    mix(&mut world.edge_caches, &mut state);
    mix(&mut world.waf_policies, &mut state);
    mix(&mut world.ws_routes, &mut state);
    mix(&mut world.cache_purges, &mut state);
    mix(&mut world.purge_records, &mut state);
    mix(&mut world.broken, &mut state);
    mix(&mut world.services, &mut state);
    mix(&mut world.endpoint_slices, &mut state);
    mix(&mut world.secrets, &mut state);
    mix(&mut world.config_maps, &mut state);
    world
}

fn mix<T>(list: &mut [T], state: &mut u64) {
    for i in (1..list.len()).rev() {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        list.swap(i, (*state >> 33) as usize % (i + 1));
    }
}
