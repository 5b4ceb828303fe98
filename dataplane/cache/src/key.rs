//! Cache keys: which requests are for the same thing.
//!
//! Invariant: two different targets never share a key. Every part is hashed with its length and kind, by
//! SipHash-1-3 with 128 bits under a secret of this process, so that nobody outside can search for two targets
//! that collide. A disk keeps keys with their secret: who changes how they are made raises `store::disk::FORMAT`. Nothing is allocated: parts are hashed as they come. GET and HEAD share a key; the method is
//! not part of it. `Vary` is not part of it either (see [`crate::vary`]).

use std::hash::{Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};

pub use self::query::QueryFilter;
use self::query::name_of;
use crate::searches::Search;

mod query;
pub mod tags;

/// Names a request's target among everything stored. Meaningless outside the process that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u128);

/// The secret of one process, with which keys, tags and variants are hashed.
#[derive(Clone)]
pub struct Keyer {
    seed: (u64, u64),
}

impl Keyer {
    /// Hashes under `seed`, which has to be random and unknown to clients.
    pub fn new(seed: u128) -> Self {
        Self {
            seed: ((seed >> 64) as u64, seed as u64),
        }
    }

    /// Begins the key of a request for the EdgeCache `site`.
    pub fn start(&self, site: u64) -> KeyBuilder {
        let mut builder = KeyBuilder {
            hasher: self.hasher(b'k'),
        };
        builder.hasher.write_u64(site);
        builder
    }

    /// The hash of what a field says of a request: `place` among the fields of that name. Those of one request are added
    /// up, so that the order of differently named fields does not count.
    pub fn claim(&self, name: &str, place: [usize; 2], value: &[u8]) -> u128 {
        let mut builder = KeyBuilder {
            hasher: self.hasher(b'f'),
        };
        builder.lower(b'n', name.as_bytes());
        place.iter().for_each(|number| builder.hasher.write_u64(*number as u64));
        builder.part(b'=', value);
        builder.finish().0
    }

    /// Tells this secret from another without giving it away.
    pub fn identity(&self) -> u64 {
        self.hasher(b'i').finish()
    }

    /// A hasher whose results are unrelated to those of every other `domain`.
    pub(crate) fn hasher(&self, domain: u8) -> SipHasher13 {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write_u8(domain);
        hasher
    }
}

impl std::fmt::Debug for Keyer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyer(secret)")
    }
}

/// A key in the making.
#[derive(Clone)]
pub struct KeyBuilder {
    hasher: SipHasher13,
}

impl KeyBuilder {
    /// Adds the target: `host` without regard to case, the rest byte for byte. Query parameters that `ignore`
    /// names are left out; a query of nothing else counts as no query.
    pub fn target(self, scheme: &[u8], host: &[u8], path: &[u8], query: Option<&[u8]>, ignore: &QueryFilter) -> Self {
        self.path(scheme, host, path).query(query, ignore)
    }

    /// The target without its query.
    #[must_use]
    pub fn path(mut self, scheme: &[u8], host: &[u8], path: &[u8]) -> Self {
        self.part(b's', scheme);
        self.lower(b'h', host);
        self.part(b'p', path);
        self
    }

    /// In place of a query: all URLs of a path together.
    #[must_use]
    pub fn any_query(mut self) -> Self {
        self.part(b'N', b"");
        self
    }

    /// In place of a query: what the path's rule makes of it, after what `ignore` leaves out.
    #[must_use]
    pub fn search(mut self, search: &Search, query: Option<&[u8]>, ignore: &QueryFilter) -> Self {
        let parameters = query.unwrap_or_default().split(|&b| b == b'&');
        let kept: Vec<&[u8]> = parameters.filter(|parameter| !ignore.ignores(parameter)).collect();
        self.part(b'N', &search.number.to_be_bytes());
        // Numbers begin anew with the process; what was stored under another rule is never taken for this one's.
        search.rule.hash(&mut self.hasher);
        self.part(b'n', &search.rule.normalize(&kept.join(&b'&')));
        self
    }

    /// The query, byte for byte.
    #[must_use]
    pub fn query(mut self, query: Option<&[u8]>, ignore: &QueryFilter) -> Self {
        if let Some(query) = query {
            if ignore.is_empty() {
                self.part(b'q', query);
            } else {
                let kept = query
                    .split(|&b| b == b'&')
                    .filter(|parameter| !ignore.ignores(parameter));
                if ignore.sorted {
                    let mut sorted: Vec<&[u8]> = kept.collect();
                    sorted.sort_by_key(|parameter| name_of(parameter));
                    sorted.iter().for_each(|parameter| self.part(b'&', parameter));
                } else {
                    for (i, parameter) in kept.enumerate() {
                        self.part(if i == 0 { b'q' } else { b'&' }, parameter);
                    }
                }
            }
        }
        self
    }

