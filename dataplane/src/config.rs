//! The configuration in force: a snapshot, built into what a request needs.
//!
//! Built by the control thread, shared by all workers, never changed: a new snapshot makes a new one, and requests in
//! progress keep the old. What belongs to one worker (its counters, its balancers) is in [`WorkerConfig`].

mod assemble;
mod bodies;
mod build;
mod place;
pub(crate) mod purge;
mod rules;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use breakwater_cache::key::Keyer;
use breakwater_cache::policy::site::{self, SitePolicy};
use breakwater_snapshot::unit;
use breakwater_waf::policy::Policy;
use breakwater_waf::uri::UriSet;
use breakwater_websocket::handshake;
use breakwater_wire::device::{self, Classes};
use breakwater_wire::peer::{OWNER, PARENT};
use http::{HeaderMap, HeaderName};

use crate::access::ClientRule;
use crate::challenge::Cookies;
use crate::filter::{Compression, Filters};
use crate::prefetch;
use crate::route::Router;
use crate::telemetry::{Metrics, PolicyCells, ResourceCells};
use crate::tls::{HostTls, Hosts, Terms};
use crate::upstream::{Origin, Parent, ParentWay, Pool, Upstream};
pub(crate) use assemble::{Assembler, Loaded};
pub(crate) use bodies::BodyLimit;
pub(crate) use rules::Rules;

/// A configuration.
#[derive(Default)]
pub(crate) struct Config {
    router: Router<Route>,
    resources: Vec<Resource>,
    tls: Hosts,
}

/// Where a claim leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// For [`WorkerConfig::resource`].
    pub(crate) resource: u32,
    /// For [`WorkerConfig::host_tls`]: how the claim's host is served over TLS, if it is.
    pub(crate) tls: Option<u32>,
}

/// An EdgeCache or WsRoute, with everything attached to it.
pub(crate) struct Resource {
    /// `Kind/namespace/name`.
    pub(crate) label: String,
    /// Oldest first.
    pub(crate) protections: Vec<Arc<Protection>>,
    /// Whether one of them limits connections.
    pub(crate) counts_connections: bool,
    /// Whether one of them has rules.
    pub(crate) has_rules: bool,
    /// Whether rules look at responses.
    pub(crate) inspects_responses: bool,
    /// What clients prove by that they have worked.
    pub(crate) cookies: Cookies,
    pub(crate) client: ClientRule,
    pub(crate) kind: ResourceKind,
    /// The object's, as of the manifest in force.
    pub(crate) generation: i64,
    origin: Arc<Origin>,
    /// Another edge, which is asked before the origin.
    pub(crate) parent: Option<Arc<Parent>>,
    /// With a secret of this process alone: marks its requests for itself. Not that of the cache, which others have who have
    /// a copy of its disk.
    pub(crate) marker: Keyer,
}

impl Resource {
    /// What is done to requests and responses on the way, if anything is.
    pub(crate) fn filters(&self) -> Option<&Filters> {
        match &self.kind {
            ResourceKind::Cache(site) => site.filters.as_deref(),
            ResourceKind::WebSocket(_) => None,
        }
    }

    /// How its responses are compressed, if they are.
    pub(crate) fn compression(&self) -> Option<&Compression> {
        self.filters()?.compression.as_ref()
    }

    /// The classes of devices that are in its keys.
    pub(crate) fn devices(&self) -> Classes {
        match &self.kind {
            ResourceKind::Cache(site) => site.policy.devices,
            ResourceKind::WebSocket(_) => Classes::default(),
        }
    }

    /// Writes into a request's fields what is chosen for its client, in place of what the client says: the coding, and the
    /// class of its device; and takes out what is for this proxy alone. The hit path reads the same without writing it
    /// (`handler/hit`).
    pub(crate) fn settle(&self, fields: &mut HeaderMap) {
        self.cookies.strip(fields);
        if let Some(compression) = self.compression() {
            compression.negotiate(fields);
        }
        let devices = self.devices();
        if !devices.is_empty() {
            device::set(fields, devices);
        }
    }
}

/// What a resource is.
pub(crate) enum ResourceKind {
    Cache(Arc<Site>),
    WebSocket(Arc<WebSocketRoute>),
}

