//! Lists of addresses behind URLs: which are wanted, and what there is of each.
//!
//! Nothing is fetched here. Whoever does so asks [`wanted`], and puts what it has into the World. A list that was never
//! fetched makes its policy invalid, as a missing ConfigMap does: nodes go on with the policy as it was. One that was
//! fetched stays in force while it cannot be fetched again, with a warning.
//!
//! Messages never hold a URL's query, where a secret may be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use breakwater_crds as crds;

use crate::findings::Findings;
use crate::{Object, value};

/// The lists of addresses behind URLs, by URL. None where nobody fetches: a list counts as empty there, with a warning.
pub type UrlLists = Option<BTreeMap<String, UrlList>>;

/// Most URLs of all policies together.
pub const MOST_URLS: usize = 256;

/// How often a list is fetched when its policy does not say.
const REFRESH: Duration = Duration::from_secs(3600);

/// How often a list may be fetched: once a minute to once in 30 days.
const REFRESHES: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);

/// A packed list without entries, in base64.
const NOBODY: &str = "AA==";

/// What there is of one list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlList {
    /// The last good one.
    pub list: Option<FetchedList>,
    /// Why it cannot be fetched, since when it cannot.
    pub failure: Option<ListFailure>,
}

/// A list that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedList {
    /// The list, packed, in base64.
    pub packed: Arc<str>,
    /// How many addresses and prefixes its text has.
    pub entries: u64,
    /// When its server last gave it or said that it is the same, while something fails (RFC 3339). Empty while nothing
    /// fails, so that a refresh changes nothing.
    pub confirmed: String,
}

/// Why a list cannot be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFailure {
    /// Since when (RFC 3339), if that is known.
    pub since: Option<String>,
    /// Why.
    pub message: String,
}

impl std::fmt::Display for ListFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(since) = &self.since {
            write!(f, " since {since}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The URLs that policies name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those to fetch, each with the shortest time between two fetches that a policy asks for.
    pub urls: BTreeMap<String, Duration>,
    /// Those beyond [`MOST_URLS`], which are not to be fetched.
    pub beyond: Vec<String>,
}

impl Wanted {
    /// What the World has of them, where `known` says what there is of one.
    pub fn lists(&self, mut known: impl FnMut(&str) -> Option<UrlList>) -> BTreeMap<String, UrlList> {
        let known = self.urls.keys().filter_map(|url| Some((url.clone(), known(url)?)));
        let beyond = self.beyond.iter().map(|url| {
            let failure = ListFailure {
                since: None,
                message: format!("more than {MOST_URLS} URLs are named by all policies together"),
            };
            let list = UrlList {
                list: None,
                failure: Some(failure),
            };
            (url.clone(), list)
        });
        known.chain(beyond).collect()
    }
}

/// The URLs that policies name; those of older policies come first.
pub fn wanted<'a>(policies: impl Iterator<Item = &'a Object<crds::WafPolicySpec>>) -> Wanted {
    let mut policies: Vec<_> = policies.collect();
    policies.sort_by_key(|object| {
        let created = object.meta.created.unwrap_or(i64::MAX);
        (created, &object.meta.namespace, &object.meta.name)
    });
    let mut wanted = Wanted::default();
    for object in policies {
        let addresses = &object.spec.addresses;
        for source in addresses.allow_from.iter().chain(&addresses.deny_from) {
            let Some(url) = source.url.as_ref().filter(|url| value::list_url(url.as_str()).is_ok()) else {
                continue;
            };
            let Ok(refresh) = refresh(source) else { continue };
            if wanted.urls.len() < MOST_URLS || wanted.urls.contains_key(url.as_str()) {
                let shortest = wanted.urls.entry(url.0.clone()).or_insert(refresh);
                *shortest = refresh.min(*shortest);
            } else if wanted.beyond.len() < MOST_URLS {
                wanted.beyond.push(url.0.clone());
            }
        }
    }
    wanted
}

