//! Response heads from origins, with the framing rules of RFC 9112 section 6.3.
//!
//! Invariant: a response is never framed by a guess. Two framings, a repeated or malformed Content-Length,
//! or chunked mixed with other codings are errors; a coding we do not know is read until the origin closes
//! and that connection is not used again. What may be stored is decided by the cache.

use std::fmt;
use std::mem::MaybeUninit;

use http::{HeaderMap, StatusCode};

use super::error::GateErrorKind;
use super::fields::{Fields, is_value_byte, list_members, parse_length};
use super::limits::{Limits, MAX_FIELDS};
use super::request::{Parsed, Version, check_line_ends, once};

/// How the body of a response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResponseFraming {
    /// No body: HEAD, 1xx, 204, 304.
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// The chunked coding and nothing else.
    Chunked,
    /// Until the origin closes the connection.
    UntilClose,
}

/// A response head, borrowed from the buffer it was received into.
#[derive(Debug, Clone)]
pub struct ResponseHead<'b> {
    /// The version of the message.
    pub version: Version,
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase as received; often empty.
    pub reason: &'b str,
    /// Bytes of the head including the final CRLF.
    pub len: usize,
    /// How the body ends.
    pub framing: ResponseFraming,
    /// Content-Length as sent, also where it does not frame anything (HEAD, 304).
    pub content_length: Option<u64>,
    /// The connection may be used again once the body is done.
    pub keep_alive: bool,
    /// `Connection: upgrade` and a non-empty Upgrade, on a 101.
    pub upgrade: bool,
    lines: &'b [u8],
}

impl<'b> ResponseHead<'b> {
    /// All fields in the order received.
    pub fn fields(&self) -> Fields<'b> {
        Fields::over(self.lines)
    }

    /// The first value of a field, its name compared without regard to case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        self.fields().first(name)
    }

    /// An interim response: 1xx other than 101. Another head follows.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Owned types. The values share one copy of the head.
    ///
    /// # Errors
    /// None that parsing does not catch first.
    pub fn to_owned(&self) -> Result<OwnedResponse, http::Error> {
        Ok(OwnedResponse {
            version: self.version,
            status: StatusCode::from_u16(self.status)?,
            reason: self.reason.to_owned(),
            headers: self.fields().to_map()?,
            framing: self.framing,
            content_length: self.content_length,
            keep_alive: self.keep_alive,
            upgrade: self.upgrade,
        })
    }
}

/// A response head that outlives the buffer.
#[derive(Debug, Clone)]
pub struct OwnedResponse {
    /// The version of the message.
    pub version: Version,
    /// The status.
    pub status: StatusCode,
    /// The reason phrase as received.
    pub reason: String,
    /// The fields as received, hop-by-hop ones included.
    pub headers: HeaderMap,
    /// How the body ends.
    pub framing: ResponseFraming,
    /// Content-Length as sent.
    pub content_length: Option<u64>,
    /// The connection may be used again.
    pub keep_alive: bool,
    /// A 101 that switches protocols.
    pub upgrade: bool,
}

/// A response that cannot be trusted: answer 502 and close that connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseError {
    /// Not a status line of HTTP/1.0 or HTTP/1.1.
    StatusLine,
    /// A field line is malformed, folded, or has a control character.
    Field,
    /// A line of the head ends in LF without CR.
    BareLf,
    /// Head or status line larger than the limits.
    HeadTooLarge,
    /// More fields than the limits allow.
    TooManyFields,
    /// Content-Length is malformed or repeated.
    ContentLength,
    /// Content-Length and Transfer-Encoding together.
    LengthAndTransferEncoding,
    /// Transfer-Encoding is repeated, mixes chunked with other codings, or comes in HTTP/1.0.
    TransferEncoding,
}

impl ResponseError {
    /// A stable name for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.row().0
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::StatusLine => ("status-line", "the origin did not send an HTTP/1.x status line"),
            Self::Field => ("field", "the origin sent a malformed header field"),
            Self::BareLf => ("bare-lf", "the origin ended a header line in LF without CR"),
            Self::HeadTooLarge => ("head-too-large", "the origin's response head is too large"),
            Self::TooManyFields => ("too-many-fields", "the origin sent too many header fields"),
            Self::ContentLength => ("content-length", "the origin's Content-Length is malformed or repeated"),
            Self::LengthAndTransferEncoding => (
                "length-and-transfer-encoding",
                "the origin sent Content-Length and Transfer-Encoding in one response",
            ),
            Self::TransferEncoding => (
                "transfer-encoding",
                "the origin's Transfer-Encoding cannot be framed safely",
            ),
        }
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

