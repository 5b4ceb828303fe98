//! What bounds of the engine come to: no request makes it hold or do more than linearly much, and what it leaves out is told.

use super::*;

/// Tells of bounds as the base configuration does.
const TELL: &str = "SecRule TX:/^MSC_/ \"!@eq 0\" \"id:9,phase:5,pass,log,msg:'%{MATCHED_VAR_NAME}'\"\n";

/// A form through the first two phases and the last, with as many bytes as it held of values.
fn form(text: &str, body: &str) -> (Report, usize) {
    let rules = rules(&format!("{text}\n{TELL}"));
    let bound = Arc::new(Bound::new(&rules, &Overlay::default()));
    let mut transaction = Transaction::bound(&bound, &connection(), false);
    transaction.request_line(b"POST", b"/", b"HTTP/1.1");
    transaction.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
    transaction.run_request_headers();
    transaction.run_request_body(body.as_bytes(), false);
    let held = transaction.held();
    (transaction.finish(), held)
}

fn told(report: &Report) -> Vec<&str> {
    let told = report.matches.iter().filter(|found| found.id == 9);
    told.map(|found| found.msg.as_str()).collect()
}

#[test]
fn a_macro_of_a_collection_is_its_first_value_and_no_other_is_made() {
    let body: String = (0..500).map(|at| format!("{}{at}=v{at}&", "n".repeat(200))).collect();
    let text = "SecRule ARGS \"@rx .\" \"id:1,phase:2,pass,setvar:'tx.a=%{MATCHED_VARS_NAMES}|%{MATCHED_VARS}|%{ARGS}|%{ARGS_NAMES}'\"
        SecRule TX:a \"@rx ^ARGS:n+0\\|v0\\|v0\\|n+0$\" \"id:2,phase:2,pass\"";
    let (report, held) = form(text, &body);
    let ids: Vec<u32> = report.matches.iter().map(|found| found.id).collect();
    assert_eq!(ids, [1, 2]);
    assert!(held < 8 * body.len(), "{held} bytes for a body of {}", body.len());
}

#[test]
fn the_whole_request_has_its_body_even_if_a_rule_asked_for_it_before() {
    let text = "SecRule FULL_REQUEST|FULL_REQUEST_LENGTH \"@rx needle\" \"id:1,phase:1,pass\"
        SecRule FULL_REQUEST \"@rx needle\" \"id:2,phase:2,pass\"";
    let (report, _) = form(text, "a=needle");
    assert_eq!(report.matches.iter().map(|found| found.id).collect::<Vec<_>>(), [2]);
}

#[test]
fn what_an_argument_of_an_operator_comes_to_is_cut_and_that_is_told() {
    let text = "SecRule ARGS \"@within %{REQUEST_BODY}\" \"id:1,phase:2,pass\"";
    assert_eq!(told(&form(text, "a=1").0), [] as [&str; 0]);
    let (report, _) = form(text, &format!("a=1&b={}", "x".repeat(70_000)));
    assert_eq!(told(&report), ["TX:msc_text_limit"]);
}

#[test]
fn no_more_than_a_few_patterns_are_compiled_for_one_request_and_that_is_told() {
    // What is not matched is the pattern of the next value.
    let text = "SecRule ARGS \"!@rx ^%{MATCHED_VAR}z$\" \"id:1,phase:2,pass,setvar:tx.count=+1\"
        SecRule TX:count \"@eq 100\" \"id:2,phase:2,pass\"";
    let few: String = (0..10).map(|at| format!("a=v{at}&")).collect();
    assert_eq!(told(&form(text, &few).0), [] as [&str; 0]);
    let many: String = (0..100).map(|at| format!("a=v{at}&")).collect();
    let (report, _) = form(text, &many);
    assert_eq!(told(&report), ["TX:msc_patterns_limit"]);
    assert!(
        report.matches.iter().any(|found| found.id == 2),
        "what is not compiled does not match"
    );
}

#[test]
fn names_and_matches_beyond_their_bounds_are_told() {
    let names = |count: usize| -> String { (0..count).map(|at| format!("n{at}=&")).collect() };
    let text = "SecArgumentsLimit 10000
        SecRule ARGS_NAMES \"@rx .\" \"id:1,phase:2,pass,setvar:tx.x%{MATCHED_VAR}=1,setvar:tx.y%{MATCHED_VAR}=1,setvar:tx.z%{MATCHED_VAR}=1\"";
    assert_eq!(told(&form(text, &names(1000)).0), [] as [&str; 0]);
    assert_eq!(told(&form(text, &names(2000)).0), ["TX:msc_names_limit"]);
    assert_eq!(
        told(&form(text, &names(3000)).0),
        ["TX:msc_matched_vars_limit"],
        "the first of them"
    );
    let text: String = (0..300)
        .map(|at| format!("SecAction \"id:{},phase:2,pass,log\"\n", at + 10))
        .collect();
    assert_eq!(told(&form(&text, "a=1").0), ["TX:msc_matches_limit"]);
}

