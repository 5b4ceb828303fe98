//! Redirects (RFC 9110 section 15.4): answers that send a client elsewhere.
//!
//! Invariant: a `Location` is an absolute URI of visible ASCII, so nothing of a request can end the field or make the
//! host another one.

use std::fmt::Write;

use breakwater_snapshot::unit::{self, PathKind, PathMatch, PathRewrite};
use regex::Regex;

use crate::route::{below, whole_path};

/// The redirects of a route, in order.
pub(super) struct Redirects(Vec<Redirect>);

struct Redirect {
    /// Empty means all.
    paths: Vec<Pattern>,
    scheme: Option<String>,
    hostname: Option<String>,
    port: Option<u16>,
    path: Option<PathRewrite>,
    status: u16,
}

enum Pattern {
    Exact(String),
    /// Without trailing slash.
    Prefix(String),
    Regex(Regex),
}

/// What a redirect needs to know of a request.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// `http` or `https`.
    pub(crate) scheme: &'a str,
    /// As in the request, an IPv6 address in brackets.
    pub(crate) host: &'a str,
    /// Where the request named one.
    pub(crate) port: Option<u16>,
    /// Normalised.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    /// Where clients find `https`, unless a redirect says where.
    pub(crate) https_port: u16,
}

impl Redirects {
    /// # Errors
    /// What cannot be used, for a person.
    pub(super) fn new(units: &[unit::Redirect]) -> Result<Self, String> {
        units.iter().map(Redirect::new).collect::<Result<_, _>>().map(Self)
    }

    /// The status and the `Location` for a request. One that would lead a client to where it is does not count: a
    /// redirect to `https` behind a proxy that ends TLS itself would never end.
    pub(super) fn find(&self, asked: &Asked<'_>) -> Option<(u16, String)> {
        self.0.iter().find_map(|redirect| redirect.location(asked))
    }
}

impl Redirect {
    fn new(unit: &unit::Redirect) -> Result<Self, String> {
        if !matches!(unit.status, 301 | 302 | 303 | 307 | 308) {
            return Err(format!("{} is not the status of a redirect", unit.status));
        }
        Ok(Self {
            paths: unit.paths.iter().map(Pattern::new).collect::<Result<_, _>>()?,
            scheme: unit.scheme.clone(),
            hostname: unit.hostname.clone(),
            port: unit.port,
            path: unit.path.clone(),
            status: unit.status,
        })
    }

    fn location(&self, asked: &Asked<'_>) -> Option<(u16, String)> {
        // What a prefix matched; of a redirect for all paths, nothing.
        let mut matched = Some(0);
        if !self.paths.is_empty() {
            matched = self.paths.iter().find_map(|pattern| pattern.matches(asked.path))?;
        }
        let scheme = self.scheme.as_deref().unwrap_or(asked.scheme);
        let host = self.hostname.as_deref().unwrap_or(asked.host);
        // Another scheme has another port, unless one is named.
        let port = self.port.or_else(|| match self.scheme.as_deref() {
            None => asked.port,
            // Of another host's port nothing is known.
            Some("https") if self.hostname.is_none() => Some(asked.https_port),
            Some(_) => None,
        });
        let port = port.filter(|port| Some(*port) != default_port(scheme));
        let path = match (&self.path, matched) {
            (None, _) => asked.path.to_owned(),
            (Some(PathRewrite::Full(path)), _) => path.clone(),
            (Some(PathRewrite::Prefix(_)), None) => asked.path.to_owned(),
            (Some(PathRewrite::Prefix(new)), Some(matched)) => {
                let rest = asked.path.get(matched..).unwrap_or_default();
                if rest.is_empty() {
                    new.clone()
                } else {
                    format!("{}{rest}", new.trim_end_matches('/'))
                }
            }
        };
        let unmoved = scheme == asked.scheme
            && host.eq_ignore_ascii_case(asked.host)
            && port == asked.port.filter(|port| Some(*port) != default_port(scheme))
            && path == asked.path;
        if unmoved {
            return None;
        }
        let mut location = format!("{scheme}://");
        push_visible(&mut location, host);
        if let Some(port) = port {
            let _ = write!(location, ":{port}");
        }
        if !path.starts_with('/') {
            location.push('/');
        }
        push_visible(&mut location, &path);
        if let Some(query) = asked.query {
            // A new path may bring a query of its own.
            location.push(if path.contains('?') { '&' } else { '?' });
            push_visible(&mut location, query);
        }
        Some((self.status, location))
    }
}

