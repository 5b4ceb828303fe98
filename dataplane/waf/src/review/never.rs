//! Rules that can never match, and actions without effect where they are written.
//!
//! What is said is certain: a target that may have a value is left alone.

use super::Fields;
use super::filled::{Filled, filled};
use crate::bundle::Mistake;
use crate::seclang::{Action, Ctl, Disruptive, Operator, OperatorKind, Phase, Position, Rule, Target, Variable};

/// Most targets of one link that are named.
const NAMED: usize = 3;

/// Tells what of a rule and its chain comes to nothing.
pub(super) fn remarks(starter: &Rule, position: &Position, policy: Option<&Fields>, tell: &mut dyn FnMut(Mistake)) {
    let phase = phase(starter);
    let no_response = policy.is_some_and(|policy| policy.inspect_response.is_none());
    if no_response && matches!(phase, Phase::ResponseHeaders | Phase::ResponseBody) {
        // It does not run at all, which whoever asks says once for all of them.
        return;
    }
    let id = starter.actions.iter().find_map(|action| match action.value {
        Action::Id(id) => Some(id),
        _ => None,
    });
    let place = Place {
        rule: id.map_or_else(|| "the rule".to_owned(), |id| format!("rule {id}")),
        phase,
        no_response,
    };
    let mut next = Some((starter, position));
    while let Some((rule, position)) = next {
        if let Some(message) = place.never(rule) {
            tell(Mistake {
                position: position.clone(),
                message,
            });
        }
        for action in &rule.actions {
            if let Some(message) = place.idle(&action.value) {
                tell(Mistake {
                    position: action.position.clone(),
                    message,
                });
            }
        }
        next = rule.next.as_deref().map(|next| (&next.value, &next.position));
    }
}

/// Where a rule runs.
struct Place {
    rule: String,
    phase: Phase,
    /// Responses are not inspected.
    no_response: bool,
}