impl ResourceKind {
    /// What a node that answers another calls itself in `Cache-Status`.
    pub(crate) fn asked_name(&self) -> &'static str {
        match self {
            Self::Cache(site) => site.asked_name(),
            Self::WebSocket(_) => OWNER,
        }
    }

    /// The `detail` of `Cache-Status` (RFC 9211 section 2.8) in an answer of ours: only a cache has one.
    pub(crate) fn detail(&self, detail: &'static str) -> Option<&'static str> {
        matches!(self, Self::Cache(_)).then_some(detail)
    }

    /// Request fields that are in cache keys.
    pub(crate) fn key_headers(&self) -> &[HeaderName] {
        match self {
            Self::Cache(site) => &site.policy.key_headers,
            Self::WebSocket(_) => &[],
        }
    }

    fn origin(&self) -> &unit::Origin {
        match self {
            Self::Cache(site) => &site.origin,
            Self::WebSocket(route) => &route.backend,
        }
    }
}

/// A WafPolicy.
pub(crate) struct Protection {
    pub(crate) policy: Policy,
    /// Rules over requests and responses, asked after lists and limits.
    pub(crate) rules: Option<Rules>,
    pub(crate) cells: Arc<PolicyCells>,
    /// Older policies are asked first.
    order: u32,
    trusted: Vec<ipnet::IpNet>,
    client_header: Option<String>,
}

/// An EdgeCache.
pub(crate) struct Site {
    claims: Vec<unit::Claim>,
    origin: unit::Origin,
    tls: Option<Arc<Terms>>,
    /// The cache's name for this site.
    pub(crate) id: u64,
    pub(crate) policy: SitePolicy,
    rules: Vec<Rule>,
    pub(crate) filters: Option<Box<Filters>>,
    /// What is fetched before a client asks.
    prefetch: Option<Arc<prefetch::Settings>>,
    /// Who is asked for what is not stored.
    pub(crate) tiering: unit::Tiering,
}

/// One cache rule of a site.
struct Rule {
    /// None matches every path.
    paths: Option<UriSet>,
    /// Empty matches every method.
    methods: Box<[Box<str>]>,
    rule: site::Rule,
}

impl Site {
    /// What a node that answers another for this site calls itself in `Cache-Status`.
    pub(crate) const fn asked_name(&self) -> &'static str {
        match self.tiering {
            unit::Tiering::Parent(_) => PARENT,
            unit::Tiering::Local | unit::Tiering::Owner => OWNER,
        }
    }

    /// Whether what is stored may be compressed here, and so has other bytes than what its origin sent.
    pub(crate) fn compresses(&self) -> bool {
        self.filters
            .as_ref()
            .is_some_and(|filters| filters.compression.is_some())
    }

    /// Whether some path of `host`, a name in lower case without port, is this site's.
    pub(crate) fn serves(&self, host: &str) -> bool {
        self.claims.iter().any(|claim| match claim.host.strip_prefix("*.") {
            Some(suffix) => host
                .strip_suffix(suffix)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            None => claim.host == "*" || claim.host == host,
        })
    }

    /// The rules whose methods and paths match, in order; which of them decides may depend on the response's status.
    pub(crate) fn rules<'a>(&'a self, method: &'a str, path: &'a str) -> impl Iterator<Item = &'a site::Rule> {
        let matching = move |rule: &&Rule| {
            (rule.methods.is_empty() || rule.methods.iter().any(|listed| **listed == *method))
                && rule.paths.as_ref().is_none_or(|paths| paths.matches(path).is_some())
        };
        self.rules.iter().filter(matching).map(|rule| &rule.rule)
    }
}

/// A WsRoute.
pub(crate) struct WebSocketRoute {
    claims: Vec<unit::Claim>,
    backend: unit::Origin,
    tls: Option<Arc<Terms>>,
    pub(crate) handshake: handshake::Rules,
    pub(crate) handshake_timeout_ms: u64,
    pub(crate) settings: breakwater_websocket::Settings,
    pub(crate) limits: unit::WsLimits,
    /// What becomes of its connections when nobody serves them any more.
    pub(crate) drain: unit::Drain,
    /// Counts open connections against the limits, over all workers.
    pub(crate) counts: Arc<build::WebSocketCounts>,
}

impl WebSocketRoute {
    /// Its servers, as [`crate::upstream::Server`]s show themselves.
    pub(crate) fn servers(&self) -> impl Iterator<Item = String> {
        self.backend.endpoints.iter().map(unit::Endpoint::to_string)
    }
}

impl Config {
    /// The hosts that are served over TLS.
    pub(crate) const fn tls(&self) -> &Hosts {
        &self.tls
    }

    /// The EdgeCaches, with their names as `Kind/namespace/name`.
    pub(crate) fn sites(&self) -> impl Iterator<Item = (&Resource, &Arc<Site>)> {
        self.resources.iter().filter_map(|resource| match &resource.kind {
            ResourceKind::Cache(site) => Some((resource, site)),
            ResourceKind::WebSocket(_) => None,
        })
    }

