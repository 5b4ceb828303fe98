//! What is fetched before a client asks: when, how fast, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use breakwater_snapshot::unit::{
    CacheRule, EdgeCache, Field, Filters, Prefetch, PrefetchList, PurgeSelector, Redirect, Unit, WafPolicy,
};
use breakwater_snapshot::{Kind, PrefetchProgress};
use tokio::sync::Semaphore;

use crate::support::{
    Authority, Dialer, Objects, Origin, Plane, Request, admin_text, answer, claims, edge_cache, exact, id, objects,
    purge, tls, until, waf_policy,
};

const SITE: &str = "EdgeCache/default/site";
const FRESH: &str = "Cache-Control: max-age=600\r\n";

fn list(urls: &[&str], sitemaps: &[&str]) -> Prefetch {
    let all = |urls: &[&str]| urls.iter().map(|url| format!("//shop.test{url}")).collect();
    Prefetch {
        list: PrefetchList {
            urls: all(urls),
            sitemaps: all(sitemaps),
            variants: vec![Vec::new()],
        },
        schedule: None,
        requests_per_second: 1000,
        concurrency: 8,
    }
}

fn site(origin: &Origin, prefetch: Prefetch) -> EdgeCache {
    EdgeCache {
        prefetch: Some(prefetch),
        ..edge_cache(origin.address)
    }
}

fn sites(origin: &Origin, prefetch: Prefetch) -> Objects {
    objects([("site", Unit::EdgeCache(site(origin, prefetch)))])
}

/// An origin whose every answer may be stored, each with its target as content.
async fn cacheable() -> Origin {
    Origin::start(|request: Request| async move { answer(200, FRESH, request.target()) }).await
}

fn targets(origin: &Origin) -> Vec<String> {
    let mut targets: Vec<_> = origin
        .seen()
        .iter()
        .map(|request| request.target().to_owned())
        .collect();
    targets.sort();
    targets
}

/// How far `site` is once it walked through its list and `wanted` holds.
async fn over(plane: &Plane, wanted: impl Fn(&PrefetchProgress) -> bool) -> PrefetchProgress {
    until("the list to be walked through", async || {
        let told = plane.data.prefetches();
        told.into_iter()
            .find(|told| !told.running && told.completed.is_some() && wanted(told))
    })
    .await
}

