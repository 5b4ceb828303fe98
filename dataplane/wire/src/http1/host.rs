//! The authority of a request: host name or address, and port.
//!
//! Stricter than RFC 3986: only what can be a DNS name (letters, digits, `-`, `_`, `~`, `.`) or an address
//! literal. Percent-encoding, sub-delimiters, userinfo, zones and empty labels are refused, because no
//! route can name them and implementations disagree about them.

use std::net::Ipv6Addr;

/// Longest host name in bytes: what DNS can carry, with a final dot.
const MAX_NAME: usize = 254;

/// A validated authority, borrowed from the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Host<'b> {
    raw: &'b str,
    name: &'b str,
    port: Option<u16>,
}

impl<'b> Host<'b> {
    /// Parses `uri-host [":" [port]]`. `None` if it is anything else, or empty.
    #[must_use]
    pub fn parse(authority: &'b str) -> Option<Self> {
        let name_len = if authority.starts_with('[') {
            let close = authority.find(']')?;
            authority.get(1..close)?.parse::<Ipv6Addr>().ok()?;
            close + 1
        } else {
            name_len(authority)?
        };
        let (name, rest) = authority.split_at_checked(name_len)?;
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return None,
            Some("") => {
                return Some(Self {
                    raw: name,
                    name,
                    port: None,
                });
            }
            Some(digits) => Some(parse_port(digits)?),
        };
        Some(Self {
            raw: authority,
            name,
            port,
        })
    }

    /// No authority at all: an HTTP/1.0 request without Host. Such a request can only match a route for
    /// every host name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Host and port as received, without an empty port: what Host towards the origin is made of.
    #[must_use]
    pub fn as_str(&self) -> &'b str {
        self.raw
    }

    /// The host without port, as received (case kept, brackets around IPv6 kept), without a final dot.
    #[must_use]
    pub fn name(&self) -> &'b str {
        self.name.strip_suffix('.').unwrap_or(self.name)
    }

    /// The port, if one was given.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Writes the name in lower case without a final dot: the form routes and cache keys compare.
    pub fn write_normalized(&self, out: &mut String) {
        out.extend(self.name().chars().map(|c| c.to_ascii_lowercase()));
    }

    /// The authority as routes and cache keys compare it, for the origin: the name in lower case without a final dot,
    /// and the port unless it is `default_port`, the scheme's own (RFC 9110 section 4.2.3). Whoever is served from the
    /// same key must have asked the origin the same.
    #[must_use]
    pub fn canonical(&self, default_port: u16) -> String {
        let mut out = String::with_capacity(self.raw.len());
        self.write_normalized(&mut out);
        if let Some(port) = self.port.filter(|port| *port != default_port) {
            out.push(':');
            out.push_str(&port.to_string());
        }
        out
    }

    /// True if [`Host::name`] is already what [`Host::write_normalized`] would write.
    #[must_use]
    pub fn is_lowercase(&self) -> bool {
        !self.name.bytes().any(|b| b.is_ascii_uppercase())
    }
}

/// Bytes of the name at the start of an authority, up to its port. None: it is not a name.
fn name_len(authority: &str) -> Option<usize> {
    let bytes = authority.as_bytes();
    let (mut last, mut end) = (b'.', bytes.len());
    for (place, &byte) in bytes.iter().enumerate() {
        if !OF_NAMES[usize::from(byte)] {
            match byte {
                b'.' if last != b'.' => {}
                b':' => {
                    end = place;
                    break;
                }
                _ => return None,
            }
        }
        last = byte;
    }
    // One final dot may be there: every dot is behind a label.
    (1..=MAX_NAME).contains(&end).then_some(end)
}

/// What labels are made of.
const OF_NAMES: [bool; 256] = {
    let mut of_names = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        of_names[byte] = c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'~');
        byte += 1;
    }
    of_names
};

fn parse_port(digits: &str) -> Option<u16> {
    if digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_ports_are_hosts() {
        for (raw, name, port) in [
            ("example.com", "example.com", None),
            ("Example.COM.:8080", "Example.COM", Some(8080)),
            ("a_b~c-d", "a_b~c-d", None),
            ("10.0.0.1:80", "10.0.0.1", Some(80)),
            ("[::1]:65535", "[::1]", Some(65535)),
            ("[2001:db8::1]", "[2001:db8::1]", None),
            ("h:", "h", None),
        ] {
            let host = Host::parse(raw).expect(raw);
            assert_eq!((host.name(), host.port()), (name, port), "{raw}");
        }
        assert_eq!(Host::parse("h:").map(|h| h.as_str()), Some("h"));
    }

    #[test]
    fn the_canonical_form_is_one_for_all_that_share_a_key() {
        for raw in [
            "Shop.Example.COM",
            "shop.example.com.",
            "shop.example.com:80",
            "shop.example.com.:080",
        ] {
            assert_eq!(
                Host::parse(raw).map(|host| host.canonical(80)).as_deref(),
                Some("shop.example.com"),
                "{raw}"
            );
        }
        assert_eq!(
            Host::parse("A:443").map(|host| host.canonical(80)).as_deref(),
            Some("a:443")
        );
    }

    #[test]
    fn everything_else_is_not_a_host() {
        for raw in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a/b",
            "a b",
            "a,b",
            "u@h",
            "a%41",
            "a#b",
            "a?b",
            "a\\b",
            "h:65536",
            "h:+1",
            "h:1x",
            "h:000080",
            "h:80:80",
            "[::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "::1",
            "é",
            "a\t",
            "$host",
        ] {
            assert_eq!(Host::parse(raw), None, "{raw}");
        }
        assert_eq!(Host::parse(&"a".repeat(255)), None);
    }

    #[test]
    fn the_normal_form_is_lower_case_without_a_final_dot() {
        let host = Host::parse("Shop.Example.").expect("valid");
        let mut out = String::new();
        host.write_normalized(&mut out);
        assert_eq!(out, "shop.example");
        assert!(!host.is_lowercase());
    }
}
