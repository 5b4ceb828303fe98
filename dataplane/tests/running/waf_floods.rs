//! Lists of many addresses, header rules, limits that only report, new connections, and penalties, in force.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use breakwater_snapshot::unit::{EdgeCache, HeaderRule, Limit, Mode, PathKind, Penalty, RequestRate, Unit, WafPolicy};
use breakwater_snapshot::{Kind, ObjectId};
use breakwater_waf::address::list;

use super::waf_rules::rules;
use crate::support::http2::{Http2, head};
use crate::support::{Client, Origin, Plane, answer, edge_cache, id, limit, objects, prefix, waf_policy};

const HOUR_MS: u64 = 3_600_000;

fn site() -> ObjectId {
    id(Kind::EdgeCache, "site")
}

async fn plane(change: impl FnOnce(&mut WafPolicy)) -> (Origin, Plane) {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let mut policy = waf_policy(site());
    change(&mut policy);
    let plane = Plane::start().await;
    let site: EdgeCache = edge_cache(origin.address);
    let all = [("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))];
    plane.apply(objects(all)).await;
    (origin, plane)
}

async fn status(client: &mut Client, target: &str) -> u16 {
    client.get("shop.test", target, "").await.status
}

fn per_hour(count: u32) -> Option<RequestRate> {
    Some(RequestRate {
        count,
        per_ms: HOUR_MS,
        burst: None,
    })
}

fn new_connections(count: u32) -> Limit {
    Limit {
        new_connections: per_hour(count),
        ..limit("new")
    }
}

/// After three refusals within an hour, an hour.
fn penalty() -> Option<Penalty> {
    Some(Penalty {
        count: 3,
        per_ms: HOUR_MS,
        for_ms: HOUR_MS,
        detect_only: false,
    })
}

#[tokio::test]
async fn a_limit_that_only_detects_reports_what_it_would_refuse_and_other_limits_refuse() {
    let (_origin, plane) = plane(|policy| {
        let dry = Limit {
            requests: per_hour(1),
            detect_only: true,
            ..limit("dry")
        };
        let wet = Limit {
            requests: per_hour(2),
            ..limit("wet")
        };
        policy.limits = vec![dry, wet];
    })
    .await;
    let mut client = plane.client().await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(status(&mut client, "/a").await);
    }
    assert_eq!(statuses, [200, 200, 429]);
    let lines = plane.audit(3).await;
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["detail"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("detect", "dry"), ("detect", "dry"), ("block", "wet")]);
    assert!(lines.iter().all(|line| line["mode"] == "Enforce"), "{lines:?}");
    let series = |name: &str| format!("breakwater_waf_events_total{{policy=\"WafPolicy/default/policy\",{name}}}");
    assert_eq!(plane.metric(&series("action=\"detect\",reason=\"limit\"")).await, 2.0);
    assert_eq!(plane.metric(&series("action=\"block\",reason=\"limit\"")).await, 1.0);
}

#[tokio::test]
async fn new_connections_over_the_rate_are_refused_and_those_before_go_on() {
    let (_origin, plane) = plane(|policy| policy.limits = vec![new_connections(2)]).await;
    let mut first = plane.client().await;
    for _ in 0..3 {
        assert_eq!(status(&mut first, "/a").await, 200, "a connection counts once");
    }
    assert_eq!(status(&mut plane.client().await, "/a").await, 200);
    let refused = plane.client().await.get("shop.test", "/a", "").await;
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    assert_eq!(status(&mut first, "/a").await, 200);
    assert_eq!(plane.audit(1).await[0]["detail"], "new");
    let series = "breakwater_limit_refusals_total{policy=\"WafPolicy/default/policy\",limit=\"new\"}";
    assert_eq!(plane.metric(series).await, 1.0);
}

#[tokio::test]
async fn an_http2_connection_is_one_new_connection_however_many_streams_it_carries() {
    let (_origin, plane) = plane(|policy| policy.limits = vec![new_connections(1)]).await;
    let mut first = Http2::connect(plane.address(), &[]).await;
    for _ in 0..3 {
        assert_eq!(first.ask(&head("GET", "shop.test", "/a")).await.status, 200);
    }
    assert_eq!(status(&mut plane.client().await, "/a").await, 429);
}

#[tokio::test]
async fn a_client_that_is_refused_again_and_again_is_refused_everything() {
    let (origin, plane) = plane(|policy| {
        policy.uris.deny = vec![prefix("/admin")];
        policy.penalty = penalty();
    })
    .await;
    let mut client = plane.client().await;
    assert_eq!(status(&mut client, "/a").await, 200);
    for _ in 0..3 {
        assert_eq!(status(&mut client, "/admin").await, 403);
    }
    assert_eq!(status(&mut client, "/a").await, 403);
    assert_eq!(status(&mut plane.client().await, "/a").await, 403);
    assert_eq!(origin.count(), 1);
    let lines = plane.audit(5).await;
    let reasons: Vec<_> = lines.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["uri", "uri", "uri", "penalty", "penalty"]);
    assert!(lines[3]["detail"].as_str().unwrap().starts_with("for "), "{lines:?}");
    let series = "breakwater_waf_penalties_total{policy=\"WafPolicy/default/policy\"}";
    assert_eq!(plane.metric(series).await, 1.0);
    let series = "breakwater_waf_events_total{policy=\"WafPolicy/default/policy\",action=\"block\",reason=\"penalty\"}";
    assert_eq!(plane.metric(series).await, 2.0);
}

