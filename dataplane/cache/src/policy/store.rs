//! Whether a response may be stored, and what it is stored with (RFC 9111 sections 3 and 4.2.1).
//!
//! Freshness comes from, in this order: a rule of the site, `CDN-Cache-Control` (RFC 9213) or else `Surrogate-Control`
//! (each also replaces `Expires`), `s-maxage`, `max-age`, `Expires` less `Date`, a tenth of the time since `Last-Modified`. A rule
//! replaces lifetimes and `no-cache`; `private`, `no-store`, `Vary: *` and unguarded `Set-Cookie` still hold.

use breakwater_wire::cache_control::{CacheControl, Scope};
use breakwater_wire::range::ContentRange;
use breakwater_wire::{age, cdn_cache_control, http_date, structured, surrogate_control};
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::request::{MethodClass, RequestMeta};
use super::site::{Rule, SitePolicy};
use super::statuses::{self, Known};
use crate::cache_status;
use crate::key::tags::MAX_PREFIX_TAGS;
use crate::key::{Key, Keyer};
use crate::object::{Freshness, LastModified, Metadata};
use crate::time::Timestamp;
use crate::vary;

/// Tags that a response may list; with more it is not stored, because a purge could miss it.
pub const MAX_LISTED_TAGS: usize = 128;

/// Tags of one response in all: those it lists, its URL, and the paths above it.
pub const MAX_TAGS: usize = MAX_LISTED_TAGS + 1 + MAX_PREFIX_TAGS;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// The longest heuristic lifetime: one day.
const MAX_HEURISTIC_MS: u64 = 24 * 3600 * 1000;

/// A response to decide on, and what it answers.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The request it answers.
    pub request: &'a RequestMeta,
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: &'a HeaderMap,
    /// When the origin was asked.
    pub asked: Timestamp,
    /// When its head was received.
    pub received: Timestamp,
    /// The site's choices.
    pub policy: &'a SitePolicy,
    /// The rules whose paths match the request, in order.
    pub rules: &'a [&'a Rule],
    /// Hashes its tags.
    pub keyer: &'a Keyer,
    /// The site.
    pub site: u64,
    /// The key without header and cookie values: the response's tag for purges by URL.
    pub url: Key,
    /// Its tags for purges by prefix ([`Keyer::prefix_tags`]).
    pub prefixes: &'a [u64],
    /// Scheme, host and port: groups are of one origin.
    pub origin: Key,
}

/// What becomes of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is stored.
    Store(Box<Storable>),
    /// It is passed on.
    Pass(Reason),
}

/// What a response is stored with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storable {
    /// Freshness, validators, `Vary`, tags.
    pub metadata: Metadata,
    /// Fields that must not be kept: named by a qualified `no-cache` or `private`.
    pub omit: Vec<HeaderName>,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request is no GET, or has content; or it is a POST and the response does not say explicitly how long it is
    /// fresh.
    Method,
    /// The request says `no-store`.
    RequestNoStore,
    /// A rule says so.
    Rule,
    /// Not a status that is stored: 1xx, 304, a 206 that was not asked for or does not say which part it is, one of
    /// [`statuses`] that are never stored, or one that `must-understand` excludes.
    Status,
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// The request has `Authorization` and the response does not allow sharing.
    Authorization,
    /// `Vary` has `*`, or more than can be honoured.
    Vary,
    /// `Set-Cookie` without an explicit lifetime.
    SetCookie,
    /// Nothing says how long it is fresh, and there is nothing to validate it with.
    NoLifetime,
    /// More tags than can be kept.
    Tags,
}

impl Reason {
    /// A word for `Cache-Status` and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::RequestNoStore => "request-no-store",
            Self::Rule => "rule",
            Self::Status => "status",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Vary => "vary",
            Self::SetCookie => "set-cookie",
            Self::NoLifetime => "no-lifetime",
            Self::Tags => "tags",
        }
    }
}

/// Decides on a response.
pub fn decide(response: &Candidate<'_>) -> Decision {
    match storable(response) {
        Ok(storable) => Decision::Store(Box::new(storable)),
        Err(reason) => Decision::Pass(reason),
    }
}

