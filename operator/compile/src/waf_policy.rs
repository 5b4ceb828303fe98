//! Compiles WafPolicies.

use std::collections::{HashMap, HashSet};

use breakwater_crds as crds;
use breakwater_snapshot::unit::{
    Addresses, Challenge, ClientAddress, HeaderRule, HeaderRules, Limit, Mode, PathKind, Penalty, Redact, RequestRate,
    Uris, WafPolicy,
};
use breakwater_snapshot::{Kind, ObjectId};
use breakwater_waf::policy::{MAX_PER_MS, compile_value};

use crate::claims::Age;
use crate::edge_cache::collect;
use crate::findings::Findings;
use crate::index::{Index, positive};
use crate::waf_link::Links;
use crate::{Judgement, Object, Reason, url_list, value, waf_places, waf_rules};

/// Most refusals that a penalty can ask for.
const MAX_STRIKES: u32 = 1_000_000;

/// What is said of a policy without parts. An API server drops `crs:` without a value, before anybody sees it.
const ENFORCES_NOTHING: &str = "the policy enforces nothing: it has no crs, seclang, list, limit or header rule; crs: without a value is as good as absent, write crs: {} for the Core Rule Set";

/// Reads every field but the targets.
pub(crate) fn read(
    object: &Object<crds::WafPolicySpec>,
    index: &Index<'_>,
    links: &mut Links<'_>,
    findings: &mut Findings,
) -> WafPolicy {
    let spec = &object.spec;
    if spec.target_refs.is_empty() {
        findings.error(
            "spec.targetRefs",
            "the list is empty: name the EdgeCaches and WsRoutes to protect",
        );
    }
    for (i, target) in spec.target_refs.iter().enumerate() {
        if target.group != crds::GROUP {
            findings.error(
                format!("spec.targetRefs[{i}].group"),
                format!(
                    "`{}` is not a group whose objects can be protected: write {}",
                    target.group,
                    crds::GROUP
                ),
            );
        }
    }
    let client = ClientAddress {
        trusted_proxies: value::networks(findings, "spec.client.trustedProxies", &spec.client.trusted_proxies),
        header: findings.take("spec.client.header", value::header(spec.client.header.as_str())),
    };
    if client.trusted_proxies.iter().any(|net| net.prefix_len() == 0) {
        findings.warning(
            "spec.client.trustedProxies",
            "a prefix of length 0 believes every client's word about its own address: name your proxies' addresses",
        );
    }
    let addresses = Addresses {
        allow: value::networks(findings, "spec.addresses.allow", &spec.addresses.allow),
        deny: value::networks(findings, "spec.addresses.deny", &spec.addresses.deny),
        allow_lists: lists(
            &object.meta.namespace,
            "allowFrom",
            &spec.addresses.allow_from,
            index,
            findings,
        ),
        deny_lists: lists(
            &object.meta.namespace,
            "denyFrom",
            &spec.addresses.deny_from,
            index,
            findings,
        ),
        default_allow: spec.addresses.default == crds::DefaultAction::Allow,
    };
    repeated_urls(&spec.addresses, findings);
    for net in addresses.deny.iter().filter(|net| addresses.allow.contains(net)) {
        findings.warning(
            "spec.addresses.deny",
            format!("`{net}` is on both lists; allow is read first, so it passes"),
        );
    }
    let countries = waf_places::countries(spec.countries.as_ref(), findings);
    let asns = waf_places::asns(spec.asns.as_ref(), findings);
    let uris = Uris {
        allow: value::paths(findings, "spec.uris.allow", &spec.uris.allow),
        deny: value::paths(findings, "spec.uris.deny", &spec.uris.deny),
    };
    let headers = HeaderRules {
        deny: header_rules(&spec.headers.deny, "spec.headers.deny", findings),
        require: header_rules(&spec.headers.require, "spec.headers.require", findings),
    };
    let limits = limits(&spec.limits, findings);
    let penalty = spec.penalty.as_ref().map(|spec| penalty(spec, findings));
    if penalty.is_some() && spec.mode == crds::WafMode::DetectOnly {
        findings.warning(
            "spec.penalty",
            "under mode DetectOnly nothing is refused, so no client comes under the penalty",
        );
    }
    let challenge = challenge(spec, findings);
    let rules = waf_rules::read(&object.meta.namespace, spec, index, links, findings);
    if !matches!(spec.block.status, 403 | 404) {
        findings.error(
            "spec.block.status",
            format!(
                "`{}` cannot be the status of a refusal: write 403 or 404",
                spec.block.status
            ),
        );
    }
    let redact = &spec.audit.redact;
    let policy = WafPolicy {
        targets: Vec::new(),
        order: 0,
        mode: match spec.mode {
            crds::WafMode::Enforce => Mode::Enforce,
            crds::WafMode::DetectOnly => Mode::DetectOnly,
        },
        client,
        addresses,
        countries,
        asns,
        uris,
        headers,
        limits,
        penalty,
        challenge,
        rules,
        block_status: spec.block.status,
        redact: Redact {
            arguments: sorted(redact.arguments.clone()),
            headers: sorted(collect(
                findings,
                "spec.audit.redact.headers",
                &redact.headers,
                |name| value::header(name.as_str()),
            )),
        },
    };
    if findings.invalid().is_none() && policy.refuses_nothing() && policy.client.trusted_proxies.is_empty() {
        findings.warning("spec", ENFORCES_NOTHING);
    }
    policy
}

