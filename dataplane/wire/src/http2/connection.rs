//! The state of a connection, and the two doors to it: [`Connection::next`] and the `send_` functions.

mod ahead;
mod block;
mod control;
mod data;
mod receive;
mod send;

use super::budget::Levels;
use super::error::{ConnectionError, ErrorCode, StreamError};
use super::frame;
use super::hpack::decode::Decoder;
use super::limits::Limits;
use super::priority::Priority;
use super::request::Scratch;
use super::stream::Streams;
use super::{PREFACE, StreamId};
use crate::http1::{Fields, GateError, RequestHead};
use block::Block;
use data::DataFrame;
use receive::Step;
pub(super) use send::write_lines;

/// Streams we have reset whose late frames are ignored.
const REMEMBERED: usize = 16;

/// Priorities remembered for streams that are not open yet.
const EARLY_PRIORITIES: usize = 4;

/// The window that both sides begin with (RFC 9113 section 6.9.2).
const FIRST_WINDOW: u32 = 65_535;

const MAX_WINDOW: i64 = (1 << 31) - 1;

/// What came from the client.
#[derive(Debug)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "an event lives for one turn of a loop; requests are most of them"
)]
pub enum Event<'e> {
    /// A request that passed the rules of HTTP/2 and the gate of HTTP/1.1. Its version is
    /// [`Version::Http2`](crate::http1::Version::Http2), `host` stands for `:authority`, names are in lower
    /// case, the crumbs of a cookie are joined, and a body without content-length is
    /// [`Framing::Chunked`](crate::http1::Framing::Chunked).
    Request {
        /// Where to answer.
        stream: StreamId,
        /// The head.
        head: RequestHead<'e>,
        /// There is no body.
        end_stream: bool,
        /// The client has taken it back already: a RST_STREAM for it lies further on in the same input, and is reported
        /// as [`Event::Reset`] when its turn comes. Nobody waits for an answer.
        withdrawn: bool,
    },
    /// The gate of HTTP/1.1 refused a request. Answer [`GateError::status`]; its body is ignored.
    Refused {
        /// Where to answer.
        stream: StreamId,
        /// Why.
        error: GateError,
    },
    /// A piece of a request's body, not longer than content-length allows. Give its length back with
    /// [`Connection::release`] when it is consumed.
    Data {
        /// Whose body.
        stream: StreamId,
        /// Maybe empty, if the stream ends.
        bytes: &'e [u8],
        /// The body ends behind it.
        end_stream: bool,
    },
    /// Fields behind a body, which ends with them.
    Trailers {
        /// Whose body.
        stream: StreamId,
        /// The fields, checked as those of a head.
        fields: Fields<'e>,
    },
    /// The client wants no answer any more.
    Reset {
        /// A stream whose request or refusal was reported.
        stream: StreamId,
        /// Why.
        code: ErrorCode,
    },
    /// We have reset a stream. A request may have been reported on it or not.
    Failed {
        /// The stream.
        stream: StreamId,
        /// Why: count its label.
        error: StreamError,
    },
    /// A window opened on which a waiting stream was stuck, or the connection's, whether or not one was: a client opens
    /// it as it reads. Ask [`Connection::next_writable`].
    Writable {
        /// The stream, or None when there may be several.
        stream: Option<StreamId>,
    },
    /// The client will open no more streams.
    GoAway {
        /// The last of our streams that the client has seen; we open none.
        last: StreamId,
        /// Why.
        code: ErrorCode,
    },
}

/// What was sent of what was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Bytes taken.
    pub bytes: usize,
    /// END_STREAM was written: the response is complete.
    pub ended: bool,
}

/// What comes next from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The rest of [`PREFACE`], after so many bytes of it.
    Preface(u8),
    /// SETTINGS, which must be the first frame.
    Settings,
    /// Any frame.
    Open,
}

