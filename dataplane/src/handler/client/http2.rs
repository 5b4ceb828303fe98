//! A client over HTTP/2: the exchange has a stream, the connection keeps the socket.
//!
//! The two meet in a [`Channel`]. Upload: what the client sends waits there until the handler takes it, and only what
//! was taken opens the stream's window again, so the window bounds what waits. Download: at most [`QUEUE`] bytes wait
//! for the client's windows, then the handler waits. How long a client may stall its windows is the connection's to say.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use breakwater_wire::http1::OwnedRequest;
use breakwater_wire::http2::StreamId;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::patience::Patience;
use super::{Client, ClientError, ResponseHead, encode_head, encode_trailers, status_of};
use crate::worker::Worker;

/// Bytes of a response body that may wait for the client's windows, for each stream.
const QUEUE: usize = 32 * 1024;

/// Pieces of a request body that wait are put together up to this size, bytes: the window bounds their sum, and a client
/// that sends a byte in each frame would make us keep many times as much about them.
const PIECE: usize = 4 * 1024;

/// Tells a connection which of its streams' exchanges have something for it.
#[derive(Default)]
pub(crate) struct Link {
    ready: RefCell<VecDeque<StreamId>>,
    connection: RefCell<Option<Waker>>,
}

impl Link {
    /// Whom to wake.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut known = self.connection.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// The next stream whose exchange has something.
    pub(crate) fn next(&self) -> Option<StreamId> {
        self.ready.borrow_mut().pop_front()
    }

    fn announce(&self, stream: StreamId) {
        self.ready.borrow_mut().push_back(stream);
        if let Some(waker) = &*self.connection.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Something an exchange sends.
pub(crate) enum Outgoing {
    /// A response head in HTTP/1 form, interim or final; `end`: no body follows.
    Head { bytes: Vec<u8>, end: bool },
    /// A piece of the body.
    Body(Bytes),
    /// The end of the body.
    End,
    /// The end of the body, with these field lines behind it.
    Trailers(Vec<u8>),
    /// The response breaks off.
    Reset,
}

impl Outgoing {
    fn len(&self) -> usize {
        match self {
            Self::Head { bytes, .. } => bytes.len(),
            Self::Body(piece) => piece.len(),
            Self::End | Self::Trailers(_) | Self::Reset => 0,
        }
    }
}

/// Why the client's side of an exchange is over before its time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    /// The stream was reset, or its connection is gone.
    Gone,
    /// The client left its window shut for too long.
    Slow,
}

impl From<Over> for ClientError {
    fn from(over: Over) -> Self {
        match over {
            Over::Gone => Self::Gone,
            Over::Slow => Self::Slow,
        }
    }
}

/// What an exchange and its connection share.
pub(crate) struct Channel {
    link: Rc<Link>,
    stream: StreamId,
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    incoming: VecDeque<BytesMut>,
    incoming_ended: bool,
    /// Fields behind the request body.
    trailers: Option<HeaderMap>,
    /// Bytes the handler took and the client was not told of.
    consumed: usize,
    outgoing: VecDeque<Outgoing>,
    /// Bytes that the client was not sent yet.
    queued: usize,
    over: Option<Over>,
    /// The connection was told and did not look yet.
    announced: bool,
    exchange: Option<Waker>,
}

/// The connection's side.
impl Channel {
    /// For a request whose body, if `ended` is false, is still to come.
    pub(crate) fn new(link: &Rc<Link>, stream: StreamId, ended: bool) -> Rc<Self> {
        Rc::new(Self {
            link: Rc::clone(link),
            stream,
            inner: RefCell::new(Inner {
                incoming_ended: ended,
                ..Inner::default()
            }),
        })
    }

    /// A piece of the request body; `ended` says that it was the last.
    pub(crate) fn push(&self, bytes: &[u8], ended: bool) {
        let mut inner = self.inner.borrow_mut();
        match inner.incoming.back_mut() {
            Some(last) if last.len() + bytes.len() <= PIECE => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => inner.incoming.push_back(bytes.into()),
        }
        inner.incoming_ended |= ended;
        inner.wake();
    }

    /// The end of the request body, with fields behind it.
    pub(crate) fn end_with(&self, trailers: Option<HeaderMap>) {
        let mut inner = self.inner.borrow_mut();
        inner.trailers = trailers;
        inner.incoming_ended = true;
        inner.wake();
    }

    /// The client's side is over.
    pub(crate) fn abandon(&self, over: Over) {
        let mut inner = self.inner.borrow_mut();
        inner.over.get_or_insert(over);
        inner.incoming.clear();
        inner.wake();
    }

