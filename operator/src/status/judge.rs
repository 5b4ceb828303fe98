//! From a verdict and a count to an object's status.
//!
//! Pure. Invariant: a condition's `lastTransitionTime` changes only with its `status`; a purge that is complete is
//! never judged again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use breakwater_compile::purge_record::{self, Published};
use breakwater_compile::{Judgement, Verdict};
use breakwater_crds::{CachePurgeStatus, EdgeCacheStatus, NodesStatus, PurgeNodes, ResourceStatus, WafPolicyStatus};

use super::crs::{self, Versions};
use super::fleet::Count;
use super::prefetch::{self, PrefetchCount};

/// Longest message of a condition, bytes; the API allows 32 KiB.
const LONGEST_MESSAGE: usize = 4096;

/// The status of an EdgeCache whose purges are `purges`; `prefetched` is looked at if it has a list.
pub fn edge_cache(
    verdict: &Verdict,
    count: &Count,
    prefetched: &PrefetchCount,
    purges: &[Published],
    before: &EdgeCacheStatus,
    now: Timestamp,
) -> EdgeCacheStatus {
    let more = verdict.prefetch.then(|| prefetch::condition(prefetched));
    EdgeCacheStatus {
        resource: with(verdict, count, None, more, &before.resource, now),
        prefetch: verdict
            .prefetch
            .then(|| prefetch::status(prefetched, before.prefetch.as_ref())),
        purges: purge_record::record(&before.purges, purges),
    }
}

/// The status of a WafPolicy, where nodes have the Core Rule Set in these versions.
pub fn waf_policy(
    verdict: &Verdict,
    count: &Count,
    versions: &Versions,
    before: &WafPolicyStatus,
    now: Timestamp,
) -> WafPolicyStatus {
    let note = verdict.crs.then(|| crs::differences(versions)).flatten();
    // A replica that just began to lead has heard of no node yet: that is no news of their rules.
    let version = crs::summary(versions).or_else(|| before.crs_version.clone());
    WafPolicyStatus {
        resource: with(verdict, count, note, None, &before.resource, now),
        crs_version: version.filter(|_| verdict.crs),
    }
}

/// The status of a WsRoute.
pub fn resource(verdict: &Verdict, count: &Count, before: &ResourceStatus, now: Timestamp) -> ResourceStatus {
    with(verdict, count, None, None, before, now)
}

/// `note`: what the condition Programmed says besides.
fn with(
    verdict: &Verdict,
    count: &Count,
    note: Option<String>,
    more: Option<Draft>,
    before: &ResourceStatus,
    now: Timestamp,
) -> ResourceStatus {
    let mut conditions = vec![judged("Accepted", &verdict.accepted)];
    conditions.extend(verdict.resolved_refs.as_ref().map(|refs| judged("ResolvedRefs", refs)));
    let mut programmed = programmed(verdict, count);
    if let Some(note) = note {
        programmed.message = format!("{}; {note}", programmed.message);
    }
    conditions.push(programmed);
    conditions.extend(more);
    let valid = verdict.accepted.status;
    let running = if valid { count.programmed } else { 0 };
    let rejected = if valid { count.rejected } else { 0 };
    ResourceStatus {
        observed_generation: Some(verdict.generation),
        conditions: finish(conditions, &before.conditions, verdict.generation, now),
        nodes: Some(NodesStatus {
            summary: format!("{running}/{}", count.desired),
            desired: number(count.desired),
            programmed: number(running),
            rejected: number(rejected),
        }),
    }
}

/// The status of a CachePurge; none when it is complete and so stays as it is. `recorded`: nodes will hear of it when its
/// object is gone, too.
pub fn purge(
    verdict: &Verdict,
    count: &Count,
    recorded: bool,
    before: &CachePurgeStatus,
    now: Timestamp,
) -> Option<CachePurgeStatus> {
    if is_complete(before) {
        return None;
    }
    let mut conditions = vec![judged("Accepted", &verdict.accepted)];
    conditions.extend(verdict.resolved_refs.as_ref().map(|refs| judged("ResolvedRefs", refs)));
    conditions.push(complete(verdict, count, recorded));
    let done = if verdict.accepted.status { count.programmed } else { 0 };
    Some(CachePurgeStatus {
        observed_generation: Some(verdict.generation),
        conditions: finish(conditions, &before.conditions, verdict.generation, now),
        nodes: Some(PurgeNodes {
            desired: number(count.desired),
            done: number(done),
        }),
    })
}

