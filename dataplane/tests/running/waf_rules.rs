//! Rules in force: requests, their bodies, and responses.

use breakwater_snapshot::unit::{EdgeCache, Mode, RuleExclusion, RuleSelection, Rules, SecLangSource, Unit, WafPolicy};
use breakwater_snapshot::{Kind, ObjectId};

use crate::support::http2::{DATA, END, Http2, head};
use crate::support::{Client, Objects, Origin, Plane, answer, edge_cache, id, objects, prefix, waf_policy, ws_route};

pub(crate) const DEBUG: &str = "SecRule ARGS:debug \"@streq 1\" \"id:1000,phase:1,deny,status:403,msg:'Debug',severity:'CRITICAL',tag:'own',logdata:'%{MATCHED_VAR} found within %{MATCHED_VAR_NAME}: %{MATCHED_VAR}'\"";

/// For arguments of the query and of bodies.
pub(crate) const ATTACK: &str = "SecRule ARGS \"@contains attack\" \"id:1001,phase:2,deny,status:403,msg:'Attack',logdata:'found within %{MATCHED_VAR_NAME}: %{MATCHED_VAR}'\"";

pub(crate) const SECRET: &str =
    "SecRule RESPONSE_BODY \"@contains secret\" \"id:1002,phase:4,deny,status:403,msg:'Leak'\"";

pub(crate) fn rules(text: &str) -> Rules {
    Rules {
        crs: None,
        disabled_groups: Vec::new(),
        seclang: vec![SecLangSource {
            name: "spec.seclang.inline".to_owned(),
            text: text.to_owned(),
        }],
        exclusions: Vec::new(),
        detect_only: Vec::new(),
        inspect: 1024,
        reject_larger: false,
        body_types: Vec::new(),
        inspect_response: None,
        sampled_percent: None,
    }
}

pub(crate) fn site() -> ObjectId {
    id(Kind::EdgeCache, "site")
}

