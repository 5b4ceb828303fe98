//! Which rule a head breaks, once the parser has refused it: for labels and messages.
//!
//! Cold. It only names the reason; that the head is refused is already decided.

use crate::http1::error::GateErrorKind as Kind;
use crate::http1::fields::{is_tchar, is_token, is_value_byte};
use crate::http1::limits::Limits;

/// Finds the reason behind a parser error, on the cold path: which rule the bytes break first.
#[cold]
pub(super) fn diagnose(window: &[u8], error: httparse::Error, limits: &Limits) -> Kind {
    if error == httparse::Error::TooManyHeaders {
        return Kind::TooManyFields;
    }
    let line_end = memchr::memchr(b'\n', window);
    if line_end.unwrap_or(window.len()) >= limits.request_line {
        return Kind::RequestLineTooLong;
    }
    let (line, rest) = window
        .split_at_checked(line_end.map_or(window.len(), |at| at + 1))
        .unwrap_or((window, &[]));
    match error {
        httparse::Error::HeaderName | httparse::Error::HeaderValue => diagnose_fields(rest),
        _ if line_end.is_some() && !line.ends_with(b"\r\n") => Kind::BareLf,
        httparse::Error::NewLine
            if memchr::memchr(b'\r', line).is_some_and(|at| line.get(at + 1).is_some_and(|&b| b != b'\n')) =>
        {
            Kind::BareCr
        }
        httparse::Error::NewLine if line.ends_with(b" HTTP/1.1\r\n") || line.ends_with(b" HTTP/1.0\r\n") => {
            diagnose_fields(rest)
        }
        _ => diagnose_request_line(line),
    }
}

fn diagnose_request_line(line: &[u8]) -> Kind {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    let mut parts = line.splitn(3, |&b| b == b' ');
    let (method, target, version) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if memchr::memchr(0, line).is_some() {
        return Kind::Nul;
    }
    if !is_token(method) {
        return Kind::RequestLine;
    }
    match (target, version) {
        (None, _) => Kind::RequestLine,
        (Some(b""), _) => Kind::RequestLine,
        (Some(_), None) => Kind::Version,
        (Some(target), Some(version)) => {
            if let [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] = version
                && major.is_ascii_digit()
                && minor.is_ascii_digit()
            {
                return if matches!(version, b"HTTP/1.0" | b"HTTP/1.1") {
                    bad_target(target)
                } else {
                    Kind::Version
                };
            }
            if target.iter().any(|b| !(0x21..=0x7e).contains(b)) {
                Kind::TargetByte
            } else {
                Kind::RequestLine
            }
        }
    }
}

fn bad_target(target: &[u8]) -> Kind {
    if target.iter().all(|b| (0x21..=0x7e).contains(b)) {
        Kind::RequestLine
    } else {
        Kind::TargetByte
    }
}

fn diagnose_fields(lines: &[u8]) -> Kind {
    for line in lines.split_inclusive(|&b| b == b'\n') {
        if line == b"\r\n" {
            break;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Kind::ObsFold;
        }
        let colon = memchr::memchr(b':', line);
        let (name, value) = line
            .split_at_checked(colon.unwrap_or(line.len()))
            .unwrap_or((line, &[]));
        if memchr::memchr(0, line).is_some() {
            return Kind::Nul;
        }
        if colon.is_some() && matches!(name.last(), Some(b' ' | b'\t')) {
            return Kind::SpaceBeforeColon;
        }
        let name = name.strip_suffix(b"\n").map_or(name, trim_cr);
        if name.is_empty() || !name.iter().copied().all(is_tchar) || colon.is_none() {
            return Kind::FieldName;
        }
        let value = value.strip_suffix(b"\n").map_or(value, trim_cr);
        if memchr::memchr(b'\r', value).is_some() {
            return Kind::BareCr;
        }
        if !value.iter().copied().all(is_value_byte) {
            return Kind::FieldValue;
        }
    }
    Kind::FieldValue
}

fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
