//! Which resource serves a host and a path.
//!
//! The most specific host that has a matching path wins: exact, then the longest wildcard, then `*`. Within a host:
//! exact path, then regular expressions (longest pattern first), then the longest prefix. The compile step settled
//! conflicts, so no two entries are equal.

use std::borrow::Cow;
use std::collections::HashMap;

use breakwater_snapshot::unit::{Claim, PathKind};
use foldhash::fast::RandomState;
use regex::{Regex, RegexBuilder};

/// A regular expression may compile to this many bytes.
const REGEX_LIMIT: usize = 1 << 20;

/// The routing table; `T` is what a claim leads to.
#[derive(Debug)]
pub(crate) struct Router<T> {
    exact: HashMap<Box<str>, Paths<T>, RandomState>,
    /// By the part after `*.`.
    wildcard: HashMap<Box<str>, Paths<T>, RandomState>,
    any: Paths<T>,
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            wildcard: HashMap::default(),
            any: Paths::default(),
        }
    }
}

impl<T: Copy> Router<T> {
    /// Adds what `claim` leads to. Call [`Router::finish`] after the last.
    ///
    /// # Errors
    /// When the claim's regular expression does not compile.
    pub(crate) fn add(&mut self, claim: &Claim, to: T) -> Result<(), regex::Error> {
        let paths = match claim.host.strip_prefix("*.") {
            Some(suffix) => self.wildcard.entry(suffix.into()).or_default(),
            None if claim.host == "*" => &mut self.any,
            None => self.exact.entry(claim.host.as_str().into()).or_default(),
        };
        let value = claim.path.value.as_str();
        match claim.path.kind {
            PathKind::Exact => drop(paths.exact.insert(value.into(), to)),
            PathKind::Prefix => paths.prefix.push((value.trim_end_matches('/').into(), to)),
            PathKind::Regex => paths.regex.push((whole_path(value)?, to)),
        }
        Ok(())
    }

    /// Orders what was added.
    pub(crate) fn finish(&mut self) {
        let hosts = self.exact.values_mut().chain(self.wildcard.values_mut());
        for paths in hosts.chain([&mut self.any]) {
            paths
                .prefix
                .sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
            paths.regex.sort_by(|(a, _), (b, _)| {
                b.as_str()
                    .len()
                    .cmp(&a.as_str().len())
                    .then_with(|| a.as_str().cmp(b.as_str()))
            });
        }
    }

    /// What serves `path` of `host`, which is without port.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<T> {
        let host = lower(host);
        let host = host.strip_suffix('.').unwrap_or(&host);
        if let Some(found) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(found);
        }
        if !self.wildcard.is_empty() {
            let mut rest = host;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(found) = self.wildcard.get(suffix).and_then(|paths| paths.find(path)) {
                    return Some(found);
                }
                rest = suffix;
            }
        }
        self.any.find(path)
    }
}

/// Compiles `pattern` so that it must match a whole path, with bounded size.
///
/// # Errors
/// When it is not a regular expression, or too large a one.
pub(crate) fn whole_path(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(REGEX_LIMIT)
        .build()
}

/// Whether `path` lies below `prefix`, element by element; `prefix` has no trailing slash.
pub(crate) fn below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn lower(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The paths of one host.
#[derive(Debug)]
struct Paths<T> {
    exact: HashMap<Box<str>, T, RandomState>,
    regex: Vec<(Regex, T)>,
    /// Without trailing slash, longest first.
    prefix: Vec<(Box<str>, T)>,
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            regex: Vec::new(),
            prefix: Vec::new(),
        }
    }
}

impl<T: Copy> Paths<T> {
    fn find(&self, path: &str) -> Option<T> {
        if !self.exact.is_empty()
            && let Some(to) = self.exact.get(path)
        {
            return Some(*to);
        }
        let by_regex = self.regex.iter().find(|(regex, _)| regex.is_match(path));
        if let Some((_, to)) = by_regex {
            return Some(*to);
        }
        let by_prefix = self.prefix.iter().find(|(prefix, _)| below(path, prefix));
        by_prefix.map(|(_, to)| *to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakwater_snapshot::unit::PathMatch;

    fn router(claims: &[(&str, PathKind, &str)]) -> Router<usize> {
        let mut router = Router::default();
        for (to, (host, kind, value)) in claims.iter().enumerate() {
            let path = PathMatch {
                kind: *kind,
                value: (*value).to_owned(),
            };
            let host = (*host).to_owned();
            router.add(&Claim { host, path }, to).unwrap();
        }
        router.finish();
        router
    }

    #[test]
    fn the_most_specific_host_wins() {
        let router = router(&[
            ("*", PathKind::Prefix, "/"),
            ("*.example.com", PathKind::Prefix, "/"),
            ("*.shop.example.com", PathKind::Prefix, "/"),
            ("www.shop.example.com", PathKind::Prefix, "/"),
        ]);
        let found = |host| router.find(host, "/x");
        assert_eq!(found("WWW.shop.example.COM"), Some(3));
        assert_eq!(found("www.shop.example.com."), Some(3));
        assert_eq!(found("a.b.shop.example.com"), Some(2));
        assert_eq!(found("shop.example.com"), Some(1));
        assert_eq!(found("example.com"), Some(0), "a wildcard needs a label of its own");
    }

    #[test]
    fn a_host_without_a_matching_path_leaves_the_request_to_a_less_specific_one() {
        let router = router(&[
            ("*.example.com", PathKind::Prefix, "/"),
            ("www.example.com", PathKind::Prefix, "/app"),
        ]);
        assert_eq!(router.find("www.example.com", "/app/x"), Some(1));
        assert_eq!(router.find("www.example.com", "/other"), Some(0));
    }

    #[test]
    fn exact_beats_regex_beats_the_longest_prefix() {
        let router = router(&[
            ("a", PathKind::Prefix, "/"),
            ("a", PathKind::Prefix, "/static/"),
            ("a", PathKind::Regex, r"/static/[0-9]+\.js"),
            ("a", PathKind::Exact, "/static/1.js"),
        ]);
        let found = |path| router.find("a", path);
        assert_eq!(found("/static/1.js"), Some(3));
        assert_eq!(found("/static/2.js"), Some(2));
        assert_eq!(found("/static/x.js"), Some(1));
        assert_eq!(found("/static"), Some(1));
        assert_eq!(found("/statics"), Some(0));
    }

    #[test]
    fn a_regex_must_match_the_whole_path() {
        let router = router(&[("a", PathKind::Regex, "/x|/y")]);
        assert_eq!(router.find("a", "/y"), Some(0));
        assert_eq!(router.find("a", "/yy"), None);
        assert_eq!(router.find("a", "/a/x"), None);
    }

    #[test]
    fn no_claim_no_resource() {
        assert_eq!(router(&[("a", PathKind::Prefix, "/")]).find("b", "/"), None);
    }
}
