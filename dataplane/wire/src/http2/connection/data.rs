//! DATA: bodies of requests, and the windows that they come through.

use super::receive::Step;
use super::{Connection, Event};
use crate::http2::StreamId;
use crate::http2::error::{ConnectionError as Error, StreamError};
use crate::http2::frame::{self, Frame, HEADER};

/// A DATA frame that was accounted for, and whose payload comes or has to be skipped.
#[derive(Debug)]
pub(super) struct DataFrame {
    stream: StreamId,
    /// Bytes of the body that have not come.
    left: usize,
    /// Bytes of padding behind them.
    padding: usize,
    end_stream: bool,
    /// There is something to report: bytes, or the end.
    wanted: bool,
}

impl DataFrame {
    /// Bytes of this stream's body that are still to come in it.
    const fn to_come(&self, stream: StreamId) -> usize {
        if self.stream == stream { self.left } else { 0 }
    }
}

impl Connection {
    /// Checks a DATA frame by its header, and accounts for all of it. None: go on with the payload.
    pub(super) fn begin_data<'i>(
        &mut self,
        frame: &Frame,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Step<'i>>, Error> {
        if frame.stream == 0 {
            return Err(Error::Protocol);
        }
        if self.is_idle(frame.stream) {
            return Err(Error::IdleStream);
        }
        let mut header = HEADER;
        let mut padding = 0;
        if frame.has(frame::PADDED) {
            if frame.len == 0 {
                return Err(Error::FrameSize);
            }
            let Some(&length) = input.get(HEADER) else {
                return Ok(Some(Step::More));
            };
            header += 1;
            padding = usize::from(length);
        }
        let overhead = header - HEADER + padding;
        let body = frame.len.checked_sub(overhead).ok_or(Error::Protocol)?;
        *input = input.get(header..).unwrap_or_default();
        let flow = frame.len as u32;
        self.recv_window = self.recv_window.checked_sub(flow).ok_or(Error::FlowControl)?;
        let end_stream = frame.has(frame::END_STREAM);
        let mut data = DataFrame {
            stream: frame.stream,
            left: body,
            padding,
            end_stream,
            wanted: false,
        };
        let fault = self.accept_data(&mut data, flow);
        // Padding, or all of the frame when it is skipped. The window of a stream whose body is ignored stays shut.
        let skipped = if data.wanted { overhead as u32 } else { flow };
        if fault.is_none() && self.streams.get(frame.stream).is_some_and(|open| !open.ignored) {
            self.give_back_to(frame.stream, skipped, 0, out);
        } else {
            self.give_back(skipped, out);
        }
        if body == 0 && !end_stream {
            self.glitch()?;
        }
        self.levels.overhead.forgive(body as u32 / 1024);
        self.data = Some(data);
        match fault {
            Some(error) => Ok(Some(Step::Event(self.fail_stream(frame.stream, error, out)?))),
            None => Ok(None),
        }
    }

    /// Accounts for a frame on its stream and says whether it is wanted, or what is wrong with it.
    fn accept_data(&mut self, data: &mut DataFrame, flow: u32) -> Option<StreamError> {
        let was_reset = self.was_reset(data.stream);
        let Some(stream) = self.streams.get_mut(data.stream) else {
            return (!was_reset).then_some(StreamError::Closed);
        };
        if stream.remote_ended {
            return Some(StreamError::Closed);
        }
        let Some(window) = stream.recv_window.checked_sub(flow) else {
            return Some(StreamError::FlowControl);
        };
        stream.recv_window = window;
        if stream.ignored {
            stream.remote_ended = data.end_stream;
            return None;
        }
        if let Some(left) = &mut stream.length_left {
            match left.checked_sub(data.left as u64) {
                Some(rest) if rest == 0 || !data.end_stream => *left = rest,
                _ => return Some(StreamError::ContentLength),
            }
        }
        stream.held += data.left as u32;
        data.wanted = data.left > 0 || data.end_stream;
        None
    }

    /// The next piece of the payload. None: more has to come, or the frame is over and forgotten.
    pub(super) fn read_data<'i>(&mut self, input: &mut &'i [u8]) -> Option<Event<'i>> {
        let data = self.data.as_mut()?;
        let here = input.len().min(data.left);
        let (bytes, rest) = input.split_at_checked(here).unwrap_or_default();
        *input = rest;
        data.left -= here;
        let wanted = data.wanted && (here > 0 || data.left == 0);
        if data.left == 0 {
            data.wanted = false;
            let skipped = input.len().min(data.padding);
            *input = input.get(skipped..).unwrap_or_default();
            data.padding -= skipped;
        }
        let (stream, end_stream) = (data.stream, data.end_stream && data.left == 0);
        if data.left == 0 && data.padding == 0 {
            self.data = None;
        }
        // The stream may be gone since the frame began: the rest of it is for nobody.
        let open = self.streams.get_mut(stream).filter(|_| wanted)?;
        open.remote_ended |= end_stream;
        if end_stream {
            self.withdrawn += std::mem::take(&mut open.wider);
        }
        Some(Event::Data {
            stream,
            bytes,
            end_stream,
        })
    }

    /// Gives back `n` bytes of body that were consumed, so that as many can follow. Window updates are put
    /// together until half a window is free. Does nothing for a stream that is closed.
    pub fn release(&mut self, stream: StreamId, n: usize, out: &mut Vec<u8>) {
        self.consume(stream, n, 0, out);
    }

    /// As [`Connection::release`]; and when nothing of the stream's body is left to be consumed, so that its window is
    /// all that holds the client back, the window becomes twice as wide, as far as limits allow, and with it the
    /// connection's, by `room` bytes at most.
    pub fn consume(&mut self, stream: StreamId, n: usize, room: u32, out: &mut Vec<u8>) {
        let Some(open) = self.streams.get_mut(stream) else {
            return;
        };
        let n = u32::try_from(n).unwrap_or(u32::MAX).min(open.held);
        open.held -= n;
        if n > 0 {
            self.give_back_to(stream, n, room, out);
        }
    }

    /// Gives back to a stream's window, and to the connection's.
    fn give_back_to(&mut self, stream: StreamId, n: u32, room: u32, out: &mut Vec<u8>) {
        if let Some(open) = self.streams.get_mut(stream) {
            open.released += n;
            let window = self.limits.stream_window + open.wider;
            if open.released > 0 && open.released >= window / 2 && !open.remote_ended {
                // Of a frame that has begun all counts as held; what has not come cannot be consumed.
                let to_come = self.data.as_ref().map_or(0, |data| data.to_come(stream));
                let more = if room > 0 && open.held as usize <= to_come {
                    // What is still to come may be less than fits already.
                    let left = open.length_left.unwrap_or(u64::MAX);
                    let missing = left.saturating_sub(u64::from(open.recv_window + open.released));
                    let widest = self.limits.widest_stream_window.saturating_sub(window);
                    window.min(widest).min(u32::try_from(missing).unwrap_or(u32::MAX))
                } else {
                    0
                };
                let fresh = room.min(self.limits.wider_connection.saturating_sub(self.wider));
                let more = more.min(self.withdrawn.saturating_add(fresh));
                frame::write_window_update(out, stream, open.released + more);
                open.recv_window += std::mem::take(&mut open.released) + more;
                open.wider += more;
                self.widen(more, out);
            }
        }
        self.give_back(n, out);
    }

    /// Makes the connection's window wider for a stream's, which first takes over what others need no more.
    fn widen(&mut self, by: u32, out: &mut Vec<u8>) {
        let again = by.min(self.withdrawn);
        self.withdrawn -= again;
        let fresh = by - again;
        if fresh > 0 {
            self.wider += fresh;
            self.recv_window += fresh;
            frame::write_window_update(out, 0, fresh);
        }
    }

    /// Gives back to the connection's window.
    pub(super) fn give_back(&mut self, n: u32, out: &mut Vec<u8>) {
        let kept = n.min(self.withdrawn);
        self.withdrawn -= kept;
        self.wider -= kept;
        self.released += n - kept;
        if self.released >= self.limits.connection_window / 2 {
            frame::write_window_update(out, 0, self.released);
            self.recv_window += std::mem::take(&mut self.released);
        }
    }
}
