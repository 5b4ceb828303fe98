//! What is said of rules that never match and of actions without effect.

use super::*;
use crate::bundle::{Own, Source};
use crate::review::review;

fn said(text: &str, policy: Option<&Fields>) -> Vec<String> {
    let own = Own::parse(&[Source { name: "own", text }]).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let told = review(own.rules(), policy);
    assert!(told.errors.is_empty());
    told.warnings.iter().map(ToString::to_string).collect()
}

const WITHOUT_RESPONSES: Fields = Fields {
    enforces: true,
    inspect: 1000,
    reject_larger: false,
    inspect_response: None,
};

#[test]
fn a_rule_that_can_never_match_is_told_with_its_line_and_the_phase_to_write() {
    for (rule, part) in [
        (
            "SecRule RESPONSE_BODY x \"id:7,phase:1,deny\"",
            "RESPONSE_BODY is empty before phase 4 (write phase:4)",
        ),
        ("SecRule RESPONSE_BODY x \"id:7,phase:2,deny\"", "before phase 4"),
        (
            "SecRule RESPONSE_BODY \"!@rx x\" \"id:7,phase:3,deny\"",
            "before phase 4",
        ),
        ("SecRule RESPONSE_STATUS x \"id:7,phase:2,deny\"", "before phase 3"),
        ("SecRule RESPONSE_HEADERS:X x \"id:7,phase:1,deny\"", "before phase 3"),
        ("SecRule REQUEST_BODY x \"id:7,phase:1,deny\"", "before phase 2"),
        (
            "SecRule ARGS_POST|REQUEST_BODY x \"id:7,phase:1,deny\"",
            "ARGS_POST is empty before phase 2 (write phase:2), REQUEST_BODY is",
        ),
        (
            "SecRule &ARGS_POST \"@gt 3\" \"id:7,phase:1,deny\"",
            "&ARGS_POST is 0 before phase 2",
        ),
        ("SecRule XML:/* x \"id:7,phase:1,deny\"", "XML is empty"),
        (
            "SecRule MULTIPART_STRICT_ERROR \"!@eq 0\" \"id:7,phase:1,deny\"",
            "MULTIPART_STRICT_ERROR is empty",
        ),
        (
            "SecRule INBOUND_DATA_ERROR \"@eq 1\" \"id:7,phase:1,deny\"",
            "INBOUND_DATA_ERROR is 0 before phase 2",
        ),
        (
            "SecRule REMOTE_USER \"@streq root\" \"id:7,phase:2,deny\"",
            "nothing sets REMOTE_USER here (AUTH_TYPE",
        ),
        (
            "SecRule &REMOTE_USER \"@gt 0\" \"id:7,phase:2,deny\"",
            "&REMOTE_USER is always 0",
        ),
        (
            "SecRule DURATION \"@gt 1000\" \"id:7,phase:5,pass\"",
            "DURATION is always 0",
        ),
    ] {
        let told = said(&format!("\n{rule}\n"), None);
        assert_eq!(told.len(), 1, "{rule}: {told:?}");
        assert!(
            told[0].starts_with("own:2: rule 7 never matches: ") && told[0].contains(part),
            "{}",
            told[0]
        );
    }
    let told = said("SecRule ARGS|ARGS_POST x \"id:7,phase:1,deny\"", None);
    assert_eq!(
        told,
        ["own:1: rule 7 looks at nothing in some of its targets: ARGS_POST is empty before phase 2 (write phase:2)"]
    );
    let told = said(
        "SecRule ARGS x \"id:7,phase:1,deny,chain\"\nSecRule FILES x \"t:none\"",
        None,
    );
    assert!(
        told.len() == 1 && told[0].starts_with("own:2: rule 7 never matches: FILES"),
        "{told:?}"
    );
}

