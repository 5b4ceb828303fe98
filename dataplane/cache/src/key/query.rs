//! Which query parameters are part of keys.
//!
//! Invariant: what an origin may read is never left out because it is spelled or separated in another way.

use std::borrow::Cow;

use breakwater_wire::form;

/// Which query parameters are part of keys, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryFilter {
    exact: Vec<Box<[u8]>>,
    prefixes: Vec<Box<[u8]>>,
    /// What is named is all that counts, not what does not.
    only: bool,
    pub(super) sorted: bool,
}

impl QueryFilter {
    /// Leaves these names out; one that ends in `*` stands for every name that begins so.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut filter = Self::default();
        for name in names {
            match name.as_ref().strip_suffix('*') {
                Some(prefix) => filter.prefixes.push(prefix.as_bytes().into()),
                None => filter.exact.push(name.as_ref().as_bytes().into()),
            }
        }
        filter
    }

    /// Leaves all names out but these.
    pub fn only<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        Self {
            only: true,
            ..Self::new(names)
        }
    }

    /// The same, with parameters sorted by name: their order does not count, that of several with one name does.
    #[must_use]
    pub fn sorted(self, sorted: bool) -> Self {
        Self { sorted, ..self }
    }

    /// Whether every parameter counts, in its place.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty() && !self.only && !self.sorted
    }

    /// Whether `parameter` (`name` or `name=value`, as in the URL) is left out of keys. Names are compared as an origin
    /// reads them, decoded; what some origins read as several parameters, because of a `;`, is never left out.
    pub fn ignores(&self, parameter: &[u8]) -> bool {
        if parameter.contains(&b';') {
            return false;
        }
        let name = name_of(parameter);
        let named = self.exact.iter().any(|exact| **exact == *name)
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix));
        named != self.only
    }
}

/// The name of a parameter, as a form is decoded.
pub(super) fn name_of(parameter: &[u8]) -> Cow<'_, [u8]> {
    form::decode(parameter.split(|&b| b == b'=').next().unwrap_or(parameter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, Keyer};

    #[test]
    fn a_name_counts_as_an_origin_reads_it() {
        // `%69d` is `id`.
        let only = QueryFilter::only(["id"]);
        assert!(!only.ignores(b"%69d=evil") && only.ignores(b"%69e=1") && only.ignores(b"x%"));
        let all_but = QueryFilter::new(["utm_*"]);
        assert!(all_but.ignores(b"utm%5fx=1") && !all_but.ignores(b"utm_x=1;id=evil"));
        assert!(!only.ignores(b"foo=1;id=evil"));
    }

    fn filtered(filter: &QueryFilter, query: &str) -> Key {
        let start = Keyer::new(7).start(1);
        start
            .target(b"http", b"a", b"/x", Some(query.as_bytes()), filter)
            .finish()
    }

    #[test]
    fn only_what_is_included_is_in_the_key() {
        let filter = QueryFilter::only(["id", "f_*"]);
        let base = filtered(&filter, "id=1&f_a=2");
        assert_eq!(base, filtered(&filter, "id=1&utm=3&f_a=2&x"));
        for other in ["id=2&f_a=2", "id=1", "f_a=2&id=1", "id=1&f_a=2&f_b=1"] {
            assert_ne!(base, filtered(&filter, other), "{other}");
        }
        assert_eq!(filtered(&filter, "x=1"), filtered(&filter, "y=2"));
    }

    #[test]
    fn sorted_parameters_are_the_same_in_any_order_but_for_those_of_one_name() {
        let filter = QueryFilter::new(["utm_*"]).sorted(true);
        let base = filtered(&filter, "b=2&a=1&a=3");
        assert_eq!(base, filtered(&filter, "a=1&utm_x=1&a=3&b=2"));
        for other in ["a=3&a=1&b=2", "a=1&b=2", "a=1&a=3&b=2&c", "a=1%26a=3&b=2"] {
            assert_ne!(base, filtered(&filter, other), "{other}");
        }
        assert!(!QueryFilter::default().sorted(true).is_empty() && QueryFilter::default().is_empty());
    }
}
