//! Path parameters (`/admin;x`): what many servers cut off before they look for what to serve, so that a policy looks at
//! the path without them too.

use breakwater_snapshot::unit::{Limit, PathMatch, RequestRate, RuleExclusion, RuleSelection};

use crate::support::{Origin, Plane, Response, answer, exact, limit, prefix, regex};
use crate::waf_rules::{ATTACK, FORM, get, plane, policy, post, protected};

async fn denying(change: impl FnOnce(&mut breakwater_snapshot::unit::WafPolicy)) -> (Origin, Plane) {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::start().await;
    plane
        .apply(protected(&origin, policy(ATTACK, |policy, _| change(policy))))
        .await;
    (origin, plane)
}

#[tokio::test]
async fn a_path_that_is_denied_is_denied_with_parameters_in_its_segments_too() {
    let (origin, plane) = denying(|policy| policy.uris.deny = vec![prefix("/admin")]).await;
    let mut client = plane.client().await;
    for target in [
        "/admin",
        "/admin;x",
        "/admin;",
        "/;x/admin",
        "/;/;/admin",
        "/admin;jsessionid=1/secret",
        "/admin;a=b;c=d/secret;e",
        "/%61dmin;x",
        "/admin%3Bx",
        "/;x%2Fadmin",
        "/;x/%61dmin;y%2f",
        "/x/../admin;x",
        "//;x//admin",
    ] {
        assert_eq!(get(&mut client, target).await, 403, "{target}");
    }
    assert_eq!(origin.count(), 0);
    for target in ["/adm;x/in", "/a;/admin", "/administrator;x", "/x;admin", "/x;/admin"] {
        assert_eq!(get(&mut client, target).await, 200, "{target}");
    }
    let line = plane.audit(2).await.remove(1);
    assert_eq!((&line["uri"], &line["detail"]), (&"/admin;x".into(), &"/admin".into()));
}

#[tokio::test]
async fn dots_in_front_of_a_parameter_are_refused_before_any_policy() {
    let (origin, plane) = denying(|policy| policy.uris.deny = vec![prefix("/admin")]).await;
    for target in [
        "/a/..;/admin",
        "/a/..;x=1/admin",
        "/a/.;/admin",
        "/a/..%3b/admin",
        "/a%2f..;x/admin",
    ] {
        let response = plane.client().await.get("shop.test", target, "").await;
        assert_eq!(response.status, 400, "{target}");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_path_is_allowed_only_if_what_parameters_hide_is_allowed_too() {
    let (_origin, plane) = denying(|policy| {
        policy.uris.deny = vec![prefix("/")];
        policy.uris.allow = vec![prefix("/public"), regex("/.*[.]css"), exact("/a/b")];
    })
    .await;
    let mut client = plane.client().await;
    for (target, status) in [
        ("/public;v=1/x", 403),
        ("/public/x;jsessionid=1", 200),
        ("/style.css", 200),
        ("/admin;.css", 403),
        ("/admin;x/y.css", 200),
        ("/admin/x;/y.css", 200),
        ("/a/b", 200),
        ("/a/b;x", 403),
    ] {
        assert_eq!(get(&mut client, target).await, status, "{target}");
    }
}

#[tokio::test]
async fn a_limit_counts_its_paths_in_every_reading() {
    let logins = Limit {
        paths: vec![exact("/login")],
        requests: Some(RequestRate {
            count: 1,
            per_ms: 3_600_000,
            burst: Some(4),
        }),
        ..limit("logins")
    };
    let (_origin, plane) = denying(|policy| policy.limits = vec![logins]).await;
    let mut client = plane.client().await;
    for target in ["/login", "/login;x", "/;x/login", "//login"] {
        assert_eq!(get(&mut client, target).await, 200, "{target}");
    }
    for target in ["/login", "/login;x", "/;x/login", "//login", "/%2Flogin"] {
        assert_eq!(get(&mut client, target).await, 429, "{target}");
    }
    assert_eq!(get(&mut client, "/log;in").await, 200);
}

#[tokio::test]
async fn an_exclusion_holds_only_where_every_reading_is_on_its_paths() {
    let exclusion = |paths: Vec<PathMatch>| RuleExclusion {
        rules: vec![RuleSelection::Ids(vec![(1001, 1001)])],
        targets: Vec::new(),
        paths,
        methods: Vec::new(),
    };
    let (_origin, plane) = plane(ATTACK, |_, rules| {
        rules.exclusions = vec![exclusion(vec![prefix("/editor"), regex("/.*[.]txt")])];
    })
    .await;
    let mut client = plane.client().await;
    for (target, status) in [
        ("/editor/x", 200),
        ("/editor/x;v=1", 200),
        ("/a.txt", 200),
        ("/a;.txt", 403),
        ("/a;x/.txt", 200),
        ("/editor%2Fx", 403),
        ("/other", 403),
    ] {
        let answered = post(&mut client, target, FORM, b"q=attack").await.0;
        assert_eq!(answered, status, "{target}");
        client = plane.client().await;
    }
}

#[tokio::test]
async fn routes_and_keys_tell_paths_apart_by_their_parameters() {
    let origin =
        Origin::start(|request| async move { answer(200, "Cache-Control: max-age=60\r\n", request.target()) }).await;
    let plane = Plane::before(&origin).await;
    let ask = async |target: &str| -> Response { plane.client().await.get("shop.test", target, "").await };
    assert_eq!(ask("/page").await.text(), "/page");
    assert_eq!(ask("/page;v=2").await.text(), "/page;v=2");
    let again = ask("/page").await;
    assert!(again.is_hit() && again.text() == "/page");
}