/// A connection, seen from the server.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    decoder: Decoder,
    streams: Streams,
    levels: Levels,
    /// A header block whose end has not come.
    block: Option<Box<Block<'static>>>,
    /// A DATA frame whose end has not come.
    data: Option<DataFrame>,
    /// The highest stream that the client has opened.
    last_stream: StreamId,
    /// The last streams that we reset, as a ring.
    reset: [StreamId; REMEMBERED],
    reset_next: u8,
    early: [(StreamId, Priority); EARLY_PRIORITIES],
    early_next: u8,
    /// Bytes of the input from here on in which no RST_STREAM begins.
    without_reset: usize,
    send_window: i64,
    recv_window: u32,
    /// To be given back to the client with the next WINDOW_UPDATE of the connection.
    released: u32,
    /// What the window is wider by than at first.
    wider: u32,
    /// The part of it that no stream needs any more: it is not given back once it was used.
    withdrawn: u32,
    /// The client's SETTINGS_INITIAL_WINDOW_SIZE.
    first_send_window: u32,
    /// Counts what incremental streams send, for their turns.
    turn: u32,
    /// Bytes of answers to the client's frames since [`Connection::flushed`].
    control: u32,
    phase: Phase,
    settings_acknowledged: bool,
    /// The client made its compression table smaller: the next block must say that we use none.
    owes_table_update: bool,
    gone: bool,
    peer_gone: bool,
    failed: Option<ConnectionError>,
}

impl Connection {
    /// A new connection. Our SETTINGS are written to `out` at once: nothing of the client is needed for them.
    #[must_use]
    pub fn new(limits: &Limits, out: &mut Vec<u8>) -> Self {
        let mut limits = *limits;
        limits.streams = limits.streams.min(1000);
        limits.stream_window = limits.stream_window.min(MAX_WINDOW as u32);
        limits.widest_stream_window = limits.widest_stream_window.min(MAX_WINDOW as u32 / 2);
        limits.wider_connection = limits.wider_connection.min(MAX_WINDOW as u32 / 2);
        limits.connection_window = limits.connection_window.clamp(FIRST_WINDOW, MAX_WINDOW as u32 / 2);
        frame::write_settings(
            out,
            &[
                (frame::MAX_CONCURRENT_STREAMS, limits.streams),
                (frame::INITIAL_WINDOW_SIZE, limits.stream_window),
                (frame::MAX_HEADER_LIST_SIZE, limits.header_list),
                (frame::NO_RFC7540_PRIORITIES, 1),
            ],
        );
        if limits.connection_window > FIRST_WINDOW {
            frame::write_window_update(out, 0, limits.connection_window - FIRST_WINDOW);
        }
        Self {
            decoder: Decoder::default(),
            streams: Streams::default(),
            levels: Levels::default(),
            block: None,
            data: None,
            last_stream: 0,
            reset: [0; REMEMBERED],
            reset_next: 0,
            early: [(0, Priority::default()); EARLY_PRIORITIES],
            early_next: 0,
            without_reset: 0,
            send_window: i64::from(FIRST_WINDOW),
            recv_window: limits.connection_window,
            released: 0,
            wider: 0,
            withdrawn: 0,
            first_send_window: FIRST_WINDOW,
            turn: 0,
            control: 0,
            phase: Phase::Preface(0),
            settings_acknowledged: false,
            owes_table_update: false,
            gone: false,
            peer_gone: false,
            failed: None,
            limits,
        }
    }

