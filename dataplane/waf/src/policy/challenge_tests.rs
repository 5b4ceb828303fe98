//! Challenges: whom a policy asks.

use super::tests::{build, detected, ip, rate};
use super::*;
use crate::audit::Action;
use crate::uri::{Kind, Pattern};

const WORK: Work = Work { bits: 16, lasts_s: 60 };

/// A client that says this of its work.
#[derive(Debug)]
struct Says(Option<bool>);

impl Clearance for Says {
    fn proves(&self, policy: &str, work: Work) -> Option<bool> {
        assert_eq!((policy, work), ("edge/shop", WORK));
        self.0
    }
}

fn asking(change: impl FnOnce(&mut Config)) -> Policy {
    build(|config| {
        config.challenge = Some(Challenge {
            paths: vec![Pattern::new(Kind::Prefix, "/app")],
            work: WORK,
        });
        change(config);
    })
    .unwrap()
}

fn at(path: &'static str) -> RequestView<'static> {
    RequestView::new(ip("192.0.2.1"), "GET", "h", path, None)
}

fn decided(verdict: &Verdict) -> Option<(Action, Reason, u16, Option<Work>)> {
    match &verdict.outcome {
        Outcome::Pass => None,
        Outcome::Block(finding) => Some((finding.action(), finding.reason, finding.status, finding.work)),
    }
}

#[test]
fn who_has_not_done_the_work_is_asked_on_its_paths_only() {
    let policy = asking(|_| {});
    let asked = Some((Action::Challenge, Reason::Challenge, 403, Some(WORK)));
    for (said, expected) in [(None, asked), (Some(false), asked), (Some(true), None)] {
        let says = Says(said);
        let request = at("/app/x").with_clearance(&says);
        assert_eq!(decided(&policy.evaluate(&request, 0)), expected, "{said:?}");
    }
    assert_eq!(
        decided(&policy.evaluate(&at("/app"), 0)),
        asked,
        "nobody knows of its work"
    );
    assert_eq!(decided(&policy.evaluate(&at("/apps"), 0)), None);
    let others = ["/app".to_owned()];
    let second = policy.evaluate(&at("/app;x").with_other_paths(&others), 0);
    assert_eq!(decided(&second), asked);
}

#[test]
fn who_is_on_the_allow_list_is_not_asked_and_who_is_denied_is_refused() {
    let allows = asking(|config| config.addresses.allow = vec!["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(decided(&allows.evaluate(&at("/app"), 0)), None);
    let denies = asking(|config| config.addresses.deny = vec!["192.0.2.0/24".parse().unwrap()]);
    let verdict = denies.evaluate(&at("/app"), 0);
    assert_eq!(decided(&verdict), Some((Action::Block, Reason::Address, 403, None)));
}

#[test]
fn a_policy_that_detects_reports_and_asks_nobody() {
    let policy = asking(|config| config.mode = Mode::DetectOnly);
    let verdict = policy.evaluate(&at("/app"), 0);
    assert_eq!((decided(&verdict), detected(&verdict)), (None, vec![Reason::Challenge]));
    assert_eq!(verdict.detections[0].action(), Action::Detect);
}

#[test]
fn a_limit_that_challenges_asks_who_exceeds_it_and_passes_who_did_the_work() {
    let policy = asking(|config| {
        config.limits = vec![LimitConfig {
            challenges: true,
            ..rate("calm", 1, None)
        }];
    });
    let (done, not) = (Says(Some(true)), Says(Some(false)));
    assert_eq!(decided(&policy.evaluate(&at("/"), 0)), None);
    let over = Some((Action::Challenge, Reason::Limit, 429, Some(WORK)));
    assert_eq!(decided(&policy.evaluate(&at("/").with_clearance(&not), 0)), over);
    assert_eq!(decided(&policy.evaluate(&at("/").with_clearance(&done), 0)), None);
    let refuses = asking(|config| config.limits = vec![rate("hard", 1, None)]);
    let _ = refuses.evaluate(&at("/"), 0);
    let verdict = refuses.evaluate(&at("/").with_clearance(&done), 0);
    assert_eq!(decided(&verdict), Some((Action::Block, Reason::Limit, 429, None)));
}
