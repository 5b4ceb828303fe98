//! A client that writes frames by hand, and what the connection makes of them.

mod bodies;
mod flow;
mod frames;
mod heads;
mod limits;
mod memory;
mod priorities;
mod responses;
mod split;
mod streams;
mod withdrawn;

use super::hpack::decode::{Decoder, Sink};
use super::hpack::{encode, integer};
use super::*;
use super::{field::Class, frame::*};

/// What the connection reported, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Request(u32, String, bool),
    Refused(u32, u16),
    Data(u32, Vec<u8>, bool),
    Trailers(u32, Vec<(String, String)>),
    Reset(u32, ErrorCode),
    Failed(u32, StreamError),
    Writable(Option<u32>),
    GoAway(u32, ErrorCode),
    Closed(ConnectionError),
}

/// A frame that the connection has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Out {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) struct Peer {
    pub(super) connection: Connection,
    pub(super) out: Vec<u8>,
    pub(super) now_ms: u64,
    pub(super) scratch: Scratch,
    kept: Vec<u8>,
    decoder: Decoder,
}

impl Peer {
    /// After preface and SETTINGS of both sides.
    pub(super) fn new() -> Self {
        Self::with(Limits::DEFAULT)
    }

    pub(super) fn with(limits: Limits) -> Self {
        let mut peer = Self::silent(limits);
        let mut hello = PREFACE.to_vec();
        hello.extend(frame(SETTINGS, 0, 0, b""));
        hello.extend(frame(SETTINGS, ACK, 0, b""));
        assert_eq!(peer.feed(&hello), []);
        peer.frames();
        peer.connection.flushed();
        peer
    }

    /// Before the preface.
    pub(super) fn silent(limits: Limits) -> Self {
        let mut out = Vec::new();
        Self {
            connection: Connection::new(&limits, &mut out),
            out,
            now_ms: 1_000_000,
            scratch: Scratch::new(),
            kept: Vec::new(),
            decoder: Decoder::default(),
        }
    }

    /// Feeds bytes and collects the events; what is not consumed comes again with the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.kept.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.kept);
        let mut input = &all[..];
        let mut seen = Vec::new();
        loop {
            match self
                .connection
                .next(&mut input, &mut self.scratch, &mut self.out, self.now_ms)
            {
                Ok(Some(event)) => seen.push(own(event)),
                Ok(None) => break,
                Err(error) => {
                    seen.push(Seen::Closed(error));
                    break;
                }
            }
        }
        self.kept = input.to_vec();
        seen
    }

    /// Feeds a request that must be accepted.
    pub(super) fn request(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        let seen = self.feed(&headers(stream, fields, end));
        assert!(
            matches!(seen[..], [Seen::Request(id, _, ended)] if id == stream && ended == end),
            "{seen:?}"
        );
    }

    /// The frames that were sent since the last call.
    pub(super) fn frames(&mut self) -> Vec<Out> {
        let out = std::mem::take(&mut self.out);
        let mut rest = &out[..];
        let mut frames = Vec::new();
        while let Some(frame) = Frame::parse(rest) {
            frames.push(Out {
                kind: frame.kind,
                flags: frame.flags,
                stream: frame.stream,
                payload: rest[HEADER..HEADER + frame.len].to_vec(),
            });
            rest = &rest[HEADER + frame.len..];
        }
        assert!(rest.is_empty());
        frames
    }

    /// Decodes a block that the connection has sent.
    pub(super) fn fields(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let mut list = List::default();
        self.decoder.decode(block, &mut Vec::new(), &mut list).expect("a block");
        list.0
    }

    /// The only frame sent is RST_STREAM with this code, but for what the connection's window gets back.
    pub(super) fn expect_reset(&mut self, stream: u32, code: ErrorCode) {
        let payload = code.value().to_be_bytes().to_vec();
        let reset = Out {
            kind: RST_STREAM,
            flags: 0,
            stream,
            payload,
        };
        let mut frames = self.frames();
        frames.retain(|frame| (frame.kind, frame.stream) != (WINDOW_UPDATE, 0));
        assert_eq!(frames, [reset]);
    }

    /// Feeds bytes that must end the connection for this reason, and say so.
    pub(super) fn expect_closed(&mut self, bytes: &[u8], error: ConnectionError) {
        assert_eq!(self.feed(bytes).last(), Some(&Seen::Closed(error)));
        let frames = self.frames();
        let goaway = frames.last().expect("GOAWAY");
        assert_eq!((goaway.kind, goaway.stream), (GOAWAY, 0));
        assert_eq!(goaway.payload[4..], error.code().value().to_be_bytes());
        assert_eq!(self.feed(b""), [Seen::Closed(error)]);
        assert_eq!(self.out, b"");
    }

    /// Feeds bytes that must reset the stream for this reason.
    pub(super) fn expect_failed(&mut self, bytes: &[u8], stream: u32, error: StreamError) {
        assert_eq!(self.feed(bytes), [Seen::Failed(stream, error)]);
        self.expect_reset(stream, error.code());
        assert!(!self.connection.contains(stream));
    }
}

#[derive(Default)]
struct List(Vec<(String, String)>);

impl Sink for List {
    fn field(&mut self, name: &[u8], value: &[u8], _class: Class) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((text(name), text(value)));
    }
}

fn own(event: Event<'_>) -> Seen {
    let pairs = |fields: crate::http1::Fields<'_>| {
        fields
            .map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned()))
            .collect::<Vec<_>>()
    };
    match event {
        Event::Request {
            stream,
            head,
            end_stream,
            ..
        } => {
            let fields: Vec<_> = pairs(head.fields())
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect();
            let text = format!(
                "{} {} {:?} | {}",
                head.method,
                head.target,
                head.framing,
                fields.join(" | ")
            );
            Seen::Request(stream, text, end_stream)
        }
        Event::Refused { stream, error } => Seen::Refused(stream, error.status()),
        Event::Data {
            stream,
            bytes,
            end_stream,
        } => Seen::Data(stream, bytes.to_vec(), end_stream),
        Event::Trailers { stream, fields } => Seen::Trailers(stream, pairs(fields)),
        Event::Reset { stream, code } => Seen::Reset(stream, code),
        Event::Failed { stream, error } => Seen::Failed(stream, error),
        Event::Writable { stream } => Seen::Writable(stream),
        Event::GoAway { last, code } => Seen::GoAway(last, code),
    }
}

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

/// A block of literals that are not indexed.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            integer::write(&mut out, 0, 7, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// HEADERS in one frame.
pub(super) fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame(HEADERS, flags, stream, &block(fields))
}

pub(super) fn data(stream: u32, bytes: &[u8], end: bool) -> Vec<u8> {
    frame(DATA, if end { END_STREAM } else { 0 }, stream, bytes)
}

pub(super) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(super) fn setting(id: u16, value: u32) -> Vec<u8> {
    let mut payload = id.to_be_bytes().to_vec();
    payload.extend(value.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

/// The fields of a request without a body.
pub(super) const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/"),
    (":authority", "a.example"),
];

/// The fields of a request with one.
pub(super) const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/"),
    (":authority", "a.example"),
];

pub(super) const OK: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