    /// The WsRoutes, with their names as `Kind/namespace/name`.
    pub(crate) fn web_sockets(&self) -> impl Iterator<Item = (&str, &WebSocketRoute)> {
        self.resources.iter().filter_map(|resource| match &resource.kind {
            ResourceKind::WebSocket(route) => Some((&*resource.label, &**route)),
            ResourceKind::Cache(_) => None,
        })
    }

    /// The EdgeCache that serves `path` of `host`.
    pub(crate) fn site(&self, host: &str, path: &str) -> Option<(&Resource, &Arc<Site>)> {
        let resource = self.resource(self.router.find(host, path)?.resource)?;
        match &resource.kind {
            ResourceKind::Cache(site) => Some((resource, site)),
            ResourceKind::WebSocket(_) => None,
        }
    }

    fn resource(&self, index: u32) -> Option<&Resource> {
        self.resources.get(index as usize)
    }
}

/// A configuration as one worker sees it.
pub(crate) struct WorkerConfig {
    pub(crate) shared: Arc<Config>,
    locals: Vec<Local>,
}

/// What one worker has of one resource.
pub(crate) struct Local {
    pub(crate) cells: Arc<ResourceCells>,
    pub(crate) upstream: Rc<Upstream>,
    /// To the edge that is asked before the origin.
    pub(crate) parent: Option<ParentWay>,
    /// For a WsRoute: what its relays are held to.
    pub(crate) settings: Option<Rc<breakwater_websocket::Settings>>,
}

impl WorkerConfig {
    /// What did not change since `before` goes on: its turns, its retry budget.
    pub(crate) fn new(
        shared: Arc<Config>,
        worker: usize,
        metrics: &Metrics,
        pool: &Rc<Pool>,
        before: Option<&Self>,
    ) -> Self {
        let upstreams = before
            .iter()
            .flat_map(|before| &before.locals)
            .flat_map(|local| std::iter::once(&local.upstream).chain(local.parent.iter().map(|way| &way.upstream)));
        let upstreams: HashMap<_, _> = upstreams.map(|u| (Arc::as_ptr(u.origin()), u)).collect();
        let local = |resource: &Resource| {
            let cells = metrics.resource(worker, &resource.label);
            let to = |origin: &Arc<Origin>, cells: &Arc<ResourceCells>| {
                let known = upstreams.get(&Arc::as_ptr(origin)).map(|known| Rc::clone(known));
                known.unwrap_or_else(|| {
                    let origin = Arc::clone(origin);
                    Rc::new(Upstream::new(origin, worker, Rc::clone(pool), Arc::clone(cells)))
                })
            };
            Local {
                upstream: to(&resource.origin, &cells),
                // What comes from there is not from the origin, and not counted as if it were.
                parent: resource.parent.as_ref().map(|parent| ParentWay {
                    upstream: to(&parent.origin, &Arc::default()),
                    parent: Arc::clone(parent),
                }),
                cells,
                settings: match &resource.kind {
                    ResourceKind::Cache(_) => None,
                    ResourceKind::WebSocket(route) => Some(Rc::new(route.settings)),
                },
            }
        };
        let locals = shared.resources.iter().map(local).collect();
        Self { shared, locals }
    }

    /// The resource that serves `path` of `host`.
    pub(crate) fn route(&self, host: &str, path: &str) -> Option<Route> {
        self.shared.router.find(host, path)
    }

    /// The resource that [`WorkerConfig::route`] found.
    pub(crate) fn resource(&self, index: u32) -> &Resource {
        #[expect(clippy::expect_used, reason = "indices come from this configuration's own router")]
        self.shared.resource(index).expect("the router knows its resources")
    }

    /// The EdgeCaches with a list of what is fetched before a client asks.
    pub(crate) fn prefetches(&self) -> impl Iterator<Item = (u32, &Resource, &Site, &Arc<prefetch::Settings>)> {
        let resources = (0_u32..).zip(&self.shared.resources);
        resources.filter_map(|(index, resource)| match &resource.kind {
            ResourceKind::Cache(site) => Some((index, resource, &**site, site.prefetch.as_ref()?)),
            ResourceKind::WebSocket(_) => None,
        })
    }

    /// How the host of a route that [`WorkerConfig::route`] found is served over TLS, if it is.
    pub(crate) fn host_tls(&self, tls: Option<u32>) -> Option<&HostTls> {
        tls.and_then(|index| self.shared.tls.get(index))
    }

    /// What this worker has of the resource that [`WorkerConfig::route`] found.
    pub(crate) fn local(&self, index: u32) -> &Local {
        &self.locals[index as usize]
    }
}