    /// The next event in `input`, which is advanced over what was used.
    ///
    /// None: more bytes are needed. What is left of `input`, at most one frame of 16 KiB, must come again in
    /// front of them. Acknowledgements, resets and window updates are appended to `out`. An event does not
    /// borrow the connection: it can be answered while it is looked at. `now_ms` is a clock that does not go back.
    ///
    /// # Errors
    /// The connection is over and GOAWAY is in `out`; every later call gives the same error.
    pub fn next<'i: 'e, 'e>(
        &mut self,
        input: &mut &'i [u8],
        scratch: &'e mut Scratch,
        out: &mut Vec<u8>,
        now_ms: u64,
    ) -> Result<Option<Event<'e>>, ConnectionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.levels.pass(now_ms);
        let before = input.len();
        let step = self.advance(input, &mut scratch.strings, out);
        self.without_reset = self.without_reset.saturating_sub(before - input.len());
        // Events are large, and leave from where they are made.
        let error = match step {
            Ok(Step::More) => return Ok(None),
            Ok(Step::Event(event)) => return Ok(Some(event)),
            Ok(Step::Block(block)) => match self.read_block(&block, input, scratch, out) {
                Ok(event) => return Ok(Some(event)),
                Err(error) => error,
            },
            Err(error) => error,
        };
        self.failed = Some(error);
        self.goaway(error.code(), out);
        Err(error)
    }

    /// Whether a header block has begun and not ended: the client owes the rest soon.
    #[must_use]
    pub fn in_header_block(&self) -> bool {
        self.block.is_some()
    }

    /// Streams that are open: their request or their response is not complete.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether the stream is open.
    #[must_use]
    pub fn contains(&self, stream: StreamId) -> bool {
        self.streams.get(stream).is_some()
    }

    /// Whether nothing can follow: one side has said that it goes away, and no stream is open.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        (self.gone || self.peer_gone) && self.streams.len() == 0
    }

    /// Whether a head, or the beginning of the connection, has come in part: the wait for the rest of it should be
    /// short. Half a frame is with the caller and not known here.
    #[must_use]
    pub fn is_reading_head(&self) -> bool {
        self.block.is_some() || self.phase != Phase::Open
    }

    /// Bytes that the connection's window is wider by than at first: for those who bound the sum over connections.
    #[must_use]
    pub const fn wider(&self) -> u32 {
        self.wider
    }

    /// Bytes of answers that the client has caused since [`Connection::flushed`].
    #[must_use]
    pub fn control_pending(&self) -> usize {
        self.control as usize
    }

    /// The socket has taken everything that was put out so far.
    pub fn flushed(&mut self) {
        self.control = 0;
    }

    /// Oddities that are charged and not forgiven.
    #[must_use]
    pub fn glitches(&self) -> u32 {
        self.levels.glitches.get()
    }

    /// Bytes that the connection owns beside itself.
    #[must_use]
    pub fn heap(&self) -> usize {
        let block = self.block.as_ref().map_or(0, |block| block.heap());
        self.decoder.heap() + self.streams.heap() + block
    }

    /// Whether the client never opened the stream.
    fn is_idle(&self, stream: StreamId) -> bool {
        stream.is_multiple_of(2) || stream > self.last_stream
    }

    fn was_reset(&self, stream: StreamId) -> bool {
        self.gone || self.reset.contains(&stream)
    }

    fn remember_reset(&mut self, stream: StreamId) {
        if let Some(slot) = self.reset.get_mut(usize::from(self.reset_next)) {
            *slot = stream;
        }
        self.reset_next = (self.reset_next + 1) % REMEMBERED as u8;
    }

    fn forget_reset(&mut self, stream: StreamId) {
        if let Some(slot) = self.reset.iter_mut().find(|reset| **reset == stream) {
            *slot = 0;
        }
    }

    fn glitch(&mut self) -> Result<(), ConnectionError> {
        if self.levels.glitches.charge(1, self.limits.glitches) {
            return Err(ConnectionError::Glitches);
        }
        Ok(())
    }

    fn charge_reset(&mut self) -> Result<(), ConnectionError> {
        if self.levels.resets.charge(1, self.limits.resets) {
            return Err(ConnectionError::Resets);
        }
        Ok(())
    }

    fn charge_overhead(&mut self) -> Result<(), ConnectionError> {
        if self.levels.overhead.charge(1, self.limits.overhead) {
            return Err(ConnectionError::Overhead);
        }
        Ok(())
    }

    /// Accounts for what was written to `out` since it had `before` bytes.
    fn charge_control(&mut self, out: &[u8], before: usize) -> Result<(), ConnectionError> {
        self.control = self.control.saturating_add((out.len() - before) as u32);
        if self.control > self.limits.control_output {
            return Err(ConnectionError::ControlOutput);
        }
        Ok(())
    }

    /// Takes the stream away, and gives the connection's window back what was not consumed of it.
    fn remove(&mut self, stream: StreamId, out: &mut Vec<u8>) {
        if let Some(stream) = self.streams.remove(stream) {
            self.withdrawn += stream.wider;
            self.give_back(stream.held, out);
        }
    }

    /// Resets a stream for an error of the client's.
    fn fail_stream<'e>(
        &mut self,
        stream: StreamId,
        error: StreamError,
        out: &mut Vec<u8>,
    ) -> Result<Event<'e>, ConnectionError> {
        let before = out.len();
        frame::write_reset(out, stream, error.code());
        self.remove(stream, out);
        self.remember_reset(stream);
        self.charge_control(out, before)?;
        self.charge_reset()?;
        if error != StreamError::Refused {
            self.glitch()?;
        }
        Ok(Event::Failed { stream, error })
    }
}
