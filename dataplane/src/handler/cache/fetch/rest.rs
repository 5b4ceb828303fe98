//! Completing a response of which the beginning is stored (RFC 9111 section 3.4).
//!
//! Invariant: what is joined has the same strong entity tag, and begins where the stored part ends. Everything else that
//! comes back is of no use, but a whole response.

use std::sync::Arc;

use breakwater_cache::object::Object;
use breakwater_cache::policy::validate;
use breakwater_cache::vary::values_of;
use breakwater_wire::http1::{OwnedResponse, ResponseFraming};
use breakwater_wire::range::ContentRange;
use bytes::Bytes;
use http::header;
use http::{HeaderMap, HeaderValue};

use super::Fetch;

/// The stored beginning of what is fetched.
pub(super) fn begun(fetch: &Fetch) -> Option<Arc<Object>> {
    let values = values_of(&fetch.asked_with);
    fetch.worker.cache.beginning(fetch.target.key, &values)
}

/// Makes a request one for the rest, if it is the rest of the same.
pub(super) fn ask(fields: &mut HeaderMap, begun: &Object) {
    validate::rest(fields, begun, length(begun), None);
}

/// Makes of what came the head of the whole, and gives the content before it: nothing, if it is the whole itself. None if
/// it is of no use.
pub(super) fn join(begun: &Object, response: &mut OwnedResponse) -> Option<Vec<Bytes>> {
    if !matches!(response.status.as_u16(), 206 | 416) {
        return Some(Vec::new());
    }
    let parts = begun.parts.as_ref().filter(|parts| parts.is_exact())?;
    let range = response.headers.get(header::CONTENT_RANGE)?;
    let range = ContentRange::parse(range.as_bytes())?;
    let complete = range.last.checked_add(1)?;
    let tag = response.headers.get(header::ETAG)?;
    let same = begun.meta.strong_tag() == Some(tag.as_bytes());
    let follows = range.first == length(begun) && range.complete == Some(complete);
    let agrees = parts.complete().is_none_or(|known| known == complete);
    if !same || !follows || !agrees {
        return None;
    }
    response.status = http::StatusCode::OK;
    response.headers.remove(header::CONTENT_RANGE);
    response
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(complete));
    response.content_length = Some(complete);
    response.framing = ResponseFraming::Length(complete);
    Some(parts.beginning()?.chunks().to_vec())
}

/// Bytes at the beginning that are stored.
fn length(begun: &Object) -> u64 {
    let parts = begun.parts.as_ref();
    parts.and_then(|parts| parts.beginning()).map_or(0, |body| body.len())
}
