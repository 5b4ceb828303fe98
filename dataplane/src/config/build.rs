//! Building one object: from a compiled unit to what requests use. A unit that cannot be built says why.

use std::num::NonZeroU32;
use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use breakwater_cache::key::QueryFilter;
use breakwater_cache::policy::site::{self, SitePolicy};
use breakwater_snapshot::unit::{self, PathKind, PathMatch, Unit, WsLimits};
use breakwater_snapshot::{Digest, ObjectId, unit::Claim};
use breakwater_waf::ClientKey;
use breakwater_waf::address::list;
use breakwater_waf::limit::{self, ConnectionGuard, Tables};
use breakwater_waf::policy::{self, Policy};
use breakwater_waf::uri::{Kind as UriKind, Pattern, UriSet};
use breakwater_websocket::{Keepalive, Settings, Sizes, handshake};
use breakwater_wire::device::Classes;
use http::HeaderName;
use ipnet::IpNet;

use super::assemble::kind_of;
use super::place;
use super::rules::RuleSets;
use super::{Protection, Rule, Site, WebSocketRoute};
use crate::filter::Filters;
use crate::prefetch::Settings as Prefetch;
use crate::route::whole_path;
use crate::telemetry::{Metrics, PolicyCells};
use crate::tls::{Certificate, Realms, Terms};
use crate::upstream::check_tls;

/// An object, built.
pub(super) enum Built {
    Site(Arc<Site>),
    WebSocket(Arc<WebSocketRoute>),
    Policy(Arc<Protection>, Vec<ObjectId>),
    /// A policy that never was valid, and what it closes.
    Closed(Arc<Protection>, Vec<ObjectId>),
    Purge(unit::CachePurge),
    Certificate(Certificate),
}

/// Builds a unit.
///
/// # Errors
/// What cannot be built, for a person.
pub(super) fn build(
    id: &ObjectId,
    unit: Unit,
    metrics: &Metrics,
    tables: &Arc<Tables>,
    realms: &Realms,
    rule_sets: &mut RuleSets,
) -> Result<Built, String> {
    if kind_of(&unit) != id.kind {
        return Err(format!("its unit is of kind {}", kind_of(&unit)));
    }
    match unit {
        Unit::EdgeCache(unit) => site(id, unit, realms).map(|site| Built::Site(Arc::new(site))),
        Unit::WsRoute(unit) => {
            web_socket(id, unit, metrics, tables, realms).map(|route| Built::WebSocket(Arc::new(route)))
        }
        Unit::WafPolicy(unit) => {
            let targets = unit.targets.clone();
            protection(id, unit, metrics, tables, rule_sets)
                .map(|protection| Built::Policy(Arc::new(protection), targets))
        }
        Unit::CachePurge(unit) => Ok(Built::Purge(unit)),
        Unit::Certificate(unit) => Certificate::new(&unit).map(Built::Certificate),
    }
}

/// The cache's name for a site: the same on every node, after a restart and in every version, because records on disk
/// carry it; and nobody can find the name of an EdgeCache that shares another's.
pub(super) fn site_id(id: &ObjectId) -> u64 {
    let digest = Digest::of(id.to_string().as_bytes());
    digest.prefix()
}

