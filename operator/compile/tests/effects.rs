//! What is said of exclusions and modes that do nothing, or more than was meant, and of policies that do nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use breakwater_compile::{Memo, Severity, compile, compile_again};
use breakwater_waf::bundle::{Crs, Source};
use breakwater_waf::catalog::Catalog;
use support::world;

const CRS: &str = r#"
SecComponentSignature "OWASP_CRS/4.28.0"
SecAction "id:901100,phase:1,pass,nolog,tag:'OWASP_CRS'"
SecRule ARGS|REQUEST_COOKIES "@rx union" "id:942100,phase:2,block,tag:'attack-sqli',tag:'OWASP_CRS'"
SecRule REQUEST_METHOD "@rx ^PUT$" "id:911100,phase:1,block,tag:'OWASP_CRS'"
SecRule TX:DETECTION_PARANOIA_LEVEL "@lt 1" "id:949011,phase:1,pass,nolog,tag:'OWASP_CRS',skipAfter:END"
SecMarker END
SecRule TX:blocking_inbound_anomaly_score "@ge 5" "id:949110,phase:2,deny,msg:'Score Exceeded',tag:'OWASP_CRS'"
SecRule TX:blocking_outbound_anomaly_score "@ge 4" "id:959100,phase:4,deny,tag:'OWASP_CRS'"
"#;

fn catalog() -> Arc<Catalog> {
    let source = Source {
        name: "crs.conf",
        text: CRS,
    };
    Arc::new(Catalog::of_crs(Arc::new(
        Crs::parse(None, &[source], BTreeMap::new()).unwrap(),
    )))
}

/// What is said of a policy with this spec, as `severity field: message`.
fn told(spec: &str, crs: Option<Arc<Catalog>>) -> Vec<String> {
    let policy = format!(
        "kind: EdgeCache\nmetadata: {{name: shop}}\nspec: {{hostnames: [a.example], origin: {{urls: [\"http://10.0.0.1\"]}}}}\n---\nkind: WafPolicy\nmetadata: {{name: p}}\nspec:\n  targetRefs: [{{group: breakwater.dev, kind: EdgeCache, name: shop}}]\n{spec}"
    );
    let mut world = world(&policy);
    world.crs = crs;
    let verdicts = compile(&world).verdicts;
    let policy = verdicts.iter().find(|verdict| verdict.id.name == "p").unwrap();
    let problems = policy.problems.iter();
    problems
        .map(|problem| {
            let severity = match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            format!("{severity} {}: {}", problem.field, problem.message)
        })
        .collect()
}

fn exclusion(text: &str) -> Vec<String> {
    told(&format!("  crs: {{exclusions: [{text}]}}\n"), Some(catalog()))
}

#[test]
fn a_target_whose_pattern_does_not_compile_is_an_error_at_its_field() {
    let told = exclusion("{rules: {ids: [942100]}, targets: ['ARGS:/(/']}");
    assert!(
        matches!(told.as_slice(), [one] if one.starts_with("error spec.crs.exclusions[0].targets[0]: the name /(/")),
        "{told:?}"
    );
}

#[test]
fn ids_ranges_and_tags_that_no_rule_has_are_warned_of_with_the_version_that_was_looked_at() {
    let told = exclusion(
        "{rules: {ids: [942100, 942999], ranges: [943000-943999, 911000-942000], tags: [attack-sql, attack-sqli]}}",
    );
    let fields =
        ["ids[1]", "ranges[0]", "tags[0]"].map(|field| format!("warning spec.crs.exclusions[0].rules.{field}: "));
    assert_eq!(told.len(), fields.len(), "{told:?}");
    for (told, field) in told.iter().zip(&fields) {
        assert!(told.starts_with(field) && told.contains("OWASP_CRS/4.28.0"), "{told}");
    }
}

#[test]
fn a_target_that_no_chosen_rule_looks_at_is_warned_of() {
    let told = exclusion("{rules: {ids: [942100]}, targets: ['ARGS:q', 'REQUEST_HEADERS:X']}");
    assert!(
        matches!(told.as_slice(), [one] if one.starts_with("warning spec.crs.exclusions[0].targets[1]: it has no effect")),
        "{told:?}"
    );
    let own = "  seclang: {inline: 'SecRule REQUEST_BODY \"@rx x\" \"id:7,phase:2,deny\"'}\n  crs: {exclusions: [{rules: {ids: [7]}, targets: [REQUEST_BODY]}]}\n";
    assert_eq!(told_of(own), Vec::<String>::new());
}

fn told_of(spec: &str) -> Vec<String> {
    told(spec, Some(catalog()))
}