fn header_rules(list: &[crds::HeaderRule], field: &str, findings: &mut Findings) -> Vec<HeaderRule> {
    let mut out = Vec::with_capacity(list.len());
    for (i, rule) in list.iter().enumerate() {
        let name = findings.take(format!("{field}[{i}].name"), value::header(rule.name.as_str()));
        let value = rule.value.as_ref().map(|spec| {
            let kind = match spec.kind {
                crds::HeaderValueType::Exact => PathKind::Exact,
                crds::HeaderValueType::Prefix => PathKind::Prefix,
                crds::HeaderValueType::Regex => PathKind::Regex,
            };
            if kind == PathKind::Regex {
                findings.take(format!("{field}[{i}].value.value"), compile_value(&spec.value));
            }
            (kind, spec.value.clone())
        });
        out.extend(name.map(|name| HeaderRule { name, value }));
    }
    out
}

/// The lists, in order. One that is missing or broken is an error: a list that is not there denies nobody.
fn lists(
    namespace: &str,
    field: &str,
    sources: &[crds::AddressSource],
    index: &Index<'_>,
    findings: &mut Findings,
) -> Vec<String> {
    let mut out = Vec::with_capacity(sources.len());
    for (i, source) in sources.iter().enumerate() {
        let field = format!("spec.addresses.{field}[{i}]");
        match (&source.config_map, &source.url) {
            (Some(reference), None) => {
                if source.refresh.is_some() {
                    findings.error(
                        format!("{field}.refresh"),
                        "a ConfigMap is watched and needs no refresh: leave it out",
                    );
                }
                match index.address_list(namespace, reference) {
                    Ok(list) => out.push(list.to_owned()),
                    Err(message) => findings.error(format!("{field}.configMap"), message),
                }
            }
            (None, Some(url)) => out.extend(url_list::read(source, url, &field, index.url_lists, findings)),
            _ => findings.error(field, "a list is in one place: give configMap or url"),
        }
    }
    out
}

/// A URL that is named twice: its list would be sent twice.
fn repeated_urls(addresses: &crds::Addresses, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for (field, sources) in [("allowFrom", &addresses.allow_from), ("denyFrom", &addresses.deny_from)] {
        for (i, source) in sources.iter().enumerate() {
            if source.url.as_ref().is_some_and(|url| !seen.insert(url)) {
                findings.error(
                    format!("spec.addresses.{field}[{i}].url"),
                    "the policy has this list already: leave one out",
                );
            }
        }
    }
}

