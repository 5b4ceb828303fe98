//! What a request says beside its request line cannot change what others are given.

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{EdgeCache, Unit};

use crate::support::{Origin, Plane, Request, answer, edge_cache, id, objects, waf_policy};

/// What an origin may take for another scheme, host, path or client, and one of each in disguise.
const CLAIMS: [&str; 22] = [
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Path",
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Host",
    "X-Rewrite-URL",
    "X-Override-URL",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-Scheme",
    "X-Url-Scheme",
    "Front-End-Https",
    "X-Envoy-Original-Path",
    "True-Client-IP",
    "X-Client-IP",
    "CF-Connecting-IP",
    "X_Forwarded_Scheme",
    "X_Original_URL",
    "X_Real_IP",
];

const METHODS: [&str; 4] = [
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X_HTTP_Method_Override",
];

/// An origin whose answers, good for a minute, hold whatever of a request is no more than a claim.
async fn gullible() -> Origin {
    Origin::start(|request: Request| async move {
        let claims = CLAIMS
            .iter()
            .chain(&METHODS)
            .chain(&["Proxy", "Forwarded", "X-Country"])
            .filter_map(|name| Some(format!("{name}={};", request.field(name)?)));
        answer(200, "Cache-Control: max-age=60\r\n", claims.collect::<String>())
    })
    .await
}

