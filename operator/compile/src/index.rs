//! Looks things up in a World: which objects exist, and which endpoints a Service's port has.

use std::collections::{HashMap, HashSet};

use breakwater_crds::{self as crds, PortRef};
use breakwater_snapshot::unit::Endpoint;
use breakwater_snapshot::{Kind, ObjectId};

use crate::findings::Findings;
use crate::value::positive_millis;
use crate::{EndpointSlice, Judgement, Reason, Service, World};

pub(crate) struct Index<'a> {
    objects: HashSet<ObjectId>,
    services: HashMap<(&'a str, &'a str), &'a Service>,
    slices: HashMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>,
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