pub(crate) fn protected(origin: &Origin, policy: WafPolicy) -> Objects {
    let site: EdgeCache = edge_cache(origin.address);
    objects([("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))])
}

pub(crate) fn policy(text: &str, change: impl FnOnce(&mut WafPolicy, &mut Rules)) -> WafPolicy {
    let mut policy = waf_policy(site());
    let mut rules = rules(text);
    change(&mut policy, &mut rules);
    policy.rules = Some(rules);
    policy
}

/// An origin that answers with what it got, and a data plane with rules in front of it.
pub(crate) async fn plane(text: &str, change: impl FnOnce(&mut WafPolicy, &mut Rules)) -> (Origin, Plane) {
    let origin = Origin::start(|request| async move {
        answer(
            200,
            "Cache-Control: max-age=60\r\nContent-Type: text/plain\r\n",
            request.body,
        )
    })
    .await;
    let plane = Plane::start().await;
    plane.apply(protected(&origin, policy(text, change))).await;
    (origin, plane)
}

pub(crate) async fn get(client: &mut Client, target: &str) -> u16 {
    client.get("shop.test", target, "").await.status
}

pub(crate) async fn post(client: &mut Client, target: &str, kind: &str, body: &[u8]) -> (u16, String) {
    let lines = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
    let response = client.ask("POST", "shop.test", target, &lines, body).await;
    (response.status, response.text())
}

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn a_request_that_a_rule_refuses_never_reaches_the_origin_and_the_audit_line_says_which() {
    let (origin, plane) = plane(DEBUG, |_, _| {}).await;
    let mut client = plane.client().await;
    let refused = client.get("shop.test", "/a?debug=1&x=2", "").await;
    assert_eq!((refused.status, origin.count()), (403, 0));
    let line = plane.audit(1).await.remove(0);
    assert_eq!(line["request_id"].as_str(), refused.field("x-request-id"));
    assert!(refused.text().contains(refused.field("x-request-id").unwrap()));
    assert_eq!((&line["action"], &line["reason"]), (&"block".into(), &"rule".into()));
    assert_eq!((&line["status"], &line["mode"]), (&403.into(), &"Enforce".into()));
    assert_eq!(line["uri"], "/a?debug=1&x=2");
    let rule = &line["rules"][0];
    assert_eq!((&rule["id"], &rule["phase"]), (&1000.into(), &1.into()));
    assert_eq!((&rule["msg"], &rule["severity"]), (&"Debug".into(), &"CRITICAL".into()));
    assert_eq!(rule["tags"], serde_json::json!(["own"]));
    assert_eq!(rule["data"], "1 found within ARGS:debug: 1");
    assert_eq!(get(&mut client, "/a?debug=2").await, 200);
    let series = "breakwater_waf_rule_hits_total{policy=\"WafPolicy/default/policy\",rule=\"1000\"}";
    assert!((plane.metric(series).await - 1.0).abs() < f64::EPSILON);
    let series = "breakwater_waf_inspection_seconds_count{policy=\"WafPolicy/default/policy\"}";
    assert!((plane.metric(series).await - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn the_access_line_of_a_refused_request_says_so() {
    let (_origin, plane) = plane(&format!("{DEBUG}\n{ATTACK}"), |_, _| {}).await;
    let mut client = plane.client().await;
    get(&mut client, "/a?debug=1").await;
    post(&mut client, "/a", FORM, b"q=attack").await;
    let lines = plane.access(2).await;
    for line in lines {
        assert_eq!((&line["status"], &line["waf"]), (&403.into(), &"block".into()));
    }
}

#[tokio::test]
async fn a_rule_that_turns_audit_lines_off_has_its_request_counted_and_not_told() {
    let quiet = "SecRule ARGS:quiet \"@streq 1\" \"id:999,phase:1,pass,nolog,ctl:auditEngine=Off\"";
    let (_origin, plane) = plane(&format!("{quiet}\n{DEBUG}"), |_, _| {}).await;
    let mut client = plane.client().await;
    assert_eq!(get(&mut client, "/a?quiet=1&debug=1").await, 403);
    assert_eq!(get(&mut client, "/b?debug=1").await, 403);
    assert_eq!(plane.audit(1).await[0]["uri"], "/b?debug=1");
    let policy = "policy=\"WafPolicy/default/policy\"";
    let series = format!("breakwater_waf_rule_hits_total{{{policy},rule=\"1000\"}}");
    assert!((plane.metric(&series).await - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn detect_only_reports_what_enforce_would_refuse_and_passes_it() {
    let (origin, plane) = plane(DEBUG, |policy, _| policy.mode = Mode::DetectOnly).await;
    assert_eq!(get(&mut plane.client().await, "/a?debug=1").await, 200);
    assert_eq!(origin.count(), 1);
    let line = plane.audit(1).await.remove(0);
    assert_eq!(
        (&line["action"], &line["mode"]),
        (&"detect".into(), &"DetectOnly".into())
    );
    assert_eq!(line["status"], 403);
    assert_eq!(line["rules"][0]["id"], 1000);
}

#[tokio::test]
async fn the_policy_says_as_what_a_refusal_is_shown() {
    let (_origin, plane) = plane(
        &format!("{DEBUG}\nSecRule ARGS:a \"@streq 1\" \"id:7,phase:1,deny,status:400\"\nSecRule ARGS:b \"@streq 1\" \"id:8,phase:1,redirect:https://shop.test/sorry\""),
        |policy, _| policy.block_status = 404,
    )
    .await;
    let mut client = plane.client().await;
    assert_eq!(get(&mut client, "/?debug=1").await, 404);
    assert_eq!(get(&mut client, "/?a=1").await, 400);
    let sent_on = client.get("shop.test", "/?b=1", "").await;
    assert_eq!(
        (sent_on.status, sent_on.field("location")),
        (302, Some("https://shop.test/sorry"))
    );
}

#[tokio::test]
async fn no_client_writes_into_the_head_of_a_redirect_and_one_that_leads_nowhere_refuses() {
    let rule = "SecRule ARGS:to \"@rx .\" \"id:8,phase:1,redirect:'https://shop.test/?from=%{ARGS.to}'\"\n\
                SecRule &ARGS:where \"@eq 1\" \"id:9,phase:1,redirect:%{ARGS.where}\"";
    let (origin, plane) = plane(rule, |policy, _| policy.block_status = 404).await;
    let mut client = plane.client().await;
    let sent_on = client.get("shop.test", "/?to=a%0d%0aX-Written:+1", "").await;
    assert_eq!(
        (sent_on.status, sent_on.field("location"), sent_on.field("x-written")),
        (302, Some("https://shop.test/?from=a%0D%0AX-Written:%201"), None)
    );
    for target in ["/?where=nowhere", "/?where=//elsewhere.test/"] {
        let refused = client.get("shop.test", target, "").await;
        assert_eq!((refused.status, refused.field("location")), (404, None), "{target}");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn no_setting_of_own_rules_turns_a_policy_off() {
    for setting in [
        "SecRuleEngine Off",
        "SecRuleEngine DetectionOnly",
        "SecRequestBodyAccess Off",
    ] {
        let (origin, plane) = plane(&format!("{setting}\n{DEBUG}\n{ATTACK}"), |_, _| {}).await;
        let mut client = plane.client().await;
        assert_eq!(get(&mut client, "/?debug=1").await, 403, "{setting}");
        assert_eq!(post(&mut client, "/", FORM, b"q=attack").await.0, 403, "{setting}");
        assert_eq!(origin.count(), 0, "{setting}");
    }
}

#[tokio::test]
async fn a_form_body_and_a_json_body_are_judged_and_what_passes_arrives_unchanged() {
    let (origin, plane) = plane(ATTACK, |_, _| {}).await;
    let mut client = plane.client().await;
    let (status, body) = post(&mut client, "/a", FORM, b"q=attack&x=1").await;
    assert_eq!((status, origin.count()), (403, 0));
    assert!(body.contains("403"), "{body}");
    let json = br#"{"a": {"b": ["x", "an attack"]}}"#;
    assert_eq!(post(&mut client, "/a", "application/json", json).await.0, 403);
    assert_eq!(origin.count(), 0);
    let (status, body) = post(&mut client, "/a", FORM, b"q=peace&x=1").await;
    assert_eq!((status, body.as_str()), (200, "q=peace&x=1"));
    let lines = "Transfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let refused = client
        .ask("POST", "shop.test", "/a", lines, b"4\r\nq=at\r\n4\r\ntack\r\n0\r\n\r\n")
        .await;
    assert_eq!(refused.status, 403);
    let passed = client
        .ask("POST", "shop.test", "/a", lines, b"4\r\nq=pe\r\n3\r\nace\r\n0\r\n\r\n")
        .await;
    assert_eq!(passed.status, 200);
    assert_eq!(
        String::from_utf8_lossy(&origin.last().body),
        "7\r\nq=peace\r\n0\r\n\r\n"
    );
}

#[tokio::test]
async fn an_exclusion_silences_one_argument_on_one_path_and_nothing_else() {
    let (_origin, plane) = plane(ATTACK, |_, rules| {
        rules.exclusions = vec![RuleExclusion {
            rules: vec![RuleSelection::Ids(vec![(1001, 1001)])],
            targets: vec!["ARGS:q".to_owned()],
            paths: vec![prefix("/search")],
            methods: Vec::new(),
        }];
    })
    .await;
    let mut client = plane.client().await;
    for (target, status) in [
        ("/search?q=attack", 200),
        ("/search?other=attack", 403),
        ("/else?q=attack", 403),
        ("/search/x?q=attack", 200),
        ("/%73earch?q=attack", 200),
    ] {
        assert_eq!(get(&mut client, target).await, status, "{target}");
    }
}

#[tokio::test]
async fn a_rule_with_a_mode_of_its_own_reports_and_does_not_refuse() {
    let (_origin, plane) = plane(&format!("{DEBUG}\n{ATTACK}"), |_, rules| {
        rules.detect_only = vec![RuleSelection::Tag("own".to_owned())];
    })
    .await;
    let mut client = plane.client().await;
    assert_eq!(get(&mut client, "/?debug=1").await, 200);
    assert_eq!(get(&mut client, "/?q=attack").await, 403);
    let lines = plane.audit(2).await;
    assert_eq!(
        (&lines[0]["action"], &lines[0]["rules"][0]["id"]),
        (&"detect".into(), &1000.into())
    );
    assert_eq!(lines[1]["action"], "block");
}

#[tokio::test]
async fn of_a_body_over_the_limit_the_beginning_is_judged_and_the_rest_passes() {
    let (origin, plane) = plane(ATTACK, |_, _| {}).await;
    let mut client = plane.client().await;
    let long = format!("a={}&q=attack", "x".repeat(5000));
    let (status, body) = post(&mut client, "/a", FORM, long.as_bytes()).await;
    assert_eq!((status, body.as_str()), (200, long.as_str()));
    let early = format!("q=attack&a={}", "x".repeat(5000));
    assert_eq!(post(&mut client, "/a", FORM, early.as_bytes()).await.0, 403);
    assert_eq!(origin.count(), 1);
    let series = "breakwater_waf_truncated_bodies_total{policy=\"WafPolicy/default/policy\",direction=\"request\"}";
    plane.metric_reaches(series, 2.0).await;
    plane.metric_reaches("breakwater_waf_buffered_bytes", 0.0).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_413_where_the_policy_says_so() {
    let (origin, plane) = plane(ATTACK, |_, rules| rules.reject_larger = true).await;
    let long = format!("a={}", "x".repeat(1100));
    let lines = format!(
        "Content-Type: {FORM}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n",
        long.len()
    );
    // Announced: nothing of it is asked for.
    let announced = plane.client().await.ask("POST", "shop.test", "/a", &lines, b"").await;
    assert_eq!(announced.status, 413);
    let chunked = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let lines = format!("Content-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n");
    let found = plane
        .client()
        .await
        .ask("POST", "shop.test", "/a", &lines, chunked.as_bytes())
        .await;
    assert_eq!((found.status, origin.count()), (413, 0));
    let lines = plane.audit(2).await;
    for line in lines {
        assert_eq!((&line["reason"], &line["status"]), (&"body".into(), &413.into()));
    }
    let fits = "a=1";
    assert_eq!(
        post(&mut plane.client().await, "/a", FORM, fits.as_bytes()).await.0,
        200
    );
}

#[tokio::test]
async fn continue_is_sent_for_a_body_that_is_judged_and_not_for_a_request_that_is_refused() {
    let (_origin, plane) = plane(&format!("{DEBUG}\n{ATTACK}"), |_, _| {}).await;
    let head = |target: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: shop.test\r\nContent-Type: {FORM}\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut client = plane.client().await;
    client.send(head("/a")).await;
    assert_eq!(client.head().await.unwrap().status, 100);
    client.send("q=peace").await;
    assert_eq!(client.response("POST").await.status, 200);
    let mut client = plane.client().await;
    client.send(head("/a?debug=1")).await;
    assert_eq!(client.head().await.unwrap().status, 403);
}

#[tokio::test]
async fn what_is_stored_is_served_to_nobody_whose_request_a_rule_refuses() {
    let (_origin, plane) = plane(
        "SecRule REQUEST_HEADERS:X-Debug \"@streq 1\" \"id:9,phase:1,deny,status:403\"",
        |_, _| {},
    )
    .await;
    let mut client = plane.client().await;
    get(&mut client, "/a").await;
    assert!(client.get("shop.test", "/a", "").await.is_hit());
    assert_eq!(client.get("shop.test", "/a", "X-Debug: 1\r\n").await.status, 403);
    assert!(client.get("shop.test", "/a", "").await.is_hit());
}

#[tokio::test]
async fn a_body_over_http2_is_judged_and_passed_on() {
    let (origin, plane) = plane(ATTACK, |_, _| {}).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let mut fields = head("POST", "shop.test", "/a").to_vec();
    fields.push(("content-type", FORM));
    for (first, second, status) in [("q=at", "tack", 403), ("q=pe", "ace", 200)] {
        let stream = client.request(&fields, false).await;
        client.send(DATA, 0, stream, first.as_bytes()).await;
        client.send(DATA, END, stream, second.as_bytes()).await;
        assert_eq!(client.answer(stream).await.status, status);
    }
    assert_eq!(origin.count(), 1);
    let got = client.ask(&head("GET", "shop.test", "/a?q=attack")).await;
    assert_eq!(got.status, 403);
}

#[tokio::test]
async fn a_response_that_a_rule_refuses_is_neither_sent_nor_stored() {
    let origin = Origin::start(|request| async move {
        let body = if request.target().starts_with("/leak") {
            "a secret"
        } else {
            "nothing"
        };
        answer(200, "Cache-Control: max-age=60\r\nContent-Type: text/html\r\n", body)
    })
    .await;
    let plane = Plane::start().await;
    let policy = policy(SECRET, |_, rules| rules.inspect_response = Some(4096));
    plane.apply(protected(&origin, policy)).await;
    let mut client = plane.client().await;
    for count in 1..=2 {
        let refused = client.get("shop.test", "/leak", "").await;
        assert_eq!((refused.status, origin.count()), (403, count), "it is fetched anew");
        assert!(!refused.text().contains("secret"), "{refused:?}");
    }
    assert_eq!(client.get("shop.test", "/fine", "").await.text(), "nothing");
    assert!(client.get("shop.test", "/fine", "").await.is_hit());
    // Past the cache.
    let refused = client
        .ask("POST", "shop.test", "/leak", "Content-Length: 0\r\n", b"")
        .await;
    assert_eq!(refused.status, 403);
    let lines = plane.audit(3).await;
    for line in &lines[..3] {
        assert_eq!(
            (&line["action"], &line["rules"][0]["phase"]),
            (&"block".into(), &4.into())
        );
    }
    assert_eq!(plane.access(1).await[0]["waf"], "block");
}

#[tokio::test]
async fn responses_of_other_types_and_encoded_ones_are_not_held_back() {
    let origin = Origin::start(|request| async move {
        let lines = match request.target() {
            "/image" => "Content-Type: image/png\r\n",
            "/events" => "Content-Type: text/event-stream\r\n",
            _ => "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n",
        };
        answer(200, lines, "a secret")
    })
    .await;
    let plane = Plane::start().await;
    let policy = policy(SECRET, |_, rules| rules.inspect_response = Some(4096));
    plane.apply(protected(&origin, policy)).await;
    let mut client = plane.client().await;
    for target in ["/image", "/events", "/gzip"] {
        assert_eq!(get(&mut client, target).await, 200, "{target}");
    }
}

#[tokio::test]
async fn a_handshake_is_judged() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::start().await;
    let route = id(Kind::WsRoute, "chat");
    let mut policy = waf_policy(route);
    policy.rules = Some(rules(DEBUG));
    plane
        .apply(objects([
            ("chat", Unit::WsRoute(ws_route(origin.address))),
            ("policy", Unit::WafPolicy(policy)),
        ]))
        .await;
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let refused = plane.client().await.get("shop.test", "/ws?debug=1", lines).await;
    assert_eq!((refused.status, origin.count()), (403, 0));
}

#[tokio::test]
async fn hidden_arguments_and_fields_stay_out_of_what_rules_say() {
    let text = format!(
        "{ATTACK}\nSecRule REQUEST_HEADERS \"@contains attack\" \"id:5,phase:1,pass,log,msg:'H',logdata:'%{{MATCHED_VAR}} within %{{MATCHED_VAR_NAME}}'\""
    );
    let (_origin, plane) = plane(&text, |policy, _| {
        policy.redact.arguments = vec!["password".to_owned()];
        policy.redact.headers = vec!["authorization".to_owned()];
    })
    .await;
    let lines = "Authorization: attack-me\r\n";
    plane
        .client()
        .await
        .get("shop.test", "/?password=attack77", lines)
        .await;
    let line = plane.audit(1).await.remove(0).to_string();
    assert!(
        line.contains("ARGS:password") && !line.contains("attack77") && !line.contains("attack-me"),
        "{line}"
    );
}

#[tokio::test]
async fn rules_that_cannot_be_compiled_are_rejected_with_their_line_and_close_what_they_protect() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::start().await;
    let applied = plane
        .try_apply(protected(
            &origin,
            policy("\nSecRule ARGS \"@rx (\" \"id:1,phase:1,deny\"", |_, _| {}),
        ))
        .await;
    assert_eq!(applied.rejected.len(), 1);
    assert!(
        applied.rejected[0].message.starts_with("spec.seclang.inline:2: "),
        "{applied:?}"
    );
    let mut client = plane.client().await;
    assert_eq!(get(&mut client, "/").await, 503);
    // As long as it is so, it is said.
    let again = plane
        .try_apply(protected(
            &origin,
            policy("\nSecRule ARGS \"@rx (\" \"id:1,phase:1,deny\"", |_, _| {}),
        ))
        .await;
    assert_eq!(again.rejected.len(), 1);
    plane.apply(protected(&origin, policy(DEBUG, |_, _| {}))).await;
    assert_eq!(get(&mut client, "/").await, 200);
    assert_eq!(get(&mut client, "/?debug=1").await, 403);
}

#[tokio::test]
async fn a_policy_with_the_core_rule_set_is_rejected_by_a_node_that_has_none() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::start().await;
    let with_crs = policy(DEBUG, |_, rules| {
        rules.crs = Some(breakwater_snapshot::unit::Crs {
            paranoia_level: 1,
            detection_paranoia_level: 1,
            inbound: 5,
            outbound: 4,
            early_blocking: false,
        });
    });
    let applied = plane.try_apply(protected(&origin, with_crs)).await;
    assert!(applied.rejected[0].message.contains("--crs-dir"), "{applied:?}");
    assert_eq!(get(&mut plane.client().await, "/").await, 503);
}
