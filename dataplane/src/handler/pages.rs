//! Answers of ours: pages in place of what a route would give, within the poll and behind it.

use breakwater_wire::http1::{Framing, RequestHead};
use breakwater_wire::peer as envelope;
use breakwater_wire::peer::AnswerNote;
use bytes::Bytes;
use http::header::{self, HeaderName};

use super::client::{Client, ClientError};
use super::{Answer, Job, Outcome, Routed};
use crate::inspect::Refusal;
use crate::request_id;
use crate::respond::{self, Page};
use crate::telemetry::access_log;
use crate::worker::Worker;

/// An answer of ours within the poll.
pub(super) struct Ours<'a> {
    pub(super) status: u16,
    /// None: the block page.
    pub(super) message: Option<&'a str>,
    /// Content type and body, in place of any page.
    pub(super) content: Option<(&'static str, Bytes)>,
    /// Seconds.
    pub(super) retry_after: Option<u64>,
    /// For `Cache-Status`.
    pub(super) detail: &'static str,
    pub(super) fields: &'a [(HeaderName, &'a str)],
    /// For the access log.
    pub(super) waf: Option<&'static str>,
}

impl Ours<'_> {
    /// Writes, counts and logs it.
    pub(super) fn answer(&self, worker: &Worker, routed: &Routed<'_, '_>, out: &mut Vec<u8>) -> Answer {
        let head = routed.head;
        // A body that nobody will read ends the connection.
        let close = !head.keep_alive || head.framing != Framing::None || worker.draining.get();
        let accept = head.field("accept").and_then(|value| std::str::from_utf8(value).ok());
        let before = out.len();
        Page {
            status: self.status,
            request_id: routed.request_id,
            message: self.message,
            content: self.content.clone(),
            wants_json: accept.is_some_and(breakwater_waf::block::wants_json),
            retry_after: self.retry_after,
            cache_status: routed.resource().kind.detail(self.detail),
            fields: self.fields,
            hsts: routed.hsts(),
            head_only: head.method == "HEAD",
            close,
            filters: routed.resource().filters(),
        }
        .write(out, worker);
        let local = routed.local();
        local.cells.requests.add(self.status);
        local.cells.durations.observe(routed.started.elapsed());
        if let Some(log) = &worker.metrics.access_log {
            log.write(access_log::line(&access_log::Entry {
                bytes: (out.len() - before) as u64,
                status: self.status,
                waf: self.waf,
                ..entry(worker, routed)
            }));
        }
        Answer::Written {
            block: None,
            body: Vec::new(),
            close,
        }
    }
}

/// The access line of a request that was answered within the poll.
pub(super) fn entry<'a>(worker: &Worker, routed: &Routed<'a, '_>) -> access_log::Entry<'a> {
    access_log::Entry {
        unix_ms: worker.clock.timestamp().as_millis(),
        request_id: routed.request_id,
        client: routed.client,
        country: worker.country(routed.client),
        version: routed.head.version,
        method: routed.head.method,
        host: routed.head.host.name(),
        uri: routed.head.target,
        status: 0,
        bytes: 0,
        duration: routed.started.elapsed(),
        resource: &routed.resource().label,
        cache: None,
        upstream: None,
        waf: None,
        aborted: false,
        error: None,
        websocket: None,
    }
}

/// Nothing serves this host and path; the connection may go on.
pub(super) fn unrouted_but_open(worker: &Worker, head: &RequestHead<'_>, out: &mut Vec<u8>) -> Answer {
    if !worker.is_configured() {
        // 404 would be the word of someone who knows, and may be stored by whoever asks.
        return unrouted(worker, out, 503, NOT_CONFIGURED);
    }
    if head.framing != Framing::None || !head.keep_alive || worker.draining.get() {
        return unrouted(worker, out, 404, NOT_SERVED);
    }
    unrouted_page(worker, head, out, (404, NOT_SERVED), &[], false)
}

