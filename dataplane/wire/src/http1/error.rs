//! Why the gate refused a request: one kind per reason, each with a status and a stable metric label.

use std::fmt;

/// A request that must not go further. Answer [`GateError::status`] and close the connection: after any
/// of these the position of the next message in the byte stream is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateError {
    kind: GateErrorKind,
}

impl GateError {
    /// The reason.
    #[must_use]
    pub fn kind(&self) -> GateErrorKind {
        self.kind
    }

    /// The status to answer with: 400, 413, 414, 417, 431, 501 or 505.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.kind.row().0
    }

    /// A stable, low-cardinality name for metrics and logs, such as `bare-lf`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.kind.row().1
    }
}

impl From<GateErrorKind> for GateError {
    fn from(kind: GateErrorKind) -> Self {
        Self { kind }
    }
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.row().2)
    }
}

impl std::error::Error for GateError {}

/// Every reason for which a request head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GateErrorKind {
    /// More than one empty line before the request line.
    LeadingBytes,
    /// The request line is not `method SP target SP version`.
    RequestLine,
    /// The request line exceeds [`super::Limits::request_line`].
    RequestLineTooLong,
    /// `CONNECT`: this is not a forward proxy.
    Connect,
    /// Not HTTP/1.0 or HTTP/1.1, or no version at all (HTTP/0.9).
    Version,
    /// A byte that a request target cannot contain.
    TargetByte,
    /// `#` in the target.
    TargetFragment,
    /// Neither origin-form, absolute-form with http or https, nor `*` with OPTIONS.
    TargetForm,
    /// The authority of an absolute-form target is invalid or has userinfo.
    TargetAuthority,
    /// A line of the head ends in LF without CR.
    BareLf,
    /// CR inside the head that is not followed by LF.
    BareCr,
    /// NUL in the head.
    Nul,
    /// A field name is empty or has a byte that is not a token character.
    FieldName,
    /// Whitespace between field name and colon.
    SpaceBeforeColon,
    /// A continuation line (RFC 9112 section 5.2).
    ObsFold,
    /// A control character in a field value.
    FieldValue,
    /// The head exceeds [`super::Limits::head`].
    HeadTooLarge,
    /// More than [`super::Limits::fields`] fields.
    TooManyFields,
    /// HTTP/1.1 without Host.
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// Host is not a host name or address with an optional port.
    HostInvalid,
    /// Content-Length is not digits only.
    ContentLengthInvalid,
    /// Content-Length more than once, even with equal values.
    ContentLengthRepeated,
    /// Content-Length does not fit in 63 bits.
    ContentLengthTooLarge,
    /// Content-Length and Transfer-Encoding together.
    LengthAndTransferEncoding,
    /// Transfer-Encoding is malformed or repeated, or names chunked more than once or not last.
    TransferEncodingInvalid,
    /// A transfer coding other than chunked.
    TransferEncodingUnsupported,
    /// Transfer-Encoding in an HTTP/1.0 request.
    TransferEncodingInHttp10,
    /// Expect with something other than `100-continue`.
    Expectation,
}

impl GateErrorKind {
    /// Every kind, so that a metrics registry can be filled before the first error.
    pub const ALL: [Self; 29] = [
        Self::LeadingBytes,
        Self::RequestLine,
        Self::RequestLineTooLong,
        Self::Connect,
        Self::Version,
        Self::TargetByte,
        Self::TargetFragment,
        Self::TargetForm,
        Self::TargetAuthority,
        Self::BareLf,
        Self::BareCr,
        Self::Nul,
        Self::FieldName,
        Self::SpaceBeforeColon,
        Self::ObsFold,
        Self::FieldValue,
        Self::HeadTooLarge,
        Self::TooManyFields,
        Self::HostMissing,
        Self::HostRepeated,
        Self::HostInvalid,
        Self::ContentLengthInvalid,
        Self::ContentLengthRepeated,
        Self::ContentLengthTooLarge,
        Self::LengthAndTransferEncoding,
        Self::TransferEncodingInvalid,
        Self::TransferEncodingUnsupported,
        Self::TransferEncodingInHttp10,
        Self::Expectation,
    ];

