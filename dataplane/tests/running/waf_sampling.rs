//! Rules that do not look at everything: a share of requests, some groups.

use breakwater_snapshot::unit::{Limit, RequestRate, RuleGroup};

use crate::support::{Origin, Plane, answer, limit};
use crate::waf_rules::{ATTACK, FORM, SECRET, get, plane, policy, post, protected};

const UNSAMPLED: &str = "breakwater_waf_unsampled_requests_total{policy=\"WafPolicy/default/policy\"}";

#[tokio::test]
async fn a_request_that_is_passed_over_is_seen_by_no_rule_and_counted_and_limits_hold_all_the_same() {
    let (origin, plane) = plane(ATTACK, |policy, rules| {
        rules.sampled_percent = Some(0);
        policy.limits = vec![Limit {
            requests: Some(RequestRate {
                count: 2,
                per_ms: 3_600_000,
                burst: None,
            }),
            ..limit("few")
        }];
    })
    .await;
    let mut client = plane.client().await;
    assert_eq!(get(&mut client, "/?q=attack").await, 200);
    assert_eq!(
        post(&mut client, "/", FORM, b"q=attack").await,
        (200, "q=attack".to_owned())
    );
    assert_eq!(get(&mut client, "/?q=attack").await, 429);
    assert_eq!(origin.count(), 2);
    plane.metric_reaches(UNSAMPLED, 2.0).await;
}

#[tokio::test]
async fn of_requests_that_are_sampled_some_are_judged_and_some_are_not() {
    let (_origin, plane) = plane(ATTACK, |_, rules| rules.sampled_percent = Some(50)).await;
    let mut client = plane.client().await;
    let mut seen = [0, 0];
    // That 200 draws come out alike happens once in 2^199 runs.
    for _ in 0..200 {
        match get(&mut client, "/?q=attack").await {
            403 => seen[0] += 1,
            200 => seen[1] += 1,
            status => panic!("{status}"),
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    plane.metric_reaches(UNSAMPLED, f64::from(seen[1])).await;
}

#[tokio::test]
async fn with_a_sample_of_all_requests_none_is_passed_over() {
    let (origin, plane) = plane(ATTACK, |_, rules| rules.sampled_percent = Some(100)).await;
    let mut client = plane.client().await;
    for _ in 0..200 {
        assert_eq!(get(&mut client, "/?q=attack").await, 403);
    }
    assert_eq!((origin.count(), plane.metric(UNSAMPLED).await), (0, 0.0));
}

#[tokio::test]
async fn the_response_to_a_request_that_is_passed_over_is_not_judged() {
    let origin = Origin::fixed(answer(200, "Content-Type: text/html\r\n", "a secret")).await;
    let plane = Plane::start().await;
    let policy = policy(SECRET, |_, rules| {
        rules.inspect_response = Some(4096);
        rules.sampled_percent = Some(0);
    });
    plane.apply(protected(&origin, policy)).await;
    let mut client = plane.client().await;
    assert_eq!(get(&mut client, "/a").await, 200);
    assert_eq!(post(&mut client, "/a", FORM, b"x=1").await.0, 200);
    // Once for each request, and not again for its response.
    plane.metric_reaches(UNSAMPLED, 2.0).await;
}

#[tokio::test]
async fn rules_of_a_disabled_group_do_not_run_and_others_do() {
    let sqli = ATTACK.replace("id:1001", "id:942100");
    let xss = ATTACK.replace("id:1001", "id:941100").replace("attack", "script");
    let (_origin, plane) = plane(&format!("{sqli}\n{xss}"), |_, rules| {
        rules.disabled_groups = vec![RuleGroup {
            name: "SQLi".to_owned(),
            ids: vec![(942_000, 942_999)],
        }];
    })
    .await;
    let mut client = plane.client().await;
    assert_eq!(get(&mut client, "/?q=attack").await, 200);
    assert_eq!(get(&mut client, "/?q=script").await, 403);
}