pub(super) fn unrouted_page(
    worker: &Worker,
    head: &RequestHead<'_>,
    out: &mut Vec<u8>,
    (status, message): (u16, &str),
    fields: &[(HeaderName, &str)],
    close: bool,
) -> Answer {
    worker.cells.unrouted.add(status);
    let made = worker.ids.next();
    Page {
        status,
        request_id: request_id::text(&made),
        message: Some(message),
        content: None,
        wants_json: false,
        retry_after: None,
        cache_status: None,
        fields,
        hsts: None,
        head_only: head.method == "HEAD",
        close,
        filters: None,
    }
    .write(out, worker);
    Answer::Written {
        block: None,
        body: Vec::new(),
        close,
    }
}

const NOT_SERVED: &str = "nothing here serves this host and path";
const NOT_CONFIGURED: &str = "this node has no configuration yet";

pub(super) fn unrouted(worker: &Worker, out: &mut Vec<u8>, status: u16, message: &str) -> Answer {
    worker.cells.unrouted.add(status);
    respond::plain(out, worker, status, message);
    Answer::Written {
        block: None,
        body: Vec::new(),
        close: true,
    }
}

/// Sends an answer of ours in place of the origin's.
pub(super) async fn page<C: Client>(
    worker: &Worker,
    job: &Job,
    client: &mut C,
    status: u16,
    message: &str,
) -> Result<Outcome, ClientError> {
    page_for_all(worker, job, client, status, message, AnswerNote::ORIGIN_FAILED).await
}

/// Refuses a request that would need an origin, in an overload. Another node that asks may ask the origin itself.
pub(super) async fn overloaded<C: Client>(worker: &Worker, job: &Job, client: &mut C) -> Result<Outcome, ClientError> {
    let message = "there is more to do than can be done; try again in a moment";
    page_for_all(worker, job, client, 503, message, AnswerNote::REFUSED).await
}

/// `word` is for another node, if it is one that asks.
async fn page_for_all<C: Client>(
    worker: &Worker,
    job: &Job,
    client: &mut C,
    status: u16,
    message: &str,
    word: &'static str,
) -> Result<Outcome, ClientError> {
    let fields = [(envelope::FIELD, word)];
    let fields = if job.asked_by.is_some() { &fields[..] } else { &[] };
    page_with(worker, job, client, status, message, fields).await
}

/// Sends the block page.
pub(super) async fn refused_page<C: Client>(
    worker: &Worker,
    job: &Job,
    client: &mut C,
    refusal: &Refusal,
) -> Result<Outcome, ClientError> {
    let location = refusal.location.as_deref().map(|location| (header::LOCATION, location));
    any_page(worker, job, client, refusal.status, None, location.as_slice()).await
}

/// Sends an answer of ours with fields of its own.
pub(super) async fn page_with<C: Client>(
    worker: &Worker,
    job: &Job,
    client: &mut C,
    status: u16,
    message: &str,
    fields: &[(HeaderName, &'static str)],
) -> Result<Outcome, ClientError> {
    any_page(worker, job, client, status, Some(message), fields).await
}

async fn any_page<C: Client>(
    worker: &Worker,
    job: &Job,
    client: &mut C,
    status: u16,
    message: Option<&str>,
    fields: &[(HeaderName, &str)],
) -> Result<Outcome, ClientError> {
    if client.has_body() || !job.request.keep_alive || worker.draining.get() {
        client.close_after();
    }
    let accept = job
        .request
        .headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let mut text = Vec::with_capacity(512);
    Page {
        status,
        request_id: &job.request_id,
        message,
        content: None,
        wants_json: accept.is_some_and(breakwater_waf::block::wants_json),
        retry_after: (status == 503).then_some(1),
        cache_status: job.resource().kind.detail("failed"),
        fields,
        hsts: job.hsts(),
        head_only: job.request.method == http::Method::HEAD,
        close: !client.keeps_alive(),
        filters: job.filters(),
    }
    .write(&mut text, worker);
    client.send_whole(&text, Vec::new(), 0).await?;
    Ok(Outcome { status, cache: None })
}
