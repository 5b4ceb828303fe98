//! The parser's trees and messages, in whole: each `seclang/*.conf` beside what comes of it.
//!
//! `UPDATE_GOLDEN=1` writes the files anew: read the difference before you commit it.

use std::path::Path;

use breakwater_waf::seclang::{Action, DirectiveKind, Located, Position, Rule, Setting, parse};

/// The tree, a line for each part and the line it stands on; or the mistakes.
fn outcome(name: &str, text: &str) -> String {
    let mut out = String::new();
    match parse(name, text) {
        Ok(directives) => {
            for Located { value, position } in &directives {
                match value {
                    DirectiveKind::Rule(rule) => show(rule, position, "rule", &mut out),
                    DirectiveKind::DefaultAction(phase, actions) => {
                        out += &format!("{position} DefaultAction {phase:?}\n");
                        show_actions(actions, &mut out);
                    }
                    DirectiveKind::UpdateAction { id, link, actions } => {
                        out += &format!("{position} UpdateAction {id} {link}\n");
                        show_actions(actions, &mut out);
                    }
                    other => out += &format!("{position} {other:?}\n"),
                }
            }
        }
        Err(errors) => out.extend(errors.iter().map(|error| format!("{error}\n"))),
    }
    out
}

fn show(rule: &Rule, position: &Position, what: &str, out: &mut String) {
    *out += &format!("{position} {what}\n");
    out.extend(rule.targets.iter().map(|target| format!("    {target:?}\n")));
    *out += &format!("    {:?}\n", rule.operator);
    show_actions(&rule.actions, out);
    if let Some(next) = &rule.next {
        show(&next.value, &next.position, "link", out);
    }
}

fn show_actions(actions: &[Located<Action>], out: &mut String) {
    out.extend(
        actions
            .iter()
            .map(|action| format!("    {} {:?}\n", action.position, action.value)),
    );
}

#[test]
fn each_text_becomes_the_tree_or_the_messages_beside_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seclang");
    let mut wrong = Vec::new();
    for name in ["rule", "chain", "others", "mistakes"] {
        let text = std::fs::read_to_string(directory.join(name).with_extension("conf")).unwrap();
        let came = outcome(&format!("{name}.conf"), &text);
        let golden = directory.join(name).with_extension("golden");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &came).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != came {
            wrong.push(format!("{name}:\n{came}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "not as in the golden file (UPDATE_GOLDEN=1 writes it):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn what_has_no_effect_is_taken_by_its_name_in_any_case() {
    let directives = parse("x", "secauditlogparts ABIJDEFHZ\nSecTmpDir x").unwrap();
    let names: Vec<&DirectiveKind> = directives.iter().map(|directive| &directive.value).collect();
    let idle = |name| DirectiveKind::Setting(Setting::Idle(name));
    assert_eq!(names, [&idle("SecAuditLogParts"), &idle("SecTmpDir")]);
}
