//! Answers of our own: refusals and failures, as a person reads them.
//!
//! Every such answer says its status, one sentence, and the request id that finds the log line. Nothing of the origin's
//! address, of the configuration or of the request is in it.

use breakwater_waf::block;
use breakwater_wire::http1::encode::{write_decimal, write_status_line};

use bytes::Bytes;
use http::header::HeaderName;

use crate::filter::{Filters, reason};
use crate::tls::Hsts;
use crate::worker::Worker;
use breakwater_wire::peer::{AnswerNote, FIELD};

/// An answer of ours to a routed request.
pub(crate) struct Page<'a> {
    pub(crate) status: u16,
    pub(crate) request_id: &'a str,
    /// What went wrong, when it is not for the block page to say.
    pub(crate) message: Option<&'a str>,
    /// Content type and body, in place of any page.
    pub(crate) content: Option<(&'static str, Bytes)>,
    pub(crate) wants_json: bool,
    /// Seconds, for `Retry-After`.
    pub(crate) retry_after: Option<u64>,
    /// What `Cache-Status` says, for a resource with a cache.
    pub(crate) cache_status: Option<&'static str>,
    /// Further fields.
    pub(crate) fields: &'a [(HeaderName, &'a str)],
    /// For an answer over TLS, where its host wants it.
    pub(crate) hsts: Option<&'a Hsts>,
    /// The answer to HEAD has no body.
    pub(crate) head_only: bool,
    pub(crate) close: bool,
    /// Those of the route.
    pub(crate) filters: Option<&'a Filters>,
}

impl Page<'_> {
    /// Writes head and body.
    pub(crate) fn write(&self, out: &mut Vec<u8>, worker: &Worker) {
        let from = out.len();
        let page = self
            .filters
            .and_then(|filters| filters.page(self.status, self.request_id));
        let (kind, body) = match (&self.content, page, self.message) {
            (Some((kind, body)), ..) => (kind.as_bytes(), body.clone()),
            (None, Some(page), _) => (page.content_type.as_bytes(), page.body),
            (None, None, Some(message)) => failure(self.status, message, self.request_id, self.wants_json),
            (None, None, None) => {
                let (kind, body) = block::page(self.status, self.request_id, self.wants_json);
                (kind.as_bytes(), body.into())
            }
        };
        start(out, worker, self.status, kind, body.len());
        out.extend_from_slice(b"Cache-Control: no-store\r\n");
        field(out, b"X-Request-Id: ", self.request_id.as_bytes());
        if let Some(seconds) = self.retry_after {
            out.extend_from_slice(b"Retry-After: ");
            write_decimal(out, seconds);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(detail) = self.cache_status {
            field(out, b"Cache-Status: breakwater; detail=", detail.as_bytes());
        }
        for (name, value) in self.fields {
            out.extend_from_slice(name.as_str().as_bytes());
            field(out, b": ", value.as_bytes());
        }
        if let Some(hsts) = self.hsts {
            out.extend_from_slice(hsts.line());
        }
        if self.close {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if let Some(filters) = self.filters.filter(|_| self.content.is_none()) {
            filters.edit_head(out, from);
        }
        if !self.head_only {
            out.extend_from_slice(&body);
        }
    }
}

/// Answers a request that the gate refused, or that never became one. The connection is closed after it.
pub(crate) fn plain(out: &mut Vec<u8>, worker: &Worker, status: u16, message: &str) {
    let body = format!("{status} {}: {message}\n", reason(status));
    start(out, worker, status, b"text/plain; charset=utf-8", body.len());
    out.extend_from_slice(b"Connection: close\r\n\r\n");
    out.extend_from_slice(body.as_bytes());
}

/// Tells another node that what it said was done.
pub(crate) fn thank_peer(out: &mut Vec<u8>, worker: &Worker) {
    let _ = write_status_line(out, 204, None);
    field(out, b"Date: ", &worker.clock.date());
    out.extend_from_slice(FIELD.as_str().as_bytes());
    field(out, b": ", AnswerNote::PASSED.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Refuses a request of another node, which then asks the origin. The connection is closed after it.
pub(crate) fn refuse_peer(out: &mut Vec<u8>, worker: &Worker, status: u16, message: &str) {
    let body = format!("{status} {}: {message}\n", reason(status));
    start(out, worker, status, b"text/plain; charset=utf-8", body.len());
    out.extend_from_slice(FIELD.as_str().as_bytes());
    field(out, b": ", AnswerNote::REFUSED.as_bytes());
    out.extend_from_slice(b"Connection: close\r\n\r\n");
    out.extend_from_slice(body.as_bytes());
}

fn start(out: &mut Vec<u8>, worker: &Worker, status: u16, kind: &[u8], length: usize) {
    // Only a status outside 100 to 999 can fail, and ours are literals.
    let _ = write_status_line(out, status, None);
    field(out, b"Date: ", &worker.clock.date());
    field(out, b"Content-Type: ", kind);
    out.extend_from_slice(b"Content-Length: ");
    write_decimal(out, length as u64);
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn failure(status: u16, message: &str, request_id: &str, wants_json: bool) -> (&'static [u8], Bytes) {
    let error = reason(status);
    if wants_json {
        let body = serde_json::json!({
            "status": status, "error": error, "message": message, "request_id": request_id
        });
        return (b"application/json", body.to_string().into());
    }
    let body = format!("{status} {error}: {message}\nrequest id: {request_id}\n");
    (b"text/plain; charset=utf-8", body.into())
}
