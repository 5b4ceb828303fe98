//! Policies in force.

use breakwater_snapshot::unit::{EdgeCache, Mode, RequestRate, Unit, WafPolicy};
use breakwater_snapshot::{Blob, Kind, ObjectId};

use crate::support::{
    Client, Objects, Origin, Plane, answer, edge_cache, exact, id, limit, objects, prefix, regex, waf_policy,
};

fn site() -> ObjectId {
    id(Kind::EdgeCache, "site")
}

fn protected(origin: &Origin, policy: WafPolicy) -> Objects {
    let site: EdgeCache = edge_cache(origin.address);
    objects([("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))])
}

/// An origin, and a data plane in front of it with a policy.
async fn plane(change: impl FnOnce(&mut WafPolicy)) -> (Origin, Plane) {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
    let mut policy = waf_policy(site());
    change(&mut policy);
    let plane = Plane::start().await;
    plane.apply(protected(&origin, policy)).await;
    (origin, plane)
}

async fn status(client: &mut Client, target: &str) -> u16 {
    client.get("shop.test", target, "").await.status
}

#[tokio::test]
async fn a_denied_address_is_refused_and_an_allowed_one_before_it_passes() {
    let (origin, plane) = plane(|policy| policy.addresses.deny = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let mut client = plane.client().await;
    let refused = client.get("shop.test", "/a", "").await;
    assert_eq!((refused.status, origin.count()), (403, 0));
    assert!(
        refused.text().contains(refused.field("x-request-id").unwrap()),
        "{refused:?}"
    );
    assert!(!refused.text().contains("127.0.0"), "{refused:?}");
    let mut policy = waf_policy(site());
    policy.addresses.deny = vec!["127.0.0.0/8".parse().unwrap()];
    policy.addresses.allow = vec!["127.0.0.1/32".parse().unwrap()];
    plane.apply(protected(&origin, policy)).await;
    assert_eq!(
        status(&mut client, "/a").await,
        200,
        "the same connection, the new policy"
    );
}

#[tokio::test]
async fn a_list_can_deny_by_default_and_hide_what_it_protects() {
    let (_origin, plane) = plane(|policy| {
        policy.addresses.default_allow = false;
        policy.block_status = 404;
    })
    .await;
    assert_eq!(status(&mut plane.client().await, "/a").await, 404);
}

#[tokio::test]
async fn a_denied_client_gets_no_hit() {
    let (origin, plane) = plane(|_| {}).await;
    let mut client = plane.client().await;
    status(&mut client, "/a").await;
    assert!(client.get("shop.test", "/a", "").await.is_hit());
    let mut policy = waf_policy(site());
    policy.addresses.deny = vec!["127.0.0.1/32".parse().unwrap()];
    plane.apply(protected(&origin, policy)).await;
    assert_eq!(status(&mut client, "/a").await, 403);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_is_who_it_says() {
    let (_origin, plane) = plane(|policy| {
        policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        policy.addresses.deny = vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    })
    .await;
    let mut client = plane.client().await;
    for (forwarded, status) in [
        ("203.0.113.9", 403),
        ("203.0.113.9, 10.1.1.1", 403),
        ("203.0.113.9, 198.51.100.7", 200),
        ("2001:db8::1", 403),
        ("[2001:db8::1]:4711", 403),
        ("::ffff:203.0.113.9", 403),
        ("198.51.100.7", 200),
        ("nonsense", 200),
    ] {
        let lines = format!("X-Forwarded-For: {forwarded}\r\n");
        let response = client.get("shop.test", "/a", &lines).await;
        assert_eq!(response.status, status, "{forwarded}");
    }
}

#[tokio::test]
async fn an_untrusted_client_cannot_say_who_it_is() {
    let (_origin, plane) = plane(|policy| {
        policy.client.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        policy.addresses.allow = vec!["198.51.100.7/32".parse().unwrap()];
        policy.addresses.default_allow = false;
    })
    .await;
    let lines = "X-Forwarded-For: 198.51.100.7\r\n";
    assert_eq!(plane.client().await.get("shop.test", "/a", lines).await.status, 403);
}

#[tokio::test]
async fn a_denied_path_is_refused_however_it_is_written() {
    let (origin, plane) = plane(|policy| {
        policy.uris.deny = vec![prefix("/admin"), exact("/secret.txt"), regex(r"/.*\.bak")];
        policy.uris.allow = vec![exact("/admin/login")];
    })
    .await;
    let mut client = plane.client().await;
    for target in [
        "/admin",
        "/admin/",
        "/admin/x?y",
        "/%61dmin",
        "/x/../admin",
        "/./admin",
        "/x/%2e%2e/admin",
        "/x/%2E./admin/y",
        "/%2e/admin",
        "/admin%2Fx",
        "/admin%2fx",
        "/secret.txt",
        "/x/../secret.txt",
        "/a/site.bak",
        "http://shop.test/admin",
    ] {
        assert_eq!(status(&mut client, target).await, 403, "{target}");
    }
    for target in ["/x%2F..%2Fadmin", "/x/..%2fadmin", "/x/%2e%2e%2fadmin"] {
        let mut client = plane.client().await;
        assert_eq!(status(&mut client, target).await, 400, "{target}");
    }
    assert_eq!(origin.count(), 0);
    for target in [
        "/admin/login",
        "/administrator",
        "/secret.txt.gz",
        "/x?p=/admin",
        "/x%2Fy",
    ] {
        assert_eq!(status(&mut client, target).await, 200, "{target}");
    }
}

#[tokio::test]
async fn requests_over_the_limit_are_refused_until_there_is_room() {
    let (_origin, plane) = plane(|policy| {
        let mut login = limit("login");
        login.paths = vec![exact("/login")];
        login.methods = vec!["POST".to_owned()];
        login.requests = Some(RequestRate {
            count: 3,
            per_ms: 3_600_000,
            burst: None,
        });
        policy.limits = vec![login];
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let mut client = plane.client().await;
        let response = client
            .ask("POST", "shop.test", "/login", "Content-Length: 0\r\n", b"")
            .await;
        if response.status == 429 {
            let wait: u64 = response.field("retry-after").unwrap().parse().unwrap();
            assert!((1..=3600).contains(&wait), "{wait}");
        }
        statuses.push(response.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let mut client = plane.client().await;
    assert_eq!(status(&mut client, "/login").await, 200, "another method");
    let other = client
        .ask("POST", "shop.test", "/other", "Content-Length: 0\r\n", b"")
        .await;
    assert_eq!(other.status, 200, "another path");
    let line = plane.audit(1).await.remove(0);
    assert_eq!(
        (&line["reason"], &line["status"], &line["detail"]),
        (&"limit".into(), &429.into(), &"login".into())
    );
    let series = "breakwater_limit_refusals_total{policy=\"WafPolicy/default/policy\",limit=\"login\"}";
    assert_eq!(plane.metric(series).await, 2.0);
}

#[tokio::test]
async fn a_limit_counts_over_all_workers_and_survives_a_change_elsewhere() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let mut policy = waf_policy(site());
    let mut all = limit("all");
    all.requests = Some(RequestRate {
        count: 4,
        per_ms: 3_600_000,
        burst: None,
    });
    policy.limits = vec![all];
    let plane = Plane::with_workers(2).await;
    plane.apply(protected(&origin, policy.clone())).await;
    let mut statuses = Vec::new();
    for n in 0..6 {
        if n == 2 {
            policy.uris.deny = vec![exact("/other")];
            plane.apply(protected(&origin, policy.clone())).await;
        }
        statuses.push(status(&mut plane.client().await, "/a").await);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_until_one_closes() {
    let (_origin, plane) = plane(|policy| {
        let mut sockets = limit("sockets");
        sockets.connections = Some(2);
        policy.limits = vec![sockets];
    })
    .await;
    let mut first = plane.client().await;
    let mut second = plane.client().await;
    for _ in 0..3 {
        assert_eq!(status(&mut first, "/a").await, 200, "a connection counts once");
    }
    assert_eq!(status(&mut second, "/a").await, 200);
    let mut third = plane.client().await;
    assert_eq!(status(&mut third, "/a").await, 429);
    drop(first);
    let idle = format!(
        "breakwater_connections{{listener=\"{}\",state=\"idle\"}}",
        plane.address()
    );
    plane.metric_reaches(&idle, 2.0).await;
    assert_eq!(status(&mut third, "/a").await, 200);
}

#[tokio::test]
async fn a_refusal_keeps_the_connection_unless_a_body_follows() {
    let (_origin, plane) = plane(|policy| policy.uris.deny = vec![prefix("/admin")]).await;
    let mut client = plane.client().await;
    assert_eq!(status(&mut client, "/admin").await, 403);
    let head = client.ask("HEAD", "shop.test", "/admin", "", b"").await;
    assert_eq!(head.status, 403);
    assert_eq!(status(&mut client, "/a").await, 200);
    let refused = client
        .ask("POST", "shop.test", "/admin", "Content-Length: 1000000\r\n", b"")
        .await;
    assert_eq!((refused.status, refused.field("connection")), (403, Some("close")));
    client.closed().await;
}

#[tokio::test]
async fn detect_only_lets_pass_and_reports() {
    let (_origin, plane) = plane(|policy| {
        policy.mode = Mode::DetectOnly;
        policy.uris.deny = vec![prefix("/admin")];
        policy.addresses.deny = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    assert_eq!(status(&mut plane.client().await, "/admin").await, 200);
    let lines = plane.audit(2).await;
    let mut reasons: Vec<_> = lines.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["address", "uri"]);
    assert!(
        lines
            .iter()
            .all(|line| line["action"] == "detect" && line["mode"] == "DetectOnly"),
        "{lines:?}"
    );
}

fn broken(targets: Vec<ObjectId>) -> (ObjectId, i64, Blob) {
    let message = "addresses.deny[0]: not a prefix".to_owned();
    (id(Kind::WafPolicy, "policy"), 2, Blob::Invalid { targets, message })
}

#[tokio::test]
async fn a_policy_that_never_was_valid_closes_what_it_protects_and_nothing_else() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let mut site_unit = edge_cache(origin.address);
    site_unit.claims = crate::support::claims("shop.test", "/");
    let mut other = edge_cache(origin.address);
    other.claims = crate::support::claims("other.test", "/");
    let good = objects([("site", Unit::EdgeCache(site_unit)), ("other", Unit::EdgeCache(other))]);
    let plane = Plane::start().await;
    let mut with_broken = good.clone();
    with_broken.push(broken(vec![site()]));
    let applied = plane.try_apply(with_broken).await;
    assert_eq!((applied.rejected.len(), applied.kept.len()), (1, 0));
    assert!(applied.rejected[0].message.contains("not a prefix"), "{applied:?}");
    let mut client = plane.client().await;
    assert_eq!(status(&mut client, "/a").await, 503);
    assert_eq!(client.get("other.test", "/a", "").await.status, 200);
    assert_eq!(plane.audit(1).await[0]["reason"], "policy");
    assert_eq!(plane.metric("breakwater_snapshot_rejected_objects").await, 1.0);
    let mut fixed = good;
    fixed.extend(objects([("policy", Unit::WafPolicy(waf_policy(site())))]));
    plane.apply(fixed).await;
    assert_eq!(status(&mut client, "/a").await, 200);
    assert_eq!(plane.metric("breakwater_snapshot_rejected_objects").await, 0.0);
}

#[tokio::test]
async fn a_policy_that_breaks_stays_in_force_as_it_was_until_it_is_fixed() {
    let (origin, plane) = plane(|policy| policy.uris.deny = vec![prefix("/admin")]).await;
    let mut client = plane.client().await;
    for _ in 0..3 {
        let mut objects = objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]);
        objects.push(broken(vec![site()]));
        let applied = plane.try_apply(objects).await;
        assert_eq!(applied.kept, [id(Kind::WafPolicy, "policy")]);
        assert_eq!(
            (status(&mut client, "/admin").await, status(&mut client, "/a").await),
            (403, 200)
        );
    }
    let mut fixed = waf_policy(site());
    fixed.uris.deny = vec![prefix("/other")];
    plane.apply(protected(&origin, fixed)).await;
    assert_eq!(
        (status(&mut client, "/admin").await, status(&mut client, "/other").await),
        (200, 403)
    );
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    assert_eq!(status(&mut client, "/other").await, 200, "without the policy");
}

#[tokio::test]
async fn a_unit_that_cannot_be_built_is_rejected_alone() {
    let (origin, plane) = plane(|policy| policy.uris.deny = vec![prefix("/admin")]).await;
    let mut policy = waf_policy(site());
    policy.uris.deny = vec![regex("(")];
    let applied = plane.try_apply(protected(&origin, policy)).await;
    assert_eq!(applied.rejected.len(), 1, "{applied:?}");
    assert_eq!(status(&mut plane.client().await, "/admin").await, 403);
}

#[tokio::test]
async fn of_two_policies_the_first_in_order_decides_and_both_can_refuse() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let policy = |order, status, deny| {
        let mut policy = waf_policy(site());
        policy.order = order;
        policy.block_status = status;
        policy.uris.deny = deny;
        Unit::WafPolicy(policy)
    };
    for (first, second, status) in [(0, 1, 404), (1, 0, 403)] {
        let plane = Plane::running([
            ("site", Unit::EdgeCache(edge_cache(origin.address))),
            ("a", policy(first, 404, vec![prefix("/both"), prefix("/one")])),
            ("b", policy(second, 403, vec![prefix("/both"), prefix("/two")])),
        ])
        .await;
        let mut client = plane.client().await;
        let mut got = Vec::new();
        for target in ["/both", "/one", "/two", "/none"] {
            got.push(self::status(&mut client, target).await);
        }
        assert_eq!(got, [status, 404, 403, 200], "order {first} {second}");
        assert_eq!(plane.audit(3).await.len(), 3, "one line for each refusal");
    }
}

#[tokio::test]
async fn a_path_with_doubled_slashes_does_not_get_past_a_list() {
    let (_origin, plane) = plane(|policy| policy.uris.deny = vec![prefix("/admin"), exact("/a/b")]).await;
    let mut client = plane.client().await;
    for target in ["//admin", "///admin/x", "/x/..//admin", "/a//b"] {
        assert_eq!(status(&mut client, target).await, 403, "{target}");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_says_of_the_request_is_in_the_key() {
    let (_origin, plane) = plane(|policy| {
        policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut client = plane.client().await;
    for (lines, hit) in [
        ("", false),
        ("X-Forwarded-Proto: https\r\n", false),
        ("X-Forwarded-Host: elsewhere.test\r\n", false),
        ("X-Forwarded-Proto: https\r\n", true),
        ("", true),
    ] {
        assert_eq!(client.get("shop.test", "/a", lines).await.is_hit(), hit, "{lines:?}");
    }
}

#[tokio::test]
async fn what_an_untrusted_client_says_of_its_request_makes_no_variant() {
    let (_origin, plane) = plane(|_| {}).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    let lines = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: elsewhere.test\r\n";
    assert!(client.get("shop.test", "/a", lines).await.is_hit());
}
