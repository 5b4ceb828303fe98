//! Where handlers meet rules: bodies and responses are held back until rules have judged them.
//!
//! Invariant: what rules refuse never reaches the other side; what they pass reaches it unchanged, what was held back
//! first. What no rule reads is not held back. Bounded: a policy says how much of a body is, and all bodies and what rules
//! know of their requests while these wait have a room together ([`Held`]), beyond which a request is refused with 503.

use std::rc::Rc;

use breakwater_wire::http1::{Framing, OwnedResponse, ResponseFraming, Version};
use bytes::Bytes;
use http::{HeaderMap, header};

use super::client::Client;
use super::{Failure, Job, Routed, host_name};
use crate::inspect::{About, Field, Held, Inspection, Refusal};
use crate::upstream::{OriginError, ResponseBody};
use crate::worker::Worker;

/// The reason under which refusals are counted that had no room for a body.
pub(super) const NO_ROOM: &str = "waf_memory";

/// Judges a request's head, and what needs no waiting. What is left to be judged, if anything is, or the refusal.
pub(super) fn head(worker: &Rc<Worker>, routed: &Routed<'_, '_>) -> Result<Option<Box<Inspection>>, Refusal> {
    let head = routed.head;
    let about = About {
        client: routed.client,
        method: head.method.to_owned(),
        host: head.host.name().to_ascii_lowercase(),
        path: routed.path.as_str().to_owned(),
        query: head.query.map(str::to_owned),
        request_id: routed.request_id.to_owned(),
    };
    // Over HTTP/2 the authority takes the place of Host.
    let host = head.host.as_str().as_bytes();
    let host = (head.version == Version::Http2 && !host.is_empty()).then_some((&b"host"[..], host));
    let fields = head.fields().map(|(name, value)| (name.as_bytes(), value));
    let fields: Vec<Field<'_>> = host.into_iter().chain(fields).collect();
    let line = (head.target, head.version);
    let (mut inspection, refusal) = Inspection::begin(worker, routed.config, routed.index, about, line, &fields);
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    let wanted = inspection.wants_request_body().is_some();
    let refusal = match head.framing {
        Framing::Length(length) if wanted && length > 0 => match inspection.request_body_of(length) {
            Some(refusal) => Some(refusal),
            None => return Ok(Some(Box::new(inspection))),
        },
        Framing::Chunked if wanted => return Ok(Some(Box::new(inspection))),
        _ => inspection.request_body(&[], false),
    };
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    inspection.body_judged();
    Ok(inspection.awaits_response().then(|| Box::new(inspection)))
}

/// Reads as much of a request's body as rules want to see, and has it judged. It is then read again from its beginning.
/// What it takes is given back with what is returned.
///
/// # Errors
/// When it is refused, or cannot be read.
pub(super) async fn request_body<C: Client>(
    worker: &Worker,
    job: &Job,
    client: &mut C,
) -> Result<Option<Held>, Failure> {
    let Some(mut inspection) = job.inspection.take() else {
        return Ok(None);
    };
    if !inspection.rest() {
        return Err(Failure::NoRoom);
    }
    if inspection.is_body_judged() {
        job.inspection.replace(Some(inspection));
        return Ok(None);
    }
    let most = inspection.wants_request_body().unwrap_or_default();
    let mut held = Held::new(&worker.metrics);
    let mut body = Vec::new();
    let goes_on = loop {
        if body.len() > most {
            break true;
        }
        let Some(piece) = client.next_body().await? else {
            break false;
        };
        if !held.take(piece.len()) {
            return Err(Failure::NoRoom);
        }
        body.extend_from_slice(&piece);
        if let Some(refusal) = inspection.request_body_of(body.len() as u64) {
            return Err(Failure::Refused(refusal));
        }
    };
    if let Some(refusal) = inspection.request_body(&body, goes_on) {
        return Err(Failure::Refused(refusal));
    }
    client.unread(body.into());
    inspection.body_judged();
    if inspection.awaits_response() {
        if !inspection.rest() {
            return Err(Failure::NoRoom);
        }
        job.inspection.replace(Some(inspection));
    }
    Ok(Some(held))
}

/// Judges the response to a request, where rules look at responses.
///
/// # Errors
/// When it is refused, or cannot be read.
pub(super) async fn response(
    worker: &Rc<Worker>,
    job: &Job,
    response: &OwnedResponse,
    body: ResponseBody,
) -> Result<ResponseBody, Failure> {
    if !job.resource().inspects_responses {
        return Ok(body);
    }
    let mut inspection = job.inspection.take().unwrap_or_else(|| {
        let about = About {
            client: job.client,
            method: job.request.method.as_str().to_owned(),
            host: host_name(&job.request.host).to_ascii_lowercase(),
            path: job.path.clone(),
            query: job.request.query().map(str::to_owned),
            request_id: job.request_id.clone(),
        };
        let line = (job.request.target.as_str(), job.request.version);
        let fields = lines(&job.request.headers);
        let of_response = Inspection::of_response(worker, &job.config, job.index, about, line, &fields);
        Box::new(of_response)
    });
    judge(worker, &mut inspection, response, body).await
}

/// Judges a response.
///
/// # Errors
/// When it is refused, or cannot be read.
pub(super) async fn judge(
    worker: &Worker,
    inspection: &mut Inspection,
    response: &OwnedResponse,
    mut body: ResponseBody,
) -> Result<ResponseBody, Failure> {
    let refused = |refusal| Err(Failure::Refused(refusal));
    if let Some(refusal) = inspection.response_head(response.status.as_u16(), &lines(&response.headers)) {
        return refused(refusal);
    }
    let readable = response.framing != ResponseFraming::None && !is_coded(&response.headers);
    let most = inspection.wants_response_body().filter(|_| readable);
    let Some(most) = most else {
        return inspection.response_body(&[], false).map_or(Ok(body), refused);
    };
    if !inspection.rest() {
        return Err(Failure::NoRoom);
    }
    let mut held = Held::new(&worker.metrics);
    let mut beginning = Vec::new();
    let goes_on = loop {
        if beginning.len() > most {
            break true;
        }
        let Some(piece) = body.next().await? else {
            break false;
        };
        if !held.take(piece.len()) {
            return Err(Failure::NoRoom);
        }
        beginning.extend_from_slice(&piece);
    };
    if let Some(refusal) = inspection.response_body(&beginning, goes_on) {
        return refused(refusal);
    }
    body.unread(Bytes::from(beginning), held);
    Ok(body)
}

pub(super) fn lines(fields: &HeaderMap) -> Vec<Field<'_>> {
    let fields = fields.iter();
    fields
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
        .collect()
}

/// Rules do not undo codings, and an origin is not asked for one ([`super::forward::fields`]).
fn is_coded(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(header::CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// What a fetch for everybody fails with.
pub(super) fn failure_of(failure: &Failure) -> Option<(u16, &'static str)> {
    match failure {
        Failure::Refused(refusal) => Some((refusal.status, "the answer was refused by the site's security policy")),
        Failure::NoRoom => Some((503, "there is more to do than can be done; try again in a moment")),
        Failure::Origin(_) | Failure::Client(_) | Failure::TooLarge => None,
    }
}

/// An origin's failure, as one.
pub(super) fn origin_error(failure: Failure) -> OriginError {
    match failure {
        Failure::Origin(error) => error,
        _ => OriginError::Unexpected("its answer could not be judged"),
    }
}
