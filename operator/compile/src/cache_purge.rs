//! Compiles CachePurges.

use breakwater_crds as crds;
use breakwater_snapshot::unit::{CachePurge, PurgeMode, PurgePrefix, PurgeSelector};
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
    let given = [
        spec.urls.is_some(),
        spec.prefixes.is_some(),
        spec.tags.is_some(),
        spec.everything.is_some(),
    ];
    match given.iter().filter(|given| **given).count() {
        1 => {}
        0 => findings.error(
            "spec",
            "nothing says what to forget: give urls, prefixes, tags or everything: true",
        ),
        _ => findings.error(
            "spec",
            "urls, prefixes, tags and everything exclude each other: give one of them",
        ),
    }
    if spec.everything == Some(false) {
        findings.error(
            "spec.everything",
            "the only value is true: leave it out and give urls, prefixes or tags",
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
    } else if let Some(prefixes) = &spec.prefixes {
        if prefixes.is_empty() {
            findings.error("spec.prefixes", "the list is empty: name at least one path");
        }
        let mut prefixes: Vec<PurgePrefix> = prefixes
            .iter()
            .enumerate()
            .filter_map(|(i, text)| findings.take(format!("spec.prefixes[{i}]"), prefix(text, claims, &target(object))))
            .collect();
        prefixes.sort();
        prefixes.dedup();
        PurgeSelector::Prefixes(prefixes)
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
        mode: match spec.mode {
            crds::PurgeMode::Hard => PurgeMode::Hard,
            crds::PurgeMode::Soft => PurgeMode::Soft,
        },
    }
}

/// A path of a host the EdgeCache serves, or of all of them. Nodes bring it into its normal form.
fn prefix(text: &str, claims: Option<&Claims>, target: &ObjectId) -> Result<PurgePrefix, String> {
    let wrong = |hint: &str| format!("`{text}` cannot be purged: {hint}");
    if text.contains('?') {
        return Err(wrong("a prefix is a path: leave out the query, it reaches every one"));
    }
    if text.contains('*') {
        return Err(wrong("a prefix reaches all that is below it: leave out the *"));
    }
    let absolute = match (text.starts_with('/'), text.contains("://")) {
        // A host stands in for all of them; it is taken out again.
        (true, _) => format!("http://any.invalid{text}"),
        (false, true) => text.to_owned(),
        (false, false) => format!("http://{text}"),
    };
    let any_host = text.starts_with('/');
    let url = normal(&absolute, claims.filter(|_| !any_host), target, PREFIX).map_err(|hint| wrong(&hint))?;
    let authority_and_path = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let (authority, path) =
        authority_and_path.split_at(authority_and_path.find('/').unwrap_or(authority_and_path.len()));
    let path = path.trim_end_matches('/');
    Ok(PurgePrefix {
        host: (!any_host).then(|| without_port(authority).to_owned()),
        path: if path.is_empty() { "/" } else { path }.to_owned(),
    })
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

const ABSOLUTE: &str = "write an absolute URL such as http://shop.example.com/product/42";
const PREFIX: &str = "write a host and path such as shop.example.com/static, or a path such as /static";

/// An absolute URL of a host the EdgeCache serves.
fn url(text: &str, claims: Option<&Claims>, target: &ObjectId) -> Result<String, String> {
    normal(text, claims, target, ABSOLUTE).map_err(|hint| format!("`{text}` cannot be purged: {hint}"))
}

/// A URL in one spelling: scheme and host in lower case, no default port. Or what to do about it; `form` if it has
/// another form altogether.
fn normal(text: &str, claims: Option<&Claims>, target: &ObjectId, form: &str) -> Result<String, String> {
    if text.contains('#') {
        return Err("leave out what follows #".to_owned());
    }
    let uri: Uri = text.parse().map_err(|_| form)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(form.to_owned());
    };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err("the scheme is http or https".to_owned()),
    };
    if authority.as_str().contains('@') {
        return Err("leave out user and password".to_owned());
    }
    let host = authority.host().to_ascii_lowercase();
    if let Some(claims) = claims
        && !claims.pairs.iter().any(|(claim, _)| host_matches(&claim.host, &host))
    {
        return Err(format!("{target} does not serve the host {host}"));
    }
    let port = match authority.port_u16() {
        Some(port) if port != default_port => format!(":{port}"),
        _ => String::new(),
    };
    let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
    let slash = if rest.starts_with('/') { "" } else { "/" };
    Ok(format!("{scheme}://{host}{port}{slash}{rest}"))
}
