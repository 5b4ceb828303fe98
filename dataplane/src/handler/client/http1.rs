//! A client over HTTP/1: the exchange has the socket, and frames bodies itself.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;

use breakwater_wire::hop::accepts_trailers;
use breakwater_wire::http1::encode::{LAST_CHUNK, write_chunk_header};
use breakwater_wire::http1::{BodyDecoder, OwnedRequest, Trailers, Version};
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::ReadBuf;

use super::patience::Patience;
use super::{Client, ClientError, RequestBody, ResponseHead, encode_head, encode_trailers, status_of};
use crate::conn::Transport;
use crate::worker::Worker;

/// Pieces handed to the kernel at once: the size of a chunk, the chunk, its end.
const PIECES: usize = 3;

/// How the body of a response to the client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// There is none: HEAD, 204, 304.
    NoBody,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection: an HTTP/1.0 client, and no length.
    Close,
}

/// A client during an exchange over HTTP/1.
pub(crate) struct Http1<S> {
    worker: Rc<Worker>,
    stream: S,
    received: BytesMut,
    body: BodyDecoder,
    /// The beginning of the body, which was read and given back.
    ahead: Bytes,
    trailers: Trailers,
    /// The client takes fields behind a response.
    takes_trailers: bool,
    /// `100 Continue` is owed before the body is read.
    expects_continue: bool,
    version: Version,
    keep_alive: bool,
    ending: Ending,
    /// Bytes of the response body sent, without framing.
    sent: u64,
    /// The status of the head that was sent.
    answered: Option<u16>,
    with_body: Patience,
    with_response: Patience,
}

impl<S: Transport> Http1<S> {
    /// A client whose request head was just read; `received` is what came behind it.
    pub(crate) fn new(worker: &Rc<Worker>, stream: S, received: &[u8], request: &OwnedRequest) -> Self {
        Self {
            worker: Rc::clone(worker),
            stream,
            received: received.into(),
            body: BodyDecoder::new(request.framing),
            ahead: Bytes::new(),
            trailers: Trailers::default(),
            takes_trailers: accepts_trailers(&request.headers),
            expects_continue: request.expect_continue,
            version: request.version,
            keep_alive: request.keep_alive,
            ending: Ending::NoBody,
            sent: 0,
            answered: None,
            with_body: Patience::with_body(worker),
            with_response: Patience::with_response(worker),
        }
    }

    /// Sends the head of a 101 (RFC 9110 section 15.2.2), fields as they are.
    pub(crate) async fn send_switch(&mut self, headers: &HeaderMap) -> Result<(), ClientError> {
        let mut head = Vec::with_capacity(512);
        encode_head(&mut head, 101, headers);
        head.extend_from_slice(b"\r\n");
        self.answered = Some(101);
        self.write(&head).await
    }

    /// What the connection goes on with: the socket, bytes of the next request, and whether it may go on at all.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>, bool) {
        (
            self.stream,
            self.received.to_vec(),
            self.keep_alive && self.body.is_done(),
        )
    }

    /// Reads what is there of the body, through the worker's buffer: who waits holds no memory. 0 at its end.
    async fn read(&mut self) -> Result<usize, ClientError> {
        let Self {
            worker,
            stream,
            received,
            with_body,
            ..
        } = self;
        poll_fn(|cx| {
            let mut buffer = worker.read.borrow_mut();
            let mut read = ReadBuf::new(&mut buffer);
            let polled = Pin::new(&mut *stream).poll_read(cx, &mut read);
            received.extend_from_slice(read.filled());
            with_body.poll(cx, &polled.map_ok(|()| read.filled().len()))
        })
        .await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.write_buf(bytes).await
    }

    async fn write_buf(&mut self, mut bytes: impl Buf) -> Result<(), ClientError> {
        while bytes.has_remaining() {
            let (stream, patience) = (&mut self.stream, &mut self.with_response);
            let written = poll_fn(|cx| {
                let mut pieces = [IoSlice::new(&[]); PIECES];
                let count = bytes.chunks_vectored(&mut pieces);
                let polled = Pin::new(&mut *stream).poll_write_vectored(cx, &pieces[..count]);
                patience.poll(cx, &polled)
            });
            match written.await? {
                0 => return Err(ClientError::Gone),
                n => bytes.advance(n),
            }
        }
        // TLS may hold back what it took.
        let (stream, patience) = (&mut self.stream, &mut self.with_response);
        let flushed = poll_fn(|cx| {
            let polled = Pin::new(&mut *stream).poll_flush(cx);
            patience.poll(cx, &polled.map_ok(|()| 0))
        });
        flushed.await.map(drop)
    }
}

