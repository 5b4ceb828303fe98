//! Walking through the rules of a phase.
//!
//! Every value of every target is tested, as ModSecurity does: each match sets variables, and the rule does what it does to
//! the transaction once, when its whole chain has matched.

use std::sync::Arc;

use super::act::VALUE;
use super::resolve::Found;
use super::{Limit, Transaction, Val, bytes_of};
use crate::detect;
use crate::engine::Intervention;
use crate::engine::bound::Bound;
use crate::engine::byteset::ByteSet;
use crate::engine::compile::phase_index;
use crate::engine::location;
use crate::engine::operator::{Expanded, Number, Test, networks, number, numbers};
use crate::engine::program::{Disrupt, Gate, Link, Program, Rule, Skip};
use crate::engine::values::ValueId;
use crate::operator::{is_url_encoded, utf8_fault};
use crate::seclang::{AllowScope, Engine, Phase};

/// Most bytes of a number that macros come to.
const NUMBER: usize = 64;

/// Most values that MATCHED_VARS holds.
const MATCHED_VARS: usize = 2048;

/// Whether a value passes a test, and what the test captured of it.
struct Outcome {
    holds: bool,
    captured: bool,
}

const FAILED: Outcome = Outcome {
    holds: false,
    captured: false,
};

impl From<bool> for Outcome {
    fn from(holds: bool) -> Self {
        Self { holds, captured: false }
    }
}

impl Transaction {
    /// Runs the rules of a phase.
    pub(super) fn run(&mut self, phase: Phase) -> Option<Intervention> {
        if self.is_over(phase) {
            return None;
        }
        self.state.phase = phase;
        let bound = self.program();
        let program = bound.program();
        let rules = program.phases.get(phase_index(phase))?;
        self.values.settle();
        self.buckets.renew(program.buckets.len());
        let mut at = 0;
        while let Some(index) = rules.get(at) {
            at += 1;
            let index = *index as usize;
            let Some(rule) = program.rules.get(index) else { continue };
            if self.is_removed(index) || !self.run_rule(&bound, program, index, rule) {
                continue;
            }
            match rule.skip {
                Skip::No => {}
                Skip::Count(count) => at += count as usize,
                Skip::To(place) => at = place as usize,
            }
            if let Some(intervention) = self.disrupt(&bound, program, index, rule) {
                return Some(intervention);
            }
            if matches!(self.state.allowed, Some(Some(AllowScope::Phase))) {
                self.state.allowed = None;
                break;
            }
            if self.is_over(phase) {
                break;
            }
        }
        None
    }

    /// Tests a rule and its chain; whether all of it matched.
    fn run_rule(&mut self, bound: &Bound, program: &Program, index: usize, rule: &Rule) -> bool {
        if rule.gate.is_some_and(|gate| !self.passes(bound, program, &gate)) {
            return false;
        }
        self.matched.all.clear();
        self.matched.captured = None;
        let reported = self.report.matches.len();
        let mut matched = true;
        for link in &rule.links {
            if !self.run_link(bound, program, index, rule, link) {
                matched = false;
                break;
            }
        }
        if matched {
            if let Some(severity) = rule.severity {
                self.matched.highest = Some(self.matched.highest.map_or(severity, |highest| highest.min(severity)));
            }
            if rule.log && self.report.matches.len() == reported {
                self.report_match(bound, program, rule);
            }
        }
        if let Some(loose) = self.values.loose() {
            self.tidy(loose);
        }
        matched
    }

    /// Whether a gate lets its rule match.
    fn passes(&self, bound: &Bound, program: &Program, gate: &Gate) -> bool {
        let val = self.tx.get(gate.slot);
        let value = match (gate.count, val) {
            (true, val) => i64::from(val != Val::Unset),
            (false, Val::Unset) => return false,
            (false, val) => self.number_of(bound, program, val),
        };
        gate.compare.holds(value, gate.than) != gate.negated
    }

    fn run_link(&mut self, bound: &Bound, program: &Program, index: usize, rule: &Rule, link: &Link) -> bool {
        let Some(list) = link.list.and_then(|list| program.lists.get(list as usize)) else {
            let holds = matches!(link.test, Test::Always) != link.negated;
            if holds {
                self.act_all(bound, program, index, &link.acts);
            }
            return holds;
        };
        let blind = bound.excluded_rules.contains(index) || self.state.untargeted_rules.contains(index);
        let mut matched = false;
        self.matched.again = list.matched;
        if let Some(bucket) = link.bucket {
            let values = self.bucket(program, bucket);
            if !link.negated && self.is_ruled_out(program, link, bucket) {
                return false;
            }
            for at in values {
                let Some(value) = self.buckets.value(at) else { break };
                if blind && self.is_hidden(bound, program, index, &value) {
                    continue;
                }
                matched |= self.run_form(bound, program, index, rule, link, value);
            }
            return matched;
        }
        let mut found = std::mem::take(&mut self.scratch.found);
        found.clear();
        self.resolve_list(program, list, &mut found);
        for value in &found {
            if blind && self.is_hidden(bound, program, index, value) {
                continue;
            }
            if self.run_value(bound, program, index, rule, link, value) {
                matched = true;
            }
        }
        self.scratch.found = found;
        matched
    }

