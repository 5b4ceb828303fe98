//! Carrying out purges: from what a person wrote to marks in the cache.
//!
//! Invariant: what is named here is hashed as `handler::hit` hashes requests, in any spelling that a request may have.
//! A URL or path that no request can have (the gate refuses it) is passed over: nothing is stored under it.

use breakwater_cache::purge::{Marked, Mode};
use breakwater_cache::{Cache, Key, Prefix, Purge};
use breakwater_snapshot::unit::{PurgeMode, PurgePrefix, PurgeSelector};
use breakwater_wire::http1::Host;
use breakwater_wire::path::{normalize, split_query};

use super::Site;

/// Carries out a purge on this node.
pub(crate) fn purge(cache: &Cache, site: &Site, selector: &PurgeSelector, mode: PurgeMode) -> Marked {
    let mode = match mode {
        PurgeMode::Hard => Mode::Hard,
        PurgeMode::Soft => Mode::Soft,
    };
    match selector {
        PurgeSelector::Everything => cache.purge(site.id, Purge::Everything, mode),
        PurgeSelector::Tags(tags) => {
            let tags: Vec<_> = tags.iter().map(String::as_str).collect();
            cache.purge(site.id, Purge::Tags(&tags), mode)
        }
        PurgeSelector::Urls(urls) => {
            let keys: Vec<_> = urls
                .iter()
                .filter_map(|url| url_keys(cache, site, url))
                .flatten()
                .collect();
            cache.purge(site.id, Purge::Urls(&keys), mode)
        }
        PurgeSelector::Prefixes(prefixes) => {
            let parts: Vec<_> = prefixes.iter().filter_map(parts).collect();
            let prefixes: Vec<_> = parts.iter().map(|(host, path)| Prefix { host: *host, path }).collect();
            cache.purge(site.id, Purge::Prefixes(&prefixes), mode)
        }
    }
}

/// Host and path as keys compare them.
fn parts(prefix: &PurgePrefix) -> Option<(Option<&str>, String)> {
    let host = match &prefix.host {
        Some(host) => Some(Host::parse(host)?.name()),
        None => None,
    };
    Some((host, normalize(&prefix.path).ok()?.as_str().to_owned()))
}

/// The keys of a URL without header and cookie values, as `handler::hit` makes them: its own, and that of the URLs of its
/// path that are for the same thing as others. The compile step checked the URL.
fn url_keys(cache: &Cache, site: &Site, url: &str) -> Option<[Key; 2]> {
    let Url { host, path, query, .. } = Url::parse(url)?;
    let path = normalize(path).ok()?;
    let key = cache.key(site.id);
    let base = key.path(b"http", host.name().as_bytes(), path.as_str().as_bytes());
    let query = query.map(str::as_bytes);
    Some([
        base.clone().query(query, &site.policy.ignore_query).finish(),
        base.any_query().finish(),
    ])
}

/// An absolute URL, in parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Url<'a> {
    /// `https`, not `http`.
    pub(crate) secure: bool,
    pub(crate) host: Host<'a>,
    /// As written; `/` if there is none.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
}

impl<'a> Url<'a> {
    /// What follows `#` is left out.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = scheme.eq_ignore_ascii_case("https");
        if !secure && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = split_query(target);
        Some(Self {
            secure,
            host: Host::parse(authority)?,
            path: if path.is_empty() { "/" } else { path },
            query,
        })
    }
}
