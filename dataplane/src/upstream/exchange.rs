//! A request that was begun, whatever the protocol.

use std::sync::Arc;
use std::time::Duration;

use breakwater_wire::http1::OwnedResponse;
use breakwater_wire::http1::encode::{LAST_CHUNK, write_chunk_header};
use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::OriginError;
use super::connection::{Connection, Http1Body};
use super::head::Body;
use super::http2::{self, Upload};
use super::lease::Lease;
use super::server::Server;
use crate::inspect::Held;
use crate::telemetry::ResourceCells;

/// A request whose head was sent.
pub(crate) enum Exchange {
    /// With how its body is framed.
    Http1(Box<Connection>, Body),
    Http2(Box<http2::Exchange>),
}

impl From<Connection> for Exchange {
    /// A request that has no body.
    fn from(connection: Connection) -> Self {
        Self::Http1(Box::new(connection), Body::None)
    }
}

impl Exchange {
    /// Waits until the server says something while the body is still to be sent.
    ///
    /// # Errors
    /// When the connection fails.
    pub(crate) async fn readable(&mut self) -> Result<(), OriginError> {
        match self {
            Self::Http1(connection, _) => connection.readable().await,
            Self::Http2(exchange) => {
                exchange.readable().await;
                Ok(())
            }
        }
    }

    /// Sends a piece of the body. False when the server takes no more of it and has answered, or closed.
    ///
    /// # Errors
    /// When the server takes nothing, and says nothing, for `patience`.
    pub(crate) async fn send(&mut self, piece: Bytes, patience: Duration) -> Result<bool, OriginError> {
        match self {
            Self::Http1(connection, Body::Unknown) => {
                let mut chunk = Vec::with_capacity(piece.len() + 24);
                write_chunk_header(&mut chunk, piece.len());
                chunk.extend_from_slice(&piece);
                chunk.extend_from_slice(b"\r\n");
                connection.write_unless_answered(&chunk, patience).await
            }
            Self::Http1(connection, _) => connection.write_unless_answered(&piece, patience).await,
            Self::Http2(exchange) => exchange.send(piece, patience).await,
        }
    }

    /// Ends the body, with fields behind it where the protocol always has room for them: over HTTP/1.1 they are dropped
    /// (RFC 9110 section 6.5.1), for nobody knows what a server makes of them. False when the server takes no more of
    /// the body and has answered, or closed.
    ///
    /// # Errors
    /// As [`Exchange::send`].
    pub(crate) async fn finish(
        &mut self,
        trailers: Option<HeaderMap>,
        patience: Duration,
    ) -> Result<bool, OriginError> {
        match self {
            Self::Http1(connection, Body::Unknown) => connection.write_unless_answered(LAST_CHUNK, patience).await,
            Self::Http1(..) => Ok(true),
            Self::Http2(exchange) => Ok(exchange.finish(trailers)),
        }
    }

    /// Reads the next response head, which may be an interim one.
    ///
    /// # Errors
    /// When none comes before `deadline`, or it is of no use.
    pub(crate) async fn read_head(&mut self, method: &str, deadline: Instant) -> Result<OwnedResponse, OriginError> {
        match self {
            Self::Http1(connection, _) => connection.read_head(method, deadline).await,
            Self::Http2(exchange) => exchange.read_head(method, deadline).await,
        }
    }

    pub(super) fn lease(&self) -> &Lease {
        match self {
            Self::Http1(connection, _) => connection.lease(),
            Self::Http2(exchange) => exchange.lease(),
        }
    }

    /// Whether a failure may be that of a connection that was idle for too long, and says nothing of the server.
    pub(super) fn may_be_stale(&self) -> bool {
        match self {
            Self::Http1(connection, _) => connection.may_be_stale(),
            Self::Http2(exchange) => exchange.may_be_stale(),
        }
    }
}

/// The body of a response.
pub(crate) struct ResponseBody {
    pub(super) from: Framed,
    /// Counts what comes.
    pub(super) cells: Arc<ResourceCells>,
    /// Its beginning, which was read and given back.
    pub(super) ahead: Option<Box<Ahead>>,
}

/// What was read of a body, and the room that it takes.
pub(super) struct Ahead {
    beginning: Bytes,
    _held: Held,
}

/// What a body is read from.
pub(super) enum Framed {
    Http1(Box<Http1Body>),
    Http2(Box<http2::Body>),
}

impl ResponseBody {
    /// The server that answers.
    pub(crate) fn server(&self) -> &Arc<Server> {
        match &self.from {
            Framed::Http1(body) => body.server(),
            Framed::Http2(body) => body.server(),
        }
    }

    /// The next piece of the body, or none at its end.
    ///
    /// # Errors
    /// When the server is too slow, fails, or frames the body wrongly. The body is then incomplete.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        if let Some(ahead) = self.ahead.take()
            && !ahead.beginning.is_empty()
        {
            return Ok(Some(ahead.beginning));
        }
        let piece = match &mut self.from {
            Framed::Http1(body) => body.next().await,
            Framed::Http2(body) => body.next().await,
        }?;
        let size = piece.as_ref().map_or(0, Bytes::len);
        self.cells.origin_bytes.add(size as u64);
        Ok(piece)
    }

    /// Gives back what [`ResponseBody::next`] gave: it comes again, before the rest.
    pub(crate) fn unread(&mut self, beginning: Bytes, held: Held) {
        self.ahead = Some(Box::new(Ahead { beginning, _held: held }));
    }

    /// What is left of the request, where the protocol has both ways at once and the request is not sent to its end.
    pub(crate) fn take_upload(&mut self) -> Option<Upload> {
        match &mut self.from {
            Framed::Http1(_) => None,
            Framed::Http2(body) => body.take_upload(),
        }
    }

    /// So many bytes of the request's body may follow.
    pub(crate) fn limit_upload(&mut self, left: u64) {
        if let Framed::Http2(body) = &mut self.from {
            body.limit_upload(left);
        }
    }

    /// The fields that came behind the body, once that has ended.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.from {
            Framed::Http1(body) => body.take_trailers(),
            Framed::Http2(body) => body.take_trailers(),
        }
    }
}
