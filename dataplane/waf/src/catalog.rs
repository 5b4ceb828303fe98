//! Which rules there are: their ids, tags and targets, read from directives and not compiled. For whoever has to say
//! whether what a policy excludes is there.
//!
//! Targets are as rules have them when they are written; what `SecRuleUpdateTarget…` adds is not looked at, nor is what
//! `SecRuleRemove…` takes away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bundle::{self, Crs, Own};
use crate::review::Openings;
use crate::seclang::{Action, Directive, DirectiveKind, ExprPart, Rule, RuleRange, Target};

/// The rules of one source, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Where they are from, if that is a Core Rule Set.
    crs: Option<Arc<Crs>>,
    /// By id: what a rule and its chain look at.
    targets: BTreeMap<u32, Vec<Target>>,
    /// By tag: the rules that have it.
    tags: BTreeMap<String, BTreeSet<u32>>,
    /// Of a Core Rule Set: the collections that it opens.
    openings: Openings,
}

impl Catalog {
    /// The rules of a Core Rule Set.
    #[must_use]
    pub fn of_crs(crs: Arc<Crs>) -> Self {
        let mut catalog = Self {
            openings: crs.openings(),
            ..Self::default()
        };
        crs.directives().for_each(|directive| catalog.add(directive));
        catalog.crs = Some(crs);
        catalog
    }

    /// A policy's own rules, and those that every rule set has.
    #[must_use]
    pub fn of_own(own: &Own) -> Self {
        let mut catalog = Self::default();
        let base = bundle::base().unwrap_or_default();
        base.iter()
            .chain(own.rules())
            .for_each(|directive| catalog.add(directive));
        catalog
    }

    /// The version of the Core Rule Set, if it is one and says it.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.crs.as_ref()?.version()
    }

    /// The Core Rule Set itself, if it is one.
    #[must_use]
    pub fn crs(&self) -> Option<&Arc<Crs>> {
        self.crs.as_ref()
    }

    /// The collections that it opens.
    pub(crate) const fn openings(&self) -> &Openings {
        &self.openings
    }

    /// Whether a rule is among these.
    #[must_use]
    pub fn has(&self, rules: &RuleRange) -> bool {
        self.ids(rules).next().is_some()
    }

    /// The ids of the rules that are among these, ascending.
    pub fn ids<'c>(&'c self, rules: &'c RuleRange) -> impl Iterator<Item = u32> + 'c {
        let (ranges, tag) = match rules {
            RuleRange::Ids(ranges) => (ranges.as_slice(), None),
            RuleRange::Tag(tag) => (&[][..], self.tags.get(tag)),
            RuleRange::Msg(_) => (&[][..], None),
        };
        let ranges = ranges.iter().filter(|(low, high)| low <= high);
        let by_id = ranges.flat_map(|(low, high)| self.targets.range(low..=high));
        by_id.map(|(id, _)| *id).chain(tag.into_iter().flatten().copied())
    }

    /// Whether one of the rules with these ids looks at something that `target` hides from it.
    #[must_use]
    pub fn looks_at(&self, ids: &BTreeSet<u32>, target: &Target) -> bool {
        let mut own = ids.iter().filter_map(|id| self.targets.get(id)).flatten();
        own.any(|own| target.hides(own))
    }

    fn add(&mut self, directive: &Directive) {
        let DirectiveKind::Rule(rule) = &directive.value else {
            return;
        };
        let actions = || rule.actions.iter().map(|action| &action.value);
        let id = actions().find_map(|action| match action {
            Action::Id(id) => Some(*id),
            _ => None,
        });
        let Some(id) = id else { return };
        for action in actions() {
            if let Action::Tag(tag) = action
                && let Some(tag) = text(&tag.0)
            {
                self.tags.entry(tag).or_default().insert(id);
            }
        }
        let all = self.targets.entry(id).or_default();
        let mut link: Option<&Rule> = Some(rule);
        while let Some(rule) = link {
            let targets = rule.targets.iter().filter(|target| !target.exclude);
            all.extend(targets.cloned());
            link = rule.next.as_ref().map(|next| &next.value);
        }
    }
}

/// A text without macros: what a tag with one comes to is not known.
fn text(parts: &[ExprPart]) -> Option<String> {
    parts
        .iter()
        .map(|part| match part {
            ExprPart::Text(text) => Some(text.as_str()),
            ExprPart::Macro(..) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Source;

    fn own() -> Catalog {
        let text = "SecRule ARGS|!ARGS:x|REQUEST_HEADERS:Host \"@rx a\" \"id:7,phase:2,deny,tag:'attack-x',chain\"\nSecRule REQUEST_COOKIES \"@rx b\"";
        let source = Source { name: "own", text };
        Catalog::of_own(&Own::parse(&[source]).unwrap())
    }

    #[test]
    fn rules_are_found_by_their_ids_and_whole_tags() {
        let catalog = own();
        let ids = |ranges: &[(u32, u32)]| catalog.ids(&RuleRange::Ids(ranges.to_vec())).collect::<Vec<_>>();
        assert_eq!(ids(&[(1, 10)]), [7]);
        assert_eq!(ids(&[(8, 10), (9, 2)]), [0; 0]);
        assert_eq!(ids(&[(200_000, 200_001)]), [200_000, 200_001]);
        assert!(catalog.has(&RuleRange::Tag("attack-x".to_owned())));
        assert!(!catalog.has(&RuleRange::Tag("attack".to_owned())));
    }

    #[test]
    fn a_rule_looks_at_the_targets_of_its_chain_and_not_at_what_it_leaves_out() {
        let catalog = own();
        let sees = |target: &str| catalog.looks_at(&[7].into(), &bundle::target(target).unwrap());
        for target in [
            "ARGS:q",
            "ARGS:/^q/",
            "REQUEST_HEADERS:HOST",
            "REQUEST_COOKIES:a",
            "REQUEST_COOKIES",
        ] {
            assert!(sees(target), "{target}");
        }
        for target in ["ARGS_GET:q", "REQUEST_HEADERS:Referer", "REQUEST_BODY"] {
            assert!(!sees(target), "{target}");
        }
    }
}
