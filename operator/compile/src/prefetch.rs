//! Compiles what nodes fetch by themselves.
//!
//! A URL is written as a path, which stands for that path at every hostname without wildcard, or as a whole. Either way
//! the unit has whole URLs; where a path left the scheme open it stays open (`//host/path`), since how a host is served
//! is settled between objects, and read by the node.

use std::collections::BTreeSet;

use breakwater_crds as crds;
use breakwater_snapshot::unit::{CacheRule, Field, PathMatch, Prefetch, PrefetchList};
use http::Uri;
use regex::Regex;

use crate::claims::Claims;
use crate::findings::Findings;
use crate::route::{host_matches, path_matches};
use crate::{filter, value};

/// Most URLs of one object, each at each of its hostnames; sitemaps add to them at the nodes.
const MOST_URLS: usize = 10_000;

/// Longest URL, bytes: the sitemaps protocol's.
const LONGEST_URL: usize = 2048;

/// Fields that a prefetch has in its own way, beside those that frame a message: what makes a request one for less than
/// the whole response, or for nobody else.
const REFUSED: [&str; 10] = [
    "authorization",
    "cache-control",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "range",
];

/// Reads `spec.prefetch`. `claims` are the object's own; `rules` its cache rules.
pub(crate) fn read(
    spec: Option<&crds::Prefetch>,
    claims: &Claims,
    rules: &[CacheRule],
    findings: &mut Findings,
) -> Option<Prefetch> {
    let spec = spec?;
    if spec.urls.is_empty() && spec.sitemaps.is_empty() {
        findings.error("spec.prefetch", "there is nothing to fetch: give urls or sitemaps");
    }
    let served = Served::new(claims);
    let urls = urls("spec.prefetch.urls", &spec.urls, &served, rules, findings);
    let sitemaps = self::urls("spec.prefetch.sitemaps", &spec.sitemaps, &served, rules, findings);
    if urls.len() + sitemaps.len() > MOST_URLS {
        findings.error(
            "spec.prefetch.urls",
            format!(
                "{} URLs are too many, {MOST_URLS} at most: a path counts once for each of {} hostnames; list absolute URLs, or use a sitemap",
                urls.len() + sitemaps.len(),
                served.hosts.len()
            ),
        );
    }
    let rate = &spec.rate;
    for (name, number, most) in [
        ("requestsPerSecond", rate.requests_per_second, 1000),
        ("concurrency", rate.concurrency, 64),
    ] {
        if !(1..=most).contains(&number) {
            findings.error(
                format!("spec.prefetch.rate.{name}"),
                format!("`{number}` cannot stand here: write 1 to {most}"),
            );
        }
    }
    let schedule = spec.schedule.as_deref();
    Some(Prefetch {
        list: PrefetchList {
            urls,
            sitemaps,
            variants: variants(&spec.variants, findings),
        },
        schedule: schedule.and_then(|text| findings.take("spec.prefetch.schedule", text.parse())),
        requests_per_second: rate.requests_per_second,
        concurrency: rate.concurrency,
    })
}

/// Whether some variant says which device it is for.
pub(crate) fn names_a_device(prefetch: &Prefetch) -> bool {
    let mut fields = prefetch.list.variants.iter().flatten();
    fields.any(|field| matches!(field.name.as_str(), "user-agent" | "sec-ch-ua-mobile"))
}

/// What the object serves: every path at every host.
struct Served<'a> {
    hosts: BTreeSet<&'a str>,
    paths: Vec<(&'a PathMatch, Option<Regex>)>,
}

impl<'a> Served<'a> {
    fn new(claims: &'a Claims) -> Self {
        let paths: BTreeSet<&PathMatch> = claims.pairs.iter().map(|(claim, _)| &claim.path).collect();
        let regex = |path: &PathMatch| match path.kind {
            breakwater_snapshot::unit::PathKind::Regex => value::path_regex(&path.value).ok(),
            _ => None,
        };
        Self {
            hosts: claims.pairs.iter().map(|(claim, _)| claim.host.as_str()).collect(),
            paths: paths.into_iter().map(|path| (path, regex(path))).collect(),
        }
    }

    fn has_path(&self, path: &str) -> bool {
        // Nodes compare it decoded, which is not done here: they say when nothing serves it.
        path.contains('%')
            || self.paths.iter().any(|(claimed, regex)| match regex {
                Some(regex) => regex.is_match(path),
                None => path_matches(claimed, path),
            })
    }
}

