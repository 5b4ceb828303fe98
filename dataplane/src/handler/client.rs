//! The client's side of an exchange: its request body in, the response out.
//!
//! Handlers are generic over [`Client`] and know nothing of connections: what frames bodies, what a connection may do
//! next and how long a client may take is for its implementations. Every response head of an exchange passes
//! [`ResponseHead`], but those of stored responses and of our own pages, which are bytes already
//! ([`Client::send_whole`]).

mod http1;
mod http2;
mod patience;
mod sink;

use breakwater_cache::cache_status::NAME;
use breakwater_wire::cache_status::CacheStatus;
use breakwater_wire::http1::BodyError;
use breakwater_wire::http1::encode::{write_field, write_status_line};
use bytes::Bytes;
use http::{HeaderMap, header};

use crate::worker::Worker;
pub(crate) use http1::Http1;
pub(crate) use http2::{Channel, Http2, Link, Outgoing, Over, RequestBody, split_head};
pub(crate) use sink::Sink;

/// Why the client's side of an exchange ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The connection failed or was closed.
    #[error("the client went away")]
    Gone,
    /// It sent or took nothing for too long.
    #[error("the client was too slow")]
    Slow,
    /// The request body is malformed.
    #[error("{0}")]
    Body(#[from] BodyError),
}

/// A client during an exchange.
pub(crate) trait Client {
    /// Whether the request has a body that is not read yet.
    fn has_body(&self) -> bool;

    /// The status of the final response, once its head was sent.
    fn answered(&self) -> Option<u16>;

    /// The connection is not used again after this exchange. Nothing to a connection that carries other exchanges.
    fn close_after(&mut self);

    /// Whether the connection may be used again after this exchange.
    fn keeps_alive(&self) -> bool;

    /// The next piece of the request body, or none at its end.
    async fn next_body(&mut self) -> Result<Option<Bytes>, ClientError>;

    /// Gives back what [`Client::next_body`] gave: it comes again, before the rest.
    fn unread(&mut self, beginning: Bytes);

    /// The fields that came behind the request body, once that has ended.
    fn take_trailers(&mut self) -> Option<HeaderMap>;

    /// What is left of the request body, to be read while the response is sent, for as long as it takes: who waits is
    /// the origin. None where the protocol has one thing after the other.
    fn split_body(&mut self) -> Option<RequestBody>;

    /// Sends an interim response (1xx).
    async fn send_interim(&mut self, status: u16, headers: &HeaderMap) -> Result<(), ClientError>;

    /// Sends the head of the response; framing and connection fields are the client's.
    async fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), ClientError>;

    /// Sends a piece of the response body.
    async fn send_body(&mut self, piece: Bytes) -> Result<(), ClientError>;

    /// Ends the response, with these fields behind the body; they are dropped where the client has no place for them.
    async fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientError>;

    /// Sends a complete response: `start` is its head in HTTP/1 form and the beginning of its body, `rest` the rest of
    /// the body. `content` is what [`Client::sent`] says of it.
    async fn send_whole(&mut self, start: &[u8], rest: Vec<Bytes>, content: u64) -> Result<(), ClientError>;

    /// Begins what [`Self::send_whole`] sends at once: a head in HTTP/1 form, behind which `content` bytes follow by
    /// [`Self::send_body`].
    async fn begin_whole(&mut self, head: &[u8], content: u64) -> Result<(), ClientError>;

    /// Bytes of the response body sent, without framing.
    fn sent(&self) -> u64;
}

/// The head of a response on its way to a client.
#[derive(Debug)]
pub(crate) struct ResponseHead<'a> {
    pub(crate) status: u16,
    /// Without what concerns connections. `Content-Length` in here is passed over: see `length`.
    pub(crate) fields: HeaderMap,
    /// The size of the body, if it is known.
    pub(crate) length: Option<u64>,
    /// There is no body, whatever `length` says: HEAD, 204, 304.
    pub(crate) no_body: bool,
    pub(crate) cache_status: Option<CacheStatus<'a>>,
}

impl ResponseHead<'_> {
    /// Writes status line and fields; framing, what concerns the connection and the blank line are left to the caller.
    fn write(&self, out: &mut Vec<u8>, worker: &Worker) {
        encode_head(out, self.status, &self.fields);
        if !self.fields.contains_key(header::DATE) {
            // Who receives a response without one adds it (RFC 9110 section 6.6.1).
            let _ = write_field(out, "Date", &worker.clock.date());
        }
        if let Some(cache_status) = &self.cache_status {
            out.extend_from_slice(b"Cache-Status: ");
            cache_status.write(NAME, out);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// The status in a head that we put together.
fn status_of(head: &[u8]) -> Option<u16> {
    let digits = head.get(b"HTTP/1.1 ".len()..)?.first_chunk::<3>()?;
    digits.iter().try_fold(0, |status, digit| {
        digit.is_ascii_digit().then(|| status * 10 + u16::from(digit - b'0'))
    })
}

/// Field lines.
fn encode_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    for (name, value) in trailers {
        // A field that cannot be encoded cannot be in a `HeaderMap`.
        let _ = write_field(out, name.as_str(), value.as_bytes());
    }
}

/// Status line and fields, without what concerns the connection and without the blank line.
fn encode_head(out: &mut Vec<u8>, status: u16, headers: &HeaderMap) {
    // The status was parsed or is a literal of ours; a field that cannot be encoded cannot be in a `HeaderMap`.
    let _ = write_status_line(out, status, None);
    for (name, value) in headers {
        if name != header::CONTENT_LENGTH {
            let _ = write_field(out, name.as_str(), value.as_bytes());
        }
    }
}