#[test]
fn without_the_rules_that_refuse_nothing_is_refused_and_that_is_said() {
    for (text, stops) in [
        ("{rules: {ids: [949110]}}", "no request is refused"),
        ("{rules: {ranges: ['959000-959999']}}", "no response is refused"),
        (
            "{rules: {ids: [949110]}, targets: ['TX:blocking_inbound_anomaly_score']}",
            "no request is refused",
        ),
    ] {
        let told = exclusion(text);
        assert!(
            matches!(told.as_slice(), [one] if one.starts_with("warning spec.crs.exclusions[0]: ") && one.contains(stops)),
            "{text}: {told:?}"
        );
    }
    assert_eq!(exclusion("{rules: {ids: [949011]}}"), Vec::<String>::new());
    let all = exclusion("{rules: {tags: [OWASP_CRS]}}");
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all.iter().any(|told| told.contains("901100")), "{all:?}");
    assert_eq!(
        exclusion("{rules: {tags: [OWASP_CRS]}, targets: ['ARGS:q']}"),
        Vec::<String>::new()
    );
    let mode = told_of("  crs: {modes: [{rules: {ids: [949110]}, mode: DetectOnly}]}\n");
    assert!(
        matches!(mode.as_slice(), [one] if one.starts_with("warning spec.crs.modes[0]: it lets report only rule 949110")),
        "{mode:?}"
    );
    let removed = told_of("  crs: {}\n  seclang: {inline: SecRuleRemoveById 949000-949999}\n");
    assert!(
        matches!(removed.as_slice(), [one] if one.starts_with("warning spec.seclang.inline:1: it removes rule 949110")),
        "{removed:?}"
    );
}

#[test]
fn without_the_core_rule_set_at_hand_nothing_is_said_of_what_may_be_in_it() {
    let text = "{rules: {ids: [942999, 12], tags: [x]}, targets: ['REQUEST_HEADERS:X']}, {rules: {ids: [949110]}}";
    let told = told(&format!("  crs: {{exclusions: [{text}]}}\n"), None);
    assert!(
        matches!(told.as_slice(), [id, refuses]
            if id.starts_with("warning spec.crs.exclusions[0].rules.ids[1]: no rule has the id 12") && refuses.contains("949110")),
        "{told:?}"
    );
}

#[test]
fn a_policy_without_any_part_is_said_to_enforce_nothing() {
    // What an API server makes of `crs:` without a value.
    for spec in [
        "",
        "  mode: Enforce\n  penalty: {after: {count: 1, per: 1m}, for: 1m}\n",
        "  addresses: {allow: [192.0.2.1]}\n",
    ] {
        let told = told_of(spec);
        assert!(
            told.iter()
                .any(|told| told.starts_with("warning spec: the policy enforces nothing")),
            "{spec}: {told:?}"
        );
    }
    for spec in [
        "  crs: {}\n",
        "  uris: {deny: [{type: Exact, value: /x}]}\n",
        "  addresses: {default: Deny}\n",
    ] {
        assert_eq!(told_of(spec), Vec::<String>::new(), "{spec}");
    }
}

/// What is said of own rules beside the Core Rule Set, without the field.
fn beside(lines: &[&str]) -> Vec<String> {
    let lines: Vec<String> = lines.iter().map(|line| format!("      {line}\n")).collect();
    let told = told_of(&format!("  crs: {{}}\n  seclang:\n    inline: |\n{}", lines.concat()));
    let told = told.iter().map(|told| told.replace("spec.seclang.inline:", ""));
    told.collect()
}

#[test]
fn what_nodes_refuse_of_own_rules_beside_the_core_rule_set_is_an_error_with_its_line() {
    let taken = beside(&["", "SecAction \"id:942100,phase:1,pass,nolog\""]);
    assert!(
        matches!(taken.as_slice(), [one] if one.starts_with("error 2: OWASP_CRS/4.28.0 has a rule 942100")),
        "{taken:?}"
    );
    let status = beside(&["SecRuleUpdateActionById 949110 \"deny,status:200\""]);
    assert!(
        matches!(status.as_slice(), [one] if one.starts_with("error 1: rule 949110: status:200 refuses nothing")),
        "{status:?}"
    );
    // What is wrong without it is told once.
    let pattern = beside(&["SecRule ARGS \"@rx (\" \"id:1,phase:2,deny\""]);
    assert!(
        matches!(pattern.as_slice(), [one] if one.starts_with("error 1: ")),
        "{pattern:?}"
    );
}

