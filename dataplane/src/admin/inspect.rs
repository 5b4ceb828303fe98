//! `GET /v1/cache/inspect?url=…&header=Name: value`: what is stored for a request, in memory and on the disk, what is being
//! fetched, and what the key is made of.
//!
//! Looking counts as no use of what is stored, and changes nothing. The answer is bounded by the variants of a key: all of
//! those in memory, and on the disk the ones that this request could get, since nothing there lists the others.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use breakwater_cache::cache::{InTier, Seen, Stored, Written};
use breakwater_cache::key::cookie_values;
use breakwater_cache::object::Object;
use breakwater_cache::policy::fresh::{Verdict, evaluate};
use breakwater_cache::policy::request::{Admission, RequestMeta};
use breakwater_cache::purge::Purged;
use breakwater_cache::vary::values_of;
use breakwater_cache::{Cache, Key, Timestamp};
use breakwater_wire::device;
use breakwater_wire::path::normalize;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};

use super::Admin;
use crate::DataPlane;
use crate::config::purge::Url;
use crate::config::{Config, Resource, Site};
use crate::disk::Reads;
use crate::handler::hit::{Authority, claims_under, target_in};

/// Request fields that may be given.
const MAX_FIELDS: usize = 64;

pub(super) async fn get(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    match inspect(&admin.data_plane, query.as_deref().unwrap_or_default()).await {
        Ok(found) => Json(found).into_response(),
        Err((status, error)) => (status, Json(json!({ "error": error }))).into_response(),
    }
}

/// What is asked.
#[derive(Debug, Default)]
struct Asked {
    url: String,
    fields: HeaderMap,
}

impl Asked {
    fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value).ok_or_else(|| format!("the value of `{name}` is not percent-encoded UTF-8"))?;
            match name {
                "url" => asked.url = value,
                "header" => {
                    let field = value.split_once(':').and_then(|(name, value)| {
                        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
                        Some((name, HeaderValue::from_str(value.trim()).ok()?))
                    });
                    let (name, value) = field.ok_or_else(|| format!("`{value}` is no header field `Name: value`"))?;
                    if asked.fields.len() >= MAX_FIELDS {
                        return Err(format!("more than {MAX_FIELDS} header fields"));
                    }
                    asked.fields.append(name, value);
                }
                _ => {
                    return Err(format!(
                        "`{name}` is not known: give url, and header for each request field"
                    ));
                }
            }
        }
        if asked.url.is_empty() {
            return Err("give url=, percent-encoded".to_owned());
        }
        Ok(asked)
    }
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| (byte? as char).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

async fn inspect(data_plane: &DataPlane, query: &str) -> Result<Value, (StatusCode, String)> {
    let asked = Asked::parse(query).map_err(|message| (StatusCode::BAD_REQUEST, message))?;
    let cache = &data_plane.metrics.cache;
    let config = data_plane.config();
    let looked = Looked::new(&config, cache, &asked)?;
    let mut stored = cache.stored(looked.key);
    if let Some(reads) = data_plane.disk_reads() {
        stored.extend(on_disk(cache, reads, looked.key, &looked.fields).await);
    }
    let now = Timestamp::from(SystemTime::now());
    let Looked {
        resource,
        site,
        url,
        path,
        fields,
        key: at,
    } = &looked;
    let values = values_of(fields);
    let meta = RequestMeta::new(&Method::GET, false, &site.policy, &values);
    let bypass = matches!(meta.admission(site.rules("GET", path).next()), Admission::Bypass(_));
    let variants: Vec<Value> = stored
        .iter()
        .map(|stored| {
            let selected = cache.selects_object(&stored.object, &values);
            variant(site, stored, selected, &meta, now)
        })
        .collect();
    let fetch = cache.under_way(*at, &values).map(|fetch| {
        json!({
            "status": fetch.status,
            "bytes": fetch.bytes,
            "length": fetch.length,
            "readers": fetch.readers,
            "onDisk": fetch.written,
        })
    });
    Ok(json!({
        "url": asked.url,
        "edgeCache": resource.label.trim_start_matches("EdgeCache/"),
        "bypass": bypass,
        "key": key(resource, site, url, path, fields),
        "variants": variants,
        "fetch": fetch,
    }))
}

/// What the disk has for a request of these fields.
async fn on_disk(cache: &Cache, reads: &Reads, key: Key, fields: &HeaderMap) -> Vec<Stored> {
    let mut wanted = vec![key];
    let mut found = Vec::new();
    while let Some(at) = wanted.pop() {
        let Some(place) = cache.disk().and_then(|store| store.peek_place(at)) else {
            continue;
        };
        let read = reads
            .read(place.name(), place.file(), place.offset(), place.len())
            .await;
        // What cannot be read is not there for a request either.
        let Ok(bytes) = read else { continue };
        match cache.look((key, at), &place, &bytes, &values_of(fields)) {
            Seen::Stored(stored) => found.push(stored),
            Seen::Variants(keys) => wanted.extend(keys),
            Seen::Nothing => {}
        }
    }
    found
}

/// A request, as far as it is asked about.
struct Looked<'a> {
    resource: &'a Resource,
    site: &'a Site,
    url: Url<'a>,
    path: String,
    fields: HeaderMap,
    key: Key,
}

