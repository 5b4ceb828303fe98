//! The opening handshake (RFC 6455 sections 4.1 and 4.2), judged from both ends.
//!
//! [`check_request`] says what may go on to a backend, or with which status the client is refused;
//! [`check_response`] says what the backend and the client have agreed on, or why the answer cannot be
//! trusted. Invariant: after both have passed, client and backend speak RFC 6455 and nothing else, with
//! at most permessage-deflate on top; no other protocol can be tunnelled by asking for this one.
//!
//! The request's framing (`Host`, duplicate lengths, control characters) is the HTTP/1.1 gate's; routing,
//! limits and the wait for the answer are the caller's.

use http::header::{
    CONNECTION, CONTENT_LENGTH, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::{PERMESSAGE_DEFLATE, VERSION, accept, is_key};

/// The most subprotocols, and the most extension offers, that are read from one request.
pub const MAX_OFFERS: usize = 32;

/// What a route allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Allowed values of `Origin`, lower case, compared whole; empty allows any, and none.
    pub origins: Vec<String>,
    /// With a list of origins, let a request without `Origin` pass. Browsers always send one, so this lets in
    /// other programs only; default no.
    pub allow_missing_origin: bool,
    /// Subprotocols that may be agreed on (case counts). With a list, a client must offer one of them; empty
    /// allows any, and none.
    pub subprotocols: Vec<String>,
    /// Take the offer of permessage-deflate out of the request, for a route whose messages are read.
    pub strip_compression: bool,
}

/// A request that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The client's `Sec-WebSocket-Key`: base64 of sixteen bytes.
    pub key: HeaderValue,
    /// Subprotocols offered and allowed, in the client's order.
    pub subprotocols: Vec<String>,
    /// The value of `Sec-WebSocket-Extensions` to send on: the offers of permessage-deflate. Offers of any
    /// other extension are left out, as their frames could not be followed.
    pub extensions: Option<HeaderValue>,
}

impl Offer {
    /// The value of `Sec-WebSocket-Protocol` to send on.
    #[must_use]
    pub fn subprotocol_value(&self) -> Option<HeaderValue> {
        if self.subprotocols.is_empty() {
            return None;
        }
        HeaderValue::try_from(self.subprotocols.join(", ")).ok()
    }
}

/// What client and backend have agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// The subprotocol chosen.
    pub subprotocol: Option<String>,
    /// Messages may be compressed: the first frame of each may carry RSV1 (RFC 7692 section 6).
    pub compression: bool,
}

/// Why a client's handshake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    /// Not GET.
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// Not HTTP/1.1.
    #[error("a WebSocket handshake needs HTTP/1.1")]
    HttpVersion,
    /// A body came with it, where frames would begin.
    #[error("a WebSocket handshake has no body")]
    Body,
    /// `Upgrade` does not say `websocket`.
    #[error("this address serves WebSocket only: the request has no `Upgrade: websocket`")]
    Upgrade,
    /// `Connection` does not say `upgrade`.
    #[error("the request has no `Connection: upgrade`")]
    Connection,
    /// `Sec-WebSocket-Version` is missing, repeated or another than 13.
    #[error("`Sec-WebSocket-Version` is not 13")]
    Version,
    /// `Sec-WebSocket-Key` is missing, repeated, or not base64 of sixteen bytes.
    #[error("`Sec-WebSocket-Key` is not one base64 value of sixteen bytes")]
    Key,
    /// `Origin` is missing, repeated or not in the route's list.
    #[error("the `Origin` of the request is not allowed here")]
    Origin,
    /// `Sec-WebSocket-Protocol` is malformed, or offers nothing that the route allows.
    #[error("`Sec-WebSocket-Protocol` offers no subprotocol that is allowed here")]
    Subprotocol,
    /// `Sec-WebSocket-Extensions` is malformed.
    #[error("`Sec-WebSocket-Extensions` is malformed")]
    Extensions,
}

