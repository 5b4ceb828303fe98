//! What rule sets in use have in common: patterns and lists of phrases, each compiled once.
//!
//! A change of a policy's own rules compiles the Core Rule Set's patterns no second time, and policies with rules of their
//! own hold them together. Invariant: what no rule set holds any more is forgotten when the next is compiled, so this never
//! outgrows the rule sets.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use regex_automata::meta;

use super::byteset::Needs;
use crate::operator::{PhraseError, PhraseSet};

/// Compiled patterns and lists of phrases that rule sets may share: [`RuleSet::compile_whole`](super::RuleSet::compile_whole).
#[derive(Debug, Default)]
pub struct Parts {
    patterns: HashMap<Box<str>, Part<meta::Regex>>,
    phrases: HashMap<Box<[Vec<u8>]>, Part<PhraseSet>>,
}

/// What rule sets hold, and what a text needs for it.
#[derive(Debug)]
struct Part<T>(Weak<T>, Needs);

impl<T> Part<T> {
    fn of(held: &Arc<T>, needs: &Needs) -> Self {
        Self(Arc::downgrade(held), needs.clone())
    }

    fn held(&self) -> Option<(Arc<T>, Needs)> {
        Some((self.0.upgrade()?, self.1.clone()))
    }

    fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Parts {
    /// Forgets what no rule set holds.
    pub(super) fn prune(&mut self) {
        self.patterns.retain(|_, part| part.is_held());
        self.phrases.retain(|_, part| part.is_held());
    }

    /// A pattern that a rule set holds.
    pub(super) fn pattern(&self, text: &str) -> Option<(Arc<meta::Regex>, Needs)> {
        self.patterns.get(text)?.held()
    }

    /// Shares a pattern from now on.
    pub(super) fn add_pattern(&mut self, text: &str, regex: &Arc<meta::Regex>, needs: &Needs) {
        self.patterns.insert(text.into(), Part::of(regex, needs));
    }

    /// A list of phrases: that of another rule set, or a new one.
    ///
    /// # Errors
    /// As [`PhraseSet::new`].
    pub(super) fn phrases(&mut self, phrases: &[Vec<u8>]) -> Result<(Arc<PhraseSet>, Needs), PhraseError> {
        if let Some(held) = self.phrases.get(phrases).and_then(Part::held) {
            return Ok(held);
        }
        let set = Arc::new(PhraseSet::new(phrases)?);
        let needs = Needs::of_phrases(phrases.iter().map(Vec::as_slice));
        self.phrases.insert(phrases.into(), Part::of(&set, &needs));
        Ok((set, needs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::RuleSet;
    use crate::engine::operator::Test;
    use crate::seclang::parse;

    const RULES: &str = "SecRule ARGS \"@rx ev[i1]l\" \"id:1,deny\"\nSecRule ARGS \"@pm bad worse\" \"id:2,deny\"\n";

    fn compiled(text: &str, parts: &mut Parts) -> RuleSet {
        let directives = parse("test.conf", text).unwrap();
        RuleSet::compile_whole(&directives, &|_, _| Err("no files".to_owned()), &|_| false, parts).unwrap()
    }

    /// Where the compiled parts of its first two rules lie.
    fn places(set: &RuleSet) -> (*const meta::Regex, *const PhraseSet) {
        let tests: Vec<&Test> = set
            .program
            .rules
            .iter()
            .flat_map(|rule| &rule.links)
            .map(|link| &link.test)
            .collect();
        match tests.as_slice() {
            [Test::Pattern(pattern), Test::Phrases(phrases), ..] => {
                (Arc::as_ptr(pattern.regex.as_ref().unwrap()), Arc::as_ptr(&phrases.set))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_rule_set_takes_over_what_another_in_use_has_compiled() {
        let mut parts = Parts::default();
        let before = compiled(RULES, &mut parts);
        let after = compiled(&format!("{RULES}SecRule ARGS \"@rx x{{3}}\" \"id:3,deny\""), &mut parts);
        assert_eq!(places(&before), places(&after));
        assert_eq!((parts.patterns.len(), parts.phrases.len()), (2, 1));
    }

    #[test]
    fn what_no_rule_set_holds_any_more_is_forgotten_with_the_next() {
        let mut parts = Parts::default();
        drop(compiled(RULES, &mut parts));
        let set = compiled("SecRule ARGS \"@rx x{3}\" \"id:3,deny\"", &mut parts);
        assert_eq!((parts.patterns.len(), parts.phrases.len()), (1, 0));
        assert!(parts.pattern("x{3}").is_some() && parts.pattern("ev[i1]l").is_none());
        drop(set);
        assert!(parts.pattern("x{3}").is_none());
    }
}
