//! Dry runs of limits, new connections, the penalty box and header rules, by sentence.

use super::tests::{CLIENT, blocked, build, build_in, connections, detected, ip, rate, tables, view};
use super::*;
use crate::limit::ConnectionGuard;
use crate::uri::{Kind, Pattern};

fn new_connections(name: &str, count: u32) -> LimitConfig {
    let mut limit = rate(name, count, None);
    limit.new_connections = limit.requests.take();
    limit
}

/// Three refusals within a second mean ten.
fn penalty(mode: Mode) -> Penalty {
    let terms = Terms {
        strikes: 3,
        per_ms: 1000,
        for_ms: 10_000,
    };
    Penalty { terms, mode }
}

#[test]
fn a_limit_that_only_detects_reports_and_does_not_end_the_judgement() {
    let policy = build(|config| {
        let dry = LimitConfig {
            mode: Mode::DetectOnly,
            ..rate("dry", 1, None)
        };
        config.limits = vec![dry, rate("wet", 2, None)];
    })
    .unwrap();
    let request = view(CLIENT, "GET", "/");
    assert_eq!(detected(&policy.evaluate(&request, 0)), []);
    let second = policy.evaluate(&request, 0);
    assert_eq!((blocked(&second), detected(&second)), (None, vec![Reason::Limit]));
    let finding = &second.detections[0];
    assert_eq!(
        (finding.action().as_str(), finding.detail.limit()),
        ("detect", Some("dry"))
    );
    let third = policy.evaluate(&request, 0);
    assert_eq!(blocked(&third), Some((Reason::Limit, 429, "wet".into())));
    assert_eq!(third.detections.len(), 1);
}

#[test]
fn a_limit_that_enforces_reports_under_a_policy_that_only_detects() {
    let policy = build(|config| {
        config.mode = Mode::DetectOnly;
        config.limits = vec![rate("a", 1, None)];
    })
    .unwrap();
    let _ = policy.evaluate(&view(CLIENT, "GET", "/"), 0);
    let verdict = policy.evaluate(&view(CLIENT, "GET", "/"), 0);
    assert_eq!((blocked(&verdict), detected(&verdict)), (None, vec![Reason::Limit]));
}

#[test]
fn a_limit_on_open_connections_that_only_detects_reports_once() {
    let policy = build(|config| {
        config.limits = vec![LimitConfig {
            mode: Mode::DetectOnly,
            ..connections("sockets", 1)
        }];
    })
    .unwrap();
    let _first = policy.admit_connection(ip(CLIENT), 0).unwrap();
    let (mut guard, request) = (ConnectionGuard::new(), view(CLIENT, "GET", "/"));
    assert_eq!(
        detected(&policy.admit_request(&request, &mut guard, 0)),
        [Reason::Limit]
    );
    assert_eq!(detected(&policy.admit_request(&request, &mut guard, 0)), []);
}

#[test]
fn new_connections_beyond_the_rate_are_refused_and_a_connection_counts_once() {
    let policy = build(|config| config.limits = vec![new_connections("new", 2)]).unwrap();
    assert!(policy.counts_connections());
    assert_eq!(policy.connection_limits().count(), 0);
    let request = view(CLIENT, "GET", "/");
    let mut guards = [ConnectionGuard::new(), ConnectionGuard::new()];
    for guard in &mut guards {
        for _ in 0..5 {
            assert_eq!(blocked(&policy.admit_request(&request, guard, 0)), None);
        }
    }
    drop(guards);
    // Closed connections count as well; room comes with time.
    let mut third = ConnectionGuard::new();
    let verdict = policy.admit_request(&request, &mut third, 0);
    assert_eq!(blocked(&verdict), Some((Reason::Limit, 429, "new".into())));
    assert!(matches!(
        verdict.outcome,
        Outcome::Block(Finding {
            retry_after: Some(30),
            ..
        })
    ));
    assert_eq!(blocked(&policy.admit_request(&request, &mut third, 30_000)), None);
    assert_eq!(blocked(&policy.admit_request(&request, &mut third, 30_000)), None);
}

