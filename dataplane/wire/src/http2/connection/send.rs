//! Responses: heads from HTTP/1.1 text, DATA within the windows, and whose turn it is.

use super::{Connection, Sent};
use crate::http1::fields::{is_value_byte, lower_tchar, trim_ows};
use crate::http2::StreamId;
use crate::http2::error::{ErrorCode, SendError};
use crate::http2::frame::{self, HEADER, MAX_FRAME};
use crate::http2::hpack::encode;

impl Connection {
    /// Sends a response head that is written as for HTTP/1.1: status line, field lines, empty line.
    ///
    /// Names become lower case, and fields that concern an HTTP/1.1 connection are left out. Interim heads
    /// (1xx but 101) may come before the final one. `end_stream`: there is no body.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the stream is gone, [`SendError::Malformed`] when the head is not one, is
    /// the second final one, or is an interim one that ends the stream. `out` is then as it was.
    pub fn send_head(
        &mut self,
        stream: StreamId,
        head: &[u8],
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let open = self.streams.get(stream).ok_or(SendError::Closed)?;
        let (digits, lines) = split_status(head).ok_or(SendError::Malformed)?;
        let interim = digits[0] == b'1';
        if open.head_sent || (interim && end_stream) || &digits == b"101" {
            return Err(SendError::Malformed);
        }
        let start = self.begin_headers(stream, out);
        encode::status(out, digits);
        if write_lines(lines, out).is_none() {
            out.truncate(start);
            return Err(SendError::Malformed);
        }
        self.owes_table_update = false;
        end_headers(out, start, end_stream);
        if let Some(open) = self.streams.get_mut(stream) {
            open.head_sent = !interim;
        }
        if end_stream {
            self.end_response(stream, out);
        }
        Ok(())
    }

    /// Sends a final response head that is a field block already, put together with
    /// [`write_status`](crate::http2::write_status), [`write_field`](crate::http2::write_field) and
    /// [`Blocks`](crate::http2::Blocks). `end_stream`: there is no body.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the stream is gone, [`SendError::Malformed`] when it had its final head. `out` is then as
    /// it was.
    pub fn send_block(
        &mut self,
        stream: StreamId,
        block: &[u8],
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let open = self.streams.get_mut(stream).ok_or(SendError::Closed)?;
        if std::mem::replace(&mut open.head_sent, true) {
            return Err(SendError::Malformed);
        }
        let start = self.begin_headers(stream, out);
        out.extend_from_slice(block);
        self.owes_table_update = false;
        end_headers(out, start, end_stream);
        if end_stream {
            self.end_response(stream, out);
        }
        Ok(())
    }

    /// Sends fields behind the body, as lines of HTTP/1.1. They end the stream.
    ///
    /// # Errors
    /// As [`Connection::send_head`].
    pub fn send_trailers(&mut self, stream: StreamId, lines: &[u8], out: &mut Vec<u8>) -> Result<(), SendError> {
        let open = self.streams.get(stream).ok_or(SendError::Closed)?;
        if !open.head_sent {
            return Err(SendError::Malformed);
        }
        let start = self.begin_headers(stream, out);
        if write_lines(lines, out).is_none() {
            out.truncate(start);
            return Err(SendError::Malformed);
        }
        self.owes_table_update = false;
        end_headers(out, start, true);
        self.end_response(stream, out);
        Ok(())
    }