fn site(id: &ObjectId, unit: unit::EdgeCache, realms: &Realms) -> Result<Site, String> {
    check_claims(&unit.claims)?;
    check_origin(&unit.origin)?;
    unit.tiering.servers().map_or(Ok(()), check_origin)?;
    let prefetch = unit.prefetch.as_ref().map(|unit| Prefetch::new(unit).map(Arc::new));
    let cache = unit.cache;
    let rules = cache.rules.into_iter().map(rule).collect::<Result<_, _>>()?;
    let key_headers = cache
        .key_headers
        .iter()
        .map(|name| header(name))
        .collect::<Result<_, _>>()?;
    let policy = SitePolicy {
        ignore_query: match cache.include_query.as_slice() {
            [] => QueryFilter::new(&cache.ignore_query),
            include => QueryFilter::only(include),
        }
        .sorted(cache.sort_query),
        key_headers,
        key_cookies: cache.key_cookies.iter().map(|name| name.as_str().into()).collect(),
        devices: devices(&cache.key_devices),
        stale_while_revalidate_ms: cache.stale_while_revalidate_ms,
        stale_if_error_ms: cache.stale_if_error_ms,
        tag_header: cache.tag_header.as_deref().map(header).transpose()?,
        max_object_size: cache.max_object_size,
        ..SitePolicy::default()
    };
    Ok(Site {
        claims: unit.claims,
        origin: unit.origin,
        tls: terms(unit.tls, realms)?,
        id: site_id(id),
        policy,
        rules,
        filters: Filters::new(&unit.filters)?,
        prefetch: prefetch.transpose()?,
        tiering: unit.tiering,
    })
}

fn devices(list: &[unit::Device]) -> Classes {
    let mut classes = Classes::default();
    for device in list {
        match device {
            unit::Device::Mobile => classes.mobile = true,
            unit::Device::Tablet => classes.tablet = true,
            unit::Device::Bot => classes.bot = true,
        }
    }
    classes
}

fn terms(tls: Option<unit::Tls>, realms: &Realms) -> Result<Option<Arc<Terms>>, String> {
    tls.map(|tls| Terms::new(tls, realms).map(Arc::new)).transpose()
}

fn rule(rule: unit::CacheRule) -> Result<Rule, String> {
    let paths = match rule.paths.as_slice() {
        [] => None,
        paths => Some(UriSet::new(&patterns(paths)).map_err(|error| error.to_string())?),
    };
    Ok(Rule {
        paths,
        methods: rule.methods.into_iter().map(String::into_boxed_str).collect(),
        rule: site::Rule {
            statuses: rule.statuses,
            ttl_ms: rule.ttl_ms,
            stale_while_revalidate_ms: rule.stale_while_revalidate_ms,
            stale_if_error_ms: rule.stale_if_error_ms,
            bypass: rule.bypass,
        },
    })
}

fn header(name: &str) -> Result<HeaderName, String> {
    name.parse().map_err(|_| format!("`{name}` is not a field name"))
}

/// Its TLS is set up with the whole configuration; here it can still be refused.
fn check_origin(origin: &unit::Origin) -> Result<(), String> {
    origin.tls.as_ref().map_or(Ok(()), check_tls)
}

/// The router compiles the same expressions; here they can still be refused.
fn check_claims(claims: &[Claim]) -> Result<(), String> {
    let regexes = claims.iter().filter(|claim| claim.path.kind == PathKind::Regex);
    for claim in regexes {
        let value = &claim.path.value;
        whole_path(value).map_err(|error| format!("the path expression `{value}` cannot be used: {error}"))?;
    }
    Ok(())
}

pub(super) fn patterns(paths: &[PathMatch]) -> Vec<Pattern> {
    paths
        .iter()
        .map(|path| Pattern::new(uri_kind(path.kind), path.value.as_str()))
        .collect()
}

const fn uri_kind(kind: PathKind) -> UriKind {
    match kind {
        PathKind::Exact => UriKind::Exact,
        PathKind::Prefix => UriKind::Prefix,
        PathKind::Regex => UriKind::Regex,
    }
}

fn header_rule(rule: unit::HeaderRule) -> policy::FieldRule {
    policy::FieldRule {
        name: rule.name,
        value: rule.value.map(|(kind, text)| (uri_kind(kind), text)),
    }
}

