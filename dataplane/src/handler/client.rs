//! The client's side of an exchange: its request body in, the response out.

use std::rc::Rc;
use std::time::Duration;

use breakwater_cache::cache_status::NAME;
use breakwater_wire::cache_status::CacheStatus;
use breakwater_wire::http1::encode::{LAST_CHUNK, write_chunk_header, write_field, write_status_line};
use breakwater_wire::http1::{BodyDecoder, BodyError, OwnedRequest, Version};
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::conn::Transport;
use crate::worker::Worker;

/// Longest wait for the client's next bytes, or for it to take ours.
const PATIENCE: Duration = Duration::from_secs(30);

/// Room made for each read of a request body, bytes.
const READ: usize = 16 * 1024;

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

/// How the body of a response to the client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There is none: HEAD, 204, 304.
    NoBody,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection: an HTTP/1.0 client, and no length.
    Close,
}

/// A client during an exchange.
pub(crate) struct Client<S> {
    worker: Rc<Worker>,
    stream: S,
    received: BytesMut,
    body: BodyDecoder,
    /// `100 Continue` is owed before the body is read.
    expects_continue: bool,
    version: Version,
    keep_alive: bool,
    ending: Ending,
    /// Bytes of the response body sent, without framing.
    pub(crate) sent: u64,
    head_sent: bool,
}

impl<S: Transport> Client<S> {
    /// A client whose request head was just read; `received` is what came behind it.
    pub(crate) fn new(worker: &Rc<Worker>, stream: S, received: &[u8], request: &OwnedRequest) -> Self {
        Self {
            worker: Rc::clone(worker),
            stream,
            received: received.into(),
            body: BodyDecoder::new(request.framing),
            expects_continue: request.expect_continue,
            version: request.version,
            keep_alive: request.keep_alive,
            ending: Ending::NoBody,
            sent: 0,
            head_sent: false,
        }
    }

    /// Whether the request has a body that is not read yet.
    pub(crate) fn has_body(&self) -> bool {
        !self.body.is_done()
    }

    /// Whether the head of the final response was sent.
    pub(crate) const fn answered(&self) -> bool {
        self.head_sent
    }

    /// The connection is not used again after this exchange.
    pub(crate) const fn close_after(&mut self) {
        self.keep_alive = false;
    }