impl Pattern {
    fn new(path: &PathMatch) -> Result<Self, String> {
        let value = path.value.as_str();
        Ok(match path.kind {
            PathKind::Exact => Self::Exact(value.to_owned()),
            PathKind::Prefix => Self::Prefix(value.trim_end_matches('/').to_owned()),
            PathKind::Regex => Self::Regex(
                whole_path(value).map_err(|error| format!("the path expression `{value}` cannot be used: {error}"))?,
            ),
        })
    }

    /// Whether it matches, and then how much of the path a prefix is.
    #[expect(clippy::option_option, reason = "matched or not, and if so by a prefix or not")]
    fn matches(&self, path: &str) -> Option<Option<usize>> {
        match self {
            Self::Exact(exact) => (path == exact).then_some(None),
            Self::Prefix(prefix) => below(path, prefix).then_some(Some(prefix.len())),
            Self::Regex(regex) => regex.is_match(path).then_some(None),
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Appends `text`, with what a URI cannot have as it is (RFC 3986 section 2) percent-encoded.
fn push_visible(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything(status: u16) -> unit::Redirect {
        unit::Redirect {
            paths: Vec::new(),
            scheme: None,
            hostname: None,
            port: None,
            path: None,
            status,
        }
    }

    fn path(kind: PathKind, value: &str) -> Vec<PathMatch> {
        let value = value.to_owned();
        vec![PathMatch { kind, value }]
    }

    const ASKED: Asked<'_> = Asked {
        scheme: "http",
        host: "a.test",
        port: None,
        path: "/old/x",
        query: Some("q=1&r"),
        https_port: 443,
    };

    fn to(unit: unit::Redirect, asked: &Asked<'_>) -> Option<String> {
        Redirects::new(&[unit])
            .unwrap()
            .find(asked)
            .map(|(_, location)| location)
    }

    #[test]
    fn what_is_not_named_stays() {
        let https = unit::Redirect {
            scheme: Some("https".to_owned()),
            ..everything(301)
        };
        let redirects = Redirects::new(std::slice::from_ref(&https)).unwrap();
        let found = redirects.find(&ASKED);
        assert_eq!(found, Some((301, "https://a.test/old/x?q=1&r".to_owned())));
        let at_port = Asked {
            port: Some(8080),
            ..ASKED
        };
        assert_eq!(
            to(https, &at_port).unwrap(),
            "https://a.test/old/x?q=1&r",
            "another scheme, another port"
        );
        let elsewhere = Asked {
            https_port: 8443,
            ..ASKED
        };
        let https = unit::Redirect {
            scheme: Some("https".to_owned()),
            ..everything(301)
        };
        assert_eq!(
            to(https.clone(), &elsewhere).unwrap(),
            "https://a.test:8443/old/x?q=1&r",
            "where clients find https"
        );
        let other = unit::Redirect {
            hostname: Some("b.test".to_owned()),
            ..https.clone()
        };
        assert_eq!(
            to(other, &elsewhere).unwrap(),
            "https://b.test/old/x?q=1&r",
            "of another host's port nothing is known"
        );
        let there = Asked {
            scheme: "https",
            port: Some(8443),
            ..elsewhere
        };
        assert_eq!(to(https, &there), None, "it is there");
        let host = unit::Redirect {
            hostname: Some("b.test".to_owned()),
            ..everything(302)
        };
        assert_eq!(to(host.clone(), &at_port).unwrap(), "http://b.test:8080/old/x?q=1&r");
        let port = unit::Redirect {
            port: Some(8443),
            scheme: Some("https".to_owned()),
            ..host
        };
        assert_eq!(to(port, &at_port).unwrap(), "https://b.test:8443/old/x?q=1&r");
        let well_known = unit::Redirect {
            port: Some(80),
            ..everything(302)
        };
        assert_eq!(to(well_known, &at_port).unwrap(), "http://a.test/old/x?q=1&r");
    }

    #[test]
    fn a_prefix_is_replaced_element_by_element() {
        let prefix = |new: &str| unit::Redirect {
            paths: path(PathKind::Prefix, "/old/"),
            path: Some(PathRewrite::Prefix(new.to_owned())),
            ..everything(308)
        };
        let at = |new, path| {
            to(
                prefix(new),
                &Asked {
                    path,
                    query: None,
                    ..ASKED
                },
            )
        };
        assert_eq!(at("/new", "/old/x").unwrap(), "http://a.test/new/x");
        assert_eq!(at("/new/", "/old/x").unwrap(), "http://a.test/new/x");
        assert_eq!(at("/new", "/old").unwrap(), "http://a.test/new");
        assert_eq!(at("/", "/old/x").unwrap(), "http://a.test/x");
        assert_eq!(at("/", "/old").unwrap(), "http://a.test/");
        assert_eq!(at("/new", "/older"), None);
        let all = unit::Redirect {
            path: Some(PathRewrite::Prefix("/new".to_owned())),
            ..everything(308)
        };
        assert_eq!(to(all, &ASKED).unwrap(), "http://a.test/new/old/x?q=1&r");
    }

    #[test]
    fn a_whole_path_is_replaced_and_the_query_stays() {
        let full = |new: &str| unit::Redirect {
            paths: path(PathKind::Regex, "/old/.*"),
            path: Some(PathRewrite::Full(new.to_owned())),
            ..everything(303)
        };
        assert_eq!(to(full("/new"), &ASKED).unwrap(), "http://a.test/new?q=1&r");
        assert_eq!(
            to(full("/new?from=old"), &ASKED).unwrap(),
            "http://a.test/new?from=old&q=1&r"
        );
    }

    #[test]
    fn the_first_that_matches_answers() {
        let exact = unit::Redirect {
            paths: path(PathKind::Exact, "/old"),
            hostname: Some("exact.test".to_owned()),
            ..everything(301)
        };
        let rest = unit::Redirect {
            hostname: Some("rest.test".to_owned()),
            ..everything(302)
        };
        let redirects = Redirects::new(&[exact, rest]).unwrap();
        assert_eq!(redirects.find(&ASKED).unwrap().0, 302);
        assert_eq!(redirects.find(&Asked { path: "/old", ..ASKED }).unwrap().0, 301);
    }

    #[test]
    fn a_redirect_to_where_the_client_is_does_not_count() {
        let same = unit::Redirect {
            scheme: Some("http".to_owned()),
            hostname: Some("A.test".to_owned()),
            ..everything(301)
        };
        assert_eq!(to(same.clone(), &ASKED), None);
        assert_eq!(
            to(
                same,
                &Asked {
                    port: Some(80),
                    ..ASKED
                }
            ),
            None
        );
    }

    #[test]
    fn nothing_of_a_request_ends_the_field() {
        let other = unit::Redirect {
            hostname: Some("b.test".to_owned()),
            ..everything(302)
        };
        let asked = Asked {
            path: "//evil.test/\u{e9}\"",
            query: Some("a\r\nset-cookie: x=%0d{}"),
            ..ASKED
        };
        assert_eq!(
            to(other, &asked).unwrap(),
            "http://b.test//evil.test/%C3%A9%22?a%0D%0Aset-cookie:%20x=%0d%7B%7D"
        );
    }

    #[test]
    fn a_status_that_does_not_redirect_is_refused() {
        assert!(Redirects::new(&[everything(200)]).is_err());
    }
}
