//! From Kubernetes objects to plain values.
//!
//! Custom objects arrive untyped and are read one by one, so that one that a newer or older CRD let through costs
//! nothing but itself.

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use breakwater_compile::{Broken, ConfigMap, EndpointSlice, Meta, Object, Secret, Service, ServicePort, decode};
use breakwater_crds::RecordedPurge;
use breakwater_snapshot::{Kind, ObjectId};

use super::Facts;
use super::slot::{Change, Item, Key, Slot};
use crate::lists::config_maps::Piece;

/// The label that names the Service an EndpointSlice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A custom object: what it says, or why that cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Custom<S> {
    value: Result<Object<S>, Box<Broken>>,
    facts: Facts,
    /// What an EdgeCache's status has recorded of purges: the one part of a status that is compiled.
    purges: Vec<RecordedPurge>,
}

impl<S: DeserializeOwned + Serialize> Custom<S> {
    pub(super) fn read(kind: Kind, object: &DynamicObject) -> Self {
        let (namespace, name) = key(object);
        let meta = Meta {
            namespace,
            name,
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or(0),
            created: object
                .metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0.as_second()),
        };
        let spec = object.data.get("spec").unwrap_or(&Value::Null);
        let facts = Facts {
            uid: meta.uid.clone(),
            generation: meta.generation,
            status: object.data.get("status").cloned().unwrap_or_default(),
        };
        let value = decode(&meta.id(kind), meta.generation, spec).map(|spec| Object { meta, spec });
        // One that cannot be read was written by another version: it is written anew.
        let purges = facts.status.get("purges").cloned();
        let purges = purges.and_then(|purges| serde_json::from_value(purges).ok());
        Self {
            value,
            facts,
            purges: purges.unwrap_or_default(),
        }
    }
}

impl<S: PartialEq> Item for Custom<S> {
    fn change(&self, next: &Self) -> Change {
        Change {
            seen: self.value != next.value || self.purges != next.purges,
            facts: self.facts != next.facts,
        }
    }
}

impl<S: Clone + PartialEq> Slot<Custom<S>> {
    /// The objects that could be read, and those that could not.
    pub(super) fn split(&self, good: &mut Vec<Object<S>>, broken: &mut Vec<Broken>) {
        for item in self.values() {
            match &item.value {
                Ok(object) => good.push(object.clone()),
                Err(error) => broken.push((**error).clone()),
            }
        }
    }

    /// The objects that could be read.
    pub(super) fn good(&self) -> impl Iterator<Item = &Object<S>> {
        self.values().filter_map(|item| item.value.as_ref().ok())
    }

    /// What statuses have recorded of purges.
    pub(super) fn purge_records(&self, kind: Kind) -> Vec<(ObjectId, Vec<RecordedPurge>)> {
        let recorded = self.entries().filter(|(_, item)| !item.purges.is_empty());
        let id = |(namespace, name): &Key| ObjectId::new(kind, namespace.as_str(), name.as_str());
        recorded.map(|(key, item)| (id(key), item.purges.clone())).collect()
    }

    pub(super) fn facts(&self, id: &ObjectId) -> Option<Facts> {
        let key = (id.namespace.clone(), id.name.clone());
        self.get(&key).map(|item| item.facts.clone())
    }
}

impl Item for Service {}
impl Item for EndpointSlice {}
impl Item for Secret {}
impl Item for ConfigMap {}

impl Item for Piece {
    fn change(&self, next: &Self) -> Change {
        Change {
            seen: !self.looks_as(next),
            facts: false,
        }
    }
}

pub(super) fn key(object: &impl kube::Resource) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

pub(super) fn service(service: &v1::Service) -> Service {
    let (namespace, name) = key(service);
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    Service {
        namespace,
        name,
        ports: ports
            .into_iter()
            .flatten()
            .filter(|port| tcp(&port.protocol))
            .filter_map(|port| {
                Some(ServicePort {
                    name: port.name.clone().unwrap_or_default(),
                    port: port.port.try_into().ok()?,
                })
            })
            .collect(),
    }
}

/// A Secret: certificate and key, and nothing else of it. Labels, annotations (where `kubectl apply` leaves a copy of
/// the content), managed fields and other keys are dropped here.
pub(super) fn secret(secret: &v1::Secret) -> Secret {
    let (namespace, name) = key(secret);
    let data = secret.data.as_ref();
    Secret::new(namespace, name, secret.type_.as_deref().unwrap_or_default(), |key| {
        data?.get(key).map(|value| value.0.clone())
    })
}

/// A ConfigMap: its keys, the texts that hold rules, and lists of addresses. All else is dropped here, so that one which
/// changes all the time, as some do, changes nothing.
pub(super) fn config_map(map: &v1::ConfigMap) -> ConfigMap {
    let (namespace, name) = key(map);
    let data = map.data.iter().flatten();
    ConfigMap::new(namespace, name, data.map(|(key, text)| (key.as_str(), text.as_str())))
}

