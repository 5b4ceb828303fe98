//! `POST /v1/purge`: purges on this node only, now. A CachePurge does the same on every node, with proof.
//!
//! Whoever reaches the admin port may purge; a web page that a browser of theirs shows may not: the content type has to
//! be JSON, which no form sends, and what says that it comes from a page (`Origin`, `Sec-Fetch-Site`) is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use breakwater_snapshot::unit::{PurgeMode, PurgePrefix, PurgeSelector};
use breakwater_wire::http1::Host;
use breakwater_wire::path::normalize;
use serde::{Deserialize, Serialize};

use super::Admin;
use crate::config::purge::{Url, purge};
use crate::config::{Config, Site};

/// Entries of one list, as in a CachePurge.
const MAX_ENTRIES: usize = 256;

/// Bytes of one entry.
const MAX_ENTRY: usize = 4096;

/// Bytes of a request.
pub(super) const MAX_BODY: usize = 2 << 20;

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Request {
    /// `namespace/name`; `name` alone is in `default`.
    edge_cache: Option<String>,
    /// Every EdgeCache that serves this host.
    host: Option<String>,
    urls: Option<Vec<String>>,
    prefixes: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    everything: Option<bool>,
    mode: PurgeMode,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    mode: PurgeMode,
    purged: Vec<Purged>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Purged {
    edge_cache: String,
    /// What was marked: two for each URL (itself, and its path where parts of the query do not count by No-Vary-Search),
    /// one for each prefix and tag, one for everything. How many responses that concerns is not
    /// counted.
    marks: usize,
    /// The logical time of the purge on this node.
    time: u64,
}

/// Why nothing was purged.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }

    fn unknown(message: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, message.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

pub(super) async fn post(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = from_a_program(&headers).and_then(|()| {
        let request: Request = serde_json::from_slice(&body)
            .map_err(|error| Refusal::bad(format!("the request is not what is expected: {error}")))?;
        let config = admin.data_plane.config();
        let steps = plan(&config, &request)?;
        let cache = &admin.data_plane.metrics.cache;
        let purged = steps.into_iter().map(|((name, _), (site, selector))| {
            let marked = purge(cache, site, &selector, request.mode);
            tracing::info!(edge_cache = name, marks = marked.marks, mode = ?request.mode, "purged by the admin port");
            Purged {
                edge_cache: name.trim_start_matches("EdgeCache/").to_owned(),
                marks: marked.marks,
                time: marked.at,
            }
        });
        let purged = purged.collect();
        // Who is answered may rely on it after a restart.
        cache.keep_purges();
        Ok(Answer {
            mode: request.mode,
            purged,
        })
    });
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Refuses what a browser sends on behalf of a page.
fn from_a_program(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::ORIGIN) || headers.get("sec-fetch-site").is_some_and(|site| site != "none") {
        let message = "requests of web pages are refused: use `breakwater purge` or curl";
        return Err(Refusal(StatusCode::FORBIDDEN, message.to_owned()));
    }
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let essence = content_type.and_then(|value| value.split(|b| *b == b';').next());
    if essence.is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(b"application/json")) {
        return Ok(());
    }
    let message = "send JSON with Content-Type: application/json";
    Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, message.to_owned()))
}

/// What to purge where. By name, so that the order is always the same; all of it is known before anything is done.
type Plan<'a> = BTreeMap<(&'a str, u64), (&'a Site, PurgeSelector)>;

fn plan<'a>(config: &'a Config, request: &Request) -> Result<Plan<'a>, Refusal> {
    let given = [
        request.urls.is_some(),
        request.prefixes.is_some(),
        request.tags.is_some(),
        request.everything.is_some(),
    ];
    if given.iter().filter(|given| **given).count() != 1 || request.everything == Some(false) {
        return Err(Refusal::bad(
            "give exactly one of urls, prefixes, tags and everything: true",
        ));
    }
    let lists = [&request.urls, &request.prefixes, &request.tags];
    for list in lists.into_iter().flatten() {
        if list.is_empty() || list.len() > MAX_ENTRIES || list.iter().any(|entry| entry.len() > MAX_ENTRY) {
            return Err(Refusal::bad(format!(
                "a list has 1 to {MAX_ENTRIES} entries of at most {MAX_ENTRY} bytes"
            )));
        }
    }
    let targets = targets(config, request)?;
    let mut plan = Plan::new();
    if let Some(urls) = &request.urls {
        for url in urls {
            let wrong = || {
                Refusal::bad(format!(
                    "`{url}` is not an absolute URL such as http://shop.example.com/a"
                ))
            };
            let parts = Url::parse(url).ok_or_else(wrong)?;
            normalize(parts.path).map_err(|error| Refusal::bad(format!("`{url}` is never stored: {error}")))?;
            for (key, site) in serving(config, targets.as_ref(), parts.host.name(), url)? {
                let (_, selector) = plan
                    .entry(key)
                    .or_insert_with(|| (site, PurgeSelector::Urls(Vec::new())));
                if let PurgeSelector::Urls(list) = selector {
                    list.push(url.clone());
                }
            }
        }
    } else if let Some(prefixes) = &request.prefixes {
        for text in prefixes {
            let prefix = prefix(text)?;
            let found = match (&prefix.host, &targets) {
                (Some(host), targets) => serving(config, targets.as_ref(), host, text)?,
                (None, Some(targets)) => targets.clone(),
                (None, None) => return Err(Refusal::bad(format!("`{text}` is on no host: {NAME_A_TARGET}"))),
            };
            for (key, site) in found {
                let (_, selector) = plan
                    .entry(key)
                    .or_insert_with(|| (site, PurgeSelector::Prefixes(Vec::new())));
                if let PurgeSelector::Prefixes(list) = selector {
                    list.push(prefix.clone());
                }
            }
        }
    } else {
        let selector = match &request.tags {
            Some(tags) => {
                let is_tag = |tag: &String| !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_graphic() && b != b',');
                if let Some(tag) = tags.iter().find(|tag| !is_tag(tag)) {
                    return Err(Refusal::bad(format!(
                        "`{tag}` cannot be a tag: origins list them separated by spaces or commas"
                    )));
                }
                PurgeSelector::Tags(tags.clone())
            }
            None => PurgeSelector::Everything,
        };
        let targets = targets.ok_or_else(|| Refusal::bad(NAME_A_TARGET))?;
        plan.extend(targets.into_iter().map(|(key, site)| (key, (site, selector.clone()))));
    }
    Ok(plan)
}

