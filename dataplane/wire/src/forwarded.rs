//! Who the client is, and telling the origin: X-Forwarded-For, -Proto, -Host, Forwarded (RFC 7239) and Via.
//!
//! Invariant: nothing that an untrusted peer said about itself reaches the origin as if we vouched for it.
//! Which peers are trusted is an argument. Which fields say such things is in [`claim`](self::claim()).

mod claim;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http1::Version;
use crate::http1::fields::{is_tchar, list_members};
pub use claim::{Claim, claim, claims_of_request};

const FORWARDED: HeaderName = header::FORWARDED;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What we know about the hop that a request came over.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// The address of the connection's other end.
    pub peer: IpAddr,
    /// `http` or `https`.
    pub proto: &'a str,
    /// The authority that the client used.
    pub host: &'a str,
    /// The peer is a trusted proxy: what it says is kept and extended. Otherwise it is replaced.
    pub trusted: bool,
}

/// Sets X-Forwarded-For, -Proto and -Host, and extends Forwarded where a trusted peer sent one.
///
/// From a trusted peer, Proto and Host of the first hop are kept. From anyone else every field goes that says who asked
/// or what was asked for. `Proxy` goes in any case, and so does every spelling with underscores, which CGI-like origins
/// cannot tell apart (`X_Forwarded_For`).
pub fn set_forwarding(headers: &mut HeaderMap, hop: &Hop<'_>) {
    remove_where(headers, |name| match claim(name) {
        Some(Claim::Proxy) => true,
        Some(Claim::Method) | None => is_framing_lookalike(name),
        Some(_) => !hop.trusted || name.contains('_'),
    });
    append_list(headers, X_FORWARDED_FOR, &hop.peer.to_canonical().to_string());
    if headers.contains_key(FORWARDED) {
        append_list(headers, FORWARDED, &forwarded_element(hop));
    }
    for (name, value) in [(X_FORWARDED_PROTO, hop.proto), (X_FORWARDED_HOST, hop.host)] {
        if !headers.contains_key(&name)
            && !value.is_empty()
            && let Ok(value) = HeaderValue::from_str(value)
        {
            headers.insert(name, value);
        }
    }
}

/// One element of Forwarded: `for=192.0.2.1;proto=https;host=example.com`. IPv6 addresses and whatever is
/// not a token is quoted.
#[must_use]
pub fn forwarded_element(hop: &Hop<'_>) -> String {
    let mut out = String::with_capacity(64);
    match hop.peer.to_canonical() {
        IpAddr::V4(peer) => drop(write!(out, "for={peer}")),
        IpAddr::V6(peer) => drop(write!(out, "for=\"[{peer}]\"")),
    }
    for (name, value) in [(";proto=", hop.proto), (";host=", hop.host)] {
        if value.is_empty() {
            continue;
        }
        out.push_str(name);
        if value.bytes().all(is_tchar) {
            out.push_str(value);
        } else {
            out.push('"');
            for c in value.chars().filter(|c| !c.is_control()) {
                if matches!(c, '"' | '\\') {
                    out.push('\\');
                }
                out.push(c);
            }
            out.push('"');
        }
    }
    out
}

/// Appends `1.1 pseudonym` to Via. A pseudonym that is not a token is left out, and nothing is appended.
pub fn append_via(headers: &mut HeaderMap, received: Version, pseudonym: &str) {
    if pseudonym.is_empty() || !pseudonym.bytes().all(is_tchar) {
        return;
    }
    let version = match received {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2.0",
    };
    append_list(headers, header::VIA, &format!("{version} {pseudonym}"));
}

/// How often Via names this pseudonym: a request that passes through us again and again is in a loop.
#[must_use]
pub fn via_count(headers: &HeaderMap, pseudonym: &str) -> usize {
    headers
        .get_all(header::VIA)
        .iter()
        .flat_map(|value| list_members(value.as_bytes()))
        .filter(|member| {
            let mut words = member
                .split(|b| matches!(b, b' ' | b'\t'))
                .filter(|word| !word.is_empty());
            words
                .nth(1)
                .is_some_and(|by| by.eq_ignore_ascii_case(pseudonym.as_bytes()))
        })
        .count()
}

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Appends our name to CDN-Loop (RFC 8586). What is there stays, whoever said it: it is not the customer's to change.
pub fn append_cdn_loop(headers: &mut HeaderMap, pseudonym: &str) {
    append_list(headers, CDN_LOOP, pseudonym);
}

