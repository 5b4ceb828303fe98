//! What a policy says, by sentence.

use std::net::IpAddr;

use super::*;
use crate::limit::ConnectionGuard;
use crate::{
    address::Fallback,
    uri::{Kind, Pattern},
};

pub(super) const CLIENT: &str = "192.0.2.1";

pub(super) fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

pub(super) fn tables() -> Arc<Tables> {
    Arc::new(Tables::new(1))
}

pub(super) fn build(change: impl FnOnce(&mut Config)) -> Result<Policy, ConfigError> {
    build_in(&tables(), change)
}

pub(super) fn build_in(tables: &Arc<Tables>, change: impl FnOnce(&mut Config)) -> Result<Policy, ConfigError> {
    let mut config = Config::new("edge/shop");
    change(&mut config);
    Policy::new(config, tables)
}

pub(super) fn view<'a>(client: &str, method: &'a str, path: &'a str) -> RequestView<'a> {
    RequestView::new(ip(client), method, "shop.example.com", path, None)
}

/// The finding that blocks, as (reason, status, detail).
pub(super) fn blocked(verdict: &Verdict) -> Option<(Reason, u16, String)> {
    match &verdict.outcome {
        Outcome::Pass => None,
        Outcome::Block(finding) => Some((finding.reason, finding.status, finding.detail.to_string())),
    }
}

pub(super) fn detected(verdict: &Verdict) -> Vec<Reason> {
    verdict.detections.iter().map(|finding| finding.reason).collect()
}

pub(super) fn rate(name: &str, count: u32, burst: Option<u32>) -> LimitConfig {
    let requests = Some(RequestRate {
        count,
        per_ms: 60_000,
        burst,
    });
    LimitConfig {
        name: name.into(),
        requests,
        ..LimitConfig::default()
    }
}

pub(super) fn connections(name: &str, most: u32) -> LimitConfig {
    LimitConfig {
        name: name.into(),
        connections: Some(most),
        ..LimitConfig::default()
    }
}

#[test]
fn an_empty_policy_passes_everything() {
    let verdict = build(|_| {}).unwrap().evaluate(&view(CLIENT, "GET", "/"), 0);
    assert_eq!((blocked(&verdict), verdict.detections.len()), (None, 0));
}

#[test]
fn a_denied_address_is_refused_with_the_policys_status() {
    let policy = build(|config| {
        config.addresses.deny = vec!["192.0.2.0/24".parse().unwrap()];
        config.block_status = 404;
    })
    .unwrap();
    let expected = Some((Reason::Address, 404, "192.0.2.0/24".into()));
    assert_eq!(blocked(&policy.evaluate(&view(CLIENT, "GET", "/"), 0)), expected);
    assert_eq!(
        blocked(&policy.evaluate(&view("::ffff:192.0.2.1", "GET", "/"), 0)),
        expected
    );
    assert_eq!(blocked(&policy.evaluate(&view("192.0.3.1", "GET", "/"), 0)), None);
}

#[test]
fn an_address_on_no_list_is_refused_by_a_default_of_deny() {
    let policy = build(|config| {
        config.addresses.allow = vec!["198.51.100.7/32".parse().unwrap()];
        config.addresses.default = Fallback::Deny;
    })
    .unwrap();
    let verdict = policy.evaluate(&view(CLIENT, "GET", "/"), 0);
    assert_eq!(blocked(&verdict), Some((Reason::Address, 403, "default".into())));
    assert_eq!(blocked(&policy.evaluate(&view("198.51.100.7", "GET", "/"), 0)), None);
}

#[test]
fn a_denied_path_is_refused_unless_an_allowed_pattern_matches_it() {
    let policy = build(|config| {
        config.uris.deny = vec![Pattern::new(Kind::Prefix, "/admin")];
        config.uris.allow = vec![Pattern::new(Kind::Exact, "/admin/health")];
    })
    .unwrap();
    let verdict = policy.evaluate(&view(CLIENT, "GET", "/admin/users"), 0);
    assert_eq!(blocked(&verdict), Some((Reason::Uri, 403, "/admin".into())));
    assert_eq!(
        blocked(&policy.evaluate(&view(CLIENT, "GET", "/admin/health"), 0)),
        None
    );
    assert_eq!(
        blocked(&policy.evaluate(&view(CLIENT, "GET", "/administrator"), 0)),
        None
    );
}

