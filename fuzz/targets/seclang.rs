//! Rules: what is read is bounded by its text, a mistake stands on a line that is there, and what follows a text that
//! is whole does not change what was read of it.
#![no_main]

use breakwater_waf::review::{Review, review};
use breakwater_waf::seclang::{
    Action, Directive, DirectiveKind, Expr, ExprPart, MAX_CHAIN, MAX_ERRORS, OperatorKind, Rule, parse,
};
use libfuzzer_sys::fuzz_target;

/// How many rules it and the rest of its chain are, after checks of each.
fn check(rule: &Rule, lines: u32) -> usize {
    let mut rules = 1;
    let mut rule = rule;
    loop {
        assert!(!rule.targets.is_empty() || rule.operator.kind == OperatorKind::UnconditionalMatch);
        for action in &rule.actions {
            assert!((1..=lines).contains(&action.position.line));
            if let Action::Msg(expr) | Action::Logdata(expr) | Action::Tag(expr) = &action.value {
                assert_eq!(
                    Expr::parse(&written(expr)).as_ref(),
                    Ok(expr),
                    "it is read as it is written"
                );
            }
        }
        let chained = rule.actions.iter().any(|action| action.value == Action::Chain);
        assert_eq!(chained, rule.next.is_some());
        match &rule.next {
            None => return rules,
            Some(next) => {
                assert!((1..=lines).contains(&next.position.line));
                rule = &next.value;
                rules += 1;
            }
        }
    }
}

/// The text that an expression was read from, up to letter case and which of `.` and `:` it has.
fn written(expr: &Expr) -> String {
    expr.0
        .iter()
        .map(|part| match part {
            ExprPart::Text(text) => text.clone(),
            ExprPart::Macro(variable, None) => format!("%{{{variable}}}"),
            ExprPart::Macro(variable, Some(key)) => format!("%{{{variable}.{key}}}"),
        })
        .collect()
}

fn tree(text: &str) -> Option<Vec<Directive>> {
    parse("fuzz", text).ok()
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let lines = u32::try_from(text.split('\n').count()).unwrap_or(u32::MAX);
    match parse("fuzz", &text) {
        Err(errors) => {
            assert!((1..=MAX_ERRORS + 1).contains(&errors.len()));
            assert!(
                errors
                    .iter()
                    .all(|error| (1..=lines).contains(&error.position.line) && !error.message.is_empty())
            );
            assert!(errors.is_sorted_by_key(|error| error.position.line));
            // A mistake stays one, whatever follows.
            assert_eq!(tree(&format!("{text}\n\nSecMarker X")), None);
        }
        Ok(directives) => {
            assert!(directives.len() <= text.lines().count());
            let Review { errors, warnings } = review(&directives, None);
            assert!(errors.len() <= MAX_ERRORS + 1 && warnings.len() <= MAX_ERRORS + 1);
            for directive in &directives {
                assert!((1..=lines).contains(&directive.position.line));
                if let DirectiveKind::Rule(rule) = &directive.value {
                    assert!(check(rule, lines) <= MAX_CHAIN);
                }
            }
            let mut more = tree(&format!("{text}\n\nSecMarker X")).expect("one more directive");
            assert_eq!(
                more.pop().map(|last| last.value),
                Some(DirectiveKind::Marker("X".to_owned()))
            );
            assert_eq!(more, directives);
        }
    }
});
