//! What a field line is to HTTP/2 (RFC 9113 section 8.2): found out once, kept with it in the table.
//!
//! Invariant: a field that is not [`Class::Malformed`] can be written as an HTTP/1.1 field line, or is a
//! pseudo-header whose value can stand in a request line.

use crate::http1::fields::{is_tchar, is_value_byte};

/// The classes of fields that a request head is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Any field without a rule of its own.
    Plain,
    /// `:method`, a token.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:path`, not empty, without space and control characters.
    Path,
    /// `:authority`, without space and control characters.
    Authority,
    /// `cookie`, which may come in crumbs.
    Cookie,
    /// `host`.
    Host,
    /// `priority` (RFC 9218 section 5).
    Priority,
    /// A name or a value that no request may have: an unknown pseudo-header, upper case, a byte that is not
    /// allowed, space around the value, a field that concerns an HTTP/1.1 connection, TE other than `trailers`.
    Malformed,
}

impl Class {
    /// The class of a field.
    pub(super) fn of(name: &[u8], value: &[u8]) -> Self {
        Self::of_name(name).with_value(value)
    }

    /// The class of a field whose name is the one of a static entry (1 to 61).
    pub(super) fn of_static(index: u32, value: &[u8]) -> Self {
        let class = match index {
            1 => Self::Authority,
            2 | 3 => Self::Method,
            4 | 5 => Self::Path,
            6 | 7 => Self::Scheme,
            // `:status`, and `transfer-encoding`.
            8..=14 | 57 => return Self::Malformed,
            32 => Self::Cookie,
            38 => Self::Host,
            _ => Self::Plain,
        };
        class.with_value(value)
    }

    /// True for the fields that come before all others and whose names begin with a colon.
    pub(super) fn is_pseudo(self) -> bool {
        matches!(self, Self::Method | Self::Scheme | Self::Path | Self::Authority)
    }

    fn of_name(name: &[u8]) -> NameClass {
        let known = match name {
            [b':', ..] => {
                return NameClass::Known(match name {
                    b":method" => Self::Method,
                    b":scheme" => Self::Scheme,
                    b":path" => Self::Path,
                    b":authority" => Self::Authority,
                    _ => Self::Malformed,
                });
            }
            b"te" => return NameClass::Te,
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => Self::Malformed,
            b"host" => Self::Host,
            b"cookie" => Self::Cookie,
            b"priority" => Self::Priority,
            _ if name.is_empty() || !name.iter().fold(true, |ok, &byte| ok & is_lower_tchar(byte)) => Self::Malformed,
            _ => Self::Plain,
        };
        NameClass::Known(known)
    }

    fn with_value(self, value: &[u8]) -> Self {
        NameClass::Known(self).with_value(value)
    }
}

enum NameClass {
    Known(Class),
    Te,
}

impl NameClass {
    fn with_value(self, value: &[u8]) -> Class {
        let (class, good) = match self {
            Self::Te => (Class::Plain, value == b"trailers"),
            Self::Known(Class::Malformed) => return Class::Malformed,
            Self::Known(class @ Class::Method) => {
                (class, !value.is_empty() && value.iter().all(|&byte| is_tchar(byte)))
            }
            Self::Known(class @ (Class::Path | Class::Authority)) => (class, !value.is_empty() && is_visible(value)),
            Self::Known(class @ Class::Scheme) => (class, matches!(value, b"http" | b"https")),
            Self::Known(class) => (class, is_value(value)),
        };
        if good { class } else { Class::Malformed }
    }
}

fn is_lower_tchar(byte: u8) -> bool {
    // One comparison for nearly every byte of a name.
    byte.is_ascii_lowercase() || (is_tchar(byte) && !byte.is_ascii_uppercase())
}

fn is_visible(value: &[u8]) -> bool {
    value.iter().fold(true, |ok, &byte| ok & (byte > 0x20) & (byte != 0x7f))
}

fn is_value(value: &[u8]) -> bool {
    !matches!(value.first(), Some(b' ' | b'\t'))
        && !matches!(value.last(), Some(b' ' | b'\t'))
        && value.iter().fold(true, |ok, &byte| ok & is_value_byte(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::hpack::static_table::STATIC;

    #[test]
    fn a_static_name_has_the_class_that_its_text_has() {
        for (at, (name, _)) in STATIC.iter().enumerate() {
            for value in [&b"GET"[..], b"http", b"/", b" x", b"x\n"] {
                let by_text = Class::of(name.as_bytes(), value);
                assert_eq!(Class::of_static(at as u32 + 1, value), by_text, "{name}");
            }
        }
    }

    #[test]
    fn fields_that_no_request_may_have_are_malformed() {
        for (name, value) in [
            ("", "x"),
            ("X-Upper", "x"),
            ("sp ace", "x"),
            ("colon:", "x"),
            ("nul\0", "x"),
            ("line\r\n", "x"),
            ("\u{e9}", "x"),
            (":status", "200"),
            (":protocol", "websocket"),
            (":", "x"),
            (":Method", "GET"),
            ("connection", "close"),
            ("proxy-connection", "close"),
            ("keep-alive", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers, deflate"),
            ("te", "gzip"),
            ("te", ""),
            ("x", " lead"),
            ("x", "trail\t"),
            ("x", "a\rb"),
            ("x", "a\nb"),
            ("x", "a\0b"),
            ("x", "a\u{7f}"),
            (":method", "G T"),
            (":method", ""),
            (":path", ""),
            (":path", "/a b"),
            (":path", "/a\tb"),
            (":path", "/a\r\nX: y"),
            (":authority", ""),
            (":authority", "a b"),
            (":authority", "a\n"),
            (":scheme", "ftp"),
            (":scheme", ""),
        ] {
            assert_eq!(
                Class::of(name.as_bytes(), value.as_bytes()),
                Class::Malformed,
                "{name}: {value}"
            );
        }
        for (name, value, class) in [
            ("te", "trailers", Class::Plain),
            ("x-a_b", "a\tb \u{ff}", Class::Plain),
            ("x", "", Class::Plain),
            ("cookie", "a=b", Class::Cookie),
            (":path", "*", Class::Path),
            (":method", "M-SEARCH", Class::Method),
        ] {
            assert_eq!(Class::of(name.as_bytes(), value.as_bytes()), class, "{name}: {value}");
        }
    }
}
