//! What the scheme of a request changes: redirects, HSTS, what origins are told, what is stored apart.

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{EdgeCache, Hsts, PurgeSelector, Tls, Unit};

use crate::support::http2::{Http2, head};
use crate::support::{
    Authority, Dialer, Origin, Plane, Request, Response, answer, claims, edge_cache, id, objects, purge, tls,
    waf_policy,
};

async fn origin() -> Origin {
    Origin::start(|request: Request| {
        let lines = match request.target() {
            "/own" => "Cache-Control: max-age=60\r\nStrict-Transport-Security: max-age=1\r\nETag: \"1\"\r\n",
            "/passed" => "Cache-Control: no-store\r\nStrict-Transport-Security: max-age=1\r\n",
            _ => "Cache-Control: max-age=60\r\n",
        };
        let body = request.field("x-forwarded-proto").unwrap_or_default();
        std::future::ready(answer(200, lines, body))
    })
    .await
}

fn units(origin: &Origin, authority: &Authority, change: impl FnOnce(&mut Tls)) -> Vec<(&'static str, Unit)> {
    let mut tls = tls(&["shop.test"], "secret");
    change(&mut tls);
    let site = EdgeCache {
        claims: claims("shop.test", "/"),
        tls: Some(tls),
        ..edge_cache(origin.address)
    };
    vec![
        ("site", Unit::EdgeCache(site)),
        ("secret", Unit::Certificate(authority.secret(&["shop.test"]))),
    ]
}

async fn plane_with(origin: &Origin, authority: &Authority, change: impl FnOnce(&mut Tls)) -> Plane {
    let plane = Plane::secure().await;
    plane.apply(objects(units(origin, authority, change))).await;
    plane
}

fn hsts(tls: &mut Tls) {
    tls.hsts = Some(Hsts {
        max_age_s: 31_536_000,
        include_sub_domains: true,
        preload: false,
    });
}

const HSTS: &str = "max-age=31536000; includeSubDomains";

#[tokio::test]
async fn origins_are_told_the_scheme_and_answers_to_each_are_stored_apart() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, |_| {}).await;
    let mut clear = plane.client().await;
    let mut secure = Dialer::new(&authority).connect(&plane, "shop.test").await;
    for hit in [false, true] {
        let response = clear.get("shop.test", "/a", "").await;
        assert_eq!((response.text().as_str(), response.is_hit()), ("http", hit));
        let response = secure.get("shop.test", "/a", "").await;
        assert_eq!((response.text().as_str(), response.is_hit()), ("https", hit));
    }
    assert!(
        secure.get("shop.test:443", "/a", "").await.is_hit(),
        "the default port is no port"
    );
    assert!(!secure.get("shop.test:80", "/a", "").await.is_hit());
}

#[tokio::test]
async fn a_purge_by_url_reaches_what_was_stored_over_either_scheme() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, |_| {}).await;
    let mut clear = plane.client().await;
    let mut secure = Dialer::new(&authority).connect(&plane, "shop.test").await;
    for (uid, url) in [("1", "https://shop.test/a"), ("2", "http://shop.test/a")] {
        clear.get("shop.test", "/a", "").await;
        secure.get("shop.test", "/a", "").await;
        assert!(clear.get("shop.test", "/a", "").await.is_hit());
        assert!(secure.get("shop.test", "/a", "").await.is_hit());
        let mut all = units(&origin, &authority, |_| {});
        all.push(("purge", purge(uid, PurgeSelector::Urls(vec![url.to_owned()]))));
        plane.apply(objects(all)).await;
        assert!(!clear.get("shop.test", "/a", "").await.is_hit(), "{url}");
        assert!(!secure.get("shop.test", "/a", "").await.is_hit(), "{url}");
    }
}

#[tokio::test]
async fn clear_text_is_redirected_with_path_and_query() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, |tls| tls.redirect = true).await;
    let mut client = plane.client().await;
    for (method, status) in [("GET", 301), ("HEAD", 301), ("DELETE", 308), ("OPTIONS", 308)] {
        let response = client.ask(method, "shop.test:8080", "/a%20b/c?x=1&y", "", b"").await;
        assert_eq!(response.status, status, "{method}");
        assert_eq!(
            response.field("location"),
            Some("https://shop.test/a%20b/c?x=1&y"),
            "{method}"
        );
        assert_eq!(response.field("strict-transport-security"), None);
    }
    let response = client
        .ask("POST", "shop.test", "/form", "Content-Length: 3\r\n", b"a=b")
        .await;
    assert_eq!(response.status, 308);
    assert_eq!(response.field("connection"), Some("close"), "its body is not read");
    assert_eq!(origin.count(), 0);
    let series = "breakwater_requests_total{resource=\"EdgeCache/default/site\",code=\"301\"}";
    plane.metric_reaches(series, 2.0).await;
    let lines = plane.access(5).await;
    assert_eq!(lines[0]["status"], 301);
    let mut secure = Dialer::new(&authority).connect(&plane, "shop.test").await;
    assert_eq!(secure.get("shop.test", "/a", "").await.status, 200);
}