    /// Adds a header value, or that the header is absent. `name` in lower case.
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.named(b'H', name, value);
        self
    }

    /// Adds all lines of a field, in their order, or that it is absent. `lines` gives them, each time it is called.
    pub fn headers(mut self, name: &str, lines: impl Fn(&mut dyn FnMut(&[u8]))) -> Self {
        self.part(b'H', name.as_bytes());
        // As one value of lines that end: counted first, so that they need not be joined.
        let mut length = None;
        lines(&mut |line| *length.get_or_insert(0) += line.len() + 1);
        match length {
            Some(length) => {
                self.begin(b'=', length);
                lines(&mut |line| {
                    self.hasher.write(line);
                    self.hasher.write(b"\n");
                });
            }
            None => self.hasher.write_u8(b'-'),
        }
        self
    }

    /// Adds all values of a cookie, in their order, or that there is none. `lines` gives those of the `Cookie` field.
    ///
    /// All of them: some origins read the first of several, some the last. Were one of them in the key and another read,
    /// what one client gets by that would be for all who have the one in the key.
    pub fn cookies(mut self, name: &str, lines: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Self {
        self.part(b'C', name.as_bytes());
        let mut absent = true;
        lines(&mut |line| {
            for value in cookie_values(line, name) {
                absent = false;
                self.part(b'=', value);
            }
        });
        if absent {
            self.hasher.write_u8(b'-');
        }
        self
    }

    /// The key of all parts so far.
    pub fn finish(&self) -> Key {
        Key(self.hasher.finish128().as_u128())
    }

    fn named(&mut self, kind: u8, name: &str, value: Option<&[u8]>) {
        self.part(kind, name.as_bytes());
        match value {
            Some(value) => self.part(b'=', value),
            None => self.hasher.write_u8(b'-'),
        }
    }

    /// A part without regard to case.
    fn lower(&mut self, kind: u8, bytes: &[u8]) {
        self.begin(kind, bytes.len());
        let mut lower = [0u8; 64];
        for piece in bytes.chunks(lower.len()) {
            let lower = &mut lower[..piece.len()];
            lower.copy_from_slice(piece);
            lower.make_ascii_lowercase();
            self.hasher.write(lower);
        }
    }

    fn part(&mut self, kind: u8, bytes: &[u8]) {
        self.begin(kind, bytes.len());
        self.hasher.write(bytes);
    }

    /// Kind and length in one number: no request is as long as 2^56 bytes.
    fn begin(&mut self, kind: u8, length: usize) {
        self.hasher.write_u64(u64::from(kind) << 56 | length as u64);
    }
}

