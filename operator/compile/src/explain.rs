//! Explains what the compiled configuration does with one request: for `breakwater explain`.
//!
//! It reads the snapshot, so it says what nodes do, not what manifests say. What only a response can decide (status,
//! freshness, `Vary`) and what counters hold is left open.

mod notes;
mod places;
mod rules;

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use breakwater_snapshot::unit::{
    CachePolicy, Challenge, Claim, Coding, Device, EdgeCache, Endpoint, HeaderRule, HeaderRules, Limit, Mode, PathKind,
    PathMatch, Penalty, RequestRate, Unit, WafPolicy, WsRoute,
};
use breakwater_snapshot::{Blob, ObjectId, Snapshot};
use breakwater_waf::address::list;
use breakwater_waf::geo::Country;
use breakwater_waf::policy::{FieldRule, Headers};
use breakwater_waf::uri;
use ipnet::IpNet;
use serde::Serialize;

use crate::claims::describe;
use crate::route;

/// A request to explain.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method, upper case.
    pub method: String,
    /// Whether it comes over TLS.
    pub secure: bool,
    /// The host: lower case, without port.
    pub host: String,
    /// The port, where it is not the scheme's own.
    pub port: Option<u16>,
    /// The path, normalised, without query.
    pub path: String,
    /// What origins may take the path for instead: those that take encoded slashes and backslashes for `/`, several
    /// slashes for one, or cut parameters off its segments. What protects paths matches any of them.
    pub other_paths: Vec<String>,
    /// The query, without `?`.
    pub query: Option<String>,
    /// Header fields: name in lower case, value.
    pub headers: Vec<(String, String)>,
    /// What it says of itself, name and value, for the case that the client is a trusted proxy.
    pub claims: Vec<(String, String)>,
    /// The client's address, where it is known.
    pub client: Option<IpAddr>,
    /// The country it is in, where a database was asked.
    pub country: Option<Country>,
    /// The autonomous system it is in, where a database was asked.
    pub asn: Option<u32>,
    /// The version of the Core Rule Set that nodes have, where it is known.
    pub crs: Option<String>,
}

impl Request {
    /// The path in each reading.
    fn paths(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.path).chain(&self.other_paths).map(String::as_str)
    }
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        fields.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a field; none when it is absent.
    fn all(&self, name: &str) -> Option<String> {
        let values = self.headers.iter().filter(|(key, _)| key == name);
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The object that serves it; none: 404.
    pub route: Option<RouteView>,
    /// How the host is served over TLS; none: in clear text only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsView>,
    /// The policies, in the order they apply.
    pub policies: Vec<PolicyView>,
    /// How the response is stored; only for an EdgeCache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheView>,
    /// What a handshake meets; only for a WsRoute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_socket: Option<WebSocketView>,
    /// What happens before the request would reach the cache or a server, when that can be said: the first refusal of
    /// a policy that enforces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// One thing that is said, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// What it is about: `balance`, `redirect` and so on.
    pub about: String,
    /// In words.
    pub effect: String,
}

/// How a host is served over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsView {
    /// The claimed host that takes the name.
    pub host: String,
    /// The object that decides, `Kind/namespace/name`.
    pub decided_by: String,
    /// The Secret, `Secret/namespace/name`.
    pub certificate: String,
    /// Whether that Secret is there and can be used: without it handshakes fail.
    pub usable: bool,
    /// Redirect, HSTS, versions, client certificates.
    pub settings: Vec<Note>,
}

/// The object that serves a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteView {
    /// `Kind/namespace/name`.
    pub resource: String,
    /// The claimed host that matched.
    pub host: String,
    /// The claimed path that matched.
    pub path: PathMatch,
    /// The servers behind it, `host:port`.
    pub servers: Vec<String>,
    /// How requests reach them: balance, health, what is let through, TLS.
    pub upstream: Vec<Note>,
    /// What is done to this request and its response on the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Note>,
}

