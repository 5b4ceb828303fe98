//! Request heads: parsed in place and gated in the same pass.
//!
//! Invariant: what is returned as `Complete` has CRLF line ends only, a valid target and authority, and one
//! possible framing. One `httparse` run finds the fields and one pass over them fills the slots that a cache
//! hit looks at; nothing is allocated. Routing, limits on bodies and what the fields mean are left to others.

mod diagnose;
mod framing;
mod owned;

use std::mem::MaybeUninit;

use super::Fields;
use super::error::{GateError, GateErrorKind as Kind};
use super::fields::offset_in;
use super::host::Host;
use super::limits::{Limits, MAX_FIELDS};
pub use owned::OwnedRequest;

use diagnose::diagnose;
use framing::{HopFields, only_chunked};

/// A parse result that more bytes may complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed<T> {
    /// All there.
    Complete(T),
    /// No error so far; call again with more bytes behind the same ones.
    Partial,
}

/// The versions this codec speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0: no chunked, no interim responses, closes unless `Connection: keep-alive`.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2: the head came as a header block (see [`crate::http2`]).
    Http2,
}

/// How the body of a request ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// No body: neither Content-Length nor Transfer-Encoding.
    None,
    /// Exactly so many bytes; zero is possible.
    Length(u64),
    /// The chunked coding and nothing else. In HTTP/2, which has no such coding: until the stream's END_STREAM.
    Chunked,
}

/// How the target was written (RFC 9112 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetForm {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`.
    Http,
    /// `https://host/path?query`.
    Https,
    /// `*`, or an absolute URI without path and query, with OPTIONS.
    Asterisk,
}

/// A request head, borrowed from the buffer it was received into.
///
/// The optional slices are the *first* field of that name. [`RequestHead::repeated`] tells that some field
/// with a slot came more than once, and then [`RequestHead::fields`] has the rest.
#[derive(Debug, Clone)]
pub struct RequestHead<'b> {
    /// The method, case-sensitive; any token but `CONNECT`.
    pub method: &'b str,
    /// The target as received.
    pub target: &'b str,
    /// How [`RequestHead::target`] is written.
    pub form: TargetForm,
    /// The version of the message.
    pub version: Version,
    /// Bytes of the head including the final CRLF (and an empty line before it, if any). The body starts here.
    /// Zero in HTTP/2, where the body comes in frames of its own.
    pub len: usize,
    /// The authority to use: the target's if it has one, else Host's.
    pub host: Host<'b>,
    /// The path as received, starting with `/`, or `*`. Not normalised: see [`crate::path`].
    pub path: &'b str,
    /// What follows `?`, as received.
    pub query: Option<&'b str>,
    /// How the body ends.
    pub framing: Framing,
    /// The client lets the connection be used again.
    pub keep_alive: bool,
    /// `Connection: upgrade` and a non-empty Upgrade, in HTTP/1.1.
    pub upgrade: bool,
    /// The client waits for `100 Continue` before it sends a body that is not empty.
    pub expect_continue: bool,
    /// `Connection` names fields that go no further: the origin sees fewer than were received (see [`crate::hop`]).
    pub names_fields: bool,
    /// A field that has a slot below came more than once.
    pub repeated: bool,
    /// `Upgrade`.
    pub upgrade_to: Option<&'b [u8]>,
    /// `Cache-Control`.
    pub cache_control: Option<&'b [u8]>,
    /// `Pragma`.
    pub pragma: Option<&'b [u8]>,
    /// `If-Match`.
    pub if_match: Option<&'b [u8]>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'b [u8]>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'b [u8]>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'b [u8]>,
    /// `If-Range`.
    pub if_range: Option<&'b [u8]>,
    /// `Range`.
    pub range: Option<&'b [u8]>,
    /// `Authorization`.
    pub authorization: Option<&'b [u8]>,
    /// `Cookie`.
    pub cookie: Option<&'b [u8]>,
    /// `Accept-Encoding`.
    pub accept_encoding: Option<&'b [u8]>,
    /// `Accept-Language`.
    pub accept_language: Option<&'b [u8]>,
    /// `X-Forwarded-For`.
    pub x_forwarded_for: Option<&'b [u8]>,
    /// `X-Request-Id`.
    pub x_request_id: Option<&'b [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'b [u8]>,
    lines: &'b [u8],
}

