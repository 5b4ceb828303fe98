//! The hit path: a stored response that answers at once, from borrowed bytes, without a header map.

use breakwater_cache::policy::request::{MethodClass, RequestMeta};
use breakwater_cache::vary::FieldValues;
use breakwater_cache::{Lookup, Target, cache_status};
use breakwater_wire::cache_control::CacheControl;
use breakwater_wire::conditional::Preconditions;
use breakwater_wire::http1::{RequestHead, Version};
use bytes::Bytes;
use http::HeaderName;

use super::stored::{Reply, connection};
use super::{Routed, entry};
use crate::config::Site;
use crate::telemetry::{CacheResult, access_log};
use crate::worker::Worker;

/// Answers from the store, or leaves the request to an exchange (none). The content that was not copied into `out` is
/// returned.
pub(super) fn answer(worker: &Worker, site: &Site, routed: &Routed<'_, '_>, out: &mut Vec<u8>) -> Option<Vec<Bytes>> {
    let head = routed.head;
    let method = match head.method {
        "GET" => MethodClass::Get,
        "HEAD" => MethodClass::Head,
        _ => return None,
    };
    if head.upgrade {
        return None;
    }
    let values = |name: &HeaderName, give: &mut dyn FnMut(&[u8])| give_values(head, name, give);
    let meta = RequestMeta {
        method,
        directives: directives(head, site, &values),
        authorization: head.authorization.is_some(),
        range: head.range.is_some(),
        content: false,
    };
    let path = routed.path.as_str();
    let authority = Authority {
        name: head.host.name(),
        port: head.host.port(),
    };
    let target = target(worker, site, authority, path, head.query, &values);
    let now = worker.clock.timestamp();
    let rule = site.rules(path).next();
    let Lookup::Hit { object, age, ttl } = worker.cache.lookup(target.key, &meta, rule, &values, now) else {
        return None;
    };
    let close = !head.keep_alive || worker.draining.get();
    let written = Reply {
        object: &object,
        method: head.method,
        preconditions: Preconditions::from(head),
        range: head.range,
        if_range: head.if_range,
        request_id: routed.request_id,
        cache_status: cache_status::hit(ttl, false),
        age: age / 1000,
        now: now.as_secs(),
        connection: connection(close, head.version == Version::Http10),
    }
    .write(out);
    let cells = &routed.local().cells;
    cells.requests.add(written.status);
    cells.cache(CacheResult::Hit).add(1);
    cells.durations.observe(routed.started.elapsed());
    if let Some(log) = &worker.metrics.access_log {
        log.write(access_log::line(&access_log::Entry {
            status: written.status,
            bytes: written.length,
            cache: Some(CacheResult::Hit.label()),
            ..entry(worker, routed)
        }));
    }
    Some(written.body)
}

/// The `Cache-Control` of a request; most have none.
fn directives(head: &RequestHead<'_>, site: &Site, values: &FieldValues<'_>) -> CacheControl {
    if head.cache_control.is_none() && head.pragma.is_none() {
        return CacheControl::default();
    }
    RequestMeta::new(&http::Method::GET, false, &site.policy, values).directives
}

fn give_values(head: &RequestHead<'_>, name: &HeaderName, give: &mut dyn FnMut(&[u8])) {
    let fields = head
        .fields()
        .filter(|(field, _)| field.eq_ignore_ascii_case(name.as_str()));
    fields.for_each(|(_, value)| give(value));
}

/// The authority of a request, as keys are made of it.
#[derive(Clone, Copy)]
pub(super) struct Authority<'a> {
    pub(super) name: &'a str,
    pub(super) port: Option<u16>,
}

/// The key of a request: normalised host and path, the query, and what the site adds. The port is in the key, because
/// the origin sees it and may answer with it, but not in what a purge by URL reaches.
pub(super) fn target(
    worker: &Worker,
    site: &Site,
    authority: Authority<'_>,
    path: &str,
    query: Option<&str>,
    values: &FieldValues<'_>,
) -> Target {
    let policy = &site.policy;
    let query = query.map(str::as_bytes);
    let start = worker.cache.key(site.id);
    let mut key = start.target(
        b"http",
        authority.name.as_bytes(),
        path.as_bytes(),
        query,
        &policy.ignore_query,
    );
    let url = key.finish();
    if let Some(port) = authority.port.filter(|port| *port != 80) {
        key = key.header(":port", Some(&port.to_be_bytes()));
    }
    for name in &policy.key_headers {
        let mut joined: Option<Vec<u8>> = None;
        values(name, &mut |value| {
            let joined = joined.get_or_insert_default();
            joined.extend_from_slice(value);
            joined.push(b'\n');
        });
        key = key.header(name.as_str(), joined.as_deref());
    }
    for name in &policy.key_cookies {
        let mut found: Option<Vec<u8>> = None;
        values(&http::header::COOKIE, &mut |value| {
            if found.is_none() {
                found = breakwater_cache::key::cookie_value(value, name).map(<[u8]>::to_vec);
            }
        });
        key = key.cookie(name, found.as_deref());
    }
    Target {
        site: site.id,
        url,
        key: key.finish(),
    }
}
