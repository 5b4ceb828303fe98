//! The request as it goes to the origin.
//!
//! Invariant: it is written anew from parsed parts. Nothing that concerns the client's connection goes along, the
//! framing is ours, what an untrusted client claims about itself is replaced by what we know, and the authority is in
//! the form that cache keys compare: nobody is served what another spelling of the host made an origin say.

use std::net::IpAddr;

use breakwater_cache::key::QueryFilter;
use breakwater_wire::forwarded::{self, Hop};
use breakwater_wire::hop::strip_hop_by_hop;
use breakwater_wire::http1::Host;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};

use super::Job;
use crate::config::ResourceKind;
use crate::upstream::{Body, Head, OriginError};
use breakwater_wire::peer::{AnswerNote, FIELD};

/// Our name in `Via` (RFC 9110 section 7.6.3) and `CDN-Loop` (RFC 8586).
const NAME: &str = "breakwater";

/// A request that came through us this often is in a loop.
const MAX_LOOPS: usize = 8;

/// Says that `Surrogate-Control` is read here, in place of whatever a client says of itself.
const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");
const CAPABILITY: &str = "breakwater=\"Surrogate/1.0\"";

/// What browsers of old called `Range`, and some servers still read.
const REQUEST_RANGE: HeaderName = HeaderName::from_static("request-range");

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The fields for the origin.
///
/// # Errors
/// When the request goes round in circles.
pub(super) fn fields(job: &Job, peer: IpAddr) -> Result<HeaderMap, OriginError> {
    let request = &job.request;
    check_loop(job)?;
    let received = &request.headers;
    if forwarded::via_count(received, NAME).max(forwarded::cdn_loop_count(received, NAME)) >= MAX_LOOPS {
        return Err(OriginError::Loop);
    }
    let mut headers = end_to_end(job);
    if let Some(name) = job.resource().client.header().filter(|_| !job.trusted) {
        headers.remove(name);
    }
    // A request of HTTP/1.0 may have no authority; ours, of HTTP/1.1, then says so (RFC 9112 section 3.2).
    let host = Host::parse(&request.host).map_or_else(String::new, |host| host.canonical(default_port(job)));
    headers.insert(
        header::HOST,
        HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("")),
    );
    if matches!(request.method, Method::GET | Method::HEAD) {
        // The answer may be given to others, who asked for no other method.
        forwarded::strip_method_overrides(&mut headers, job.resource().kind.key_headers());
    }
    forwarded::set_forwarding(
        &mut headers,
        &Hop {
            peer,
            proto: job.scheme(),
            host: &host,
            trusted: job.trusted,
        },
    );
    forwarded::append_via(&mut headers, request.version, NAME);
    if let Ok(id) = HeaderValue::from_str(&job.request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    if matches!(job.resource().kind, ResourceKind::Cache(_)) {
        headers.insert(SURROGATE_CAPABILITY, HeaderValue::from_static(CAPABILITY));
    }
    if let Some(filters) = job.resource().filters() {
        filters.edit_request(&mut headers);
    }
    if job.resource().inspects_responses {
        // Rules do not undo codings, and no client may choose that they see nothing.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    // Last: no edit of a route takes it away (RFC 8586 section 2).
    mark(&mut headers, job);
    Ok(headers)
}

/// The client's fields without those of its connection, and of how its body comes.
pub(super) fn end_to_end(job: &Job) -> HeaderMap {
    let mut fields = job.request.headers.clone();
    strip_hop_by_hop(&mut fields);
    if job.resource().inspects_responses {
        // Rules see whole responses: in pieces of a client's choice they would miss what they look for. A server may
        // ignore `Range` (RFC 9110 section 14.2).
        for name in [header::RANGE, header::IF_RANGE, REQUEST_RANGE] {
            fields.remove(name);
        }
    }
    fields.remove(header::CONTENT_LENGTH);
    fields.remove(header::EXPECT);
    fields
}

/// Notes that a request has passed here (RFC 8586), for whoever it comes to, this process too.
pub(super) fn mark(headers: &mut HeaderMap, job: &Job) {
    forwarded::append_cdn_loop(headers, &format!("{NAME};id={}", mark_of(job)));
}

/// A request that went from here to an origin and came back is in a loop, and would wait for itself. One for another URL
/// is none yet: an origin may fetch what it needs through the edge it is behind.
///
/// # Errors
/// When this is one.
pub(super) fn check_loop(job: &Job) -> Result<(), OriginError> {
    let headers = &job.request.headers;
    let passed = forwarded::cdn_loop_count(headers, NAME) > 0;
    match passed && forwarded::cdn_loop_has(headers, NAME, &mark_of(job)) {
        true => Err(OriginError::Loop),
        false => Ok(()),
    }
}

/// Names this process, resource and URL to whoever passes the request on (RFC 8586 section 2.1), who learns nothing else
/// from it.
fn mark_of(job: &Job) -> String {
    let (request, resource) = (&job.request, job.resource());
    let all = QueryFilter::default();
    // Requests that wait for one another have one mark.
    let ignored = match &resource.kind {
        ResourceKind::Cache(site) => &site.policy.ignore_query,
        ResourceKind::WebSocket(_) => &all,
    };
    let host = Host::parse(&request.host).map_or_else(String::new, |host| host.canonical(default_port(job)));
    let key = resource
        .marker
        .start(0)
        .header(":resource", Some(resource.label.as_bytes()))
        .header(":method", Some(request.method.as_str().as_bytes()))
        .path(b"", host.as_bytes(), job.path.as_bytes())
        .query(request.query().map(str::as_bytes), ignored);
    format!("{:016x}", key.finish().0 as u64)
}

/// The port that goes without saying.
fn default_port(job: &Job) -> u16 {
    if job.scheme() == "https" { 443 } else { 80 }
}

/// The head for the origin; `target` is that of the [`Job`].
pub(super) fn head(target: &str, method: &str, fields: HeaderMap, body: Body) -> Head {
    Head {
        method: method.to_owned(),
        target: target.to_owned(),
        fields,
        body,
        trailers: false,
    }
}

/// Prepares an origin's fields for the client: without what concerns our connection to it.
pub(super) fn response_fields(headers: &mut HeaderMap, job: &Job) {
    strip_hop_by_hop(headers);
    if job.asked_by.is_some() {
        headers.insert(FIELD, HeaderValue::from_static(AnswerNote::PASSED));
    }
    if let Ok(id) = HeaderValue::from_str(&job.request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(hsts) = job.hsts() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.value().clone());
    }
}