impl Place {
    /// Why a link never matches, if none of its targets has a value that could, or which of them it never sees.
    fn never(&self, rule: &Rule) -> Option<String> {
        let targets = rule.targets.iter().filter(|target| !target.exclude);
        let (mut empty, mut reasons, mut sees) = (0_usize, Vec::new(), false);
        for target in targets {
            match self.empty(target, &rule.operator) {
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
    fn empty(&self, target: &Target, operator: &Operator) -> Option<String> {
        let name = target.variable.name();
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
        if (self.phase >= from && !unseen) || ((zero || target.count) && matches_zero(operator)) {
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
            Action::Disruptive(kind @ (Disruptive::Deny | Disruptive::Drop | Disruptive::Redirect(_)))
                if self.phase == Phase::Logging =>
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

    fn idle_ctl(&self, ctl: &Ctl) -> Option<String> {
        let early = |name: &str, last: Phase| {
            let number = number(last);
            let late = self.phase > last;
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

/// The phase of a rule, which its last `phase` says.
fn phase(rule: &Rule) -> Phase {
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
mod tests {
    use super::*;
    use crate::bundle::{Own, Source};
    use crate::review::review;

    fn said(text: &str, policy: Option<&Fields>) -> Vec<String> {
        let own = Own::parse(&[Source { name: "own", text }]).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        let told = review(own.rules(), policy);
        assert!(told.errors.is_empty());
        told.warnings.iter().map(ToString::to_string).collect()
    }

    const WITHOUT_RESPONSES: Fields = Fields {
        enforces: true,
        inspect: 1000,
        reject_larger: false,
        inspect_response: None,
    };

    #[test]
    fn a_rule_that_can_never_match_is_told_with_its_line_and_the_phase_to_write() {
        for (rule, part) in [
            (
                "SecRule RESPONSE_BODY x \"id:7,phase:1,deny\"",
                "RESPONSE_BODY is empty before phase 4 (write phase:4)",
            ),
            ("SecRule RESPONSE_BODY x \"id:7,phase:2,deny\"", "before phase 4"),
            (
                "SecRule RESPONSE_BODY \"!@rx x\" \"id:7,phase:3,deny\"",
                "before phase 4",
            ),
            ("SecRule RESPONSE_STATUS x \"id:7,phase:2,deny\"", "before phase 3"),
            ("SecRule RESPONSE_HEADERS:X x \"id:7,phase:1,deny\"", "before phase 3"),
            ("SecRule REQUEST_BODY x \"id:7,phase:1,deny\"", "before phase 2"),
            (
                "SecRule ARGS_POST|REQUEST_BODY x \"id:7,phase:1,deny\"",
                "ARGS_POST is empty before phase 2 (write phase:2), REQUEST_BODY is",
            ),
            (
                "SecRule &ARGS_POST \"@gt 3\" \"id:7,phase:1,deny\"",
                "&ARGS_POST is 0 before phase 2",
            ),
            ("SecRule XML:/* x \"id:7,phase:1,deny\"", "XML is empty"),
            (
                "SecRule MULTIPART_STRICT_ERROR \"!@eq 0\" \"id:7,phase:1,deny\"",
                "MULTIPART_STRICT_ERROR is empty",
            ),
            (
                "SecRule INBOUND_DATA_ERROR \"@eq 1\" \"id:7,phase:1,deny\"",
                "INBOUND_DATA_ERROR is 0 before phase 2",
            ),
            (
                "SecRule REMOTE_USER \"@streq root\" \"id:7,phase:2,deny\"",
                "nothing sets REMOTE_USER here (AUTH_TYPE",
            ),
            (
                "SecRule &REMOTE_USER \"@gt 0\" \"id:7,phase:2,deny\"",
                "&REMOTE_USER is always 0",
            ),
            (
                "SecRule DURATION \"@gt 1000\" \"id:7,phase:5,pass\"",
                "DURATION is always 0",
            ),
        ] {
            let told = said(&format!("\n{rule}\n"), None);
            assert_eq!(told.len(), 1, "{rule}: {told:?}");
            assert!(
                told[0].starts_with("own:2: rule 7 never matches: ") && told[0].contains(part),
                "{}",
                told[0]
            );
        }
        let told = said("SecRule ARGS|ARGS_POST x \"id:7,phase:1,deny\"", None);
        assert_eq!(
            told,
            [
                "own:1: rule 7 looks at nothing in some of its targets: ARGS_POST is empty before phase 2 (write phase:2)"
            ]
        );
        let told = said(
            "SecRule ARGS x \"id:7,phase:1,deny,chain\"\nSecRule FILES x \"t:none\"",
            None,
        );
        assert!(
            told.len() == 1 && told[0].starts_with("own:2: rule 7 never matches: FILES"),
            "{told:?}"
        );
    }

    #[test]
    fn a_rule_that_may_match_is_left_alone() {
        for rule in [
            "SecRule RESPONSE_BODY x \"id:7,phase:4,deny\"",
            "SecRule RESPONSE_STATUS x \"id:7,phase:5,pass\"",
            "SecRule ARGS_POST x \"id:7,deny\"",
            "SecRule &ARGS_POST \"@eq 0\" \"id:7,phase:1,pass\"",
            "SecRule &REMOTE_USER \"!@eq 1\" \"id:7,phase:1,pass\"",
            "SecRule FULL_REQUEST x \"id:7,phase:1,deny\"",
            "SecRule REQBODY_ERROR \"!@eq 0\" \"id:7,phase:1,deny\"",
            "SecRule INBOUND_DATA_ERROR \"@eq 0\" \"id:7,phase:1,pass\"",
            "SecAction \"id:7,phase:1,pass\"",
        ] {
            assert_eq!(said(rule, None), Vec::<String>::new(), "{rule}");
        }
    }

    #[test]
    fn what_looks_at_responses_that_are_not_inspected_is_told() {
        let rule = "SecRule RESPONSE_STATUS \"@ge 500\" \"id:7,phase:5,pass\"";
        let told = said(rule, Some(&WITHOUT_RESPONSES));
        assert!(
            told.len() == 1 && told[0].contains("give spec.body.response"),
            "{told:?}"
        );
        let with = Fields {
            inspect_response: Some(1000),
            ..WITHOUT_RESPONSES
        };
        assert_eq!(said(rule, Some(&with)), Vec::<String>::new());
        let told = said(
            "SecAction \"id:7,phase:1,pass,ctl:responseBodyAccess=On\"",
            Some(&WITHOUT_RESPONSES),
        );
        assert!(
            told.len() == 1 && told[0].contains("give spec.body.response"),
            "{told:?}"
        );
    }

    #[test]
    fn an_action_without_effect_where_it_stands_is_told() {
        for (action, phase, part) in [
            ("ctl:requestBodyLimit=5", 1, "spec.body.inspect"),
            ("ctl:responseBodyLimit=5", 3, "spec.body.response.inspect"),
            ("ctl:auditLogParts=-C", 1, "one form"),
            ("ctl:requestBodyAccess=Off", 2, "write phase:1"),
            ("ctl:forceRequestBodyVariable=On", 2, "write phase:1"),
            ("ctl:requestBodyProcessor=JSON", 2, "write phase:1"),
            ("ctl:responseBodyAccess=Off", 4, "write phase:3"),
            ("deny", 5, "rule 7 is of phase 5"),
            ("redirect:/x", 5, "rule 7 is of phase 5"),
        ] {
            let told = said(&format!("SecAction \"id:7,phase:{phase},{action}\""), None);
            assert!(told.len() == 1 && told[0].contains(part), "{action}: {told:?}");
        }
        for (action, phase) in [
            ("ctl:requestBodyAccess=Off", 1),
            ("ctl:responseBodyAccess=Off", 3),
            ("ctl:ruleEngine=Off", 2),
            ("ctl:auditLogParts=+E", 2),
            ("pass", 5),
        ] {
            let told = said(&format!("SecAction \"id:7,phase:{phase},{action}\""), None);
            assert_eq!(told, Vec::<String>::new(), "{action}");
        }
    }
}
