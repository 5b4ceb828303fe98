//! One request on an HTTP/2 connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use breakwater_wire::http1::{OwnedResponse, ResponseFraming, Version};
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri};
use tokio::time::{Instant, timeout, timeout_at};

use super::Share;
use crate::upstream::OriginError;
use crate::upstream::head::{Body as Framing, Head};
use crate::upstream::interims::Interims;
use crate::upstream::lease::Lease;
use crate::upstream::server::Server;

/// Fields of a response beyond this are refused, as in HTTP/1.1.
const FIELDS: usize = 128;

/// A request that was begun.
pub(crate) struct Exchange {
    share: Share,
    lease: Lease,
    /// The connection served requests before this one.
    reused: bool,
    body: SendStream<Bytes>,
    response: ResponseFuture,
    /// The response, when it came while the body was sent.
    early: Option<Result<Response<RecvStream>, h2::Error>>,
    received: Option<RecvStream>,
    answered: bool,
    interims: Interims,
    /// The request is sent to its end.
    complete: bool,
    /// What the server had no room for when its response came.
    unsent: Bytes,
}

impl Exchange {
    /// Sends a request's head.
    ///
    /// # Errors
    /// When the connection takes no request.
    pub(in crate::upstream) async fn begin(
        share: Share,
        lease: Lease,
        reused: bool,
        head: &Head,
        secure: bool,
    ) -> Result<Self, (OriginError, Lease)> {
        let request = match request(head, secure) {
            Ok(request) => request,
            Err(error) => return Err((error, lease)),
        };
        let ended = matches!(head.body, Framing::None | Framing::Length(0));
        let sent = match share.send().ready().await {
            Ok(mut send) => send.send_request(request, ended),
            Err(error) => Err(error),
        };
        match sent {
            Ok((response, body)) => Ok(Self {
                share,
                lease,
                reused,
                body,
                response,
                early: None,
                received: None,
                answered: false,
                interims: Interims::default(),
                complete: ended,
                unsent: Bytes::new(),
            }),
            // It is no longer a connection for requests; nothing of this one was sent.
            Err(error) => {
                share.retire();
                tracing::debug!(%error, "an HTTP/2 connection takes no more requests");
                Err((OriginError::Unprocessed, lease))
            }
        }
    }

    pub(in crate::upstream) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether a failure says more about the connection than about the server.
    pub(in crate::upstream) const fn may_be_stale(&self) -> bool {
        self.reused && !self.answered
    }

    /// Waits for the response's head while the body is still to be sent.
    pub(crate) async fn readable(&mut self) {
        if self.early.is_none() {
            self.early = Some((&mut self.response).await);
        }
    }

