//! Bodies: where the next data lies in what was read, and where the message ends.
//!
//! Invariant: the data found does not depend on how the input was cut into reads. Chunked is strict: CRLF
//! only, hexadecimal digits only, no whitespace after them, extensions bounded and dropped, trailers bounded and
//! shown to whoever wants them ([`Trailers`](super::Trailers)). The decoder copies nothing and holds 32 bytes of state; limits on the body itself are the caller's.

use std::fmt;
use std::ops::Range;

use super::fields::{is_tchar, is_value_byte};
use super::request::Framing;
use super::response::ResponseFraming;

/// Most digits of a chunk size: what 64 bits need.
pub const MAX_SIZE_DIGITS: u8 = 16;
/// Most bytes of chunk extensions in one body.
pub const MAX_EXTENSIONS: u16 = 4096;
/// Most bytes of the trailer section, line ends included.
pub const MAX_TRAILERS: u16 = 8192;

/// A decoder for one body.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of data left in the body or chunk.
    left: u64,
    digits: u8,
    extensions: u16,
    trailers: u16,
}

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are dealt with, [`Decoded::data`] included.
    pub consumed: usize,
    /// Where in the input the data lies; may be empty.
    pub data: Range<usize>,
    /// Where in the input a piece of the trailer section lies, its final empty line included; mostly empty.
    pub trailers: Range<usize>,
    /// The body is complete. What follows `consumed` is the next message.
    pub done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Length,
    UntilClose,
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Failed(BodyError),
}

impl BodyDecoder {
    /// A decoder for a body framed so: takes [`Framing`] or [`ResponseFraming`].
    pub fn new(framing: impl Into<ResponseFraming>) -> Self {
        let (state, left) = match framing.into() {
            ResponseFraming::None | ResponseFraming::Length(0) => (State::Done, 0),
            ResponseFraming::Length(length) => (State::Length, length),
            ResponseFraming::Chunked => (State::Size, 0),
            ResponseFraming::UntilClose => (State::UntilClose, 0),
        };
        Self {
            state,
            left,
            digits: 0,
            extensions: 0,
            trailers: 0,
        }
    }

    /// The body is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes still to come, if the framing tells: Content-Length only.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length => Some(self.left),
            _ => None,
        }
    }

    /// Finds the next run of data. Call again with the input behind `consumed`, until `done` or until
    /// nothing is left; without error each call consumes all of the input or returns data or `done`.
    ///
    /// # Errors
    /// The body is malformed: close the connection. The error stays: every later call returns it.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        let mut at = 0;
        let before = self.trailers;
        loop {
            match self.state {
                State::Done => return Ok(self.no_data(at, before)),
                State::Failed(error) => return Err(error),
                State::UntilClose => {
                    return Ok(Decoded {
                        consumed: input.len(),
                        data: at..input.len(),
                        trailers: 0..0,
                        done: false,
                    });
                }
                State::Length | State::Data if at < input.len() => return Ok(self.take_data(at, input.len())),
                _ => {}
            }
            let Some(&byte) = input.get(at) else {
                return Ok(self.no_data(at, before));
            };
            at += 1;
            if let Err(error) = self.step(byte) {
                self.state = State::Failed(error);
                return Err(error);
            }
        }
    }

    /// The sender closed the connection.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] if the framing promised more, or the error that [`BodyDecoder::decode`] gave.
    pub fn at_eof(&self) -> Result<(), BodyError> {
        match self.state {
            State::Done | State::UntilClose => Ok(()),
            State::Failed(error) => Err(error),
            _ => Err(BodyError::Truncated),
        }
    }

    /// The input up to `at` held no data, or was framing behind it; `before` is how many bytes of trailers had come.
    fn no_data(&self, at: usize, before: u16) -> Decoded {
        // Nothing but the end comes behind trailers: they are the last that was looked at.
        let trailers = usize::from(self.trailers - before);
        Decoded {
            consumed: at,
            data: at..at,
            trailers: at - trailers..at,
            done: self.is_done(),
        }
    }

    fn take_data(&mut self, at: usize, end: usize) -> Decoded {
        let available = end - at;
        let taken = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= taken as u64;
        if self.left == 0 {
            self.state = if self.state == State::Length {
                State::Done
            } else {
                State::DataCr
            };
        }
        Decoded {
            consumed: at + taken,
            data: at..at + taken,
            trailers: 0..0,
            done: self.state == State::Done,
        }
    }

    /// One byte of the chunked framing.
    fn step(&mut self, byte: u8) -> Result<(), BodyError> {
        if matches!(
            self.state,
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf | State::EndLf
        ) {
            self.trailers += 1;
            if self.trailers > MAX_TRAILERS {
                return Err(BodyError::TrailersTooLarge);
            }
        }
        self.state = match (self.state, byte) {
            (State::Size, _) if byte.is_ascii_hexdigit() => {
                self.digits += 1;
                if self.digits > MAX_SIZE_DIGITS {
                    return Err(BodyError::ChunkSize);
                }
                self.left = (self.left << 4) | u64::from(hex_value(byte));
                State::Size
            }
            (State::Size, _) if self.digits == 0 => return Err(BodyError::ChunkSize),
            (State::Size | State::Extension, b'\r') => State::SizeLf,
            (State::Size, b';') => self.extension()?,
            (State::Size | State::SizeLf | State::Extension, b'\n') => match self.state {
                State::SizeLf => self.size_done(),
                _ => return Err(BodyError::BareLf),
            },
            (State::Size, _) => return Err(BodyError::ChunkSize),
            (State::Extension, _) if is_value_byte(byte) => self.extension()?,
            (State::Extension, _) => return Err(BodyError::ChunkExtension),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::DataCr | State::DataLf, _) => return Err(BodyError::ChunkEnd),
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::EndLf, b'\n') => State::Done,
            (State::TrailerStart | State::TrailerName, _) if is_tchar(byte) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if is_value_byte(byte) => State::TrailerValue,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::TrailerName | State::TrailerValue, b'\n') => return Err(BodyError::BareLf),
            (State::TrailerStart | State::TrailerName | State::TrailerValue, _) => return Err(BodyError::Trailer),
            (State::SizeLf | State::TrailerLf | State::EndLf, _) => return Err(BodyError::BareCr),
            (State::Done | State::Length | State::UntilClose | State::Data | State::Failed(_), _) => return Ok(()),
        };
        Ok(())
    }

    fn extension(&mut self) -> Result<State, BodyError> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            Err(BodyError::ExtensionsTooLarge)
        } else {
            Ok(State::Extension)
        }
    }

    fn size_done(&mut self) -> State {
        self.digits = 0;
        if self.left == 0 {
            State::TrailerStart
        } else {
            State::Data
        }
    }
}

