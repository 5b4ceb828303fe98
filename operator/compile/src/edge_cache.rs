//! Compiles EdgeCaches.

use breakwater_crds as crds;
use breakwater_snapshot::unit::{CachePolicy, CacheRule, Device, EdgeCache};

use crate::claims::Claims;
use crate::findings::Findings;
use crate::index::{optional, positive};
use crate::origin::Servers;
use crate::waf_policy::sorted;
use crate::{Object, filter, prefetch, tiering, tls, value};

/// Reads every field but claims. The unit has no claims yet, and the servers its URLs name; its `tls` has no hosts.
pub(crate) fn read(object: &Object<crds::EdgeCacheSpec>, findings: &mut Findings) -> (Claims, EdgeCache) {
    let spec = &object.spec;
    let claims = Claims::read(&spec.hostnames, &spec.paths, findings);
    let tls = spec
        .tls
        .as_ref()
        .map(|spec| tls::read(&object.meta.namespace, spec, findings));
    let response = positive(
        findings,
        "spec.origin.timeouts.response",
        &spec.origin.timeouts.response,
    );
    let origin = servers(object).read(response, findings);
    let cache = cache(&spec.cache, findings);
    let prefetch = prefetch::read(spec.prefetch.as_ref(), &claims, &cache.rules, findings);
    if let Some(prefetch) = &prefetch
        && !cache.key_devices.is_empty()
        && !prefetch::names_a_device(prefetch)
    {
        findings.warning(
            "spec.prefetch.variants",
            "cache.key.devices stores apart what is fetched for desktops only: add a variant with Sec-CH-UA-Mobile: ?1 or a User-Agent",
        );
    }
    let unit = EdgeCache {
        claims: Vec::new(),
        origin,
        tls,
        filters: filter::read(spec, findings),
        prefetch,
        cache,
        tiering: tiering::read(&object.meta.namespace, spec, response, findings),
    };
    (claims, unit)
}

pub(crate) fn servers(object: &Object<crds::EdgeCacheSpec>) -> Servers<'_> {
    Servers::of_origin(&object.meta.namespace, &object.spec.origin)
}

fn cache(spec: &crds::CacheSpec, findings: &mut Findings) -> CachePolicy {
    let rules = rules(&spec.rules, findings);
    let ignore = &spec.key.query.ignore;
    let mut ignore_query = collect(findings, "spec.cache.key.query.ignore", ignore, |p| {
        value::query_pattern(p.as_str())
    });
    let mut key_headers = collect(findings, "spec.cache.key.headers", &spec.key.headers, |name| {
        value::header(name.as_str())
    });
    let mut key_cookies = collect(findings, "spec.cache.key.cookies", &spec.key.cookies, |name| {
        value::token(name.as_str(), "a cookie name")
    });
    let include = &spec.key.query.include;
    let mut include_query = collect(findings, "spec.cache.key.query.include", include, |p| {
        value::query_pattern(p.as_str())
    });
    if !ignore.is_empty() && !include.is_empty() {
        findings.error(
            "spec.cache.key.query",
            "ignore and include exclude each other: leave one out",
        );
    }
    for list in [
        &mut ignore_query,
        &mut include_query,
        &mut key_headers,
        &mut key_cookies,
    ] {
        list.sort();
        list.dedup();
    }
    if key_headers.iter().any(|name| name == "cookie") {
        findings.warning(
            "spec.cache.key.headers",
            "with the whole Cookie field in the key hardly two clients share a response: name single cookies in key.cookies",
        );
    }
    let stale = &spec.stale;
    CachePolicy {
        rules,
        ignore_query,
        include_query,
        sort_query: spec.key.query.sort,
        key_headers,
        key_cookies,
        key_devices: devices(&spec.key.devices),
        stale_while_revalidate_ms: optional(
            findings,
            "spec.cache.stale.whileRevalidate",
            stale.while_revalidate.as_ref(),
        ),
        stale_if_error_ms: optional(findings, "spec.cache.stale.ifError", stale.if_error.as_ref()),
        tag_header: findings.take("spec.cache.tagHeader", value::header(spec.tag_header.as_str())),
        max_object_size: findings
            .take("spec.cache.maxObjectSize", value::positive_bytes(&spec.max_object_size))
            .unwrap_or_default(),
    }
}