    /// Whether the policy or a `ctl` hides a value from a rule.
    fn is_hidden(&self, bound: &Bound, program: &Program, index: usize, found: &Found) -> bool {
        let of_policy = bound.excluded.iter().chain(self.exclusions.iter().map(Arc::as_ref));
        let by_policy = of_policy
            .filter(|exclusion| exclusion.rules.contains(index))
            .any(|exclusion| {
                let mut targets = exclusion.targets.iter().flatten();
                targets.any(|target| self.is_meant(program, target, found))
            });
        let mut by_rules = self
            .state
            .untargeted
            .iter()
            .filter_map(|at| program.hidden.get(*at as usize));
        by_policy
            || by_rules.any(|(selection, target)| {
                let rules = program.selections.get(*selection as usize);
                rules.is_some_and(|rules| rules.contains(index)) && self.is_meant(program, target, found)
            })
    }

    /// Tests one value in each of the forms that the rule looks at.
    fn run_value(
        &mut self,
        bound: &Bound,
        program: &Program,
        index: usize,
        rule: &Rule,
        link: &Link,
        found: &Found,
    ) -> bool {
        if link.pipeline == 0 {
            return self.run_form(bound, program, index, rule, link, *found);
        }
        let id = self.value_id(program, found.val);
        let form_of = |id| Found {
            val: Val::Id(id),
            ..*found
        };
        if !link.multi_match {
            let made = self.values.transformed(program, id, link.pipeline);
            return self.run_form(bound, program, index, rule, link, form_of(made));
        }
        let mut matched = self.run_form(bound, program, index, rule, link, form_of(id));
        let mut form = id;
        for step in program
            .pipelines
            .get(link.pipeline as usize)
            .map_or(&[][..], |steps| steps)
        {
            let made = self.values.step(program, form, *step);
            if made != form {
                matched |= self.run_form(bound, program, index, rule, link, form_of(made));
            }
            form = made;
        }
        matched
    }

    /// Tests one form of a value, and does what a match does at once.
    fn run_form(
        &mut self,
        bound: &Bound,
        program: &Program,
        index: usize,
        rule: &Rule,
        link: &Link,
        found: Found,
    ) -> bool {
        let outcome = self.test(bound, program, link, found.val);
        if outcome.holds == link.negated {
            return false;
        }
        if link.capture && !outcome.captured && outcome.holds {
            // Operators that find nothing in particular capture the value.
            self.tx.set(0, found.val);
        }
        if link.capture && outcome.holds {
            self.matched.captured = Some((found, outcome.captured && !matches!(link.test, Test::Sqli)));
        }
        self.matched.last = Some(found);
        if self.matched.again {
            // It is among them.
        } else if self.matched.all.len() < MATCHED_VARS {
            self.matched.all.push(found);
        } else {
            self.reached(Limit::MatchedVars);
        }
        self.act_all(bound, program, index, &link.acts);
        if rule.log && rule.links.len() == 1 && self.report.matches.last().is_none_or(|last| last.id != rule.id) {
            self.report_match(bound, program, rule);
        }
        true
    }

