//! One connection to a server: bytes out, a head and a body in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use breakwater_wire::http1::{BodyDecoder, Limits, OwnedResponse, Parsed, ResponseFraming, Trailers, parse_response};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::TRANSFER_ENCODING;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use super::interims::Interims;
use super::lease::Lease;
use super::pool::Wire;
use super::server::Server;
use super::stream::{Sent, Stream};
use super::tls::TlsFault;
use super::{Head, OriginError};

/// Room made for each read of a body, bytes.
const READ: usize = 32 * 1024;

/// A response head may be this large, bytes; fields beyond are refused by the parser.
const HEAD_LIMITS: Limits = Limits {
    request_line: 8 * 1024,
    head: 64 * 1024,
    fields: 128,
};

/// The transfer codings there are (RFC 9112 section 7), but `chunked`.
const CODINGS: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];

/// A connection with a request in progress.
pub(crate) struct Connection {
    wire: Wire,
    buffer: BytesMut,
    lease: Lease,
    /// It served a request before this one.
    reused: bool,
    answered: bool,
    interims: Interims,
}

impl Connection {
    pub(super) fn new(wire: Wire, lease: Lease, reused: bool) -> Self {
        Self {
            wire,
            buffer: BytesMut::new(),
            lease,
            reused,
            answered: false,
            interims: Interims::default(),
        }
    }

