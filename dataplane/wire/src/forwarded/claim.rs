//! Fields by which a request says that it is, or once was, another request: by another client, to another host or path,
//! with another method.
//!
//! Origins and frameworks act on them, which is how caches are poisoned and paths get past whoever looked at the request
//! line. This names them; who believes which of them is decided by [`super::set_forwarding`] and by whoever makes keys.

use crate::http1::fields::trim_ows;

/// What a field claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Who asks: addresses.
    Client,
    /// What was asked for: scheme, host, port, path, and whatever else a proxy forwards about the request.
    Request,
    /// Both, in one field: `Forwarded` (RFC 7239).
    Forwarded,
    /// Another method than that of the request line.
    Method,
    /// `Proxy`, which is no field of HTTP: CGI-like origins take it for their own proxy setting (httpoxy, CVE-2016-5385).
    Proxy,
}

/// Longer than every name that is looked for as a whole.
const MAX_NAME: usize = 32;

/// What the field `name` claims. In any case, and with underscores for dashes, which CGI-like origins cannot tell apart.
#[must_use]
pub fn claim(name: &str) -> Option<Claim> {
    let mut spelled = [0_u8; MAX_NAME];
    for (to, from) in spelled.iter_mut().zip(name.bytes()) {
        *to = if from == b'_' { b'-' } else { from.to_ascii_lowercase() };
    }
    let whole = if name.len() < MAX_NAME {
        spelled.get(..name.len()).unwrap_or_default()
    } else {
        &spelled
    };
    match whole {
        b"proxy" => Some(Claim::Proxy),
        b"forwarded" => Some(Claim::Forwarded),
        b"x-http-method-override" | b"x-http-method" | b"x-method-override" => Some(Claim::Method),
        b"x-forwarded-for"
        | b"x-original-forwarded-for"
        | b"forwarded-for"
        | b"x-real-ip"
        | b"x-client-ip"
        | b"client-ip"
        | b"true-client-ip"
        | b"x-cluster-client-ip"
        | b"x-remote-ip"
        | b"x-remote-addr"
        | b"x-originating-ip"
        | b"x-envoy-external-address"
        | b"cf-connecting-ip"
        | b"cf-connecting-ipv6"
        | b"fastly-client-ip" => Some(Claim::Client),
        b"x-rewrite-url"
        | b"x-override-url"
        | b"x-host"
        | b"x-scheme"
        | b"x-url-scheme"
        | b"x-http-host-override"
        | b"x-http-path-override"
        | b"x-http-destinationurl"
        | b"x-envoy-original-host"
        | b"x-envoy-original-path"
        | b"front-end-https" => Some(Claim::Request),
        _ if whole.starts_with(b"x-forwarded-") || whole.starts_with(b"x-original-") => Some(Claim::Request),
        _ => None,
    }
}

/// Gives what the fields, which `fields` begins anew each time, claim about what was asked for, as it reaches the origin from a trusted peer: name, place among
/// the lines of that name and among the line's elements, value. Addresses are left out.
///
/// Two requests that claim different things give different sets, whatever the order of differently named fields.
pub fn claims_of_request<'v, I: Iterator<Item = (&'v str, &'v [u8])>>(
    fields: impl Fn() -> I,
    mut give: impl FnMut(&'v str, [usize; 2], &'v [u8]),
) {
    for (position, (name, value)) in fields().enumerate() {
        let claims = claim(name).filter(|_| !name.contains('_'));
        if !matches!(claims, Some(Claim::Request | Claim::Forwarded)) {
            continue;
        }
        let same = |(other, _): &(&str, &[u8])| other.eq_ignore_ascii_case(name);
        let line = fields().take(position).filter(same).count();
        if claims == Some(Claim::Request) {
            give(name, [line, 0], value);
        } else if !is_plain(value) {
            // Whoever reads it may find something else in it: all of it counts.
            give(name, [line, 0], value);
        } else {
            for (element, pairs) in value.split(|b| *b == b',').enumerate() {
                for pair in pairs.split(|b| *b == b';').map(trim_ows) {
                    let by = pair.split(|b| *b == b'=').next().unwrap_or_default();
                    let address = by.eq_ignore_ascii_case(b"for") || by.eq_ignore_ascii_case(b"by");
                    if !pair.is_empty() && !address {
                        give(name, [line, element], pair);
                    }
                }
            }
        }
    }
}

/// Whether commas and semicolons separate, and do nothing else: no quoted string holds one, and none is left open.
fn is_plain(value: &[u8]) -> bool {
    let mut quoted = false;
    for byte in value {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => return false,
            b',' | b';' if quoted => return false,
            _ => {}
        }
    }
    !quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case_and_with_underscores() {
        for (name, expected) in [
            ("Proxy", Claim::Proxy),
            ("X-Forwarded-For", Claim::Client),
            ("X_Real_IP", Claim::Client),
            ("x-original-forwarded-for", Claim::Client),
            ("X-Forwarded-Scheme", Claim::Request),
            ("x-forwarded-a-name-that-is-longer-than-every-other", Claim::Request),
            ("X_ORIGINAL_URL", Claim::Request),
            ("X-Rewrite-Url", Claim::Request),
            ("Forwarded", Claim::Forwarded),
            ("X-HTTP-Method-Override", Claim::Method),
        ] {
            assert_eq!(claim(name), Some(expected), "{name}");
        }
        for name in [
            "",
            "proxy-connection",
            "x-forwarded",
            "x-proxy",
            "forwardedx",
            "host",
            "x-hosts",
        ] {
            assert_eq!(claim(name), None, "{name}");
        }
    }

    fn claims(fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut given = Vec::new();
        let fields = || fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        claims_of_request(fields, |name, [line, element], value| {
            given.push(format!("{name} {line} {element} {}", String::from_utf8_lossy(value)));
        });
        given.sort_unstable();
        given
    }

    #[test]
    fn what_was_asked_for_counts_and_who_asked_does_not() {
        assert_eq!(
            claims(&[
                ("accept", "*/*"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "https"),
                ("x_original_url", "/never-sent-on"),
                ("x-original-url", "/a"),
                ("X-Original-Url", "/b"),
                (
                    "forwarded",
                    "for=192.0.2.1;proto=https, For=\"[2001:db8::1]:4711\";by=x; host=a"
                ),
            ]),
            [
                "X-Original-Url 1 0 /b",
                "forwarded 0 0 proto=https",
                "forwarded 0 1 host=a",
                "x-forwarded-proto 0 0 https",
                "x-original-url 0 0 /a",
            ]
        );
        assert!(claims(&[("forwarded", "for=192.0.2.1, for=10.0.0.1")]).is_empty());
    }

    #[test]
    fn the_place_of_an_element_counts() {
        let claims = |value| claims(&[("forwarded", value)]);
        assert_ne!(claims("host=a, for=192.0.2.1"), claims("for=192.0.2.1, host=a"));
        assert_ne!(claims("host=a, host=b"), claims("host=b, host=a"));
    }

    #[test]
    fn a_forwarded_field_that_can_be_read_in_two_ways_counts_whole() {
        for odd in ["for=\"a;host=b\"", "for=\"", "for=\"\\\"\";host=a", "for=\"x,host=y\""] {
            assert_eq!(claims(&[("forwarded", odd)]), [format!("forwarded 0 0 {odd}")]);
        }
    }
}
