//! Looks things up in a World: which objects exist, and which endpoints a Service's port has.

use std::collections::{HashMap, HashSet};

use breakwater_crds::{self as crds, PortRef};
use breakwater_snapshot::unit::Endpoint;
use breakwater_snapshot::{Kind, ObjectId};
use breakwater_waf::catalog::Catalog;

use crate::findings::Findings;
use crate::value::positive_millis;
use crate::{ConfigMap, EndpointSlice, Judgement, Reason, Service, UrlLists, World};

pub(crate) struct Index<'a> {
    objects: HashSet<ObjectId>,
    services: HashMap<(&'a str, &'a str), &'a Service>,
    slices: HashMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>,
    config_maps: HashMap<(&'a str, &'a str), &'a ConfigMap>,
    /// Lists of addresses by URL.
    pub(crate) url_lists: &'a UrlLists,
    /// The rules of the Core Rule Set, where they are known.
    pub(crate) crs: Option<&'a Catalog>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let edge_caches = world.edge_caches.iter().map(|o| o.meta.id(Kind::EdgeCache));
        let ws_routes = world.ws_routes.iter().map(|o| o.meta.id(Kind::WsRoute));
        let broken = world.broken.iter().map(|broken| broken.id.clone());
        let mut slices: HashMap<_, Vec<_>> = HashMap::new();
        for slice in &world.endpoint_slices {
            slices
                .entry((slice.namespace.as_str(), slice.service.as_str()))
                .or_default()
                .push(slice);
        }
        Self {
            objects: edge_caches.chain(ws_routes).chain(broken).collect(),
            services: world
                .services
                .iter()
                .map(|service| ((service.namespace.as_str(), service.name.as_str()), service))
                .collect(),
            slices,
            config_maps: config_maps(world),
            url_lists: &world.url_lists,
            crs: world.crs.as_deref(),
        }
    }

    /// The text that a reference to a ConfigMap is about.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn config_map(&self, namespace: &str, reference: &crds::ConfigMapKey) -> Result<&'a str, String> {
        let crds::ConfigMapKey { name, key } = reference;
        let Some(map) = self.config_maps.get(&(namespace, name.as_str())) else {
            return Err(format!(
                "there is no ConfigMap {namespace}/{name}: create it, or correct the name"
            ));
        };
        match map.data.get(key) {
            Some(Some(text)) => Ok(text),
            Some(None) => Err(format!(
                "`{key}` of ConfigMap {namespace}/{name} holds no directive: SecLang is made of lines such as SecRule"
            )),
            None => {
                let known: Vec<&str> = map.data.keys().map(String::as_str).collect();
                let known = match known.as_slice() {
                    [] => "none".to_owned(),
                    known => known.join(", "),
                };
                Err(format!(
                    "ConfigMap {namespace}/{name} has no key `{key}` in its data; it has {known}"
                ))
            }
        }
    }

    /// A list of addresses in a ConfigMap of `namespace`: packed, in base64.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn address_list(&self, namespace: &str, reference: &crds::ConfigMapKey) -> Result<&'a str, String> {
        let crds::ConfigMapKey { name, key } = reference;
        let map = self.config_maps.get(&(namespace, name.as_str()));
        match map.and_then(|map| map.lists.get(key)) {
            Some(Ok(list)) => Ok(list),
            Some(Err(error)) => Err(format!("`{key}` of ConfigMap {namespace}/{name}, {error}")),
            None if map.is_some_and(|map| map.data.contains_key(key)) => Err(format!(
                "`{key}` of ConfigMap {namespace}/{name} is no list: it begins with neither an address nor a prefix"
            )),
            // No such map, or no such key: said as for rules.
            None => self.config_map(namespace, reference),
        }
    }

    /// Whether there is such an object, broken or not: a broken one may live on in nodes.
    pub(crate) fn exists(&self, id: &ObjectId) -> bool {
        self.objects.contains(id)
    }

    /// The ready endpoints of a Service's port, sorted, or why the reference cannot be followed.
    pub(crate) fn endpoints(&self, namespace: &str, reference: &crds::ServiceRef) -> Result<Vec<Endpoint>, Judgement> {
        let unresolved = |reason, message: String| Err(Judgement::new(false, reason, message));
        let name = reference.name.as_str();
        if let Some(other) = reference.namespace.as_deref().filter(|other| *other != namespace) {
            return unresolved(
                Reason::RefNotPermitted,
                format!(
                    "Service {other}/{name} is in another namespace; only Services of {namespace} may be named here"
                ),
            );
        }
        let Some(service) = self.services.get(&(namespace, name)) else {
            return unresolved(
                Reason::BackendNotFound,
                format!("there is no Service {namespace}/{name}: create it, or correct the name"),
            );
        };
        let port = service.ports.iter().find(|port| match &reference.port {
            PortRef::Number(number) => port.port == *number,
            PortRef::Name(name) => port.name == *name,
        });
        let Some(port) = port else {
            return unresolved(
                Reason::BackendNotFound,
                format!(
                    "Service {namespace}/{name} has no port {}; it has {}",
                    reference.port,
                    known_ports(service)
                ),
            );
        };
        let slices = self.slices.get(&(namespace, name)).map_or(&[][..], Vec::as_slice);
        let mut endpoints: Vec<Endpoint> = slices
            .iter()
            .flat_map(|slice| {
                let target = slice.ports.iter().find(|candidate| candidate.name == port.name);
                target.into_iter().flat_map(|target| {
                    slice.ready.iter().map(|address| Endpoint {
                        host: address.clone(),
                        port: target.port,
                        weight: 1,
                    })
                })
            })
            .collect();
        endpoints.sort();
        endpoints.dedup();
        Ok(endpoints)
    }
}

/// By namespace and name; of two of one name, which only files can have, always the same one.
fn config_maps(world: &World) -> HashMap<(&str, &str), &ConfigMap> {
    let mut maps: HashMap<_, &ConfigMap> = HashMap::new();
    for map in &world.config_maps {
        let known = maps.entry((map.namespace.as_str(), map.name.as_str())).or_insert(map);
        if (&map.data, &map.lists) < (&known.data, &known.lists) {
            *known = map;
        }
    }
    maps
}

fn known_ports(service: &Service) -> String {
    if service.ports.is_empty() {
        return "none".to_owned();
    }
    let mut ports: Vec<String> = service
        .ports
        .iter()
        .map(|port| match port.name.as_str() {
            "" => port.port.to_string(),
            name => format!("{} ({name})", port.port),
        })
        .collect();
    ports.sort();
    ports.join(", ")
}

/// Reads a duration that must be longer than nothing; an error leaves a value that is never used.
pub(crate) fn positive(findings: &mut Findings, field: &str, duration: &crds::Duration) -> u64 {
    findings.take(field, positive_millis(duration)).unwrap_or_default()
}

/// Reads a duration that may be `0s`.
pub(crate) fn optional(findings: &mut Findings, field: &str, duration: Option<&crds::Duration>) -> Option<u64> {
    duration.and_then(|duration| findings.take(field, duration.millis()))
}
