//! The hit path: a stored response that answers at once, from borrowed bytes, without a header map.

use breakwater_cache::key::{Key, KeyBuilder, Keyer};
use breakwater_cache::policy::request::RequestMeta;
use breakwater_cache::vary::{FieldValues, values_of_head};
use breakwater_cache::{Cache, Lookup, Target, cache_status};
use breakwater_wire::cache_status::CacheStatus;
use breakwater_wire::conditional::Preconditions;
use breakwater_wire::device;
use breakwater_wire::forwarded;
use breakwater_wire::http1::{RequestHead, Version};
use http::header::{self, HeaderName};

use super::stored::{Reply, Written, connection};
use super::{Routed, entry, peer};
use crate::config::Site;
use crate::filter::Compression;
use crate::telemetry::{CacheResult, access_log};
use crate::worker::Worker;

/// Answers from the store, or leaves the request to an exchange (none).
pub(super) fn answer(worker: &Worker, site: &Site, routed: &Routed<'_, '_>, out: &mut Vec<u8>) -> Option<Written> {
    let head = routed.head;
    // What `Connection` names is compared after it is gone.
    if !matches!(head.method, "GET" | "HEAD") || head.upgrade || head.names_fields {
        return None;
    }
    let received = values_of_head(head);
    let compression = routed.resource().compression();
    let accepted = match compression {
        Some(compression) => coding(compression, head)?,
        None => "",
    };
    let device = device(site, head);
    let cookies = &routed.resource().cookies;
    let settled = |name: &HeaderName, give: &mut dyn FnMut(&[u8])| match device {
        _ if compression.is_some() && *name == header::ACCEPT_ENCODING => give(accepted.as_bytes()),
        Some(class) if *name == device::FIELD => give(class.as_bytes()),
        _ if *name == header::COOKIE && !cookies.is_empty() => received(name, &mut |line| {
            if let Some(left) = cookies.without(line) {
                give(&left);
            }
        }),
        _ => received(name, give),
    };
    let as_sent = compression.is_none() && device.is_none() && cookies.is_empty();
    let values: &FieldValues<'_> = if as_sent { &received } else { &settled };
    let meta = RequestMeta::from_head(head, &site.policy);
    let path = routed.path.as_str();
    let authority = authority(worker, routed);
    let key = build_key(&worker.cache, site, authority, path, head.query, values, |_| {});
    let now = worker.clock.timestamp();
    let rule = site.rules(head.method, path).next();
    let Lookup::Hit { object, age, ttl } = worker.cache.lookup(key, &meta, rule, values, now) else {
        return None;
    };
    if object.body.extents().is_some() {
        // Its content lies on the disk.
        return None;
    }
    let of_client = routed.asked_by.is_none();
    let filters = site.filters.as_deref().filter(|_| of_client);
    if let Some(filters) = filters
        && !filters.passes(object.status, object.body.len())
    {
        return None;
    }
    let close = !head.keep_alive || worker.draining.get();
    let word = (!of_client).then(|| peer::word(&object.meta.freshness, now, now));
    let written = Reply {
        object: &object,
        method: head.method,
        preconditions: Preconditions::from(head),
        range: head.range,
        if_range: head.if_range,
        request_id: routed.request_id,
        cache_status: CacheStatus {
            detail: device,
            ..cache_status::hit(ttl, false)
        },
        age: age / 1000,
        now: now.as_secs(),
        connection: connection(close, head.version == Version::Http10),
        hsts: routed.hsts(),
        filters,
        word: word.as_deref().map(|word| (word, site.asked_name())),
    }
    .write(out, (head.version == Version::Http2).then_some(&worker.blocks));
    if !of_client {
        return Some(written);
    }
    let cells = &routed.local().cells;
    cells.requests.add(written.status);
    cells.cache(CacheResult::Hit).add(1);
    cells.cache_bytes(CacheResult::Hit).add(written.length);
    cells.durations.observe(routed.started.elapsed());
    if let Some(log) = &worker.metrics.access_log {
        log.write(access_log::line(&access_log::Entry {
            status: written.status,
            bytes: written.length,
            cache: Some(CacheResult::Hit.label()),
            ..entry(worker, routed)
        }));
    }
    Some(written)
}

/// The target of a request that is not looked up.
pub(super) fn target_of_head(worker: &Worker, site: &Site, routed: &Routed<'_, '_>) -> Target {
    let (head, path) = (routed.head, routed.path.as_str());
    target(
        worker,
        site,
        authority(worker, routed),
        path,
        head.query,
        &values_of_head(head),
    )
}

/// Scheme, host and port of a request that is not looked up.
pub(super) fn origin_of_head(worker: &Worker, site: &Site, routed: &Routed<'_, '_>) -> Key {
    origin_key(worker, site, authority(worker, routed))
}

fn authority<'a>(worker: &Worker, routed: &Routed<'a, '_>) -> Authority<'a> {
    let head = routed.head;
    Authority {
        name: head.host.name(),
        port: head.host.port(),
        claims: match routed.trusted {
            true => claims(worker, || head.fields()),
            false => 0,
        },
        secure: routed.secure,
    }
}

/// The coding in place of the request's `Accept-Encoding`, as an exchange would have it.
fn coding(compression: &Compression, head: &RequestHead<'_>) -> Option<&'static str> {
    let lines = head
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case(header::ACCEPT_ENCODING.as_str()));
    compression.coding(lines.map(|(_, value)| value), head.range, head.if_range)
}

