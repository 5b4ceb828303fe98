//! What a rule with its chain looks at, and what an update of targets makes of that.

use crate::seclang::{self, Action, Target, TargetUpdate};

/// What a rule and its chain look at.
pub(super) fn targets(rule: &seclang::Rule) -> impl Iterator<Item = &Target> {
    let links = std::iter::successors(Some(rule), |rule| rule.next.as_ref().map(|next| &next.value));
    links.flat_map(|link| link.targets.iter().filter(|target| !target.exclude))
}

/// Whether a rule or its chain sets variables, which others may refuse for.
pub(super) fn scores(rule: &seclang::Rule) -> bool {
    let mut links = std::iter::successors(Some(rule), |rule| rule.next.as_ref().map(|next| &next.value));
    links.any(|link| {
        link.actions
            .iter()
            .any(|action| matches!(action.value, Action::Setvar(_)))
    })
}

/// Whether a rule or its chain looks at something that `hidden` hides.
pub(super) fn looks_at(rule: &seclang::Rule, hidden: &Target) -> bool {
    targets(rule).any(|target| hidden.hides(target))
}

/// New targets go to the starter, what is left out is left out of the whole chain; how many targets that touches.
pub(super) fn update_targets(rule: &mut seclang::Rule, update: &TargetUpdate) -> usize {
    let mut touched = rule.targets.len() + update.targets.len();
    if let Some(old) = &update.replaces {
        rule.targets
            .retain(|target| target.variable != old.variable || target.key != old.key || target.count != old.count);
    }
    rule.targets.extend(update.targets.iter().cloned());
    let left_out: Vec<_> = update.targets.iter().filter(|target| target.exclude).collect();
    let mut next = rule.next.as_deref_mut();
    while let Some(link) = next {
        if !link.value.targets.is_empty() {
            touched += left_out.len();
            link.value
                .targets
                .extend(left_out.iter().map(|target| (*target).clone()));
        }
        next = link.value.next.as_deref_mut();
    }
    touched
}