fn storable(response: &Candidate<'_>) -> Result<Storable, Reason> {
    let Candidate {
        request,
        status,
        fields,
        ..
    } = *response;
    let posted = request.method == MethodClass::Post;
    if !posted && (request.method != MethodClass::Get || request.content) {
        return Err(Reason::Method);
    }
    if request.directives.no_store {
        return Err(Reason::RequestNoStore);
    }
    let partial = status == 206 && request.range && !posted && is_one_part(fields);
    if !(200..600).contains(&status) || status == 304 || status == 206 && !partial {
        return Err(Reason::Status);
    }
    let rule = response.rules.iter().find(|rule| rule.applies_to(status));
    if rule.is_some_and(|rule| rule.bypass) {
        return Err(Reason::Rule);
    }
    let targeted = cdn_cache_control::parse(lines(fields, &CDN_CACHE_CONTROL))
        .or_else(|| surrogate_control::parse(lines(fields, &SURROGATE_CONTROL), cache_status::NAME));
    let is_targeted = targeted.is_some();
    let directives = targeted.unwrap_or_else(|| CacheControl::parse(lines(fields, &header::CACHE_CONTROL)));
    let known = statuses::of(status);
    if known == Known::Never && !(names_status(rule, status) && rule.is_some_and(|rule| rule.ttl_ms.is_some())) {
        return Err(Reason::Status);
    }
    if directives.must_understand && known == Known::No {
        return Err(Reason::Status);
    }
    if directives.no_store && !directives.must_understand {
        return Err(Reason::NoStore);
    }
    if directives.private == Some(Scope::Whole) {
        return Err(Reason::Private);
    }
    let shared = directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    if request.authorization && !shared {
        return Err(Reason::Authorization);
    }
    let vary = vary::Rule::from_response(fields).map_err(|_| Reason::Vary)?;

    let received = response.received;
    let now = received.as_secs();
    let date = date_of(fields, &header::DATE, now).unwrap_or(received);
    let last_modified = fields.get(header::LAST_MODIFIED).and_then(|value| {
        let at = Timestamp::from_secs(http_date::parse(value.as_bytes(), now)?);
        Some(LastModified {
            text: Bytes::copy_from_slice(value.as_bytes()),
            at,
        })
    });
    let etag = fields
        .get(header::ETAG)
        .map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let initial_age = initial_age(fields, date, response.asked, received);

    let explicit = explicit_lifetime(&directives, is_targeted, fields, date, now);
    // That it names the request's own target is for the caller to see, who knows it.
    if posted && (explicit.is_none() || status != 200 || !fields.contains_key(header::CONTENT_LOCATION)) {
        return Err(Reason::Method);
    }
    // An origin that says for how long others may have it knows what it does; that they may not have it as it is, is no
    // such word.
    let reusable = explicit.is_some_and(|lifetime| lifetime > 0) && directives.no_cache != Some(Scope::Whole);
    if !reusable && fields.contains_key(header::SET_COOKIE) {
        return Err(Reason::SetCookie);
    }
    let may_guess = known == Known::Heuristic || directives.public;
    let ttl = rule
        .and_then(|rule| rule.ttl_ms)
        .filter(|_| explicit.is_some() || may_guess || names_status(rule, status));
    let lifetime = match (ttl, explicit, &last_modified) {
        // Counted from now, whatever age it came with.
        (Some(ttl), _, _) => initial_age.saturating_add(ttl),
        (None, Some(explicit), _) => explicit,
        (None, None, Some(modified)) if may_guess => (date.millis_since(modified.at) / 10).min(MAX_HEURISTIC_MS),
        // Of use with a validation each time.
        (None, None, _) if may_guess && (etag.is_some() || last_modified.is_some()) => 0,
        _ => return Err(Reason::NoLifetime),
    };

    let ms = |seconds: u64| seconds.saturating_mul(1000);
    let must_revalidate = directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some();
    let policy = response.policy;
    let freshness = Freshness {
        asked: response.asked,
        received,
        initial_age,
        lifetime,
        no_cache: directives.no_cache == Some(Scope::Whole) && ttl.is_none(),
        must_revalidate,
        while_revalidate: rule
            .and_then(|rule| rule.stale_while_revalidate_ms)
            .or_else(|| directives.stale_while_revalidate.map(ms))
            .or(policy.stale_while_revalidate_ms)
            .unwrap_or(0),
        if_error: rule
            .and_then(|rule| rule.stale_if_error_ms)
            .or_else(|| directives.stale_if_error.map(ms))
            .or(policy.stale_if_error_ms),
    };
    let omit = [directives.no_cache, directives.private]
        .into_iter()
        .filter_map(|scope| match scope {
            Some(Scope::Fields(names)) => Some(names),
            _ => None,
        })
        .flatten()
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect();
    let tags = tags(response)?;
    Ok(Storable {
        metadata: Metadata {
            freshness,
            date,
            etag,
            last_modified,
            vary,
            tags,
        },
        omit,
    })
}