/// A policy on that object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    /// `Kind/namespace/name`.
    pub policy: String,
    /// Whether it refuses.
    pub mode: Mode,
    /// The lists it has and what they say to this request.
    pub lists: Vec<ListView>,
    /// The limits that count this request.
    pub limits: Vec<LimitView>,
    /// What becomes of clients that are refused again and again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalty: Option<String>,
    /// The work that browsers have to do first, if they have to for this path or over a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// The rules that judge it, and what they do not look at in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Note>,
}

/// One list of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListView {
    /// `addresses.deny`, `uris.allow` and so on.
    pub list: String,
    /// The entry that matches; none when nothing does, or when the client's address is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// In words.
    pub effect: String,
}

/// One limit of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitView {
    /// Its name.
    pub name: String,
    /// In words.
    pub limit: String,
}

/// How a response is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheView {
    /// Whether the cache is asked at all.
    pub looked_up: bool,
    /// Why not, or that it is.
    pub reason: String,
    /// The parts of the key: name and value; none for a field or cookie that is absent, which differs from an empty one.
    pub key: Vec<(String, Option<String>)>,
    /// The coding under which a response that is compressed is stored, where the route compresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coding: Option<&'static str>,
    /// The rules that may apply, in order; the first whose status fits does.
    pub rules: Vec<RuleView>,
    /// `spec.cache.stale.whileRevalidate`, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate_ms: Option<u64>,
    /// `spec.cache.stale.ifError`, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error_ms: Option<u64>,
    /// Whether nodes fetch it before a client asks, in words; none when the object has no `spec.prefetch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<String>,
}

/// A cache rule that may apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleView {
    /// Its field: `spec.cache.rules[0]`.
    pub rule: String,
    /// The methods it is for; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The statuses it is for; empty means all.
    pub statuses: Vec<u16>,
    /// Its lifetime, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Its `stale.whileRevalidate`, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate_ms: Option<u64>,
    /// Its `stale.ifError`, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error_ms: Option<u64>,
    /// Whether it goes past the cache.
    pub bypass: bool,
}

/// What a handshake meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketView {
    /// Whether the request's `Origin` is let through, in words.
    pub origin: String,
    /// Subprotocols that may be negotiated; empty means any.
    pub subprotocols: Vec<String>,
    /// Limits and timeouts in words.
    pub limits: Vec<String>,
}

