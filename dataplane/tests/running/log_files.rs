//! Files of logs, set aside by size while requests are answered.

use std::path::Path;

use breakwater_dataplane::{LogOptions, LogTarget};
use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::Unit;
use serde_json::Value;

use crate::support::{Origin, Plane, answer, edge_cache, id, objects, prefix, until, waf_policy};

/// More than is written at once.
const SIZE: u64 = 128 * 1024;

const REQUESTS: usize = 800;

/// The numbers of the requests that a file has lines of; every line is whole.
fn numbers(file: &Path) -> Vec<usize> {
    let text = std::fs::read_to_string(file).unwrap();
    let number = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let uri = line["uri"].as_str().unwrap();
        uri.split('/').nth(2).unwrap().parse().unwrap()
    };
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(number)
        .collect()
}

#[tokio::test]
async fn a_log_that_grows_is_set_aside_by_size_and_the_newest_lines_are_kept_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = |name: &str| LogOptions {
        max_size: SIZE,
        keep: 2,
        ..LogOptions::new(vec![LogTarget::File(dir.path().join(name))])
    };
    let plane = Plane::with(|options| {
        options.audit_log = log("audit");
        options.access_log = log("access");
    })
    .await;
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.uris.deny = vec![prefix("/admin")];
    let site = Unit::EdgeCache(edge_cache(origin.address));
    plane
        .apply(objects([("site", site), ("policy", Unit::WafPolicy(policy))]))
        .await;
    let mut client = plane.client().await;
    let long = "x".repeat(500);
    for n in 0..REQUESTS {
        let target = format!("/admin/{n}/{long}");
        assert_eq!(client.get("shop.test", &target, "").await.status, 403);
    }
    for name in ["audit", "access"] {
        let file = |suffix: &str| dir.path().join(format!("{name}{suffix}"));
        let last = until("the last line", async || {
            let lines = numbers(&file(""));
            (lines.last() == Some(&(REQUESTS - 1))).then_some(lines)
        })
        .await;
        let mut kept = numbers(&file(".2"));
        kept.extend(numbers(&file(".1")));
        kept.extend(last);
        let newest: Vec<_> = (REQUESTS - kept.len()..REQUESTS).collect();
        assert_eq!(kept, newest, "{name}");
        assert!(kept.len() < REQUESTS && !file(".3").exists(), "{name}");
        for suffix in ["", ".1", ".2"] {
            let size = std::fs::metadata(file(suffix)).unwrap().len();
            assert!((1..=SIZE).contains(&size), "{name}{suffix}: {size}");
        }
    }
}