#[test]
fn a_path_is_denied_if_it_is_in_any_reading_and_allowed_in_none_but_that_one() {
    let others = |paths: &[&str]| -> Vec<String> { paths.iter().map(|path| (*path).to_owned()).collect() };
    for mode in [Mode::Enforce, Mode::DetectOnly] {
        let policy = build(|config| {
            config.mode = mode;
            config.block_status = 404;
            config.uris.deny = vec![Pattern::new(Kind::Prefix, "/admin")];
            config.uris.allow = vec![Pattern::new(Kind::Exact, "/admin/health")];
        })
        .unwrap();
        for (path, readings, denied) in [
            ("//admin/users", &["/admin/users"][..], true),
            ("/admin;x/users", &["/a", "/admin/users"], true),
            ("//admin/health", &["/admin/health"], false),
            ("/admin/health", &["/admin/other"], true),
            ("/admin/health;x", &["/admin/health"], true),
            ("/a;x", &["/a"], false),
        ] {
            let readings = others(readings);
            let verdict = policy.evaluate(&view(CLIENT, "GET", path).with_other_paths(&readings), 0);
            let found = match mode {
                Mode::Enforce => blocked(&verdict)
                    .map(|(reason, status, _)| (reason, status))
                    .into_iter()
                    .collect(),
                Mode::DetectOnly => detected(&verdict)
                    .iter()
                    .map(|reason| (*reason, 404))
                    .collect::<Vec<_>>(),
            };
            let expected: Vec<_> = denied.then_some((Reason::Uri, 404)).into_iter().collect();
            assert_eq!(found, expected, "{path}");
        }
    }
}

#[test]
fn a_policy_that_only_detects_does_not_hide_one_that_blocks_another_reading() {
    let deny = |mode| {
        let policy = build(|config| {
            config.mode = mode;
            config.uris.deny = vec![Pattern::new(Kind::Prefix, "/admin")];
        });
        Arc::new(policy.unwrap())
    };
    let policies = [deny(Mode::DetectOnly), deny(Mode::Enforce)];
    let others = ["/admin".to_owned()];
    let verdict = evaluate_all(&policies, &view(CLIENT, "GET", "//admin").with_other_paths(&others), 0);
    assert_eq!(
        (blocked(&verdict), detected(&verdict)),
        (Some((Reason::Uri, 403, "/admin".into())), vec![Reason::Uri])
    );
}

#[test]
fn an_allowed_address_still_has_path_lists_and_limits() {
    let policy = build(|config| {
        config.addresses.allow = vec!["192.0.2.1/32".parse().unwrap()];
        config.uris.deny = vec![Pattern::new(Kind::Prefix, "/admin")];
        config.limits = vec![rate("one", 1, None)];
    })
    .unwrap();
    assert!(blocked(&policy.evaluate(&view(CLIENT, "GET", "/admin"), 0)).is_some());
    assert!(blocked(&policy.evaluate(&view(CLIENT, "GET", "/"), 0)).is_none());
    assert!(blocked(&policy.evaluate(&view(CLIENT, "GET", "/"), 0)).is_some());
}

#[test]
fn a_request_over_its_limit_gets_429_and_is_told_when_to_return() {
    let policy = build(|config| config.limits = vec![rate("all", 10, Some(5))]).unwrap();
    for _ in 0..5 {
        assert_eq!(blocked(&policy.evaluate(&view(CLIENT, "GET", "/"), 100)), None);
    }
    let verdict = policy.evaluate(&view(CLIENT, "GET", "/"), 100);
    assert_eq!(blocked(&verdict), Some((Reason::Limit, 429, "all".into())));
    let Outcome::Block(finding) = verdict.outcome else {
        unreachable!()
    };
    assert_eq!((finding.retry_after, finding.detail.limit()), (Some(6), Some("all")));
    // Another client is not touched, nor is this one after six seconds.
    assert_eq!(blocked(&policy.evaluate(&view("192.0.2.2", "GET", "/"), 100)), None);
    assert_eq!(blocked(&policy.evaluate(&view(CLIENT, "GET", "/"), 6100)), None);
}