/// How often CDN-Loop names this pseudonym, parameters left aside (RFC 8586 section 2).
#[must_use]
pub fn cdn_loop_count(headers: &HeaderMap, pseudonym: &str) -> usize {
    let values = headers.get_all(CDN_LOOP).iter();
    let members = values.flat_map(|value| list_members(value.as_bytes()));
    let names = members.map(|member| member.split(|b| *b == b';').next().unwrap_or_default().trim_ascii());
    names
        .filter(|name| name.eq_ignore_ascii_case(pseudonym.as_bytes()))
        .count()
}

/// Whether CDN-Loop names this pseudonym with the parameter `id` of this value: the request was here.
#[must_use]
pub fn cdn_loop_has(headers: &HeaderMap, pseudonym: &str, id: &str) -> bool {
    let values = headers.get_all(CDN_LOOP).iter();
    let mut members = values.flat_map(|value| list_members(value.as_bytes()));
    members.any(|member| {
        let mut parts = member.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(pseudonym.as_bytes()));
        named && parts.any(|part| part.strip_prefix(b"id=").is_some_and(|value| value == id.as_bytes()))
    })
}

/// The address of the client behind trusted proxies.
///
/// Starts at `peer` and walks X-Forwarded-For from right to left as long as the address in hand is trusted.
/// Stops at the first one that is not, or that is not an address: then the last trusted proxy is the best
/// that is known. So a client can write whatever it likes on the left, and it is never read.
pub fn client_address<'v>(
    peer: IpAddr,
    x_forwarded_for: impl DoubleEndedIterator<Item = &'v [u8]>,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer.to_canonical();
    for value in x_forwarded_for.rev() {
        for member in value.rsplit(|&b| b == b',') {
            if !trusted(client) {
                return client;
            }
            match parse_address(member.trim_ascii()) {
                Some(address) => client = address,
                None => return client,
            }
        }
    }
    client
}

/// An address with or without a port or brackets; IPv4-mapped ones become IPv4.
fn parse_address(member: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(member).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => text
            .parse()
            .ok()
            .or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))?,
    };
    Some(address.to_canonical())
}

