//! What origins have said about the queries of a path (`No-Vary-Search`): which URLs are for the same thing.
//!
//! A rule is learnt with the response that brings it, and is part of the keys of its path from then on, by a number that no
//! other rule ever had: what was stored under a rule that is gone is never found again, and a purge need not know the
//! rules of the past. Bounded: beyond [`MAX_RULES`] paths the least used rule goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use breakwater_wire::no_vary_search::NoVarySearch;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use quick_cache::sync::Cache;

use crate::key::Key;

/// Paths with a rule.
pub const MAX_RULES: usize = 16_384;

const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// The rule of a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Search {
    /// How queries are compared.
    pub rule: NoVarySearch,
    /// Which rule it is, of all that ever were.
    pub number: u64,
}

/// The rules of all paths.
#[derive(Debug)]
pub struct Searches {
    rules: Cache<Key, Arc<Search>>,
    /// Whether there ever was one: where no origin uses them, they cost nothing.
    any: AtomicBool,
    next: AtomicU64,
}

impl Default for Searches {
    fn default() -> Self {
        Self {
            rules: Cache::new(MAX_RULES),
            any: AtomicBool::new(false),
            next: AtomicU64::new(0),
        }
    }
}

impl Searches {
    /// Whether any path may have a rule.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// The rule of a path.
    pub fn get(&self, path: Key) -> Option<Arc<Search>> {
        self.rules.get(&path)
    }

    /// Takes in what a response to a path says, or does not say any more. Returns whether that is news.
    pub fn learn(&self, path: Key, fields: &HeaderMap) -> bool {
        if !self.any() && !fields.contains_key(NO_VARY_SEARCH) {
            return false;
        }
        let lines = fields.get_all(NO_VARY_SEARCH).iter().map(HeaderValue::as_bytes);
        match (self.rules.peek(&path), NoVarySearch::parse(lines)) {
            (None, None) => false,
            (Some(known), Some(rule)) if known.rule == rule => false,
            (Some(_), None) => {
                self.rules.remove(&path);
                true
            }
            (_, Some(rule)) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                self.rules.insert(path, Arc::new(Search { rule, number }));
                self.any.store(true, Ordering::Relaxed);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(NO_VARY_SEARCH, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_rule_is_news_once_and_a_former_one_never_comes_back() {
        let searches = Searches::default();
        let path = Key(1);
        assert!(!searches.learn(path, &HeaderMap::new()) && !searches.any());
        assert!(!searches.learn(path, &says("params=?0")));
        assert!(searches.learn(path, &says("params")) && searches.any());
        assert!(!searches.learn(path, &says("params")));
        let first = searches.get(path).unwrap().number;
        assert!(searches.learn(path, &says("key-order")));
        assert!(searches.learn(path, &says("params")));
        assert_ne!(searches.get(path).unwrap().number, first);
        assert!(searches.learn(path, &HeaderMap::new()));
        assert_eq!(searches.get(path), None);
        assert_eq!(searches.get(Key(2)), None);
    }
}