impl<'b> RequestHead<'b> {
    /// All fields in the order received: `(name, value)`.
    pub fn fields(&self) -> Fields<'b> {
        Fields::over(self.lines)
    }

    /// The first value of a field, its name compared without regard to case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        self.fields().first(name)
    }
}

/// Parses the head at the start of `buf`.
///
/// `Partial` costs a parse of what is there, so with a slow sender call [`head_may_be_complete`] first. The
/// caller bounds the time a head may take.
///
/// # Errors
/// Whatever makes the head ambiguous, too large or unsupported; close the connection after the answer.
pub fn parse_request<'b>(buf: &'b [u8], limits: &Limits) -> Result<Parsed<RequestHead<'b>>, GateError> {
    let lead = match buf {
        [b'\r', b'\n', ..] => 2,
        [] | [b'\r'] => return Ok(Parsed::Partial),
        [b'\r', ..] => return Err(Kind::BareCr.into()),
        [b'\n', ..] => return Err(Kind::BareLf.into()),
        _ => 0,
    };
    let all = buf.get(lead..).unwrap_or_default();
    if matches!(all.first(), Some(b'\r' | b'\n')) {
        return Err(Kind::LeadingBytes.into());
    }
    let window = all.get(..limits.head).unwrap_or(all);
    let mut storage = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let slots = storage.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
    let mut parsed = httparse::Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(window, slots) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => {
            check_partial(window, all.len(), limits)?;
            return Ok(Parsed::Partial);
        }
        Err(error) => return Err(diagnose(window, error, limits).into()),
    };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Kind::RequestLine.into());
    };
    let head = window.get(..len).unwrap_or(window);
    let lines = check_line_ends(head, parsed.headers)?;
    let request_line = head.len() - lines.len() - 2;
    if request_line > limits.request_line {
        return Err(Kind::RequestLineTooLong.into());
    }
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let mut request = RequestHead::new(method, target, version, lines, lead + len);
    request.split_target()?;
    request.read_fields(parsed.headers.iter().map(|field| (field.name, field.value)))?;
    Ok(Parsed::Complete(request))
}

/// The gate for a head that came over HTTP/2: the same checks of target, authority, length and expectations.
///
/// `lines` are field lines as [`Fields::over`] wants them, `host` among them; their names and values were
/// checked byte by byte. `ended`: the stream has ended, there is no body.
pub(crate) fn gate_http2<'b>(
    method: &'b str,
    target: &'b str,
    lines: &'b [u8],
    ended: bool,
) -> Result<RequestHead<'b>, GateError> {
    let mut request = RequestHead::new(method, target, Version::Http2, lines, 0);
    if !ended {
        request.framing = Framing::Chunked;
    }
    request.split_target()?;
    request.read_fields(Fields::over(lines))?;
    Ok(request)
}

/// True if a head could end in `buf[already_seen..]`. For callers that hold an incomplete head: as long as
/// this is false and the buffer is within limits, parsing again cannot give anything but `Partial` or an
/// error that comes anyway. Keeps a sender of single bytes from costing a parse for each.
#[must_use]
pub fn head_may_be_complete(buf: &[u8], already_seen: usize) -> bool {
    let fresh = buf.get(already_seen.saturating_sub(3)..).unwrap_or_default();
    memchr::memmem::find(fresh, b"\n\r\n").is_some() || memchr::memmem::find(fresh, b"\n\n").is_some()
}