#[test]
fn what_turns_the_core_rule_set_off_is_warned_of_with_its_line() {
    let refuses = "rule 949110, which refuses for what the others found: no request is refused for its score";
    for (line, part) in [
        ("SecRuleRemoveByTag .", refuses),
        ("SecRuleRemoveByTag OWASP", refuses),
        ("SecRuleRemoveByMsg Exceeded", refuses),
        ("SecRuleRemoveById 949110", refuses),
        (
            "SecRuleRemoveById 901000-901999",
            "it removes rule 901100, which sets up",
        ),
        (
            "SecRuleUpdateActionById 949110 \"pass\"",
            "with this rule 949110 refuses nothing",
        ),
        (
            "SecRuleUpdateActionById 949110 \"allow\"",
            "with this rule 949110 refuses nothing",
        ),
        (
            "SecRuleUpdateTargetById 949110 \"!TX:BLOCKING_INBOUND_ANOMALY_SCORE\"",
            refuses,
        ),
        ("SecRuleUpdateTargetById 949110 \"!TX\"", refuses),
        (
            "SecRuleUpdateTargetById 949110 \"TX:x\" \"TX:blocking_inbound_anomaly_score\"",
            refuses,
        ),
        (
            "SecAction \"id:1,phase:1,pass,nolog,ctl:ruleRemoveById=949110\"",
            refuses,
        ),
        (
            "SecAction \"id:1,phase:1,pass,nolog,ctl:ruleRemoveByTag=OWASP_CRS\"",
            refuses,
        ),
        (
            "SecAction \"id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=949110;TX\"",
            refuses,
        ),
        ("SecAction \"id:1,phase:2,pass,nolog,skipAfter:NOSUCH\"", refuses),
        (
            "SecAction \"id:1,phase:2,pass,nolog,skipAfter:NOSUCH\"",
            "no such marker or rule follows",
        ),
        (
            "SecAction \"id:1,phase:3,pass,nolog,skipAfter:NOSUCH\"",
            "no such marker or rule follows",
        ),
        (
            "SecAction \"id:1,phase:1,pass,nolog,skipAfter:END\"",
            "it skips rule 901100",
        ),
        ("SecAction \"id:1,phase:2,pass,nolog,skip:1\"", "it skips rule 942100"),
        (
            "SecAction \"id:1,phase:2,pass,nolog,skip:300\"",
            "skip:300 leads past the end of the phase",
        ),
        ("SecAction \"id:1,phase:2,pass,nolog,skip:300\"", refuses),
        (
            "SecAction \"id:1,phase:1,pass,nolog,ctl:ruleEngine=DetectionOnly\"",
            "it matches always, and turns off",
        ),
        (
            "SecAction \"id:1,phase:1,allow,nolog\"",
            "it matches always, and turns off",
        ),
    ] {
        let told = beside(&["", line]);
        assert!(
            told.iter().all(|told| told.starts_with("warning 2: ")),
            "{line}: {told:?}"
        );
        assert!(told.iter().any(|told| told.contains(part)), "{line}: {told:?}");
    }
    let somewhere =
        beside(&["SecRule REMOTE_ADDR \"@ipMatch 192.0.2.1\" \"id:1,phase:1,pass,ctl:ruleRemoveById=949110\""]);
    assert!(
        matches!(somewhere.as_slice(), [one] if one.ends_with("for its score where this rule matches")),
        "{somewhere:?}"
    );
}

#[test]
fn what_is_about_no_rule_of_the_core_rule_set_nor_of_the_policy_is_warned_of() {
    for line in [
        "SecRuleRemoveById 942999",
        "SecRuleRemoveByTag nosuchtag",
        "SecRuleUpdateTargetById 942999 \"!ARGS:q\"",
        "SecRuleUpdateTargetById 942100 \"!ARGS_GET:q\"",
        "SecRuleUpdateTargetByTag nosuchtag \"!ARGS:q\"",
        "SecRuleUpdateActionById 942999 \"pass\"",
        "SecAction \"id:1,phase:1,pass,nolog,ctl:ruleRemoveById=942999\"",
        "SecAction \"id:1,phase:1,pass,nolog,ctl:ruleRemoveByTag=attack-sql\"",
        "SecAction \"id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=942999;ARGS:q\"",
        "SecAction \"id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=942100;ARGS_GET:q\"",
    ] {
        let told = beside(&["", line]);
        assert!(
            matches!(told.as_slice(), [one] if one.starts_with("warning 2: ")),
            "{line}: {told:?}"
        );
    }
}