#[tokio::test]
async fn a_list_is_fetched_once_when_a_node_starts_and_answers_clients_from_the_store() {
    let origin = cacheable().await;
    let plane = Plane::with_workers(2).await;
    plane.apply(sites(&origin, list(&["/", "/app.js?v=1"], &[]))).await;
    let told = over(&plane, |_| true).await;
    assert_eq!((told.urls, told.fetched, told.failed, told.pending()), (2, 2, 0, 0));
    assert_eq!(targets(&origin), ["/", "/app.js?v=1"]);
    let request = origin.last();
    assert_eq!(request.field("user-agent").as_deref(), Some("breakwater-prefetch"));
    assert_eq!(request.field("host").as_deref(), Some("shop.test"));
    let mut client = plane.client().await;
    for target in ["/", "/app.js?v=1"] {
        let response = client.get("shop.test", target, "").await;
        assert!(response.is_hit(), "{}", response.cache_status());
        assert_eq!(response.text(), target);
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn a_changed_list_asks_for_what_is_new_alone_and_an_unchanged_one_for_nothing() {
    let origin = cacheable().await;
    let plane = Plane::start().await;
    plane.apply(sites(&origin, list(&["/1", "/2"], &[]))).await;
    let first = over(&plane, |_| true).await;
    let mut faster = list(&["/1", "/2"], &[]);
    faster.concurrency = 1;
    let mut same = sites(&origin, faster);
    same[0].1 = 2;
    plane.apply(same).await;
    let told = over(&plane, |told| told.generation == 2).await;
    assert_eq!(
        (told.completed, told.fetched),
        (first.completed, 2),
        "it did not run again"
    );
    let mut changed = sites(&origin, list(&["/2", "/3"], &[]));
    changed[0].1 = 3;
    plane.apply(changed).await;
    let told = over(&plane, |told| told.generation == 3).await;
    assert_eq!((told.urls, told.fetched, told.fresh), (2, 1, 1));
    assert_eq!(targets(&origin), ["/1", "/2", "/3"]);
}

#[tokio::test]
async fn a_generation_of_the_same_unit_is_told() {
    let origin = cacheable().await;
    let plane = Plane::start().await;
    plane.apply(sites(&origin, list(&["/1"], &[]))).await;
    over(&plane, |told| told.generation == 1).await;
    let mut same = sites(&origin, list(&["/1"], &[]));
    same[0].1 = 7;
    plane.apply(same).await;
    over(&plane, |told| told.generation == 7).await;
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_purge_of_everything_has_the_list_fetched_again_and_one_of_a_url_does_not() {
    let origin = cacheable().await;
    let plane = Plane::start().await;
    let unit = || Unit::EdgeCache(site(&origin, list(&["/1", "/2"], &[])));
    plane.apply(objects([("site", unit())])).await;
    over(&plane, |_| true).await;
    let of_a_url = || purge("u-1", PurgeSelector::Urls(vec!["http://shop.test/1".to_owned()]));
    plane.apply(objects([("site", unit()), ("url", of_a_url())])).await;
    let all = purge("u-2", PurgeSelector::Everything);
    plane
        .apply(objects([("site", unit()), ("url", of_a_url()), ("all", all)]))
        .await;
    origin.reached(4).await;
    let told = over(&plane, |told| told.fetched == 2).await;
    assert_eq!((told.urls, told.fresh, told.failed), (2, 0, 0));
    assert_eq!(targets(&origin), ["/1", "/1", "/2", "/2"]);
}

#[tokio::test]
async fn a_stale_response_is_confirmed() {
    let origin = Origin::start(|request: Request| async move {
        match request.field("if-none-match") {
            Some(_) => answer(304, "ETag: \"a\"\r\nCache-Control: max-age=600\r\n", ""),
            None => answer(
                200,
                "ETag: \"a\"\r\nCache-Control: max-age=0, stale-while-revalidate=600\r\n",
                "x",
            ),
        }
    })
    .await;
    let plane = Plane::start().await;
    plane.apply(sites(&origin, list(&["/1"], &[]))).await;
    over(&plane, |told| told.fetched == 1).await;
    plane.apply(sites(&origin, list(&["/1", "/1?2"], &[]))).await;
    over(&plane, |told| told.urls == 2).await;
    let series = |result| format!("breakwater_prefetch_requests_total{{resource=\"{SITE}\",result=\"{result}\"}}");
    assert_eq!(plane.metric(&series("revalidated")).await, 1.0);
    assert!(plane.client().await.get("shop.test", "/1", "").await.is_hit());
}

#[tokio::test]
async fn no_more_requests_are_in_progress_than_allowed() {
    let gate = Arc::new(Semaphore::new(0));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let shared = (Arc::clone(&gate), Arc::clone(&now), Arc::clone(&most));
    let origin = Origin::start(move |_| {
        let (gate, now, most) = shared.clone();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            now.fetch_sub(1, Ordering::SeqCst);
            answer(200, FRESH, "x")
        }
    })
    .await;
    let plane = Plane::start().await;
    let urls: Vec<String> = (0..20).map(|n| format!("/{n}")).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let mut prefetch = list(&urls, &[]);
    prefetch.concurrency = 3;
    plane.apply(sites(&origin, prefetch)).await;
    origin.reached(3).await;
    let pending = format!("breakwater_prefetch_pending{{resource=\"{SITE}\"}}");
    plane.metric_reaches(&pending, 20.0).await;
    for n in 4..=20 {
        gate.add_permits(1);
        origin.reached(n).await;
    }
    gate.add_permits(3);
    over(&plane, |told| told.fetched == 20).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    plane.metric_reaches(&pending, 0.0).await;
}

#[tokio::test]
async fn what_leaves_nothing_in_the_cache_is_told_with_its_reason() {
    let origin = Origin::start(|request: Request| async move {
        match request.target() {
            "/private" => answer(200, "Cache-Control: private\r\n", "x"),
            "/missing" => answer(404, FRESH, "x"),
            "/broken" => format!("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n{FRESH}\r\nzz\r\n").into_bytes(),
            _ => answer(200, FRESH, "x"),
        }
    })
    .await;
    for (target, reason) in [
        ("/private", "it may not be stored"),
        ("/missing", "the answer is 404"),
        ("/bypassed", "a cache rule goes past the cache"),
        ("/moved", "spec.redirects answers it: 302, http://other.test/moved"),
        (
            "/broken",
            "the fetch failed: the site's server gave an answer that cannot be used",
        ),
    ] {
        let plane = Plane::start().await;
        let mut unit = site(&origin, list(&[target, "/good"], &[]));
        unit.cache.rules = vec![CacheRule {
            paths: vec![exact("/bypassed")],
            methods: Vec::new(),
            statuses: Vec::new(),
            ttl_ms: None,
            stale_while_revalidate_ms: None,
            stale_if_error_ms: None,
            bypass: true,
        }];
        unit.filters = Filters {
            redirects: vec![Redirect {
                paths: vec![exact("/moved")],
                scheme: None,
                hostname: Some("other.test".to_owned()),
                port: None,
                path: None,
                status: 302,
            }],
            ..Filters::default()
        };
        plane.apply(objects([("site", Unit::EdgeCache(unit))])).await;
        let told = over(&plane, |_| true).await;
        assert_eq!((told.fetched, told.failed), (1, 1), "{target}: {told:?}");
        assert_eq!(told.failures, [format!("//shop.test{target}: {reason}")]);
    }
}

#[tokio::test]
async fn an_origin_that_fails_is_told_and_asked_again_when_the_list_changes() {
    let up = Arc::new(AtomicUsize::new(0));
    let switch = Arc::clone(&up);
    let origin = Origin::start(move |_| {
        let up = switch.load(Ordering::SeqCst);
        async move { answer(if up == 0 { 503 } else { 200 }, FRESH, "x") }
    })
    .await;
    let plane = Plane::start().await;
    plane.apply(sites(&origin, list(&["/1"], &[]))).await;
    let told = over(&plane, |_| true).await;
    assert_eq!((told.failed, told.failures.len()), (1, 1), "{told:?}");
    assert!(told.retry > told.completed, "it is tried again by itself: {told:?}");
    let failing = format!("breakwater_prefetch_failing{{resource=\"{SITE}\"}}");
    assert_eq!(plane.metric(&failing).await, 1.0);
    up.store(1, Ordering::SeqCst);
    plane.apply(sites(&origin, list(&["/2"], &[]))).await;
    let told = over(&plane, |told| told.fetched == 1).await;
    assert_eq!(told.failures, Vec::<String>::new());
}

#[tokio::test]
async fn sitemaps_and_an_index_of_them_are_followed_on_their_own_host() {
    let gzip = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let text = "<urlset><url><loc>https://shop.test/b?x=1&amp;y=2</loc></url><url><loc>http://other.test/no</loc></url></urlset>";
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let origin = Origin::start(move |request: Request| {
        let gzip = gzip.clone();
        async move {
            let index = "<sitemapindex><sitemap><loc>http://shop.test/1.xml</loc></sitemap><sitemap><loc>http://shop.test/2.xml.gz</loc></sitemap></sitemapindex>";
            let pages = "<urlset><url><loc>http://shop.test/a</loc></url><url><loc>http://shop.test/b?x=1&amp;y=2</loc></url></urlset>";
            match request.target() {
                "/index.xml" => answer(200, FRESH, index),
                // One that may not be stored is read all the same.
                "/1.xml" => answer(200, "Cache-Control: no-store\r\n", pages),
                "/2.xml.gz" => answer(200, &format!("{FRESH}Content-Encoding: gzip\r\n"), gzip),
                _ => answer(200, FRESH, request.target()),
            }
        }
    })
    .await;
    let plane = Plane::start().await;
    plane.apply(sites(&origin, list(&["/a"], &["/index.xml"]))).await;
    let told = over(&plane, |_| true).await;
    assert_eq!(
        targets(&origin),
        ["/1.xml", "/2.xml.gz", "/a", "/b?x=1&y=2", "/index.xml"]
    );
    assert_eq!((told.urls, told.fetched, told.failed), (5, 5, 0));
    assert!(
        told.failures[0].starts_with("1 URL of sitemaps is left out"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_sitemap_that_is_none_is_a_failure_of_itself_alone() {
    let origin = Origin::fixed(answer(200, FRESH, "<html></html>")).await;
    let plane = Plane::start().await;
    plane.apply(sites(&origin, list(&["/a"], &["/sitemap.xml"]))).await;
    let told = over(&plane, |_| true).await;
    assert_eq!((told.fetched, told.failed), (1, 1));
    assert!(
        told.failures[0].starts_with("//shop.test/sitemap.xml: the document is no sitemap"),
        "{told:?}"
    );
}

#[tokio::test]
async fn each_variant_is_stored_for_clients_that_send_the_same() {
    let origin = Origin::start(|request: Request| async move {
        let language = request.field("accept-language").unwrap_or_default();
        answer(200, &format!("{FRESH}Vary: Accept-Language\r\n"), language)
    })
    .await;
    let plane = Plane::start().await;
    let mut prefetch = list(&["/"], &[]);
    let language = |value: &str| Field {
        name: "accept-language".to_owned(),
        value: value.to_owned(),
    };
    prefetch.list.variants = vec![vec![language("de")], vec![language("fr")]];
    plane.apply(sites(&origin, prefetch)).await;
    let told = over(&plane, |_| true).await;
    assert_eq!((told.urls, told.fetched), (2, 2));
    let mut client = plane.client().await;
    for language in ["de", "fr"] {
        let response = client
            .get("shop.test", "/", &format!("Accept-Language: {language}\r\n"))
            .await;
        assert!(response.is_hit(), "{}", response.cache_status());
        assert_eq!(response.text(), language);
    }
}

#[tokio::test]
async fn policies_are_not_asked_and_no_client_is_counted() {
    let origin = cacheable().await;
    let plane = Plane::start().await;
    let mut policy: WafPolicy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.addresses.default_allow = false;
    let unit = Unit::EdgeCache(site(&origin, list(&["/1"], &[])));
    plane
        .apply(objects([("site", unit), ("policy", Unit::WafPolicy(policy))]))
        .await;
    over(&plane, |told| told.fetched == 1).await;
    assert_eq!(plane.client().await.get("shop.test", "/1", "").await.status, 403);
    let text = plane.metrics().await;
    let of_site: Vec<_> = text.lines().filter(|line| line.contains(SITE)).collect();
    let value = |name: &str| {
        let line = of_site
            .iter()
            .find(|line| line.starts_with(&format!("breakwater_{name}")));
        line.and_then(|line| line.rsplit(' ').next()).unwrap_or("0").to_owned()
    };
    assert_eq!(value("origin_requests_total"), "1");
    assert_eq!(
        value("cache_requests_total{resource=\"EdgeCache/default/site\",result=\"miss\"}"),
        "0"
    );
    // The client's own.
    assert_eq!(value("requests_total"), "1");
    assert_eq!(value("request_duration_seconds_count"), "1");
    assert_eq!(plane.access(1).await.len(), 1);
}

#[tokio::test]
async fn a_client_and_a_prefetch_share_a_fetch() {
    let (origin, gate) = Origin::gated(|_| answer(200, FRESH, "x")).await;
    let plane = Plane::start().await;
    plane.apply(sites(&origin, list(&["/1"], &[]))).await;
    origin.reached(1).await;
    let mut client = plane.client().await;
    client.send("GET /1 HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    plane.active_reaches(1.0).await;
    gate.add_permits(1);
    let response = client.response("GET").await;
    assert!(
        response.cache_status().contains("collapsed"),
        "{}",
        response.cache_status()
    );
    over(&plane, |told| told.fetched == 1).await;
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn nothing_is_fetched_while_memory_is_short() {
    let origin = cacheable().await;
    let plane = Plane::with(|options| options.memory_limit = Some(100 << 20)).await;
    // Who is connected is served in spite of the pressure, by the worker that would prefetch.
    plane.apply(sites(&origin, list(&["/0"], &[]))).await;
    over(&plane, |_| true).await;
    let mut client = plane.client().await;
    assert!(client.get("shop.test", "/0", "").await.is_hit());
    plane.data.pretend_memory(96);
    plane.apply(sites(&origin, list(&["/1"], &[]))).await;
    assert_eq!(client.get("shop.test", "/x", "").await.status, 503);
    let told = plane.data.prefetches().remove(0);
    assert_eq!((told.running, told.pending(), origin.count()), (true, 1, 1));
    plane.data.pretend_memory(10);
    over(&plane, |told| told.fetched == 1).await;
}

#[tokio::test]
async fn the_admin_port_tells_how_far_lists_are() {
    let origin = cacheable().await;
    let plane = Plane::start().await;
    plane.apply(sites(&origin, list(&["/1"], &[]))).await;
    let mut followed = plane.data.follow_prefetches();
    over(&plane, |_| true).await;
    let (status, text) = admin_text(plane.admin, "/v1/prefetch").await;
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200);
    let object = &told["objects"][0];
    assert_eq!(
        (&object["kind"], &object["name"]),
        (&"EdgeCache".into(), &"site".into())
    );
    assert_eq!((&object["fetched"], &object["running"]), (&1.into(), &false.into()));
    let told = followed.wait_for(|told| told.iter().any(|told| told.completed.is_some()));
    tokio::time::timeout(Duration::from_secs(30), told)
        .await
        .unwrap()
        .unwrap();
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    until("the list to be forgotten", async || {
        plane.data.prefetches().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_path_is_fetched_over_the_scheme_and_port_that_clients_of_its_host_use() {
    let (origin, authority) = (cacheable().await, Authority::new());
    for (port, host) in [(443, "shop.test"), (8443, "shop.test:8443")] {
        let plane = Plane::with(|options| {
            options.listen.push(crate::support::secure_listen());
            options.https_port = port;
        })
        .await;
        let mut unit = site(&origin, list(&["/1"], &[]));
        unit.claims = claims("shop.test", "/");
        let mut terms = tls(&["shop.test"], "secret");
        terms.redirect = true;
        unit.tls = Some(terms);
        let list = &mut unit.prefetch.as_mut().unwrap().list;
        list.urls.push("http://shop.test/2".to_owned());
        list.urls.push("https://shop.test:444/3".to_owned());
        let secret = Unit::Certificate(authority.secret(&["shop.test"]));
        plane
            .apply(objects([("site", Unit::EdgeCache(unit)), ("secret", secret)]))
            .await;
        let told = over(&plane, |_| true).await;
        assert_eq!(
            told.failures,
            ["http://shop.test/2: the host redirects http to https: write https"]
        );
        let mut client = Dialer::new(&authority).connect(&plane, "shop.test").await;
        assert!(client.get(host, "/1", "").await.is_hit(), "{host}");
        assert!(client.get("shop.test:444", "/3", "").await.is_hit());
    }
}