#[test]
fn new_connections_of_one_slash_64_are_one_clients_and_those_of_another_are_not() {
    let policy = build(|config| config.limits = vec![new_connections("new", 1)]).unwrap();
    assert!(policy.admit_connection(ip("2001:db8::1"), 0).is_ok());
    let refused = policy.admit_connection(ip("2001:db8::2"), 0).unwrap_err();
    assert_eq!((refused.status, refused.retry_after), (429, Some(60)));
    assert!(policy.admit_connection(ip("2001:db8:0:1::1"), 0).is_ok());
}

#[test]
fn new_connections_that_are_only_detected_are_reported_once() {
    let policy = build(|config| {
        config.limits = vec![LimitConfig {
            mode: Mode::DetectOnly,
            ..new_connections("new", 1)
        }];
    })
    .unwrap();
    assert!(policy.admit_connection(ip(CLIENT), 0).unwrap().detections.is_empty());
    let (mut guard, request) = (ConnectionGuard::new(), view(CLIENT, "GET", "/"));
    assert_eq!(
        detected(&policy.admit_request(&request, &mut guard, 0)),
        [Reason::Limit]
    );
    assert_eq!(detected(&policy.admit_request(&request, &mut guard, 0)), []);
}

#[test]
fn a_client_that_is_refused_again_and_again_is_refused_at_once_until_its_time_is_over() {
    let policy = build(|config| {
        config.penalty = Some(penalty(Mode::Enforce));
        config.block_status = 404;
    })
    .unwrap();
    let request = view(CLIENT, "GET", "/");
    assert!(!policy.strike(ip(CLIENT), 0));
    assert!(!policy.strike(ip(CLIENT), 1));
    assert_eq!(blocked(&policy.evaluate(&request, 1)), None);
    assert!(policy.strike(ip(CLIENT), 2));
    let refused = Some((Reason::Penalty, 404, "for 10 s more".into()));
    assert_eq!(blocked(&policy.evaluate(&request, 2)), refused);
    assert_eq!(blocked(&policy.evaluate(&view("192.0.2.2", "GET", "/"), 2)), None);
    assert_eq!(blocked(&policy.evaluate(&request, 10_002)), None);
}

#[test]
fn a_penalty_outlives_a_reload_and_is_of_one_policy_only() {
    let tables = tables();
    let named = |name: &str| {
        build_in(&tables, |config| {
            config.name = name.into();
            config.penalty = Some(penalty(Mode::Enforce));
            config.uris.deny = vec![Pattern::new(Kind::Prefix, "/admin")];
        })
        .unwrap()
    };
    let first = named("edge/shop");
    assert_eq!((0..3).filter(|now| first.strike(ip(CLIENT), *now)).count(), 1);
    let request = view(CLIENT, "GET", "/");
    assert!(blocked(&named("edge/shop").evaluate(&request, 5)).is_some());
    assert_eq!(blocked(&named("edge/other").evaluate(&request, 5)), None);
}

#[test]
fn a_penalty_that_only_detects_reports_and_the_rest_is_judged() {
    let policy = build(|config| {
        config.penalty = Some(penalty(Mode::DetectOnly));
        config.uris.deny = vec![Pattern::new(Kind::Prefix, "/admin")];
    })
    .unwrap();
    assert_eq!((0..3).filter(|now| policy.strike(ip(CLIENT), *now)).count(), 1);
    let verdict = policy.evaluate(&view(CLIENT, "GET", "/admin"), 5);
    assert_eq!(detected(&verdict), [Reason::Penalty]);
    assert_eq!(blocked(&verdict), Some((Reason::Uri, 403, "/admin".into())));
}

#[test]
fn a_policy_that_has_no_penalty_or_only_detects_strikes_nobody() {
    let policy = build(|_| {}).unwrap();
    assert!((0..100).all(|now| !policy.strike(ip(CLIENT), now)));
    let detects = build(|config| {
        config.mode = Mode::DetectOnly;
        config.penalty = Some(penalty(Mode::Enforce));
    })
    .unwrap();
    assert!((0..100).all(|now| !detects.strike(ip(CLIENT), now)));
    assert!(!Policy::fail_closed("edge/shop", "broken").strike(ip(CLIENT), 0));
}