impl RequestRefusal {
    /// The response's status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Upgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Origin => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Fields the response must carry besides the usual ones (RFC 9110 sections 15.5.6 and 15.5.22, RFC 6455
    /// section 4.4). `Upgrade` also needs `Connection: upgrade`.
    #[must_use]
    pub fn fields(self) -> &'static [(HeaderName, &'static str)] {
        const ALLOW: &[(HeaderName, &str)] = &[(http::header::ALLOW, "GET")];
        const UPGRADE_TO: &[(HeaderName, &str)] = &[
            (UPGRADE, "websocket"),
            (CONNECTION, "upgrade"),
            (SEC_WEBSOCKET_VERSION, VERSION),
        ];
        match self {
            Self::Method => ALLOW,
            Self::Upgrade | Self::Version => UPGRADE_TO,
            _ => &[],
        }
    }

    /// The value of a metric's `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::HttpVersion => "http_version",
            Self::Body => "body",
            Self::Upgrade => "upgrade",
            Self::Connection => "connection",
            Self::Version => "version",
            Self::Key => "key",
            Self::Origin => "origin",
            Self::Subprotocol => "subprotocol",
            Self::Extensions => "extensions",
        }
    }
}

/// Why a backend's answer does not open a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseRefusal {
    /// Not 101: an HTTP response like any other, for the client to see. The connection stays HTTP: what the
    /// client sends next must not reach this backend as raw bytes.
    #[error("the backend answered {0} to a WebSocket handshake")]
    NotSwitching(StatusCode),
    /// `Upgrade` does not say `websocket` and nothing else.
    #[error("the backend's 101 has no `Upgrade: websocket`")]
    Upgrade,
    /// `Connection` does not say `upgrade`.
    #[error("the backend's 101 has no `Connection: upgrade`")]
    Connection,
    /// `Sec-WebSocket-Accept` is missing, repeated, or does not follow from the key.
    #[error("the backend's `Sec-WebSocket-Accept` does not match the key")]
    Accept,
    /// A subprotocol the client did not offer, or several.
    #[error("the backend chose a subprotocol that was not offered")]
    Subprotocol,
    /// An extension the client did not offer, or a malformed answer.
    #[error("the backend chose an extension that was not offered")]
    Extensions,
    /// A length or transfer coding, which a 101 never has (RFC 9110 section 8.6).
    #[error("the backend's 101 announces a body")]
    Body,
}

impl ResponseRefusal {
    /// The status the client sees.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotSwitching(status) if !status.is_informational() => status,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// The value of a metric's `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotSwitching(_) => "not_switching",
            Self::Upgrade => "upgrade",
            Self::Connection => "connection",
            Self::Accept => "accept",
            Self::Subprotocol => "subprotocol",
            Self::Extensions => "extensions",
            Self::Body => "body",
        }
    }
}

/// Judges a client's request.
///
/// # Errors
/// The first rule it breaks.
pub fn check_request(
    method: &Method,
    version: Version,
    fields: &HeaderMap,
    rules: &Rules,
) -> Result<Offer, RequestRefusal> {
    if version != Version::HTTP_11 {
        return Err(RequestRefusal::HttpVersion);
    }
    if !has_token(fields, &UPGRADE, "websocket") {
        return Err(RequestRefusal::Upgrade);
    }
    if method != Method::GET {
        return Err(RequestRefusal::Method);
    }
    if announces_body(fields) {
        return Err(RequestRefusal::Body);
    }
    if !has_token(fields, &CONNECTION, "upgrade") {
        return Err(RequestRefusal::Connection);
    }
    if only(fields, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(RequestRefusal::Version);
    }
    let key = only(fields, &SEC_WEBSOCKET_KEY)
        .filter(|key| is_key(key.as_bytes()))
        .ok_or(RequestRefusal::Key)?;
    check_origin(fields, rules)?;
    Ok(Offer {
        key: key.clone(),
        subprotocols: subprotocols(fields, rules)?,
        extensions: extensions(fields, rules.strip_compression)?,
    })
}

/// Judges a backend's answer to a request that carried `key` and `offer`'s subprotocols and extensions. The key
/// is the one sent to the backend, be it the client's or one's own.
///
/// # Errors
/// The first rule it breaks.
pub fn check_response(
    status: StatusCode,
    fields: &HeaderMap,
    key: &[u8],
    offer: &Offer,
) -> Result<Agreement, ResponseRefusal> {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ResponseRefusal::NotSwitching(status));
    }
    let named_once = only(fields, &UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !named_once {
        return Err(ResponseRefusal::Upgrade);
    }
    if !has_token(fields, &CONNECTION, "upgrade") {
        return Err(ResponseRefusal::Connection);
    }
    if announces_body(fields) {
        return Err(ResponseRefusal::Body);
    }
    if only(fields, &SEC_WEBSOCKET_ACCEPT).is_none_or(|value| value.as_bytes() != accept(key)) {
        return Err(ResponseRefusal::Accept);
    }
    Ok(Agreement {
        subprotocol: chosen_subprotocol(fields, &offer.subprotocols)?,
        compression: chosen_compression(fields, offer.extensions.is_some())?,
    })
}