/// Reads a list of URLs: each once, in order.
fn urls(
    field: &str,
    list: &[String],
    served: &Served<'_>,
    rules: &[CacheRule],
    findings: &mut Findings,
) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::with_capacity(list.len());
    for (i, text) in list.iter().enumerate() {
        let at = format!("{field}[{i}]");
        let Some(found) = findings.take(&at, url(text, served)) else {
            continue;
        };
        let rule = rules.iter().position(|rule| {
            let path =
                rule.paths.is_empty() || rule.paths.iter().any(|path| path_matches(path, path_of(&found.target)));
            path && rule.is_for("GET")
        });
        if let Some(rule) = rule.filter(|index| rules.get(*index).is_some_and(|rule| rule.bypass)) {
            findings.warning(
                &at,
                format!("`{text}` is never stored: spec.cache.rules[{rule}] goes past the cache"),
            );
        }
        for authority in found.authorities {
            let url = format!("{}//{authority}{}", found.scheme, found.target);
            if seen.insert(url.clone()) {
                out.push(url);
            }
        }
    }
    out
}

/// A URL as its author wrote it.
struct Found {
    /// With its colon, or empty.
    scheme: &'static str,
    authorities: Vec<String>,
    /// Path and query.
    target: String,
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

fn url(text: &str, served: &Served<'_>) -> Result<Found, String> {
    let wrong = |hint: &str| format!("`{text}` cannot be prefetched: {hint}");
    if text.len() > LONGEST_URL {
        return Err(format!(
            "a URL of {} bytes is too long: {LONGEST_URL} at most",
            text.len()
        ));
    }
    if text.contains('#') {
        return Err(wrong("leave out what follows #"));
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>'))
    {
        return Err(wrong("write spaces and other characters percent-encoded (%20)"));
    }
    let found = if text.starts_with('/') {
        if text.starts_with("//") {
            return Err(wrong(
                "a path begins with one /; before a host write http:// or https://",
            ));
        }
        let exact = served.hosts.iter().filter(|host| !host.contains('*'));
        let authorities: Vec<String> = exact.map(|host| (*host).to_owned()).collect();
        if authorities.is_empty() && !served.hosts.is_empty() {
            return Err(wrong(
                "every hostname of the object is a wildcard; write an absolute URL, such as https://shop.example.com/app.js",
            ));
        }
        Found {
            scheme: "",
            authorities,
            target: text.to_owned(),
        }
    } else {
        absolute(text, served).map_err(|hint| wrong(&hint))?
    };
    let path = path_of(&found.target);
    if path.split('/').any(|element| matches!(element, "." | "..")) {
        return Err(wrong("leave out the elements . and .."));
    }
    if !served.paths.is_empty() && !served.has_path(path) {
        return Err(wrong(&format!("spec.paths of the object have no match for {path}")));
    }
    Ok(found)
}

fn absolute(text: &str, served: &Served<'_>) -> Result<Found, String> {
    let form = "write a path such as /app.js, or an absolute URL such as https://shop.example.com/app.js";
    let uri: Uri = text.parse().map_err(|_| form)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(form.to_owned());
    };
    let (scheme, default_port) = match scheme {
        "http" => ("http:", 80),
        "https" => ("https:", 443),
        _ => return Err("the scheme is http or https".to_owned()),
    };
    if authority.as_str().contains('@') {
        return Err("leave out user and password".to_owned());
    }
    let host = authority.host().to_ascii_lowercase();
    if !served.hosts.is_empty() && !served.hosts.iter().any(|claimed| host_matches(claimed, &host)) {
        return Err(format!("the object does not serve the host {host}"));
    }
    let authority = match authority.port_u16() {
        Some(0) => return Err("port 0 cannot be asked".to_owned()),
        Some(port) if port != default_port => format!("{host}:{port}"),
        _ => host,
    };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(Found {
        scheme,
        authorities: vec![authority],
        target: format!("{slash}{target}"),
    })
}

fn variants(list: &[crds::PrefetchVariant], findings: &mut Findings) -> Vec<Vec<Field>> {
    if list.is_empty() {
        findings.error(
            "spec.prefetch.variants",
            "the list is empty: leave it out for what browsers ask for",
        );
    }
    let mut out: Vec<Vec<Field>> = Vec::with_capacity(list.len());
    for (i, variant) in list.iter().enumerate() {
        let mut fields = Vec::with_capacity(variant.headers.len());
        for (j, one) in variant.headers.iter().enumerate() {
            let at = format!("spec.prefetch.variants[{i}].headers[{j}]");
            let name = findings.take(format!("{at}.name"), field_name(one.name.as_str()));
            let value = filter::field_value(one.name.as_str(), &one.value);
            let value = findings.take(format!("{at}.value"), value);
            if let (Some(name), Some(value)) = (name, value) {
                fields.push(Field { name, value });
            }
        }
        if out.contains(&fields) {
            findings.warning(
                format!("spec.prefetch.variants[{i}]"),
                "the same variant is listed twice",
            );
        } else {
            out.push(fields);
        }
    }
    out
}

fn field_name(name: &str) -> Result<String, String> {
    let name = value::header(name)?;
    if filter::FRAMING.contains(&name.as_str()) || REFUSED.contains(&name.as_str()) {
        return Err(format!(
            "`{name}` cannot be given: a prefetch asks for the whole response, for every client; leave it out"
        ));
    }
    Ok(name)
}
