//! Fields that concern one connection only, and are removed before a message goes on (RFC 9110 section 7.6.1).
//!
//! Invariant: after [`strip_hop_by_hop`] no field is left that frames or steers the connection it came from,
//! and `Connection` cannot have removed a field that the next hop relies on for security or routing.
//! Who needs one of them again (Upgrade for a handshake, Transfer-Encoding, `TE: trailers`) writes it anew.
//! [`strip_trailers`] does the same for the fields behind a body.

use http::{HeaderMap, HeaderName, header};

use crate::forwarded::claim;
use crate::http1::fields::list_members;

/// Removed whether or not `Connection` names them. Trailer is here because whether trailers go on depends on the next
/// hop, and nobody needs the announcement.
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Most connection options that are looked at; the rest is ignored, and the fixed list still goes.
const MAX_OPTIONS: usize = 64;

/// Removes the hop-by-hop fields and those that `Connection` names, except protected ones.
///
/// A client that sends `Connection: X-Forwarded-For` asks us to erase what a proxy in front of us vouched
/// for, `Connection: Authorization` or `Cookie` turns its own request into another one behind a cache, and
/// `Connection: Content-Length` or `Host` changes the framing or the destination. None of these is a
/// legitimate connection option, so [`is_protected`] fields stay.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip_named(headers);
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes the fields that `Connection` names, except protected ones and those of the fixed list.
///
/// Who compares requests by their fields (cache keys, `Vary`) does this first: otherwise it compares what the origin
/// never sees, and `Connection: Accept-Language` stores the answer to no language as that to a language.
pub fn strip_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| list_members(value.as_bytes()))
        .take(MAX_OPTIONS)
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !is_protected(name.as_str()) && !is_hop_by_hop(name.as_str()))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Removes what may not stand behind a body (RFC 9110 section 6.5.1): what frames, routes, authorises, controls or
/// describes the message. A recipient that merges trailers into the head must not learn anything from them that was
/// checked in the head only. None when nothing is left.
#[must_use]
pub fn strip_trailers(mut trailers: HeaderMap) -> Option<HeaderMap> {
    let unfit = |name: &str| is_hop_by_hop(name) || is_protected(name) || in_heads_only(name);
    let names: Vec<HeaderName> = trailers.keys().filter(|name| unfit(name.as_str())).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
    (!trailers.is_empty()).then_some(trailers)
}

/// Fields that say something about the message they head, beside the protected ones.
fn in_heads_only(name: &str) -> bool {
    matches!(
        name,
        "allow" | "max-forwards" | "refresh" | "retry-after" | "server" | "user-agent"
    ) || name.starts_with("accept")
        || name.starts_with("cf-")
        || name.starts_with("true-client-")
        || name.starts_with("x-http-method")
        || name.starts_with("x-original-")
        || name.starts_with("x-rewrite-")
}

/// True if `TE` says that trailers are welcome (RFC 9110 section 10.1.4).
#[must_use]
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE);
    let mut members = lines.iter().flat_map(|value| list_members(value.as_bytes()));
    members.any(|member| member.eq_ignore_ascii_case(b"trailers"))
}

/// True if the field is removed on every hop, whatever `Connection` says. `name` in any case.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.iter().any(|hop| hop.eq_ignore_ascii_case(name))
}

/// True if `Connection` may not name this field away: it is meant for every recipient. `name` in lower case.
#[must_use]
pub fn is_protected(name: &str) -> bool {
    claim(name).is_some()
        || name.starts_with("content-")
        || name.starts_with("if-")
        || name.starts_with("sec-")
        || name.starts_with("access-control-")
        || matches!(
            name,
            "host"
                | "via"
                | "x-request-id"
                | "authorization"
                | "cookie"
                | "set-cookie"
                | "origin"
                | "cache-control"
                | "cdn-cache-control"
                | "pragma"
                | "expires"
                | "age"
                | "date"
                | "vary"
                | "etag"
                | "last-modified"
                | "location"
                | "range"
                | "expect"
                | "www-authenticate"
                | "strict-transport-security"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn the_fixed_list_and_the_fields_that_connection_names_go() {
        let mut headers = map(&[
            ("connection", "close, X-One,,"),
            ("connection", "x-two, not a token"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "Basic eA=="),
        ]);
        strip_hop_by_hop(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-three"]);
    }

    #[test]
    fn connection_cannot_remove_what_the_next_hop_relies_on() {
        let fields = [
            ("host", "a"),
            ("content-length", "5"),
            ("via", "1.1 x"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=10.0.0.1"),
            ("authorization", "Basic eA=="),
            ("cookie", "a=b"),
            ("set-cookie", "a=b"),
            ("cache-control", "private"),
        ];
        for (name, value) in fields {
            let mut headers = map(&[(name, value)]);
            headers.insert("connection", HeaderValue::from_static(name));
            strip_hop_by_hop(&mut headers);
            assert_eq!(
                headers.get(name).map(HeaderValue::as_bytes),
                Some(value.as_bytes()),
                "{name}"
            );
            assert_eq!(headers.len(), 1);
        }
    }

    #[test]
    fn what_connection_names_can_go_without_what_steers_the_connection() {
        let mut headers = map(&[
            ("connection", "Upgrade, Accept-Language, Cookie"),
            ("upgrade", "websocket"),
            ("accept-language", "de"),
            ("cookie", "a=b"),
        ]);
        strip_named(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["connection", "cookie", "upgrade"]);
    }

    #[test]
    fn trailers_keep_what_can_stand_behind_a_body_and_nothing_that_steers_a_request() {
        let trailers = map(&[
            ("grpc-status", "0"),
            ("grpc-message", "ok"),
            ("server-timing", "db;dur=5"),
            ("x-checksum", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("host", "other.test"),
            ("authorization", "Basic eA=="),
            ("cookie", "a=b"),
            ("set-cookie", "a=b"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-original-url", "/admin"),
            ("cache-control", "public"),
            ("trailer", "x"),
            ("connection", "close"),
        ]);
        let left = strip_trailers(trailers).expect("some");
        let left: Vec<_> = left.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["grpc-status", "grpc-message", "server-timing", "x-checksum"]);
        assert!(strip_trailers(map(&[("host", "a")])).is_none());
    }

    #[test]
    fn te_welcomes_trailers_wherever_the_word_stands() {
        assert!(accepts_trailers(&map(&[("te", "gzip;q=0.5, Trailers")])));
        assert!(accepts_trailers(&map(&[("te", "gzip"), ("te", "trailers")])));
        assert!(!accepts_trailers(&map(&[("te", "xtrailers, gzip")])));
        assert!(!accepts_trailers(&HeaderMap::new()));
    }

    #[test]
    fn names_are_hop_by_hop_in_any_case() {
        assert!(is_hop_by_hop("Transfer-Encoding"));
        assert!(!is_hop_by_hop("Content-Length"));
    }
}
