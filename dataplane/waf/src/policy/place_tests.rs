//! What a policy says of clients by where they are.

use super::tests::{blocked, build, detected, view};
use super::*;
use crate::address::Fallback;
use crate::audit::{Event, write_line};
use crate::geo::Lists as Places;
use crate::testing::Atlas;

const SWEDISH: &str = "192.0.2.1";
const FRENCH: &str = "203.0.113.1";
const UNKNOWN: &str = "198.51.100.1";
const IN_AS64497: &str = "2001:db8::1";

fn countries(codes: &[&str]) -> Vec<Country> {
    codes.iter().map(|code| code.parse().unwrap()).collect()
}

fn refusal(policy: &Policy, client: &str) -> Option<(Reason, u16, String)> {
    blocked(&policy.evaluate(&view(client, "GET", "/").with_locations(&Atlas), 0))
}

#[test]
fn a_client_of_a_denied_country_is_refused_and_others_pass() {
    let policy = build(|config| config.countries = Places::new(vec![], countries(&["FR"]), Fallback::Allow)).unwrap();
    assert_eq!(refusal(&policy, FRENCH), Some((Reason::Country, 403, "FR".to_owned())));
    assert_eq!(refusal(&policy, SWEDISH), None);
    assert_eq!(refusal(&policy, UNKNOWN), None);
}

#[test]
fn only_some_countries_can_be_let_in_and_an_unknown_place_is_one_if_it_is_named() {
    let only = |codes: &[&str]| {
        let allow = countries(codes);
        build(|config| config.countries = Places::new(allow, vec![], Fallback::Deny)).unwrap()
    };
    let denied = Some((Reason::Country, 403, "default".to_owned()));
    assert_eq!(refusal(&only(&["SE"]), SWEDISH), None);
    assert_eq!(refusal(&only(&["SE"]), FRENCH), denied);
    assert_eq!(refusal(&only(&["SE"]), UNKNOWN), denied);
    assert_eq!(refusal(&only(&["SE", "XX"]), UNKNOWN), None);
}

#[test]
fn a_client_of_a_denied_network_is_refused_by_its_number() {
    let policy = build(|config| config.asns = Places::new(vec![], vec![64_497, 0], Fallback::Allow)).unwrap();
    assert_eq!(
        refusal(&policy, IN_AS64497),
        Some((Reason::Asn, 403, "AS64497".to_owned()))
    );
    assert_eq!(refusal(&policy, SWEDISH), None);
    assert_eq!(
        refusal(&policy, FRENCH),
        Some((Reason::Asn, 403, "AS0".to_owned())),
        "0 is a network that nobody knows"
    );
}

#[test]
fn where_nobody_knows_anything_every_client_is_at_an_unknown_place() {
    let policy = build(|config| {
        config.countries = Places::new(vec![], countries(&["XX"]), Fallback::Allow);
    })
    .unwrap();
    let refused = blocked(&policy.evaluate(&view(SWEDISH, "GET", "/"), 0));
    assert_eq!(refused, Some((Reason::Country, 403, "XX".to_owned())));
}

#[test]
fn an_allowed_address_passes_countries_and_networks_but_an_allowed_country_no_network() {
    let policy = build(|config| {
        config.addresses.allow = vec!["203.0.113.1/32".parse().unwrap()];
        config.countries = Places::new(countries(&["SE"]), countries(&["FR"]), Fallback::Allow);
        config.asns = Places::new(vec![], vec![0, 64_496], Fallback::Allow);
    })
    .unwrap();
    assert_eq!(refusal(&policy, FRENCH), None);
    assert_eq!(refusal(&policy, "203.0.113.2").unwrap().0, Reason::Country);
    assert_eq!(
        refusal(&policy, SWEDISH),
        Some((Reason::Asn, 403, "AS64496".to_owned()))
    );
}

#[test]
fn a_policy_that_only_detects_reports_both_and_an_audit_line_says_where_the_client_is() {
    let policy = build(|config| {
        config.mode = Mode::DetectOnly;
        config.countries = Places::new(vec![], countries(&["SE"]), Fallback::Allow);
        config.asns = Places::new(vec![], vec![64_496], Fallback::Allow);
    })
    .unwrap();
    let request = view(SWEDISH, "GET", "/").with_locations(&Atlas);
    let verdict = policy.evaluate(&request, 0);
    assert_eq!(blocked(&verdict), None);
    assert_eq!(detected(&verdict), [Reason::Country, Reason::Asn]);
    let mut line = Vec::new();
    write_line(
        &Event::new(&verdict.detections[0], &request, "id", "EdgeCache/default/shop", 0),
        &mut line,
    );
    let line = String::from_utf8(line).unwrap();
    assert!(
        line.contains(r#""client":"192.0.2.1","country":"SE","asn":64496,"method""#),
        "{line}"
    );
    assert!(
        line.contains(r#""reason":"country""#) && line.contains(r#""detail":"SE""#),
        "{line}"
    );
}