/// Explains what `snapshot` does with `request`. `choose` says which of the named codings its client gets, if any, and
/// `class` of which class its device is where these are told apart.
pub fn explain(
    snapshot: &Snapshot,
    request: &Request,
    choose: impl Fn(&[&'static str]) -> Option<usize>,
    class: impl Fn(&[Device]) -> &'static str,
) -> Explanation {
    let units = units(snapshot);
    let routes = units.iter().filter_map(|(id, unit)| match unit {
        Unit::EdgeCache(site) => Some((id, unit, &site.claims, &site.origin)),
        Unit::WsRoute(route) => Some((id, unit, &route.claims, &route.backend)),
        Unit::WafPolicy(_) | Unit::CachePurge(_) | Unit::Certificate(_) => None,
    });
    let claims = routes.flat_map(|(id, unit, claims, origin)| {
        let claims: &[Claim] = claims;
        claims.iter().map(move |claim| (claim, (id, unit, origin)))
    });
    let Some((claim, (id, unit, origin))) = route::find(claims, &request.host, &request.path) else {
        return Explanation {
            route: None,
            tls: notes::tls(&units, &request.host),
            policies: Vec::new(),
            cache: None,
            web_socket: None,
            refused: Some("404: no object serves this host and path".to_owned()),
        };
    };
    let mut attached: Vec<(&ObjectId, &WafPolicy)> = units
        .iter()
        .filter_map(|(policy_id, unit)| match unit {
            Unit::WafPolicy(policy) if policy.targets.contains(id) => Some((policy_id, policy)),
            _ => None,
        })
        .collect();
    attached.sort_by_key(|(policy_id, policy)| (policy.order, (*policy_id).clone()));
    let mut refused = None;
    let trusted = request.client.is_some_and(|client| {
        let mut networks = attached.iter().flat_map(|(_, policy)| &policy.client.trusted_proxies);
        networks.any(|network| network.contains(&client))
    });
    let policies = attached
        .into_iter()
        .map(|(id, policy)| {
            let (view, refusal) = policy_view(id, policy, request);
            refused = refused.take().or(refusal);
            view
        })
        .collect();
    Explanation {
        route: Some(RouteView {
            resource: id.to_string(),
            host: claim.host.clone(),
            path: claim.path.clone(),
            servers: origin.endpoints.iter().map(server).collect(),
            upstream: match unit {
                Unit::EdgeCache(site) => notes::tiering(&site.tiering)
                    .into_iter()
                    .chain(notes::upstream(origin))
                    .collect(),
                _ => notes::upstream(origin),
            },
            filters: match unit {
                Unit::EdgeCache(site) => notes::filters(&site.filters, &request.path),
                _ => Vec::new(),
            },
        }),
        tls: notes::tls(&units, &request.host),
        policies,
        cache: match unit {
            Unit::EdgeCache(site) => Some(cache_view(site, request, trusted, choose, class)),
            _ => None,
        },
        web_socket: match unit {
            Unit::WsRoute(route) => Some(web_socket_view(route, request)),
            _ => None,
        },
        refused,
    }
}

fn units(snapshot: &Snapshot) -> Vec<(ObjectId, Unit)> {
    let entries = snapshot.manifest().entries.iter();
    entries
        .filter_map(|entry| match Blob::from_json(snapshot.blob(&entry.sha256)?).ok()? {
            Blob::Valid { unit } => Some((entry.id.clone(), *unit)),
            Blob::Invalid { .. } => None,
        })
        .collect()
}

fn server(endpoint: &Endpoint) -> String {
    if endpoint.host.contains(':') {
        format!("[{}]:{}", endpoint.host, endpoint.port)
    } else {
        format!("{}:{}", endpoint.host, endpoint.port)
    }
}

fn policy_view(id: &ObjectId, policy: &WafPolicy, request: &Request) -> (PolicyView, Option<String>) {
    let mut lists = Vec::new();
    let mut refusals = Vec::new();
    let listed = address_lists(policy, request, &mut lists, &mut refusals);
    places::lists(policy, request, listed, &mut lists, &mut refusals);
    uri_lists(policy, request, &mut lists, &mut refusals);
    header_rules(policy, request, &mut lists, &mut refusals);
    let limits = policy
        .limits
        .iter()
        .filter(|limit| {
            let path = limit.paths.is_empty() || request.paths().any(|path| first(&limit.paths, path).is_some());
            path && (limit.methods.is_empty() || limit.methods.contains(&request.method))
        })
        .map(|limit| LimitView {
            name: limit.name.clone(),
            limit: limit_text(limit),
        })
        .collect();
    let refusal = match policy.mode {
        Mode::Enforce => refusals
            .first()
            .map(|reason| format!("{} by {id}: {reason}", policy.block_status)),
        Mode::DetectOnly => None,
    };
    let view = PolicyView {
        policy: id.to_string(),
        mode: policy.mode,
        lists,
        limits,
        penalty: policy.penalty.as_ref().map(penalty_text),
        challenge: policy
            .challenge
            .as_ref()
            .and_then(|challenge| challenge_text(challenge, policy, request)),
        rules: match &policy.rules {
            Some(rules) => rules::notes(rules, request),
            None if policy.refuses_nothing() => vec![Note {
                about: "nothing".to_owned(),
                effect: "it enforces nothing: no list, limit or rule is in it".to_owned(),
            }],
            None => Vec::new(),
        },
    };
    (view, refusal)
}

/// Whether the client is on the allow list.
fn address_lists(policy: &WafPolicy, request: &Request, lists: &mut Vec<ListView>, refusals: &mut Vec<String>) -> bool {
    let addresses = &policy.addresses;
    let matching = |list: &[IpNet]| {
        let client = request.client?;
        list.iter().find(|net| net.contains(&client)).map(ToString::to_string)
    };
    let allow = with_lists(&addresses.allow, &addresses.allow_lists);
    let deny = with_lists(&addresses.deny, &addresses.deny_lists);
    let allowed = matching(&allow);
    let denied = matching(&deny);
    for (list, nets, entry, effect) in [
        (
            "addresses.allow",
            &allow,
            &allowed,
            "passes this policy's address lists",
        ),
        ("addresses.deny", &deny, &denied, "is refused"),
    ] {
        if nets.is_empty() {
            continue;
        }
        lists.push(ListView {
            list: list.to_owned(),
            entry: entry.clone(),
            effect: match (entry, request.client) {
                (Some(_), Some(client)) => format!("{client} {effect}"),
                (None, Some(client)) => format!("{client} is not on the list"),
                (_, None) => format!("a client on one of {} entries {effect}", nets.len()),
            },
        });
    }
    if let (None, Some(entry)) = (&allowed, &denied) {
        refusals.push(format!("addresses.deny {entry}"));
    }
    if !addresses.default_allow {
        lists.push(ListView {
            list: "addresses.default".to_owned(),
            entry: None,
            effect: "a client on neither list is refused".to_owned(),
        });
        if request.client.is_some() && allowed.is_none() && denied.is_none() {
            refusals.push("addresses.default Deny".to_owned());
        }
    }
    allowed.is_some()
}

fn header_rules(policy: &WafPolicy, request: &Request, lists: &mut Vec<ListView>, refusals: &mut Vec<String>) {
    let given = &policy.headers;
    if given.is_empty() {
        return;
    }
    let effect = match header_objection(given, request) {
        Some(text) => {
            refusals.push(format!("headers {text}"));
            format!("refused: {text}")
        }
        None => "the fields that were given pass".to_owned(),
    };
    lists.push(ListView {
        list: "headers".to_owned(),
        entry: None,
        effect,
    });
}

/// What nodes would say, by their own code.
fn header_objection(rules: &HeaderRules, request: &Request) -> Option<String> {
    let rule = |rule: &HeaderRule| FieldRule {
        name: rule.name.clone(),
        value: rule.value.clone().map(|(kind, text)| {
            let kind = match kind {
                PathKind::Exact => uri::Kind::Exact,
                PathKind::Prefix => uri::Kind::Prefix,
                PathKind::Regex => uri::Kind::Regex,
            };
            (kind, text)
        }),
    };
    let headers = Headers {
        deny: rules.deny.iter().map(rule).collect(),
        require: rules.require.iter().map(rule).collect(),
    };
    let fields: Vec<(&str, &[u8])> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    headers.objection(&fields.as_slice()).ok()?.map(|text| text.to_string())
}

/// All prefixes of one side. What compiled unpacks.
fn with_lists(nets: &[IpNet], lists: &[String]) -> Vec<IpNet> {
    let lists = lists.iter().filter_map(|text| STANDARD.decode(text).ok());
    let lists = lists.filter_map(|packed| list::unpack(&packed).ok());
    nets.iter().copied().chain(lists.flatten()).collect()
}

fn uri_lists(policy: &WafPolicy, request: &Request, lists: &mut Vec<ListView>, refusals: &mut Vec<String>) {
    let allows = |path| first(&policy.uris.allow, path);
    let denies = |path| first(&policy.uris.deny, path);
    let refused = request
        .paths()
        .filter(|path| allows(path).is_none())
        .find_map(denies)
        .map(describe);
    let allowed = allows(&request.path).map(describe);
    let denied = refused.clone().or_else(|| denies(&request.path).map(describe));
    let passes = match refused {
        None => "the path passes uris.deny unread",
        Some(_) => "the path passes, and what a server may take it for does not",
    };
    for (list, paths, entry, effect) in [
        ("uris.allow", &policy.uris.allow, &allowed, passes),
        ("uris.deny", &policy.uris.deny, &denied, "the path is refused"),
    ] {
        if paths.is_empty() {
            continue;
        }
        lists.push(ListView {
            list: list.to_owned(),
            entry: entry.clone(),
            effect: match entry {
                Some(_) => effect.to_owned(),
                None => "the path is not on the list".to_owned(),
            },
        });
    }
    if let Some(entry) = refused {
        refusals.push(format!("uris.deny {entry}"));
    }
}

fn first<'a>(list: &'a [PathMatch], path: &str) -> Option<&'a PathMatch> {
    list.iter().find(|entry| route::path_matches(entry, path))
}