    /// Whether the client's side is over.
    pub(crate) fn is_over(&self) -> bool {
        self.inner.borrow().over.is_some()
    }

    /// Bytes of the request body that were taken since the last call.
    pub(crate) fn take_consumed(&self) -> usize {
        let mut inner = self.inner.borrow_mut();
        inner.announced = false;
        std::mem::take(&mut inner.consumed)
    }

    /// What the exchange sends next.
    pub(crate) fn take_outgoing(&self) -> Option<Outgoing> {
        self.inner.borrow_mut().outgoing.pop_front()
    }

    /// So many bytes of what was taken left for the client.
    pub(crate) fn sent(&self, bytes: usize) {
        let mut inner = self.inner.borrow_mut();
        inner.queued = inner.queued.saturating_sub(bytes);
        inner.wake();
    }
}

/// The exchange's side.
impl Channel {
    fn announce(&self) {
        if !std::mem::replace(&mut self.inner.borrow_mut().announced, true) {
            self.link.announce(self.stream);
        }
    }

    fn send(&self, outgoing: Outgoing) {
        let mut inner = self.inner.borrow_mut();
        if inner.over.is_some() {
            return;
        }
        inner.queued += outgoing.len();
        inner.outgoing.push_back(outgoing);
        drop(inner);
        self.announce();
    }

    fn poll_incoming(&self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>, ClientError>> {
        let mut inner = self.inner.borrow_mut();
        if let Some(over) = inner.over {
            return Poll::Ready(Err(over.into()));
        }
        if let Some(piece) = inner.incoming.pop_front() {
            inner.consumed += piece.len();
            drop(inner);
            self.announce();
            return Poll::Ready(Ok(Some(piece.freeze())));
        }
        if inner.incoming_ended {
            return Poll::Ready(Ok(None));
        }
        inner.wait(cx)
    }

    /// Ready when more of a body may be sent.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), ClientError>> {
        let mut inner = self.inner.borrow_mut();
        match inner.over {
            Some(over) => Poll::Ready(Err(over.into())),
            None if inner.queued < QUEUE => Poll::Ready(Ok(())),
            None => inner.wait(cx),
        }
    }

    async fn send_interim(&self, status: u16, headers: &HeaderMap) -> Result<(), ClientError> {
        poll_fn(|cx| self.poll_room(cx)).await?;
        let mut bytes = Vec::with_capacity(256);
        encode_head(&mut bytes, status, headers);
        bytes.extend_from_slice(b"\r\n");
        self.send(Outgoing::Head { bytes, end: false });
        Ok(())
    }

    fn poll_over(&self, cx: &Context<'_>) -> Poll<ClientError> {
        let mut inner = self.inner.borrow_mut();
        match inner.over {
            Some(over) => Poll::Ready(over.into()),
            None => inner.wait(cx),
        }
    }
}

impl Inner {
    /// An exchange is one task, so that one waker does for all it waits for.
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        let waker = cx.waker();
        if !self.exchange.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.exchange = Some(waker.clone());
        }
        Poll::Pending
    }

    fn wake(&self) {
        self.exchange.iter().for_each(Waker::wake_by_ref);
    }
}

/// The body of a request over HTTP/2.
pub(crate) struct RequestBody {
    channel: Rc<Channel>,
    /// Its beginning, which was read and given back.
    ahead: Bytes,
    /// `100 Continue` is owed before it is read.
    expects_continue: bool,
    /// None: it takes as long as it takes.
    patience: Option<Patience>,
}

impl RequestBody {
    /// The next piece, or none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        if !self.ahead.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ahead)));
        }
        if std::mem::take(&mut self.expects_continue) && self.channel.inner.borrow().incoming.is_empty() {
            self.channel.send_interim(100, &HeaderMap::new()).await?;
        }
        let (channel, patience) = (&self.channel, &mut self.patience);
        poll_fn(|cx| {
            let polled = channel.poll_incoming(cx)?;
            if let Some(patience) = patience {
                let moved = match &polled {
                    Poll::Ready(piece) => Poll::Ready(Ok(piece.as_ref().map_or(0, Bytes::len))),
                    Poll::Pending => Poll::Pending,
                };
                ready!(patience.poll(cx, &moved))?;
            }
            polled.map(Ok)
        })
        .await
    }

    /// The fields that came behind it, once it has ended.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.channel.inner.borrow_mut().trailers.take()
    }
}

/// A client during an exchange over HTTP/2.
pub(crate) struct Http2 {
    worker: Rc<Worker>,
    channel: Rc<Channel>,
    /// None once somebody reads it apart.
    request: Option<RequestBody>,
    /// The status of the head that was sent.
    answered: Option<u16>,
    /// A body follows the head, of so many bytes if that is known.
    body: Option<Option<u64>>,
    sent: u64,
    ended: bool,
}