/// Appends to the last line of a list field, so that the list stays one line where it was one.
fn append_list(headers: &mut HeaderMap, name: HeaderName, member: &str) {
    let mut joined = Vec::with_capacity(member.len());
    for value in headers.get_all(&name) {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(member.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(name, value);
    }
}

/// Removes the fields that ask for another method than the request line, but those that `keep` names.
///
/// For requests whose answer others may be given: it would be the answer to another request.
pub fn strip_method_overrides(headers: &mut HeaderMap, keep: &[HeaderName]) {
    remove_where(headers, |name| {
        claim(name) == Some(Claim::Method) && !keep.iter().any(|kept| kept.as_str() == name)
    });
}

fn remove_where(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    let gone: Vec<HeaderName> = headers.keys().filter(|name| goes(name.as_str())).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// `content_length`, `Transfer_Encoding` and their like: no framing of ours, but of CGI-like origins'.
fn is_framing_lookalike(name: &str) -> bool {
    name.contains('_') && matches!(name.replace('_', "-").as_str(), "content-length" | "transfer-encoding")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn hop(peer: &str, trusted: bool) -> Hop<'static> {
        Hop {
            peer: ip(peer),
            proto: "https",
            host: "shop.example:8443",
            trusted,
        }
    }

    fn trusted(address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10)
    }

    fn client(peer: &str, lines: &[&str]) -> IpAddr {
        client_address(ip(peer), lines.iter().map(|line| line.as_bytes()), trusted)
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_claims() {
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), ip("192.0.2.1"));
    }

    #[test]
    fn the_walk_stops_at_the_first_untrusted_address_from_the_right() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 192.0.2.9, 10.0.0.2"]), ip("192.0.2.9"));
        assert_eq!(
            client("10.0.0.1", &["1.1.1.1", "192.0.2.9", "10.0.0.2"]),
            ip("192.0.2.9")
        );
        assert_eq!(client("::ffff:10.0.0.1", &["::ffff:192.0.2.9"]), ip("192.0.2.9"));
    }

    #[test]
    fn garbage_ends_the_walk_at_the_last_trusted_proxy() {
        assert_eq!(client("10.0.0.1", &["192.0.2.9, unknown, 10.0.0.2"]), ip("10.0.0.2"));
        assert_eq!(client("10.0.0.1", &["192.0.2.9,"]), ip("10.0.0.1"));
        assert_eq!(client("10.0.0.1", &[]), ip("10.0.0.1"));
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), ip("10.0.0.3"));
    }

    #[test]
    fn ports_and_brackets_are_understood() {
        assert_eq!(client("10.0.0.1", &["192.0.2.9:4711"]), ip("192.0.2.9"));
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:4711"]), ip("2001:db8::1"));
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]"]), ip("2001:db8::1"));
        assert_eq!(client("10.0.0.1", &["2001:db8::1"]), ip("2001:db8::1"));
    }

    #[test]
    fn claims_of_an_untrusted_peer_are_replaced() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "forwarded",
            "x-real-ip",
            "x_forwarded_for",
            "x-forwarded-scheme",
            "x-forwarded-ssl",
            "x-forwarded-prefix",
            "x-original-url",
            "x-rewrite-url",
            "x-original-host",
            "x_original_url",
            "front-end-https",
            "cf-connecting-ip",
            "content_length",
            "proxy",
        ] {
            headers.append(name, HeaderValue::from_static("evil"));
        }
        set_forwarding(&mut headers, &hop("192.0.2.1", false));
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "shop.example:8443");
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn cdn_loop_is_extended_and_counts_our_name_whatever_its_parameters() {
        let mut headers = HeaderMap::new();
        assert_eq!(cdn_loop_count(&headers, "breakwater"), 0);
        headers.append(
            "cdn-loop",
            HeaderValue::from_static("foo, breakwater; v=1 ,barcdn; host=\"breakwater\""),
        );
        headers.append("cdn-loop", HeaderValue::from_static("Breakwater"));
        headers.append("cdn-loop", HeaderValue::from_static("breakwater2, ;breakwater"));
        assert_eq!(cdn_loop_count(&headers, "breakwater"), 2);
        append_cdn_loop(&mut headers, "breakwater");
        assert_eq!(cdn_loop_count(&headers, "breakwater"), 3);
        assert_eq!(cdn_loop_count(&headers, "foo"), 1);
        assert!(!cdn_loop_has(&headers, "breakwater", "7"));
        append_cdn_loop(&mut headers, "breakwater;id=7");
        assert_eq!(cdn_loop_count(&headers, "breakwater"), 4);
        assert!(cdn_loop_has(&headers, "breakwater", "7"));
        assert!(!cdn_loop_has(&headers, "breakwater", "77") && !cdn_loop_has(&headers, "foo", "7"));
    }

    #[test]
    fn a_trusted_proxy_is_extended() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        headers.append("x-forwarded-for", HeaderValue::from_static("10.0.0.9"));
        headers.append("x-forwarded-proto", HeaderValue::from_static("http"));
        headers.append("forwarded", HeaderValue::from_static("for=192.0.2.1"));
        set_forwarding(&mut headers, &hop("2001:db8::1", true));
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1, 10.0.0.9, 2001:db8::1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(
            headers["forwarded"],
            "for=192.0.2.1, for=\"[2001:db8::1]\";proto=https;host=\"shop.example:8443\""
        );
    }

    #[test]
    fn a_proxy_field_and_lookalikes_never_pass() {
        let mut headers = HeaderMap::new();
        for name in ["proxy", "x_forwarded_proto", "transfer_encoding", "x-original-url"] {
            headers.append(name, HeaderValue::from_static("x"));
        }
        set_forwarding(&mut headers, &hop("10.0.0.1", true));
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-original-url"
            ]
        );
    }

    #[test]
    fn other_methods_are_not_asked_for_unless_that_is_wanted() {
        let mut headers = HeaderMap::new();
        for name in ["x-http-method-override", "x-http-method", "x_method_override", "accept"] {
            headers.append(name, HeaderValue::from_static("POST"));
        }
        strip_method_overrides(&mut headers, &[HeaderName::from_static("x-http-method")]);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "x-http-method"]);
    }

    #[test]
    fn via_is_appended_and_counted() {
        let mut headers = HeaderMap::new();
        append_via(&mut headers, Version::Http10, "breakwater");
        append_via(&mut headers, Version::Http11, "breakwater");
        append_via(&mut headers, Version::Http11, "not a token");
        assert_eq!(headers["via"], "1.0 breakwater, 1.1 breakwater");
        assert_eq!(via_count(&headers, "Breakwater"), 2);
        assert_eq!(via_count(&headers, "other"), 0);
    }
}