fn protection(
    id: &ObjectId,
    unit: unit::WafPolicy,
    metrics: &Metrics,
    tables: &Arc<Tables>,
    rule_sets: &mut RuleSets,
) -> Result<Protection, String> {
    let rules = unit.rules.as_ref();
    let rules = rules
        .map(|rules| rule_sets.build(&policy_label(id), rules, unit.block_status))
        .transpose()?;
    let label = policy_label(id);
    let limits: Vec<_> = unit.limits.iter().map(|limit| limit.name.as_str()).collect();
    let cells = metrics.policy(&label, &limits);
    let mut config = policy::Config::new(label);
    config.mode = match unit.mode {
        unit::Mode::Enforce => policy::Mode::Enforce,
        unit::Mode::DetectOnly => policy::Mode::DetectOnly,
    };
    config.addresses.allow = with_lists(unit.addresses.allow, &unit.addresses.allow_lists)?;
    config.addresses.deny = with_lists(unit.addresses.deny, &unit.addresses.deny_lists)?;
    config.addresses.default = place::fallback(unit.addresses.default_allow);
    config.countries = place::countries(unit.countries, rule_sets.databases())?;
    config.asns = place::asns(unit.asns, rule_sets.databases())?;
    config.uris.allow = patterns(&unit.uris.allow);
    config.uris.deny = patterns(&unit.uris.deny);
    config.headers.deny = unit.headers.deny.into_iter().map(header_rule).collect();
    config.headers.require = unit.headers.require.into_iter().map(header_rule).collect();
    config.limits = unit.limits.into_iter().map(limit).collect();
    config.penalty = unit.penalty.map(penalty);
    config.challenge = unit.challenge.as_ref().map(challenge);
    config.block_status = unit.block_status;
    config.redact_arguments = unit.redact.arguments;
    config.redact_headers = unit.redact.headers;
    Ok(Protection {
        policy: Policy::new(config, tables).map_err(|error| error.to_string())?,
        rules,
        cells,
        order: unit.order,
        trusted: unit.client.trusted_proxies,
        client_header: unit.client.header,
    })
}

/// All prefixes of one side.
fn with_lists(mut nets: Vec<IpNet>, lists: &[String]) -> Result<Vec<IpNet>, String> {
    for list in lists {
        let packed = STANDARD
            .decode(list)
            .map_err(|error| format!("a list of addresses: {error}"))?;
        nets.extend(list::unpack(&packed).map_err(|error| error.to_string())?);
    }
    Ok(nets)
}

/// The `policy` label of metrics and audit lines.
fn policy_label(id: &ObjectId) -> String {
    id.to_string()
}

fn limit(limit: unit::Limit) -> policy::LimitConfig {
    policy::LimitConfig {
        name: limit.name,
        paths: patterns(&limit.paths),
        methods: limit.methods,
        by: policy::By::ClientAddress,
        requests: limit.requests.map(rate),
        connections: limit.connections,
        new_connections: limit.new_connections.map(rate),
        fleet: limit.fleet,
        mode: part_mode(limit.detect_only),
        challenges: limit.challenges,
    }
}

fn challenge(challenge: &unit::Challenge) -> policy::Challenge {
    policy::Challenge {
        paths: patterns(&challenge.paths),
        work: policy::Work {
            bits: challenge.bits,
            lasts_s: challenge.lasts_ms.div_ceil(1000),
        },
    }
}

const fn rate(rate: unit::RequestRate) -> policy::RequestRate {
    policy::RequestRate {
        count: rate.count,
        per_ms: rate.per_ms,
        burst: rate.burst,
    }
}

const fn penalty(penalty: unit::Penalty) -> policy::Penalty {
    policy::Penalty {
        terms: limit::Terms {
            strikes: penalty.count,
            per_ms: penalty.per_ms,
            for_ms: penalty.for_ms,
        },
        mode: part_mode(penalty.detect_only),
    }
}

/// The mode of a part of a policy.
const fn part_mode(detect_only: bool) -> policy::Mode {
    if detect_only {
        policy::Mode::DetectOnly
    } else {
        policy::Mode::Enforce
    }
}