#[tokio::test]
async fn a_redirect_names_the_port_that_clients_see() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = Plane::with(|options| options.https_port = 8443).await;
    plane
        .apply(objects(units(&origin, &authority, |tls| tls.redirect = true)))
        .await;
    let response = plane.client().await.get("SHOP.test", "/", "").await;
    assert_eq!(response.field("location"), Some("https://SHOP.test:8443/"));
}

#[tokio::test]
async fn a_trusted_proxy_that_ended_the_clients_tls_is_not_redirected() {
    let (origin, authority) = (origin().await, Authority::new());
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let mut all = units(&origin, &authority, |tls| tls.redirect = true);
    all.push(("policy", Unit::WafPolicy(policy)));
    let plane = Plane::running(all).await;
    let mut client = plane.client().await;
    let https = client.get("shop.test", "/a", "X-Forwarded-Proto: https\r\n").await;
    assert_eq!((https.status, https.text().as_str()), (200, "https"));
    assert_eq!(
        client
            .get("shop.test", "/a", "X-Forwarded-Proto: http\r\n")
            .await
            .status,
        301
    );
}

#[tokio::test]
async fn a_stranger_that_claims_https_is_redirected_all_the_same() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, |tls| tls.redirect = true).await;
    let mut client = plane.client().await;
    assert_eq!(
        client
            .get("shop.test", "/a", "X-Forwarded-Proto: https\r\n")
            .await
            .status,
        301
    );
}

#[tokio::test]
async fn every_answer_over_tls_carries_the_routes_hsts_and_it_comes_first() {
    let (origin, authority) = (origin().await, Authority::new());
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.uris.deny = vec![crate::support::exact("/denied")];
    let mut all = units(&origin, &authority, hsts);
    all.push(("policy", Unit::WafPolicy(policy)));
    let plane = Plane::secure().await;
    plane.apply(objects(all)).await;
    let mut client = Dialer::new(&authority).connect(&plane, "shop.test").await;
    let check = |response: &Response, what: &str| {
        assert_eq!(
            response.field("strict-transport-security"),
            Some(HSTS),
            "{what}: {response:?}"
        );
    };
    for what in ["miss", "hit"] {
        check(&client.get("shop.test", "/a", "").await, what);
        check(&client.get("shop.test", "/own", "").await, what);
        check(&client.get("shop.test", "/passed", "").await, what);
    }
    let response = client.get("shop.test", "/own", "If-None-Match: \"1\"\r\n").await;
    assert_eq!(response.status, 304);
    check(&response, "304");
    let response = client.get("shop.test", "/own", "Range: bytes=0-1\r\n").await;
    assert_eq!(response.status, 206);
    check(&response, "206");
    let response = client.get("shop.test", "/denied", "").await;
    assert_eq!(response.status, 403);
    check(&response, "403");
    let response = client
        .ask("POST", "shop.test", "/a", "Content-Length: 0\r\n", b"")
        .await;
    check(&response, "POST");
    let dialer = Dialer::new(&authority).change(|config| config.alpn_protocols = vec![b"h2".to_vec()]);
    let mut http2 = Http2::over(dialer.connect(&plane, "shop.test").await.stream, &[]).await;
    for path in ["/a", "/own", "/own", "/own", "/passed"] {
        let answer = http2.ask(&head("GET", "shop.test", path)).await;
        assert_eq!(
            answer.field("strict-transport-security"),
            Some(HSTS),
            "{path}: {answer:?}"
        );
    }
    let clear = plane.client().await.get("shop.test", "/a", "").await;
    assert_eq!(clear.field("strict-transport-security"), None, "never in clear text");
}

#[tokio::test]
async fn an_uploads_answer_over_tls_is_not_kept_waiting() {
    let origin = Origin::start(|request: Request| std::future::ready(answer(200, "", request.body))).await;
    let authority = Authority::new();
    let plane = plane_with(&origin, &authority, |_| {}).await;
    let mut client = Dialer::new(&authority).connect(&plane, "shop.test").await;
    let body = vec![b'x'; 300_000];
    let lines = format!("Content-Length: {}\r\n", body.len());
    for _ in 0..2 {
        let response = client.ask("POST", "shop.test", "/echo", &lines, &body).await;
        assert!(response.body == body);
    }
}
