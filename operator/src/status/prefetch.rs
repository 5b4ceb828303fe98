//! How far all nodes together are with what they fetch by themselves, and what a status says of it.
//!
//! Pure.

use breakwater_crds::{PrefetchNodes, PrefetchStatus};
use breakwater_snapshot::PrefetchProgress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::judge::{Draft, number};

/// The condition.
pub const CONDITION: &str = "Prefetched";
/// Its reason when something could not be fetched.
pub const FAILED: &str = "Failed";

/// What nodes say of one list, summed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefetchCount {
    /// How many nodes should walk through it.
    pub desired: usize,
    /// How many have, at least once.
    pub done: usize,
    /// Whether a node is at it.
    pub running: bool,
    /// Requests, as [`PrefetchProgress`] has them, over all nodes.
    pub urls: usize,
    /// Those that brought something.
    pub fetched: usize,
    /// Those for which something was there.
    pub fresh: usize,
    /// Those that left nothing of use.
    pub failed: usize,
    /// When the last node was done, Unix seconds.
    pub completed: Option<u64>,
    /// When the first node tries again what failed, Unix seconds.
    pub retry: Option<u64>,
    /// How many nodes had failures.
    pub failing: usize,
    /// The first few failures, with their nodes.
    pub reasons: Vec<(String, String)>,
}

impl PrefetchCount {
    /// Adds what one node says.
    pub fn add(&mut self, node: &str, progress: &PrefetchProgress) {
        self.done += usize::from(progress.completed.is_some());
        self.running |= progress.running;
        self.urls = self.urls.saturating_add(progress.urls as usize);
        self.fetched = self.fetched.saturating_add(progress.fetched as usize);
        self.fresh = self.fresh.saturating_add(progress.fresh as usize);
        self.failed = self.failed.saturating_add(progress.failed as usize);
        self.completed = self.completed.max(progress.completed);
        self.retry = [self.retry, progress.retry].into_iter().flatten().min();
        self.failing += usize::from(!progress.failures.is_empty());
        for failure in &progress.failures {
            // Nodes mostly fail alike: each text once.
            let known = self.reasons.iter().any(|(_, reason)| reason == failure);
            if !known && self.reasons.len() < PrefetchProgress::REASONS {
                self.reasons.push((node.to_owned(), failure.clone()));
            }
        }
    }

    fn is_done(&self) -> bool {
        self.desired > 0 && self.done >= self.desired
    }
}

/// What a status says.
pub(super) fn status(count: &PrefetchCount, before: Option<&PrefetchStatus>) -> PrefetchStatus {
    let completed = count.completed.filter(|_| count.is_done());
    let time = |unix| Timestamp::from_second(i64::try_from(unix).ok()?).ok().map(Time);
    PrefetchStatus {
        nodes: PrefetchNodes {
            desired: number(count.desired),
            done: number(count.done),
        },
        urls: number(count.urls),
        fetched: number(count.fetched),
        fresh: number(count.fresh),
        failed: number(count.failed),
        last_completion_time: completed
            .and_then(time)
            .or_else(|| before?.last_completion_time.clone()),
        next_retry_time: count.retry.and_then(time),
    }
}

/// The condition `Prefetched`. A node that walks through its list once more has it still.
pub(super) fn condition(count: &PrefetchCount) -> Draft {
    let PrefetchCount {
        desired, done, failing, ..
    } = *count;
    let (status, reason, message) = if desired == 0 {
        (false, "NoNodes", "no node is connected".to_owned())
    } else if !count.is_done() {
        let message = format!(
            "{done} of {desired} nodes have walked through the list{}",
            failures(count)
        );
        (false, "InProgress", message)
    } else if failing > 0 {
        let message = format!(
            "{failing} of {desired} nodes could not fetch everything{}; what failed is tried again",
            failures(count)
        );
        (false, FAILED, message)
    } else {
        let message = format!("every node has walked through the list ({done} of {desired})");
        (true, "Prefetched", message)
    };
    Draft {
        kind: CONDITION,
        status,
        reason,
        message,
    }
}

fn failures(count: &PrefetchCount) -> String {
    let each = count.reasons.iter().map(|(node, reason)| format!("{node}: {reason}"));
    match count.reasons.as_slice() {
        [] => String::new(),
        _ => format!(", among them {}", each.collect::<Vec<_>>().join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakwater_snapshot::{Kind, ObjectId};

    fn said(fetched: u32, failed: u32, completed: Option<u64>, failures: &[&str]) -> PrefetchProgress {
        PrefetchProgress {
            id: ObjectId::new(Kind::EdgeCache, "d", "shop"),
            generation: 1,
            running: completed.is_none(),
            urls: 10,
            fetched,
            fresh: 1,
            failed,
            completed,
            failures: failures.iter().map(|text| (*text).to_owned()).collect(),
            retry: completed.filter(|_| failed > 0).map(|completed| completed + 30),
        }
    }

    fn count(desired: usize, said: &[PrefetchProgress]) -> PrefetchCount {
        let mut count = PrefetchCount {
            desired,
            ..PrefetchCount::default()
        };
        for (n, progress) in said.iter().enumerate() {
            count.add(&format!("n{n}"), progress);
        }
        count
    }

    #[test]
    fn the_condition_says_how_far_the_nodes_are() {
        let done = said(9, 0, Some(7), &[]);
        let half = said(4, 1, None, &["/a: the answer is 404"]);
        let failed = said(8, 1, Some(8), &["/a: the answer is 404"]);
        for (counted, reason, message) in [
            (count(0, &[]), "NoNodes", "no node is connected"),
            (count(2, &[]), "InProgress", "0 of 2 nodes have walked through the list"),
            (
                count(2, &[done.clone(), half]),
                "InProgress",
                "1 of 2 nodes have walked through the list, among them n1: /a: the answer is 404",
            ),
            (
                count(3, &[failed.clone(), failed, done.clone()]),
                "Failed",
                "2 of 3 nodes could not fetch everything, among them n0: /a: the answer is 404; what failed is tried again",
            ),
            (
                count(2, &[done.clone(), done]),
                "Prefetched",
                "every node has walked through the list (2 of 2)",
            ),
        ] {
            let draft = condition(&counted);
            assert_eq!((draft.reason, draft.message.as_str()), (reason, message));
            assert_eq!(draft.status, reason == "Prefetched");
        }
    }

    #[test]
    fn counts_are_summed_and_completion_is_the_last_nodes() {
        let both = count(2, &[said(9, 0, Some(7), &[]), said(8, 1, Some(9), &[])]);
        let written = status(&both, None);
        assert_eq!(
            (written.urls, written.fetched, written.fresh, written.failed),
            (20, 17, 2, 1)
        );
        assert_eq!((written.nodes.desired, written.nodes.done), (2, 2));
        assert_eq!(written.last_completion_time.clone().unwrap().0.as_second(), 9);
        assert_eq!(written.next_retry_time.clone().unwrap().0.as_second(), 39);
        let one = count(2, &[said(9, 0, Some(11), &[]), said(0, 0, None, &[])]);
        assert_eq!(
            status(&one, Some(&written)).last_completion_time,
            written.last_completion_time
        );
        assert_eq!(status(&one, Some(&written)).next_retry_time, None);
        let several = count(2, &[said(8, 1, Some(50), &[]), said(8, 1, Some(20), &[])]);
        assert_eq!(status(&several, None).next_retry_time.unwrap().0.as_second(), 50);
    }
}
