//! Writing heads and chunk headers, always from parsed parts: a received head is never forwarded as bytes.
//!
//! Invariant: whatever is written parses as exactly the message that was meant. A name that is not a token,
//! a value with CR, LF, NUL or another control character, or a target with whitespace is refused, and then
//! the output is as it was before. Which fields to send is the caller's choice.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use super::fields::{is_token, is_value_byte};

/// The last chunk and an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes `METHOD target HTTP/1.1`, the fields and the empty line.
///
/// # Errors
/// See [`EncodeError`]; `out` is then unchanged.
pub fn write_request_head<'f, N, V>(
    out: &mut Vec<u8>,
    method: &str,
    target: &str,
    fields: impl IntoIterator<Item = (&'f N, &'f V)>,
) -> Result<(), EncodeError>
where
    N: AsRef<str> + ?Sized + 'f,
    V: AsRef<[u8]> + ?Sized + 'f,
{
    if !is_token(method.as_bytes()) {
        return Err(EncodeError::Method);
    }
    if target.is_empty() || !target.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        return Err(EncodeError::Target);
    }
    let start = out.len();
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    finish(out, start, fields)
}

/// Writes `HTTP/1.1 status reason`, the fields and the empty line. Without a reason the standard phrase of
/// the status is used, if there is one.
///
/// # Errors
/// See [`EncodeError`]; `out` is then unchanged.
pub fn write_response_head<'f, N, V>(
    out: &mut Vec<u8>,
    status: u16,
    reason: Option<&str>,
    fields: impl IntoIterator<Item = (&'f N, &'f V)>,
) -> Result<(), EncodeError>
where
    N: AsRef<str> + ?Sized + 'f,
    V: AsRef<[u8]> + ?Sized + 'f,
{
    let start = out.len();
    write_status_line(out, status, reason)?;
    finish(out, start, fields)
}

/// Writes the status line alone.
///
/// # Errors
/// [`EncodeError::Status`] or [`EncodeError::Reason`]; `out` is then unchanged.
pub fn write_status_line(out: &mut Vec<u8>, status: u16, reason: Option<&str>) -> Result<(), EncodeError> {
    let code = http::StatusCode::from_u16(status).map_err(|_| EncodeError::Status)?;
    let reason = reason.or_else(|| code.canonical_reason()).unwrap_or_default();
    if !reason.bytes().all(is_value_byte) {
        return Err(EncodeError::Reason);
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(code.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes one field line.
///
/// # Errors
/// [`EncodeError::FieldName`] or [`EncodeError::FieldValue`]; `out` is then unchanged.
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), EncodeError> {
    if !is_token(name.as_bytes()) {
        return Err(EncodeError::FieldName);
    }
    if !value.iter().copied().all(is_value_byte) {
        return Err(EncodeError::FieldValue);
    }
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes the size line of a chunk of `len` bytes. Its data and then CRLF must follow. A `len` of zero
/// writes nothing, because it would end the body: that is what [`LAST_CHUNK`] is for.
pub fn write_chunk_header(out: &mut Vec<u8>, len: usize) {
    if len == 0 {
        return;
    }
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        let nibble = (len >> (place * 4)) & 0xf;
        out.push(char::from_digit(nibble as u32, 16).map_or(b'0', |digit| digit as u8));
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a decimal number.
pub fn write_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut count = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

fn finish<'f, N, V>(
    out: &mut Vec<u8>,
    start: usize,
    fields: impl IntoIterator<Item = (&'f N, &'f V)>,
) -> Result<(), EncodeError>
where
    N: AsRef<str> + ?Sized + 'f,
    V: AsRef<[u8]> + ?Sized + 'f,
{
    for (name, value) in fields {
        if let Err(error) = write_field(out, name.as_ref(), value.as_ref()) {
            out.truncate(start);
            return Err(error);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The Date of now, rendered once a second (IMF-fixdate, RFC 9110 section 5.6.7).
#[derive(Debug, Clone)]
pub struct DateCache {
    second: u64,
    text: [u8; 29],
}

impl Default for DateCache {
    fn default() -> Self {
        Self {
            second: 0,
            text: imf_fixdate(0),
        }
    }
}

impl DateCache {
    /// The date at this unix time in seconds.
    pub fn at(&mut self, unix_seconds: u64) -> &[u8; 29] {
        if unix_seconds != self.second {
            self.second = unix_seconds;
            self.text = imf_fixdate(unix_seconds);
        }
        &self.text
    }
}

/// Renders a unix time in seconds as IMF-fixdate. Times after the year 9999 give its last second.
#[must_use]
pub fn imf_fixdate(unix_seconds: u64) -> [u8; 29] {
    const LAST: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST));
    let text = httpdate::fmt_http_date(time);
    text.as_bytes().try_into().unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT")
}

/// What cannot be put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EncodeError {
    /// Not a token.
    Method,
    /// Empty, or a byte outside visible ASCII.
    Target,
    /// Outside 100 to 999.
    Status,
    /// A control character in the reason phrase.
    Reason,
    /// Not a token.
    FieldName,
    /// CR, LF, NUL or another control character.
    FieldValue,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "the method is not a token",
            Self::Target => "the target is empty or has a byte that must be percent-encoded",
            Self::Status => "the status is not a number from 100 to 999",
            Self::Reason => "the reason phrase has a control character",
            Self::FieldName => "a field name is not a token",
            Self::FieldValue => "a field value has a control character",
        })
    }
}