impl From<Framing> for ResponseFraming {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::None,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked,
        }
    }
}

fn hex_value(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20).wrapping_sub(b'a' - 10),
    }
}

/// A body that does not follow its framing. From a client: 400; from an origin: 502 or a broken-off
/// response. The connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyError {
    /// No hexadecimal digits, too many, or something else behind them.
    ChunkSize,
    /// A control character in a chunk extension.
    ChunkExtension,
    /// More than [`MAX_EXTENSIONS`] bytes of chunk extensions.
    ExtensionsTooLarge,
    /// The data of a chunk is not followed by CRLF.
    ChunkEnd,
    /// LF without CR in the framing.
    BareLf,
    /// CR without LF in the framing.
    BareCr,
    /// A malformed trailer field.
    Trailer,
    /// More than [`MAX_TRAILERS`] bytes of trailers.
    TrailersTooLarge,
    /// The connection was closed before the end of the body.
    Truncated,
}

impl BodyError {
    /// A stable name for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.row().0
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::ChunkSize => ("chunk-size", "a chunk size is not 1 to 16 hexadecimal digits"),
            Self::ChunkExtension => ("chunk-extension", "a control character in a chunk extension"),
            Self::ExtensionsTooLarge => ("chunk-extensions-too-large", "too many bytes of chunk extensions"),
            Self::ChunkEnd => ("chunk-end", "the data of a chunk is not followed by CRLF"),
            Self::BareLf => ("chunk-bare-lf", "LF without CR in the chunked framing"),
            Self::BareCr => ("chunk-bare-cr", "CR without LF in the chunked framing"),
            Self::Trailer => ("trailer", "a malformed trailer field"),
            Self::TrailersTooLarge => ("trailers-too-large", "too many bytes of trailers"),
            Self::Truncated => ("truncated", "the connection was closed before the end of the body"),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

impl std::error::Error for BodyError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes with at most `step` bytes for each call: the body, the rest of the input, or the error.
    fn run(framing: ResponseFraming, input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), BodyError> {
        let (mut decoder, mut body, mut at) = (BodyDecoder::new(framing), Vec::new(), 0);
        while at < input.len() && !decoder.is_done() {
            let window = &input[at..input.len().min(at.saturating_add(step))];
            let decoded = decoder.decode(window)?;
            body.extend_from_slice(&window[decoded.data.clone()]);
            assert!(decoded.consumed > 0, "no progress at {at}");
            assert_eq!(decoded.done, decoder.is_done());
            at += decoded.consumed;
        }
        Ok((body, at, decoder.at_eof().is_ok()))
    }

    fn chunked(input: &str) -> Result<(Vec<u8>, usize, bool), BodyError> {
        let whole = run(ResponseFraming::Chunked, input.as_bytes(), usize::MAX);
        for step in 1..=5 {
            assert_eq!(
                run(ResponseFraming::Chunked, input.as_bytes(), step),
                whole,
                "{input:?} in steps of {step}"
            );
        }
        whole
    }

