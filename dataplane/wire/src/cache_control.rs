//! Cache-Control (RFC 9111 section 5.2, RFC 5861, RFC 8246), for requests and responses alike.
//!
//! Reads what is there and leaves the policy to the cache. Where a field is malformed the reading errs
//! towards not reusing: a number that is not one counts as zero, the lower of two numbers counts, and a
//! field list that cannot be read counts as the whole response.

use crate::http1::fields::{is_tchar, is_token, list_members, trim_ows};

/// The greatest number of seconds told apart (RFC 9111 section 1.2.2); larger ones count as this.
pub const MAX_DELTA: u64 = 1 << 31;
/// Most field names kept of `private="..."` or `no-cache="..."`; with more the directive counts as unqualified.
pub const MAX_FIELD_NAMES: usize = 32;

/// `private` or `no-cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The directive concerns the whole response.
    Whole,
    /// The directive concerns these fields only, in lower case.
    Fields(Vec<String>),
}

/// `max-stale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxStale {
    /// Without a value: any staleness.
    Any,
    /// Stale by at most so many seconds.
    Seconds(u64),
}

/// The directives of all Cache-Control lines of one message. Numbers are seconds, at most [`MAX_DELTA`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `max-age`.
    pub max_age: Option<u64>,
    /// `s-maxage`.
    pub s_maxage: Option<u64>,
    /// `stale-while-revalidate`.
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error`.
    pub stale_if_error: Option<u64>,
    /// `min-fresh` (request).
    pub min_fresh: Option<u64>,
    /// `max-stale` (request).
    pub max_stale: Option<MaxStale>,
    /// `no-cache`; in a request always [`Scope::Whole`].
    pub no_cache: Option<Scope>,
    /// `private`.
    pub private: Option<Scope>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-transform`.
    pub no_transform: bool,
    /// `only-if-cached` (request).
    pub only_if_cached: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `immutable`.
    pub immutable: bool,
}

impl CacheControl {
    /// Reads all lines of the field, in order. Directives it does not know are skipped.
    #[must_use]
    pub fn parse<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let mut directives = Self::default();
        for line in lines {
            for directive in (Directives { rest: line }) {
                directives.apply(&directive);
            }
        }
        directives
    }

    fn apply(&mut self, directive: &Directive<'_>) {
        let name = directive.name;
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            6 if is("public") => self.public = true,
            7 if is("max-age") => lower(&mut self.max_age, directive.seconds()),
            7 if is("private") => merge(&mut self.private, directive.scope()),
            8 if is("s-maxage") => lower(&mut self.s_maxage, directive.seconds()),
            8 if is("no-store") => self.no_store = true,
            8 if is("no-cache") => merge(&mut self.no_cache, directive.scope()),
            9 if is("immutable") => self.immutable = true,
            // For the client's wishes the stricter reading is the greater freshness.
            9 if is("min-fresh") => self.min_fresh = self.min_fresh.max(Some(directive.seconds())),
            9 if is("max-stale") => {
                self.max_stale = Some(if directive.value.is_none() {
                    MaxStale::Any
                } else {
                    MaxStale::Seconds(directive.seconds())
                });
            }
            12 if is("no-transform") => self.no_transform = true,
            14 if is("only-if-cached") => self.only_if_cached = true,
            14 if is("stale-if-error") => lower(&mut self.stale_if_error, directive.seconds()),
            15 if is("must-revalidate") => self.must_revalidate = true,
            15 if is("must-understand") => self.must_understand = true,
            16 if is("proxy-revalidate") => self.proxy_revalidate = true,
            22 if is("stale-while-revalidate") => lower(&mut self.stale_while_revalidate, directive.seconds()),
            _ => {}
        }
    }
}

/// `1*DIGIT`, saturating at [`MAX_DELTA`].
#[must_use]
pub fn parse_delta(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = value.iter().fold(0_u64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Some(number.min(MAX_DELTA))
}

/// The names in a qualified `private` or `no-cache`.
pub(crate) fn field_scope(list: &[u8]) -> Scope {
    let mut names = Vec::new();
    for name in list_members(list) {
        if !is_token(name) || names.len() == MAX_FIELD_NAMES {
            return Scope::Whole;
        }
        names.push(String::from_utf8_lossy(name).to_ascii_lowercase());
    }
    if names.is_empty() {
        Scope::Whole
    } else {
        Scope::Fields(names)
    }
}

fn lower(slot: &mut Option<u64>, seconds: u64) {
    *slot = Some(slot.map_or(seconds, |other| other.min(seconds)));
}

fn merge(slot: &mut Option<Scope>, scope: Scope) {
    *slot = Some(match (slot.take(), scope) {
        (Some(Scope::Fields(mut names)), Scope::Fields(more)) if names.len() + more.len() <= MAX_FIELD_NAMES => {
            names.extend(more);
            Scope::Fields(names)
        }
        (None, scope) => scope,
        _ => Scope::Whole,
    });
}

/// One directive. The value keeps its quotes.
struct Directive<'v> {
    name: &'v [u8],
    value: Option<&'v [u8]>,
}

