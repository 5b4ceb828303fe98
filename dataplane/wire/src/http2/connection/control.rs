//! Frames about streams and the connection: settings, windows, resets, priorities, pings.

use super::{Connection, EARLY_PRIORITIES, Event, MAX_WINDOW};
use crate::http2::StreamId;
use crate::http2::error::{ConnectionError as Error, ErrorCode, StreamError};
use crate::http2::frame::{self, Frame, number};
use crate::http2::priority::Priority;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_FRAME_SIZE: u16 = 0x5;

/// The table that a client keeps for us unless it says otherwise (RFC 9113 section 6.5.2).
const DEFAULT_TABLE: u32 = 4096;

/// The number of a stream, without the bit that is reserved.
const STREAM: u32 = 0x7fff_ffff;

impl Connection {
    pub(super) fn control_frame<'e>(
        &mut self,
        frame: &Frame,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'e>>, Error> {
        match frame.kind {
            frame::SETTINGS => self.settings(frame, payload, out),
            frame::WINDOW_UPDATE => self.window_update(frame, payload, out),
            frame::RST_STREAM => self.reset(frame, payload, out),
            frame::PING => self.ping(frame, payload, out),
            frame::PRIORITY => self.old_priority(frame, payload, out),
            frame::PRIORITY_UPDATE => self.priority_update(frame, payload),
            frame::GOAWAY => self.client_goes(frame, payload),
            // Only servers push.
            frame::PUSH_PROMISE => Err(Error::Protocol),
            // Types that nobody has defined are ignored (RFC 9113 section 5.5).
            _ => self.charge_overhead().map(|()| None),
        }
    }

    fn settings<'e>(&mut self, frame: &Frame, payload: &[u8], out: &mut Vec<u8>) -> Result<Option<Event<'e>>, Error> {
        if frame.stream != 0 {
            return Err(Error::Protocol);
        }
        if frame.has(frame::ACK) {
            if !payload.is_empty() {
                return Err(Error::FrameSize);
            }
            if std::mem::replace(&mut self.settings_acknowledged, true) {
                self.glitch()?;
            }
            return Ok(None);
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Error::FrameSize);
        }
        self.charge_overhead()?;
        let mut window = self.first_send_window;
        for &[a, b, c, d, e, f] in settings {
            let value = u32::from_be_bytes([c, d, e, f]);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE if value < DEFAULT_TABLE => self.owes_table_update = true,
                ENABLE_PUSH | frame::NO_RFC7540_PRIORITIES if value > 1 => return Err(Error::Setting),
                frame::INITIAL_WINDOW_SIZE if i64::from(value) > MAX_WINDOW => return Err(Error::FlowControl),
                frame::INITIAL_WINDOW_SIZE => window = value,
                // We never send larger frames than the smallest value.
                MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => return Err(Error::Setting),
                _ => {}
            }
        }
        let opened = self.change_send_windows(window)?;
        let before = out.len();
        frame::write_settings_ack(out);
        self.charge_control(out, before)?;
        Ok(opened.then_some(Event::Writable { stream: None }))
    }

    /// Applies SETTINGS_INITIAL_WINDOW_SIZE to all streams. True if one that waits can go on.
    fn change_send_windows(&mut self, window: u32) -> Result<bool, Error> {
        let change = i64::from(window) - i64::from(self.first_send_window);
        self.first_send_window = window;
        let mut opened = false;
        if change != 0 {
            for stream in self.streams.iter_mut() {
                let before = stream.send_window;
                stream.send_window += change;
                if stream.send_window > MAX_WINDOW {
                    return Err(Error::FlowControl);
                }
                opened |= stream.waiting && before <= 0 && stream.send_window > 0;
            }
        }
        Ok(opened)
    }

    fn window_update<'e>(
        &mut self,
        frame: &Frame,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'e>>, Error> {
        if payload.len() != 4 {
            return Err(Error::FrameSize);
        }
        self.charge_overhead()?;
        let increment = i64::from(number(payload) & STREAM);
        if frame.stream == 0 {
            if increment == 0 {
                return Err(Error::Protocol);
            }
            self.send_window += increment;
            if self.send_window > MAX_WINDOW {
                return Err(Error::FlowControl);
            }
            // Also when nothing waits to be sent: the client is busy reading what it was sent before.
            return Ok(Some(Event::Writable { stream: None }));
        }
        if self.is_idle(frame.stream) {
            return Err(Error::IdleStream);
        }
        let Some(stream) = self.streams.get_mut(frame.stream) else {
            return Ok(None);
        };
        let fault = match increment {
            0 => StreamError::ZeroIncrement,
            _ if stream.send_window + increment > MAX_WINDOW => StreamError::FlowControl,
            _ => {
                let before = stream.send_window;
                stream.send_window += increment;
                let opened = stream.waiting && before <= 0 && stream.send_window > 0;
                return Ok(opened.then_some(Event::Writable {
                    stream: Some(frame.stream),
                }));
            }
        };
        self.fail_stream(frame.stream, fault, out).map(Some)
    }

    fn reset<'e>(&mut self, frame: &Frame, payload: &[u8], out: &mut Vec<u8>) -> Result<Option<Event<'e>>, Error> {
        if frame.stream == 0 {
            return Err(Error::Protocol);
        }
        if payload.len() != 4 {
            return Err(Error::FrameSize);
        }
        if self.is_idle(frame.stream) {
            return Err(Error::IdleStream);
        }
        if !self.contains(frame.stream) {
            // It crossed the end of our response. From here on the client knows that the stream is closed.
            self.forget_reset(frame.stream);
            self.charge_overhead()?;
            return Ok(None);
        }
        self.remove(frame.stream, out);
        self.charge_reset()?;
        Ok(Some(Event::Reset {
            stream: frame.stream,
            code: number(payload).into(),
        }))
    }

    fn ping<'e>(&mut self, frame: &Frame, payload: &[u8], out: &mut Vec<u8>) -> Result<Option<Event<'e>>, Error> {
        if frame.stream != 0 {
            return Err(Error::Protocol);
        }
        if payload.len() != 8 {
            return Err(Error::FrameSize);
        }
        self.charge_overhead()?;
        if frame.has(frame::ACK) {
            // We sent none.
            self.glitch()?;
        } else {
            let before = out.len();
            frame::write_ping_ack(out, payload);
            self.charge_control(out, before)?;
        }
        Ok(None)
    }

    /// PRIORITY of RFC 7540: checked and ignored.
    fn old_priority<'e>(
        &mut self,
        frame: &Frame,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'e>>, Error> {
        if frame.stream == 0 {
            return Err(Error::Protocol);
        }
        self.charge_overhead()?;
        let fault = if payload.len() != 5 {
            StreamError::FrameSize
        } else if number(payload) & STREAM == frame.stream {
            StreamError::SelfDependency
        } else {
            return Ok(None);
        };
        if self.contains(frame.stream) {
            return self.fail_stream(frame.stream, fault, out).map(Some);
        }
        // A stream that is not open cannot be reset.
        Err(match fault {
            StreamError::FrameSize => Error::FrameSize,
            _ => Error::Protocol,
        })
    }

    /// PRIORITY_UPDATE (RFC 9218 section 7.1).
    fn priority_update<'e>(&mut self, frame: &Frame, payload: &[u8]) -> Result<Option<Event<'e>>, Error> {
        if frame.stream != 0 {
            return Err(Error::Protocol);
        }
        let (id, value) = payload.split_first_chunk::<4>().ok_or(Error::FrameSize)?;
        let id = u32::from_be_bytes(*id) & STREAM;
        if id.is_multiple_of(2) {
            return Err(Error::Protocol);
        }
        self.charge_overhead()?;
        let priority = Priority::parse(value);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.priority = priority;
        } else if id > self.last_stream {
            let known = self.early.iter().position(|(stream, _)| *stream == id);
            let place = known.unwrap_or_else(|| {
                self.early_next = (self.early_next + 1) % EARLY_PRIORITIES as u8;
                usize::from(self.early_next)
            });
            if let Some(slot) = self.early.get_mut(place) {
                *slot = (id, priority);
            }
        }
        Ok(None)
    }

    fn client_goes<'e>(&mut self, frame: &Frame, payload: &[u8]) -> Result<Option<Event<'e>>, Error> {
        if frame.stream != 0 {
            return Err(Error::Protocol);
        }
        let (last, rest) = payload.split_first_chunk::<4>().ok_or(Error::FrameSize)?;
        let code = rest.first_chunk::<4>().ok_or(Error::FrameSize)?;
        self.charge_overhead()?;
        self.peer_gone = true;
        Ok(Some(Event::GoAway {
            last: u32::from_be_bytes(*last) & STREAM,
            code: u32::from_be_bytes(*code).into(),
        }))
    }

    /// The first step of a graceful end: asks the client to open no more streams, without refusing those that
    /// are on their way. [`Connection::goaway`] follows a round trip later.
    pub fn shutdown(&mut self, out: &mut Vec<u8>) {
        frame::write_goaway(out, STREAM, ErrorCode::NoError);
    }

    /// Says that streams beyond those seen will not be answered. Those that are open go on; later ones are ignored.
    pub fn goaway(&mut self, code: ErrorCode, out: &mut Vec<u8>) {
        if !self.gone || code != ErrorCode::NoError {
            self.gone = true;
            frame::write_goaway(out, self.last_stream, code);
        }
    }

    /// Resets a stream for a reason of the caller's. Does nothing for a stream that is closed.
    pub fn send_reset(&mut self, stream: StreamId, code: ErrorCode, out: &mut Vec<u8>) {
        if self.contains(stream) {
            frame::write_reset(out, stream, code);
            self.remove(stream, out);
            self.remember_reset(stream);
        }
    }
}
