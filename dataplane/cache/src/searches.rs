//! What origins have said about the queries of a path (`No-Vary-Search`): which URLs are for the same thing.
//!
//! A rule is learnt with the stored response that brings it, and is part of the keys of its path from then on, by a number that no
//! other rule ever had: what was stored under a rule that is gone is never found again, and a purge need not know the
//! rules of the past. A store on a disk keeps them ([`kept`]); numbers begin where no process before this one came. Bounded:
//! beyond [`MAX_RULES`] paths the least used rule goes.

pub mod kept;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use breakwater_wire::no_vary_search::NoVarySearch;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use quick_cache::sync::Cache;

use crate::key::Key;
use kept::{Kept, MAX_TEXT};

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
    /// As the origin wrote it; nothing if that is too long to be kept.
    text: Box<[u8]>,
}

/// What a response did to the rule of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// There is one.
    Learnt,
    /// That which there was is gone.
    Unlearnt,
}

/// The rules of all paths.
#[derive(Debug)]
pub struct Searches {
    rules: Cache<Key, Arc<Search>>,
    /// Whether there ever was one: where no origin uses them, they cost nothing.
    any: AtomicBool,
    next: AtomicU64,
    /// Something changed since it was kept.
    unkept: AtomicBool,
}

impl Default for Searches {
    fn default() -> Self {
        Self {
            rules: Cache::new(MAX_RULES),
            any: AtomicBool::new(false),
            next: AtomicU64::new(0),
            unkept: AtomicBool::new(false),
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

    /// Begins the numbers of a process of its own, the `boot`th of all that kept rules in one place.
    pub fn begin(&self, boot: u32) {
        self.next.fetch_max(u64::from(boot) << 32, Ordering::Relaxed);
    }

    /// Takes in what a response to a path says, or does not say any more.
    pub fn learn(&self, path: Key, fields: &HeaderMap) -> News {
        if !self.any() && !fields.contains_key(NO_VARY_SEARCH) {
            return News::None;
        }
        let lines = || fields.get_all(NO_VARY_SEARCH).iter().map(HeaderValue::as_bytes);
        let known = self.rules.peek(&path);
        let rule = match (&known, NoVarySearch::parse(lines())) {
            (None, None) => return News::None,
            (Some(known), Some(rule)) if known.rule == rule => return News::None,
            (_, rule) => rule,
        };
        match rule {
            None => drop(self.rules.remove(&path)),
            Some(rule) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let text = lines().collect::<Vec<_>>().join(&b", "[..]);
                let text = if text.len() > MAX_TEXT {
                    Box::default()
                } else {
                    text.into()
                };
                self.rules.insert(path, Arc::new(Search { rule, number, text }));
                self.any.store(true, Ordering::Relaxed);
            }
        }
        self.unkept.store(true, Ordering::Release);
        match known {
            Some(_) => News::Unlearnt,
            None => News::Learnt,
        }
    }

    /// All rules, to be kept, if something changed since this was called last.
    pub fn take(&self, identity: u64) -> Option<Vec<u8>> {
        let unkept = self.unkept.swap(false, Ordering::AcqRel);
        let rules = self.rules.iter().filter(|(_, search)| !search.text.is_empty());
        let kept = rules.map(|(path, search)| Kept {
            path,
            number: search.number,
            text: search.text.clone(),
        });
        unkept.then(|| kept::encode(identity, kept))
    }

    /// Takes in what was kept, for paths that have no rule by now.
    pub fn restore(&self, list: &[u8], identity: u64) {
        for Kept { path, number, text } in kept::decode(list, identity).unwrap_or_default() {
            if let Some(rule) = NoVarySearch::parse([&*text])
                && self.rules.peek(&path).is_none()
            {
                self.rules.insert(path, Arc::new(Search { rule, number, text }));
                self.any.store(true, Ordering::Relaxed);
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
        assert_eq!(searches.learn(path, &HeaderMap::new()), News::None);
        assert!(!searches.any());
        assert_eq!(searches.learn(path, &says("params=?0")), News::None);
        assert_eq!(searches.learn(path, &says("params")), News::Learnt);
        assert!(searches.any());
        assert_eq!(searches.learn(path, &says("params")), News::None);
        let first = searches.get(path).unwrap().number;
        assert_eq!(searches.learn(path, &says("key-order")), News::Unlearnt);
        assert_eq!(searches.learn(path, &says("params")), News::Unlearnt);
        assert_ne!(searches.get(path).unwrap().number, first);
        assert_eq!(searches.learn(path, &HeaderMap::new()), News::Unlearnt);
        assert_eq!(searches.get(path), None);
        assert_eq!(searches.get(Key(2)), None);
    }

    #[test]
    fn what_is_kept_is_known_to_the_next_process_whose_numbers_are_its_own() {
        let (first, second) = (Searches::default(), Searches::default());
        first.begin(1);
        assert_eq!(first.take(7), None);
        first.learn(Key(1), &says("params=(\"a\")"));
        first.learn(Key(2), &says("key-order"));
        first.learn(Key(2), &HeaderMap::new());
        let long = format!("params=(\"{}\")", "x".repeat(MAX_TEXT));
        let long = HeaderMap::from_iter([(NO_VARY_SEARCH, long.parse().unwrap())]);
        first.learn(Key(3), &long);
        let list = first.take(7).unwrap();
        assert_eq!(first.take(7), None, "nothing is new");
        second.begin(2);
        second.restore(&list, 7);
        assert_eq!(second.get(Key(1)), first.get(Key(1)));
        assert_eq!((second.get(Key(2)), second.get(Key(3))), (None, None));
        second.learn(Key(2), &says("params"));
        assert!(second.get(Key(2)).unwrap().number >= 2 << 32);
        let other = Searches::default();
        other.restore(&list, 8);
        assert!(!other.any());
    }
}