#[test]
fn header_rules_refuse_before_limits_count() {
    let policy = build(|config| {
        config.headers.deny = vec![FieldRule {
            name: "X-Debug".into(),
            value: None,
        }];
        config.limits = vec![rate("one", 1, None)];
    })
    .unwrap();
    let fields: &[(&str, &[u8])] = &[("x-debug", b"1")];
    let request = view(CLIENT, "GET", "/");
    let verdict = policy.evaluate(&request.with_fields(&fields), 0);
    assert_eq!(blocked(&verdict), Some((Reason::Header, 403, "x-debug".into())));
    assert_eq!(blocked(&policy.evaluate(&request, 0)), None);
}

#[test]
fn a_bad_penalty_and_a_bad_rate_of_connections_name_the_field() {
    let bad = |change: fn(&mut Penalty)| {
        let mut penalty = penalty(Mode::Enforce);
        change(&mut penalty);
        build(|config| config.penalty = Some(penalty)).unwrap_err().to_string()
    };
    assert!(bad(|penalty| penalty.terms.strikes = 0).starts_with("penalty.after.count: 0 is not"));
    assert!(bad(|penalty| penalty.terms.strikes = u32::MAX).starts_with("penalty.after.count: "));
    assert!(bad(|penalty| penalty.terms.per_ms = 0).starts_with("penalty.after.per: 0 ms"));
    assert!(bad(|penalty| penalty.terms.for_ms = MAX_PER_MS + 1).starts_with("penalty.for: "));
    let error = build(|config| config.limits = vec![new_connections("x", 0)]).unwrap_err();
    assert!(
        error.to_string().starts_with("limits[0].newConnections.count: 0 would"),
        "{error}"
    );
}

#[test]
fn what_one_node_allows_under_a_limit_across_nodes_another_that_is_told_refuses() {
    let limits = [rate("asks", 3, None), new_connections("arrivals", 2)];
    let node = |seed| {
        let tables = Arc::new(Tables::new(seed));
        let limits = limits.clone().map(|limit| LimitConfig { fleet: true, ..limit });
        let policy = build_in(&tables, |config| config.limits = limits.to_vec()).unwrap();
        (tables, policy)
    };
    let ((one, there), (two, here)) = (node(1), node(2));
    let request = view(CLIENT, "GET", "/");
    for _ in 0..2 {
        assert_eq!(blocked(&there.evaluate(&request, 0)), None);
        assert!(there.admit_connection(ip(CLIENT), 0).is_ok());
    }
    let told = one.take_spent();
    assert_eq!(told.iter().map(|spent| spent.count).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(two.add_spent(told, 0, 2).taken, 2);
    assert_eq!(blocked(&here.evaluate(&request, 0)), None);
    let refused = Some((Reason::Limit, 429, "asks".into()));
    assert_eq!(blocked(&here.evaluate(&request, 0)), refused);
    assert!(here.admit_connection(ip(CLIENT), 0).is_err());
    assert!(here.admit_connection(ip("192.0.2.9"), 0).is_ok());
    // What is heard is not told on, and what is refused is not told.
    let told: Vec<_> = two.take_spent().iter().map(|spent| spent.count).collect();
    assert_eq!(told, [1, 1]);
}

#[test]
fn a_limit_of_one_node_is_told_to_nobody() {
    let tables = tables();
    let policy = build_in(&tables, |config| config.limits = vec![rate("asks", 3, None)]).unwrap();
    let _ = policy.evaluate(&view(CLIENT, "GET", "/"), 0);
    assert!(!tables.has_fleet_limits());
    assert_eq!(tables.take_spent(), []);
}

#[test]
fn open_connections_are_not_limited_across_nodes() {
    let limit = LimitConfig {
        fleet: true,
        ..connections("sockets", 1)
    };
    let error = build(|config| config.limits = vec![limit]).unwrap_err().to_string();
    assert!(error.starts_with("limits[0].connections: open connections"), "{error}");
}
