//! Looks things up in a World: which objects exist, and which endpoints a Service's port has.

use std::collections::{HashMap, HashSet};

use breakwater_crds::{self as crds, PortRef};
use breakwater_snapshot::unit::{Endpoint, Origin};
use breakwater_snapshot::{Kind, ObjectId};

use crate::findings::Findings;
use crate::value::{positive_millis, server};
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
    fn endpoints(&self, namespace: &str, reference: &crds::ServiceRef) -> Result<Vec<Endpoint>, Judgement> {
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

/// A backend of either kind of route, as the user wrote it.
pub(crate) struct Backend<'a> {
    /// `spec.origin` or `spec.backend`.
    pub(crate) field: &'static str,
    pub(crate) namespace: &'a str,
    pub(crate) service: Option<&'a crds::ServiceRef>,
    pub(crate) urls: Option<&'a [crds::HttpUrl]>,
}

impl Backend<'_> {
    /// Checks what is written; errors make the object invalid.
    pub(crate) fn check(&self, findings: &mut Findings) -> Vec<Endpoint> {
        let field = self.field;
        match (self.service, self.urls) {
            (None, None) => findings.error(field, "nothing says where requests go: give service or urls"),
            (Some(_), Some(_)) => findings.error(field, "service and urls exclude each other: leave one out"),
            (Some(service), None) => {
                if matches!(service.port, PortRef::Number(0)) {
                    findings.error(format!("{field}.service.port"), "`0` is not a port: write 1 to 65535");
                }
            }
            (None, Some([])) => findings.error(format!("{field}.urls"), "the list is empty: name at least one server"),
            (None, Some(_)) => {}
        }
        let mut servers: Vec<Endpoint> = self
            .urls
            .unwrap_or_default()
            .iter()
            .enumerate()
            .filter_map(|(i, url)| findings.take(format!("{field}.urls[{i}]"), server(url.as_str())))
            .collect();
        servers.sort();
        servers.dedup();
        servers
    }

    /// Follows the reference; an unresolved one is a finding but leaves the object valid, without servers.
    pub(crate) fn resolve(
        &self,
        index: &Index<'_>,
        servers: Vec<Endpoint>,
        findings: &mut Findings,
    ) -> (Vec<Endpoint>, Judgement) {
        let resolved = Judgement::new(true, Reason::ResolvedRefs, "every reference was found");
        let Some(service) = self.service else {
            return (servers, resolved);
        };
        let field = format!("{}.service", self.field);
        match index.endpoints(self.namespace, service) {
            Ok(endpoints) => {
                if endpoints.is_empty() {
                    findings.warning(
                        field,
                        format!(
                            "Service {}/{} has no ready endpoint for port {}: requests are answered with 503",
                            self.namespace, service.name, service.port
                        ),
                    );
                }
                (endpoints, resolved)
            }
            Err(judgement) => {
                findings.error(field, &judgement.message);
                (Vec::new(), judgement)
            }
        }
    }
}

pub(crate) fn origin(endpoints: Vec<Endpoint>, connect_timeout_ms: u64, response_timeout_ms: u64) -> Origin {
    Origin {
        endpoints,
        connect_timeout_ms,
        response_timeout_ms,
        ..Origin::default()
    }
}

/// Reads a duration that must be longer than nothing; an error leaves a value that is never used.
pub(crate) fn positive(findings: &mut Findings, field: &str, duration: &crds::Duration) -> u64 {
    findings.take(field, positive_millis(duration)).unwrap_or_default()
}

/// Reads a duration that may be `0s`.
pub(crate) fn optional(findings: &mut Findings, field: &str, duration: Option<&crds::Duration>) -> Option<u64> {
    duration.and_then(|duration| findings.take(field, duration.millis()))
}