/// `httparse` accepts LF as a line end. Between two fields it leaves nothing but a line end, so the two
/// bytes before each name tell. Returns the field lines.
pub(super) fn check_line_ends<'b>(head: &'b [u8], fields: &[httparse::Header<'b>]) -> Result<&'b [u8], Kind> {
    let mut first = head.len().saturating_sub(2);
    for (index, field) in fields.iter().enumerate() {
        let start = offset_in(head, field.name.as_bytes());
        if index == 0 {
            first = start;
        }
        if start.checked_sub(2).and_then(|at| head.get(at..start)) != Some(b"\r\n") {
            return Err(Kind::BareLf);
        }
    }
    if !head.ends_with(b"\r\n\r\n") {
        return Err(Kind::BareLf);
    }
    head.get(first..head.len() - 2).ok_or(Kind::BareLf)
}

/// Refuses what more bytes cannot make right.
fn check_partial(window: &[u8], received: usize, limits: &Limits) -> Result<(), Kind> {
    match memchr::memchr(b'\n', window) {
        Some(end) if end + 1 > limits.request_line => Err(Kind::RequestLineTooLong),
        None if received >= limits.request_line => Err(Kind::RequestLineTooLong),
        _ if received >= limits.head => Err(Kind::HeadTooLarge),
        _ => Ok(()),
    }
}

impl<'b> RequestHead<'b> {
    fn new(method: &'b str, target: &'b str, version: Version, lines: &'b [u8], len: usize) -> Self {
        Self {
            method,
            target,
            form: TargetForm::Origin,
            version,
            len,
            host: Host::default(),
            path: target,
            query: None,
            framing: Framing::None,
            keep_alive: version != Version::Http10,
            upgrade: false,
            expect_continue: false,
            names_fields: false,
            repeated: false,
            upgrade_to: None,
            cache_control: None,
            pragma: None,
            if_match: None,
            if_none_match: None,
            if_modified_since: None,
            if_unmodified_since: None,
            if_range: None,
            range: None,
            authorization: None,
            cookie: None,
            accept_encoding: None,
            accept_language: None,
            x_forwarded_for: None,
            x_request_id: None,
            user_agent: None,
            lines,
        }
    }

    /// Form, path, query, and the authority of an absolute-form target.
    fn split_target(&mut self) -> Result<(), Kind> {
        if self.method == "CONNECT" {
            return Err(Kind::Connect);
        }
        let target = self.target;
        let mut question = None;
        for (at, &byte) in target.as_bytes().iter().enumerate() {
            match byte {
                b'#' => return Err(Kind::TargetFragment),
                b'?' if question.is_none() => question = Some(at),
                0x21..=0x7e => {}
                _ => return Err(Kind::TargetByte),
            }
        }
        let before_query = match question {
            Some(at) => {
                self.query = target.get(at + 1..);
                target.get(..at).unwrap_or(target)
            }
            None => target,
        };
        self.path = before_query;
        if before_query.starts_with('/') {
            return Ok(());
        }
        if target == "*" && self.method == "OPTIONS" {
            self.form = TargetForm::Asterisk;
            return Ok(());
        }
        self.split_absolute(before_query)
    }

    fn split_absolute(&mut self, before_query: &'b str) -> Result<(), Kind> {
        let (scheme, rest) = before_query.split_once("://").ok_or(Kind::TargetForm)?;
        self.form = if scheme.eq_ignore_ascii_case("http") {
            TargetForm::Http
        } else if scheme.eq_ignore_ascii_case("https") {
            TargetForm::Https
        } else {
            return Err(Kind::TargetForm);
        };
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(slash).ok_or(Kind::TargetAuthority)?;
        self.host = Host::parse(authority).ok_or(Kind::TargetAuthority)?;
        self.path = path;
        if path.is_empty() {
            self.path = "/";
            if self.method == "OPTIONS" && self.query.is_none() {
                self.path = "*";
                self.form = TargetForm::Asterisk;
            }
        }
        Ok(())
    }

    /// The one pass over the fields.
    fn read_fields(&mut self, fields: impl Iterator<Item = (&'b str, &'b [u8])>) -> Result<(), Kind> {
        let mut hop = HopFields::default();
        for (name, value) in fields {
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => once(&mut hop.host, value, Kind::HostRepeated)?,
                5 if name.eq_ignore_ascii_case("range") => fill(&mut self.range, value, &mut self.repeated),
                6 if name.eq_ignore_ascii_case("cookie") => fill(&mut self.cookie, value, &mut self.repeated),
                6 if name.eq_ignore_ascii_case("pragma") => fill(&mut self.pragma, value, &mut self.repeated),
                6 if name.eq_ignore_ascii_case("expect") => {
                    if !value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Kind::Expectation);
                    }
                    hop.expect = true;
                }
                7 if name.eq_ignore_ascii_case("upgrade") => fill(&mut self.upgrade_to, value, &mut self.repeated),
                8 if name.eq_ignore_ascii_case("if-match") => fill(&mut self.if_match, value, &mut self.repeated),
                8 if name.eq_ignore_ascii_case("if-range") => fill(&mut self.if_range, value, &mut self.repeated),
                10 if name.eq_ignore_ascii_case("connection") => hop.connection(value),
                10 if name.eq_ignore_ascii_case("user-agent") => fill(&mut self.user_agent, value, &mut self.repeated),
                12 if name.eq_ignore_ascii_case("x-request-id") => {
                    fill(&mut self.x_request_id, value, &mut self.repeated)
                }
                13 if name.eq_ignore_ascii_case("cache-control") => {
                    fill(&mut self.cache_control, value, &mut self.repeated)
                }
                13 if name.eq_ignore_ascii_case("if-none-match") => {
                    fill(&mut self.if_none_match, value, &mut self.repeated)
                }
                13 if name.eq_ignore_ascii_case("authorization") => {
                    fill(&mut self.authorization, value, &mut self.repeated)
                }
                14 if name.eq_ignore_ascii_case("content-length") => hop.length(value)?,
                15 if name.eq_ignore_ascii_case("accept-encoding") => {
                    fill(&mut self.accept_encoding, value, &mut self.repeated)
                }
                15 if name.eq_ignore_ascii_case("accept-language") => {
                    fill(&mut self.accept_language, value, &mut self.repeated)
                }
                15 if name.eq_ignore_ascii_case("x-forwarded-for") => {
                    fill(&mut self.x_forwarded_for, value, &mut self.repeated)
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    once(&mut hop.transfer_encoding, value, Kind::TransferEncodingInvalid)?
                }
                17 if name.eq_ignore_ascii_case("if-modified-since") => {
                    fill(&mut self.if_modified_since, value, &mut self.repeated)
                }
                19 if name.eq_ignore_ascii_case("if-unmodified-since") => {
                    fill(&mut self.if_unmodified_since, value, &mut self.repeated);
                }
                _ => {}
            }
        }
        self.settle(&hop)
    }

    /// Host, framing and persistence from what the pass has found.
    fn settle(&mut self, hop: &HopFields<'b>) -> Result<(), Kind> {
        match hop.host {
            Some(value) => {
                let host = std::str::from_utf8(value)
                    .ok()
                    .and_then(Host::parse)
                    .ok_or(Kind::HostInvalid)?;
                if self.host.is_empty() {
                    self.host = host;
                }
            }
            None if self.version != Version::Http10 => return Err(Kind::HostMissing),
            None => {}
        }
        self.framing = match (hop.transfer_encoding, hop.content_length) {
            (Some(_), Some(_)) => return Err(Kind::LengthAndTransferEncoding),
            (Some(_), None) if self.version == Version::Http10 => return Err(Kind::TransferEncodingInHttp10),
            (Some(codings), None) => only_chunked(codings)?,
            (None, Some(length)) => Framing::Length(length),
            // None, or what the stream of an HTTP/2 request says.
            (None, None) => self.framing,
        };
        let http11 = self.version != Version::Http10;
        self.keep_alive = !hop.close && (http11 || hop.keep_alive);
        self.upgrade = http11 && hop.upgrade && self.upgrade_to.is_some_and(|value| !value.is_empty());
        let has_body = !matches!(self.framing, Framing::None | Framing::Length(0));
        self.expect_continue = http11 && hop.expect && has_body;
        self.names_fields = hop.names_fields;
        Ok(())
    }
}

#[inline]
fn fill<'b>(slot: &mut Option<&'b [u8]>, value: &'b [u8], repeated: &mut bool) {
    if slot.is_some() {
        *repeated = true;
    } else {
        *slot = Some(value);
    }
}

/// Fills a slot whose field must not come twice.
pub(super) fn once<'b, E>(slot: &mut Option<&'b [u8]>, value: &'b [u8], twice: E) -> Result<(), E> {
    if slot.replace(value).is_some() {
        Err(twice)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