    /// Sends a piece of the body as the server's window opens. False when it has answered, or takes no more.
    pub(crate) async fn send(&mut self, mut piece: Bytes, patience: Duration) -> Result<bool, OriginError> {
        while !piece.is_empty() {
            if self.early.is_some() {
                self.unsent = piece;
                return Ok(false);
            }
            self.body.reserve_capacity(piece.len());
            let (body, response, early) = (&mut self.body, &mut self.response, &mut self.early);
            let capacity = poll_fn(|cx| {
                if let Poll::Ready(capacity) = body.poll_capacity(cx) {
                    return Poll::Ready(capacity.and_then(Result::ok));
                }
                match Pin::new(&mut *response).poll(cx) {
                    Poll::Ready(answer) => {
                        *early = Some(answer);
                        Poll::Ready(None)
                    }
                    Poll::Pending => Poll::Pending,
                }
            });
            let capacity = timeout(patience, capacity).await.map_err(|_| {
                self.lease.failed();
                OriginError::ResponseTimeout
            })?;
            match capacity {
                None => {
                    self.unsent = piece;
                    return Ok(false);
                }
                Some(capacity) => {
                    let part = piece.split_to(capacity.min(piece.len()));
                    if !part.is_empty() && self.body.send_data(part, false).is_err() {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Ends the body, with fields behind it if there are any. False when the server takes no more of it.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> bool {
        self.complete = self.early.is_none() && end(&mut self.body, trailers);
        self.complete
    }

    /// The next head: an interim one, or the response's.
    ///
    /// # Errors
    /// When none comes in time, or it is of no use.
    pub(crate) async fn read_head(&mut self, method: &str, deadline: Instant) -> Result<OwnedResponse, OriginError> {
        let head = self.next_head(method, deadline).await;
        let head = head.and_then(|head| self.interims.pass(head));
        match &head {
            Ok(head) if head.status.as_u16() >= 200 => self.lease.answered(head.status.as_u16()),
            Ok(_) => {}
            Err(_) if self.may_be_stale() => {}
            Err(_) => self.lease.failed(),
        }
        head
    }

    async fn next_head(&mut self, method: &str, deadline: Instant) -> Result<OwnedResponse, OriginError> {
        enum Came {
            Interim(Response<()>),
            Final(Result<Response<RecvStream>, h2::Error>),
        }
        let (early, response) = (&mut self.early, &mut self.response);
        let came = poll_fn(|cx| {
            if let Some(answer) = early.take() {
                return Poll::Ready(Came::Final(answer));
            }
            if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
                return Poll::Ready(Came::Interim(interim));
            }
            Pin::new(&mut *response).poll(cx).map(Came::Final)
        });
        let came = timeout_at(deadline, came)
            .await
            .map_err(|_| OriginError::ResponseTimeout)?;
        match came {
            Came::Interim(interim) => {
                self.answered = true;
                let (parts, ()) = interim.into_parts();
                owned(parts, ResponseFraming::None, None)
            }
            Came::Final(Err(error)) => {
                if error.is_go_away() || error.is_io() {
                    self.share.retire();
                }
                Err(failure(&error, self.answered))
            }
            Came::Final(Ok(response)) => {
                self.answered = true;
                let (parts, received) = response.into_parts();
                let length = content_length(&parts.headers)?;
                let bodiless = method == "HEAD" || matches!(parts.status.as_u16(), 204 | 304);
                let framing = match length {
                    _ if bodiless => ResponseFraming::None,
                    Some(length) => ResponseFraming::Length(length),
                    None if received.is_end_stream() => ResponseFraming::Length(0),
                    None => ResponseFraming::UntilClose,
                };
                self.received = Some(received);
                owned(parts, framing, length)
            }
        }
    }

    /// The body of the response whose head was read.
    pub(in crate::upstream) fn into_body(self, framing: ResponseFraming, patience: Duration) -> Body {
        Body {
            left: match framing {
                ResponseFraming::Length(length) => Some(length),
                ResponseFraming::None => Some(0),
                _ => None,
            },
            received: self.received,
            trailers: None,
            taken: 0,
            patience,
            lease: self.lease,
            _share: self.share,
            upload: Some(Upload {
                body: self.body,
                unsent: self.unsent,
                left: u64::MAX,
                patience,
            }),
            complete: self.complete,
        }
    }
}

/// Ends a request, with fields behind its body if there are any. False when the server takes no more of it.
fn end(body: &mut SendStream<Bytes>, trailers: Option<HeaderMap>) -> bool {
    let ended = match trailers {
        Some(trailers) => body.send_trailers(trailers),
        None => body.send_data(Bytes::new(), true),
    };
    ended.is_ok()
}

/// The rest of a request whose response has begun. Dropping it before its end resets the stream.
pub(crate) struct Upload {
    body: SendStream<Bytes>,
    unsent: Bytes,
    /// Bytes that may follow; whoever passes them on keeps count.
    pub(crate) left: u64,
    patience: Duration,
}

impl Upload {
    /// Sends a piece of the body as the server's window opens. False when it takes no more.
    ///
    /// # Errors
    /// When it opens no window for too long.
    pub(crate) async fn send(&mut self, piece: Bytes) -> Result<bool, OriginError> {
        let unsent = std::mem::take(&mut self.unsent);
        for mut piece in [unsent, piece] {
            while !piece.is_empty() {
                self.body.reserve_capacity(piece.len());
                let capacity = timeout(self.patience, poll_fn(|cx| self.body.poll_capacity(cx))).await;
                let Some(Ok(capacity)) = capacity.map_err(|_| OriginError::ResponseTimeout)? else {
                    return Ok(false);
                };
                let part = piece.split_to(capacity.min(piece.len()));
                if !part.is_empty() && self.body.send_data(part, false).is_err() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Ends the body, with fields behind it if there are any.
    ///
    /// # Errors
    /// As [`Upload::send`].
    pub(crate) async fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), OriginError> {
        if self.send(Bytes::new()).await? {
            end(&mut self.body, trailers);
        }
        Ok(())
    }
}

/// The body of a response.
pub(crate) struct Body {
    received: Option<RecvStream>,
    trailers: Option<HeaderMap>,
    /// What is left of the announced length.
    left: Option<u64>,
    /// Bytes passed on whose window is not given back yet.
    taken: usize,
    patience: Duration,
    lease: Lease,
    _share: Share,
    /// None once somebody goes on with it.
    upload: Option<Upload>,
    /// The request is sent to its end.
    complete: bool,
}

impl Body {
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.lease.server
    }

    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// What is left of the request, if it is not sent to its end.
    pub(crate) fn take_upload(&mut self) -> Option<Upload> {
        self.upload.take_if(|_| !self.complete)
    }

    /// So many bytes may follow.
    pub(crate) const fn limit_upload(&mut self, left: u64) {
        if let Some(upload) = &mut self.upload {
            upload.left = left;
        }
    }

    /// The next piece, or none at the end. The window opens for what the one before took.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        let Some(received) = &mut self.received else {
            return Ok(None);
        };
        if self.taken > 0 {
            // It fails only when the stream is gone, which reading shows.
            let _ = received
                .flow_control()
                .release_capacity(std::mem::take(&mut self.taken));
        }
        loop {
            let piece = timeout(self.patience, received.data()).await;
            match piece.map_err(|_| OriginError::ResponseTimeout)? {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    self.taken = piece.len();
                    if let Some(left) = &mut self.left {
                        *left = left
                            .checked_sub(piece.len() as u64)
                            .ok_or(OriginError::Unexpected("its body is longer than it announced"))?;
                    }
                    return Ok(Some(piece));
                }
                Some(Err(error)) => return Err(failure(&error, true)),
                None => {
                    let trailers = timeout(self.patience, received.trailers()).await;
                    self.trailers = trailers
                        .map_err(|_| OriginError::ResponseTimeout)?
                        .map_err(|error| failure(&error, true))?
                        .filter(|trailers| trailers.len() <= FIELDS);
                    self.received = None;
                    return match self.left {
                        Some(1..) => Err(OriginError::Unexpected("its body is shorter than it announced")),
                        _ => Ok(None),
                    };
                }
            }
        }
    }
}

pub(super) fn request(head: &Head, secure: bool) -> Result<Request<()>, OriginError> {
    const CANNOT: OriginError = OriginError::Unexpected("the request cannot be written in HTTP/2");
    let mut fields = head.fields.clone();
    // `Host` becomes `:authority` (RFC 9113 section 8.3.1).
    let host = fields.remove(header::HOST).ok_or(CANNOT)?;
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| CANNOT)?;
    let target = match head.target.as_str() {
        "*" => PathAndQuery::from_static("*"),
        target => PathAndQuery::try_from(target).map_err(|_| CANNOT)?,
    };
    let uri = Uri::builder()
        .scheme(if secure { Scheme::HTTPS } else { Scheme::HTTP })
        .authority(authority)
        .path_and_query(target)
        .build()
        .map_err(|_| CANNOT)?;
    // What concerns a connection has no place in HTTP/2 (section 8.2.2).
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::TRANSFER_ENCODING,
        header::TE,
    ] {
        fields.remove(name);
    }
    fields.remove(HeaderName::from_static("keep-alive"));
    if head.trailers {
        // The one value it may have (section 8.2.2); gRPC servers look for it.
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Framing::Length(length) = head.body {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method.as_bytes()).map_err(|_| CANNOT)?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = fields;
    Ok(request)
}

/// A head as HTTP/1.1 would have it, held to the same rules.
fn owned(
    parts: http::response::Parts,
    framing: ResponseFraming,
    content_length: Option<u64>,
) -> Result<OwnedResponse, OriginError> {
    if parts.headers.len() > FIELDS {
        return Err(OriginError::Unexpected("it has too many fields"));
    }
    if parts.status.as_u16() == 101 {
        return Err(OriginError::Unexpected("101 does not exist in HTTP/2"));
    }
    Ok(OwnedResponse {
        version: Version::Http11,
        status: parts.status,
        reason: String::new(),
        headers: parts.headers,
        framing,
        content_length,
        keep_alive: true,
        upgrade: false,
    })
}

/// One length, however often it is said (RFC 9110 section 8.6).
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, OriginError> {
    const WRONG: OriginError = OriginError::Unexpected("its content length is malformed");
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let text = value.to_str().map_err(|_| WRONG)?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(WRONG);
        }
        let value = text.parse().map_err(|_| WRONG)?;
        if length.replace(value).is_some_and(|before| before != value) {
            return Err(WRONG);
        }
    }
    Ok(length)
}

/// What an error of a stream means for its request.
pub(super) fn failure(error: &h2::Error, answered: bool) -> OriginError {
    // The server says that it did nothing of it (RFC 9113 section 8.7).
    if error.reason() == Some(h2::Reason::REFUSED_STREAM) && !answered {
        return OriginError::Unprocessed;
    }
    if (error.is_io() || error.is_go_away()) && !answered {
        return OriginError::Closed;
    }
    OriginError::Http2(error.to_string())
}
