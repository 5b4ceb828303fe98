//! Heads of stored responses as bytes.
//!
//! Invariant: a stored head carries no field that belongs to one connection or one delivery, and its
//! `Content-Length` is that of the stored content. Everything else the origin sent is kept, `Set-Cookie` and
//! unknown fields included (RFC 9111 section 3.1).

use breakwater_wire::hop::strip_hop_by_hop;
use breakwater_wire::http1::encode::imf_fixdate;
use bytes::{BufMut, Bytes, BytesMut};
use http::header;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::time::Timestamp;

/// Removes what is not stored: connection-related fields, those that `Connection` names, and `Age`.
pub fn strip(fields: &mut HeaderMap) {
    strip_hop_by_hop(fields);
    fields.remove(header::AGE);
}

/// Sets `Content-Length` to `len`, or removes it where the status has no content.
pub fn set_length(status: u16, fields: &mut HeaderMap, len: u64) {
    if matches!(status, 100..200 | 204 | 304) {
        fields.remove(header::CONTENT_LENGTH);
    } else {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    }
}

/// A response that came without a date was made when it came (RFC 9110 section 6.6.1).
pub fn date(fields: &mut HeaderMap, received: Timestamp) {
    if !fields.contains_key(header::DATE)
        && let Ok(date) = HeaderValue::from_bytes(&imf_fixdate(received.as_secs()))
    {
        fields.insert(header::DATE, date);
    }
}

/// The status line and all field lines, a CRLF after each, without the blank line.
pub fn encode(status: u16, fields: &HeaderMap) -> Bytes {
    let size: usize = fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|code| code.canonical_reason())
        .unwrap_or_default();
    let mut out = BytesMut::with_capacity(size + 16 + reason.len());
    out.put_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
    for (name, value) in fields {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn connection_fields_and_those_it_names_are_not_stored_but_set_cookie_is() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("age", "5"),
            ("set-cookie", "a=1"),
            ("content-range", "bytes 0-1/2"),
            ("x-test", "y"),
        ] {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut fields);
        set_length(200, &mut fields, 3);
        let head = encode(200, &fields);
        let mut lines: Vec<_> = std::str::from_utf8(&head).unwrap().split_terminator("\r\n").collect();
        lines[1..].sort_unstable();
        let stored = [
            "content-length: 3",
            "content-range: bytes 0-1/2",
            "set-cookie: a=1",
            "x-test: y",
        ];
        assert_eq!(lines[0], "HTTP/1.1 200 OK");
        assert_eq!(lines[1..], stored);
    }

    #[test]
    fn an_unknown_status_has_an_empty_reason_and_204_no_length() {
        let mut fields = HeaderMap::new();
        set_length(204, &mut fields, 0);
        assert_eq!(encode(204, &fields), "HTTP/1.1 204 No Content\r\n");
        assert_eq!(encode(599, &fields), "HTTP/1.1 599 \r\n");
    }
}