const NAME_A_TARGET: &str = "name an edgeCache (namespace/name) or a host";

type Found<'a> = Vec<((&'a str, u64), &'a Site)>;

/// The EdgeCaches that the request names; none if it names none.
fn targets<'a>(config: &'a Config, request: &Request) -> Result<Option<Found<'a>>, Refusal> {
    match (&request.edge_cache, &request.host) {
        (Some(_), Some(_)) => Err(Refusal::bad("give edgeCache or host, not both")),
        (None, None) => Ok(None),
        (Some(name), None) => {
            let label = match name.split('/').count() {
                1 => format!("EdgeCache/default/{name}"),
                2 => format!("EdgeCache/{name}"),
                _ => name.clone(),
            };
            let found = sites(config).filter(|((known, _), _)| *known == label);
            match found.collect::<Vec<_>>() {
                found if found.is_empty() => Err(Refusal::unknown(format!("there is no {label} on this node"))),
                found => Ok(Some(found)),
            }
        }
        (None, Some(host)) => {
            let name = Host::parse(host).ok_or_else(|| Refusal::bad(format!("`{host}` is not a host name")))?;
            serving(config, None, name.name(), host).map(Some)
        }
    }
}

/// Those of the EdgeCaches that serve a host; `text` is what names it.
fn serving<'a>(config: &'a Config, among: Option<&Found<'a>>, host: &str, text: &str) -> Result<Found<'a>, Refusal> {
    let host = host.to_ascii_lowercase();
    let found: Found<'_> = match among {
        Some(among) => among.iter().filter(|(_, site)| site.serves(&host)).copied().collect(),
        None => sites(config).filter(|(_, site)| site.serves(&host)).collect(),
    };
    if found.is_empty() {
        return Err(Refusal::unknown(match among {
            Some(_) => format!("`{text}`: the EdgeCache does not serve the host {host}"),
            None => format!("`{text}`: no EdgeCache on this node serves the host {host}"),
        }));
    }
    Ok(found)
}

fn sites(config: &Config) -> impl Iterator<Item = ((&str, u64), &Site)> {
    config
        .sites()
        .map(|(resource, site)| ((resource.label.as_str(), site.id), &**site))
}

/// A host and path, with or without scheme; or a path.
fn prefix(text: &str) -> Result<PurgePrefix, Refusal> {
    let wrong = |why: &str| Refusal::bad(format!("`{text}` is no prefix: {why}"));
    if text.contains(['?', '#', '*']) {
        return Err(wrong("it is a path and reaches all below it: leave out ?, # and *"));
    }
    let (host, path) = if text.starts_with('/') {
        (None, text)
    } else {
        let absolute;
        let whole = if text.contains("://") {
            text
        } else {
            absolute = format!("http://{text}");
            &absolute
        };
        let parts = Url::parse(whole)
            .ok_or_else(|| wrong("write a host and path such as shop.example.com/static, or a path such as /static"))?;
        let host = parts.host.name().to_ascii_lowercase();
        let path = text
            .find("://")
            .map_or(text, |at| text.get(at + 3..).unwrap_or_default());
        (
            Some(host),
            path.find('/').map_or("/", |at| path.get(at..).unwrap_or("/")),
        )
    };
    normalize(path).map_err(|error| wrong(&error.to_string()))?;
    Ok(PurgePrefix {
        host,
        path: path.to_owned(),
    })
}