impl Http2 {
    pub(crate) fn new(worker: &Rc<Worker>, channel: Rc<Channel>, request: &OwnedRequest) -> Self {
        Self {
            worker: Rc::clone(worker),
            request: Some(RequestBody {
                channel: Rc::clone(&channel),
                ahead: Bytes::new(),
                expects_continue: request.expect_continue,
                patience: Some(Patience::with_body(worker)),
            }),
            channel,
            answered: None,
            body: None,
            sent: 0,
            ended: false,
        }
    }

    /// Ready when the client's side is over before the exchange is.
    pub(crate) fn over(&self) -> impl Future<Output = ClientError> + use<> {
        let channel = Rc::clone(&self.channel);
        poll_fn(move |cx| channel.poll_over(cx))
    }

    fn send_head_bytes(&mut self, bytes: Vec<u8>, end: bool) {
        self.answered = status_of(&bytes);
        self.ended = end;
        self.channel.send(Outgoing::Head { bytes, end });
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.channel.send(Outgoing::End);
        }
    }
}

impl Client for Http2 {
    fn has_body(&self) -> bool {
        let inner = self.channel.inner.borrow();
        let ahead = self.request.as_ref().is_some_and(|request| !request.ahead.is_empty());
        ahead || !inner.incoming_ended || !inner.incoming.is_empty() || inner.trailers.is_some()
    }

    fn answered(&self) -> Option<u16> {
        self.answered
    }

    fn close_after(&mut self) {}

    fn keeps_alive(&self) -> bool {
        true
    }

    fn unread(&mut self, beginning: Bytes) {
        if let Some(request) = &mut self.request {
            request.ahead = beginning;
        }
    }

    async fn next_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        match &mut self.request {
            Some(request) => request.next().await,
            None => Ok(None),
        }
    }

    fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.request.as_mut().and_then(RequestBody::take_trailers)
    }

    fn split_body(&mut self) -> Option<RequestBody> {
        let mut request = self.request.take()?;
        request.patience = None;
        Some(request)
    }

    async fn send_interim(&mut self, status: u16, headers: &HeaderMap) -> Result<(), ClientError> {
        self.channel.send_interim(status, headers).await
    }

    async fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), ClientError> {
        let mut bytes = Vec::with_capacity(1024);
        head.write(&mut bytes, &self.worker);
        if let Some(length) = head.length {
            bytes.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        let end = head.no_body || head.length == Some(0);
        self.body = (!end).then_some(head.length);
        self.send_head_bytes(bytes, end);
        Ok(())
    }

    async fn send_body(&mut self, piece: Bytes) -> Result<(), ClientError> {
        if self.body.is_none() || piece.is_empty() {
            return Ok(());
        }
        poll_fn(|cx| self.channel.poll_room(cx)).await?;
        self.sent += piece.len() as u64;
        self.channel.send(Outgoing::Body(piece));
        Ok(())
    }

    async fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientError> {
        let short = self.body.flatten().is_some_and(|length| self.sent < length);
        match trailers {
            _ if short || self.ended => {}
            Some(trailers) => {
                let mut lines = Vec::with_capacity(256);
                encode_trailers(&mut lines, &trailers);
                self.ended = true;
                self.channel.send(Outgoing::Trailers(lines));
            }
            None => self.end(),
        }
        Ok(())
    }

    async fn send_whole(&mut self, start: &[u8], rest: Vec<Bytes>, content: u64) -> Result<(), ClientError> {
        let (head, start) = split_head(start);
        let end = start.is_empty() && rest.is_empty();
        self.send_head_bytes(head.to_vec(), end);
        let start = (!start.is_empty()).then(|| Bytes::copy_from_slice(start));
        // What is stored is there already: waiting with it costs nothing.
        for piece in start.into_iter().chain(rest) {
            self.channel.send(Outgoing::Body(piece));
        }
        self.end();
        self.sent = content;
        Ok(())
    }

    async fn begin_whole(&mut self, head: &[u8], content: u64) -> Result<(), ClientError> {
        self.body = Some(Some(content));
        self.send_head_bytes(head.to_vec(), false);
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}

impl Drop for Http2 {
    /// An answer that breaks off must look so.
    fn drop(&mut self) {
        if !self.ended {
            self.channel.send(Outgoing::Reset);
        }
    }
}

/// Head, blank line included, and what follows.
pub(crate) fn split_head(message: &[u8]) -> (&[u8], &[u8]) {
    let blank = memchr::memmem::find(message, b"\r\n\r\n");
    message.split_at(blank.map_or(message.len(), |at| at + 4))
}

#[cfg(test)]
mod tests;
