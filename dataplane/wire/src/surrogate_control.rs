//! Surrogate-Control (W3C Edge Architecture Specification 1.0, section 2.4): what an origin says to caches like this one
//! and to no others.
//!
//! A directive may be targeted at one surrogate (`max-age=60;name`); those for others are skipped, and so is what cannot
//! be read. Names are read without regard to case. `stale-while-revalidate` and `stale-if-error` are no part of the
//! note, but of how the field is used.

use crate::cache_control::{CacheControl, Scope, member_end, parse_delta};
use crate::http1::fields::{is_tchar, trim_ows};

/// The directives of all lines that are for the surrogate called `device`. `None` if there is none that is known: then
/// Cache-Control applies.
#[must_use]
pub fn parse<'v>(lines: impl IntoIterator<Item = &'v [u8]>, device: &str) -> Option<CacheControl> {
    let mut out = CacheControl::default();
    let mut found = false;
    for line in lines {
        let mut rest = line;
        while !rest.is_empty() {
            let end = member_end(rest);
            found |= apply(&mut out, trim_ows(rest.get(..end).unwrap_or_default()), device).is_some();
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    found.then_some(out)
}

/// Takes one directive in, if it is for `device`, known and well formed.
fn apply(out: &mut CacheControl, member: &[u8], device: &str) -> Option<()> {
    let (directive, target) = match memchr::memchr(b';', member) {
        Some(at) => (member.get(..at)?, trim_ows(member.get(at + 1..)?)),
        None => (member, &[][..]),
    };
    if !target.is_empty() && target != device.as_bytes() {
        return None;
    }
    let directive = trim_ows(directive);
    let name_len = directive.iter().position(|&b| !is_tchar(b)).unwrap_or(directive.len());
    let (name, value) = directive.split_at_checked(name_len)?;
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let number = || parse_delta(value.strip_prefix(b"=")?);
    let lower = |slot: &mut Option<u64>, seconds: u64| *slot = Some(slot.map_or(seconds, |other| other.min(seconds)));
    if is("max-age") {
        // `max-age=3600+600`: fresh for an hour, and of use for ten minutes more while it is validated.
        let value = value.strip_prefix(b"=")?;
        let (fresh, more) = match memchr::memchr(b'+', value) {
            Some(at) => (value.get(..at)?, Some(parse_delta(value.get(at + 1..)?)?)),
            None => (value, None),
        };
        lower(&mut out.max_age, parse_delta(fresh)?);
        if let Some(more) = more {
            lower(&mut out.stale_while_revalidate, more);
        }
    } else if is("stale-while-revalidate") {
        lower(&mut out.stale_while_revalidate, number()?);
    } else if is("stale-if-error") {
        lower(&mut out.stale_if_error, number()?);
    } else if (is("no-store") || is("no-store-remote")) && value.is_empty() {
        out.no_store = true;
    } else if is("private") && value.is_empty() {
        out.private = Some(Scope::Whole);
    } else if is("no-cache") && value.is_empty() {
        out.no_cache = Some(Scope::Whole);
    } else {
        return None;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Option<CacheControl> {
        parse([text.as_bytes()], "breakwater")
    }

    fn max_age(text: &str) -> Option<u64> {
        one(text)?.max_age
    }

    #[test]
    fn directives_are_read_in_any_case_and_the_unknown_are_skipped() {
        assert_eq!(max_age("max-age=3600"), Some(3600));
        assert_eq!(max_age("content=\"ESI/1.0, x\", MaX-aGe=60"), Some(60));
        assert_eq!(max_age("max-age=99999999999"), Some(crate::cache_control::MAX_DELTA));
        assert!(one("No-Store").is_some_and(|directives| directives.no_store));
        assert!(one("no-store-remote").is_some_and(|directives| directives.no_store));
        assert!(one("private").is_some_and(|directives| directives.private == Some(Scope::Whole)));
        let lines = parse([&b"max-age=60"[..], b"max-age=30, stale-if-error=5"], "breakwater");
        let lines = lines.unwrap();
        assert_eq!((lines.max_age, lines.stale_if_error), (Some(30), Some(5)));
    }

    #[test]
    fn a_directive_for_another_surrogate_is_not_for_this_one() {
        assert_eq!(max_age("max-age=3600;breakwater"), Some(3600));
        assert_eq!(max_age("max-age=3600; breakwater"), Some(3600));
        assert_eq!(one("max-age=3600;other"), None);
        assert_eq!(max_age("max-age=3600;other, max-age=60"), Some(60));
    }

    #[test]
    fn a_freshness_extension_is_time_for_validation() {
        let directives = one("max-age=3600+600").unwrap();
        assert_eq!(
            (directives.max_age, directives.stale_while_revalidate),
            (Some(3600), Some(600))
        );
    }

    #[test]
    fn what_says_nothing_to_us_leaves_cache_control_in_force() {
        for nothing in [
            "",
            "foo",
            "max-age",
            "max-age =100",
            "max-age= 100",
            "max-age=a",
            "max-age=1+x",
            ", ;",
            "no-store=1",
        ] {
            assert_eq!(one(nothing), None, "{nothing}");
        }
    }
}