#[test]
fn without_a_burst_the_whole_count_may_come_at_once() {
    let policy = build(|config| config.limits = vec![rate("all", 10, None)]).unwrap();
    let passed = (0..20).filter(|_| blocked(&policy.evaluate(&view(CLIENT, "GET", "/"), 0)).is_none());
    assert_eq!(passed.count(), 10);
}

#[test]
fn retry_after_is_never_zero() {
    let policy = build(|config| config.limits = vec![rate("fast", 60_000, Some(1))]).unwrap();
    assert_eq!(blocked(&policy.evaluate(&view(CLIENT, "GET", "/"), 0)), None);
    let Outcome::Block(finding) = policy.evaluate(&view(CLIENT, "GET", "/"), 0).outcome else {
        panic!("over the limit")
    };
    assert_eq!(finding.retry_after, Some(1));
}

#[test]
fn a_limit_counts_only_its_paths_and_methods() {
    let policy = build(|config| {
        let mut login = rate("login", 1, None);
        login.paths = vec![Pattern::new(Kind::Exact, "/login")];
        login.methods = vec!["POST".into()];
        config.limits = vec![login];
    })
    .unwrap();
    for _ in 0..5 {
        assert_eq!(blocked(&policy.evaluate(&view(CLIENT, "GET", "/login"), 0)), None);
        assert_eq!(blocked(&policy.evaluate(&view(CLIENT, "POST", "/other"), 0)), None);
        assert_eq!(blocked(&policy.evaluate(&view(CLIENT, "post", "/login"), 0)), None);
    }
    assert_eq!(blocked(&policy.evaluate(&view(CLIENT, "POST", "/login"), 0)), None);
    assert!(blocked(&policy.evaluate(&view(CLIENT, "POST", "/login"), 0)).is_some());
}

#[test]
fn limits_of_one_policy_and_of_two_are_counted_apart() {
    let tables = tables();
    let both = build_in(&tables, |config| {
        config.limits = vec![rate("a", 1, None), rate("b", 2, None)]
    })
    .unwrap();
    let other = build_in(&tables, |config| {
        config.name = "edge/other".into();
        config.limits = vec![rate("a", 1, None)];
    })
    .unwrap();
    let request = view(CLIENT, "GET", "/");
    assert_eq!(blocked(&both.evaluate(&request, 0)), None);
    assert_eq!(blocked(&other.evaluate(&request, 0)), None);
    assert_eq!(
        blocked(&both.evaluate(&request, 0)),
        Some((Reason::Limit, 429, "a".into()))
    );
}

#[test]
fn counts_survive_a_reload_and_a_changed_rate_starts_afresh() {
    let tables = tables();
    let limited = |count| build_in(&tables, |config| config.limits = vec![rate("a", count, None)]).unwrap();
    let request = view(CLIENT, "GET", "/");
    assert_eq!(blocked(&limited(1).evaluate(&request, 0)), None);
    assert!(blocked(&limited(1).evaluate(&request, 0)).is_some());
    assert_eq!(blocked(&limited(2).evaluate(&request, 0)), None);
}

#[test]
fn detect_only_reports_all_that_enforce_would_refuse_and_passes() {
    let policy = build(|config| {
        config.mode = Mode::DetectOnly;
        config.addresses.deny = vec!["192.0.2.0/24".parse().unwrap()];
        config.uris.deny = vec![Pattern::new(Kind::Prefix, "/admin")];
        config.limits = vec![rate("one", 1, None)];
    })
    .unwrap();
    let first = policy.evaluate(&view(CLIENT, "GET", "/admin"), 0);
    assert_eq!(
        (blocked(&first), detected(&first)),
        (None, vec![Reason::Address, Reason::Uri])
    );
    let second = policy.evaluate(&view(CLIENT, "GET", "/admin"), 0);
    assert_eq!(
        (blocked(&second), detected(&second)),
        (None, vec![Reason::Address, Reason::Uri, Reason::Limit])
    );
    assert_eq!(second.detections.last().unwrap().status, 429);
}