fn limits(list: &[crds::Limit], findings: &mut Findings) -> Vec<Limit> {
    let mut out: Vec<Limit> = Vec::with_capacity(list.len());
    for (i, limit) in list.iter().enumerate() {
        let field = format!("spec.limits[{i}]");
        if limit.name.is_empty() {
            findings.error(
                format!("{field}.name"),
                "the name is empty: metrics and audit lines show it",
            );
        }
        if out.iter().any(|earlier| earlier.name == limit.name) {
            findings.error(
                format!("{field}.name"),
                format!("`{}` is the name of an earlier limit: give each its own", limit.name),
            );
        }
        if limit.requests.is_none() && limit.connections.is_none() && limit.new_connections.is_none() {
            findings.error(
                &field,
                "the limit limits nothing: give requests, connections or newConnections",
            );
        }
        if limit.by != [crds::LimitBy::ClientAddress] {
            findings.error(
                format!("{field}.by"),
                "a limit counts by ClientAddress: write [ClientAddress] or leave it out",
            );
        }
        let requests = limit.requests.as_ref();
        let requests = requests.map(|spec| rate(spec, &format!("{field}.requests"), findings));
        let new_connections = limit.new_connections.as_ref();
        let new_connections = new_connections.map(|spec| rate(spec, &format!("{field}.newConnections"), findings));
        if limit
            .connections
            .as_ref()
            .is_some_and(|connections| connections.count == 0)
        {
            findings.error(
                format!("{field}.connections.count"),
                "`0` allows nothing: write at least 1",
            );
        }
        let fleet = limit.scope == crds::LimitScope::Fleet;
        if fleet && limit.connections.is_some() {
            findings.error(
                format!("{field}.scope"),
                "open connections are counted by each node: give `connections` in a limit of its own, without scope Fleet",
            );
        }
        out.push(Limit {
            name: limit.name.clone(),
            paths: value::paths(findings, &format!("{field}.paths"), &limit.paths),
            methods: sorted(collect(findings, &format!("{field}.methods"), &limit.methods, |name| {
                value::method(name.as_str())
            })),
            requests,
            connections: limit.connections.as_ref().map(|connections| connections.count),
            new_connections,
            fleet,
            detect_only: limit.mode == crds::WafMode::DetectOnly,
            challenges: limit.action == crds::LimitAction::Challenge,
        });
    }
    out
}

fn rate(spec: &crds::RequestRate, field: &str, findings: &mut Findings) -> RequestRate {
    for (name, count) in [("count", Some(spec.count)), ("burst", spec.burst)] {
        if count == Some(0) {
            findings.error(format!("{field}.{name}"), "`0` allows nothing: write at least 1");
        }
    }
    RequestRate {
        count: spec.count,
        per_ms: span(&spec.per, &format!("{field}.per"), findings),
        burst: spec.burst,
    }
}

/// The challenge; limits may ask for one where the policy says nothing of how it is.
fn challenge(spec: &crds::WafPolicySpec, findings: &mut Findings) -> Option<Challenge> {
    for (i, limit) in spec.limits.iter().enumerate() {
        if limit.action == crds::LimitAction::Challenge && limit.requests.is_none() {
            findings.error(
                format!("spec.limits[{i}].action"),
                "Challenge is for a limit of requests: a connection cannot be asked",
            );
        }
    }
    let by_limits = spec
        .limits
        .iter()
        .any(|limit| limit.action == crds::LimitAction::Challenge);
    if spec
        .challenge
        .as_ref()
        .is_some_and(|challenge| challenge.paths.is_empty())
        && !by_limits
    {
        findings.warning(
            "spec.challenge.paths",
            "nobody is asked: name paths, or give a limit action Challenge",
        );
    }
    let spec = match &spec.challenge {
        Some(spec) => spec.clone(),
        None if by_limits => crds::Challenge::default(),
        None => return None,
    };
    if !(1..=24).contains(&spec.difficulty) {
        findings.error(
            "spec.challenge.difficulty",
            format!("`{}` is no difficulty: write 1 to 24", spec.difficulty),
        );
    }
    Some(Challenge {
        paths: value::paths(findings, "spec.challenge.paths", &spec.paths),
        bits: spec.difficulty,
        lasts_ms: span(&spec.lasts, "spec.challenge.lasts", findings),
    })
}

