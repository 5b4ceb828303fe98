//! Cache-Status (RFC 9211): writing what this cache did.
//!
//! Only known parameters in a fixed order; strings are escaped, and what is not printable ASCII is left out.

use crate::http1::encode::write_decimal;

/// Why a request went to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache is off for this request.
    Bypass,
    /// The method cannot be served from a cache.
    Method,
    /// Nothing stored under this URI.
    UriMiss,
    /// Stored, but no variant fits.
    VaryMiss,
    /// Nothing usable, without saying which.
    Miss,
    /// The request's own directives or conditions asked for it.
    Request,
    /// Stored but stale.
    Stale,
    /// Only some of the bytes asked for are stored.
    Partial,
}

impl Forward {
    /// The token.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// One member of the field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    /// Served without going to the origin. Without this and without `forward`, neither is claimed.
    pub hit: bool,
    /// Why the request was forwarded; ignored on a hit.
    pub forward: Option<Forward>,
    /// The status that the origin answered with.
    pub forward_status: Option<u16>,
    /// Remaining freshness in seconds; negative if stale.
    pub ttl: Option<i64>,
    /// The response was stored.
    pub stored: bool,
    /// The request waited for another one of the same key.
    pub collapsed: bool,
    /// The cache key, for debugging.
    pub key: Option<&'a str>,
    /// A short note.
    pub detail: Option<&'a str>,
}

impl CacheStatus<'_> {
    /// Writes `name; hit; ttl=30` and the like. `name` must be a token that starts with a letter; anything
    /// else is written as a string.
    pub fn write(&self, name: &str, out: &mut Vec<u8>) {
        let token =
            name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(crate::http1::fields::is_tchar);
        if token {
            out.extend_from_slice(name.as_bytes());
        } else {
            write_string(out, name);
        }
        if self.hit {
            out.extend_from_slice(b"; hit");
        } else if let Some(forward) = self.forward {
            out.extend_from_slice(b"; fwd=");
            out.extend_from_slice(forward.as_str().as_bytes());
            if let Some(status) = self.forward_status {
                out.extend_from_slice(b"; fwd-status=");
                write_decimal(out, u64::from(status));
            }
        }
        if let Some(ttl) = self.ttl {
            out.extend_from_slice(if ttl < 0 { b"; ttl=-" } else { b"; ttl=" });
            write_decimal(out, ttl.unsigned_abs());
        }
        if self.stored {
            out.extend_from_slice(b"; stored");
        }
        if self.collapsed {
            out.extend_from_slice(b"; collapsed");
        }
        for (label, text) in [(&b"; key="[..], self.key), (b"; detail=", self.detail)] {
            if let Some(text) = text {
                out.extend_from_slice(label);
                write_string(out, text);
            }
        }
    }
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes().filter(|byte| (0x20..=0x7e).contains(byte)) {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: CacheStatus<'_>) -> String {
        let mut out = Vec::new();
        status.write("breakwater", &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn hits_and_misses_are_written() {
        assert_eq!(
            written(CacheStatus {
                hit: true,
                ttl: Some(-30),
                ..Default::default()
            }),
            "breakwater; hit; ttl=-30"
        );
        let miss = CacheStatus {
            forward: Some(Forward::UriMiss),
            forward_status: Some(200),
            ttl: Some(60),
            stored: true,
            collapsed: true,
            ..Default::default()
        };
        assert_eq!(
            written(miss),
            "breakwater; fwd=uri-miss; fwd-status=200; ttl=60; stored; collapsed"
        );
    }

    #[test]
    fn strings_cannot_break_out() {
        let status = CacheStatus {
            key: Some("a\"b\\c\r\nX: y\u{e9}"),
            detail: Some(""),
            ..Default::default()
        };
        assert_eq!(written(status), "breakwater; key=\"a\\\"b\\\\cX: y\"; detail=\"\"");
    }
}