    /// The metric label; see [`GateError::label`].
    #[must_use]
    pub fn label(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::LeadingBytes => (400, "leading-bytes", "more than one empty line before the request line"),
            Self::RequestLine => (
                400,
                "request-line",
                "the request line is not `method target version` with single spaces",
            ),
            Self::RequestLineTooLong => (414, "request-line-too-long", "the request line is too long"),
            Self::Connect => (501, "connect", "CONNECT is not supported: this is not a forward proxy"),
            Self::Version => (
                505,
                "version",
                "only HTTP/1.0 and HTTP/1.1 are spoken on this connection",
            ),
            Self::TargetByte => (
                400,
                "target-byte",
                "the request target contains a byte that must be percent-encoded",
            ),
            Self::TargetFragment => (
                400,
                "target-fragment",
                "the request target contains `#`: a fragment is never sent",
            ),
            Self::TargetForm => (
                400,
                "target-form",
                "the request target is neither a path, an http(s) URI, nor `*` with OPTIONS",
            ),
            Self::TargetAuthority => (
                400,
                "target-authority",
                "the authority of the request target is not a host with an optional port",
            ),
            Self::BareLf => (400, "bare-lf", "a line of the head ends in LF without CR"),
            Self::BareCr => (400, "bare-cr", "CR without LF in the head"),
            Self::Nul => (400, "nul", "NUL in the head"),
            Self::FieldName => (
                400,
                "field-name",
                "a field name is empty or has a byte that is not a token character",
            ),
            Self::SpaceBeforeColon => (
                400,
                "space-before-colon",
                "whitespace between a field name and its colon",
            ),
            Self::ObsFold => (
                400,
                "obs-fold",
                "a field is continued on the next line, which is obsolete",
            ),
            Self::FieldValue => (400, "field-value", "a field value contains a control character"),
            Self::HeadTooLarge => (431, "head-too-large", "the request head is too large"),
            Self::TooManyFields => (431, "too-many-fields", "the request has too many header fields"),
            Self::HostMissing => (400, "host-missing", "an HTTP/1.1 request needs a Host field"),
            Self::HostRepeated => (400, "host-repeated", "more than one Host field"),
            Self::HostInvalid => (
                400,
                "host-invalid",
                "Host is not a host name or address with an optional port",
            ),
            Self::ContentLengthInvalid => (400, "content-length-invalid", "Content-Length is not a number"),
            Self::ContentLengthRepeated => (400, "content-length-repeated", "more than one Content-Length field"),
            Self::ContentLengthTooLarge => (
                413,
                "content-length-too-large",
                "Content-Length is larger than any body can be",
            ),
            Self::LengthAndTransferEncoding => (
                400,
                "length-and-transfer-encoding",
                "Content-Length and Transfer-Encoding in one request",
            ),
            Self::TransferEncodingInvalid => (
                400,
                "transfer-encoding-invalid",
                "Transfer-Encoding is not exactly `chunked`",
            ),
            Self::TransferEncodingUnsupported => (
                501,
                "transfer-encoding-unsupported",
                "a transfer coding other than chunked is not supported",
            ),
            Self::TransferEncodingInHttp10 => (
                400,
                "transfer-encoding-in-http10",
                "Transfer-Encoding in an HTTP/1.0 request",
            ),
            Self::Expectation => (417, "expectation", "only `Expect: 100-continue` can be met"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_kind_has_its_own_label_and_one_of_the_documented_statuses() {
        let labels: HashSet<_> = GateErrorKind::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!(labels.len(), GateErrorKind::ALL.len());
        for kind in GateErrorKind::ALL {
            let error = GateError::from(kind);
            assert!([400, 413, 414, 417, 431, 501, 505].contains(&error.status()), "{error}");
        }
    }
}