/// The class of the client's device, where it is in keys, in place of what the client says in [`device::FIELD`].
fn device(site: &Site, head: &RequestHead<'_>) -> Option<&'static str> {
    let classes = site.policy.devices;
    if classes.is_empty() {
        return None;
    }
    let value = |name: &HeaderName| head.field(name.as_str());
    Some(
        classes
            .of(value(&header::USER_AGENT), value(&device::MOBILE_HINT))
            .as_str(),
    )
}

/// What a trusted proxy says of the request as the client sent it, in one number: the origin sees it, and may answer
/// with it. The order of fields does not count.
pub(super) fn claims<'v, I: Iterator<Item = (&'v str, &'v [u8])>>(worker: &Worker, fields: impl Fn() -> I) -> u128 {
    claims_under(worker.cache.keyer(), fields)
}

/// [`claims`], outside of a worker.
pub(crate) fn claims_under<'v, I: Iterator<Item = (&'v str, &'v [u8])>>(keyer: &Keyer, fields: impl Fn() -> I) -> u128 {
    let mut sum = 0_u128;
    forwarded::claims_of_request(fields, |name, place, value| {
        sum = sum.wrapping_add(keyer.claim(name, place, value));
    });
    sum
}

/// The authority of a request, as keys are made of it.
#[derive(Clone, Copy)]
pub(crate) struct Authority<'a> {
    pub(crate) name: &'a str,
    pub(crate) port: Option<u16>,
    /// What the origin is told of the client's own request ([`claims`]). 0: nothing.
    pub(crate) claims: u128,
    /// The request came over TLS.
    pub(crate) secure: bool,
}

/// The tags by which a purge by prefix reaches the answer to a request.
pub(super) fn prefixes(worker: &Worker, site: &Site, host: &str, path: &str) -> Vec<u64> {
    worker.cache.keyer().prefix_tags(site.id, host, path)
}

/// Host and path of a request, the beginning of its key.
fn without_query(cache: &Cache, site: &Site, host: &str, path: &str) -> KeyBuilder {
    let start = cache.key(site.id);
    start.path(b"http", host.as_bytes(), path.as_bytes())
}

/// All URLs of a path, whatever their query.
pub(super) fn path_key(worker: &Worker, site: &Site, host: &str, path: &str) -> Key {
    without_query(&worker.cache, site, host, path).any_query().finish()
}

/// Scheme, host and port of a request.
pub(super) fn origin_key(worker: &Worker, site: &Site, authority: Authority<'_>) -> Key {
    let scheme: (&[u8], u16) = if authority.secure {
        (b"https", 443)
    } else {
        (b"http", 80)
    };
    let port = authority.port.unwrap_or(scheme.1);
    let start = worker.cache.key(site.id).path(scheme.0, authority.name.as_bytes(), b"");
    start.header(":port", Some(&port.to_be_bytes())).finish()
}

/// The key of a request: normalised host and path, the query, and what the site adds. The port and the
/// scheme are in the key, because the origin sees them and may answer with them, but not in what a purge by URL reaches.
pub(super) fn target(
    worker: &Worker,
    site: &Site,
    authority: Authority<'_>,
    path: &str,
    query: Option<&str>,
    values: &FieldValues<'_>,
) -> Target {
    target_in(&worker.cache, site, authority, path, query, values)
}

/// [`target`], outside of a worker.
pub(crate) fn target_in(
    cache: &Cache,
    site: &Site,
    authority: Authority<'_>,
    path: &str,
    query: Option<&str>,
    values: &FieldValues<'_>,
) -> Target {
    let mut url = None;
    let key = build_key(cache, site, authority, path, query, values, |base| {
        url = Some(base.finish())
    });
    Target {
        site: site.id,
        url: url.unwrap_or(key),
        key,
    }
}

/// The key of a request. `url` is given what a purge by URL reaches, which a hit has no use for.
fn build_key(
    cache: &Cache,
    site: &Site,
    authority: Authority<'_>,
    path: &str,
    query: Option<&str>,
    values: &FieldValues<'_>,
    url: impl FnOnce(&KeyBuilder),
) -> Key {
    let policy = &site.policy;
    let query = query.map(str::as_bytes);
    let base = without_query(cache, site, authority.name, path);
    let mut key = match cache.search(&base) {
        None => {
            let key = base.query(query, &policy.ignore_query);
            url(&key);
            key
        }
        // URLs that are for the same thing are purged together.
        Some(search) => {
            url(&base.clone().any_query());
            base.search(&search, query, &policy.ignore_query)
        }
    };
    let default_port = if authority.secure { 443 } else { 80 };
    if authority.secure {
        key = key.header(":scheme", Some(b"https"));
    }
    if let Some(port) = authority.port.filter(|port| *port != default_port) {
        key = key.header(":port", Some(&port.to_be_bytes()));
    }
    if authority.claims != 0 {
        key = key.header(":claims", Some(&authority.claims.to_be_bytes()));
    }
    if !policy.devices.is_empty() {
        let without = key.clone();
        values(&device::FIELD, &mut |class| {
            key = without.clone().header(":device", Some(class));
        });
    }
    for name in &policy.key_headers {
        key = key.headers(name.as_str(), |give| values(name, give));
    }
    for name in &policy.key_cookies {
        key = key.cookies(name, |give| values(&header::COOKIE, give));
    }
    key.finish()
}