    fn test(&mut self, bound: &Bound, program: &Program, link: &Link, val: Val) -> Outcome {
        let mut buffer = [0; 24];
        if let Test::Compare(compare, than) = &link.test {
            let value = self.number_of(bound, program, val);
            let than = match than {
                Number::Constant(number) => *number,
                Number::Slot(slot) => {
                    let val = self.tx.get(*slot);
                    self.number_of(bound, program, val)
                }
                Number::Text(text) => {
                    let mut out = std::mem::take(&mut self.scratch.text);
                    out.clear();
                    self.expand(bound, program, text, NUMBER, &mut out);
                    let value = number(&out);
                    self.scratch.text = out;
                    value
                }
            };
            return compare.holds(value, than).into();
        }
        if let Test::Text(test, text) = &link.test {
            let mut out = std::mem::take(&mut self.scratch.text);
            out.clear();
            if !self.expand(bound, program, text, VALUE, &mut out) {
                self.reached(Limit::Text);
            }
            let value = bytes_of(program, bound, &self.values, val, &mut buffer);
            let holds = test.holds(value, &out);
            self.scratch.text = out;
            return holds.into();
        }
        if let Test::Expanded(expanded) = &link.test {
            let mut pattern = Vec::new();
            let whole = self.expand(bound, program, &expanded.text, Expanded::BYTES, &mut pattern);
            let regex = whole
                .then(|| expanded.regex(&pattern, &mut self.state.patterns))
                .flatten();
            let Some(regex) = regex else {
                self.reached(Limit::Patterns);
                return FAILED;
            };
            let id = self.value_id(program, val);
            let holds = regex.is_some_and(|regex| regex.is_match(self.values.get(id)));
            if holds && link.capture {
                let mut groups: [Option<std::ops::Range<usize>>; 10] = Default::default();
                groups[0] = Some(0..self.values.get(id).len());
                self.capture(id, groups);
            }
            return Outcome { holds, captured: holds };
        }
        if let (Some(filter), Val::Id(id)) = (link.test.filter(), val)
            && !self.values.may_pass(program, id, filter)
        {
            return FAILED;
        }
        if let Test::Place = &link.test {
            if self.locations.is_none() {
                // Neither with nor without `!`: the rule cannot be run.
                return link.negated.into();
            }
            let value = bytes_of(program, bound, &self.values, val, &mut buffer);
            let address = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            return self.locate(address).into();
        }
        let value = bytes_of(program, bound, &self.values, val, &mut buffer);
        match &link.test {
            Test::Always => true.into(),
            Test::Never | Test::Compare(..) | Test::Text(..) | Test::Expanded(_) | Test::Place => FAILED,
            Test::Pattern(pattern) => {
                let Some(regex) = &pattern.regex else { return FAILED };
                // Most values do not match, and what finds that out needs no room for captures.
                if !regex.is_match(value) {
                    return FAILED;
                }
                if !link.capture {
                    return true.into();
                }
                let mut captures = regex.create_captures();
                regex.captures(value, &mut captures);
                let mut groups: [Option<std::ops::Range<usize>>; 10] = Default::default();
                for (slot, group) in groups.iter_mut().zip(captures.iter()) {
                    *slot = Some(group.map_or(0..0, |span| span.range()));
                }
                let id = self.value_id(program, val);
                self.capture(id, groups);
                Outcome {
                    holds: true,
                    captured: true,
                }
            }
            Test::Phrases(phrases) => {
                let Some(phrase) = phrases.set.find(value) else {
                    return FAILED;
                };
                if link.capture {
                    let id = self.value_id(program, val);
                    let mut groups: [Option<std::ops::Range<usize>>; 10] = Default::default();
                    groups[0] = Some(phrase);
                    self.capture(id, groups);
                }
                Outcome {
                    holds: true,
                    captured: link.capture,
                }
            }
            Test::Addresses(networks) => networks::within(value, networks).into(),
            Test::ByteRange(allowed) => ByteSet::of(value).leaves(allowed).into(),
            Test::UrlEncoding => (!is_url_encoded(value)).into(),
            Test::Utf8 => utf8_fault(value).is_some().into(),
            Test::Sqli => {
                let Some(fingerprint) = detect::sqli(value) else {
                    return FAILED;
                };
                if link.capture {
                    let text = fingerprint.0;
                    let len = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
                    let id = self.values.push(text.get(..len).unwrap_or_default());
                    self.tx.set(0, Val::Id(id));
                }
                Outcome {
                    holds: true,
                    captured: link.capture,
                }
            }
            Test::Xss => detect::xss(value).into(),
            Test::Numbers(regex, is_one) => numbers(regex, value).any(is_one).into(),
        }
    }

    /// TX:0 to TX:9: what groups matched; groups that the operator does not have are unset.
    fn capture(&mut self, id: ValueId, groups: [Option<std::ops::Range<usize>>; 10]) {
        for (slot, group) in (0_u16..).zip(groups) {
            let val = group.map_or(Val::Unset, |range| Val::Id(self.values.part(id, range)));
            self.tx.set(slot, val);
        }
    }

    pub(super) fn number_of(&self, bound: &Bound, program: &Program, val: Val) -> i64 {
        match val {
            Val::Int(value) => value,
            other => number(bytes_of(program, bound, &self.values, other, &mut [0; 24])),
        }
    }

    /// What a rule that matched does to the transaction.
    fn disrupt(&mut self, bound: &Bound, program: &Program, index: usize, rule: &Rule) -> Option<Intervention> {
        let mut intervention = Intervention {
            status: rule.status,
            redirect: None,
            drop: false,
            rule: rule.id,
        };
        let only_reports = bound.detect_only.contains(index);
        match &rule.disruptive {
            Disrupt::Pass => return None,
            Disrupt::Allow(scope) => {
                if matches!(self.state.engine, Engine::On) && !only_reports {
                    self.state.allowed = Some(*scope);
                }
                return None;
            }
            Disrupt::Deny => {}
            Disrupt::Drop => intervention.drop = true,
            Disrupt::Redirect(to) => {
                let mut out = Vec::new();
                let whole = self.expand(bound, program, to, location::LONGEST, &mut out);
                intervention.redirect = location::location(&out).filter(|_| whole);
                if intervention.redirect.is_none() {
                    // It goes nowhere, so it refuses.
                    intervention.status = 403;
                }
            }
        }
        if only_reports || self.state.phase == Phase::Logging || self.repeats() {
            return None;
        }
        if self.report.intervention.is_none() {
            self.report.intervention = Some(intervention.clone());
        }
        if !matches!(self.state.engine, Engine::On) {
            return None;
        }
        self.state.refused = true;
        Some(intervention)
    }
}
