//! Rows of the conformance map, in terms of one response each.

use http::Method;

use super::*;
use crate::policy::fresh::{OnError, Verdict, evaluate};
use crate::vary::values_of;

const NOW: u64 = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:33:07 GMT");
const ETAG: (&str, &str) = ("etag", "\"a\"");

struct Case {
    status: u16,
    method: Method,
    request: HeaderMap,
    fields: HeaderMap,
    policy: SitePolicy,
    rules: Vec<Rule>,
}

fn response(fields: &[(&str, &str)]) -> Case {
    Case {
        status: 200,
        method: Method::GET,
        request: HeaderMap::new(),
        fields: map(fields),
        policy: SitePolicy::default(),
        rules: Vec::new(),
    }
}

fn cc(value: &str) -> Case {
    response(&[("cache-control", value)])
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in fields {
        out.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    out
}

impl Case {
    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn request(self, fields: &[(&str, &str)]) -> Self {
        Self {
            request: map(fields),
            ..self
        }
    }

    fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    fn decide(&self) -> Decision {
        let request = RequestMeta::new(&self.method, false, &self.policy, &values_of(&self.request));
        let now = Timestamp::from_secs(NOW);
        decide(&Candidate {
            request: &request,
            status: self.status,
            fields: &self.fields,
            asked: now,
            received: now,
            policy: &self.policy,
            rules: &self.rules.iter().collect::<Vec<_>>(),
            keyer: &Keyer::new(1),
            site: 1,
            url: Key(1),
            prefixes: &[],
            origin: Key(2),
        })
    }

    fn storable(&self) -> Option<Storable> {
        match self.decide() {
            Decision::Store(storable) => Some(*storable),
            Decision::Pass(_) => None,
        }
    }

    fn reason(&self) -> Option<Reason> {
        match self.decide() {
            Decision::Store(_) => None,
            Decision::Pass(reason) => Some(reason),
        }
    }

    /// Seconds for which it is fresh from now on; `None` if it is not stored.
    fn fresh_for(&self) -> Option<u64> {
        let freshness = self.storable()?.metadata.freshness;
        Some(freshness.lifetime.saturating_sub(freshness.initial_age) / 1000)
    }

    fn after(&self, seconds: u64) -> Verdict {
        let freshness = self.storable().unwrap().metadata.freshness;
        evaluate(
            &freshness,
            &CacheControl::default(),
            false,
            Timestamp::from_secs(NOW + seconds),
        )
    }
}

#[test]
fn a_response_without_lifetime_or_validator_is_not_stored() {
    assert_eq!(response(&[]).reason(), Some(Reason::NoLifetime));
    assert_eq!(response(&[("etag", "\"a\"")]).fresh_for(), Some(0));
}

#[test]
fn the_more_specific_lifetime_prevails() {
    let expires = ("expires", "Sun, 06 Nov 1994 08:50:07 GMT");
    let all = [
        ("cdn-cache-control", "max-age=5"),
        ("cache-control", "max-age=20, s-maxage=10"),
        expires,
    ];
    assert_eq!(response(&all).fresh_for(), Some(5));
    assert_eq!(response(&all[1..]).fresh_for(), Some(10));
    assert_eq!(
        response(&[("cache-control", "max-age=20"), expires]).fresh_for(),
        Some(20)
    );
    assert_eq!(response(&[expires]).fresh_for(), Some(30));
}

#[test]
fn a_valid_cdn_cache_control_replaces_cache_control_and_expires_and_a_void_one_does_not() {
    let expires = ("expires", "Sun, 06 Nov 1994 08:50:07 GMT");
    let with = |cdn: &str| response(&[("cdn-cache-control", cdn), ("cache-control", "no-store"), expires]);
    assert_eq!(with("max-age=5").fresh_for(), Some(5));
    assert_eq!(with("foo").reason(), Some(Reason::NoLifetime));
    assert_eq!(with("max-age=\"5\"").reason(), Some(Reason::NoStore));
    assert_eq!(with("private").reason(), Some(Reason::Private));
    assert_eq!(with("no-store").reason(), Some(Reason::NoStore));
    let strict = response(&[("cdn-cache-control", "max-age=0"), ("cache-control", "max-age=100")]);
    assert_eq!(strict.fresh_for(), Some(0));
}

#[test]
fn a_huge_lifetime_is_fresh_and_a_senseless_one_stale() {
    for value in ["2147483648", "2147483649", "99999999999999999999"] {
        assert!(
            cc(&format!("max-age={value}")).fresh_for() > Some(2_000_000_000),
            "{value}"
        );
    }
    for value in ["-7200", "'3600'", "a100", "100a", "3600.0"] {
        assert_eq!(cc(&format!("max-age={value}")).fresh_for(), Some(0), "{value}");
    }
}

#[test]
fn age_is_the_first_member_of_the_first_line_and_digits_only() {
    let aged = |lines: &[&str]| {
        let mut fields = vec![("cache-control", "max-age=3600")];
        fields.extend(lines.iter().map(|line| ("age", *line)));
        response(&fields).fresh_for()
    };
    assert_eq!(aged(&["1200"]), Some(2400));
    assert_eq!(aged(&["1200, 0"]), Some(2400));
    assert_eq!(aged(&["0", "7200"]), Some(3600));
    for ignored in ["abc", "-1", "7200.0", "7200s", "\"7200\"", "s7200"] {
        assert_eq!(aged(&[ignored]), Some(3600), "{ignored}");
    }
    for overflow in ["2147483648", "99999999999999999999"] {
        assert_eq!(aged(&[overflow]), Some(0), "{overflow}");
    }
}

#[test]
fn a_date_in_the_past_is_age() {
    let case = response(&[
        ("date", "Sun, 06 Nov 1994 08:49:27 GMT"),
        ("cache-control", "max-age=15"),
    ]);
    assert_eq!(case.fresh_for(), Some(5));
}

#[test]
fn dates_that_cannot_be_make_nothing_fresher() {
    let ahead = "Mon, 07 Nov 1994 08:49:37 GMT";
    // A clock that is ahead takes nothing from the age.
    let case = response(&[("date", ahead), ("age", "5"), ("cache-control", "max-age=15")]);
    assert_eq!(case.fresh_for(), Some(10));
    let guessed = |date: &str, modified: &str| response(&[("date", date), ("last-modified", modified)]).fresh_for();
    // What is changed tomorrow is out of date today.
    assert_eq!(guessed(DATE, ahead), Some(0));
    assert_eq!(
        guessed(DATE, "Thu, 01 Jan 1970 00:00:00 GMT"),
        Some(MAX_HEURISTIC_MS / 1000)
    );
    assert_eq!(guessed(DATE, "yesterday"), None);
    // Of a Date that is long past the age is counted, and the difference to it.
    let expires = response(&[
        ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("expires", "Sun, 06 Nov 1994 08:49:47 GMT"),
    ]);
    assert_eq!(expires.fresh_for(), Some(10));
}

#[test]
fn expires_counts_from_the_date_of_the_response() {
    let with = |date: &str, expires: &str| response(&[("date", date), ("expires", expires)]).fresh_for();
    assert_eq!(with(DATE, "Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
    assert_eq!(with(DATE, DATE), Some(0));
    assert_eq!(with(DATE, "Sun, 06 Nov 1994 08:49:07 GMT"), Some(0));
    // The origin's clock is ahead: what counts is the difference.
    assert_eq!(
        with("Sun, 06 Nov 1994 09:49:37 GMT", "Sun, 06 Nov 1994 09:50:37 GMT"),
        Some(60)
    );
    assert_eq!(with("nonsense", "Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
    let aged = response(&[
        ("date", DATE),
        ("expires", "Sun, 06 Nov 1994 08:50:37 GMT"),
        ("age", "45"),
    ]);
    assert_eq!(aged.fresh_for(), Some(15));
}

#[test]
fn only_the_three_date_forms_make_an_expires_that_is_not_past() {
    let expires = |value: &str| response(&[("date", DATE), ("expires", value)]).fresh_for();
    for valid in [
        "Sun, 06 Nov 1994 08:50:37 GMT",
        "sun, 06 nov 1994 08:50:37 gmt",
        "Sunday, 06-Nov-94 08:50:37 GMT",
        "Sun Nov  6 08:50:37 1994",
    ] {
        assert_eq!(expires(valid), Some(60), "{valid}");
    }
    for invalid in [
        "0",
        "",
        "Sun, 06 Nov 1994 08:50:37 UTC",
        "Sun, 06 Nov 1994 08:50:37 AEST",
        "Sun, 06 Nov 94 08:50:37 GMT",
        "Sun 06 Nov 1994 08:50:37 GMT",
        "Sun, 06  Nov 1994 08:50:37 GMT",
        "Sun, 06-Nov-1994 08:50:37 GMT",
        "Sun, 06 Nov 1994 8:50:37 GMT",
    ] {
        assert_eq!(expires(invalid), Some(0), "{invalid}");
    }
    let valid = ("expires", "Sun, 06 Nov 1994 08:50:37 GMT");
    assert_eq!(
        response(&[("date", DATE), ("expires", "0"), valid]).fresh_for(),
        Some(0)
    );
}

#[test]
fn a_tenth_of_the_time_since_last_modified_is_guessed_for_some_statuses() {
    let modified = [("date", DATE), MODIFIED];
    for status in [200, 203, 204, 404, 405, 410, 414, 501] {
        assert_eq!(response(&modified).status(status).fresh_for(), Some(99), "{status}");
    }
    for status in [201, 202, 403, 502, 503, 504, 599] {
        assert_eq!(
            response(&modified).status(status).reason(),
            Some(Reason::NoLifetime),
            "{status}"
        );
    }
    let public = response(&[modified[0], modified[1], ("cache-control", "public")]);
    assert_eq!(public.status(599).fresh_for(), Some(99));
}

#[test]
fn any_final_status_is_stored_with_an_explicit_lifetime() {
    for status in [200, 201, 204, 299, 301, 303, 400, 404, 410, 499, 500, 503, 599] {
        assert_eq!(cc("max-age=10").status(status).fresh_for(), Some(10), "{status}");
    }
    for status in [100, 199, 206, 304, 600] {
        assert_eq!(
            cc("max-age=10").status(status).reason(),
            Some(Reason::Status),
            "{status}"
        );
    }
}

#[test]
fn must_understand_overrides_no_store_for_statuses_that_are_understood() {
    assert_eq!(cc("max-age=10, no-store, must-understand").fresh_for(), Some(10));
    assert_eq!(
        cc("max-age=10, no-store, must-understand").status(599).reason(),
        Some(Reason::Status)
    );
}

#[test]
fn private_and_no_store_are_not_stored_in_any_case() {
    assert_eq!(cc("PRIVATE, max-age=10").reason(), Some(Reason::Private));
    assert_eq!(cc("max-age=10, No-Store").reason(), Some(Reason::NoStore));
    assert_eq!(
        cc("max-age=10").request(&[("cache-control", "no-store")]).reason(),
        Some(Reason::RequestNoStore)
    );
}

#[test]
fn fields_named_by_private_or_no_cache_are_left_out() {
    let storable = cc("max-age=10, no-cache=\"x-a\", private=\"X-B\"").storable().unwrap();
    assert_eq!(storable.omit, ["x-a", "x-b"]);
    assert!(!storable.metadata.freshness.no_cache);
}

#[test]
fn no_cache_is_stored_and_validated_each_time() {
    let verdict = cc("no-cache, max-age=10").after(1);
    assert_eq!(
        verdict,
        Verdict::MustRevalidate {
            age: 1000,
            on_error: OnError::Never
        }
    );
}

#[test]
fn stale_is_served_on_failure_unless_the_response_forbids_it() {
    let on_error = |value: &str| match cc(value).after(20) {
        Verdict::Stale { on_error, .. } => on_error,
        other => panic!("{value}: {other:?}"),
    };
    assert_eq!(on_error("max-age=10"), OnError::Unreachable);
    assert_eq!(on_error("max-age=10, stale-if-error=60"), OnError::AnyError);
    for forbidden in [
        "max-age=10, must-revalidate",
        "max-age=10, proxy-revalidate",
        "s-maxage=10",
    ] {
        assert_eq!(on_error(forbidden), OnError::Never, "{forbidden}");
    }
}

#[test]
fn what_the_response_says_of_staleness_prevails_over_the_site() {
    let mut case = cc("max-age=10, stale-while-revalidate=5, stale-if-error=6");
    case.policy.stale_while_revalidate_ms = Some(1000);
    case.policy.stale_if_error_ms = Some(2000);
    let freshness = case.storable().unwrap().metadata.freshness;
    assert_eq!((freshness.while_revalidate, freshness.if_error), (5000, Some(6000)));
    case.fields = map(&[("cache-control", "max-age=10")]);
    let freshness = case.storable().unwrap().metadata.freshness;
    assert_eq!((freshness.while_revalidate, freshness.if_error), (1000, Some(2000)));
}

#[test]
fn an_answer_to_authorization_is_stored_only_if_it_says_so() {
    let with = |value: &str| cc(value).request(&[("authorization", "Basic x")]);
    assert_eq!(with("max-age=10").reason(), Some(Reason::Authorization));
    for allowed in ["max-age=10, public", "s-maxage=10", "max-age=10, must-revalidate"] {
        assert_eq!(with(allowed).fresh_for(), Some(10), "{allowed}");
    }
}

#[test]
fn set_cookie_is_stored_only_with_an_explicit_lifetime() {
    let cookie = ("set-cookie", "a=1");
    assert_eq!(
        response(&[("cache-control", "max-age=10"), cookie]).fresh_for(),
        Some(10)
    );
    assert_eq!(response(&[MODIFIED, cookie]).reason(), Some(Reason::SetCookie));
    // That it may not be used again as it is, is no lifetime for others.
    for none in [
        "max-age=0",
        "max-age=0, must-revalidate",
        "no-cache, max-age=60",
        "s-maxage=0",
    ] {
        let answer = response(&[("cache-control", none), ETAG, cookie]);
        assert_eq!(answer.reason(), Some(Reason::SetCookie), "{none}");
    }
    assert_eq!(
        response(&[("expires", "0"), ETAG, cookie]).reason(),
        Some(Reason::SetCookie)
    );
    let ruled = response(&[cookie]).rule(Rule {
        ttl_ms: Some(1000),
        ..Rule::default()
    });
    assert_eq!(ruled.reason(), Some(Reason::SetCookie));
}

#[test]
fn a_cookie_in_the_request_does_not_matter() {
    assert_eq!(cc("max-age=10").request(&[("cookie", "a=1")]).fresh_for(), Some(10));
}

#[test]
fn vary_star_is_not_stored() {
    assert_eq!(
        response(&[("cache-control", "max-age=10"), ("vary", "foo, *")]).reason(),
        Some(Reason::Vary)
    );
}

#[test]
fn answers_to_other_methods_are_not_stored() {
    for method in [Method::HEAD, Method::POST, Method::OPTIONS] {
        let case = Case {
            method,
            ..cc("max-age=10")
        };
        assert_eq!(case.reason(), Some(Reason::Method));
    }
}

#[test]
fn an_answer_to_a_post_is_stored_only_with_an_explicit_lifetime_and_a_location_of_its_content() {
    let post = |fields: &[(&str, &str)], status| Case {
        method: Method::POST,
        status,
        ..response(fields)
    };
    let (location, fresh) = (("content-location", "/x"), ("cache-control", "max-age=10"));
    assert_eq!(post(&[location, fresh], 200).fresh_for(), Some(10));
    assert_eq!(post(&[fresh], 200).reason(), Some(Reason::Method));
    assert_eq!(post(&[location, MODIFIED], 200).reason(), Some(Reason::Method));
    assert_eq!(post(&[location, fresh], 201).reason(), Some(Reason::Method));
}

#[test]
fn a_206_is_stored_only_if_a_range_was_asked_for() {
    let fields = [("cache-control", "max-age=10"), ("content-range", "bytes 0-1/10")];
    let asked = response(&fields).status(206).request(&[("range", "bytes=0-1")]);
    assert_eq!(asked.fresh_for(), Some(10));
    assert_eq!(response(&fields).status(206).reason(), Some(Reason::Status));
}

#[test]
fn surrogate_control_stands_between_cdn_cache_control_and_cache_control() {
    let expires = ("expires", "Sun, 06 Nov 1994 08:50:07 GMT");
    let with = |value: &str| response(&[("surrogate-control", value), ("cache-control", "no-store"), expires]);
    assert_eq!(with("max-age=5").fresh_for(), Some(5));
    assert_eq!(with("max-age=5;breakwater").fresh_for(), Some(5));
    assert_eq!(with("max-age=5;other").reason(), Some(Reason::NoStore));
    assert_eq!(with("no-store").reason(), Some(Reason::NoStore));
    let both = response(&[("surrogate-control", "max-age=5"), ("cdn-cache-control", "max-age=7")]);
    assert_eq!(both.fresh_for(), Some(7));
    let strict = response(&[
        ("surrogate-control", "max-age=0"),
        ("cache-control", "max-age=100"),
        expires,
    ]);
    assert_eq!(strict.fresh_for(), Some(0));
}

#[test]
fn a_rule_gives_its_windows_of_stale_answers_in_place_of_those_of_the_response() {
    let rule = || Rule {
        stale_while_revalidate_ms: Some(1000),
        stale_if_error_ms: Some(2000),
        ..Rule::default()
    };
    let windows = |case: Case| {
        let freshness = case.storable().unwrap().metadata.freshness;
        (freshness.while_revalidate, freshness.if_error)
    };
    let said = "max-age=10, stale-while-revalidate=50, stale-if-error=60";
    assert_eq!(windows(cc(said)), (50_000, Some(60_000)));
    assert_eq!(windows(cc(said).rule(rule())), (1000, Some(2000)));
    assert_eq!(cc(said).rule(rule()).fresh_for(), Some(10), "the lifetime stays");
    let other = Rule {
        statuses: vec![404],
        ..rule()
    };
    assert_eq!(windows(cc(said).rule(other)), (50_000, Some(60_000)));
    let strict = cc("max-age=10, must-revalidate").rule(rule());
    assert!(
        strict.storable().unwrap().metadata.freshness.must_revalidate,
        "and is never served stale"
    );
}

#[test]
fn a_rule_gives_its_lifetime_from_now_on() {
    let hour = || Rule {
        ttl_ms: Some(3_600_000),
        ..Rule::default()
    };
    assert_eq!(response(&[]).rule(hour()).fresh_for(), Some(3600));
    assert_eq!(
        response(&[("cache-control", "max-age=10"), ("age", "50")])
            .rule(hour())
            .fresh_for(),
        Some(3600)
    );
    assert_eq!(
        cc("no-cache").rule(hour()).after(1),
        Verdict::Fresh {
            age: 1000,
            ttl: 3_599_000
        }
    );
    assert_eq!(cc("private").rule(hour()).reason(), Some(Reason::Private));
    assert_eq!(
        response(&[]).status(500).rule(hour()).reason(),
        Some(Reason::NoLifetime)
    );
}

#[test]
fn the_first_rule_for_the_status_counts() {
    let rules = |status| {
        response(&[])
            .status(status)
            .rule(Rule {
                statuses: vec![200],
                ttl_ms: Some(1000),
                ..Rule::default()
            })
            .rule(Rule {
                statuses: vec![500],
                ttl_ms: Some(2000),
                ..Rule::default()
            })
            .rule(Rule {
                bypass: true,
                ..Rule::default()
            })
    };
    assert_eq!(rules(200).fresh_for(), Some(1));
    assert_eq!(rules(500).fresh_for(), Some(2));
    assert_eq!(rules(404).reason(), Some(Reason::Rule));
}

#[test]
fn tags_are_words_of_the_tag_field_and_the_url_is_one() {
    let found = response(&[
        ("etag", "\"a\""),
        ("surrogate-key", "one two"),
        ("surrogate-key", "two,three"),
    ]);
    let keyer = Keyer::new(1);
    let expected = [
        keyer.url_tag(Key(1)),
        keyer.tag(1, b"one"),
        keyer.tag(1, b"two"),
        keyer.tag(1, b"three"),
    ];
    assert_eq!(*found.storable().unwrap().metadata.tags, expected);
    let many = (0..=MAX_LISTED_TAGS)
        .map(|i| i.to_string())
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(
        response(&[("etag", "\"a\""), ("surrogate-key", &many)]).reason(),
        Some(Reason::Tags)
    );
}
