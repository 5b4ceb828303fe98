//! Header blocks: put together from their frames, and made requests or trailers.

use std::borrow::Cow;

use super::receive::Step;
use super::{Connection, Event, FIRST_WINDOW};
use crate::http1::{Fields, Framing};
use crate::http2::StreamId;
use crate::http2::error::{ConnectionError as Error, StreamError};
use crate::http2::frame::{self, Frame, number};
use crate::http2::priority::Priority;
use crate::http2::request::{Collector, Ignore, Outcome, Scratch};
use crate::http2::stream::Stream;

/// A header block, or what has come of it.
#[derive(Debug)]
pub(super) struct Block<'i> {
    pub(super) stream: StreamId,
    end_stream: bool,
    /// The frame says that the stream depends on itself.
    depends_on_itself: bool,
    continuations: u8,
    bytes: Cow<'i, [u8]>,
}

impl Block<'_> {
    pub(super) fn heap(&self) -> usize {
        let bytes = match &self.bytes {
            Cow::Owned(bytes) => bytes.capacity(),
            Cow::Borrowed(_) => 0,
        };
        bytes + size_of::<Self>()
    }
}

impl Connection {
    /// HEADERS: the block, if it ends with its first frame.
    pub(super) fn begin_block<'i>(&mut self, frame: &Frame, payload: &'i [u8]) -> Result<Option<Block<'i>>, Error> {
        if frame.stream == 0 {
            return Err(Error::Protocol);
        }
        let mut bytes = payload;
        let mut padding = 0;
        if frame.has(frame::PADDED) {
            let (&length, rest) = bytes.split_first().ok_or(Error::FrameSize)?;
            (padding, bytes) = (usize::from(length), rest);
        }
        let mut depends_on_itself = false;
        if frame.has(frame::WITH_PRIORITY) {
            let (priority, rest) = bytes.split_at_checked(5).ok_or(Error::FrameSize)?;
            depends_on_itself = number(priority) & 0x7fff_ffff == frame.stream;
            bytes = rest;
        }
        let len = bytes.len().checked_sub(padding).ok_or(Error::Protocol)?;
        bytes = bytes.get(..len).unwrap_or_default();
        if len > self.limits.header_block as usize {
            return Err(Error::HeaderBlock);
        }
        let block = Block {
            stream: frame.stream,
            end_stream: frame.has(frame::END_STREAM),
            depends_on_itself,
            continuations: 0,
            bytes: Cow::Borrowed(bytes),
        };
        if frame.has(frame::END_HEADERS) {
            return Ok(Some(block));
        }
        if bytes.is_empty() {
            self.glitch()?;
        }
        self.block = Some(Box::new(Block {
            bytes: Cow::Owned(bytes.to_vec()),
            ..block
        }));
        Ok(None)
    }

    /// CONTINUATION: the block, if it ends here.
    pub(super) fn continue_block(&mut self, frame: &Frame, payload: &[u8]) -> Result<Option<Block<'static>>, Error> {
        let mut block = self.block.take().ok_or(Error::Protocol)?;
        block.continuations += 1;
        if block.continuations > self.limits.continuations {
            return Err(Error::Continuations);
        }
        if block.bytes.len() + payload.len() > self.limits.header_block as usize {
            return Err(Error::HeaderBlock);
        }
        if payload.is_empty() {
            self.glitch()?;
        }
        block.bytes.to_mut().extend_from_slice(payload);
        if frame.has(frame::END_HEADERS) {
            return Ok(Some(*block));
        }
        self.block = Some(block);
        Ok(None)
    }

    /// Decides what a block is for. One that nobody wants is decoded here, for the table's sake.
    pub(super) fn place_block<'i>(
        &mut self,
        block: Block<'i>,
        strings: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Step<'i>>, Error> {
        let id = block.stream;
        let fault = if let Some(stream) = self.streams.get_mut(id) {
            if stream.remote_ended {
                Some(StreamError::Closed)
            } else if stream.ignored {
                stream.remote_ended |= block.end_stream;
                None
            } else if !block.end_stream {
                Some(StreamError::Trailers)
            } else {
                return Ok(Some(Step::Block(block)));
            }
        } else if id <= self.last_stream || id.is_multiple_of(2) {
            if !self.was_reset(id) {
                return Err(if id == self.last_stream {
                    Error::ClosedStream
                } else {
                    Error::StreamId
                });
            }
            None
        } else {
            self.last_stream = id;
            if self.gone {
                None
            } else if self.streams.len() >= self.limits.streams as usize {
                Some(StreamError::Refused)
            } else if block.depends_on_itself {
                Some(StreamError::SelfDependency)
            } else {
                self.levels.overhead.forgive(10);
                return Ok(Some(Step::Block(block)));
            }
        };
        self.decoder.decode(&block.bytes, strings, &mut Ignore)?;
        match fault {
            Some(error) => Ok(Some(Step::Event(self.fail_stream(id, error, out)?))),
            None => Ok(None),
        }
    }

    /// Decodes a block that somebody wants. `input` is what follows it.
    pub(super) fn read_block<'e>(
        &mut self,
        block: &Block<'_>,
        input: &[u8],
        scratch: &'e mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<Event<'e>, Error> {
        let trailers = self.streams.get(block.stream).is_some();
        let mut collector = Collector::new(&mut scratch.lists, &self.limits, trailers);
        self.decoder
            .decode(&block.bytes, &mut scratch.strings, &mut collector)?;
        if trailers {
            return self.end_with(block.stream, collector.into_trailers(), out);
        }
        let stream = block.stream;
        match collector.into_request(block.end_stream) {
            Outcome::Malformed => self.fail_stream(stream, StreamError::Malformed, out),
            Outcome::Refused(error) => {
                self.open(block, None, true, Priority::default());
                self.glitch()?;
                Ok(Event::Refused { stream, error })
            }
            Outcome::Request(head, priority) => {
                let length = match head.framing {
                    Framing::Length(length) => Some(length),
                    Framing::None | Framing::Chunked => None,
                };
                if block.end_stream && length.is_some_and(|length| length > 0) {
                    return self.fail_stream(stream, StreamError::ContentLength, out);
                }
                self.open(block, length, false, priority);
                Ok(Event::Request {
                    stream,
                    head,
                    end_stream: block.end_stream,
                    withdrawn: self.is_reset_within(input, stream),
                })
            }
        }
    }

    /// The end of a body by trailers.
    fn end_with<'e>(
        &mut self,
        id: StreamId,
        fields: Option<Fields<'e>>,
        out: &mut Vec<u8>,
    ) -> Result<Event<'e>, Error> {
        let Some(fields) = fields else {
            return self.fail_stream(id, StreamError::Malformed, out);
        };
        if let Some(stream) = self.streams.get_mut(id) {
            if stream.length_left.is_some_and(|left| left > 0) {
                return self.fail_stream(id, StreamError::ContentLength, out);
            }
            stream.remote_ended = true;
            self.withdrawn += std::mem::take(&mut stream.wider);
        }
        Ok(Event::Trailers { stream: id, fields })
    }

    fn open(&mut self, block: &Block<'_>, length_left: Option<u64>, ignored: bool, priority: Priority) {
        let early = self.early.iter_mut().find(|(stream, _)| *stream == block.stream);
        let priority = early.map_or(priority, |(stream, priority)| {
            *stream = 0;
            *priority
        });
        // What the client does not know yet cannot bind it.
        let recv_window = if self.settings_acknowledged {
            self.limits.stream_window
        } else {
            self.limits.stream_window.max(FIRST_WINDOW)
        };
        self.streams.push(Stream {
            id: block.stream,
            send_window: i64::from(self.first_send_window),
            recv_window,
            released: 0,
            wider: 0,
            held: 0,
            length_left,
            priority,
            turn: self.turn,
            remote_ended: block.end_stream,
            ignored,
            head_sent: false,
            waiting: false,
        });
    }
}
