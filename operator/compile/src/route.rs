//! Precedence: which claim serves a request. The data plane's router must agree with [`find`].
//!
//! Among all claims whose host and whose path match, the most specific host wins and, among equal hosts, the most
//! specific path:
//! 1. a host name before a wildcard, a longer wildcard before a shorter one, `*` last;
//! 2. [`Exact`](PathKind::Exact) before [`Regex`](PathKind::Regex) before [`Prefix`](PathKind::Prefix);
//! 3. the longer expression or prefix; of two expressions of one length the smaller text.
//!
//! So a path that no claim of the exact host takes falls to the claims of a wildcard, as in Gateway API.

use std::cmp::{Ordering, Reverse};

use breakwater_snapshot::unit::{Claim, PathKind, PathMatch};

use crate::value::path_regex;

/// Orders claims from the most to the least specific. Two claims are equal only when they are the same pair.
pub fn precedence(a: &Claim, b: &Claim) -> Ordering {
    host_rank(&a.host)
        .cmp(&host_rank(&b.host))
        .then_with(|| path_precedence(&a.path, &b.path))
        .then_with(|| a.host.cmp(&b.host))
}

/// Orders paths from the most to the least specific.
pub fn path_precedence(a: &PathMatch, b: &PathMatch) -> Ordering {
    let rank = |path: &PathMatch| {
        let kind = match path.kind {
            PathKind::Exact => 0,
            PathKind::Regex => 1,
            PathKind::Prefix => 2,
        };
        (kind, Reverse(path.value.len()))
    };
    rank(a).cmp(&rank(b)).then_with(|| a.value.cmp(&b.value))
}

/// Finds the claim that serves `host` (lower case, no port) and `path` (no query).
pub fn find<'a, T>(claims: impl IntoIterator<Item = (&'a Claim, T)>, host: &str, path: &str) -> Option<(&'a Claim, T)> {
    claims
        .into_iter()
        .filter(|(claim, _)| host_matches(&claim.host, host) && path_matches(&claim.path, path))
        .min_by(|(a, _), (b, _)| precedence(a, b))
}

/// Whether a claimed host takes a request's host: `*.example.com` takes every name below `example.com`, not itself.
pub fn host_matches(claimed: &str, host: &str) -> bool {
    match claimed.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => claimed == host,
    }
}

/// Whether a path match takes a request's path.
pub fn path_matches(claimed: &PathMatch, path: &str) -> bool {
    match claimed.kind {
        PathKind::Exact => claimed.value == path,
        PathKind::Prefix => match path.strip_prefix(claimed.value.trim_end_matches('/')) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        },
        PathKind::Regex => path_regex(&claimed.value).is_ok_and(|regex| regex.is_match(path)),
    }
}

/// `(class, longest first)`: names, then wildcards, then `*`.
fn host_rank(host: &str) -> (u8, Reverse<usize>) {
    match host.strip_prefix('*') {
        None => (0, Reverse(0)),
        Some("") => (2, Reverse(0)),
        Some(suffix) => (1, Reverse(suffix.len())),
    }
}

/// A case of [`CASES`]: claims as `host`, type, path; a request's host and path; the index of the claim that serves.
pub type Case = (
    &'static [(&'static str, PathKind, &'static str)],
    &'static str,
    &'static str,
    Option<usize>,
);

/// Cases that every router of this configuration must pass.
pub const CASES: &[Case] = {
    use PathKind::{Exact, Prefix, Regex};
    &[
        (
            &[("*", Prefix, "/"), ("*.b.c", Prefix, "/"), ("a.b.c", Prefix, "/")],
            "a.b.c",
            "/",
            Some(2),
        ),
        (
            &[("*", Prefix, "/"), ("*.b.c", Prefix, "/"), ("a.b.c", Prefix, "/")],
            "x.b.c",
            "/",
            Some(1),
        ),
        (
            &[("*", Prefix, "/"), ("*.b.c", Prefix, "/"), ("a.b.c", Prefix, "/")],
            "b.c",
            "/",
            Some(0),
        ),
        (&[("*.c", Exact, "/p"), ("*.b.c", Prefix, "/")], "a.b.c", "/p", Some(1)),
        (
            &[("*.c", Prefix, "/"), ("a.c", Prefix, "/api")],
            "a.c",
            "/other",
            Some(0),
        ),
        (&[("*.c", Prefix, "/")], "x.y.c", "/", Some(0)),
        (
            &[("a.c", Prefix, "/a"), ("a.c", Regex, "/a.*"), ("a.c", Exact, "/a")],
            "a.c",
            "/a",
            Some(2),
        ),
        (
            &[("a.c", Prefix, "/a/b/c"), ("a.c", Regex, "/a.*")],
            "a.c",
            "/a/b/c",
            Some(1),
        ),
        (
            &[("a.c", Regex, "/.*"), ("a.c", Regex, "/a/.*")],
            "a.c",
            "/a/b",
            Some(1),
        ),
        (
            &[("a.c", Prefix, "/"), ("a.c", Prefix, "/a"), ("a.c", Prefix, "/a/b")],
            "a.c",
            "/a/bc",
            Some(1),
        ),
        (&[("a.c", Prefix, "/a")], "a.c", "/ab", None),
        (&[("a.c", Prefix, "/a")], "a.c", "/a/", Some(0)),
        (&[("a.c", Exact, "/a")], "a.c", "/a/", None),
        (&[("a.c", Regex, "/a")], "a.c", "/ab", None),
        (&[("a.c", Prefix, "/")], "b.c", "/", None),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_claim_serves() {
        for (claims, host, path, expected) in CASES {
            let claims: Vec<Claim> = claims
                .iter()
                .map(|(host, kind, value)| Claim {
                    host: (*host).to_owned(),
                    path: PathMatch {
                        kind: *kind,
                        value: (*value).to_owned(),
                    },
                })
                .collect();
            let found = find(claims.iter().zip(0..), host, path).map(|(_, index)| index);
            assert_eq!(found, *expected, "{host}{path} among {claims:?}");
        }
    }
}