fn penalty(spec: &crds::Penalty, findings: &mut Findings) -> Penalty {
    let count = spec.after.count;
    if !(1..=MAX_STRIKES).contains(&count) {
        findings.error(
            "spec.penalty.after.count",
            format!("`{count}` cannot be counted: write 1 to 1000000"),
        );
    }
    Penalty {
        count,
        per_ms: span(&spec.after.per, "spec.penalty.after.per", findings),
        for_ms: span(&spec.lasts, "spec.penalty.for", findings),
        detect_only: spec.mode == crds::WafMode::DetectOnly,
    }
}

/// A time that nodes remember clients for.
fn span(spec: &crds::Duration, field: &str, findings: &mut Findings) -> u64 {
    let ms = positive(findings, field, spec);
    if ms > MAX_PER_MS {
        findings.error(field, format!("`{spec}` is too long: 30 days (720h) at most"));
    }
    ms
}

/// The targets that exist, sorted, and what `Accepted` and `ResolvedRefs` say of them.
pub(crate) fn targets(
    object: &Object<crds::WafPolicySpec>,
    index: &Index<'_>,
    findings: &mut Findings,
) -> (Vec<ObjectId>, Judgement, Judgement) {
    let namespace = object.meta.namespace.as_str();
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (i, target) in object.spec.target_refs.iter().enumerate() {
        let field = format!("spec.targetRefs[{i}]");
        let kind = match target.kind {
            crds::TargetKind::EdgeCache => Kind::EdgeCache,
            crds::TargetKind::WsRoute => Kind::WsRoute,
        };
        let other = target.namespace.as_deref().filter(|other| *other != namespace);
        let id = ObjectId::new(kind, namespace, target.name.as_str());
        let message = match other {
            Some(other) => format!(
                "{kind} {other}/{} is in another namespace; a policy protects objects of its own, {namespace}",
                target.name
            ),
            None if index.exists(&id) => {
                found.push(id);
                continue;
            }
            None => format!(
                "there is no {kind} {namespace}/{}: create it, or correct the name",
                target.name
            ),
        };
        findings.error(field, &message);
        missing.push(message);
    }
    found.sort();
    found.dedup();
    let accepted = if found.is_empty() {
        let message = missing.first().cloned().unwrap_or_default();
        Judgement::new(false, Reason::TargetNotFound, message)
    } else {
        Judgement::new(true, Reason::Accepted, "the policy is valid")
    };
    let resolved = match missing.as_slice() {
        [] => Judgement::new(true, Reason::ResolvedRefs, "every reference was found"),
        [one] => Judgement::new(false, Reason::TargetNotFound, one.clone()),
        [first, rest @ ..] => Judgement::new(
            false,
            Reason::TargetNotFound,
            format!("{first} (and {} more)", rest.len()),
        ),
    };
    (found, accepted, resolved)
}

/// Gives each policy its place: one more than the last among the older policies that share a target with it.
///
/// So places ascend with age on each target, and a policy's unit changes only when its neighbours do.
pub(crate) fn orders(mut policies: Vec<(Age<'_>, &ObjectId, &[ObjectId])>) -> HashMap<ObjectId, u32> {
    policies.sort_by(|a, b| a.0.cmp(&b.0));
    let mut next: HashMap<&ObjectId, u32> = HashMap::new();
    let mut orders = HashMap::new();
    for (_, id, targets) in policies {
        let order = targets.iter().filter_map(|t| next.get(t)).max().copied().unwrap_or(0);
        for target in targets {
            next.insert(target, order + 1);
        }
        orders.insert(id.clone(), order);
    }
    orders
}

pub(crate) fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list.dedup();
    list
}
