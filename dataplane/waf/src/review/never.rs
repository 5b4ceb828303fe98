//! Rules that can never match, and actions without effect where they are written.
//!
//! What is said is certain: a target that may have a value is left alone.

use std::collections::HashSet;

use super::Fields;
use super::filled::{Filled, filled};
use super::opened::{Opened, Part, Spot, opener};
use crate::bundle::Mistake;
use crate::seclang::{
    Action, Ctl, Disruptive, Key, Operator, OperatorKind, Phase, Position, Rule, Setvar, Target, Variable,
};

/// Most targets of one link that are named.
const NAMED: usize = 3;

/// Where a rule runs.
pub(super) struct Place<'a> {
    rule: String,
    /// The rule's first link.
    first: Spot,
    /// Responses are not inspected.
    no_response: bool,
    opened: &'a Opened,
}

impl<'a> Place<'a> {
    /// Of a rule; `number`: which of the directives it is.
    pub(super) fn of(starter: &Rule, number: usize, policy: Option<&Fields>, opened: &'a Opened) -> Self {
        let id = starter.actions.iter().find_map(|action| match action.value {
            Action::Id(id) => Some(id),
            _ => None,
        });
        Self {
            rule: id.map_or_else(|| "the rule".to_owned(), |id| format!("rule {id}")),
            first: Spot {
                phase: phase(starter),
                part: Part::Own,
                rule: number,
                link: 0,
            },
            no_response: policy.is_some_and(|policy| policy.inspect_response.is_none()),
            opened,
        }
    }

    /// Tells what of the rule and its chain comes to nothing.
    pub(super) fn remarks(&self, starter: &Rule, position: &Position, tell: &mut dyn FnMut(Mistake)) {
        if self.no_response && matches!(self.first.phase, Phase::ResponseHeaders | Phase::ResponseBody) {
            // It does not run at all, which whoever asks says once for all of them.
            return;
        }
        let mut spot = self.first;
        let mut next = Some((starter, position));
        while let Some((rule, position)) = next {
            if let Some(message) = self.never(rule, spot) {
                tell(Mistake {
                    position: position.clone(),
                    message,
                });
            }
            for action in &rule.actions {
                if let Some(message) = self.idle(&action.value) {
                    tell(Mistake {
                        position: action.position.clone(),
                        message,
                    });
                }
            }
            spot.link += 1;
            next = rule.next.as_deref().map(|next| (&next.value, &next.position));
        }
    }

    /// Why a link never matches, if none of its targets has a value that could, or which of them it never sees.
    fn never(&self, rule: &Rule, spot: Spot) -> Option<String> {
        let excluded: HashSet<Meant> = rule.targets.iter().filter(|target| target.exclude).map(meant).collect();
        let targets = rule.targets.iter().filter(|target| !target.exclude);
        let (mut empty, mut reasons, mut sees) = (0_usize, Vec::new(), false);
        for target in targets {
            match self.empty(target, &rule.operator, &excluded, spot) {
                None => sees = true,
                Some(reason) => {
                    empty += 1;
                    if reasons.len() < NAMED {
                        reasons.push(reason);
                    }
                }
            }
        }
        let more = match empty.saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let never = if sees {
            "looks at nothing in some of its targets"
        } else {
            "never matches"
        };
        (empty > 0).then(|| format!("{} {never}: {}{more}", self.rule, reasons.join(", ")))
    }

    /// Why a target has nothing that the operator could match.
    fn empty(&self, target: &Target, operator: &Operator, excluded: &HashSet<Meant>, spot: Spot) -> Option<String> {
        let name = target.variable.name();
        let of_none = if target.count {
            format!("&{name} is 0: ")
        } else {
            String::new()
        };
        let matches_none = target.count && matches_zero(operator);
        if excluded.contains(&(target.variable, None)) || excluded.contains(&meant(target)) {
            return (!matches_none).then(|| format!("{of_none}what it looks at of {name} is left out again"));
        }
        if let Some(opener) = opener(target.variable).filter(|_| !self.opened.before(target.variable, spot)) {
            let opens = if target.variable == Variable::Geo {
                "fills"
            } else {
                "opens"
            };
            return (!matches_none).then(|| format!("{of_none}nothing {opens} {name} before it ({opener})"));
        }
        let filled = filled(target.variable);
        let (from, zero) = match filled {
            Filled::From(from) => (from, false),
            Filled::ZeroUntil(from) => (from, true),
            Filled::Zero if !matches_zero(operator) => return Some(format!("{name} is always 0 here")),
            Filled::Zero => return None,
            Filled::Never if target.count && !matches_zero(operator) => {
                return Some(format!("&{name} is always 0, for nothing sets {name} here"));
            }
            Filled::Never if target.count => return None,
            Filled::Never => return Some(format!("nothing sets {name} here{}", instead(target.variable))),
        };
        let unseen = self.no_response && from >= Phase::ResponseHeaders;
        if (self.first.phase >= from && !unseen) || ((zero || target.count) && matches_zero(operator)) {
            return None;
        }
        let (count, is) = match (target.count, zero) {
            (true, _) => ("&", "0"),
            (false, true) => ("", "0"),
            (false, false) => ("", "empty"),
        };
        Some(if unseen {
            format!("{count}{name} is {is} while responses are not inspected (give spec.body.response)")
        } else {
            let number = number(from);
            format!("{count}{name} is {is} before phase {number} (write phase:{number})")
        })
    }

