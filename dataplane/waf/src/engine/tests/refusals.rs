//! What a refusal answers: its status, and where it sends the client.

use super::*;

fn refused(text: &str, target: &str) -> (u16, Option<String>) {
    let refusal = send(&rules(text), target).refused.unwrap();
    (refusal.status, refusal.redirect)
}

#[test]
fn redirects_say_where_to() {
    let rule = r#"SecAction "id:1,phase:1,redirect:'https://example.com/%{REQUEST_BASENAME}'""#;
    assert_eq!(refused(rule, "/a/b"), (302, Some("https://example.com/b".to_owned())));
    let rule = r#"SecAction "id:1,phase:1,redirect:/blocked,status:307""#;
    assert_eq!(refused(rule, "/"), (307, Some("/blocked".to_owned())));
}

#[test]
fn no_client_writes_into_the_head_of_a_redirect() {
    let rule = r#"SecAction "id:1,phase:1,redirect:'https://example.com/?from=%{ARGS.from}'""#;
    let (status, location) = refused(rule, "/?from=a%0d%0aSet-Cookie:+x=y");
    assert_eq!(status, 302);
    assert_eq!(
        location.as_deref(),
        Some("https://example.com/?from=a%0D%0ASet-Cookie:%20x=y")
    );
}

#[test]
fn a_redirect_whose_macros_come_to_no_uri_refuses() {
    let rule = r#"SecAction "id:1,phase:1,redirect:%{ARGS.where}""#;
    assert_eq!(
        refused(rule, "/?where=https://example.com/"),
        (302, Some("https://example.com/".to_owned()))
    );
    for target in [
        "/",
        "/?where=nowhere",
        "/?where=https://",
        "/?where=//example.com/",
        "/?where=javascript:alert(1)",
        "/?where=data:text/html,x",
        &format!("/?where=/{}", "x".repeat(5000)),
    ] {
        assert_eq!(refused(rule, target), (403, None), "{target}");
    }
}

#[test]
fn a_status_that_does_not_go_with_the_action_is_a_mistake_with_its_line() {
    for (actions, part) in [
        ("deny,status:200", "status:200 refuses nothing"),
        ("deny,status:100", "status:100 refuses nothing"),
        ("drop,status:204", "status:204 refuses nothing"),
        ("deny,status:302", "without redirect"),
        ("redirect:/x,status:403", "status:403 does not redirect"),
        ("redirect:/x,status:304", "status:304 does not redirect"),
        ("redirect:'/a b'", "cannot stand in a URI"),
        ("redirect:javascript:alert(1)", "needs a URI of http"),
        ("redirect:nowhere", "needs a URI of http or https, or a path"),
    ] {
        let told = mistakes(&format!("\nSecAction \"id:1,phase:1,{actions}\""));
        assert!(
            told.len() == 1 && told[0].starts_with("test.conf:2: ") && told[0].contains(part),
            "{actions}: {told:?}"
        );
    }
}

#[test]
fn a_default_status_is_checked_where_it_stands_and_not_taken_for_other_actions() {
    let told = mistakes(
        "SecDefaultAction \"phase:1,deny,status:200\"\nSecAction \"id:1,phase:1\"\nSecAction \"id:2,phase:1\"",
    );
    assert!(told.len() == 1 && told[0].starts_with("test.conf:1: "), "{told:?}");
    let told = mistakes("SecDefaultAction \"phase:1,deny\"\nSecAction \"id:1,phase:1,block,status:200\"");
    assert!(told.len() == 1 && told[0].starts_with("test.conf:2: "), "{told:?}");
    let default = "SecDefaultAction \"phase:1,redirect:/away,status:301\"\n";
    assert_eq!(
        refused(&format!("{default}SecAction \"id:1,phase:1,block\""), "/"),
        (301, Some("/away".to_owned()))
    );
    assert_eq!(
        refused(&format!("{default}SecAction \"id:1,phase:1,deny\""), "/"),
        (403, None)
    );
    let default = "SecDefaultAction \"phase:1,deny,status:429\"\n";
    assert_eq!(
        refused(&format!("{default}SecAction \"id:1,phase:1,block\""), "/"),
        (429, None)
    );
    assert_eq!(
        refused(&format!("{default}SecAction \"id:1,phase:1,redirect:/x\""), "/"),
        (302, Some("/x".to_owned()))
    );
}

#[test]
fn a_status_beside_pass_is_told_to_have_no_effect() {
    let told: Vec<String> = rules("SecAction \"id:1,phase:1,pass,status:404\"")
        .warnings()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        told.len() == 1 && told[0].starts_with("test.conf:1: status:404 has no effect beside pass"),
        "{told:?}"
    );
}

#[test]
fn a_hundred_mistakes_are_told_and_then_where_compiling_stopped() {
    let text: String = (1..=150)
        .map(|id| format!("SecRule ARGS \"@rx (\" \"id:{id},phase:2,pass\"\n"))
        .collect();
    let told = mistakes(&text);
    assert_eq!(told.len(), 101);
    assert!(
        told[100].starts_with("test.conf:101: what comes from here on was not compiled"),
        "{}",
        told[100]
    );
}