fn limit_text(limit: &Limit) -> String {
    let rate = |what: &str, rate: RequestRate| {
        let burst = rate.burst.unwrap_or(rate.count);
        format!(
            "{} {what} in {} ms per client, {burst} at once",
            rate.count, rate.per_ms
        )
    };
    let requests = limit.requests.map(|spec| rate("requests", spec));
    let new = limit.new_connections.map(|spec| rate("new connections", spec));
    let connections = limit.connections.map(|count| format!("{count} connections per client"));
    let fleet = limit.fleet.then(|| "over all nodes".to_owned());
    let challenges = limit.challenges.then(|| "answers with a challenge".to_owned());
    let detects = limit.detect_only.then(|| "only reports".to_owned());
    [requests, new, connections, fleet, challenges, detects]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

fn challenge_text(challenge: &Challenge, policy: &WafPolicy, request: &Request) -> Option<String> {
    let whom = if request.paths().any(|path| first(&challenge.paths, path).is_some()) {
        "every client that addresses.allow does not have"
    } else if policy.limits.iter().any(|limit| limit.challenges) {
        "a client over a limit"
    } else {
        return None;
    };
    Some(format!(
        "{whom} does work of difficulty {}, then passes for {} ms",
        challenge.bits, challenge.lasts_ms
    ))
}

fn penalty_text(penalty: &Penalty) -> String {
    let Penalty {
        count,
        per_ms,
        for_ms,
        detect_only,
    } = penalty;
    let does = if *detect_only { "reported" } else { "refused" };
    format!("a client that was refused {count} times in {per_ms} ms is {does} for {for_ms} ms")
}

fn cache_view(
    site: &EdgeCache,
    request: &Request,
    trusted: bool,
    choose: impl Fn(&[&'static str]) -> Option<usize>,
    class: impl Fn(&[Device]) -> &'static str,
) -> CacheView {
    let policy = &site.cache;
    let matching = policy
        .rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.is_for(&request.method))
        .filter(|(_, rule)| rule.paths.is_empty() || first(&rule.paths, &request.path).is_some());
    let mut rules = Vec::new();
    for (index, rule) in matching {
        rules.push(RuleView {
            rule: format!("spec.cache.rules[{index}]"),
            methods: rule.methods.clone(),
            statuses: if rule.bypass { Vec::new() } else { rule.statuses.clone() },
            ttl_ms: rule.ttl_ms,
            stale_while_revalidate_ms: rule.stale_while_revalidate_ms,
            stale_if_error_ms: rule.stale_if_error_ms,
            bypass: rule.bypass,
        });
        if rule.bypass || rule.statuses.is_empty() {
            break;
        }
    }
    // Whether to look up is decided before there is a status, by the first rule whose path matches. A later rule that
    // bypasses only keeps responses from being stored.
    let bypass = rules.first().filter(|rule| rule.bypass).map(|rule| rule.rule.clone());
    let (looked_up, reason) = match (request.method.as_str(), bypass) {
        ("GET" | "HEAD", None) => (true, "the method may be answered from the cache".to_owned()),
        ("GET" | "HEAD", Some(rule)) => (false, format!("{rule} goes past the cache")),
        (method, _) => (false, format!("{method} is never answered from the cache")),
    };
    CacheView {
        looked_up,
        reason,
        key: key(policy, request, trusted, class),
        coding: site.filters.compression.as_ref().map(|compression| {
            let names: Vec<_> = compression.codings.iter().map(|coding| name(*coding)).collect();
            let chosen = choose(&names).and_then(|at| names.get(at).copied());
            chosen.unwrap_or("identity")
        }),
        rules,
        stale_while_revalidate_ms: policy.stale_while_revalidate_ms,
        stale_if_error_ms: policy.stale_if_error_ms,
        prefetch: site
            .prefetch
            .as_ref()
            .map(|prefetch| notes::prefetch(prefetch, request)),
    }
}

const fn name(coding: Coding) -> &'static str {
    match coding {
        Coding::Zstd => "zstd",
        Coding::Brotli => "br",
        Coding::Gzip => "gzip",
    }
}

fn key(
    policy: &CachePolicy,
    request: &Request,
    trusted: bool,
    class: impl Fn(&[Device]) -> &'static str,
) -> Vec<(String, Option<String>)> {
    let named = |list: &[String], name: &str| {
        list.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        })
    };
    let ignored = |name: &str| match policy.include_query.as_slice() {
        [] => named(&policy.ignore_query, name),
        include => !named(include, name),
    };
    let name_of = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let scheme = if request.secure { "https" } else { "http" };
    let mut key = vec![
        ("scheme".to_owned(), Some(scheme.to_owned())),
        ("host".to_owned(), Some(request.host.clone())),
    ];
    if let Some(port) = request.port {
        key.push(("port".to_owned(), Some(port.to_string())));
    }
    key.push(("path".to_owned(), Some(request.path.clone())));
    if let Some(query) = &request.query {
        let mut kept: Vec<&str> = query.split('&').filter(|pair| !ignored(&name_of(pair))).collect();
        if policy.sort_query {
            kept.sort_by_key(|pair| name_of(pair));
        }
        if !kept.is_empty() {
            key.push(("query".to_owned(), Some(kept.join("&"))));
        }
    }
    if trusted {
        let claims = request.claims.iter();
        key.extend(claims.map(|(name, value)| (format!("claim {name}"), Some(value.clone()))));
    }
    if !policy.key_devices.is_empty() {
        key.push(("device".to_owned(), Some(class(&policy.key_devices).to_owned())));
    }
    for name in &policy.key_headers {
        key.push((format!("header {name}"), request.all(name)));
    }
    for name in &policy.key_cookies {
        let lines = request.headers.iter().filter(|(key, _)| key == "cookie");
        let pairs = lines.flat_map(|(_, line)| line.split(';'));
        let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
        let values = pairs.filter(|(key, _)| key.trim() == name);
        let values: Vec<&str> = values.map(|(_, value)| value).collect();
        let value = (!values.is_empty()).then(|| values.join(", "));
        key.push((format!("cookie {name}"), value));
    }
    key
}