    /// Why an action has no effect.
    fn idle(&self, action: &Action) -> Option<String> {
        let rule = &self.rule;
        match action {
            Action::Ctl(ctl) => self.idle_ctl(ctl),
            Action::Setvar(Setvar { collection, .. }) => self.unopened("setvar", *collection),
            Action::Expirevar(collection, ..) => self.unopened("expirevar", *collection),
            Action::Disruptive(kind @ (Disruptive::Deny | Disruptive::Drop | Disruptive::Redirect(_)))
                if self.first.phase == Phase::Logging =>
            {
                let name = match kind {
                    Disruptive::Deny => "deny",
                    Disruptive::Drop => "drop",
                    _ => "redirect",
                };
                Some(format!(
                    "{name} has no effect: {rule} is of phase 5, when the answer is sent; write an earlier phase, or pass"
                ))
            }
            _ => None,
        }
    }

    fn unopened(&self, action: &str, collection: Variable) -> Option<String> {
        let opener = opener(collection).filter(|_| !self.opened.within(collection, self.first))?;
        let (name, rule) = (collection.name(), &self.rule);
        Some(format!(
            "{action} has no effect: nothing opens {name} before {rule}, or in it ({opener})"
        ))
    }

    fn idle_ctl(&self, ctl: &Ctl) -> Option<String> {
        let early = |name: &str, last: Phase| {
            let number = number(last);
            let late = self.first.phase > last;
            late.then(|| {
                format!(
                    "ctl:{name} has no effect: the body is read before {}; write phase:{number}",
                    self.rule
                )
            })
        };
        match ctl {
            Ctl::RequestBodyLimit(_) => Some(
                "ctl:requestBodyLimit has no effect: spec.body.inspect says it, and spec.body.types by Content-Type"
                    .to_owned(),
            ),
            Ctl::ResponseBodyLimit(_) => {
                Some("ctl:responseBodyLimit has no effect: spec.body.response.inspect says it".to_owned())
            }
            // More is never told: rule sets for several engines ask for it all the same.
            Ctl::AuditLogParts(parts) if !parts.starts_with('+') => Some(
                "ctl:auditLogParts has no effect: audit lines have one form; use ctl:auditEngine=Off for none"
                    .to_owned(),
            ),
            Ctl::RequestBodyAccess(_) => early("requestBodyAccess", Phase::RequestHeaders),
            Ctl::ForceRequestBodyVariable(_) => early("forceRequestBodyVariable", Phase::RequestHeaders),
            Ctl::RequestBodyProcessor(_) => early("requestBodyProcessor", Phase::RequestHeaders),
            Ctl::ResponseBodyAccess(_) if self.no_response => Some(
                "ctl:responseBodyAccess has no effect while responses are not inspected: give spec.body.response"
                    .to_owned(),
            ),
            Ctl::ResponseBodyAccess(_) => early("responseBodyAccess", Phase::ResponseHeaders),
            _ => None,
        }
    }
}

/// A variable, and which of its values; of a name whether it is a pattern.
type Meant = (Variable, Option<(bool, String)>);

fn meant(target: &Target) -> Meant {
    let key = target.key.as_ref().map(|key| match key {
        Key::Name(name) => (false, name.to_ascii_lowercase()),
        Key::Regex(pattern) => (true, pattern.clone()),
    });
    (target.variable, key)
}

/// The phase of a rule, which its last `phase` says.
pub(super) fn phase(rule: &Rule) -> Phase {
    let mut phases = rule.actions.iter().filter_map(|action| match action.value {
        Action::Phase(phase) => Some(phase),
        _ => None,
    });
    phases.next_back().unwrap_or_default()
}

const fn number(phase: Phase) -> u8 {
    match phase {
        Phase::RequestHeaders => 1,
        Phase::RequestBody => 2,
        Phase::ResponseHeaders => 3,
        Phase::ResponseBody => 4,
        Phase::Logging => 5,
    }
}

/// Whether an operator may match the value 0.
fn matches_zero(operator: &Operator) -> bool {
    let than: Result<i64, _> = operator.argument.trim().parse();
    let matches = match (operator.kind, than) {
        (OperatorKind::Eq, Ok(than)) => than == 0,
        (OperatorKind::Ge, Ok(than)) => 0 >= than,
        (OperatorKind::Gt, Ok(than)) => 0 > than,
        (OperatorKind::Le, Ok(than)) => 0 <= than,
        (OperatorKind::Lt, Ok(than)) => 0 < than,
        _ => return true,
    };
    matches != operator.negated
}

/// What to look at in place of a variable that nothing sets.
const fn instead(variable: Variable) -> &'static str {
    match variable {
        Variable::RemoteUser => " (AUTH_TYPE and REQUEST_HEADERS:Authorization say what a client claims)",
        Variable::PathInfo => " (use REQUEST_FILENAME)",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