    /// The server, for logs.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.lease.server
    }

    pub(super) const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether a failure may be that of a connection that was idle for too long, and says nothing of the server.
    pub(super) const fn may_be_stale(&self) -> bool {
        self.reused && !self.answered
    }

    /// Tells how the request went, and passes it on.
    fn judge<T>(&self, result: Result<T, OriginError>) -> Result<T, OriginError> {
        if let Err(error) = &result
            && !self.may_be_stale()
        {
            self.lease.failed();
            self.lease.upstream.origin().tell(&self.lease.server, error);
        }
        result
    }

    /// Sends the head of a request.
    ///
    /// # Errors
    /// As [`Connection::write`].
    pub(crate) async fn write_head(&mut self, head: &Head, patience: Duration) -> Result<(), OriginError> {
        let bytes = head.encode()?;
        self.write(&bytes, patience).await
    }

    /// Sends bytes of a request.
    ///
    /// # Errors
    /// When the connection fails, or the server takes them not within `patience`.
    pub(crate) async fn write(&mut self, bytes: &[u8], patience: Duration) -> Result<(), OriginError> {
        let stream = &mut self.wire.stream;
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        let written = match timeout(patience, written).await {
            Err(_) => Err(OriginError::ResponseTimeout),
            Ok(written) => written.map_err(OriginError::Io),
        };
        self.judge(written)
    }

    /// Sends bytes of a request body. False when the server takes no more of it and has answered, or closed.
    ///
    /// # Errors
    /// When the server takes nothing, and says nothing, for `patience`.
    pub(crate) async fn write_unless_answered(
        &mut self,
        mut bytes: &[u8],
        patience: Duration,
    ) -> Result<bool, OriginError> {
        loop {
            let done = bytes.is_empty();
            let sent = timeout(patience, self.wire.stream.send(bytes, &mut self.buffer)).await;
            match sent
                .map_err(|_| OriginError::ResponseTimeout)?
                .map_err(OriginError::Io)?
            {
                Sent::Answered => return Ok(false),
                Sent::Bytes(_) if done => return Ok(true),
                Sent::Bytes(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            }
        }
    }

    /// Waits until there is something to read, or the server closed.
    pub(crate) async fn readable(&mut self) -> Result<(), OriginError> {
        self.wire
            .stream
            .readable(&mut self.buffer)
            .await
            .map_err(OriginError::Io)
    }

    /// Reads the next response head, which may be an interim one.
    pub(crate) async fn read_head(&mut self, method: &str, deadline: Instant) -> Result<OwnedResponse, OriginError> {
        let head = self.next_head(method, deadline).await;
        let head = head.and_then(|head| self.interims.pass(head));
        if let Ok(head) = &head
            && (head.status.as_u16() >= 200 || head.upgrade)
        {
            self.lease.answered(head.status.as_u16());
        }
        self.judge(head)
    }

    async fn next_head(&mut self, method: &str, deadline: Instant) -> Result<OwnedResponse, OriginError> {
        loop {
            if !self.buffer.is_empty() {
                self.answered = true;
                if let Parsed::Complete(head) = parse_response(&self.buffer, method, &HEAD_LIMITS)? {
                    let len = head.len;
                    let owned = head
                        .to_owned()
                        .map_err(|_| OriginError::Unexpected("a field is malformed"))?;
                    if owned.framing == ResponseFraming::UntilClose && is_coded(&owned) {
                        return Err(OriginError::Unexpected("its transfer coding was not asked for"));
                    }
                    drop(self.buffer.split_to(len));
                    return Ok(owned);
                }
            }
            self.buffer.reserve(READ / 4);
            match timeout_at(deadline, self.wire.stream.read_buf(&mut self.buffer)).await {
                Err(_) => return Err(OriginError::ResponseTimeout),
                Ok(Ok(0)) if self.answered => return Err(OriginError::Unexpected("it ends within the head")),
                Ok(Ok(0)) => return Err(OriginError::Closed),
                Ok(Err(error)) if self.answered => return Err(OriginError::Io(error)),
                Ok(Err(error)) => {
                    return Err(TlsFault::refusal(&error).map_or(OriginError::Closed, OriginError::TlsRefused));
                }
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Gives up the connection to whoever goes on with its bytes: the socket, what was read beyond the last head, and
    /// what counts it as open for as long as it is kept.
    pub(crate) fn into_parts(self) -> (Stream, Bytes, Hold) {
        let hold = Hold {
            _lease: self.lease,
            _place: self.wire.place,
        };
        (self.wire.stream, self.buffer.freeze(), hold)
    }
}

/// Whether the content is in a transfer coding that exists and we do not take: we ask for `chunked` only, and what is
/// coded would go on as if it were content. A coding that nobody knows codes nothing (RFC 9112 section 6.3: read until
/// the connection closes).
fn is_coded(response: &OwnedResponse) -> bool {
    let values = response.headers.get_all(TRANSFER_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|b| matches!(b, b',' | b';' | b' ' | b'\t')));
    codings.any(|coding| CODINGS.iter().any(|known| coding.eq_ignore_ascii_case(known)))
}

/// A connection's place with its server, after it became something else than HTTP.
pub(crate) struct Hold {
    _lease: Lease,
    _place: Option<OwnedSemaphorePermit>,
}

/// The body of a response.
pub(crate) struct Http1Body {
    server: Arc<Server>,
    connection: Option<Connection>,
    decoder: BodyDecoder,
    trailers: Trailers,
    reusable: bool,
    patience: Duration,
}

impl Http1Body {
    pub(super) fn new(connection: Connection, framing: ResponseFraming, reusable: bool, patience: Duration) -> Self {
        let mut body = Self {
            server: Arc::clone(&connection.lease.server),
            connection: Some(connection),
            decoder: BodyDecoder::new(framing),
            trailers: Trailers::default(),
            reusable,
            patience,
        };
        if body.decoder.is_done() {
            body.finish();
        }
        body
    }

    /// The server that answers.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The next piece of the body, or none at its end. Cancel safe.
    ///
    /// # Errors
    /// When the server is too slow, fails, or frames the body wrongly. The body is then incomplete.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        loop {
            let Some(connection) = &mut self.connection else {
                return Ok(None);
            };
            if !connection.buffer.is_empty() {
                let decoded = self.decoder.decode(&connection.buffer)?;
                self.trailers
                    .push(connection.buffer.get(decoded.trailers).unwrap_or_default());
                let piece = connection
                    .buffer
                    .split_to(decoded.consumed)
                    .freeze()
                    .slice(decoded.data);
                if decoded.done {
                    self.finish();
                }
                if !piece.is_empty() {
                    return Ok(Some(piece));
                }
                continue;
            }
            connection.buffer.reserve(READ);
            match timeout(self.patience, connection.wire.stream.read_buf(&mut connection.buffer)).await {
                Err(_) => return Err(OriginError::ResponseTimeout),
                Ok(Ok(0)) => {
                    self.connection = None;
                    self.decoder.at_eof()?;
                    return Ok(None);
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(OriginError::Io(error)),
            }
        }
    }

    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        std::mem::take(&mut self.trailers).into_fields()
    }

    /// The body is read to its end: the connection may serve again, unless the server sent more than it announced.
    fn finish(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.reusable
            && connection.buffer.is_empty()
        {
            connection.lease.give_back(connection.wire);
        }
    }
}