#[test]
fn several_policies_are_asked_in_order_until_one_blocks() {
    let deny = |name: &str, mode| {
        let policy = build(|config| {
            config.name = name.into();
            config.mode = mode;
            config.uris.deny = vec![Pattern::new(Kind::Prefix, "/")];
        });
        Arc::new(policy.unwrap())
    };
    let policies = [
        deny("one", Mode::DetectOnly),
        deny("two", Mode::Enforce),
        deny("three", Mode::DetectOnly),
    ];
    let verdict = evaluate_all(&policies, &view(CLIENT, "GET", "/"), 0);
    let names: Vec<&str> = verdict
        .detections
        .iter()
        .map(|finding| finding.policy.name.as_str())
        .collect();
    assert_eq!(names, ["one"]);
    let Outcome::Block(finding) = verdict.outcome else {
        panic!("the second policy blocks")
    };
    assert_eq!(finding.policy.name, "two");
}

#[test]
fn a_policy_that_never_was_valid_refuses_everything_with_503() {
    let policy = Policy::fail_closed("edge/shop", "uris.deny[0]: unclosed group");
    let verdict = policy.evaluate(&view(CLIENT, "GET", "/"), 0);
    assert_eq!(
        blocked(&verdict),
        Some((Reason::Policy, 503, "uris.deny[0]: unclosed group".into()))
    );
    assert_eq!(policy.connection_limits().count(), 0);
    assert!(policy.admit_connection(ip(CLIENT), 0).is_ok());
}

#[test]
fn a_connection_over_its_limit_is_refused_until_another_closes() {
    let tables = tables();
    let policy = build_in(&tables, |config| config.limits = vec![connections("sockets", 2)]).unwrap();
    assert_eq!(policy.connection_limits().collect::<Vec<_>>(), [("sockets", 2)]);
    let first = policy.admit_connection(ip(CLIENT), 0).unwrap();
    let _second = policy.admit_connection(ip(CLIENT), 0).unwrap();
    let refused = policy.admit_connection(ip(CLIENT), 0).unwrap_err();
    assert_eq!(
        (refused.status, refused.reason, refused.retry_after),
        (429, Reason::Limit, None)
    );
    assert!(policy.admit_connection(ip("192.0.2.2"), 0).is_ok());
    drop(first);
    // A reload with another number goes on counting those that are open.
    let wider = build_in(&tables, |config| config.limits = vec![connections("sockets", 3)]).unwrap();
    let _third = wider.admit_connection(ip(CLIENT), 0).unwrap();
    let _fourth = wider.admit_connection(ip(CLIENT), 0).unwrap();
    assert!(wider.admit_connection(ip(CLIENT), 0).is_err());
}

#[test]
fn a_refused_connection_is_counted_by_no_limit() {
    let tables = tables();
    let policy = build_in(&tables, |config| {
        config.limits = vec![connections("wide", 9), connections("narrow", 1)]
    })
    .unwrap();
    let admitted = policy.admit_connection(ip(CLIENT), 0).unwrap();
    assert!(policy.admit_connection(ip(CLIENT), 0).is_err());
    drop(admitted);
    assert_eq!(tables.connections.clients(), 0);
}

#[test]
fn a_limit_with_paths_counts_a_connection_from_its_first_such_request() {
    let policy = build(|config| {
        let mut chat = connections("chat", 1);
        chat.paths = vec![Pattern::new(Kind::Prefix, "/chat")];
        config.limits = vec![chat];
    })
    .unwrap();
    let (mut one, mut two) = (ConnectionGuard::new(), ConnectionGuard::new());
    let (chat, other) = (view(CLIENT, "GET", "/chat/1"), view(CLIENT, "GET", "/"));
    assert!(policy.admit_connection(ip(CLIENT), 0).unwrap().guard.is_empty());
    for _ in 0..3 {
        assert_eq!(blocked(&policy.admit_request(&chat, &mut one, 0)), None);
        assert_eq!(blocked(&policy.admit_request(&other, &mut two, 0)), None);
    }
    assert_eq!(
        blocked(&policy.admit_request(&chat, &mut two, 0)),
        Some((Reason::Limit, 429, "chat".into()))
    );
    drop(one);
    assert_eq!(blocked(&policy.admit_request(&chat, &mut two, 0)), None);
}

