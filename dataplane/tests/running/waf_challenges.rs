//! Challenges: who is asked to work, who passes, and for whom a proof is good.

use breakwater_snapshot::unit::{Challenge, EdgeCache, Field, Limit, RequestRate, Unit, WafPolicy};
use breakwater_snapshot::{Kind, PeerKey, Peers};

use crate::support::http2::{Http2, head};
use crate::support::{
    Origin, Plane, Response, answer, claims, edge_cache, id, limit, objects, prefix, waf_policy, ws_route,
};

const BROWSER: &str = "Accept: text/html,*/*;q=0.8\r\n";

fn policy(change: impl FnOnce(&mut WafPolicy)) -> WafPolicy {
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    policy.challenge = Some(Challenge {
        paths: vec![prefix("/app")],
        bits: 10,
        lasts_ms: 60_000,
    });
    change(&mut policy);
    policy
}

async fn plane(origin: &Origin, policy: WafPolicy) -> Plane {
    let site: EdgeCache = edge_cache(origin.address);
    Plane::running([("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))]).await
}

async fn origin() -> Origin {
    Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "app")).await
}

/// Asks as a browser at this address.
async fn get(plane: &Plane, client: &str, target: &str, lines: &str) -> Response {
    let lines = format!("{BROWSER}X-Forwarded-For: {client}\r\n{lines}");
    plane.client().await.get("shop.test", target, &lines).await
}

/// Does the work of a page; the Cookie line.
fn solve(page: &Response) -> String {
    let text = page.text();
    let data = |name: &str| {
        let (_, rest) = text.split_once(&format!("data-{name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let bits: u32 = data("bits").parse().unwrap();
    let challenge = data("challenge");
    let solves = |number: &u64| {
        let hash = ring::digest::digest(&ring::digest::SHA256, format!("{challenge}{number}").as_bytes());
        let first = u32::from_be_bytes(hash.as_ref()[..4].try_into().unwrap());
        first.leading_zeros() >= bits
    };
    let number = (0..).find(solves).unwrap();
    format!("Cookie: a=b; {}={}.{number}\r\n", data("cookie"), data("expiry"))
}

#[tokio::test]
async fn a_browser_that_does_the_work_passes_and_others_are_refused() {
    let origin = origin().await;
    let plane = plane(&origin, policy(|_| {})).await;
    // What is stored is behind it too.
    assert_eq!(get(&plane, "192.0.2.1", "/", "").await.status, 200);
    let page = get(&plane, "192.0.2.1", "/app", "").await;
    assert_eq!((page.status, origin.count()), (403, 1));
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("cache-control"), Some("no-store"));
    let csp = page.field("content-security-policy").unwrap();
    assert!(csp.starts_with("default-src 'none'; script-src 'sha256-"), "{csp}");
    assert!(page.text().contains(page.field("x-request-id").unwrap()), "{page:?}");

    let cookie = solve(&page);
    let passed = get(&plane, "192.0.2.1", "/app", &cookie).await;
    assert_eq!((passed.status, passed.text().as_str()), (200, "app"));
    assert!(get(&plane, "192.0.2.1", "/app/", &cookie).await.status == 200);
    assert!(get(&plane, "192.0.2.1", "/app", &cookie).await.is_hit());
    let again = get(&plane, "192.0.2.1", "/app", "").await;
    assert_eq!(again.status, 403, "a stored answer is not for those who did not");

    for other in ["192.0.2.2", "2001:db8::1"] {
        assert_eq!(get(&plane, other, "/app", &cookie).await.status, 403, "{other}");
    }
    let lines = plane.audit(4).await;
    assert_eq!(
        (&lines[0]["action"], &lines[0]["reason"]),
        (&"challenge".into(), &"challenge".into())
    );
    assert_eq!(lines[0]["detail"], "/app");
    assert_eq!(plane.access(2).await[1]["waf"], "challenge");
    for (result, count) in [("issued", 4.0), ("passed", 3.0), ("failed", 2.0)] {
        let series =
            format!("breakwater_waf_challenges_total{{policy=\"WafPolicy/default/policy\",result=\"{result}\"}}");
        plane.metric_reaches(&series, count).await;
    }
}

#[tokio::test]
async fn who_cannot_show_a_page_reads_that_it_is_a_challenge() {
    let origin = origin().await;
    let plane = plane(&origin, policy(|_| {})).await;
    let mut client = plane.client().await;
    for (method, lines, body) in [
        ("GET", "", ""),
        ("GET", "Accept: application/json\r\n", ""),
        ("POST", BROWSER, "a=1"),
    ] {
        let refused = client.ask(method, "shop.test", "/app", lines, body.as_bytes()).await;
        assert_eq!(refused.status, 403);
        let body: serde_json::Value = serde_json::from_str(&refused.text()).unwrap();
        assert_eq!(body["reason"], "challenge", "{method} {lines}");
        client = plane.client().await;
    }
    let head = client.ask("HEAD", "shop.test", "/app", BROWSER, b"").await;
    assert_eq!((head.status, head.body.len()), (403, 0));
    assert_eq!(origin.count(), 0);
}

/// A Cookie line with the pair of `solve` alone.
fn pair(cookie: &str) -> &str {
    cookie.trim_end().strip_prefix("Cookie: a=b; ").unwrap()
}

#[tokio::test]
async fn the_origin_does_not_get_the_cookie_of_a_challenge_and_gets_all_else_as_it_came() {
    let origin = Origin::fixed(answer(200, "", "app")).await;
    let plane = plane(&origin, policy(|_| {})).await;
    let page = get(&plane, "192.0.2.1", "/app", "").await;
    let solved = solve(&page);
    let pass = pair(&solved);
    let (name, _) = pass.split_once('=').unwrap();
    for (sent, passed) in [
        (format!("Cookie: {pass}\r\n"), None),
        (format!("Cookie: {pass};\r\n"), None),
        (format!("Cookie: a=b; {pass}\r\n"), Some("a=b")),
        (format!("Cookie: {pass}; a=b\r\n"), Some("a=b")),
        (format!("Cookie: a=b;{pass};  c=\"d\"; e\r\n"), Some("a=b;  c=\"d\"; e")),
        (
            format!("Cookie: {name}=old; a=b; {pass}; x{name}=1\r\n"),
            Some("a=b; x".to_owned() + name + "=1").as_deref(),
        ),
        (
            format!("Cookie: a=b\r\nCookie: {pass}\r\nCookie: c=d\r\n"),
            Some("a=b, c=d"),
        ),
    ]
    .map(|(sent, passed)| (sent, passed.map(str::to_owned)))
    {
        assert_eq!(get(&plane, "192.0.2.1", "/app", &sent).await.status, 200, "{sent}");
        assert_eq!(origin.last().field("cookie"), passed, "{sent}");
        // Past the paths of the challenge too: a browser sends it everywhere.
        assert_eq!(get(&plane, "192.0.2.1", "/", &sent).await.status, 200, "{sent}");
        assert_eq!(origin.last().field("cookie"), passed, "{sent}");
    }
    // Over HTTP/2 pairs come one by one.
    let mut client = Http2::connect(plane.address(), &[]).await;
    let mut fields = head("GET", "shop.test", "/app").to_vec();
    fields.extend([
        ("x-forwarded-for", "192.0.2.1"),
        ("cookie", "a=b"),
        ("cookie", pass),
        ("cookie", "c=d"),
    ]);
    let stream = client.request(&fields, true).await;
    assert_eq!(client.answer(stream).await.status, 200);
    assert_eq!(origin.last().field("cookie").as_deref(), Some("a=b; c=d"));
    // Where nobody is challenged a cookie is nobody's but the origin's.
    let unchallenged = self::plane(&origin, policy(|policy| policy.challenge = None)).await;
    let line = format!("Cookie: a=b; {pass}\r\n");
    assert_eq!(get(&unchallenged, "192.0.2.1", "/app", &line).await.status, 200);
    assert_eq!(origin.last().field("cookie"), Some(format!("a=b; {pass}")));
}

#[tokio::test]
async fn what_varies_with_cookies_is_stored_without_the_cookie_of_a_challenge() {
    let varies = answer(200, "Cache-Control: max-age=60\r\nVary: Cookie\r\n", "app");
    let origin = Origin::fixed(varies).await;
    let plane = plane(&origin, policy(|_| {})).await;
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        let cookie = solve(&get(&plane, client, "/app", "").await);
        assert_eq!(get(&plane, client, "/app", &cookie).await.text(), "app");
        assert!(get(&plane, client, "/app", &cookie).await.is_hit());
    }
    assert!(
        get(&plane, "192.0.2.3", "/", "Cookie: a=b\r\n")
            .await
            .cache_status()
            .contains("miss")
    );
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn the_handshake_of_a_websocket_goes_on_without_the_cookie_of_a_challenge() {
    let origin = Origin::fixed(answer(404, "", "")).await;
    let mut asks = policy(|_| {});
    asks.targets.push(id(Kind::WsRoute, "chat"));
    asks.challenge.as_mut().unwrap().paths = vec![prefix("/")];
    let mut site = edge_cache(origin.address);
    site.claims = claims("*", "/app");
    let mut route = ws_route(origin.address);
    route.claims = claims("*", "/ws");
    let plane = Plane::running([
        ("site", Unit::EdgeCache(site)),
        ("chat", Unit::WsRoute(route)),
        ("policy", Unit::WafPolicy(asks)),
    ])
    .await;
    let solved = solve(&get(&plane, "192.0.2.1", "/app", "").await);
    let lines = format!(
        "{solved}Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    let refused = get(&plane, "192.0.2.1", "/ws", &lines).await;
    assert_eq!((refused.status, origin.count()), (404, 1), "{refused:?}");
    assert_eq!(origin.last().field("cookie").as_deref(), Some("a=b"));
}

#[tokio::test]
async fn a_stale_cookie_of_another_path_does_not_lock_out_who_did_the_work() {
    let origin = origin().await;
    let plane = plane(&origin, policy(|_| {})).await;
    let solved = solve(&get(&plane, "192.0.2.1", "/app", "").await);
    let pass = pair(&solved);
    let (name, _) = pass.split_once('=').unwrap();
    let stale = format!("{name}=12345678.1.1; ");
    for (count, status) in [(1, 200), (3, 200), (4, 403)] {
        let line = format!("Cookie: {}{pass}\r\n", stale.repeat(count));
        assert_eq!(get(&plane, "192.0.2.1", "/app", &line).await.status, status, "{count}");
        let line = format!("{}Cookie: {pass}\r\n", format!("Cookie: {name}=x\r\n").repeat(count));
        assert_eq!(get(&plane, "192.0.2.1", "/app", &line).await.status, status, "{count}");
    }
}

#[tokio::test]
async fn the_other_reading_of_a_path_is_asked_for_too() {
    let origin = origin().await;
    let plane = plane(&origin, policy(|_| {})).await;
    for target in [
        "//app",
        "/%61pp",
        "/x/../app",
        "/app%2Fx",
        "/app;x",
        "/;x/app",
        "/app;jsessionid=1/x",
    ] {
        let page = get(&plane, "192.0.2.1", target, "").await;
        assert_eq!(page.status, 403, "{target}");
        assert_eq!(
            get(&plane, "192.0.2.1", target, &solve(&page)).await.status,
            200,
            "{target}"
        );
    }
}

#[tokio::test]
async fn clients_on_the_allow_list_are_not_asked_and_a_policy_that_detects_asks_nobody() {
    let origin = origin().await;
    let allows = policy(|policy| policy.addresses.allow = vec!["192.0.2.1/32".parse().unwrap()]);
    let allowing = plane(&origin, allows).await;
    assert_eq!(get(&allowing, "192.0.2.1", "/app", "").await.status, 200);
    assert_eq!(get(&allowing, "192.0.2.2", "/app", "").await.status, 403);
    let detects = policy(|policy| policy.mode = breakwater_snapshot::unit::Mode::DetectOnly);
    let detecting = plane(&origin, detects).await;
    assert_eq!(get(&detecting, "192.0.2.1", "/app", "").await.status, 200);
    assert_eq!(detecting.audit(1).await[0]["action"], "detect");
}

#[tokio::test]
async fn a_limit_asks_those_who_exceed_it_and_passes_those_who_did_the_work() {
    let origin = origin().await;
    let limited = policy(|policy| {
        let requests = Some(RequestRate {
            count: 1,
            per_ms: 3_600_000,
            burst: None,
        });
        policy.limits = vec![Limit {
            requests,
            challenges: true,
            ..limit("calm")
        }];
        policy.challenge.as_mut().unwrap().paths.clear();
    });
    let plane = plane(&origin, limited).await;
    assert_eq!(get(&plane, "192.0.2.1", "/app", "").await.status, 200);
    let page = get(&plane, "192.0.2.1", "/app", "").await;
    assert_eq!(page.status, 429);
    assert!(page.field("retry-after").is_some());
    let cookie = solve(&page);
    for _ in 0..3 {
        assert_eq!(get(&plane, "192.0.2.1", "/app", &cookie).await.status, 200);
    }
    let line = plane.audit(1).await.remove(0);
    assert_eq!(
        (&line["action"], &line["reason"]),
        (&"challenge".into(), &"limit".into())
    );
}

#[tokio::test]
async fn what_one_node_asked_for_another_accepts() {
    let origin = origin().await;
    let (one, two) = (
        plane(&origin, policy(|_| {})).await,
        plane(&origin, policy(|_| {})).await,
    );
    let alone = solve(&get(&one, "192.0.2.1", "/app", "").await);
    assert_eq!(
        get(&two, "192.0.2.1", "/app", &alone).await.status,
        403,
        "no key in common"
    );
    let peers = Peers {
        keys: vec![PeerKey::from_secret(b"open sesame, all of you")],
        ..Peers::default()
    };
    one.data.set_peers(&peers);
    two.data.set_peers(&peers);
    let shared = solve(&get(&one, "192.0.2.1", "/app", "").await);
    assert_eq!(get(&two, "192.0.2.1", "/app", &shared).await.status, 200);
    assert_eq!(
        get(&one, "192.0.2.1", "/app", &alone).await.status,
        200,
        "it was asked for here"
    );
}

#[tokio::test]
async fn a_node_that_starts_again_accepts_what_it_asked_for_if_its_key_is_kept() {
    let origin = origin().await;
    let dir = tempfile::tempdir().unwrap();
    let start = async || {
        let plane = Plane::with(|options| options.challenge_key = Some(dir.path().join("challenge.key"))).await;
        let site = Unit::EdgeCache(edge_cache(origin.address));
        plane
            .apply(objects([("site", site), ("policy", Unit::WafPolicy(policy(|_| {})))]))
            .await;
        plane
    };
    let first = start().await;
    let cookie = solve(&get(&first, "192.0.2.1", "/app", "").await);
    drop(first);
    assert_eq!(get(&start().await, "192.0.2.1", "/app", &cookie).await.status, 200);
}

#[tokio::test]
async fn the_handshake_of_a_websocket_is_refused_and_gets_no_page() {
    let mut asks = policy(|_| {});
    asks.targets = vec![id(Kind::WsRoute, "chat")];
    asks.challenge.as_mut().unwrap().paths = vec![prefix("/")];
    let route = ws_route("127.0.0.1:1".parse().unwrap());
    let plane = Plane::running([("chat", Unit::WsRoute(route)), ("policy", Unit::WafPolicy(asks))]).await;
    let refused = plane.client().await.get("chat.test", "/ws", BROWSER).await;
    assert_eq!(
        (refused.status, refused.field("content-type")),
        (403, Some("application/json"))
    );
}

#[tokio::test]
async fn fields_of_a_routes_filters_do_not_keep_the_script_from_running() {
    let origin = origin().await;
    let mut site: EdgeCache = edge_cache(origin.address);
    site.filters.response_fields.set = vec![Field {
        name: "content-security-policy".to_owned(),
        value: "default-src 'self'".to_owned(),
    }];
    let units = [
        ("site", Unit::EdgeCache(site)),
        ("policy", Unit::WafPolicy(policy(|_| {}))),
    ];
    let plane = Plane::running(units).await;
    let page = get(&plane, "192.0.2.1", "/app", "").await;
    let policies: Vec<_> = page.all("content-security-policy").collect();
    assert!(policies.len() == 1 && policies[0].contains("sha256-"), "{policies:?}");
}