fn web_socket_view(route: &WsRoute, request: &Request) -> WebSocketView {
    let origin = match request.header("origin").map(str::to_ascii_lowercase) {
        _ if route.origins.is_empty() => "any Origin is let through".to_owned(),
        Some(origin) if route.origins.contains(&origin) => format!("{origin} is let through"),
        Some(origin) => format!("{origin} is refused with 403; allowed are {}", route.origins.join(", ")),
        None => format!("allowed are {}", route.origins.join(", ")),
    };
    let limits = &route.limits;
    let counts = [
        ("connections", limits.connections.map(u64::from)),
        ("connections per client", limits.connections_per_client.map(u64::from)),
        ("bytes in a frame", limits.frame_size),
        ("bytes in a message", limits.message_size),
        ("messages per second", limits.messages_per_second.map(u64::from)),
        ("ms of silence", Some(route.idle_timeout_ms)),
        ("ms of life", route.lifetime_ms),
    ];
    let pings = route.keepalive.map(|keepalive| {
        format!(
            "pings after {} ms of a side's silence, {} ms to answer",
            keepalive.interval_ms, keepalive.timeout_ms
        )
    });
    let spread = route.drain.spread_ms;
    let drain = match route.drain.close {
        true => format!("closed over {spread} ms when the route or its server is gone, or the node shuts down"),
        false => format!("kept when the route or its server is gone, closed over {spread} ms when the node shuts down"),
    };
    WebSocketView {
        origin,
        subprotocols: route.subprotocols.clone(),
        limits: counts
            .into_iter()
            .filter_map(|(what, count)| Some(format!("at most {} {what}", count?)))
            .chain(pings)
            .chain([drain])
            .collect(),
    }
}