/// The list behind the URL of `source`: packed, in base64. None with an error or while it is waited for.
pub(crate) fn read(
    source: &crds::AddressSource,
    url: &crds::ListUrl,
    field: &str,
    lists: &UrlLists,
    findings: &mut Findings,
) -> Option<String> {
    findings.take(format!("{field}.refresh"), refresh(source))?;
    let field = format!("{field}.url");
    findings.take(field.as_str(), value::list_url(url.as_str()))?;
    let shown = shown(url.as_str());
    let Some(lists) = lists else {
        findings.fetched(
            field,
            format!("the list at {shown} is not fetched here: it counts as empty"),
        );
        return Some(NOBODY.to_owned());
    };
    match lists.get(url.as_str()) {
        Some(UrlList {
            list: Some(list),
            failure,
        }) => {
            if let Some(failure) = failure {
                findings.fetched(
                    field.as_str(),
                    format!(
                        "the list at {shown} cannot be fetched{failure}; its last good version, of {}, stays in force",
                        list.confirmed
                    ),
                );
            }
            if list.entries == 0 {
                findings.fetched(field, format!("the list at {shown} is empty"));
            }
            Some((*list.packed).to_owned())
        }
        Some(UrlList {
            failure: Some(failure), ..
        }) => {
            findings.error(
                field,
                format!("the list at {shown} was never fetched, and cannot be fetched{failure}"),
            );
            None
        }
        _ => {
            findings.waits(field, format!("the list at {shown} is not fetched yet: in a moment"));
            None
        }
    }
}

/// A URL without its query.
pub fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

fn refresh(source: &crds::AddressSource) -> Result<Duration, String> {
    let Some(refresh) = &source.refresh else {
        return Ok(REFRESH);
    };
    let refresh_time = Duration::from_millis(value::positive_millis(refresh)?);
    if REFRESHES.contains(&refresh_time) {
        Ok(refresh_time)
    } else {
        Err(format!("`{refresh}` is out of bounds: write 1m to 720h"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Meta;

    fn policy(name: &str, created: i64, sources: &[(&str, Option<&str>)]) -> Object<crds::WafPolicySpec> {
        let sources: Vec<_> = sources
            .iter()
            .map(|(url, refresh)| serde_json::json!({"url": url, "refresh": refresh}))
            .collect();
        let spec = serde_json::json!({"targetRefs": [], "addresses": {"denyFrom": sources}});
        Object {
            meta: Meta {
                namespace: "default".to_owned(),
                name: name.to_owned(),
                created: Some(created),
                ..Meta::default()
            },
            spec: serde_json::from_value(spec).unwrap(),
        }
    }

    #[test]
    fn of_several_policies_with_one_url_the_shortest_refresh_counts() {
        let policies = [
            policy(
                "a",
                1,
                &[("https://x.example/l", Some("2h")), ("https://y.example/", None)],
            ),
            policy("b", 2, &[("https://x.example/l", Some("5m"))]),
            policy(
                "c",
                3,
                &[("https://u:p@x.example/l", None), ("https://z.example/", Some("1s"))],
            ),
        ];
        let expected = [("https://x.example/l", 300_000), ("https://y.example/", 3_600_000)];
        let expected = Wanted {
            urls: expected
                .map(|(url, ms)| (url.to_owned(), Duration::from_millis(ms)))
                .into(),
            beyond: Vec::new(),
        };
        assert_eq!(wanted(policies.iter()), expected);
    }

    #[test]
    fn beyond_the_most_urls_those_of_younger_policies_are_left_out() {
        let urls: Vec<String> = (0..MOST_URLS).map(|n| format!("https://x.example/{n}")).collect();
        let many: Vec<_> = urls.iter().map(|url| (url.as_str(), None)).collect();
        let policies = [
            policy("young", 2, &[("https://late.example/", None)]),
            policy("old", 1, &many),
        ];
        let wanted = wanted(policies.iter());
        assert_eq!(wanted.urls.len(), MOST_URLS);
        assert_eq!(wanted.beyond, ["https://late.example/"]);
        let lists = wanted.lists(|_| None);
        let late = lists
            .get("https://late.example/")
            .and_then(|list| list.failure.as_ref());
        let message = "more than 256 URLs are named by all policies together";
        assert_eq!(
            (lists.len(), late.map(|failure| failure.message.as_str())),
            (1, Some(message))
        );
    }

    #[test]
    fn a_query_is_not_shown() {
        assert_eq!(shown("https://x.example/l?token=hunter2"), "https://x.example/l");
    }
}
