//! Where the handlers meet the filters of a route.

use breakwater_cache::cache_status::NAME;
use breakwater_wire::http1::Framing;
use http::header::{self, HeaderName};
use http::{HeaderValue, Method};

use super::client::{Client, ClientError, ResponseHead};
use super::{Answer, Job, Ours, Routed, https};
use crate::filter::{Asked, Filters};
use crate::worker::Worker;

/// The reason under which a request body that is too large is counted.
pub(super) const TOO_LARGE: &str = "request_body";
pub(super) const TOO_LARGE_MESSAGE: &str = "the request body is larger than this address takes";

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What the filters answer by themselves: a redirect, or a refusal of a body that is announced too large.
pub(super) fn answer(worker: &Worker, filters: &Filters, routed: &Routed<'_, '_>, out: &mut Vec<u8>) -> Option<Answer> {
    let head = routed.head;
    let redirect = filters.redirect(&Asked {
        scheme: if routed.secure || https::came_by_https(routed) {
            "https"
        } else {
            "http"
        },
        host: head.host.name(),
        port: head.host.port(),
        path: routed.path.as_str(),
        query: head.query,
        https_port: worker.https_port(),
    });
    if let Some((status, location)) = redirect {
        let ours = Ours {
            status,
            message: Some("what you asked for is elsewhere"),
            content: None,
            retry_after: None,
            detail: "redirected",
            fields: &[(header::LOCATION, &location)],
            waf: None,
        };
        return Some(ours.answer(worker, routed, out));
    }
    let most = filters.max_request_body?;
    if !matches!(head.framing, Framing::Length(length) if length > most) {
        return None;
    }
    worker.cells.refuse(TOO_LARGE);
    let ours = Ours {
        status: 413,
        message: Some(TOO_LARGE_MESSAGE),
        content: None,
        retry_after: None,
        detail: "failed",
        fields: &[],
        waf: None,
    };
    Some(ours.answer(worker, routed, out))
}

/// Sends the head of an origin's response as the filters leave it. False if a page of the route was sent in place of its
/// content, and with it everything.
pub(super) async fn send_head<'a, C: Client>(
    job: &'a Job,
    client: &mut C,
    mut head: ResponseHead<'a>,
) -> Result<bool, ClientError> {
    if let Some(status) = &mut head.cache_status {
        status.detail = status.detail.or_else(|| job.device());
    }
    let Some(filters) = job.filters() else {
        if job.asked_by.is_some() {
            name_status(job.resource().kind.asked_name(), &mut head);
        }
        client.send_head(head).await?;
        return Ok(true);
    };
    let page = filters.intercept(head.status, &job.request_id);
    if let Some(page) = &page {
        page.replace(&mut head.fields);
        head.length = Some(page.body.len() as u64);
        head.no_body = job.request.method == Method::HEAD;
    }
    if filters.edits_responses() {
        name_status(NAME, &mut head);
        filters.edit_response(&mut head.fields);
    }
    client.send_head(head).await?;
    let Some(page) = page else { return Ok(true) };
    client.send_body(page.body).await?;
    client.finish(None).await?;
    Ok(false)
}

/// Makes the `Cache-Status` of a response one of its fields, under this name.
fn name_status(name: &str, head: &mut ResponseHead<'_>) {
    if let Some(status) = head.cache_status.take() {
        let mut text = Vec::with_capacity(64);
        status.write(name, &mut text);
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            head.fields.append(CACHE_STATUS, value);
        }
    }
}