    /// Whether the connection may be used again after this exchange.
    pub(crate) const fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// The next piece of the request body, or none at its end.
    pub(crate) async fn next_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        if std::mem::take(&mut self.expects_continue) && self.received.is_empty() {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        loop {
            if self.body.is_done() {
                return Ok(None);
            }
            if self.received.is_empty() {
                self.received.reserve(READ);
                let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
                if read.map_err(|_| ClientError::Slow)?.map_err(|_| ClientError::Gone)? == 0 {
                    self.body.at_eof()?;
                    return Ok(None);
                }
            }
            let decoded = self.body.decode(&self.received)?;
            let piece = self.received.split_to(decoded.consumed).freeze().slice(decoded.data);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Sends an interim response (1xx).
    pub(crate) async fn send_interim(&mut self, status: u16, headers: &HeaderMap) -> Result<(), ClientError> {
        if self.version == Version::Http10 {
            return Ok(());
        }
        let mut head = Vec::with_capacity(256);
        encode_head(&mut head, status, headers);
        head.extend_from_slice(b"\r\n");
        self.write(&head).await
    }

    /// Sends the head of the response. `length` is the size of the body, if it is known; `no_body` says that there is
    /// none whatever the fields say. Framing and connection fields are ours.
    pub(crate) async fn send_head(
        &mut self,
        status: u16,
        headers: &HeaderMap,
        length: Option<u64>,
        no_body: bool,
        cache_status: Option<&CacheStatus<'_>>,
    ) -> Result<(), ClientError> {
        let mut head = Vec::with_capacity(1024);
        encode_head(&mut head, status, headers);
        if !headers.contains_key(http::header::DATE) {
            // Who receives a response without one adds it (RFC 9110 section 6.6.1).
            let _ = write_field(&mut head, "Date", &self.worker.clock.date());
        }
        if let Some(cache_status) = cache_status {
            head.extend_from_slice(b"Cache-Status: ");
            cache_status.write(NAME, &mut head);
            head.extend_from_slice(b"\r\n");
        }
        self.ending = match length {
            _ if no_body => Ending::NoBody,
            Some(length) => Ending::Length(length),
            None if self.version == Version::Http10 => Ending::Close,
            None => Ending::Chunked,
        };
        match self.ending {
            Ending::Chunked => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Ending::Close => self.keep_alive = false,
            Ending::Length(_) | Ending::NoBody => {
                if let Some(length) = length {
                    head.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
                }
            }
        }
        // What is left of the request would be read as the next one.
        if self.has_body() || self.worker.draining.get() {
            self.keep_alive = false;
        }
        if !self.keep_alive {
            head.extend_from_slice(b"Connection: close\r\n");
        } else if self.version == Version::Http10 {
            head.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        head.extend_from_slice(b"\r\n");
        self.head_sent = true;
        self.write(&head).await
    }

    /// Sends the head of a 101 (RFC 9110 section 15.2.2), fields as they are.
    pub(crate) async fn send_switch(&mut self, headers: &HeaderMap) -> Result<(), ClientError> {
        let mut head = Vec::with_capacity(512);
        encode_head(&mut head, 101, headers);
        head.extend_from_slice(b"\r\n");
        self.head_sent = true;
        self.write(&head).await
    }

    /// Sends bytes that are a complete response of ours.
    pub(crate) async fn send_page(&mut self, page: &[u8]) -> Result<(), ClientError> {
        self.head_sent = true;
        self.write(page).await
    }

    /// Sends a piece of the response body.
    pub(crate) async fn send_body(&mut self, piece: Bytes) -> Result<(), ClientError> {
        if self.ending == Ending::NoBody || piece.is_empty() {
            return Ok(());
        }
        self.sent += piece.len() as u64;
        if self.ending != Ending::Chunked {
            return self.write(&piece).await;
        }
        let mut size = Vec::with_capacity(20);
        write_chunk_header(&mut size, piece.len());
        self.write_buf(Bytes::from(size).chain(piece).chain(&b"\r\n"[..])).await
    }

    /// Sends bytes behind [`Client::send_page`].
    pub(crate) async fn send_raw(&mut self, piece: Bytes) -> Result<(), ClientError> {
        self.write(&piece).await
    }

    /// Ends the response.
    pub(crate) async fn finish(&mut self) -> Result<(), ClientError> {
        match self.ending {
            Ending::Chunked => self.write(LAST_CHUNK).await,
            Ending::Length(length) if self.sent < length => {
                self.keep_alive = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the connection goes on with: the socket, bytes of the next request, and whether it may go on at all.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>, bool) {
        (
            self.stream,
            self.received.to_vec(),
            self.keep_alive && self.body.is_done(),
        )
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.write_buf(bytes).await
    }

    async fn write_buf(&mut self, mut bytes: impl Buf) -> Result<(), ClientError> {
        while bytes.has_remaining() {
            let written = timeout(PATIENCE, self.stream.write_buf(&mut bytes)).await;
            if written.map_err(|_| ClientError::Slow)?.map_err(|_| ClientError::Gone)? == 0 {
                return Err(ClientError::Gone);
            }
        }
        Ok(())
    }
}

/// Status line and fields, without what concerns the connection and without the blank line.
fn encode_head(out: &mut Vec<u8>, status: u16, headers: &HeaderMap) {
    // The status was parsed or is a literal of ours; a field that cannot be encoded cannot be in a `HeaderMap`.
    let _ = write_status_line(out, status, None);
    for (name, value) in headers {
        if name != http::header::CONTENT_LENGTH {
            let _ = write_field(out, name.as_str(), value.as_bytes());
        }
    }
}
