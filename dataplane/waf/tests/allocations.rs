//! Judging a request that nothing objects to allocates nothing.

use std::{net::IpAddr, sync::Arc};

use allocation_counter::measure;
use breakwater_waf::{
    address::Fallback,
    detect::{sqli, xss},
    geo,
    limit::{ConnectionGuard, Tables, Terms},
    policy::{
        Config, FieldRule, LimitConfig, Mode, Outcome, Penalty, Policy, RequestRate, RequestView, admit_all,
        evaluate_all,
    },
    uri::{Kind, Pattern},
};

/// Everyone is there, in AS64497.
#[derive(Debug)]
struct Sweden;

impl geo::Locate for Sweden {
    fn country(&self, _: IpAddr) -> Option<geo::Country> {
        "SE".parse().ok()
    }

    fn asn(&self, _: IpAddr) -> Option<u32> {
        Some(64_497)
    }

    fn describe(&self, _: IpAddr, _: &mut dyn FnMut(&'static str, &str)) -> bool {
        false
    }
}

fn policy(tables: &Arc<Tables>) -> Arc<Policy> {
    let mut config = Config::new("edge/shop");
    let net = |text: &str| text.parse().expect("a prefix");
    config.addresses.allow = vec![net("198.51.100.0/24"), net("2001:db8::/32")];
    config.addresses.deny = vec![net("203.0.113.0/24")];
    let country = |text: &str| text.parse().expect("a country");
    config.countries = geo::Lists::new(vec![country("SE"), country("DE")], vec![], Fallback::Deny);
    config.asns = geo::Lists::new(vec![], vec![64_496], Fallback::Allow);
    config.uris.deny = vec![
        Pattern::new(Kind::Prefix, "/admin"),
        Pattern::new(Kind::Exact, "/.git"),
        Pattern::new(Kind::Regex, "(?i)/.*[.]bak"),
    ];
    config.headers.deny = vec![
        FieldRule {
            name: "x-debug".into(),
            value: None,
        },
        FieldRule {
            name: "user-agent".into(),
            value: Some((Kind::Regex, "(?i).*sqlmap.*".into())),
        },
    ];
    config.headers.require = vec![FieldRule {
        name: "Accept".into(),
        value: None,
    }];
    config.limits = vec![LimitConfig {
        name: "all".into(),
        methods: vec!["GET".into()],
        requests: Some(RequestRate {
            count: 1_000_000,
            per_ms: 1000,
            burst: None,
        }),
        connections: Some(10),
        new_connections: Some(RequestRate {
            count: 10,
            per_ms: 1000,
            burst: None,
        }),
        ..LimitConfig::default()
    }];
    let across = LimitConfig {
        name: "across nodes".into(),
        connections: None,
        fleet: true,
        ..config.limits[0].clone()
    };
    config.limits.push(across);
    config.penalty = Some(Penalty {
        terms: Terms {
            strikes: 5,
            per_ms: 1000,
            for_ms: 1000,
        },
        mode: Mode::Enforce,
    });
    Arc::new(Policy::new(config, tables).expect("a valid configuration"))
}

#[test]
fn a_request_that_passes_costs_no_allocation() {
    let policies = [policy(&Arc::new(Tables::new(1))), policy(&Arc::new(Tables::new(2)))];
    for client in ["198.51.100.7", "2001:db8::7", "::ffff:198.51.100.7", "192.0.2.7"] {
        let client: IpAddr = client.parse().unwrap();
        let fields: &[(&str, &[u8])] = &[("accept", b"*/*"), ("User-Agent", b"Mozilla/5.0 \xff")];
        let request = RequestView::new(
            client,
            "GET",
            "shop.example.com",
            "/static/app.js",
            Some("v=1&password=x"),
        )
        .with_fields(&fields)
        .with_locations(&Sweden);
        let mut guard = ConnectionGuard::new();
        // The first request makes the expressions' caches and puts the connection in the table.
        assert!(matches!(evaluate_all(&policies, &request, 0).outcome, Outcome::Pass));
        assert!(matches!(
            admit_all(&policies, &request, &mut guard, 0).outcome,
            Outcome::Pass
        ));
        let mut passed = 0;
        let allocations = measure(|| {
            for now_ms in 1..1000 {
                let judged = evaluate_all(&policies, &request, now_ms);
                let admitted = admit_all(&policies, &request, &mut guard, now_ms);
                passed += usize::from(matches!(
                    (judged.outcome, admitted.outcome),
                    (Outcome::Pass, Outcome::Pass)
                ));
            }
        });
        assert_eq!((passed, allocations.count_total), (999, 0), "{client}");
    }
}

#[test]
fn the_counter_sees_what_a_refusal_allocates() {
    let mut config = Config::new("edge/shop");
    config.mode = Mode::DetectOnly;
    config.uris.deny = vec![Pattern::new(Kind::Prefix, "/")];
    let policy = Policy::new(config, &Arc::new(Tables::new(1))).unwrap();
    let request = RequestView::new("192.0.2.1".parse().unwrap(), "GET", "h", "/", None);
    assert!(measure(|| drop(policy.evaluate(&request, 0))).count_total > 0);
}

#[test]
fn the_detectors_allocate_nothing_once_their_tables_are_read() {
    let inputs = [
        "' union select a, b from c where d = 1 --",
        "I'd like to order a \"table\", and two chairs # please",
        "<a href=\"&#106;avascript:alert(1)\" onclick=x>",
    ];
    let verdicts = || inputs.map(|input| (sqli(input.as_bytes()).is_some(), xss(input.as_bytes())));
    assert_eq!(verdicts(), [(true, false), (false, false), (false, true)]);
    let allocated = measure(|| {
        std::hint::black_box(verdicts());
    });
    assert_eq!(allocated.count_total, 0);
}
