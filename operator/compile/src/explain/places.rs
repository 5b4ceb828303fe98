//! What `explain` says of lists of countries and autonomous systems.
//!
//! Where a client is, only a database knows; where none was asked, the lists are told, and what a node without one does.

use std::fmt::Display;

use breakwater_snapshot::unit::{Places, WafPolicy};

use super::{ListView, Request};

/// Tells of the lists, and of refusals by them. `listed`: the client is on the policy's address allow list, and passes.
pub(super) fn lists(
    policy: &WafPolicy,
    request: &Request,
    listed: bool,
    lists: &mut Vec<ListView>,
    refusals: &mut Vec<String>,
) {
    let country = request.country.map(|country| country.to_string());
    let asks = |what: &str, flag: &str| {
        format!(
            "no database of {what} was asked ({flag} FILE): a node without one rejects the policy, and answers 503 where it was never in force"
        )
    };
    let told = |of_client: bool, lists: &mut Vec<ListView>, name: &str, effect: String| {
        if !of_client && lists.iter().any(|view| view.list.starts_with(&format!("{name}."))) {
            lists.push(ListView {
                list: name.to_owned(),
                entry: None,
                effect,
            });
        }
    };
    one("countries", &policy.countries, country, listed, lists, refusals);
    told(
        request.country.is_some(),
        lists,
        "countries",
        asks("countries", "--geo-db"),
    );
    one("asns", &policy.asns, request.asn, listed, lists, refusals);
    told(
        request.asn.is_some(),
        lists,
        "asns",
        asks("autonomous systems", "--asn-db"),
    );
}

fn one<T: PartialEq + Display>(
    name: &str,
    places: &Places<T>,
    of_client: Option<T>,
    listed: bool,
    lists: &mut Vec<ListView>,
    refusals: &mut Vec<String>,
) {
    let on = |list: &[T]| of_client.as_ref().is_some_and(|place| list.contains(place));
    let (allowed, denied) = (on(&places.allow), on(&places.deny));
    for (side, list, is_on, effect) in [
        ("allow", &places.allow, allowed, "passes these lists"),
        ("deny", &places.deny, denied, "is refused"),
    ] {
        if list.is_empty() {
            continue;
        }
        lists.push(ListView {
            list: format!("{name}.{side}"),
            entry: of_client.as_ref().filter(|_| is_on).map(ToString::to_string),
            effect: match &of_client {
                _ if listed => "not asked: the client is on addresses.allow".to_owned(),
                Some(place) if is_on => format!("a client of {place} {effect}"),
                Some(place) => format!("{place}, where the client is, is not on the list"),
                None => format!("a client of {} {effect}", some(list)),
            },
        });
    }
    if !places.default_allow {
        lists.push(ListView {
            list: format!("{name}.default"),
            entry: None,
            effect: "a client on neither list is refused".to_owned(),
        });
    }
    let refused = match of_client {
        Some(place) if denied && !allowed => Some(format!("{name}.deny {place}")),
        Some(_) if !allowed && !places.default_allow => Some(format!("{name}.default Deny")),
        _ => None,
    };
    refusals.extend(refused.filter(|_| !listed));
}

/// The first entries of a list, and how many more there are.
fn some<T: Display>(list: &[T]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = list.iter().take(SHOWN).map(ToString::to_string).collect();
    match list.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
