//! Compiles CachePurges.

use breakwater_crds as crds;
use breakwater_snapshot::unit::{CachePurge, PurgeSelector};
use breakwater_snapshot::{Kind, ObjectId};
use http::Uri;

use crate::claims::Claims;
use crate::findings::Findings;
use crate::route::host_matches;
use crate::{Meta, Object};

/// Most purges in a snapshot: the newest. Nodes remember as many.
pub const MOST_PURGES: usize = 1000;

/// The EdgeCache a purge names.
pub(crate) fn target(object: &Object<crds::CachePurgeSpec>) -> ObjectId {
    let name = object.spec.edge_cache_ref.name.as_str();
    ObjectId::new(Kind::EdgeCache, object.meta.namespace.as_str(), name)
}

/// Orders purges from the newest to the oldest.
pub(crate) fn newest_first(a: &Meta, b: &Meta) -> std::cmp::Ordering {
    let key = |meta: &Meta| meta.created.unwrap_or(i64::MAX);
    key(b)
        .cmp(&key(a))
        .then_with(|| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)))
}

/// Reads a purge. `claims` are those of its EdgeCache, none when it could not be read.
pub(crate) fn read(
    object: &Object<crds::CachePurgeSpec>,
    claims: Option<&Claims>,
    findings: &mut Findings,
) -> CachePurge {
    let spec = &object.spec;
    let given = [spec.urls.is_some(), spec.tags.is_some(), spec.everything.is_some()];
    match given.iter().filter(|given| **given).count() {
        1 => {}
        0 => findings.error(
            "spec",
            "nothing says what to forget: give urls, tags or everything: true",
        ),
        _ => findings.error("spec", "urls, tags and everything exclude each other: give one of them"),
    }
    if spec.everything == Some(false) {
        findings.error(
            "spec.everything",
            "the only value is true: leave it out and give urls or tags",
        );
    }
    let selector = if let Some(urls) = &spec.urls {
        if urls.is_empty() {
            findings.error("spec.urls", "the list is empty: name at least one URL");
        }
        let mut urls: Vec<String> = urls
            .iter()
            .enumerate()
            .filter_map(|(i, text)| findings.take(format!("spec.urls[{i}]"), url(text, claims, &target(object))))
            .collect();
        urls.sort();
        urls.dedup();
        PurgeSelector::Urls(urls)
    } else if let Some(tags) = &spec.tags {
        if tags.is_empty() {
            findings.error("spec.tags", "the list is empty: name at least one tag");
        }
        for (i, tag) in tags.iter().enumerate() {
            if tag.is_empty() || !tag.bytes().all(|b| b.is_ascii_graphic() && b != b',') {
                findings.error(
                    format!("spec.tags[{i}]"),
                    format!("`{tag}` cannot be a tag: origins list them separated by spaces or commas"),
                );
            }
        }
        let mut tags = tags.clone();
        tags.sort();
        tags.dedup();
        PurgeSelector::Tags(tags)
    } else {
        PurgeSelector::Everything
    };
    CachePurge {
        uid: object.meta.uid.clone(),
        target: target(object),
        selector,
    }
}

/// An absolute URL of a host the EdgeCache serves, normalised: scheme and host in lower case, no default port.
fn url(text: &str, claims: Option<&Claims>, target: &ObjectId) -> Result<String, String> {
    let wrong = |hint: &str| format!("`{text}` cannot be purged: {hint}");
    if text.contains('#') {
        return Err(wrong("leave out what follows #"));
    }
    let absolute = "write an absolute URL such as http://shop.example.com/product/42";
    let uri: Uri = text.parse().map_err(|_| wrong(absolute))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong(absolute));
    };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err(wrong("the scheme is http or https")),
    };
    if authority.as_str().contains('@') {
        return Err(wrong("leave out user and password"));
    }
    let host = authority.host().to_ascii_lowercase();
    if let Some(claims) = claims
        && !claims.pairs.iter().any(|(claim, _)| host_matches(&claim.host, &host))
    {
        return Err(wrong(&format!("{target} does not serve the host {host}")));
    }
    let port = match authority.port_u16() {
        Some(port) if port != default_port => format!(":{port}"),
        _ => String::new(),
    };
    let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
    let slash = if rest.starts_with('/') { "" } else { "/" };
    Ok(format!("{scheme}://{host}{port}{slash}{rest}"))
}