#[test]
fn a_rule_that_may_match_is_left_alone() {
    for rule in [
        "SecRule RESPONSE_BODY x \"id:7,phase:4,deny\"",
        "SecRule RESPONSE_STATUS x \"id:7,phase:5,pass\"",
        "SecRule ARGS_POST x \"id:7,deny\"",
        "SecRule &ARGS_POST \"@eq 0\" \"id:7,phase:1,pass\"",
        "SecRule &REMOTE_USER \"!@eq 1\" \"id:7,phase:1,pass\"",
        "SecRule FULL_REQUEST x \"id:7,phase:1,deny\"",
        "SecRule REQBODY_ERROR \"!@eq 0\" \"id:7,phase:1,deny\"",
        "SecRule INBOUND_DATA_ERROR \"@eq 0\" \"id:7,phase:1,pass\"",
        "SecAction \"id:7,phase:1,pass\"",
    ] {
        assert_eq!(said(rule, None), Vec::<String>::new(), "{rule}");
    }
}

#[test]
fn a_rule_all_of_whose_targets_are_left_out_again_is_told() {
    for (targets, said_of_it) in [
        (
            "ARGS|!ARGS",
            "rule 7 never matches: what it looks at of ARGS is left out again",
        ),
        ("!ARGS|ARGS", "never matches"),
        ("ARGS:q|!ARGS", "never matches"),
        ("ARGS:q|!ARGS:Q", "never matches"),
        ("ARGS:/^q/|!ARGS:/^q/", "never matches"),
        ("REQUEST_URI|!REQUEST_URI", "never matches"),
        ("ARGS|!ARGS|REQUEST_URI", "looks at nothing in some of its targets"),
    ] {
        let told = said(&format!("SecRule {targets} x \"id:7,phase:2,deny\""), None);
        assert!(told.len() == 1 && told[0].contains(said_of_it), "{targets}: {told:?}");
    }
    for targets in ["ARGS|!ARGS:q", "ARGS:q|!ARGS:/^q/", "ARGS|!ARGS_GET", "ARGS:a|!ARGS:b"] {
        let told = said(&format!("SecRule {targets} x \"id:7,phase:2,deny\""), None);
        assert_eq!(told, Vec::<String>::new(), "{targets}");
    }
    let counts = "SecRule &ARGS|!ARGS \"@eq 0\" \"id:7,phase:2,deny\"";
    assert_eq!(said(counts, None), Vec::<String>::new());
}

#[test]
fn what_looks_at_responses_that_are_not_inspected_is_told() {
    let rule = "SecRule RESPONSE_STATUS \"@ge 500\" \"id:7,phase:5,pass\"";
    let told = said(rule, Some(&WITHOUT_RESPONSES));
    assert!(
        told.len() == 1 && told[0].contains("give spec.body.response"),
        "{told:?}"
    );
    let with = Fields {
        inspect_response: Some(1000),
        ..WITHOUT_RESPONSES
    };
    assert_eq!(said(rule, Some(&with)), Vec::<String>::new());
    let told = said(
        "SecAction \"id:7,phase:1,pass,ctl:responseBodyAccess=On\"",
        Some(&WITHOUT_RESPONSES),
    );
    assert!(
        told.len() == 1 && told[0].contains("give spec.body.response"),
        "{told:?}"
    );
}

#[test]
fn an_action_without_effect_where_it_stands_is_told() {
    for (action, phase, part) in [
        ("ctl:requestBodyLimit=5", 1, "spec.body.inspect"),
        ("ctl:responseBodyLimit=5", 3, "spec.body.response.inspect"),
        ("ctl:auditLogParts=-C", 1, "one form"),
        ("ctl:requestBodyAccess=Off", 2, "write phase:1"),
        ("ctl:forceRequestBodyVariable=On", 2, "write phase:1"),
        ("ctl:requestBodyProcessor=JSON", 2, "write phase:1"),
        ("ctl:responseBodyAccess=Off", 4, "write phase:3"),
        ("deny", 5, "rule 7 is of phase 5"),
        ("redirect:/x", 5, "rule 7 is of phase 5"),
    ] {
        let told = said(&format!("SecAction \"id:7,phase:{phase},{action}\""), None);
        assert!(told.len() == 1 && told[0].contains(part), "{action}: {told:?}");
    }
    for (action, phase) in [
        ("ctl:requestBodyAccess=Off", 1),
        ("ctl:responseBodyAccess=Off", 3),
        ("ctl:ruleEngine=Off", 2),
        ("ctl:auditLogParts=+E", 2),
        ("pass", 5),
    ] {
        let told = said(&format!("SecAction \"id:7,phase:{phase},{action}\""), None);
        assert_eq!(told, Vec::<String>::new(), "{action}");
    }
}