#[test]
fn what_changes_some_of_the_core_rule_set_and_leaves_its_verdict_alone_is_not_warned_of() {
    for line in [
        "SecRuleRemoveById 942100",
        "SecRuleRemoveByTag attack-sqli",
        "SecRuleUpdateTargetById 942100 \"!ARGS:q\"",
        "SecRuleUpdateTargetById 942100 \"!REQUEST_COOKIES:/^_ga/\"",
        "SecRuleUpdateActionById 949110 \"deny,status:406\"",
        "SecRuleUpdateActionById 949110 \"t:none,msg:'x'\"",
        "SecRule ARGS:a \"@streq 1\" \"id:1,phase:2,deny\"",
        "SecRule REQUEST_METHOD \"@streq GET\" \"id:1,phase:1,pass,nolog,ctl:ruleRemoveById=942100\"",
        "SecAction \"id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetByTag=attack-sqli;ARGS:q\"",
        "SecRule REMOTE_ADDR \"@ipMatch 192.0.2.1\" \"id:1,phase:1,allow,nolog\"",
        "SecAction \"id:1,phase:5,pass,nolog,ctl:ruleRemoveById=949110\"",
    ] {
        assert_eq!(beside(&[line]), Vec::<String>::new(), "{line}");
    }
    assert_eq!(
        beside(&[
            "SecRule ARGS:a \"@streq 1\" \"id:1,phase:2,pass,nolog,skipAfter:OVER\"",
            "SecAction \"id:2,phase:2,pass,nolog,setvar:tx.a=1\"",
            "SecMarker OVER",
        ]),
        Vec::<String>::new()
    );
}

#[test]
fn own_rules_are_looked_at_beside_the_core_rule_set_once_for_each_text() {
    let policies = ["a", "b", "c"].map(|name| {
        let rule = if name == "c" { 2 } else { 1 };
        format!(
            "kind: WafPolicy\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [], crs: {{}}, seclang: {{inline: 'SecAction \"id:{rule},phase:1,pass\"'}}}}\n"
        )
    });
    let mut world = world(&policies.join("---\n"));
    world.crs = Some(catalog());
    let mut memo = Memo::default();
    let first = compile_again(&world, &mut memo);
    assert_eq!(memo.linked(), 2);
    assert_eq!(compile_again(&world, &mut memo).verdicts, first.verdicts);
    assert_eq!(memo.linked(), 2);
    world.crs = Some(catalog());
    compile_again(&world, &mut memo);
    assert_eq!(memo.linked(), 4, "another Core Rule Set");
}

#[test]
fn own_rules_that_refuse_nothing_are_warned_of() {
    let none = told_of("  seclang: {inline: '# only a comment'}\n");
    assert!(
        matches!(none.as_slice(), [one] if one.starts_with("warning spec.seclang: it has no rule")),
        "{none:?}"
    );
    let block = |text: &str| told_of(&format!("  seclang: {{inline: '{text}'}}\n"));
    let passes = block("SecRule ARGS \"@rx x\" \"id:1,phase:1,block\"");
    assert!(
        matches!(passes.as_slice(), [one] if one.starts_with("warning spec.seclang.inline:1: rule 1 refuses nothing")),
        "{passes:?}"
    );
    let refuses = "SecDefaultAction \"phase:1,log,deny\"\n\n    SecRule ARGS \"@rx x\" \"id:1,phase:1,block\"";
    assert_eq!(block(refuses), Vec::<String>::new());
    let scores = "SecRule ARGS \"@rx x\" \"id:1,phase:1,block,setvar:tx.score=+5\"";
    assert_eq!(block(scores), Vec::<String>::new());
}

#[test]
fn a_collection_that_neither_own_rules_nor_the_core_rule_set_open_is_warned_of() {
    let rule = "  seclang: {inline: 'SecRule IP:x \"@gt 5\" \"id:7,phase:2,deny\"'}\n";
    let with_crs = format!("{rule}  crs: {{}}\n");
    for (spec, crs) in [(rule, None), (with_crs.as_str(), Some(catalog()))] {
        let told = told(spec, crs);
        assert!(
            matches!(told.as_slice(), [one] if one.starts_with("warning spec.seclang.inline:1: rule 7 never matches: nothing opens IP")),
            "{told:?}"
        );
    }
    // Which one nodes have is not known.
    assert_eq!(told(&with_crs, None), Vec::<String>::new());
    let unread = "  seclang: {inline: \"SecRule IP:x 5 'id:7,phase:2,deny'\\nSecNonsense On\"}\n";
    let told = told(unread, None);
    assert!(told.len() == 1 && told[0].starts_with("error "), "{told:?}");
}
