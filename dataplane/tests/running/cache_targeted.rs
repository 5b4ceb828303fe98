//! What origins say to this cache alone: `CDN-Cache-Control` (RFC 9213) and `Surrogate-Control`; `must-understand`; the
//! windows of stale answers.

use crate::support::{Origin, Plane, answer};

/// Whether a second request is answered from the store.
async fn is_stored(status: u16, lines: &str) -> bool {
    let origin = Origin::fixed(answer(status, lines, "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    client.get("shop.test", "/a", "").await.is_hit()
}

const PAST: &str = "Expires: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
const FUTURE: &str = "Expires: Fri, 31 Dec 9999 23:59:59 GMT\r\n";

#[tokio::test]
async fn cdn_cache_control_replaces_cache_control_and_expires() {
    for (stored, lines) in [
        (true, "CDN-Cache-Control: max-age=3600\r\n"),
        (true, "CDN-Cache-Control: max-age=2147483648\r\n"),
        (true, "CDN-Cache-Control: max-age=999999999999999\r\n"),
        (true, "CDN-Cache-Control: foo=bar, max-age=3600;x=1\r\n"),
        (true, "CDN-Cache-Control: max-age=3600\r\nCache-Control: max-age=0\r\n"),
        (true, "CDN-Cache-Control: max-age=3600\r\nCache-Control: no-store\r\n"),
        (true, &format!("CDN-Cache-Control: max-age=3600\r\n{PAST}")),
        (true, "CDN-Cache-Control: max-age=3600\r\nExpires: 0\r\n"),
        (
            true,
            "CDN-Cache-Control: max-age=3600\r\nSurrogate-Control: no-store\r\n",
        ),
        (false, "CDN-Cache-Control: max-age=3600\r\nAge: 7200\r\n"),
        (false, "CDN-Cache-Control: max-age=0\r\n"),
        (false, &format!("CDN-Cache-Control: max-age=0\r\n{FUTURE}")),
        (false, "CDN-Cache-Control: max-age=0\r\nCache-Control: max-age=3600\r\n"),
        (false, "CDN-Cache-Control: private\r\nCache-Control: max-age=3600\r\n"),
        (false, "CDN-Cache-Control: no-cache\r\nCache-Control: max-age=3600\r\n"),
        (false, "CDN-Cache-Control: no-store\r\nCache-Control: max-age=3600\r\n"),
    ] {
        assert_eq!(is_stored(200, lines).await, stored, "{lines}");
    }
}

#[tokio::test]
async fn a_cdn_cache_control_that_cannot_be_read_is_not_there() {
    for bad in [
        "max-age=3600,",
        "max-age=\"3600\"",
        "max-age=1.5",
        "MAX-AGE=3600",
        "max-age = 3600",
        "no-store=1",
    ] {
        let lines = format!("CDN-Cache-Control: {bad}\r\nCache-Control: max-age=0\r\n");
        assert!(!is_stored(200, &lines).await, "{bad}");
        let lines = format!("CDN-Cache-Control: {bad}\r\nCache-Control: max-age=3600\r\n");
        assert!(is_stored(200, &lines).await, "{bad}");
    }
}

#[tokio::test]
async fn targeted_fields_are_passed_on_and_origins_are_told_of_surrogate_control() {
    let lines = "CDN-Cache-Control: max-age=60\r\nSurrogate-Control: max-age=30\r\n";
    let origin = Origin::fixed(answer(200, lines, "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for hit in [false, true] {
        let response = client
            .get("shop.test", "/a", "Surrogate-Capability: x=\"ESI/1.0\"\r\n")
            .await;
        assert_eq!(response.is_hit(), hit);
        assert_eq!(response.field("cdn-cache-control"), Some("max-age=60"));
        assert_eq!(response.field("surrogate-control"), Some("max-age=30"));
    }
    let capability = origin.last().field("surrogate-capability");
    assert_eq!(
        capability.as_deref(),
        Some("breakwater=\"Surrogate/1.0\""),
        "and not what a client says"
    );
}

#[tokio::test]
async fn must_understand_overrides_no_store_for_statuses_that_are_known() {
    let lines = "Cache-Control: max-age=3600, no-store, must-understand\r\n";
    assert!(is_stored(200, lines).await);
    assert!(is_stored(404, lines).await);
    assert!(!is_stored(299, lines).await);
    assert!(!is_stored(599, "Cache-Control: max-age=3600, must-understand\r\n").await);
    assert!(is_stored(599, "Cache-Control: max-age=3600\r\n").await);
}

/// What comes when the origin, after one answer, hangs up or answers 503.
async fn after_failure(lines: &'static str, hangs_up: bool) -> u16 {
    let origin = Origin::raw(move |mut peer| async move {
        while let Some(request) = peer.request().await {
            if request.target() == "/fail" || request.field("x-fail").is_some() {
                match hangs_up {
                    true => return,
                    false => peer.send(answer(503, "", "")).await,
                }
            } else {
                peer.send(answer(200, lines, "old")).await;
            }
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    client.get("shop.test", "/a", "X-Fail: 1\r\n").await.status
}

#[tokio::test]
async fn the_windows_of_stale_answers_have_an_end() {
    for (lines, hung_up, failed) in [
        // By default: when there is no answer at all, for a day.
        ("Cache-Control: max-age=60\r\nAge: 100\r\n", 200, 503),
        ("Cache-Control: max-age=60\r\nAge: 86500\r\n", 502, 503),
        ("Cache-Control: max-age=60, stale-if-error=60\r\nAge: 100\r\n", 200, 200),
        ("Cache-Control: max-age=60, stale-if-error=30\r\nAge: 100\r\n", 502, 503),
        (
            "Cache-Control: max-age=60, stale-if-error=60, must-revalidate\r\nAge: 100\r\n",
            502,
            503,
        ),
        (
            "Cache-Control: max-age=60, stale-if-error=60, proxy-revalidate\r\nAge: 100\r\n",
            502,
            503,
        ),
        (
            "Cache-Control: s-maxage=60, stale-if-error=60\r\nAge: 100\r\n",
            502,
            503,
        ),
        ("Cache-Control: max-age=60, stale-if-error=60, no-cache\r\n", 502, 503),
        (
            "Cache-Control: max-age=60, stale-while-revalidate=60\r\nAge: 100\r\n",
            200,
            200,
        ),
        (
            "Cache-Control: max-age=60, stale-while-revalidate=30\r\nAge: 100\r\n",
            200,
            503,
        ),
    ] {
        assert_eq!(after_failure(lines, true).await, hung_up, "{lines}");
        assert_eq!(after_failure(lines, false).await, failed, "{lines}");
    }
}

#[tokio::test]
async fn ages_that_are_no_numbers_are_ignored_and_the_first_one_counts() {
    for (age, stored) in [
        ("Age: abc\r\n", true),
        ("Age: -7200\r\n", true),
        ("Age: 7200.0\r\n", true),
        ("Age: 7200;foo=bar\r\n", true),
        ("Age: 0,7200\r\n", true),
        ("Age: 0\r\nAge: 7200\r\n", true),
        ("Age: 0, 0\r\n", true),
        ("Age: 7200,0\r\n", false),
        ("Age: 7200\r\nAge: 0\r\n", false),
        ("Age: 2147483649\r\n", false),
        ("Age: 99999999999999999999\r\n", false),
    ] {
        assert_eq!(
            is_stored(200, &format!("Cache-Control: max-age=3600\r\n{age}")).await,
            stored,
            "{age}"
        );
    }
}