    #[test]
    fn chunks_are_joined_and_the_next_message_is_left_alone() {
        let input = "5;ext=\"a b\"\r\nhello\r\n0A\r\n, world!!!\r\n000\r\nTrailer: x\r\nB:\r\n\r\n";
        let (body, consumed, complete) = chunked(&format!("{input}GET / HTTP/1.1")).expect("valid");
        assert_eq!(
            (body.as_slice(), consumed, complete),
            (&b"hello, world!!!"[..], input.len(), true)
        );
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for (input, error) in [
            ("5\nhello\r\n0\r\n\r\n", BodyError::BareLf),
            ("5;a\nhello\r\n0\r\n\r\n", BodyError::BareLf),
            ("0x1\r\na\r\n0\r\n\r\n", BodyError::ChunkSize),
            ("+5\r\nhello\r\n", BodyError::ChunkSize),
            ("-5\r\nhello\r\n", BodyError::ChunkSize),
            ("5 \r\nhello\r\n", BodyError::ChunkSize),
            ("5 ;a\r\nhello\r\n", BodyError::ChunkSize),
            (" 5\r\nhello\r\n", BodyError::ChunkSize),
            ("\r\nhello\r\n", BodyError::ChunkSize),
            (";a\r\nhello\r\n", BodyError::ChunkSize),
            ("g\r\n", BodyError::ChunkSize),
            ("00000000000000005\r\nhello\r\n", BodyError::ChunkSize),
            ("5\rhello\r\n", BodyError::BareCr),
            ("5;a\rb\r\nhello\r\n", BodyError::BareCr),
            ("5;a\0\r\nhello\r\n", BodyError::ChunkExtension),
            ("5\r\nhelloX\n", BodyError::ChunkEnd),
            ("5\r\nhello\n0\r\n\r\n", BodyError::ChunkEnd),
            ("5\r\nhello\rX", BodyError::ChunkEnd),
            ("0\r\n\n", BodyError::BareLf),
            ("0\r\nX: y\n\r\n", BodyError::BareLf),
            ("0\r\nX y\r\n\r\n", BodyError::Trailer),
            ("0\r\n: y\r\n\r\n", BodyError::Trailer),
            ("0\r\n X: y\r\n\r\n", BodyError::Trailer),
            ("0\r\nX: y\r\n z\r\n\r\n", BodyError::Trailer),
            ("0\r\nX: \0\r\n\r\n", BodyError::Trailer),
            ("0\r\n\rX", BodyError::BareCr),
        ] {
            assert_eq!(chunked(input), Err(error), "{input:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_over_the_whole_body() {
        let extensions = format!("1;{}\r\na\r\n", "x".repeat(99)).repeat(usize::from(MAX_EXTENSIONS) / 100 + 1);
        assert_eq!(chunked(&extensions), Err(BodyError::ExtensionsTooLarge));
        let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(usize::from(MAX_TRAILERS) / 6 + 1));
        assert_eq!(chunked(&trailers), Err(BodyError::TrailersTooLarge));
    }

    #[test]
    fn the_largest_size_does_not_overflow() {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let decoded = decoder.decode(b"ffffffffffffffff\r\nabc").expect("valid so far");
        assert_eq!((decoded.data, decoded.done), (18..21, false));
    }

    #[test]
    fn a_body_with_a_length_ends_there() {
        let length = ResponseFraming::Length(5);
        assert_eq!(run(length, b"helloGET", 2), Ok((b"hello".to_vec(), 5, true)));
        assert_eq!(run(length, b"hell", 3), Ok((b"hell".to_vec(), 4, false)));
        let mut decoder = BodyDecoder::new(length);
        assert_eq!(decoder.remaining(), Some(5));
        decoder.decode(b"he").expect("valid");
        assert_eq!(
            (decoder.remaining(), decoder.at_eof()),
            (Some(3), Err(BodyError::Truncated))
        );
    }

    #[test]
    fn no_body_is_done_at_once_and_until_close_never() {
        for framing in [ResponseFraming::None, ResponseFraming::Length(0)] {
            assert!(BodyDecoder::new(framing).is_done());
        }
        assert_eq!(
            run(ResponseFraming::UntilClose, b"abc", 2),
            Ok((b"abc".to_vec(), 3, true))
        );
        let mut decoder = BodyDecoder::new(ResponseFraming::UntilClose);
        assert_eq!(
            decoder.decode(b"abc"),
            Ok(Decoded {
                consumed: 3,
                data: 0..3,
                trailers: 0..0,
                done: false
            })
        );
    }

    #[test]
    fn every_truncation_of_a_chunked_body_is_an_error_at_eof() {
        let input = b"3\r\nabc\r\n0\r\nX: y\r\n\r\n";
        for end in 0..input.len() {
            assert!(
                matches!(
                    run(ResponseFraming::Chunked, &input[..end], usize::MAX),
                    Ok((_, _, false))
                ),
                "{end}"
            );
        }
    }

    #[test]
    fn an_error_stays() {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        assert_eq!(decoder.decode(b"x"), Err(BodyError::ChunkSize));
        assert_eq!(decoder.decode(b"5\r\n"), Err(BodyError::ChunkSize));
        assert_eq!(decoder.at_eof(), Err(BodyError::ChunkSize));
    }
}