fn devices(list: &[crds::DeviceClass]) -> Vec<Device> {
    let mut devices: Vec<Device> = list
        .iter()
        .map(|class| match class {
            crds::DeviceClass::Mobile => Device::Mobile,
            crds::DeviceClass::Tablet => Device::Tablet,
            crds::DeviceClass::Bot => Device::Bot,
        })
        .collect();
    devices.sort_unstable();
    devices.dedup();
    devices
}

fn rules(list: &[crds::CacheRule], findings: &mut Findings) -> Vec<CacheRule> {
    let mut out: Vec<CacheRule> = Vec::with_capacity(list.len());
    for (i, rule) in list.iter().enumerate() {
        let field = format!("spec.cache.rules[{i}]");
        match (&rule.ttl, &rule.stale, rule.bypass) {
            (Some(_), _, true) => findings.error(&field, "ttl and bypass exclude each other: leave one out"),
            (None, Some(_), true) => findings.error(&field, "stale and bypass exclude each other: leave one out"),
            (None, None, false) => findings.error(&field, "the rule says nothing: give a ttl, stale or bypass: true"),
            _ => {}
        }
        for (j, status) in rule.statuses.iter().enumerate() {
            if !(200..=599).contains(status) {
                findings.error(
                    format!("{field}.statuses[{j}]"),
                    format!("`{status}` is not the status of a response: write 200 to 599"),
                );
            }
        }
        if rule.bypass && !rule.statuses.is_empty() {
            findings.warning(
                format!("{field}.statuses"),
                "bypass is decided before there is a response: statuses are not looked at",
            );
        }
        let methods = sorted(collect(findings, &format!("{field}.methods"), &rule.methods, |name| {
            value::method(name.as_str())
        }));
        let stored = |method: &String| matches!(method.as_str(), "GET" | "POST");
        if !rule.bypass && !rule.methods.is_empty() && !methods.iter().any(stored) {
            findings.error(
                format!("{field}.methods"),
                "only what answers GET and POST is stored: list one of them, or write bypass: true",
            );
        }
        let everything = |rule: &CacheRule| {
            rule.paths.is_empty() && rule.methods.is_empty() && (rule.bypass || rule.statuses.is_empty())
        };
        if let Some(earlier) = out.iter().position(everything) {
            findings.warning(
                &field,
                format!("the rule is never reached: spec.cache.rules[{earlier}] matches everything"),
            );
        }
        let mut statuses = rule.statuses.clone();
        statuses.sort_unstable();
        statuses.dedup();
        out.push(CacheRule {
            paths: value::paths(findings, &format!("{field}.paths"), &rule.paths),
            methods,
            statuses,
            ttl_ms: optional(findings, &format!("{field}.ttl"), rule.ttl.as_ref()),
            stale_while_revalidate_ms: optional(
                findings,
                &format!("{field}.stale.whileRevalidate"),
                rule.stale.as_ref().and_then(|stale| stale.while_revalidate.as_ref()),
            ),
            stale_if_error_ms: optional(
                findings,
                &format!("{field}.stale.ifError"),
                rule.stale.as_ref().and_then(|stale| stale.if_error.as_ref()),
            ),
            bypass: rule.bypass,
        });
    }
    out
}

/// Reads a list, each item by `read`; what cannot be read is a finding.
pub(crate) fn collect<T, U>(
    findings: &mut Findings,
    field: &str,
    list: &[T],
    read: impl Fn(&T) -> Result<U, String>,
) -> Vec<U> {
    list.iter()
        .enumerate()
        .filter_map(|(i, item)| findings.take(format!("{field}[{i}]"), read(item)))
        .collect()
}