/// The values of the cookie `name` in a line of the `Cookie` field (RFC 6265 section 4.2.1). Blanks around a name do not
/// count: some origins drop them.
pub fn cookie_values<'a>(line: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    line.split(|&b| b == b';').filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let (found, value) = pair.split_at_checked(pair.iter().position(|&b| b == b'=')?)?;
        (found.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str, path: &str, query: Option<&str>, ignore: &[&str]) -> Key {
        Keyer::new(7)
            .start(1)
            .target(
                b"http",
                host.as_bytes(),
                path.as_bytes(),
                query.map(str::as_bytes),
                &QueryFilter::new(ignore),
            )
            .finish()
    }

    #[test]
    fn the_same_target_has_the_same_key_and_host_case_does_not_count() {
        assert_eq!(
            key("A.example", "/x", Some("a=1"), &[]),
            key("a.EXAMPLE", "/x", Some("a=1"), &[])
        );
    }

    #[test]
    fn a_different_query_path_host_scheme_site_or_seed_is_a_different_key() {
        let base = key("a", "/x", Some("a=1"), &[]);
        assert_ne!(base, key("a", "/x", Some("a=2"), &[]));
        assert_ne!(base, key("a", "/x", None, &[]));
        assert_ne!(base, key("a", "/X", Some("a=1"), &[]));
        assert_ne!(base, key("b", "/x", Some("a=1"), &[]));
        let target = |keyer: Keyer, site, scheme: &[u8]| {
            keyer
                .start(site)
                .target(scheme, b"a", b"/x", Some(b"a=1"), &QueryFilter::default())
                .finish()
        };
        assert_eq!(base, target(Keyer::new(7), 1, b"http"));
        assert_ne!(base, target(Keyer::new(7), 1, b"https"));
        assert_ne!(base, target(Keyer::new(7), 2, b"http"));
        assert_ne!(base, target(Keyer::new(8), 1, b"http"));
    }

    #[test]
    fn an_empty_query_is_not_the_absence_of_one() {
        assert_ne!(key("a", "/", Some(""), &[]), key("a", "/", None, &[]));
    }

    #[test]
    fn the_border_between_parts_counts() {
        assert_ne!(key("ab", "c", None, &[]), key("a", "bc", None, &[]));
        assert_ne!(key("a", "/b", Some("c"), &[]), key("a", "/bc", Some(""), &[]));
        let with = |name: &str, value: &str| Keyer::new(7).start(1).header(name, Some(value.as_bytes())).finish();
        assert_ne!(with("ab", "c"), with("a", "bc"));
    }

    #[test]
    fn ignored_parameters_do_not_count_wherever_they_stand() {
        let ignore = &["utm_*", "ref"];
        let plain = key("a", "/", Some("a=1&b=2"), ignore);
        assert_eq!(plain, key("a", "/", Some("utm_source=x&a=1&ref&b=2&utm_=1"), ignore));
        assert_ne!(plain, key("a", "/", Some("a=1&b=2&referer=1"), ignore));
        assert_ne!(plain, key("a", "/", Some("b=2&a=1"), ignore));
        assert_eq!(key("a", "/", Some("utm_x=1"), ignore), key("a", "/", None, ignore));
    }

    #[test]
    fn an_absent_header_or_cookie_differs_from_an_empty_one_and_from_each_other() {
        let start = Keyer::new(7).start(1);
        let absent = start.clone().header("x", None).finish();
        assert_ne!(absent, start.clone().header("x", Some(b"")).finish());
        assert_ne!(absent, start.clone().cookies("x", |_| {}).finish());
        assert_eq!(absent, start.headers("x", |_| {}).finish());
    }

    #[test]
    fn the_lines_of_a_field_count_as_if_they_were_joined() {
        let start = || Keyer::new(7).start(1);
        let of = |lines: &[&[u8]]| {
            start()
                .headers("x", |give| lines.iter().for_each(|line| give(line)))
                .finish()
        };
        assert_eq!(of(&[b"a", b"bc"]), start().header("x", Some(b"a\nbc\n")).finish());
        assert_ne!(of(&[b"a", b"bc"]), of(&[b"ab", b"c"]));
        assert_ne!(of(&[b"a"]), of(&[b"a", b""]));
        assert_ne!(of(&[b""]), of(&[]));
    }

    #[test]
    fn every_value_of_a_cookie_counts_in_its_place() {
        let of = |lines: &[&[u8]]| {
            let start = Keyer::new(7).start(1);
            start
                .cookies("a", |give| lines.iter().for_each(|line| give(line)))
                .finish()
        };
        let one = of(&[b"a=1"]);
        assert_eq!(one, of(&[b"b=0; a=1; aa=3"]));
        assert_eq!(of(&[b"a=1; a=2"]), of(&[b"a=1", b"b=3; a=2"]));
        for other in [of(&[b"a=1; a=2"]), of(&[b"a=2; a=1"]), of(&[b"a=1; a =2"]), of(&[])] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_claim_is_told_apart_by_name_place_and_value_and_not_by_the_case_of_its_name() {
        let keyer = Keyer::new(7);
        let base = keyer.claim("x-original-url", [0, 0], b"/a");
        assert_eq!(base, keyer.claim("X-Original-URL", [0, 0], b"/a"));
        for other in [
            keyer.claim("x-rewrite-url", [0, 0], b"/a"),
            keyer.claim("x-original-url", [1, 0], b"/a"),
            keyer.claim("x-original-url", [0, 1], b"/a"),
            keyer.claim("x-original-url", [0, 0], b"/A"),
            Keyer::new(8).claim("x-original-url", [0, 0], b"/a"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let values = |line: &'static str, name| cookie_values(line.as_bytes(), name).collect::<Vec<_>>();
        assert_eq!(values("aa=1; a=2;b=3", "a"), [b"2"]);
        assert_eq!(values("aa=1; b", "b"), [b""; 0]);
        assert_eq!(values("a=x=y; a = z", "a"), [&b"x=y"[..], b" z"]);
    }

    #[test]
    fn another_secret_has_another_identity() {
        assert_eq!(Keyer::new(7).identity(), Keyer::new(7).identity());
        assert_ne!(Keyer::new(7).identity(), Keyer::new(8).identity());
    }
}