/// An EndpointSlice; one that belongs to no Service names none and so is never looked at. An endpoint whose readiness
/// is unknown counts as ready, as the API says.
pub(super) fn endpoint_slice(slice: &discovery::EndpointSlice) -> EndpointSlice {
    let tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let ready = |endpoint: &&discovery::Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let mut addresses: Vec<String> = Vec::new();
    for endpoint in slice.endpoints.iter().flatten().filter(ready) {
        addresses.extend(endpoint.addresses.iter().cloned());
    }
    EndpointSlice {
        namespace: slice.namespace().unwrap_or_default(),
        service: slice.labels().get(SERVICE_NAME).cloned().unwrap_or_default(),
        ports: slice
            .ports
            .iter()
            .flatten()
            .filter(|port| tcp(&port.protocol))
            .filter_map(|port| {
                Some(ServicePort {
                    name: port.name.clone().unwrap_or_default(),
                    port: port.port?.try_into().ok()?,
                })
            })
            .collect(),
        ready: addresses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakwater_crds::{CachePurgeSpec, EdgeCacheSpec};
    use serde_json::json;

    use super::super::slot::Event;

    fn purge(spec: &Value, status: &Value) -> Custom<CachePurgeSpec> {
        let object = json!({
            "apiVersion": "breakwater.dev/v1alpha1", "kind": "CachePurge",
            "metadata": {
                "namespace": "default", "name": "p", "uid": "u", "generation": 3,
                "creationTimestamp": "1970-01-01T00:01:00Z",
            },
            "spec": spec, "status": status,
        });
        Custom::read(Kind::CachePurge, &serde_json::from_value(object).unwrap())
    }

    #[test]
    fn an_object_that_cannot_be_read_is_broken_with_its_field() {
        let broken = purge(&json!({"edgeCacheRef": 7, "everything": true}), &Value::Null);
        let error = broken.value.unwrap_err();
        assert_eq!((error.field.as_str(), error.generation), ("spec.edgeCacheRef", 3));
        assert_eq!(error.id.to_string(), "CachePurge/default/p");
    }

    #[test]
    fn a_status_change_is_no_change_to_the_compile_step() {
        let spec = json!({"edgeCacheRef": {"name": "shop"}, "everything": true});
        let (before, after) = (purge(&spec, &Value::Null), purge(&spec, &json!({"nodes": {"done": 1}})));
        assert_eq!(before.value.as_ref().map(|object| object.meta.created), Ok(Some(60)));
        assert_eq!(
            before.change(&after),
            Change {
                seen: false,
                facts: true
            }
        );
    }

    #[test]
    fn what_a_status_records_of_purges_is_seen_by_the_compile_step() {
        let read = |status: &Value| {
            let object = json!({
                "apiVersion": "breakwater.dev/v1alpha1", "kind": "EdgeCache",
                "metadata": {"namespace": "default", "name": "shop"},
                "spec": {"hostnames": 7}, "status": status,
            });
            Custom::<EdgeCacheSpec>::read(Kind::EdgeCache, &serde_json::from_value(object).unwrap())
        };
        let before = read(&Value::Null);
        let after = read(&json!({"purges": [{"uid": "u", "created": 7, "mode": "Hard", "tags": ["a"]}]}));
        assert!(before.change(&after).seen);
        let mut slot = Slot::default();
        let key = ("default".to_owned(), "shop".to_owned());
        slot.event(Event::Apply(key, after));
        let records = slot.purge_records(Kind::EdgeCache);
        // It is broken, and its record counts all the same.
        assert_eq!(records.len(), 1);
        assert_eq!(
            (records[0].0.to_string().as_str(), records[0].1[0].uid.as_str()),
            ("EdgeCache/default/shop", "u")
        );
        assert!(read(&json!({"purges": [{"uid": 7}]})).purges.is_empty());
    }

    #[test]
    fn only_certificate_and_key_of_a_secret_are_kept_and_never_shown() {
        let object = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"namespace": "default", "name": "shop-tls", "annotations": {"a": "hunter2"}},
            // "certificate", "key", "hunter2"
            "data": {"tls.crt": "Y2VydGlmaWNhdGU=", "tls.key": "a2V5", "other": "aHVudGVyMg=="},
        }));
        let secret = secret(&object.unwrap());
        assert_eq!(
            secret,
            Secret {
                namespace: "default".to_owned(),
                name: "shop-tls".to_owned(),
                kind: "kubernetes.io/tls".to_owned(),
                certificate: b"certificate".to_vec(),
                key: b"key".to_vec(),
                ocsp: None,
            }
        );
        let shown = format!("{secret:?}");
        assert_eq!(
            shown,
            r#"Secret { namespace: "default", name: "shop-tls", kind: "kubernetes.io/tls", .. }"#
        );
    }

    #[test]
    fn of_a_config_map_only_texts_with_rules_are_kept() {
        let read = |data: &Value| {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"namespace": "default", "name": "rules"}, "data": data,
            });
            config_map(&serde_json::from_value(object).unwrap())
        };
        let map = read(&json!({"own.conf": "SecRuleEngine On", "clock": "1"}));
        assert_eq!(map.data.get("own.conf").unwrap().as_deref(), Some("SecRuleEngine On"));
        assert_eq!(map.data.get("clock"), Some(&None));
        assert_eq!(
            map.change(&read(&json!({"own.conf": "SecRuleEngine On", "clock": "2"}))),
            Change::default()
        );
    }

    #[test]
    fn only_ready_tcp_endpoints_are_kept() {
        let slice = serde_json::from_value(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "default", "name": "shop-x", "labels": {"kubernetes.io/service-name": "shop"}},
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"]},
            ],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        }));
        let slice = endpoint_slice(&slice.unwrap());
        assert_eq!(slice.service, "shop");
        assert_eq!(slice.ready, ["10.0.0.1", "10.0.0.3"]);
        assert_eq!(slice.ports.len(), 1);
    }
}
