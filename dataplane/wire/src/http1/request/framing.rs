//! What of a head concerns its connection: how the body ends, and whether the connection goes on.
//!
//! Invariant: a head that two implementations may frame differently is an error (RFC 9112 section 6.3).

use super::Framing;
use crate::hop::is_hop_by_hop;
use crate::http1::error::GateErrorKind as Kind;
use crate::http1::fields::{is_token, list_members, parse_length, trim_ows};

/// What the pass collects that concerns the connection, not the resource.
#[derive(Default)]
pub(super) struct HopFields<'b> {
    pub(super) host: Option<&'b [u8]>,
    pub(super) content_length: Option<u64>,
    pub(super) transfer_encoding: Option<&'b [u8]>,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    pub(super) names_fields: bool,
    pub(super) expect: bool,
}

impl HopFields<'_> {
    pub(super) fn connection(&mut self, value: &[u8]) {
        for option in list_members(value) {
            match option.len() {
                5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ => self.names_fields |= !is_hop_by_hop_option(option),
            }
        }
    }

    pub(super) fn length(&mut self, value: &[u8]) -> Result<(), Kind> {
        if self.content_length.is_some() {
            return Err(Kind::ContentLengthRepeated);
        }
        self.content_length = Some(parse_length(value).map_err(|too_large| {
            if too_large {
                Kind::ContentLengthTooLarge
            } else {
                Kind::ContentLengthInvalid
            }
        })?);
        Ok(())
    }
}

fn is_hop_by_hop_option(option: &[u8]) -> bool {
    std::str::from_utf8(option).is_ok_and(is_hop_by_hop)
}

/// `chunked` alone is served. A list that is valid but names other codings is unsupported; anything that
/// another implementation might take for chunked, or not, is invalid.
pub(super) fn only_chunked(value: &[u8]) -> Result<Framing, Kind> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    let mut chunked_before = false;
    for coding in value.split(|&b| b == b',').map(trim_ows) {
        if chunked_before || !is_token(coding) {
            return Err(Kind::TransferEncodingInvalid);
        }
        chunked_before = coding.eq_ignore_ascii_case(b"chunked");
    }
    Err(Kind::TransferEncodingUnsupported)
}
