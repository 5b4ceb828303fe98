//! A compiled list, read.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use breakwater_snapshot::unit::{self, PrefetchList, Schedule};

/// What is fetched, when and how fast.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) list: List,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) requests_per_second: u32,
    pub(crate) concurrency: u32,
}

/// What is fetched.
#[derive(Debug)]
pub(crate) struct List {
    /// For telling whether another list is the same.
    pub(crate) unit: PrefetchList,
    pub(crate) urls: Vec<Arc<Url>>,
    pub(crate) sitemaps: Vec<Arc<Url>>,
    /// The field lines of each variant.
    pub(crate) variants: Vec<String>,
}

/// Something to ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    /// None: the one the host is served with.
    pub(crate) scheme: Option<Scheme>,
    /// Host and port, as in a `Host` field.
    pub(crate) authority: Arc<str>,
    /// Path and query.
    pub(crate) target: Box<str>,
}

/// A scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Settings {
    /// # Errors
    /// What cannot be used, for a person.
    pub(crate) fn new(unit: &unit::Prefetch) -> Result<Self, String> {
        let urls = |list: &[String]| -> Result<Vec<_>, String> {
            list.iter().map(|text| Url::parse(text).map(Arc::new)).collect()
        };
        let variants = unit.list.variants.iter().map(|fields| {
            fields.iter().fold(String::new(), |mut lines, field| {
                // Writing to a String does not fail.
                let _ = write!(lines, "{}: {}\r\n", field.name, field.value);
                lines
            })
        });
        Ok(Self {
            list: List {
                urls: urls(&unit.list.urls)?,
                sitemaps: urls(&unit.list.sitemaps)?,
                variants: variants.collect(),
                unit: unit.list.clone(),
            },
            schedule: unit.schedule.clone(),
            requests_per_second: unit.requests_per_second.max(1),
            concurrency: unit.concurrency.max(1),
        })
    }
}

impl Url {
    /// Reads `http://host/path`, `https://host/path` or `//host/path`. Whether it can be asked for shows when it is.
    ///
    /// # Errors
    /// What it is not, for a person.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` cannot be prefetched: it is no URL");
        let (scheme, rest) = text.split_once("//").ok_or_else(wrong)?;
        let scheme = match scheme {
            "" => None,
            _ if scheme.eq_ignore_ascii_case("http:") => Some(Scheme::Http),
            _ if scheme.eq_ignore_ascii_case("https:") => Some(Scheme::Https),
            _ => return Err(wrong()),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains('@') || !rest.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong());
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            scheme,
            authority: authority.into(),
            target: format!("{slash}{target}").into(),
        })
    }

    /// The host without port, in lower case.
    pub(crate) fn host(&self) -> String {
        let host = breakwater_wire::http1::Host::parse(&self.authority);
        host.map_or(&*self.authority, |host| host.name()).to_ascii_lowercase()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            None => "",
            Some(Scheme::Http) => "http:",
            Some(Scheme::Https) => "https:",
        };
        write!(f, "{scheme}//{}{}", self.authority, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_its_scheme_authority_and_target() {
        for (text, shown, host) in [
            ("//a.test/x?y#z", "//a.test/x?y", "a.test"),
            ("HTTPS://A.test:8443", "https://A.test:8443/", "a.test"),
            ("http://[::1]:80?q", "http://[::1]:80/?q", "[::1]"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.host().as_str()), (shown, host), "{text}");
        }
        for text in [
            "",
            "/a",
            "a.test/x",
            "ftp://a.test/",
            "http:///x",
            "http://u@a.test/",
            "http://a.test/ x",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