impl<S: Transport> Client for Http1<S> {
    fn has_body(&self) -> bool {
        !self.body.is_done() || !self.ahead.is_empty()
    }

    fn answered(&self) -> Option<u16> {
        self.answered
    }

    fn close_after(&mut self) {
        self.keep_alive = false;
    }

    fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    fn unread(&mut self, beginning: Bytes) {
        self.ahead = beginning;
    }

    async fn next_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        if !self.ahead.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ahead)));
        }
        if std::mem::take(&mut self.expects_continue) && self.received.is_empty() {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        loop {
            if self.body.is_done() {
                return Ok(None);
            }
            if self.received.is_empty() && self.read().await? == 0 {
                self.body.at_eof()?;
                return Ok(None);
            }
            let decoded = self.body.decode(&self.received)?;
            self.trailers
                .push(self.received.get(decoded.trailers).unwrap_or_default());
            let piece = self.received.split_to(decoded.consumed).freeze().slice(decoded.data);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    fn split_body(&mut self) -> Option<RequestBody> {
        // Half of HTTP/1's clients would not read a response before their request is sent.
        None
    }

    fn take_trailers(&mut self) -> Option<HeaderMap> {
        std::mem::take(&mut self.trailers).into_fields()
    }

    async fn send_interim(&mut self, status: u16, headers: &HeaderMap) -> Result<(), ClientError> {
        if self.version == Version::Http10 {
            return Ok(());
        }
        let mut head = Vec::with_capacity(256);
        encode_head(&mut head, status, headers);
        head.extend_from_slice(b"\r\n");
        self.write(&head).await
    }

    async fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), ClientError> {
        let mut out = Vec::with_capacity(1024);
        head.write(&mut out, &self.worker);
        self.ending = match head.length {
            _ if head.no_body => Ending::NoBody,
            Some(length) => Ending::Length(length),
            None if self.version == Version::Http10 => Ending::Close,
            None => Ending::Chunked,
        };
        match self.ending {
            Ending::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Ending::Close => self.keep_alive = false,
            Ending::Length(_) | Ending::NoBody => {
                if let Some(length) = head.length {
                    out.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
                }
            }
        }
        // What is left of the request would be read as the next one.
        if self.has_body() || self.worker.draining.get() {
            self.keep_alive = false;
        }
        if !self.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if self.version == Version::Http10 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
        self.answered = Some(head.status);
        self.write(&out).await
    }

    async fn send_whole(&mut self, start: &[u8], rest: Vec<Bytes>, content: u64) -> Result<(), ClientError> {
        self.answered = status_of(start);
        self.write(start).await?;
        for piece in rest {
            self.write(&piece).await?;
        }
        self.sent = content;
        Ok(())
    }

    async fn begin_whole(&mut self, head: &[u8], content: u64) -> Result<(), ClientError> {
        self.answered = status_of(head);
        self.ending = Ending::Length(content);
        self.write(head).await
    }

    async fn send_body(&mut self, piece: Bytes) -> Result<(), ClientError> {
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

    async fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientError> {
        match (self.ending, trailers) {
            (Ending::Chunked, Some(trailers)) if self.takes_trailers => {
                let mut end = b"0\r\n".to_vec();
                encode_trailers(&mut end, &trailers);
                end.extend_from_slice(b"\r\n");
                self.write(&end).await
            }
            (Ending::Chunked, _) => self.write(LAST_CHUNK).await,
            (Ending::Length(length), _) if self.sent < length => {
                self.keep_alive = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}