/// Whether the rule was made for this very status.
fn names_status(rule: Option<&&Rule>, status: u16) -> bool {
    rule.is_some_and(|rule| rule.statuses.contains(&status))
}

/// What the response itself says, in milliseconds; senseless values are zero, which is also explicit.
fn explicit_lifetime(
    directives: &CacheControl,
    is_targeted: bool,
    fields: &HeaderMap,
    date: Timestamp,
    now: u64,
) -> Option<u64> {
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return Some(seconds.saturating_mul(1000));
    }
    if is_targeted {
        return None;
    }
    let mut lines = lines(fields, &header::EXPIRES);
    let first = lines.next()?;
    let expires = http_date::parse(first, now).filter(|_| lines.next().is_none());
    Some(expires.map_or(0, |seconds| Timestamp::from_secs(seconds).millis_since(date)))
}

/// `corrected_initial_age` (RFC 9111 section 4.2.3).
fn initial_age(fields: &HeaderMap, date: Timestamp, asked: Timestamp, received: Timestamp) -> u64 {
    // Dates have whole seconds; part of one is not age.
    let apparent = received.as_secs().saturating_sub(date.as_secs()).saturating_mul(1000);
    let said = age::parse(lines(fields, &header::AGE))
        .unwrap_or(0)
        .saturating_mul(1000);
    apparent.max(said.saturating_add(received.millis_since(asked)))
}

/// Hashes of the response's URL, of the paths above it, and of the tags it lists.
fn tags(response: &Candidate<'_>) -> Result<Box<[u64]>, Reason> {
    let mut hashes = Vec::with_capacity(1 + response.prefixes.len());
    hashes.push(response.keyer.url_tag(response.url));
    hashes.extend(response.prefixes.iter().take(MAX_PREFIX_TAGS));
    let most = hashes.len() + MAX_LISTED_TAGS;
    // A field that cannot be read puts it in no group.
    let groups = structured::parse_strings(lines(response.fields, &CACHE_GROUPS)).unwrap_or_default();
    hashes.extend(
        groups
            .iter()
            .map(|group| response.keyer.group_tag(response.origin, group.as_bytes())),
    );
    if hashes.len() > most {
        return Err(Reason::Tags);
    }
    if let Some(name) = &response.policy.tag_header {
        let separators = |b: &u8| matches!(b, b' ' | b'\t' | b',');
        let words = lines(response.fields, name).flat_map(|line| line.split(separators));
        for tag in words.filter(|tag| !tag.is_empty()) {
            let hash = response.keyer.tag(response.site, tag);
            if !hashes.contains(&hash) {
                hashes.push(hash);
            }
            if hashes.len() > most {
                return Err(Reason::Tags);
            }
        }
    }
    Ok(hashes.into())
}

/// Whether it says which part of the whole it is. One that does not, or has several, can be put in no place.
fn is_one_part(fields: &HeaderMap) -> bool {
    ContentRange::parse_only(lines(fields, &header::CONTENT_RANGE)).is_some()
}

fn date_of(fields: &HeaderMap, name: &HeaderName, now: u64) -> Option<Timestamp> {
    let value = fields.get(name)?;
    http_date::parse(value.as_bytes(), now).map(Timestamp::from_secs)
}

fn lines<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    fields.get_all(name).into_iter().map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests;