impl Directive<'_> {
    fn seconds(&self) -> u64 {
        let value = self.value.unwrap_or_default();
        parse_delta(unquoted(value).unwrap_or(value)).unwrap_or(0)
    }

    fn scope(&self) -> Scope {
        self.value.and_then(unquoted).map_or(Scope::Whole, field_scope)
    }
}

fn unquoted(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Splits a line at commas outside quoted strings. An unterminated quoted string takes the rest of the line.
struct Directives<'v> {
    rest: &'v [u8],
}

impl<'v> Iterator for Directives<'v> {
    type Item = Directive<'v>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = member_end(self.rest);
            let member = trim_ows(self.rest.get(..end).unwrap_or_default());
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            let name_len = member.iter().position(|&b| !is_tchar(b)).unwrap_or(member.len());
            let (name, after) = member.split_at_checked(name_len).unwrap_or((member, &[]));
            if name.is_empty() {
                continue;
            }
            // Whitespace around `=` is not allowed: the directive counts, its number does not.
            return Some(match after {
                [] => Directive { name, value: None },
                [b'=', value @ ..] => Directive {
                    name,
                    value: Some(value),
                },
                _ => Directive { name, value: Some(&[]) },
            });
        }
        None
    }
}

/// Where the list member at the start of `list` ends: at the first comma outside a quoted string.
pub(crate) fn member_end(list: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    list.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> CacheControl {
        CacheControl::parse(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn directives_are_found_on_all_lines_in_any_case() {
        let cc = parse(&["MAX-AGE=60, foo=bar,, Public", "S-MaxAge=\"0090\" ,must-revalidate"]);
        assert_eq!((cc.max_age, cc.s_maxage), (Some(60), Some(90)));
        assert!(cc.public && cc.must_revalidate && !cc.no_store);
    }

    #[test]
    fn quoted_strings_hide_directives() {
        assert_eq!(parse(&["extension=\"max-age=3600\", max-age=1"]).max_age, Some(1));
        assert_eq!(
            parse(&["max-age=1, extension=\"max-age=3600, \\\", max-age=5\""]).max_age,
            Some(1)
        );
        assert_eq!(parse(&["a=\", max-age=3600"]).max_age, None);
    }

    #[test]
    fn numbers_saturate_and_what_is_no_number_is_zero() {
        assert_eq!(parse(&["max-age=99999999999999999999999"]).max_age, Some(MAX_DELTA));
        for bad in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age='60'",
            "max-age=60a",
            "max-age=6.0",
            "max-age =60",
            "max-age= 60",
        ] {
            assert_eq!(parse(&[bad]).max_age, Some(0), "{bad}");
        }
        assert_eq!(parse(&["max-age=60, max-age=5"]).max_age, Some(5));
    }

    #[test]
    fn private_and_no_cache_carry_field_lists() {
        let cc = parse(&["private=\"Set-Cookie, X-A\", no-cache"]);
        assert_eq!(cc.private, Some(Scope::Fields(vec!["set-cookie".into(), "x-a".into()])));
        assert_eq!(cc.no_cache, Some(Scope::Whole));
        for whole in ["private=\"\"", "private=x", "private=\"a b\"", "private=\"a\", private"] {
            assert_eq!(parse(&[whole]).private, Some(Scope::Whole), "{whole}");
        }
        let many = format!("private=\"{}\"", vec!["a"; 33].join(","));
        assert_eq!(parse(&[&many]).private, Some(Scope::Whole));
    }

    #[test]
    fn request_directives_are_read() {
        let cc = parse(&["max-stale, min-fresh=5, only-if-cached, no-transform"]);
        assert_eq!((cc.max_stale, cc.min_fresh), (Some(MaxStale::Any), Some(5)));
        assert!(cc.only_if_cached && cc.no_transform);
        assert_eq!(parse(&["max-stale=7"]).max_stale, Some(MaxStale::Seconds(7)));
    }

    #[test]
    fn the_response_extensions_are_read() {
        let cc = parse(&[
            "stale-while-revalidate=10, stale-if-error=20, immutable, must-understand, proxy-revalidate, no-store",
        ]);
        assert_eq!((cc.stale_while_revalidate, cc.stale_if_error), (Some(10), Some(20)));
        assert!(cc.immutable && cc.must_understand && cc.proxy_revalidate && cc.no_store);
    }
}