/// What stands in for a policy that never was valid.
pub(super) fn fail_closed(id: &ObjectId, message: &str, metrics: &Metrics) -> Protection {
    let label = policy_label(id);
    Protection {
        cells: metrics.policy(&label, &[]),
        policy: Policy::fail_closed(label, message),
        rules: None,
        order: 0,
        trusted: Vec::new(),
        client_header: None,
    }
}

fn web_socket(
    id: &ObjectId,
    unit: unit::WsRoute,
    metrics: &Metrics,
    tables: &Arc<Tables>,
    realms: &Realms,
) -> Result<WebSocketRoute, String> {
    check_claims(&unit.claims)?;
    check_origin(&unit.backend)?;
    let unlimited = Sizes {
        max_frame: u64::MAX,
        max_message: u64::MAX,
    };
    let settings = Settings {
        from_client: Sizes {
            max_frame: unit.limits.frame_size.unwrap_or(unlimited.max_frame),
            max_message: unit.limits.message_size.unwrap_or(unlimited.max_message),
        },
        // A backend is ours: it is not held to what clients may send.
        from_backend: unlimited,
        messages_per_second: unit.limits.messages_per_second.and_then(NonZeroU32::new),
        idle_ms: Some(unit.idle_timeout_ms),
        lifetime_ms: unit.lifetime_ms,
        keepalive: unit.keepalive.map(|keepalive| Keepalive {
            interval_ms: keepalive.interval_ms,
            timeout_ms: keepalive.timeout_ms,
        }),
        ..Settings::default()
    };
    Ok(WebSocketRoute {
        claims: unit.claims,
        backend: unit.backend,
        tls: terms(unit.tls, realms)?,
        handshake: handshake::Rules {
            origins: unit.origins,
            subprotocols: unit.subprotocols,
            ..handshake::Rules::default()
        },
        handshake_timeout_ms: unit.handshake_timeout_ms,
        settings,
        limits: unit.limits,
        drain: unit.drain,
        counts: Arc::new(WebSocketCounts::new(&id.to_string(), metrics, tables)),
    })
}

/// A WsRoute's open connections, over all workers and configurations.
pub(crate) struct WebSocketCounts {
    tables: Arc<Tables>,
    total: u64,
    per_client: u64,
    pub(crate) cells: Arc<PolicyCells>,
}

/// A limit of a WsRoute that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Of all connections.
    Total,
    /// Of one client's.
    PerClient,
}

impl WebSocketCounts {
    fn new(label: &str, metrics: &Metrics, tables: &Arc<Tables>) -> Self {
        let limits = [Full::Total.label(), Full::PerClient.label()];
        Self {
            total: tables.rates.key((label, Full::Total.label())),
            per_client: tables.rates.key((label, Full::PerClient.label())),
            cells: metrics.policy(label, &limits),
            tables: Arc::clone(tables),
        }
    }

    /// Counts one more connection of `client` until `guard` is dropped.
    pub(crate) fn open(
        &self,
        guard: &mut ConnectionGuard,
        client: std::net::IpAddr,
        limits: &WsLimits,
    ) -> Result<(), Full> {
        let table = &self.tables.connections;
        // All clients count as one for the limit of all connections.
        let everybody = ClientKey::from(std::net::IpAddr::from([0, 0, 0, 0]));
        if let Some(most) = limits.connections {
            table
                .open(guard, self.total, everybody, most)
                .map_err(|_| Full::Total)?;
        }
        if let Some(most) = limits.connections_per_client {
            table
                .open(guard, self.per_client, client.into(), most)
                .map_err(|_| Full::PerClient)?;
        }
        Ok(())
    }
}

impl Full {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Total => "connections",
            Self::PerClient => "connectionsPerClient",
        }
    }

    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Total => 503,
            Self::PerClient => 429,
        }
    }

    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Total => "all connections of this address are taken",
            Self::PerClient => "you have as many connections here as one client may have",
        }
    }
}
