//! Body processors: what rules see of a request body.
//!
//! Each takes bytes that a client chose, ends in linear time, and keeps no more than its [`Limits`] allow.

mod json;
mod multipart;
mod urlencoded;
mod xml;

use std::borrow::Cow;

/// What a body may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most arguments, JSON values, XML texts and attributes together, or parts.
    pub items: usize,
    /// Deepest nesting of JSON and XML.
    pub depth: usize,
}

/// Why a body is not what its type says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BodyError {
    /// REQBODY_ERROR_MSG.
    pub message: String,
    /// Nothing is wrong but that the body ends here: no fault of a body of which only the beginning was read.
    pub at_end: bool,
}

impl BodyError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            at_end: false,
        }
    }

    /// Says whether more of the body could have made it right.
    const fn at_end(mut self, at_end: bool) -> Self {
        self.at_end = at_end;
        self
    }
}

/// A name and its value.
pub type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Arguments, decoded, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// Name and value.
    pub pairs: Vec<Pair<'a>>,
    /// A `%` stood before what is no pair of hexadecimal digits: URLENCODED_ERROR.
    pub invalid_encoding: bool,
    /// There were more than the limit; what is here are the first.
    pub truncated: bool,
    /// Why JSON could not be read to its end: `pairs` is what stood before. A form can always be read.
    pub error: Option<BodyError>,
}

/// Takes `a=1&b=2` apart: a query or a form.
#[must_use]
pub fn urlencoded(input: &[u8], separator: u8, limits: Limits) -> Arguments<'_> {
    urlencoded::parse(input, separator, limits)
}

/// Flattens JSON to `json.a.b` (arrays: `json.a.array_0`, as libmodsecurity has it), scalars as text.
#[must_use]
pub fn json(input: &[u8], limits: Limits) -> Arguments<'static> {
    json::parse(input, limits)
}

/// What rules read of an XML document: `XML:/*` and `XML://@*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xml {
    /// The text of the document, flattened: libxml2's string value of the root.
    pub text: Vec<u8>,
    /// The values of attributes, in order.
    pub attributes: Vec<Vec<u8>>,
    /// It has a DOCTYPE, of which nothing is in the text.
    pub doctype: bool,
    /// Why it could not be read to its end: the rest is what stood before.
    pub error: Option<BodyError>,
}

/// Flattens XML. No entity but the five of the standard and character references is known: a DOCTYPE is not read, and one
/// that declares entities or attributes, or has an external subset, is an error.
#[must_use]
pub fn xml(input: &[u8], limits: Limits) -> Xml {
    xml::parse(input, limits)
}

/// One part of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// `name` of Content-Disposition.
    pub name: Vec<u8>,
    /// `filename` of Content-Disposition, if it is a file.
    pub filename: Option<Vec<u8>>,
    /// `filename*` of Content-Disposition, decoded, in UTF-8: a second name, which an origin may take instead. A part that
    /// has no other is an error, and may be a field to the origin.
    pub extended_filename: Option<Vec<u8>>,
    /// The part's header lines, whole, without line ends and unfolded, as MULTIPART_PART_HEADERS shows them.
    pub headers: Vec<Cow<'a, [u8]>>,
    /// What it holds.
    pub content: &'a [u8],
}

/// What is odd about a multipart body: the MULTIPART_ variables of ModSecurity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, clippy::struct_excessive_bools, reason = "ModSecurity's own names")]
pub struct MultipartFlags {
    pub boundary_quoted: bool,
    pub boundary_whitespace: bool,
    pub crlf_lf_lines: bool,
    pub data_after: bool,
    pub data_before: bool,
    pub file_limit_exceeded: bool,
    pub header_folding: bool,
    pub invalid_header_folding: bool,
    pub invalid_part: bool,
    pub invalid_quoting: bool,
    pub lf_line: bool,
    pub missing_semicolon: bool,
    /// 0: no line looks like a boundary but is none. 1: one does. 2: one does, and the boundary came after it, so that
    /// it was data. `!@eq 0` is strict; `@eq 1` is what libmodsecurity recommends.
    pub unmatched_boundary: u8,
}

impl MultipartFlags {
    /// Whether it is odd in any way but mixed line ends and unmatched boundaries, which have variables of their own.
    #[must_use]
    pub fn is_strict_error(&self) -> bool {
        self.boundary_quoted
            || self.boundary_whitespace
            || self.data_after
            || self.data_before
            || self.file_limit_exceeded
            || self.header_folding
            || self.invalid_header_folding
            || self.invalid_part
            || self.invalid_quoting
            || self.lf_line
            || self.missing_semicolon
    }
}

/// A multipart body, taken apart as far as it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multipart<'a> {
    /// Its parts.
    pub parts: Vec<Part<'a>>,
    /// What is odd about it.
    pub flags: MultipartFlags,
    /// Why it could not be read to its end.
    pub error: Option<BodyError>,
}

impl Multipart<'_> {
    /// Whether there is an error, or [`MultipartFlags::is_strict_error`].
    #[must_use]
    pub fn is_strict_error(&self) -> bool {
        self.error.is_some() || self.flags.is_strict_error()
    }
}

/// Takes a `multipart/form-data` body apart. `content_type` is the whole field value.
#[must_use]
pub fn multipart<'a>(content_type: &[u8], body: &'a [u8], limits: Limits) -> Multipart<'a> {
    multipart::parse(content_type, body, limits)
}