async fn trusting(origin: &Origin, change: impl FnOnce(&mut EdgeCache)) -> Plane {
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let mut site = edge_cache(origin.address);
    change(&mut site);
    Plane::running([("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))]).await
}

#[tokio::test]
async fn what_a_stranger_claims_of_its_request_never_reaches_the_origin() {
    let origin = gullible().await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for (number, name) in CLAIMS.iter().chain(&METHODS).chain(&["Proxy"]).enumerate() {
        let path = format!("/{number}");
        let poison = client.get("shop.test", &path, &format!("{name}: evil\r\n")).await;
        assert_eq!((poison.status, poison.text().as_str()), (200, ""), "{name}");
        let other = client.get("shop.test", &path, "").await;
        assert!(other.is_hit() && other.text().is_empty(), "{name}: {other:?}");
    }
    let lines = "Content-Length: 0\r\nX-Original-URL: /admin\r\nProxy: http://evil.test\r\n";
    let posted = client.ask("POST", "shop.test", "/form", lines, b"").await;
    assert_eq!(posted.text(), "", "what is not shared is no exception");
}

#[tokio::test]
async fn what_a_trusted_proxy_claims_of_a_request_is_passed_on_and_stored_apart() {
    let origin = gullible().await;
    let plane = trusting(&origin, |_| {}).await;
    let mut client = plane.client().await;
    for name in CLAIMS {
        let path = format!("/{}", name.to_lowercase());
        let line = format!("{name}: said\r\n");
        let first = client.get("shop.test", &path, &line).await;
        let lookalike = name.contains('_');
        let expected = if lookalike {
            String::new()
        } else {
            format!("{name}=said;")
        };
        assert_eq!(first.text(), expected);
        assert!(client.get("shop.test", &path, &line).await.is_hit(), "{name}");
        let other = client.get("shop.test", &path, "").await;
        // Who asks is no part of the target, as with X-Forwarded-For; what never goes on does not count.
        let of_the_client = lookalike || name.ends_with("-IP");
        assert_eq!(other.is_hit(), of_the_client, "{name}: {other:?}");
    }
}

#[tokio::test]
async fn what_forwarded_says_of_the_target_is_in_the_key_and_who_asked_is_not() {
    let origin = gullible().await;
    let plane = trusting(&origin, |_| {}).await;
    let mut client = plane.client().await;
    let mut hit = async |value: &str| {
        let lines = format!("Forwarded: {value}\r\n");
        client.get("shop.test", "/a", &lines).await.is_hit()
    };
    assert!(!hit("for=192.0.2.1;proto=https;host=shop.test").await);
    assert!(hit("for=198.51.100.7; proto=https;host=shop.test").await);
    assert!(!hit("for=192.0.2.1;proto=http;host=shop.test").await);
    assert!(!hit("for=192.0.2.1;proto=https;host=evil.test").await);
    assert!(!hit("for=192.0.2.1").await);
    assert!(hit("for=192.0.2.2").await);
}

#[tokio::test]
async fn the_order_of_different_claims_does_not_count() {
    let origin = gullible().await;
    let plane = trusting(&origin, |_| {}).await;
    let mut client = plane.client().await;
    let lines = ["X-Scheme: a\r\n", "X-Forwarded-Ssl: on\r\n", "X-Scheme: b\r\n"];
    client.get("shop.test", "/a", &lines.concat()).await;
    for (order, hit) in [([1, 0, 2], true), ([0, 2, 1], true), ([2, 1, 0], false)] {
        let again = client.get("shop.test", "/a", &order.map(|i| lines[i]).concat()).await;
        assert_eq!(again.is_hit(), hit, "{order:?}");
    }
}

#[tokio::test]
async fn no_proxy_not_even_a_trusted_one_sets_the_origins_proxy() {
    let origin = gullible().await;
    let plane = trusting(&origin, |_| {}).await;
    let answer = plane
        .client()
        .await
        .get("shop.test", "/a", "Proxy: http://evil.test\r\n")
        .await;
    assert_eq!(answer.text(), "");
}

#[tokio::test]
async fn another_method_is_asked_for_only_where_nobody_shares_the_answer_or_it_is_in_the_key() {
    let origin = gullible().await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let lines = "X-HTTP-Method-Override: PUT\r\nContent-Length: 0\r\n";
    let posted = client.ask("POST", "shop.test", "/a", lines, b"").await;
    assert_eq!(posted.text(), "X-HTTP-Method-Override=PUT;");
    let mut site = edge_cache(origin.address);
    site.cache.key_headers = vec!["x-http-method-override".to_owned()];
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    for hit in [false, true] {
        let got = client
            .get("shop.test", "/b", "X-HTTP-Method-Override: REPORT\r\n")
            .await;
        assert_eq!(
            (got.text().as_str(), got.is_hit()),
            ("X-HTTP-Method-Override=REPORT;", hit)
        );
        let plain = client.get("shop.test", "/b", "").await;
        assert_eq!((plain.text().as_str(), plain.is_hit()), ("", hit));
    }
}

#[tokio::test]
async fn the_field_in_which_trusted_proxies_name_the_client_is_taken_from_strangers() {
    let origin =
        Origin::start(
            |request: Request| async move { answer(200, "", request.field("x-edge-client").unwrap_or_default()) },
        )
        .await;
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.client.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    policy.client.header = Some("x-edge-client".to_owned());
    let site = edge_cache(origin.address);
    let plane = Plane::running([("site", Unit::EdgeCache(site)), ("policy", Unit::WafPolicy(policy))]).await;
    let answer = plane
        .client()
        .await
        .get("shop.test", "/", "X-Edge-Client: 198.51.100.7\r\n")
        .await;
    assert_eq!(answer.text(), "");
}

#[tokio::test]
async fn a_field_that_connection_takes_from_the_origin_is_taken_from_the_key_too() {
    let origin = Origin::start(|request: Request| async move {
        let lines = "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n";
        let seen = [request.field("x-country"), request.field("accept-language")];
        answer(200, lines, format!("{seen:?}"))
    })
    .await;
    let mut site = edge_cache(origin.address);
    site.cache.key_headers = vec!["x-country".to_owned()];
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    let mut client = plane.client().await;
    let wanted = "X-Country: DE\r\nAccept-Language: de\r\n";
    let poison = format!("{wanted}Connection: keep-alive, X-Country, Accept-Language\r\n");
    assert_eq!(client.get("shop.test", "/a", &poison).await.text(), "[None, None]");
    let right = client.get("shop.test", "/a", wanted).await;
    assert_eq!(
        (right.text().as_str(), right.is_hit()),
        ("[Some(\"DE\"), Some(\"de\")]", false)
    );
    let again = client.get("shop.test", "/a", &poison).await;
    assert_eq!((again.text().as_str(), again.is_hit()), ("[None, None]", true));
    assert!(client.get("shop.test", "/a", "").await.is_hit());
}

#[tokio::test]
async fn a_cookie_sent_twice_is_not_answered_for_those_who_send_it_once() {
    // Reads the last of several, as some do.
    let origin = Origin::start(|request: Request| async move {
        let cookies = request.field("cookie").unwrap_or_default();
        let last = cookies
            .split(';')
            .filter_map(|pair| pair.trim().strip_prefix("lang="))
            .next_back();
        answer(200, "Cache-Control: max-age=60\r\n", last.unwrap_or("none"))
    })
    .await;
    let mut site = edge_cache(origin.address);
    site.cache.key_cookies = vec!["lang".to_owned()];
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    let mut client = plane.client().await;
    for (cookies, text) in [
        ("Cookie: lang=en; lang=evil\r\n", "evil"),
        ("Cookie: lang=evil; lang=en\r\n", "en"),
        ("Cookie: lang=en\r\n", "en"),
        ("Cookie: x=1; lang=en\r\n", "en"),
        ("Cookie: x=1\r\n", "none"),
    ] {
        let got = client.get("shop.test", "/a", cookies).await;
        assert_eq!(got.text(), text, "{cookies}");
    }
    // The one with another cookie is the same as the one before.
    assert_eq!(origin.count(), 4);
}

#[tokio::test]
async fn an_answer_that_can_be_read_as_two_is_no_answer_and_stored_for_nobody() {
    let fresh = "Cache-Control: max-age=60\r\n";
    let two = "0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for split in [
        format!("HTTP/1.1 200 OK\r\n{fresh}X: a\rSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{fresh}X: a\nContent-Length: 0\n\n"),
        format!("HTTP/1.1 200 OK\r\n{fresh}X: a\0\r\nContent-Length: 0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{fresh}X: a\r\n evil\r\nContent-Length: 0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{fresh}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{two}"),
        format!("HTTP/1.1 200 OK\r\n{fresh}Content-Length: 0\r\nContent-Length: 60\r\n\r\n{two}"),
    ] {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let good = answer(200, fresh, "good");
        let origin = Origin::start({
            let split = split.clone();
            move |_| {
                let first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
                std::future::ready(if first {
                    split.clone().into_bytes()
                } else {
                    good.clone()
                })
            }
        })
        .await;
        let plane = Plane::before(&origin).await;
        assert_eq!(
            plane.client().await.get("shop.test", "/a", "").await.status,
            502,
            "{split}"
        );
        for hit in [false, true] {
            let next = plane.client().await.get("shop.test", "/a", "").await;
            assert_eq!((next.is_hit(), next.text().as_str()), (hit, "good"), "{split}");
            assert_eq!(next.count("set-cookie"), 0);
        }
        let connections: Vec<_> = origin.seen().iter().map(|request| request.connection).collect();
        assert_eq!(connections, [0, 1], "nothing of it is read as the next answer");
    }
}