    /// Sends copies of as much of `bytes` as the windows allow, and END_STREAM with the last of them if
    /// `end_stream`.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the stream is gone, [`SendError::Malformed`] before the head.
    pub fn send_data(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<Sent, SendError> {
        let mut sent = Sent::default();
        loop {
            let rest = bytes.get(sent.bytes..).unwrap_or_default();
            let piece = self.data_frame(stream, rest.len(), end_stream, out)?;
            out.extend_from_slice(rest.get(..piece.bytes).unwrap_or_default());
            sent.bytes += piece.bytes;
            if piece.ended {
                sent.ended = true;
                self.end_response(stream, out);
            }
            if piece.ended || piece.bytes == 0 || sent.bytes == bytes.len() {
                return Ok(sent);
            }
        }
    }

    /// Writes the header of one DATA frame for up to `available` bytes. Exactly [`Sent::bytes`] bytes of payload
    /// must be put behind it before anything else. None and not ended: a window is closed, nothing was written.
    ///
    /// The end may need a call of its own with nothing available, although `end_stream` was said with the last
    /// bytes: a response that ends before its request is followed by a reset, for which there is no place between
    /// header and payload. [`Sent::ended`] tells.
    ///
    /// # Errors
    /// As [`Connection::send_data`].
    pub fn data_frame_header(
        &mut self,
        stream: StreamId,
        available: usize,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<Sent, SendError> {
        let complete = self.streams.get(stream).is_some_and(|open| open.remote_ended);
        let sent = self.data_frame(stream, available, end_stream && (complete || available == 0), out)?;
        if sent.ended {
            self.end_response(stream, out);
        }
        Ok(sent)
    }

    /// Bytes that both windows allow now.
    #[must_use]
    pub fn send_capacity(&self, stream: StreamId) -> usize {
        let window = self.streams.get(stream).map_or(0, |open| open.send_window);
        usize::try_from(window.min(self.send_window)).unwrap_or(0)
    }

    /// Whether the client lets nothing more of this stream come, until it opens the stream's window.
    #[must_use]
    pub fn window_is_shut(&self, stream: StreamId) -> bool {
        self.streams.get(stream).is_some_and(|open| open.send_window <= 0)
    }

    /// Whether the client lets nothing more of any stream come, until it opens the connection's window.
    #[must_use]
    pub const fn connection_window_is_shut(&self) -> bool {
        self.send_window <= 0
    }

    /// Says whether the stream has bytes to send.
    pub fn set_waiting(&mut self, stream: StreamId, waiting: bool) {
        if let Some(open) = self.streams.get_mut(stream) {
            open.waiting = waiting;
        }
    }

    /// The stream that sends next: of those that wait and whose windows are open the most urgent (RFC 9218
    /// section 10); of these the oldest that is not incremental; else the incremental one that sent longest ago.
    #[must_use]
    pub fn next_writable(&self) -> Option<StreamId> {
        if self.send_window <= 0 {
            return None;
        }
        let ready = self.streams.iter().filter(|open| open.waiting && open.send_window > 0);
        let first = ready.min_by_key(|open| {
            let incremental = open.priority.incremental;
            let turn = if incremental { open.turn } else { open.id };
            (open.priority.urgency, incremental, turn)
        });
        first.map(|open| open.id)
    }

    /// One frame header, with END_STREAM if all that is available fits.
    fn data_frame(
        &mut self,
        stream: StreamId,
        available: usize,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<Sent, SendError> {
        let capacity = self.send_capacity(stream);
        let open = self.streams.get_mut(stream).ok_or(SendError::Closed)?;
        if !open.head_sent {
            return Err(SendError::Malformed);
        }
        let bytes = available.min(capacity).min(MAX_FRAME);
        let ended = end_stream && bytes == available;
        if bytes == 0 && !ended {
            return Ok(Sent::default());
        }
        open.send_window -= bytes as i64;
        self.send_window -= bytes as i64;
        self.turn = self.turn.wrapping_add(1);
        open.turn = self.turn;
        self.levels.overhead.forgive(bytes as u32 / 1024);
        let flags = if ended { frame::END_STREAM } else { 0 };
        frame::write_header(out, bytes, frame::DATA, flags, stream);
        Ok(Sent { bytes, ended })
    }

    /// END_STREAM was written. What the client still sends is not wanted (RFC 9113 section 8.1).
    fn end_response(&mut self, stream: StreamId, out: &mut Vec<u8>) {
        self.levels.resets.forgive(1);
        if self.streams.get(stream).is_some_and(|open| open.remote_ended) {
            self.remove(stream, out);
        } else {
            self.send_reset(stream, ErrorCode::NoError, out);
        }
    }

    /// Makes room for the frame header. Returns where it is.
    fn begin_headers(&self, stream: StreamId, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        frame::write_header(out, 0, frame::HEADERS, frame::END_HEADERS, stream);
        if self.owes_table_update {
            out.push(encode::NO_TABLE);
        }
        start
    }
}

/// Fills in what was not known when the frame began, and cuts a block that is too large for one frame.
fn end_headers(out: &mut Vec<u8>, start: usize, end_stream: bool) {
    let Some(mut header) = out.get(start..).and_then(frame::Frame::parse) else {
        return;
    };
    let block = out.len() - start - HEADER;
    header.len = block.min(MAX_FRAME);
    if end_stream {
        header.flags |= frame::END_STREAM;
    }
    if block > MAX_FRAME {
        header.flags &= !frame::END_HEADERS;
        let rest = out.split_off(start + HEADER + MAX_FRAME);
        let last = rest.len().div_ceil(MAX_FRAME);
        for (place, piece) in rest.chunks(MAX_FRAME).enumerate() {
            let flags = if place + 1 == last { frame::END_HEADERS } else { 0 };
            frame::write_header(out, piece.len(), frame::CONTINUATION, flags, header.stream);
            out.extend_from_slice(piece);
        }
    }
    if let Some(place) = out.get_mut(start..start + HEADER) {
        place.copy_from_slice(&header.to_bytes());
    }
}

/// The digits of the status, and the field lines with the empty line.
fn split_status(head: &[u8]) -> Option<([u8; 3], &[u8])> {
    let (line, lines) = head.split_at_checked(memchr::memchr(b'\n', head)? + 1)?;
    let line = line.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_suffix(b"\r\n")?;
    let (digits, reason) = line.strip_prefix(b" ")?.split_first_chunk::<3>()?;
    let good = digits.iter().all(u8::is_ascii_digit) && digits[0] != b'0' && matches!(reason, [] | [b' ', ..]);
    (good && lines.ends_with(b"\r\n")).then_some((*digits, lines))
}

/// Encodes field lines up to the empty line or the end.
pub(in crate::http2) fn write_lines(mut lines: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if !are_lines(lines) {
        return None;
    }
    out.reserve(lines.len());
    let (mut short, mut long) = ([0; SHORT_NAME], Vec::new());
    while !lines.is_empty() {
        let (line, rest) = lines.split_at_checked(memchr::memchr(b'\n', lines)? + 1)?;
        lines = rest;
        let line = line.strip_suffix(b"\r\n")?;
        if line.is_empty() {
            return lines.is_empty().then_some(());
        }
        let name = match lower_name(line, &mut short) {
            Some(name) => name,
            None => {
                long.resize(line.len(), 0);
                lower_name(line, &mut long)?
            }
        };
        if !is_of_a_connection(name) {
            encode::field(out, name, trim_ows(line.get(name.len() + 1..)?));
        }
    }
    Some(())
}

/// Whether every byte may be in a line, and there are as many CR as LF: where every line ends in both, none is bare.
fn are_lines(lines: &[u8]) -> bool {
    let (mut good, mut balance) = (true, 0_i32);
    // One byte for each sum and no way out of the loop: many bytes are looked at at once.
    for piece in lines.chunks(112) {
        let mut more = 0_i8;
        for &byte in piece {
            good &= is_value_byte(byte) | (byte == b'\r') | (byte == b'\n');
            more += i8::from(byte == b'\r') - i8::from(byte == b'\n');
        }
        balance += i32::from(more);
    }
    good && balance == 0
}

/// Names up to this length need no room of their own, bytes.
const SHORT_NAME: usize = 64;

/// The token in front of the colon, in lower case. None: there is none, or too little room for it.
fn lower_name<'r>(line: &[u8], room: &'r mut [u8]) -> Option<&'r [u8]> {
    for (length, &byte) in line.iter().enumerate() {
        match lower_tchar(byte) {
            0 if byte == b':' && length > 0 => return room.get(..length),
            0 => return None,
            letter => *room.get_mut(length)? = letter,
        }
    }
    None
}

/// Fields that HTTP/2 does not have (RFC 9113 section 8.2.2). `name` in lower case.
fn is_of_a_connection(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"te" | b"transfer-encoding" | b"upgrade"
    )
}