impl std::error::Error for ResponseError {}

/// Parses the head at the start of `buf`, the answer to a request with `request_method`.
///
/// # Errors
/// See [`ResponseError`]; the connection must not be used again.
pub fn parse_response<'b>(
    buf: &'b [u8],
    request_method: &str,
    limits: &Limits,
) -> Result<Parsed<ResponseHead<'b>>, ResponseError> {
    if matches!(buf.first(), Some(b'\r' | b'\n')) {
        return Err(ResponseError::StatusLine);
    }
    let window = buf.get(..limits.head).unwrap_or(buf);
    let mut storage = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let slots = storage.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let len = match config.parse_response_with_uninit_headers(&mut parsed, window, slots) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if buf.len() >= limits.head => return Err(ResponseError::HeadTooLarge),
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(error) => return Err(from_httparse(error)),
    };
    let (Some(version), Some(status)) = (parsed.version, parsed.code) else {
        return Err(ResponseError::StatusLine);
    };
    let head = window.get(..len).unwrap_or(window);
    let lines = check_line_ends(head, parsed.headers).map_err(|_: GateErrorKind| ResponseError::BareLf)?;
    let reason = parsed.reason.unwrap_or_default();
    if status < 100 || !reason.bytes().all(is_value_byte) {
        return Err(ResponseError::StatusLine);
    }
    if head.len() - lines.len() - 2 > limits.request_line {
        return Err(ResponseError::HeadTooLarge);
    }
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let mut response = ResponseHead {
        version,
        status,
        reason,
        len,
        framing: ResponseFraming::UntilClose,
        content_length: None,
        keep_alive: false,
        upgrade: false,
        lines,
    };
    response.read_fields(parsed.headers, request_method)?;
    Ok(Parsed::Complete(response))
}

fn from_httparse(error: httparse::Error) -> ResponseError {
    match error {
        httparse::Error::TooManyHeaders => ResponseError::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => ResponseError::Field,
        _ => ResponseError::StatusLine,
    }
}

impl ResponseHead<'_> {
    fn read_fields(&mut self, fields: &[httparse::Header<'_>], request_method: &str) -> Result<(), ResponseError> {
        let mut codings: Option<&[u8]> = None;
        let (mut close, mut keep_alive, mut upgrade, mut upgrade_to) = (false, false, false, false);
        for field in fields {
            let (name, value) = (field.name, field.value);
            match name.len() {
                7 if name.eq_ignore_ascii_case("upgrade") => upgrade_to |= !value.is_empty(),
                10 if name.eq_ignore_ascii_case("connection") => {
                    for option in list_members(value) {
                        close |= option.eq_ignore_ascii_case(b"close");
                        keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                        upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                    }
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    let length = parse_length(value).map_err(|_| ResponseError::ContentLength)?;
                    if self.content_length.replace(length).is_some() {
                        return Err(ResponseError::ContentLength);
                    }
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    once(&mut codings, value, ResponseError::TransferEncoding)?
                }
                _ => {}
            }
        }
        self.framing = match (codings, self.content_length) {
            (Some(_), Some(_)) => return Err(ResponseError::LengthAndTransferEncoding),
            (Some(codings), None) => self.coded(codings)?,
            (None, Some(length)) => ResponseFraming::Length(length),
            (None, None) => ResponseFraming::UntilClose,
        };
        let http11 = self.version == Version::Http11;
        self.keep_alive = !close && (http11 || keep_alive);
        if request_method == "HEAD" || self.status < 200 || matches!(self.status, 204 | 304) {
            // A 1xx or 204 that announces a body is followed by who knows what.
            let doubt = codings.is_some() || self.content_length.is_some_and(|length| length > 0);
            if doubt && (self.status < 200 || self.status == 204) {
                self.keep_alive = false;
            }
            self.framing = ResponseFraming::None;
        }
        if self.framing == ResponseFraming::UntilClose {
            self.keep_alive = false;
        }
        self.upgrade = self.status == 101 && http11 && upgrade && upgrade_to;
        Ok(())
    }

    fn coded(&self, codings: &[u8]) -> Result<ResponseFraming, ResponseError> {
        if self.version == Version::Http10 {
            return Err(ResponseError::TransferEncoding);
        }
        if codings.eq_ignore_ascii_case(b"chunked") {
            return Ok(ResponseFraming::Chunked);
        }
        let looks_chunked = codings.windows(7).any(|part| part.eq_ignore_ascii_case(b"chunked"));
        if looks_chunked {
            Err(ResponseError::TransferEncoding)
        } else {
            Ok(ResponseFraming::UntilClose)
        }
    }
}

#[cfg(test)]
mod tests;