fn check_origin(fields: &HeaderMap, rules: &Rules) -> Result<(), RequestRefusal> {
    if rules.origins.is_empty() {
        return Ok(());
    }
    if !fields.contains_key(ORIGIN) {
        return if rules.allow_missing_origin {
            Ok(())
        } else {
            Err(RequestRefusal::Origin)
        };
    }
    let allowed = only(fields, &ORIGIN).is_some_and(|value| {
        rules
            .origins
            .iter()
            .any(|origin| value.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    });
    if allowed { Ok(()) } else { Err(RequestRefusal::Origin) }
}

fn subprotocols(fields: &HeaderMap, rules: &Rules) -> Result<Vec<String>, RequestRefusal> {
    let mut offered = Vec::new();
    for value in fields.get_all(SEC_WEBSOCKET_PROTOCOL) {
        for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if offered.len() == MAX_OFFERS || !is_token(token) {
                return Err(RequestRefusal::Subprotocol);
            }
            offered.push(String::from_utf8_lossy(token).into_owned());
        }
    }
    if rules.subprotocols.is_empty() {
        return Ok(offered);
    }
    offered.retain(|name| rules.subprotocols.contains(name));
    if offered.is_empty() {
        Err(RequestRefusal::Subprotocol)
    } else {
        Ok(offered)
    }
}

fn extensions(fields: &HeaderMap, strip: bool) -> Result<Option<HeaderValue>, RequestRefusal> {
    let mut kept = Vec::new();
    for (count, offer) in offers(fields).enumerate() {
        let name = offer_name(offer).ok_or(RequestRefusal::Extensions)?;
        if count == MAX_OFFERS {
            return Err(RequestRefusal::Extensions);
        }
        if !strip && name.eq_ignore_ascii_case(PERMESSAGE_DEFLATE.as_bytes()) {
            if !kept.is_empty() {
                kept.extend_from_slice(b", ");
            }
            kept.extend_from_slice(offer);
        }
    }
    if kept.is_empty() {
        return Ok(None);
    }
    HeaderValue::from_bytes(&kept)
        .map(Some)
        .map_err(|_| RequestRefusal::Extensions)
}

fn chosen_subprotocol(fields: &HeaderMap, offered: &[String]) -> Result<Option<String>, ResponseRefusal> {
    if !fields.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(None);
    }
    let chosen = only(fields, &SEC_WEBSOCKET_PROTOCOL).ok_or(ResponseRefusal::Subprotocol)?;
    let known = offered.iter().find(|name| name.as_bytes() == chosen.as_bytes());
    known.cloned().map(Some).ok_or(ResponseRefusal::Subprotocol)
}

fn chosen_compression(fields: &HeaderMap, offered: bool) -> Result<bool, ResponseRefusal> {
    let mut compression = false;
    for answer in offers(fields) {
        let name = offer_name(answer).ok_or(ResponseRefusal::Extensions)?;
        let ours = offered && name.eq_ignore_ascii_case(PERMESSAGE_DEFLATE.as_bytes());
        if !ours || compression {
            return Err(ResponseRefusal::Extensions);
        }
        compression = true;
    }
    Ok(compression)
}

/// The field's value, if it is there exactly once.
fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = fields.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn has_token(fields: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    fields
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// True unless the message surely ends with its head. A length of zero does.
fn announces_body(fields: &HeaderMap) -> bool {
    fields.contains_key(TRANSFER_ENCODING) || fields.get_all(CONTENT_LENGTH).iter().any(|value| value != "0")
}

/// The comma-separated items of `Sec-WebSocket-Extensions`; a comma inside a quoted parameter separates nothing.
fn offers(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    fields.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().flat_map(|value| {
        let mut quoted = false;
        let mut escaped = false;
        value
            .as_bytes()
            .split(move |byte| {
                match (*byte, quoted, escaped) {
                    (_, true, true) => escaped = false,
                    (b'\\', true, false) => escaped = true,
                    (b'"', _, _) => quoted = !quoted,
                    _ => {}
                }
                *byte == b',' && !quoted
            })
            .map(<[u8]>::trim_ascii)
    })
}

/// The extension's name; none if it is not a token.
fn offer_name(offer: &[u8]) -> Option<&[u8]> {
    let name = offer
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    is_token(name).then_some(name)
}

/// RFC 9110 section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[cfg(test)]
mod tests;
