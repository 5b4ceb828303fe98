//! What one transaction has of its own: exclusions, a response alone, memory.

use super::*;

#[test]
fn a_rule_about_a_path_that_normalizes_it_holds_for_every_form_of_the_path() {
    // The example of docs/waf.md.
    let undone =
        rules(r#"SecRule REQUEST_FILENAME "@beginsWith /wp-admin" "id:1002,phase:1,deny,t:none,t:normalizePath""#);
    let raw = rules(r#"SecRule REQUEST_FILENAME "@beginsWith /wp-admin" "id:1002,phase:1,deny""#);
    for path in ["/./wp-admin", "/x/../wp-admin", "//wp-admin", "/x/%2e%2e/wp-admin/y?z"] {
        assert!(send(&undone, path).refused.is_some(), "{path}");
        assert!(send(&raw, path).refused.is_none(), "{path}");
    }
    // Escapes are undone in the variable.
    for path in ["/wp-admin", "/%77p-admin"] {
        assert!(send(&undone, path).refused.is_some(), "{path}");
    }
    assert!(send(&undone, "/x/wp-admin").refused.is_none());
}

#[test]
fn variables_keep_their_values_when_the_room_for_values_is_used_up() {
    let rules = rules(
        r#"SecRule ARGS:a "@rx -(.*)$" "id:1,phase:2,pass,nolog,capture,t:uppercase,t:removeWhitespace,setvar:tx.own=%{TX.1},setvar:tx.%{ARGS.n}=%{TX.1}"
        SecRule ARGS:b "@rx b" "id:2,phase:2,pass,nolog,t:uppercase,t:hexEncode,t:uppercase"
        SecRule ARGS:b "@rx b" "id:3,phase:2,pass,nolog,t:hexEncode,t:base64Encode,t:lowercase"
        SecRule TX:own "@streq ABCDE" "id:4,phase:2,pass,msg:'%{TX.1} %{TX.named}'"
        SecRule RESPONSE_BODY "@rx b" "id:5,phase:4,pass,t:lowercase,msg:'%{TX.own} %{TX.named} %{RESPONSE_BODY}'""#,
    );
    let bound = Arc::new(Bound::new(&rules, &Overlay::default()));
    let run = |room: usize, rests: bool| {
        let mut transaction = Transaction::bound(&bound, &connection(), false).with_room(room);
        transaction.request_line(b"GET", b"/?a=xyz-abcde&b=bcbcbcbcbc&n=named", b"HTTP/1.1");
        transaction.run_request_headers();
        transaction.run_request_body(b"", false);
        if rests {
            transaction.rest();
        }
        let head: [(&[u8], &[u8]); 1] = [(b"Content-Type", b"text/html")];
        transaction.run_response_headers(200, &mut head.into_iter());
        if rests {
            transaction.rest();
        }
        transaction.run_response_body(b"<b>", false);
        let said = transaction.finish().matches.into_iter().map(|found| found.msg);
        said.collect::<Vec<_>>()
    };
    let whole = run(1 << 20, false);
    assert_eq!(whole, ["ABCDE ABCDE", "ABCDE ABCDE <b>"]);
    for room in 0..600 {
        assert_eq!(run(room, false), whole, "{room}");
    }
    assert_eq!(run(1 << 20, true), whole);
    assert_eq!(run(100, true), whole);
}

#[test]
fn a_transaction_that_waits_keeps_what_was_sent_and_not_what_was_made_of_it() {
    let transformations = ["uppercase", "hexEncode", "base64Encode", "lowercase", "length"];
    let text: String = (1..=5)
        .map(|id| {
            let chain: String = transformations[..id].iter().map(|name| format!(",t:{name}")).collect();
            format!("SecRule ARGS \"@rx nothing\" \"id:{id},phase:2,pass{chain}\"\n")
        })
        .collect();
    let rules = rules(&format!("{text}SecRule ARGS:a \"@rx ^x+$\" \"id:9,phase:5,pass\""));
    let bound = Arc::new(Bound::new(&rules, &Overlay::default()));
    let mut transaction = Transaction::bound(&bound, &connection(), false);
    transaction.request_line(b"POST", b"/", b"HTTP/1.1");
    transaction.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
    transaction.run_request_headers();
    let body = format!("a={}", "x".repeat(100_000));
    transaction.run_request_body(body.as_bytes(), false);
    let before = transaction.memory();
    let after = transaction.rest();
    assert!(before > 800_000, "{before}");
    assert!((200_000..240_000).contains(&after), "{after}");
    assert_eq!(transaction.finish().matches[0].id, 9);
}

#[test]
fn an_exclusion_that_holds_for_one_transaction_hides_its_targets_and_rules_there_and_nowhere_else() {
    let rules = rules("SecRule ARGS \"@rx x\" \"id:1,phase:1,pass\"\nSecRule ARGS \"@rx x\" \"id:2,phase:1,pass\"");
    let bound = Arc::new(Bound::new(&rules, &Overlay::default()));
    let exclusion = |id, targets: &[&str]| {
        let target = |name: &&str| Target {
            exclude: false,
            count: false,
            variable: Variable::Args,
            key: Some(Key::Name((*name).to_owned())),
        };
        let exclusion = Exclusion {
            rules: vec![RuleRange::Ids(vec![(id, id)])],
            targets: targets.iter().map(target).collect(),
        };
        Arc::new(BoundExclusion::new(&rules, &exclusion))
    };
    let run = |target: &str, exclusions: &[Arc<BoundExclusion>]| -> Vec<u32> {
        let mut transaction = Transaction::bound(&bound, &connection(), false).with_exclusions(exclusions);
        transaction.request_line(b"GET", target.as_bytes(), b"HTTP/1.1");
        transaction.run_request_headers();
        transaction.finish().matches.iter().map(|found| found.id).collect()
    };
    let (rule, target) = (exclusion(1, &[]), exclusion(2, &["q"]));
    assert_eq!(run("/?q=x", &[]), [1, 2]);
    assert_eq!(run("/?q=x", &[Arc::clone(&rule)]), [2]);
    assert_eq!(run("/?q=x", &[Arc::clone(&target)]), [1]);
    assert_eq!(run("/?q=x&r=x", &[rule, target]), [2]);
}

#[test]
fn a_response_that_is_judged_alone_is_judged_whole_and_its_request_neither_refused_stored_nor_told_again() {
    let rules = rules(
        r#"SecAction "id:1,phase:1,pass,log,initcol:ip=%{REMOTE_ADDR},setvar:ip.hits=+1,setvar:tx.seen=1"
        SecRule ARGS:q "@rx evil" "id:2,phase:1,deny"
        SecAction "id:3,phase:3,pass,log,setvar:ip.responses=+1"
        SecRule TX:seen "@eq 1" "id:4,phase:4,deny,status:502,chain"
        SecRule RESPONSE_BODY "@contains secret"
        SecAction "id:5,phase:5,pass,log,setvar:ip.ended=+1"
        SecRule IP:hits|IP:responses|IP:ended "@ge 1" "id:6,phase:5,pass,logdata:'%{MATCHED_VAR_NAME}'""#,
    );
    let bound = Arc::new(Bound::new(&rules, &Overlay::default()));
    let stores = Arc::new(Stores::new(100));
    let mut transaction = Transaction::bound(&bound, &connection(), false)
        .with_stores(&stores)
        .of_response();
    transaction.request_line(b"GET", b"/?q=evil", b"HTTP/1.1");
    assert_eq!(transaction.run_request_headers(), None);
    assert_eq!(transaction.run_request_body(b"", false), None);
    let head: [(&[u8], &[u8]); 1] = [(b"Content-Type", b"text/html")];
    assert_eq!(transaction.run_response_headers(200, &mut head.into_iter()), None);
    let refused = transaction.run_response_body(b"a secret", false);
    assert_eq!(refused.map(|intervention| intervention.rule), Some(4));
    let report = transaction.finish();
    let found: Vec<_> = report
        .matches
        .iter()
        .map(|found| (found.id, found.data.as_str()))
        .collect();
    assert_eq!(found, [(3, ""), (4, ""), (5, ""), (6, "IP:responses")]);
    assert_eq!(report.intervention.map(|intervention| intervention.rule), Some(4));
}