/// Whether a purge was carried out by every node.
pub fn is_complete(status: &CachePurgeStatus) -> bool {
    is_true(&status.conditions, "Complete")
}

/// Whether a condition is there and `True`.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

/// A condition without its time.
pub(super) struct Draft {
    pub(super) kind: &'static str,
    pub(super) status: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

fn judged(kind: &'static str, judgement: &Judgement) -> Draft {
    Draft {
        kind,
        status: judgement.status,
        reason: judgement.reason.as_str(),
        message: judgement.message.clone(),
    }
}

fn programmed(verdict: &Verdict, count: &Count) -> Draft {
    let Count {
        desired,
        programmed,
        rejected,
        ..
    } = *count;
    let generation = verdict.generation;
    let (status, reason, message) = if !verdict.accepted.status {
        let message = "the object is not accepted; nodes that have an earlier good version of it keep that one";
        (false, "Invalid", message.to_owned())
    } else if desired == 0 {
        (false, "NoNodes", "no node is connected".to_owned())
    } else if rejected > 0 {
        let message = format!(
            "{rejected} of {desired} nodes cannot apply it and keep the last version that worked: {}",
            reasons(count)
        );
        (false, "Rejected", message)
    } else if programmed >= desired {
        (
            true,
            "Programmed",
            format!("every node runs generation {generation} ({programmed} of {desired})"),
        )
    } else if programmed > 0 {
        let message = format!("{programmed} of {desired} nodes run generation {generation}");
        (false, "PartiallyProgrammed", message)
    } else {
        (
            false,
            "Pending",
            format!("no node of {desired} runs generation {generation} yet"),
        )
    };
    Draft {
        kind: "Programmed",
        status,
        reason,
        message,
    }
}

fn complete(verdict: &Verdict, count: &Count, recorded: bool) -> Draft {
    let Count {
        desired,
        programmed: done,
        rejected,
        ..
    } = *count;
    let (status, reason, message) = if !verdict.accepted.status {
        (
            false,
            "Invalid",
            "the purge is not accepted and is not carried out".to_owned(),
        )
    } else if desired == 0 {
        (false, "NoNodes", "no node is connected".to_owned())
    } else if rejected > 0 {
        (
            false,
            "Rejected",
            format!("{rejected} of {desired} nodes cannot carry it out: {}", reasons(count)),
        )
    } else if done >= desired && !recorded {
        let message = "every node has carried it out; the status of its EdgeCache does not record it yet";
        (false, "InProgress", message.to_owned())
    } else if done >= desired {
        (
            true,
            "Complete",
            format!("every node has carried it out ({done} of {desired})"),
        )
    } else {
        (
            false,
            "InProgress",
            format!("{done} of {desired} nodes have carried it out"),
        )
    };
    Draft {
        kind: "Complete",
        status,
        reason,
        message,
    }
}

fn reasons(count: &Count) -> String {
    let each = count.reasons.iter().map(|(node, message)| format!("{node}: {message}"));
    let more = count.rejected.saturating_sub(count.reasons.len());
    let more = (more > 0).then(|| format!("and {more} more"));
    each.chain(more).collect::<Vec<_>>().join("; ")
}

fn finish(drafts: Vec<Draft>, before: &[Condition], generation: i64, now: Timestamp) -> Vec<Condition> {
    let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
    drafts
        .into_iter()
        .map(|draft| {
            let status = if draft.status { "True" } else { "False" };
            let same = before.iter().find(|b| b.type_ == draft.kind && b.status == status);
            Condition {
                type_: draft.kind.to_owned(),
                status: status.to_owned(),
                reason: draft.reason.to_owned(),
                message: cut(draft.message),
                observed_generation: Some(generation),
                last_transition_time: same.map_or(Time(second), |same| same.last_transition_time.clone()),
            }
        })
        .collect()
}

/// Cuts a message to what a status should carry.
fn cut(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        let end = (0..=LONGEST_MESSAGE).rev().find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or(0));
        message.push('…');
    }
    message
}

pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakwater_compile::Reason;
    use breakwater_snapshot::{Kind, ObjectId};

    fn verdict(kind: Kind, accepted: bool) -> Verdict {
        Verdict {
            id: ObjectId::new(kind, "default", "shop"),
            uid: None,
            generation: 2,
            accepted: Judgement {
                status: accepted,
                reason: if accepted { Reason::Accepted } else { Reason::Invalid },
                message: "because".to_owned(),
            },
            resolved_refs: None,
            secrets: Vec::new(),
            prefetch: false,
            crs: false,
            problems: Vec::new(),
        }
    }

    fn count(programmed: usize, rejected: usize, desired: usize) -> Count {
        Count {
            desired,
            programmed,
            rejected,
            reasons: (0..rejected.min(3))
                .map(|n| (format!("n{n}"), "no".to_owned()))
                .collect(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn find<'a>(conditions: &'a [Condition], kind: &str) -> &'a Condition {
        conditions.iter().find(|condition| condition.type_ == kind).unwrap()
    }

    #[test]
    fn programmed_says_how_far_the_nodes_are() {
        for (accepted, counted, status, reason, summary) in [
            (true, count(3, 0, 3), "True", "Programmed", "3/3"),
            (true, count(2, 0, 3), "False", "PartiallyProgrammed", "2/3"),
            (true, count(0, 0, 3), "False", "Pending", "0/3"),
            (true, count(2, 1, 3), "False", "Rejected", "2/3"),
            (true, count(0, 3, 3), "False", "Rejected", "0/3"),
            (true, count(0, 0, 0), "False", "NoNodes", "0/0"),
            (false, count(3, 0, 3), "False", "Invalid", "0/3"),
        ] {
            let verdict = verdict(Kind::EdgeCache, accepted);
            let judged = resource(&verdict, &counted, &ResourceStatus::default(), at(1));
            let condition = find(&judged.conditions, "Programmed");
            assert_eq!((condition.status.as_str(), condition.reason.as_str()), (status, reason));
            assert_eq!(judged.nodes.unwrap().summary, summary);
            assert_eq!(judged.observed_generation, Some(2));
        }
    }

    #[test]
    fn a_rejection_names_the_first_nodes_and_counts_the_rest() {
        let judged = resource(
            &verdict(Kind::WafPolicy, true),
            &count(0, 5, 5),
            &ResourceStatus::default(),
            at(1),
        );
        let message = &find(&judged.conditions, "Programmed").message;
        assert!(message.ends_with("n0: no; n1: no; n2: no; and 2 more"), "{message}");
    }

    #[test]
    fn the_transition_time_changes_only_with_the_status() {
        let verdict = verdict(Kind::EdgeCache, true);
        let first = resource(&verdict, &count(0, 0, 3), &ResourceStatus::default(), at(10));
        let second = resource(&verdict, &count(1, 0, 3), &first, at(20));
        assert_eq!(find(&second.conditions, "Programmed").last_transition_time.0, at(10));
        let third = resource(&verdict, &count(3, 0, 3), &second, at(30));
        assert_eq!(find(&third.conditions, "Programmed").last_transition_time.0, at(30));
        assert_eq!(find(&third.conditions, "Accepted").last_transition_time.0, at(10));
    }

    #[test]
    fn an_unchanged_status_is_equal_whenever_it_is_judged() {
        let verdict = verdict(Kind::EdgeCache, true);
        let first = resource(&verdict, &count(3, 0, 3), &ResourceStatus::default(), at(10));
        assert_eq!(resource(&verdict, &count(3, 0, 3), &first, at(99)), first);
    }

    #[test]
    fn prefetching_is_told_only_of_an_object_with_a_list() {
        let counted = PrefetchCount {
            desired: 2,
            done: 1,
            urls: 4,
            ..PrefetchCount::default()
        };
        let mut verdict = verdict(Kind::EdgeCache, true);
        let none = EdgeCacheStatus::default();
        let without = edge_cache(&verdict, &count(2, 0, 2), &counted, &[], &none, at(1));
        assert_eq!((without.resource.conditions.len(), without.prefetch), (2, None));
        verdict.prefetch = true;
        let with = edge_cache(&verdict, &count(2, 0, 2), &counted, &[], &none, at(1));
        assert_eq!(find(&with.resource.conditions, "Programmed").status, "True");
        assert_eq!(find(&with.resource.conditions, "Prefetched").reason, "InProgress");
        assert_eq!(with.prefetch.as_ref().map(|prefetch| prefetch.urls), Some(4));
        // As the API server has it.
        let text = serde_json::to_value(&with).unwrap();
        assert_eq!(text["nodes"]["summary"], "2/2");
        assert_eq!(serde_json::from_value::<EdgeCacheStatus>(text).unwrap(), with);
    }

    #[test]
    fn the_version_of_the_core_rule_set_is_told_of_a_policy_that_uses_it() {
        let counted = |versions: &[(&str, usize)]| -> Versions {
            let versions = versions.iter();
            versions
                .map(|(version, nodes)| ((*version).to_owned(), *nodes))
                .collect()
        };
        let mut verdict = verdict(Kind::WafPolicy, true);
        let none = WafPolicyStatus::default();
        let one = counted(&[("OWASP_CRS/4.28.0", 3)]);
        let without = waf_policy(&verdict, &count(3, 0, 3), &one, &none, at(1));
        assert_eq!(without.crs_version, None);
        verdict.crs = true;
        let with = waf_policy(&verdict, &count(3, 0, 3), &one, &none, at(1));
        assert_eq!(with.crs_version.as_deref(), Some("4.28.0"));
        assert_eq!(with.resource, without.resource);
        // A new leader that has heard of no node.
        let later = waf_policy(&verdict, &count(0, 0, 3), &Versions::new(), &with, at(2));
        assert_eq!(later.crs_version.as_deref(), Some("4.28.0"));
        let two = counted(&[("OWASP_CRS/3.3.7", 1), ("OWASP_CRS/4.28.0", 2)]);
        let mixed = waf_policy(&verdict, &count(3, 0, 3), &two, &with, at(3));
        assert_eq!(mixed.crs_version.as_deref(), Some("3.3.7, 4.28.0"));
        let programmed = find(&mixed.resource.conditions, "Programmed");
        assert_eq!(programmed.status, "True");
        assert!(
            programmed.message.ends_with("1 node has 3.3.7, 2 nodes have 4.28.0"),
            "{}",
            programmed.message
        );
        // As the API server has it.
        let text = serde_json::to_value(&mixed).unwrap();
        assert_eq!(text["nodes"]["summary"], "3/3");
        assert_eq!(serde_json::from_value::<WafPolicyStatus>(text).unwrap(), mixed);
    }

    #[test]
    fn a_purge_completes_once_and_stays_complete() {
        let verdict = verdict(Kind::CachePurge, true);
        let none = CachePurgeStatus::default();
        for (counted, reason) in [
            (count(0, 0, 0), "NoNodes"),
            (count(2, 0, 3), "InProgress"),
            (count(2, 1, 3), "Rejected"),
        ] {
            let judged = purge(&verdict, &counted, true, &none, at(1)).unwrap();
            assert_eq!(find(&judged.conditions, "Complete").reason, reason);
            assert!(!is_complete(&judged));
        }
        let unrecorded = purge(&verdict, &count(3, 0, 3), false, &none, at(1)).unwrap();
        assert_eq!(find(&unrecorded.conditions, "Complete").reason, "InProgress");
        let done = purge(&verdict, &count(3, 0, 3), true, &none, at(1)).unwrap();
        assert!(is_complete(&done));
        assert_eq!(done.nodes, Some(PurgeNodes { desired: 3, done: 3 }));
        assert_eq!(purge(&verdict, &count(3, 0, 4), true, &done, at(2)), None);
    }
}
