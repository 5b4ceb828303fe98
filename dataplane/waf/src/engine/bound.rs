//! A policy's overlay, worked out for the rule set that it lies over: a few hundred bytes to a few kilobytes, made once.

use std::sync::Arc;

use super::bits::Bits;
use super::compile::{Ranges, select_target, tables};
use super::program::{Program, Target};
use super::transaction::Val;
use super::{Exclusion, Overlay, RuleSet};
use crate::engine::operator::number;

/// An [`Overlay`] bound to a [`RuleSet`].
#[derive(Debug)]
pub struct Bound {
    rules: Arc<RuleSet>,
    constants: Vec<Box<[u8]>>,
    /// What TX holds before the first rule, by slot.
    pub(super) variables: Vec<Val>,
    pub(super) removed: Bits,
    /// Targets that rules do not see.
    pub(super) excluded: Vec<BoundExclusion>,
    pub(super) excluded_rules: Bits,
    pub(super) detect_only: Bits,
}

/// An [`Exclusion`] bound to a [`RuleSet`]: for transactions that it holds for and others under the same [`Bound`] do not.
#[derive(Debug)]
pub struct BoundExclusion {
    pub(super) rules: Bits,
    /// What they do not see; none: they do not run.
    pub(super) targets: Option<Vec<Target>>,
}

impl BoundExclusion {
    /// Works an exclusion out. Targets with a pattern that does not compile have no effect.
    #[must_use]
    pub fn new(rules: &RuleSet, exclusion: &Exclusion) -> Self {
        let targets = exclusion.targets.iter();
        let targets = targets.filter_map(|target| select_target(target).ok()).collect();
        Self {
            rules: all_in(rules.program(), &exclusion.rules),
            targets: (!exclusion.targets.is_empty()).then_some(targets),
        }
    }
}

impl Bound {
    /// Works an overlay out. Variables that no rule names have no effect, nor have targets with a pattern that does not
    /// compile.
    #[must_use]
    pub fn new(rules: &Arc<RuleSet>, overlay: &Overlay) -> Self {
        let program = rules.program();
        let mut constants = Vec::new();
        let mut variables = vec![Val::Unset; program.tx.len()];
        for (name, value) in &overlay.variables {
            let slot = program.tx.slot(name.to_ascii_lowercase().as_bytes());
            let Some(place) = slot.and_then(|slot| variables.get_mut(usize::from(slot))) else {
                continue;
            };
            let as_number = number(value.as_bytes());
            *place = if as_number.to_string() == *value {
                Val::Int(as_number)
            } else {
                constants.push(value.as_bytes().into());
                Val::Bound(constants.len() as u32 - 1)
            };
        }
        let mut removed = Bits::with_size(program.rules.len());
        removed.union(&program.left_out);
        let mut excluded = Vec::new();
        let mut excluded_rules = Bits::with_size(program.rules.len());
        for exclusion in &overlay.exclusions {
            let exclusion = BoundExclusion::new(rules, exclusion);
            if exclusion.targets.is_some() {
                excluded_rules.union(&exclusion.rules);
                excluded.push(exclusion);
            } else {
                removed.union(&exclusion.rules);
            }
        }
        let detect_only = all_in(program, &overlay.detect_only);
        Self {
            rules: Arc::clone(rules),
            constants,
            variables,
            removed,
            excluded,
            excluded_rules,
            detect_only,
        }
    }

    /// Whether another is bound to the same compiled rules.
    #[must_use]
    pub fn shares_rules(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules)
    }

    pub(super) fn program(&self) -> &Program {
        self.rules.program()
    }

    pub(super) fn constant(&self, index: u32) -> &[u8] {
        self.constants.get(index as usize).map_or(&[], |bytes| bytes)
    }
}

fn all_in(program: &Program, ranges: &[crate::seclang::RuleRange]) -> Bits {
    let mut all = Bits::with_size(program.rules.len());
    for range in ranges {
        all.union(&tables::rules_in(program, &Ranges::whole(range)));
    }
    all
}
