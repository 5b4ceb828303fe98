//! What `explain` says of the rules of a policy: which, how strict, and what they do not look at in this request.

use breakwater_snapshot::unit::{RuleExclusion, RuleSelection, Rules};

use super::{Note, Request, first};

/// The rules in force for a request.
pub(super) fn notes(rules: &Rules, request: &Request) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut say = |about: &str, effect: String| {
        notes.push(Note {
            about: about.to_owned(),
            effect,
        });
    };
    if let Some(crs) = &rules.crs {
        let version = request.crs.as_deref().unwrap_or("the version that nodes have");
        let detects = if crs.detection_paranoia_level > crs.paranoia_level {
            format!(" (up to {} only report)", crs.detection_paranoia_level)
        } else {
            String::new()
        };
        let early = if crs.early_blocking { ", after the head too" } else { "" };
        say(
            "crs",
            format!(
                "{version}, paranoia level {}{detects}, refuses a request from a score of {}{early} and a response from {}",
                crs.paranoia_level, crs.inbound, crs.outbound
            ),
        );
    }
    if !rules.disabled_groups.is_empty() {
        let names: Vec<&str> = rules.disabled_groups.iter().map(|group| group.name.as_str()).collect();
        say("groups", format!("{} do not run", names.join(", ")));
    }
    if let Some(percent) = rules.sampled_percent {
        say(
            "sampling",
            format!("{percent} of 100 requests are judged by rules, the others pass unseen by them"),
        );
    }
    for source in &rules.seclang {
        say("seclang", format!("{}, {} bytes", source.name, source.text.len()));
    }
    for (i, exclusion) in rules.exclusions.iter().enumerate() {
        if holds(exclusion, request) {
            let unseen = match exclusion.targets.as_slice() {
                [] => "do not run".to_owned(),
                targets => format!("do not see {}", targets.join(", ")),
            };
            say(
                &format!("exclusion spec.crs.exclusions[{i}]"),
                format!("rules {} {unseen}", selections(&exclusion.rules)),
            );
        }
    }
    if !rules.detect_only.is_empty() {
        say("mode", format!("rules {} only report", selections(&rules.detect_only)));
    }
    for kind in &rules.body_types {
        say(
            &format!("request body, {}", kind.content_types.join(", ")),
            body(kind.inspect, kind.reject_larger),
        );
    }
    say("request body", body(rules.inspect, rules.reject_larger));
    say(
        "response",
        match rules.inspect_response {
            Some(bytes) => format!("its head and {bytes} bytes of its body are inspected"),
            None => "not inspected".to_owned(),
        },
    );
    notes
}

fn body(inspect: u64, reject_larger: bool) -> String {
    match (inspect, reject_larger) {
        (0, false) => "it is not inspected and not held back".to_owned(),
        (0, true) => "it is refused with 413".to_owned(),
        (bytes, false) => format!("{bytes} bytes are inspected, the rest of a longer one passes unseen"),
        (bytes, true) => format!("{bytes} bytes are inspected, a longer one is refused with 413"),
    }
}

fn holds(exclusion: &RuleExclusion, request: &Request) -> bool {
    (exclusion.paths.is_empty() || request.paths().all(|path| first(&exclusion.paths, path).is_some()))
        && (exclusion.methods.is_empty() || exclusion.methods.contains(&request.method))
}

fn selections(selections: &[RuleSelection]) -> String {
    let texts = selections.iter().flat_map(|selection| match selection {
        RuleSelection::Ids(ids) => ids
            .iter()
            .map(|(from, to)| match from == to {
                true => from.to_string(),
                false => format!("{from}-{to}"),
            })
            .collect(),
        RuleSelection::Tag(tag) => vec![format!("tagged {tag}")],
    });
    texts.collect::<Vec<_>>().join(", ")
}