impl<'a> Looked<'a> {
    fn new(config: &'a Config, cache: &Cache, asked: &'a Asked) -> Result<Self, (StatusCode, String)> {
        let bad = |message: String| (StatusCode::BAD_REQUEST, message);
        let url = Url::parse(&asked.url).ok_or_else(|| bad(format!("`{}` is not an absolute URL", asked.url)))?;
        let path = normalize(url.path).map_err(|error| bad(format!("`{}` is answered 400: {error}", asked.url)))?;
        let path = path.as_str().to_owned();
        let (resource, site) = config.site(url.host.name(), &path).ok_or_else(|| {
            let message = format!("no EdgeCache on this node serves {}", asked.url);
            (StatusCode::NOT_FOUND, message)
        })?;
        let mut fields = asked.fields.clone();
        resource.settle(&mut fields);
        let authority = Authority {
            name: url.host.name(),
            port: url.host.port(),
            claims: claims_under(cache.keyer(), || {
                fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
            }),
            secure: url.secure,
        };
        let key = target_in(cache, site, authority, &path, url.query, &values_of(&fields)).key;
        Ok(Self {
            resource,
            site,
            url,
            path,
            fields,
            key,
        })
    }
}

/// What the key is made of, for people. A value that is absent is null.
fn key(resource: &Resource, site: &Site, url: &Url<'_>, path: &str, fields: &HeaderMap) -> Value {
    let policy = &site.policy;
    let kept = |query: &str| {
        let parameters = query
            .split('&')
            .filter(|parameter| !policy.ignore_query.ignores(parameter.as_bytes()));
        parameters.collect::<Vec<_>>().join("&")
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers: Map<String, Value> = policy
        .key_headers
        .iter()
        .map(|name| {
            let lines: Vec<_> = fields
                .get_all(name)
                .iter()
                .map(|value| text(value.as_bytes()))
                .collect();
            (
                name.as_str().to_owned(),
                if lines.is_empty() {
                    Value::Null
                } else {
                    lines.join(", ").into()
                },
            )
        })
        .collect();
    let cookies: Map<String, Value> = policy
        .key_cookies
        .iter()
        .map(|name| {
            let lines = fields.get_all(header::COOKIE).iter();
            let values = lines.flat_map(|line| cookie_values(line.as_bytes(), name));
            let values: Vec<_> = values.map(text).collect();
            let value = (!values.is_empty()).then(|| values.join(", "));
            (name.to_string(), value.into())
        })
        .collect();
    let device = fields.get(device::FIELD).filter(|_| !policy.devices.is_empty());
    json!({
        "edgeCache": resource.label.trim_start_matches("EdgeCache/"),
        "scheme": if url.secure { "https" } else { "http" },
        "host": url.host.name().to_ascii_lowercase(),
        "port": url.host.port().unwrap_or(if url.secure { 443 } else { 80 }),
        "path": path,
        "query": url.query.map(kept),
        "headers": headers,
        "cookies": cookies,
        "device": device.map(|class| text(class.as_bytes())),
    })
}

fn variant(site: &Site, stored: &Stored, selected: bool, meta: &RequestMeta, now: Timestamp) -> Value {
    let object = &*stored.object;
    let purged = object.purged();
    let (state, age, ttl) = match evaluate(&object.meta.freshness, &meta.directives, purged == Purged::Soft, now) {
        _ if purged == Purged::Hard => ("gone", object.meta.freshness.age(now), 0),
        Verdict::Fresh { age, ttl } => ("fresh", age, ttl),
        Verdict::Stale { age, ttl, .. } => ("stale", age, ttl),
        Verdict::MustRevalidate { age, .. } => ("validate", age, 0),
    };
    let (tier, content) = match (stored.tier, object.body.extents()) {
        (InTier::Ram(_), None) => ("ram", "ram"),
        (InTier::Ram(_), Some(_)) => ("ram", "disk"),
        (InTier::Disk { .. }, _) => ("disk", "disk"),
    };
    let (written, segment, bytes) = match stored.tier {
        InTier::Ram(Written::No) => ("no", Value::Null, object.size()),
        InTier::Ram(Written::Waiting) => ("waiting", Value::Null, object.size()),
        InTier::Ram(Written::Yes) => ("yes", Value::Null, object.size()),
        InTier::Disk { segment, sealed, bytes } => ("yes", json!({"number": segment, "sealed": sealed}), bytes),
    };
    let fields = object.fields();
    let field = |name: &HeaderName| {
        fields
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    json!({
        "selected": selected,
        "tier": tier,
        "content": content,
        "onDisk": written,
        "segment": segment,
        "state": state,
        "status": object.status,
        "age": age / 1000,
        "ttl": ttl / 1000,
        "bytes": object.body.len(),
        "stored": bytes,
        "purged": match purged {
            Purged::No => "no",
            Purged::Soft => "soft",
            Purged::Hard => "hard",
        },
        "vary": object.meta.vary.names().iter().map(HeaderName::as_str).collect::<Vec<_>>(),
        "contentType": field(&header::CONTENT_TYPE),
        "contentEncoding": field(&header::CONTENT_ENCODING),
        "etag": field(&header::ETAG),
        "lastModified": field(&header::LAST_MODIFIED),
        "tags": tags(site, object, &fields),
    })
}

/// The tags a response lists.
fn tags(site: &Site, object: &Object, fields: &HeaderMap) -> Vec<String> {
    let Some(name) = &site.policy.tag_header else {
        return Vec::new();
    };
    let lines = fields
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let words = lines.flat_map(|line| line.split([' ', '\t', ',']).map(str::to_owned).collect::<Vec<_>>());
    words
        .filter(|tag| !tag.is_empty())
        .take(object.meta.tags.len())
        .collect()
}