impl std::error::Error for EncodeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{BodyDecoder, Framing, Limits, Parsed, parse_request, parse_response};
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn heads_are_written_as_they_are_parsed() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("a"));
        headers.append("x", HeaderValue::from_bytes(b"\xff 1").expect("valid"));
        let mut out = Vec::new();
        write_request_head(&mut out, "GET", "/a?b", &headers).expect("valid");
        assert_eq!(out, b"GET /a?b HTTP/1.1\r\nhost: a\r\nx: \xff 1\r\n\r\n");
        assert!(matches!(
            parse_request(&out, &Limits::default()),
            Ok(Parsed::Complete(_))
        ));
        out.clear();
        write_response_head(&mut out, 404, None, &headers).expect("valid");
        assert!(out.starts_with(b"HTTP/1.1 404 Not Found\r\nhost: a\r\n"));
        assert!(matches!(
            parse_response(&out, "GET", &Limits::default()),
            Ok(Parsed::Complete(_))
        ));
        out.clear();
        write_response_head(&mut out, 299, Some("Odd"), [("a", "b")]).expect("valid");
        assert_eq!(out, b"HTTP/1.1 299 Odd\r\na: b\r\n\r\n");
    }

    #[test]
    fn nothing_that_could_split_a_message_is_written() {
        let mut out = b"before".to_vec();
        let none: [(&str, &str); 0] = [];
        for value in ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "\u{7f}"] {
            assert_eq!(
                write_response_head(&mut out, 200, None, [("a", "b"), ("x", value)]),
                Err(EncodeError::FieldValue)
            );
            assert_eq!(
                write_response_head(&mut out, 200, Some(value), none),
                Err(EncodeError::Reason)
            );
        }
        for name in ["", "a b", "a:", "a\r\n", "\u{e9}"] {
            assert_eq!(
                write_request_head(&mut out, "GET", "/", [(name, "b")]),
                Err(EncodeError::FieldName)
            );
        }
        for target in ["", "/a b", "/a\r\n", "/\u{e9}"] {
            assert_eq!(
                write_request_head(&mut out, "GET", target, none),
                Err(EncodeError::Target)
            );
        }
        assert_eq!(write_request_head(&mut out, "G T", "/", none), Err(EncodeError::Method));
        assert_eq!(write_response_head(&mut out, 99, None, none), Err(EncodeError::Status));
        assert_eq!(out, b"before");
    }

    #[test]
    fn chunk_headers_decode_to_their_size() {
        for len in [1, 9, 10, 15, 16, 255, 256, 65_535, 1 << 20] {
            let mut out = Vec::new();
            write_chunk_header(&mut out, len);
            assert_eq!(out, format!("{len:x}\r\n").as_bytes());
        }
        let mut out = Vec::new();
        write_chunk_header(&mut out, 0);
        assert!(out.is_empty());
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        assert!(decoder.decode(LAST_CHUNK).is_ok_and(|decoded| decoded.done));
    }

    #[test]
    fn decimals_are_written_whole() {
        for number in [0, 7, 10, 1_000_000_007, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn the_date_changes_with_the_second() {
        let mut dates = DateCache::default();
        assert_eq!(dates.at(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(dates.at(784_111_778), b"Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(dates.at(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(DateCache::default().at(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
