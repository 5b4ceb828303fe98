//! No-Vary-Search: which query parameters of a URL do not change the response.
//!
//! Parameters are compared as a form is decoded: `+` is a blank, percent-encoded bytes are what they stand for, and empty
//! parameters do not exist. A field that cannot be read says nothing: every parameter counts, in its place.

use crate::form::decode;
use crate::structured::{Value, parse_dictionary};

/// How queries are compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NoVarySearch {
    /// The order of parameters with different names does not count.
    key_order: bool,
    params: Params,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Params {
    /// All count, but these.
    AllBut(Vec<String>),
    /// Only these count.
    Only(Vec<String>),
}

impl NoVarySearch {
    /// Reads all lines of the field. `None` if it says nothing: there is none, it is malformed, or it is the default.
    #[must_use]
    pub fn parse<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> Option<Self> {
        let mut rule = Self {
            key_order: false,
            params: Params::AllBut(Vec::new()),
        };
        let mut except = None;
        for (key, value) in parse_dictionary(lines)? {
            match (key.as_str(), value) {
                ("key-order", Value::Boolean(on)) => rule.key_order = on,
                ("params", Value::Boolean(true)) => rule.params = Params::Only(Vec::new()),
                ("params", Value::Boolean(false)) => rule.params = Params::AllBut(Vec::new()),
                ("params", Value::Strings(names)) => rule.params = Params::AllBut(decoded(names)),
                ("except", Value::Strings(names)) => except = Some(decoded(names)),
                ("key-order" | "params" | "except", _) => return None,
                _ => {}
            }
        }
        match (&mut rule.params, except) {
            (_, None) => {}
            (Params::Only(names), Some(except)) => *names = except,
            // Exceptions from nothing.
            (Params::AllBut(_), Some(_)) => return None,
        }
        let says_nothing = !rule.key_order && rule.params == Params::AllBut(Vec::new());
        (!says_nothing).then_some(rule)
    }

    /// The comparable form of a query: equal forms are of equivalent URLs.
    #[must_use]
    pub fn normalize(&self, query: &[u8]) -> Vec<u8> {
        let parameters = query.split(|&b| b == b'&').filter(|parameter| !parameter.is_empty());
        let mut kept: Vec<_> = parameters
            .map(|parameter| {
                let equals = memchr::memchr(b'=', parameter).unwrap_or(parameter.len());
                let (name, value) = parameter.split_at_checked(equals).unwrap_or((parameter, &[]));
                (decode(name), decode(value.get(1..).unwrap_or_default()))
            })
            .filter(|(name, _)| self.counts(name))
            .collect();
        if self.key_order {
            kept.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let mut out = Vec::with_capacity(query.len() + kept.len() * 16);
        for part in kept.iter().flat_map(|(name, value)| [name, value]) {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }

    fn counts(&self, name: &[u8]) -> bool {
        let listed = |names: &[String]| names.iter().any(|listed| listed.as_bytes() == name);
        match &self.params {
            Params::AllBut(names) => !listed(names),
            Params::Only(names) => listed(names),
        }
    }
}

/// Names as they are written in the field: encoded like those of a URL. What is not text counts as nothing.
fn decoded(names: Vec<String>) -> Vec<String> {
    names
        .into_iter()
        .filter_map(|name| String::from_utf8(decode(name.as_bytes()).into_owned()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(rule: &str, a: &str, b: &str) -> bool {
        let rule = NoVarySearch::parse([rule.as_bytes()]).expect(rule);
        rule.normalize(a.as_bytes()) == rule.normalize(b.as_bytes())
    }

    #[test]
    fn the_order_of_keys_may_not_count_and_that_of_values_does() {
        assert!(same("key-order", "a=1&b=2&c=3", "b=2&a=1&c=3"));
        assert!(!same("key-order", "a=1&a=2", "a=2&a=1"));
        assert!(!same("key-order", "a=1&b=2", "a=1"));
        assert!(!same("params=(\"x\")", "a=1&b=2", "b=2&a=1"));
    }

    #[test]
    fn parameters_may_not_count_all_or_some_or_all_but_some() {
        assert!(same("params", "a=1&b=2", ""));
        assert!(same("params=(\"a\" \"c\")", "a=1&b=2&c=3", "b=2"));
        assert!(!same("params=(\"a\")", "a=1&b=2", "b=3"));
        assert!(same("params, except=(\"id\")", "id=1&a=2", "a=3&id=1"));
        assert!(!same("params, except=(\"id\")", "id=1&a=2", "id=2&a=2"));
    }

    #[test]
    fn names_and_values_are_compared_decoded() {
        assert!(same("params=(\"x y\")", "x+y=1&a=%62", "x%20y=2&a=b"));
        assert!(same("params=(\"x%20y\")", "x+y=1", ""));
        assert!(same("key-order", "a=1&&b", "b=&a=1&"));
        assert!(!same("key-order", "a=1%262", "a=1&2"));
        assert!(same("key-order", "a=%zz", "a=%25zz"));
    }

    #[test]
    fn what_says_nothing_or_cannot_be_read_is_no_rule() {
        for nothing in [
            "",
            "params=?0",
            "key-order=?0",
            "params=()",
            "params=\"a\"",
            "params=(a b)",
            "params=(\"a\" 1)",
            "key-order=1",
            "except=(\"a\")",
            "params=(\"a\"), except=(\"b\")",
            "params=(\"a\"",
            "other",
        ] {
            assert_eq!(NoVarySearch::parse([nothing.as_bytes()]), None, "{nothing}");
        }
    }
}
