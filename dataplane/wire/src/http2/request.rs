//! Decoded fields into a request: the rules of RFC 9113 section 8, then the gate of HTTP/1.1.
//!
//! Invariant: a request that comes out of here could have been written as HTTP/1.1 and read again as the same
//! request, because the field lines handlers see are such text, and target, authority and lengths went
//! through the code that checks them for HTTP/1.1. What breaks a rule of HTTP/2 itself is malformed and ends
//! the stream; what only the gate objects to is refused with the gate's status, so that people see why.

use super::field::Class;
use super::hpack::decode::Sink;
use super::limits::Limits;
use super::priority::Priority;
use crate::http1::request::gate_http2;
use crate::http1::{Fields, GateError, GateErrorKind as Kind, RequestHead};

/// Room in which a head is put together. One for a worker; it grows to the largest head that was accepted.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) strings: Vec<u8>,
    pub(super) lists: Lists,
}

impl Scratch {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Values of the pseudo-headers, one behind the other.
    pseudo: Vec<u8>,
    /// Field lines.
    lines: Vec<u8>,
    /// The crumbs of the cookie, joined.
    cookie: Vec<u8>,
}

/// What a header block of a new stream is.
#[expect(clippy::large_enum_variant, reason = "never kept: it becomes an event at once")]
pub(super) enum Outcome<'e> {
    Request(RequestHead<'e>, Priority),
    Refused(GateError),
    Malformed,
}

/// Where the value of a pseudo-header is; None: there was none.
type Slot = Option<(usize, usize)>;

/// Collects the fields of one list.
pub(super) struct Collector<'e> {
    lists: &'e mut Lists,
    limits: Limits,
    size: usize,
    fields: u16,
    method: Slot,
    scheme: Slot,
    path: Slot,
    authority: Slot,
    priority: Priority,
    /// A field that is not a pseudo-header has come, or this is a trailer section: no pseudo-header may follow.
    in_fields: bool,
    malformed: bool,
    refused: Option<Kind>,
}

impl<'e> Collector<'e> {
    pub(super) fn new(lists: &'e mut Lists, limits: &Limits, trailers: bool) -> Self {
        lists.pseudo.clear();
        lists.lines.clear();
        lists.cookie.clear();
        Self {
            lists,
            limits: *limits,
            size: 0,
            fields: 0,
            method: None,
            scheme: None,
            path: None,
            authority: None,
            priority: Priority::default(),
            in_fields: trailers,
            malformed: false,
            refused: None,
        }
    }

    /// The request; `ended` says that it has no body.
    pub(super) fn into_request(mut self, ended: bool) -> Outcome<'e> {
        self.begin_fields();
        if self.malformed {
            return Outcome::Malformed;
        }
        if let Some(kind) = self.refused {
            return Outcome::Refused(kind.into());
        }
        if !self.lists.cookie.is_empty() {
            let cookie = std::mem::take(&mut self.lists.cookie);
            push_line(&mut self.lists.lines, b"cookie", &cookie);
            self.lists.cookie = cookie;
        }
        let lists: &'e Lists = self.lists;
        let text = |slot: Slot| slot.map(|(start, end)| lists.pseudo.get(start..end).unwrap_or_default());
        let (Some(method), path) = (text(self.method), text(self.path)) else {
            return Outcome::Malformed;
        };
        if method == b"CONNECT" {
            // RFC 9113 section 8.5: neither scheme nor path. Extended CONNECT was not offered.
            let plain = self.scheme.is_none() && path.is_none() && self.authority.is_some();
            return if plain {
                Outcome::Refused(Kind::Connect.into())
            } else {
                Outcome::Malformed
            };
        }
        let (Some(_), Some(path)) = (self.scheme, path) else {
            return Outcome::Malformed;
        };
        if !(path.starts_with(b"/") || (path == b"*" && method == b"OPTIONS")) {
            return Outcome::Malformed;
        }
        if method.len() + path.len() + b"  HTTP/2.0\r\n".len() > self.limits.request_line as usize {
            return Outcome::Refused(Kind::RequestLineTooLong.into());
        }
        let (Ok(method), Ok(path)) = (std::str::from_utf8(method), std::str::from_utf8(path)) else {
            return Outcome::Refused(Kind::TargetByte.into());
        };
        match gate_http2(method, path, &lists.lines, ended) {
            Ok(head) => Outcome::Request(head, self.priority),
            Err(error) => Outcome::Refused(error),
        }
    }

    /// The trailer section, if it is one.
    pub(super) fn into_trailers(self) -> Option<Fields<'e>> {
        let good = !self.malformed && self.refused.is_none();
        good.then_some(Fields::over(&self.lists.lines))
    }

    /// Once, before the first field: the authority becomes Host.
    fn begin_fields(&mut self) {
        if std::mem::replace(&mut self.in_fields, true) {
            return;
        }
        if let Some((start, end)) = self.authority {
            let authority = self.lists.pseudo.get(start..end).unwrap_or_default();
            push_line(&mut self.lists.lines, b"host", authority);
        }
    }

    fn pseudo(&mut self, value: &[u8], class: Class) {
        let start = self.lists.pseudo.len();
        let slot = match class {
            Class::Method => &mut self.method,
            Class::Scheme => &mut self.scheme,
            Class::Path => &mut self.path,
            _ => &mut self.authority,
        };
        self.malformed |= self.in_fields || slot.replace((start, start + value.len())).is_some();
        self.lists.pseudo.extend_from_slice(value);
    }

    /// A Host beside `:authority` must say the same; without, it is a field and the gate sees to it.
    fn host(&mut self, value: &[u8]) {
        match self.authority {
            Some((start, end)) => {
                let authority = self.lists.pseudo.get(start..end).unwrap_or_default();
                self.malformed |= !authority.eq_ignore_ascii_case(value);
            }
            None => push_line(&mut self.lists.lines, b"host", value),
        }
    }
}

impl Sink for Collector<'_> {
    fn field(&mut self, name: &[u8], value: &[u8], class: Class) {
        if class == Class::Malformed {
            self.malformed = true;
        }
        self.size += name.len() + value.len() + 32;
        if self.size > self.limits.header_list as usize {
            self.refused = Some(Kind::HeadTooLarge);
        }
        if self.malformed || self.refused.is_some() {
            return;
        }
        if class.is_pseudo() {
            return self.pseudo(value, class);
        }
        self.begin_fields();
        if class == Class::Cookie {
            if self.lists.cookie.is_empty() {
                self.fields += 1;
            } else {
                self.lists.cookie.extend_from_slice(b"; ");
            }
            self.lists.cookie.extend_from_slice(value);
            return;
        }
        self.fields += 1;
        if self.fields > self.limits.fields {
            self.refused = Some(Kind::TooManyFields);
            return;
        }
        match class {
            Class::Host => self.host(value),
            _ => {
                if class == Class::Priority {
                    self.priority.apply(value);
                }
                push_line(&mut self.lists.lines, name, value);
            }
        }
    }
}

/// A sink for blocks that nobody wants: only the table has to follow them.
pub(super) struct Ignore;

impl Sink for Ignore {
    fn field(&mut self, _name: &[u8], _value: &[u8], _class: Class) {}
}

fn push_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    lines.reserve(name.len() + value.len() + 4);
    lines.extend_from_slice(name);
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.extend_from_slice(b"\r\n");
}