#[tokio::test]
async fn what_a_rule_refuses_counts_for_the_penalty_and_only_for_that_client() {
    let (_origin, plane) = plane(|policy| {
        policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        policy.rules = Some(rules(
            "SecRule ARGS:debug \"@streq 1\" \"id:1000,phase:1,deny,status:403\"",
        ));
        policy.penalty = penalty();
    })
    .await;
    let mut client = plane.client().await;
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    for host in 1..=3 {
        let lines = from(&format!("2001:db8::{host}"));
        let refused = client.get("shop.test", "/a?debug=1", &lines).await;
        assert_eq!(refused.status, 403);
    }
    let neighbour = client.get("shop.test", "/a", &from("2001:db8::9")).await;
    assert_eq!(neighbour.status, 403, "one /64 is one client");
    let other = client.get("shop.test", "/a", &from("2001:db8:0:1::1")).await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn a_policy_that_only_detects_gives_no_penalty() {
    let (_origin, plane) = plane(|policy| {
        policy.mode = Mode::DetectOnly;
        policy.uris.deny = vec![prefix("/admin")];
        policy.penalty = penalty();
    })
    .await;
    let mut client = plane.client().await;
    for _ in 0..5 {
        assert_eq!(status(&mut client, "/admin").await, 200);
    }
    let lines = plane.audit(5).await;
    assert!(lines.iter().all(|line| line["reason"] == "uri"), "{lines:?}");
}

#[tokio::test]
async fn a_penalty_that_only_detects_reports_and_lets_pass() {
    let (_origin, plane) = plane(|policy| {
        policy.uris.deny = vec![prefix("/admin")];
        policy.penalty = penalty().map(|penalty| Penalty {
            detect_only: true,
            ..penalty
        });
    })
    .await;
    let mut client = plane.client().await;
    for _ in 0..3 {
        assert_eq!(status(&mut client, "/admin").await, 403);
    }
    assert_eq!(status(&mut client, "/a").await, 200);
    let line = plane.audit(4).await.remove(3);
    assert_eq!(
        (&line["action"], &line["reason"]),
        (&"detect".into(), &"penalty".into())
    );
}

#[tokio::test]
async fn lists_of_many_addresses_are_in_force_beside_those_that_are_written() {
    let packed = |text: &str| STANDARD.encode(list::pack(&list::parse(text).unwrap()));
    let mut text = String::new();
    for third in 0..250 {
        for fourth in 0..100 {
            text.push_str(&format!("10.1.{third}.{}\n", fourth * 2));
        }
    }
    let (_origin, plane) = plane(|policy| {
        policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        policy.addresses.deny = vec!["192.0.2.0/24".parse().unwrap()];
        policy.addresses.deny_lists = vec![packed(&text), packed("2001:db8::/32")];
        policy.addresses.allow_lists = vec![packed("10.1.7.4")];
    })
    .await;
    let mut client = plane.client().await;
    for (address, status) in [
        ("192.0.2.9", 403),
        ("10.1.0.0", 403),
        ("10.1.249.198", 403),
        ("10.1.249.199", 200),
        ("10.1.7.4", 200),
        ("2001:db8::1", 403),
        ("2001:db9::1", 200),
    ] {
        let lines = format!("X-Forwarded-For: {address}\r\n");
        assert_eq!(client.get("shop.test", "/a", &lines).await.status, status, "{address}");
    }
}

#[tokio::test]
async fn a_policy_whose_list_is_not_packed_is_refused_by_the_node() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let mut policy = waf_policy(site());
    policy.addresses.deny_lists = vec!["AYA=".to_owned()];
    let plane = Plane::start().await;
    let site = Unit::EdgeCache(edge_cache(origin.address));
    let applied = plane
        .try_apply(objects([("site", site), ("policy", Unit::WafPolicy(policy))]))
        .await;
    assert_eq!(applied.rejected.len(), 1);
    assert!(applied.rejected[0].message.contains("not packed"), "{applied:?}");
    assert_eq!(status(&mut plane.client().await, "/a").await, 503);
}

#[tokio::test]
async fn a_header_rule_refuses_over_both_versions_of_http() {
    let rule = |name: &str, value| HeaderRule {
        name: name.to_owned(),
        value,
    };
    let (origin, plane) = plane(|policy| {
        policy.headers.deny = vec![rule("user-agent", Some((PathKind::Regex, "(?i)sqlmap/.*".to_owned())))];
        policy.headers.require = vec![rule("x-api-key", None)];
    })
    .await;
    let mut client = plane.client().await;
    for (lines, status) in [
        ("X-API-Key: 1\r\n", 200),
        ("", 403),
        ("X-Api-Key: 1\r\nUser-Agent: SQLMap/1.7\r\n", 403),
        ("X-Api-Key: 1\r\nUser-Agent: curl/8\r\n", 200),
    ] {
        assert_eq!(client.get("shop.test", "/a", lines).await.status, status, "{lines}");
    }
    assert_eq!(origin.count(), 2);
    let lines = plane.audit(2).await;
    let details: Vec<_> = lines.iter().map(|line| line["detail"].as_str().unwrap()).collect();
    assert_eq!(details, ["x-api-key is missing", "user-agent: (?i)sqlmap/.*"]);
    assert!(lines.iter().all(|line| line["reason"] == "header"), "{lines:?}");
    let mut http2 = Http2::connect(plane.address(), &[]).await;
    let mut fields = head("GET", "shop.test", "/a").to_vec();
    assert_eq!(http2.ask(&fields).await.status, 403);
    fields.push(("x-api-key", "1"));
    assert_eq!(http2.ask(&fields).await.status, 200);
}
