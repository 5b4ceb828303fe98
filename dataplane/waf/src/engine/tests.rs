//! What rules mean, each in a few lines.

use std::sync::Arc;

use super::*;
use crate::audit::Redaction;
use crate::seclang::{Key, Variable, parse};
use crate::testing::connection;

mod bodies;
mod bounds;
mod redaction;
mod refusals;
mod transactions;

fn compiled(text: &str) -> Result<RuleSet, Vec<CompileError>> {
    let directives = parse("test.conf", text).unwrap_or_else(|errors| panic!("{errors:?}"));
    RuleSet::compile(&directives, &|name, _| match name {
        "words.data" => Ok(b"# comment\nevil.exe\n\nbad word\n".to_vec()),
        _ => Err(format!("no file {name}")),
    })
}

fn rules(text: &str) -> Arc<RuleSet> {
    Arc::new(compiled(text).unwrap_or_else(|errors| panic!("{errors:?}")))
}

fn mistakes(text: &str) -> Vec<String> {
    compiled(text)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// A request through all phases.
struct Sent {
    refused: Option<Intervention>,
    report: Report,
}

impl Sent {
    fn ids(&self) -> Vec<u32> {
        self.report.matches.iter().map(|found| found.id).collect()
    }
}

fn send_with(
    rules: &Arc<RuleSet>,
    overlay: &Overlay,
    detect: bool,
    target: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> Sent {
    let redaction = Arc::default();
    send_redacted(
        rules,
        overlay,
        detect,
        &redaction,
        target,
        fields,
        body,
        b"<b>secret</b>",
    )
}

#[allow(clippy::too_many_arguments, reason = "a request has as many parts")]
fn send_redacted(
    rules: &Arc<RuleSet>,
    overlay: &Overlay,
    detect: bool,
    redaction: &Arc<Redaction>,
    target: &str,
    fields: &[(&str, &str)],
    body: &str,
    response: &[u8],
) -> Sent {
    let bound = Arc::new(Bound::new(rules, overlay));
    let mut transaction = Transaction::bound(&bound, &connection(), detect).with_redaction(redaction);
    transaction.request_line(
        if body.is_empty() { b"GET" } else { b"POST" },
        target.as_bytes(),
        b"HTTP/1.1",
    );
    for (name, value) in fields {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    let mut refused = transaction.run_request_headers();
    if refused.is_none() {
        refused = transaction.run_request_body(body.as_bytes(), false);
    }
    if refused.is_none() {
        let head: [(&[u8], &[u8]); 1] = [(b"Content-Type", b"text/html")];
        refused = transaction.run_response_headers(200, &mut head.into_iter());
    }
    if refused.is_none() {
        refused = transaction.run_response_body(response, false);
    }
    Sent {
        refused,
        report: transaction.finish(),
    }
}

fn send(rules: &Arc<RuleSet>, target: &str) -> Sent {
    send_with(rules, &Overlay::default(), false, target, &[], "")
}

#[test]
fn a_rule_that_denies_ends_the_request_with_its_status() {
    let rules = rules(
        r#"SecRule ARGS:q "@rx evil" "id:1,phase:2,deny,status:418,msg:'Bad %{MATCHED_VAR_NAME}',severity:CRITICAL"
        SecAction "id:2,phase:2,pass,log"
        SecAction "id:3,phase:5,pass,log""#,
    );
    let sent = send(&rules, "/?q=so+evil");
    assert_eq!(
        sent.refused,
        Some(Intervention {
            status: 418,
            redirect: None,
            drop: false,
            rule: 1
        })
    );
    assert_eq!(sent.ids(), [1, 3], "nothing but the last phase runs after it");
    assert_eq!(sent.report.matches[0].msg, "Bad ARGS:q");
    assert_eq!(send(&rules, "/?q=fine").ids(), [2, 3]);
}

#[test]
fn in_detection_what_would_refuse_is_told_and_the_rest_runs() {
    let rules = rules("SecAction \"id:1,phase:1,deny\"\nSecAction \"id:2,phase:2,deny\"");
    let sent = send_with(&rules, &Overlay::default(), true, "/", &[], "");
    assert_eq!(sent.refused, None);
    assert_eq!(sent.ids(), [1, 2]);
    assert_eq!(sent.report.intervention.map(|intervention| intervention.rule), Some(1));
}

#[test]
fn every_match_scores_and_the_threshold_is_a_macro() {
    let rules = rules(
        r#"SecAction "id:1,phase:1,pass,nolog,setvar:tx.critical=5,setvar:tx.threshold=10"
        SecRule ARGS "@contains evil" "id:2,phase:2,pass,setvar:tx.blocking_inbound_anomaly_score=+%{tx.critical}"
        SecRule TX:BLOCKING_INBOUND_ANOMALY_SCORE "@ge %{tx.threshold}" "id:3,phase:2,deny,msg:'Score %{tx.blocking_inbound_anomaly_score}'""#,
    );
    assert_eq!(send(&rules, "/?a=evil&b=fine").refused, None);
    let sent = send(&rules, "/?a=evil&b=evil");
    assert_eq!(sent.refused.map(|intervention| intervention.rule), Some(3));
    assert_eq!(sent.report.inbound, 10);
    assert_eq!(sent.report.matches[1].msg, "Score 10");
}

#[test]
fn a_chain_matches_when_all_its_links_do_and_sees_what_they_matched() {
    let rules = rules(
        r#"SecRule ARGS "@rx ^a(.)" "id:1,phase:2,deny,capture,chain,logdata:'%{TX.1} in %{MATCHED_VAR}'"
        SecRule MATCHED_VARS "@endsWith z" "t:none,chain"
        SecRule TX:1 "@streq b""#,
    );
    assert!(send(&rules, "/?x=acz").refused.is_none());
    assert!(send(&rules, "/?x=aby").refused.is_none());
    let sent = send(&rules, "/?x=abz");
    assert_eq!(sent.report.matches[0].data, "b in b");
}

#[test]
fn transformations_run_in_order_and_multimatch_tests_after_each() {
    let once = rules(r#"SecRule ARGS:x "@rx <b>" "id:1,phase:2,deny,t:none,t:htmlEntityDecode,t:lowercase""#);
    assert!(send(&once, "/?x=%26lt;B%26gt;").refused.is_some());
    let each = rules(r#"SecRule ARGS:x "@rx ^AB" "id:1,phase:2,deny,multiMatch,t:none,t:lowercase""#);
    assert!(send(&each, "/?x=ABc").refused.is_some());
    assert!(send(&each, "/?x=abc").refused.is_none());
}

#[test]
fn skip_and_skip_after_leave_rules_of_their_phase_out() {
    let rules = rules(
        r#"SecAction "id:1,phase:1,pass,nolog,skipAfter:END"
        SecAction "id:2,phase:1,pass,log"
        SecAction "id:3,phase:2,pass,log,skip:1"
        SecAction "id:4,phase:2,pass,log"
        SecMarker END
        SecAction "id:5,phase:1,pass,log"
        SecAction "id:6,phase:2,pass,log""#,
    );
    assert_eq!(send(&rules, "/").ids(), [5, 3, 6]);
}

#[test]
fn ctl_takes_rules_and_targets_out_for_the_rest_of_the_transaction() {
    let rules = rules(
        r#"SecRule REQUEST_FILENAME "@beginsWith /free" "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=10"
        SecRule REQUEST_FILENAME "@beginsWith /blind" "id:2,phase:1,pass,nolog,ctl:ruleRemoveTargetByTag=t;ARGS:q"
        SecRule ARGS "@rx x" "id:10,phase:2,pass,tag:'t'"
        SecRule ARGS "@rx x" "id:11,phase:2,pass,tag:'t'""#,
    );
    assert_eq!(send(&rules, "/?q=x").ids(), [10, 11]);
    assert_eq!(send(&rules, "/free?q=x").ids(), [11]);
    assert_eq!(send(&rules, "/blind?q=x").ids(), [0_u32; 0]);
    assert_eq!(send(&rules, "/blind?q=x&r=x").ids(), [10, 11]);
}

#[test]
fn an_overlay_sets_variables_and_hides_rules_and_targets() {
    let rules = rules(
        r#"SecRule &TX:level "@eq 0" "id:1,phase:1,pass,log,setvar:tx.level=1"
        SecRule TX:level "@ge 2" "id:2,phase:1,pass,log"
        SecRule ARGS "@rx x" "id:3,phase:2,deny,msg:'%{MATCHED_VAR_NAME}'"
        SecRule ARGS "@rx x" "id:4,phase:2,deny""#,
    );
    let target = Target {
        exclude: false,
        count: false,
        variable: Variable::Args,
        key: Some(Key::Name("q".to_owned())),
    };
    let overlay = Overlay {
        variables: vec![("Level".to_owned(), "2".to_owned())],
        exclusions: vec![
            Exclusion {
                rules: vec![RuleRange::Ids(vec![(3, 3)])],
                targets: vec![target],
            },
            Exclusion {
                rules: vec![RuleRange::Ids(vec![(4, 9)])],
                targets: Vec::new(),
            },
        ],
        detect_only: Vec::new(),
    };
    assert_eq!(send(&rules, "/?q=x").ids(), [1, 3]);
    assert_eq!(send_with(&rules, &overlay, false, "/?q=x", &[], "").ids(), [2]);
    let sent = send_with(&rules, &overlay, false, "/?q=x&Other=x", &[], "");
    assert_eq!(sent.report.matches[1].msg, "ARGS:Other");
}

#[test]
fn rules_that_only_detect_report_but_neither_score_nor_refuse() {
    let rules = rules(r#"SecRule ARGS "@rx x" "id:1,phase:2,deny,setvar:tx.blocking_inbound_anomaly_score=+5""#);
    let overlay = Overlay {
        detect_only: vec![RuleRange::Ids(vec![(1, 1)])],
        ..Overlay::default()
    };
    let sent = send_with(&rules, &overlay, false, "/?q=x", &[], "");
    assert_eq!((sent.ids(), sent.refused, sent.report.inbound), (vec![1], None, 0));
}

#[test]
fn block_and_rules_that_say_nothing_do_what_the_default_of_their_phase_says() {
    let rules = rules(
        r#"SecDefaultAction "phase:2,log,deny,status:406"
        SecRule ARGS:a "@rx x" "id:1,phase:2,block"
        SecRule ARGS:b "@rx x" "id:2,phase:2"
        SecRule ARGS:c "@rx x" "id:3,phase:2,pass""#,
    );
    assert_eq!(
        send(&rules, "/?a=x").refused.map(|intervention| intervention.status),
        Some(406)
    );
    assert_eq!(
        send(&rules, "/?b=x").refused.map(|intervention| intervention.status),
        Some(406)
    );
    assert!(send(&rules, "/?c=x").refused.is_none());
}

#[test]
fn removals_and_updates_change_the_rules_before_them() {
    let rules = rules(
        r#"SecRule ARGS "@rx x" "id:1,phase:2,pass"
        SecRule ARGS "@rx x" "id:2,phase:2,pass,tag:'attack-sqli'"
        SecRule ARGS "@rx x" "id:3,phase:2,pass"
        SecRuleRemoveById 1
        SecRuleRemoveByTag "sqli$"
        SecRuleUpdateTargetById 3 "!ARGS:q|REQUEST_COOKIES"
        SecRuleUpdateActionById 3 "deny,status:400""#,
    );
    assert_eq!(send(&rules, "/?q=x").ids(), [0_u32; 0]);
    let sent = send_with(&rules, &Overlay::default(), false, "/", &[("Cookie", "a=x")], "");
    assert_eq!(
        sent.refused
            .map(|intervention| (intervention.rule, intervention.status)),
        Some((3, 400))
    );
}

#[test]
fn allow_ends_the_rules_of_its_scope() {
    let text = |scope: &str| {
        rules(&format!(
            "SecAction \"id:1,phase:1,{scope},nolog\"\nSecAction \"id:2,phase:1,pass\"\nSecAction \"id:3,phase:2,pass\"\n\
                        SecAction \"id:4,phase:3,pass\"\nSecAction \"id:5,phase:5,pass\""
        ))
    };
    assert_eq!(send(&text("allow"), "/").ids(), [5]);
    assert_eq!(send(&text("allow:phase"), "/").ids(), [3, 4, 5]);
    assert_eq!(send(&text("allow:request"), "/").ids(), [4, 5]);
}

#[test]
fn what_is_allowed_as_a_request_is_judged_whole_as_a_response() {
    let rules = rules(
        "SecAction \"id:1,phase:1,allow:request,nolog\"\nSecAction \"id:2,phase:3,pass\"\nSecAction \"id:3,phase:3,pass\"\n\
         SecAction \"id:4,phase:5,pass\"\nSecAction \"id:5,phase:5,pass\"",
    );
    assert_eq!(send(&rules, "/").ids(), [2, 3, 4, 5]);
}

#[test]
fn no_rule_makes_a_transaction_refuse_that_only_detects() {
    let rules = rules("SecAction \"id:1,phase:1,pass,nolog,ctl:ruleEngine=On\"\nSecAction \"id:2,phase:1,deny\"");
    let sent = send_with(&rules, &Overlay::default(), true, "/", &[], "");
    assert_eq!(
        (sent.refused, sent.report.intervention.map(|found| found.rule)),
        (None, Some(2))
    );
}

#[test]
fn what_one_transaction_stores_the_next_sees_until_it_expires() {
    let rules = rules(
        r#"SecAction "id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR},setvar:ip.hits=+1,expirevar:ip.hits=60"
        SecRule IP:hits "@gt 2" "id:2,phase:1,drop""#,
    );
    let bound = Arc::new(Bound::new(&rules, &Overlay::default()));
    let stores = Arc::new(Stores::new(100));
    let hit = |now_ms| {
        let mut transaction =
            Transaction::bound(&bound, &Connection { now_ms, ..connection() }, false).with_stores(&stores);
        transaction.request_line(b"GET", b"/", b"HTTP/1.1");
        transaction.run_request_headers()
    };
    assert!(hit(0).is_none() && hit(1).is_none());
    assert!(hit(2).is_some_and(|intervention| intervention.drop));
    assert!(hit(100_000).is_none());
}

#[test]
fn bodies_are_read_by_their_type_and_broken_ones_are_still_seen() {
    let rules = rules(
        r#"SecRule ARGS "@rx evil" "id:1,phase:2,pass,logdata:'%{MATCHED_VAR_NAME}'"
        SecRule REQBODY_ERROR "!@eq 0" "id:2,phase:2,pass"
        SecRule XML:/* "@rx evil" "id:3,phase:2,pass"
        SecRule FILES "@rx evil" "id:4,phase:2,pass"
        SecRule REQUEST_BODY "@rx evil" "id:5,phase:2,pass""#,
    );
    let post =
        |kind: &str, body: &str| send_with(&rules, &Overlay::default(), false, "/", &[("Content-Type", kind)], body);
    assert_eq!(
        post("application/x-www-form-urlencoded", "a=%65vil").report.matches[0].data,
        "ARGS:a"
    );
    assert_eq!(
        post("application/json", r#"{"a":{"b":"evil"}}"#).report.matches[0].data,
        "ARGS:json.a.b"
    );
    assert_eq!(post("application/json", r#"{"a":1, evil"#).ids(), [2, 5]);
    assert_eq!(post("text/xml", "<a>evil</a>").ids(), [3]);
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"evil\"\r\n\r\nhi\r\n--x--\r\n";
    assert_eq!(post("multipart/form-data; boundary=x", multipart).ids(), [4]);
}

#[test]
fn arguments_beyond_the_limit_are_seen_as_one() {
    let rules = rules("SecArgumentsLimit 10\nSecRule ARGS \"@rx evil\" \"id:1,phase:2,deny\"");
    let many: String = (0..100).map(|index| format!("a{index}=1&")).collect();
    assert!(send(&rules, &format!("/?{many}")).refused.is_none());
    assert!(send(&rules, &format!("/?{many}z=evil")).refused.is_some());
}

#[test]
fn arguments_beyond_the_limit_are_an_error_of_the_request() {
    let rules = rules("SecArgumentsLimit 10\nSecRule REQBODY_ERROR \"!@eq 0\" \"id:1,phase:2,deny\"");
    let many = |count| (0..count).map(|index| format!("a{index}=1&")).collect::<String>();
    assert!(send(&rules, &format!("/?{}", many(9))).refused.is_none());
    assert!(send(&rules, &format!("/?{}", many(11))).refused.is_some());
}

#[test]
fn responses_are_read_where_their_type_is() {
    let rules = rules(r#"SecRule RESPONSE_BODY "@contains secret" "id:1,phase:4,deny,status:502""#);
    assert_eq!(
        send(&rules, "/").refused.map(|intervention| intervention.status),
        Some(502)
    );
    let bound = Arc::new(Bound::new(&rules, &Overlay::default()));
    let mut transaction = Transaction::bound(&bound, &connection(), false);
    let image: [(&[u8], &[u8]); 1] = [(b"content-type", b"image/png")];
    assert!(!transaction.wants_request_body());
    assert!(transaction.run_response_headers(200, &mut image.into_iter()).is_none());
    assert!(!transaction.wants_response_body());
}

#[test]
fn phrases_come_from_files_and_count_whatever_their_case() {
    let rules = rules(r#"SecRule ARGS "@pmFromFile words.data" "id:1,phase:2,deny,capture,logdata:'%{TX.0}'""#);
    assert_eq!(send(&rules, "/?a=my+EVIL.exe").report.matches[0].data, "EVIL.exe");
    assert!(send(&rules, "/?a=comment").refused.is_none());
}

#[test]
fn mistakes_are_told_with_their_place_and_one_does_not_hide_the_next() {
    let told = mistakes(
        "SecAction \"id:1,phase:1,pass\"\nSecAction \"id:1,phase:1,pass\"\nSecRule ARGS \"@rx (x\" \"id:2,phase:2,pass\"\n\
                         SecRule ARGS \"@pmFromFile none.data\" \"id:3,phase:2,pass\"\nSecRule REMOTE_ADDR \"@ipMatch 1.2.3\" \"id:4,phase:1,pass\"\n\
                SecRule ARGS \"@gt x\" \"id:6,phase:2,pass\"",
    );
    let parts = [
        ("test.conf:2", "already defined at test.conf:1"),
        ("test.conf:3", "unclosed"),
        ("test.conf:4", "no file none.data"),
        ("test.conf:5", "1.2.3"),
        ("test.conf:6", "no number"),
    ];
    assert_eq!(told.len(), parts.len(), "{told:#?}");
    for ((place, part), message) in parts.iter().zip(&told) {
        assert!(message.starts_with(place) && message.contains(part), "{message}");
    }
}

#[test]
fn a_rule_that_cannot_be_run_is_left_out_and_told_even_if_negated() {
    let rules = rules(
        "SecRule REMOTE_ADDR \"!@rbl x.example\" \"id:1,phase:1,deny\"\nSecRule ARGS \"!@rx (?!x)y\" \"id:2,phase:2,deny\"",
    );
    assert!(send(&rules, "/?a=b").refused.is_none());
    let told: Vec<String> = rules.left_out().iter().map(ToString::to_string).collect();
    assert!(
        told.len() == 2 && told[0].starts_with("test.conf:1: rule 1 cannot be run"),
        "{told:?}"
    );
    assert!(told[1].contains("linear time"), "{told:?}");
}

#[test]
fn macros_in_patterns_are_expanded() {
    let rules = rules(
        r#"SecAction "id:1,phase:1,pass,nolog,setvar:tx.allowed=^a+$"
        SecRule ARGS "!@rx %{tx.allowed}" "id:2,phase:2,deny""#,
    );
    assert!(send(&rules, "/?x=aaa").refused.is_none());
    assert!(send(&rules, "/?x=aab").refused.is_some());
}

#[test]
fn a_pattern_that_would_need_too_much_memory_is_a_mistake() {
    let told = mistakes("SecRule ARGS \"@rx (?:[a-z]{1000}){1000}x\" \"id:1,phase:2,pass\"");
    assert!(told.len() == 1 && told[0].starts_with("test.conf:1"), "{told:?}");
}

#[test]
fn variables_that_grow_are_cut_at_their_bound() {
    let grow = "setvar:'tx.x=%{tx.x}%{tx.x}'";
    let rules = rules(&format!(
        "SecAction \"id:1,phase:1,pass,nolog,setvar:tx.x=0123456789abcdef\"\n\
                                SecRule ARGS \"@unconditionalMatch\" \"id:2,phase:2,pass,nolog,{grow}\"\n\
                                SecRule TX:x \"@rx ^.*$\" \"id:3,phase:2,pass,t:length,logdata:'%{{MATCHED_VAR}}'\""
    ));
    let many: String = (0..500).map(|index| format!("a{index}=1&")).collect();
    let sent = send(&rules, &format!("/?{many}"));
    let length: usize = sent.report.matches[0].data.parse().unwrap();
    assert!((1..=64 << 10).contains(&length), "{length}");
}

#[test]
fn chains_over_what_they_matched_do_not_multiply_it() {
    let links = "\nSecRule MATCHED_VARS \"@rx .\" \"chain\"".repeat(20);
    let rules = rules(&format!(
        "SecRule ARGS \"@rx .\" \"id:1,phase:2,pass,chain\"{links}\nSecRule MATCHED_VARS \"@rx .\" \"setvar:tx.blocking_inbound_anomaly_score=+1\""
    ));
    let many: String = (0..500).map(|index| format!("a{index}=1&")).collect();
    assert_eq!(send(&rules, &format!("/?{many}")).report.inbound, 500);
}
