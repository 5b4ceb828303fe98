//! Events for the authors of objects: faults that are new, and warnings of the compile step.
//!
//! Invariant: each is told once, however often its object is judged. A fault is known by the condition that is there. A
//! warning changes no condition, so what was told is remembered here, by object; a replica that begins to lead takes it
//! that the leader before has told the warnings of every generation whose status was written.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder};

use breakwater_compile::{Severity, Verdict};
use breakwater_snapshot::ObjectId;

use super::prefetch;

/// Longest note of an event.
const LONGEST_NOTE: usize = 1000;

/// The reason of an event about a warning.
const WARNED: &str = "Warned";

/// What was told of warnings.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    told: HashMap<ObjectId, Told>,
}

#[derive(Debug)]
struct Told {
    uid: String,
    warnings: Vec<String>,
}

impl Warnings {
    /// The warnings of `verdict` that were not told yet, as one note. `observed` is the generation that the object's status
    /// speaks of.
    pub(super) fn news(&mut self, verdict: &Verdict, uid: &str, observed: Option<i64>) -> Option<String> {
        let warnings: Vec<_> = verdict
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Warning)
            .map(|problem| match problem.field.as_str() {
                "" => problem.message.clone(),
                field => format!("{field}: {}", problem.message),
            })
            .collect();
        if warnings.is_empty() {
            self.told.remove(&verdict.id);
            return None;
        }
        let known = self.told.get(&verdict.id).filter(|told| told.uid == uid);
        let news: Vec<_> = match known {
            Some(told) => warnings
                .iter()
                .filter(|warning| !told.warnings.contains(warning))
                .map(String::as_str)
                .collect(),
            None if observed == Some(verdict.generation) => Vec::new(),
            None => warnings.iter().map(String::as_str).collect(),
        };
        let note = (!news.is_empty()).then(|| news.join("; "));
        self.told.insert(
            verdict.id.clone(),
            Told {
                uid: uid.to_owned(),
                warnings,
            },
        );
        note
    }

    /// Forgets objects that are gone.
    pub(super) fn retain(&mut self, keep: impl Fn(&ObjectId) -> bool) {
        self.told.retain(|id, _| keep(id));
    }
}

/// The conditions among `after` that tell the author of a fault which `before` did not tell.
pub(super) fn new_faults<'a>(before: &'a [Condition], after: &'a [Condition]) -> impl Iterator<Item = &'a Condition> {
    let faults = after.iter().filter(|condition| match condition.type_.as_str() {
        "Accepted" | "ResolvedRefs" => condition.status == "False",
        prefetch::CONDITION => condition.reason == prefetch::FAILED,
        _ => false,
    });
    faults.filter(|fault| {
        !before.iter().any(|b| {
            b.type_ == fault.type_
                && b.status == fault.status
                && b.reason == fault.reason
                // What could not be fetched changes from time to time; that something could not is told once.
                && (b.message == fault.message || b.type_ == prefetch::CONDITION)
        })
    })
}

/// Tells of a fault.
pub(super) async fn tell_fault(recorder: &Recorder, about: &ObjectReference, fault: &Condition) {
    let action = match fault.type_.as_str() {
        prefetch::CONDITION => "Prefetch",
        _ => "Compile",
    };
    tell(recorder, about, &fault.reason, &fault.message, action).await;
}

/// Tells of warnings.
pub(super) async fn tell_warnings(recorder: &Recorder, about: &ObjectReference, note: &str) {
    tell(recorder, about, WARNED, note, "Compile").await;
}

async fn tell(recorder: &Recorder, about: &ObjectReference, reason: &str, note: &str, action: &str) {
    let event = Event {
        type_: EventType::Warning,
        reason: reason.to_owned(),
        note: Some(note.chars().take(LONGEST_NOTE).collect()),
        action: action.to_owned(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, about).await {
        let name = about.name.as_deref().unwrap_or_default();
        tracing::warn!(object = name, %error, "an event could not be written");
    }
}

#[cfg(test)]
mod tests {
    use breakwater_compile::{Judgement, Problem, Reason};
    use breakwater_snapshot::Kind;

    use super::*;

    fn verdict(generation: i64, warnings: &[&str]) -> Verdict {
        let problem = |severity, message: &str| Problem {
            severity,
            field: "spec.origin".to_owned(),
            message: message.to_owned(),
        };
        let mut problems = vec![problem(Severity::Error, "it is wrong")];
        problems.extend(warnings.iter().map(|message| problem(Severity::Warning, message)));
        Verdict {
            id: ObjectId::new(Kind::EdgeCache, "default", "shop"),
            uid: None,
            generation,
            accepted: Judgement {
                status: true,
                reason: Reason::Accepted,
                message: String::new(),
            },
            resolved_refs: None,
            secrets: Vec::new(),
            prefetch: false,
            crs: false,
            problems,
        }
    }

    #[test]
    fn a_warning_is_told_once_however_often_its_object_is_judged() {
        let mut warnings = Warnings::default();
        let told = warnings.news(&verdict(1, &["a", "b"]), "u", None);
        assert_eq!(told.as_deref(), Some("spec.origin: a; spec.origin: b"));
        for generation in [1, 2] {
            assert_eq!(warnings.news(&verdict(generation, &["a", "b"]), "u", Some(1)), None);
        }
    }

    #[test]
    fn only_what_is_new_is_told_and_what_comes_back_is_told_again() {
        let mut warnings = Warnings::default();
        warnings.news(&verdict(1, &["a"]), "u", None);
        let told = warnings.news(&verdict(1, &["a", "b"]), "u", Some(1));
        assert_eq!(told.as_deref(), Some("spec.origin: b"), "without a new generation too");
        assert_eq!(warnings.news(&verdict(2, &[]), "u", Some(1)), None);
        let told = warnings.news(&verdict(3, &["a"]), "u", Some(2));
        assert_eq!(told.as_deref(), Some("spec.origin: a"));
    }

    #[test]
    fn an_object_that_is_made_again_under_its_name_is_another_one() {
        let mut warnings = Warnings::default();
        warnings.news(&verdict(1, &["a"]), "u", None);
        assert!(warnings.news(&verdict(1, &["a"]), "v", None).is_some());
    }

    #[test]
    fn a_replica_that_begins_to_lead_does_not_tell_what_the_one_before_has_told() {
        let mut warnings = Warnings::default();
        assert_eq!(warnings.news(&verdict(4, &["a"]), "u", Some(4)), None);
        assert!(warnings.news(&verdict(4, &["a", "b"]), "u", Some(4)).is_some());
        assert!(Warnings::default().news(&verdict(4, &["a"]), "u", Some(3)).is_some());
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut warnings = Warnings::default();
        warnings.news(&verdict(1, &["a"]), "u", None);
        warnings.retain(|_| false);
        assert!(warnings.told.is_empty());
    }
}
