//! What was found, for people.

use std::fmt::Write as _;

use breakwater_waf::replay::{Group, Groups, Tally};

use super::Report;

/// What has to be known of the figures.
pub(super) fn notes(tally: &Tally, has_baseline: bool) -> Vec<String> {
    let told = [
        (
            true,
            "bodies, most header fields and responses are not in a log: what a policy refuses for them is not found here",
        ),
        (
            true,
            "limits are judged by the times of the lines, and as if one node had served them all; limits on connections are not judged",
        ),
        (
            tally.unknown.count > 0,
            "who was refused for a reason that is not in the log is counted apart: audit lines have reasons; --baseline DIR compares two sets of manifests instead",
        ),
        (
            tally.late > 0,
            "of requests in two logs one behind the other the first lines decided: merge them by time (sort -m access.log audit.log)",
        ),
        (
            tally.redacted > 0,
            "of some requests only the audit log speaks, where values are hidden (***): rules did not see them; an access log has them",
        ),
        (
            tally.shortened > 0,
            "of some requests the log has only the beginning of the target",
        ),
        (
            has_baseline,
            "compared with the manifests of --baseline, not with what the log says was done",
        ),
    ];
    let told = told.into_iter().filter(|(holds, _)| *holds);
    told.map(|(_, note)| note.to_owned()).collect()
}

/// The report, with at most so many groups of each outcome.
pub(super) fn report(report: &Report<'_>, most: usize) -> String {
    let tally = report.tally;
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "{}, {} judged",
        count(tally.lines, "line"),
        count(tally.judged, "request")
    ));
    for (number, what) in [
        (tally.unrouted, "requests of no resource"),
        (tally.malformed, "requests that are refused before any policy"),
        (tally.late, "lines of requests that were judged by then"),
        (
            tally.shortened,
            "of those that were judged have only the beginning of their target",
        ),
    ] {
        if number > 0 {
            line(format!("  {number} {what}"));
        }
    }
    if tally.unread.count > 0 {
        line(format!("  {} could not be read:", count(tally.unread.count, "line")));
        for (number, reason) in &tally.unread.first {
            line(format!("    line {number}: {}", shown(reason)));
        }
    }
    groups(&mut out, "newly blocked", &tally.newly_blocked, most);
    groups(&mut out, "no longer blocked", &tally.no_longer_blocked, most);
    if tally.unknown.count > 0 {
        groups(&mut out, "blocked for what the log does not say", &tally.unknown, most);
    }
    if tally.reported.count > 0 {
        groups(&mut out, "only reported or challenged", &tally.reported, most);
    }
    let _ = writeln!(out, "still blocked: {}\npassed: {}", tally.still_blocked, tally.passed);
    for note in &report.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn groups(out: &mut String, name: &str, groups: &Groups, most: usize) {
    let _ = writeln!(out, "{name}: {}", groups.count);
    for group in groups.groups.iter().take(most) {
        one(out, group);
    }
    let more = groups.groups.len().saturating_sub(most);
    if more > 0 {
        let _ = writeln!(out, "  and {} more (--groups N)", count(more as u64, "group"));
    }
    if groups.ungrouped > 0 {
        let _ = writeln!(
            out,
            "  and {} beyond the groups that are kept",
            count(groups.ungrouped, "request")
        );
    }
}

fn one(out: &mut String, group: &Group) {
    let rules: Vec<String> = group.rules.iter().map(u64::to_string).collect();
    let what = match (&group.detail, rules.as_slice()) {
        (_, [_, ..]) => rules.join(", "),
        (Some(detail), []) => detail.clone(),
        (None, []) => String::new(),
    };
    let who = match group.policy.as_str() {
        "" => "by a policy that the log does not name",
        policy => policy,
    };
    let parts = [who, group.reason.as_str(), what.as_str()];
    let parts: Vec<String> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| shown(part))
        .collect();
    let _ = writeln!(out, "  {:>6}  {}  {}", group.count, parts.join(" "), shown(&group.path));
    if let Some(message) = group.message.as_deref().filter(|message| !message.is_empty()) {
        let _ = writeln!(out, "          {}", shown(message));
    }
    let example = &group.example;
    let id = example
        .request_id
        .as_deref()
        .map(|id| format!(", request {}", shown(id)));
    let _ = writeln!(
        out,
        "          line {}{}: {} {} {}{}",
        example.line,
        id.unwrap_or_default(),
        example.client,
        shown(&example.method),
        shown(&example.host),
        shown(&example.target)
    );
}

fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// Text from a log as a terminal may have it: what moves its cursor or turns its letters round is escaped.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_log_moves_a_terminals_cursor() {
        assert_eq!(shown("a\u{1b}[2K\n\u{9b}\u{202e}é"), "a\\u{1b}[2K\\n\\u{9b}\\u{202e}é");
    }

    #[test]
    fn an_empty_log_has_a_report() {
        let tally = Tally::default();
        let report = Report {
            notes: notes(&tally, false),
            tally: &tally,
        };
        let text = super::report(&report, 20);
        assert!(
            text.starts_with("0 lines, 0 requests judged\nnewly blocked: 0\n"),
            "{text}"
        );
        assert!(text.contains("note: bodies"), "{text}");
    }
}