#[test]
fn detect_only_reports_a_connection_over_its_limit_once() {
    let policy = build(|config| {
        config.mode = Mode::DetectOnly;
        config.limits = vec![connections("sockets", 1)];
    })
    .unwrap();
    let first = policy.admit_connection(ip(CLIENT), 0).unwrap();
    assert!(first.detections.is_empty());
    let mut guard = ConnectionGuard::new();
    let request = view(CLIENT, "GET", "/");
    assert_eq!(
        detected(&policy.admit_request(&request, &mut guard, 0)),
        [Reason::Limit]
    );
    assert_eq!(detected(&policy.admit_request(&request, &mut guard, 0)), []);
    assert_eq!(policy.admit_connection(ip(CLIENT), 0).unwrap().detections.len(), 1);
    // Those that were let through over the limit take nothing from the count when they close.
    drop(guard);
    assert_eq!(policy.admit_connection(ip(CLIENT), 0).unwrap().detections.len(), 1);
    drop(first);
    assert_eq!(policy.admit_connection(ip(CLIENT), 0).unwrap().detections.len(), 0);
}

#[test]
fn one_limit_may_have_both_a_rate_and_connections() {
    let policy = build(|config| {
        config.limits = vec![LimitConfig {
            connections: Some(1),
            ..rate("both", 1, None)
        }];
    })
    .unwrap();
    let _held = policy.admit_connection(ip(CLIENT), 0).unwrap();
    assert!(policy.admit_connection(ip(CLIENT), 0).is_err());
    assert_eq!(blocked(&policy.evaluate(&view(CLIENT, "GET", "/"), 0)), None);
    assert!(blocked(&policy.evaluate(&view(CLIENT, "GET", "/"), 0)).is_some());
}

#[test]
fn a_bad_configuration_names_the_field_and_the_reason() {
    let with_limit = |limit: LimitConfig| build(|config| config.limits = vec![rate("first", 1, None), limit]);
    let per = |per_ms| LimitConfig {
        name: "x".into(),
        requests: Some(RequestRate {
            count: 1,
            per_ms,
            burst: None,
        }),
        ..LimitConfig::default()
    };
    let bad_path = vec![Pattern::new(Kind::Regex, "/(")];
    let cases = [
        (
            build(|config| config.block_status = 200),
            "block.status: 200 is neither 403 nor 404",
        ),
        (
            build(|config| config.uris.deny = bad_path.clone()),
            "uris.deny[0].value: regular expression `/(` does not",
        ),
        (
            build(|config| config.uris.allow = bad_path.clone()),
            "uris.allow[0].value: ",
        ),
        (
            with_limit(LimitConfig {
                paths: bad_path,
                ..rate("x", 1, None)
            }),
            "limits[1].paths[0].value: ",
        ),
        (
            with_limit(rate("x", 0, None)),
            "limits[1].requests.count: 0 would refuse everything",
        ),
        (with_limit(rate("x", 1, Some(0))), "limits[1].requests.burst: 0 would"),
        (with_limit(per(0)), "limits[1].requests.per: 0 ms is not between"),
        (
            with_limit(per(MAX_PER_MS + 1)),
            "limits[1].requests.per: 2592000001 ms is not between",
        ),
        (with_limit(connections("x", 0)), "limits[1].connections.count: 0 would"),
        (
            with_limit(LimitConfig {
                name: "x".into(),
                ..LimitConfig::default()
            }),
            "limits[1]: limits nothing",
        ),
        (
            with_limit(rate("first", 1, None)),
            "limits[1].name: `first` names an earlier limit",
        ),
        (with_limit(rate("", 1, None)), "limits[1].name: is empty"),
    ];
    for (result, expected) in cases {
        let message = result.unwrap_err().to_string();
        assert!(
            message.starts_with(expected),
            "{message:?} does not start with {expected:?}"
        );
    }
}

#[test]
fn reasons_are_written_the_same_in_lines_and_labels() {
    use Reason::{Address, Body, Header, Limit, Penalty, Policy, Protocol, Rule, Uri};
    for reason in [Address, Uri, Header, Limit, Penalty, Rule, Protocol, Body, Policy] {
        assert_eq!(
            serde_json::to_string(&reason).unwrap(),
            format!("\"{}\"", reason.as_str())
        );
    }
}