#[test]
fn fields_beyond_those_that_rules_see_are_told() {
    let rules = rules(TELL);
    let fields: Vec<(&str, &str)> = (0..1001).map(|_| ("X", "y")).collect();
    let sent = send_with(&rules, &Overlay::default(), false, "/", &fields[..1000], "");
    assert_eq!(told(&sent.report), [] as [&str; 0]);
    let sent = send_with(&rules, &Overlay::default(), false, "/", &fields, "");
    assert_eq!(told(&sent.report), ["TX:msc_fields_limit"]);
}

#[test]
fn transformations_that_make_a_value_much_longer_are_a_mistake() {
    let rule = |steps: &str| format!("SecRule ARGS x \"id:1,phase:2,pass,{steps}\"");
    assert!(compiled(&rule("t:utf8toUnicode,t:urlEncode")).is_ok());
    assert_eq!(
        mistakes(&rule("t:hexEncode,t:hexEncode,t:base64Encode,t:hexEncode,t:hexEncode")),
        [
            "test.conf:1: these transformations may make a value 32 times as long; use fewer that encode, 16 times is the most"
        ]
    );
}

#[test]
fn a_check_of_numbers_finds_them_wherever_they_stand() {
    let text = "SecRule ARGS:n \"@verifyCC \\d{13,16}\" \"id:1,phase:2,pass\"";
    for before in [0, 1, 250, 256, 495, 500, 511, 512, 513, 1000, 5000] {
        let body = format!("n={}4111111111111111{}", "x".repeat(before), "y".repeat(600));
        assert_eq!(form(text, &body).0.matches.len(), 1, "{before}");
        let other = body.replace("411", "511");
        assert_eq!(form(text, &other).0.matches.len(), 0, "{before}");
    }
}

#[test]
fn variables_keep_their_values_when_transformed_values_are_no_longer_kept() {
    // More than 64 MiB of them; what is made from then on is forgotten with its rule.
    let text = "SecRule ARGS:a \"@rx %\" \"id:1,phase:2,pass,t:urlEncode\"
        SecRule ARGS:a \"@rx %\" \"id:2,phase:2,pass,t:urlEncode,t:uppercase\"
        SecRule ARGS:b \"@rx ^(\\w+)\" \"id:3,phase:2,pass,capture,t:uppercase,setvar:'tx.kept=%{tx.1}',setvar:'tx.text=<%{tx.1}>'\"
        SecRule ARGS:c \"@rx .\" \"id:4,phase:2,pass,t:uppercase\"
        SecRule TX:kept \"@streq WORD\" \"id:5,phase:2,pass\"
        SecRule TX:text \"@streq <WORD>\" \"id:6,phase:2,pass\"";
    let body = format!("a={}&b=word+more&c=other", "%2f".repeat(8 << 20));
    let (report, held) = form(text, &body);
    assert_eq!(
        report.matches.iter().map(|found| found.id).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    assert!(held > 64 << 20, "{held}");
}

#[test]
fn what_makes_rules_times_directives_of_work_is_refused() {
    let rules = |count: usize| -> String { (1..=count).map(|id| format!("SecRule ARGS x id:{id}\n")).collect() };
    let told = |text: &str| mistakes(text).last().cloned().unwrap_or_default();
    let many = 5000;
    for change in [
        "SecRuleRemoveById 1-9999999\n",
        "SecRuleRemoveByTag x\n",
        "SecRuleUpdateTargetById 1-9999999 !ARGS:a\n",
    ] {
        assert_eq!(mistakes(&(rules(many) + change)), [] as [&str; 0]);
        let text = rules(many) + &change.repeat(many);
        assert!(
            told(&text).contains("look at too many rules"),
            "{change}: {}",
            told(&text)
        );
    }
    let hide = "SecAction \"id:900,pass,ctl:ruleRemoveTargetById=1-99999;ARGS:a\"\n";
    let text: String = (0..many).map(|at| hide.replace("900", &(at + 1).to_string())).collect();
    assert!(told(&text).contains("look at too many rules"), "{}", told(&text));
    let text: String = (1..=many)
        .map(|id| format!("SecRule TX:/a{id}/ x \"id:{id},setvar:tx.a{id}=1\"\n"))
        .collect();
    assert!(told(&text).contains("look at too many rules"), "{}", told(&text));
}

#[test]
fn what_is_added_to_one_rule_and_the_patterns_of_all_are_bounded() {
    let text = "SecRule ARGS x id:1\n".to_owned() + &"SecRuleUpdateActionById 1 \"setvar:tx.a=1\"\n".repeat(1001);
    let told = mistakes(&text);
    assert!(
        told.len() == 2 && told[0].ends_with("rule 1 has more than 1000 actions with this"),
        "{told:?}"
    );
    let large = |id: usize| format!("SecRule ARGS \"@rx a{id}(?:.{{99}}){{99}}\" id:{id}\n");
    let text: String = (1..=500).map(large).collect();
    let told = mistakes(&text);
    assert!(told[0].contains("states together"), "{told:?}");
}
