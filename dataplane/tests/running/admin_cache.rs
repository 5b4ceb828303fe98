//! The admin port: purges on this node, and what is stored for a URL.

use breakwater_snapshot::unit::{Device, Unit};
use serde_json::{Value, json};

use crate::support::{Client, Origin, Plane, admin_text, answer, claims, edge_cache, objects};

const JSON: &str = "Content-Type: application/json\r\n";

async fn post(plane: &Plane, fields: &str, body: &str) -> (u16, Value) {
    let mut client = Client::connect(plane.admin).await;
    let fields = format!("{fields}Content-Length: {}\r\nConnection: close\r\n", body.len());
    let response = client.ask("POST", "admin", "/v1/purge", &fields, body.as_bytes()).await;
    let text = response.text();
    (
        response.status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

async fn purge(plane: &Plane, body: Value) -> (u16, Value) {
    post(plane, JSON, &body.to_string()).await
}

/// Two EdgeCaches: `shop.test` and its subdomains, and `other.test`.
async fn shops() -> (Plane, Origin) {
    let origin = Origin::start(async |request| {
        let tag = request.target().trim_start_matches('/').to_owned();
        answer(
            200,
            &format!("Cache-Control: max-age=60\r\nSurrogate-Key: {tag} all\r\n"),
            "x",
        )
    })
    .await;
    let site = |hosts: &[&str]| {
        let mut site = edge_cache(origin.address);
        site.claims = hosts.iter().flat_map(|host| claims(host, "/")).collect();
        site.cache.ignore_query = vec!["utm_*".to_owned()];
        Unit::EdgeCache(site)
    };
    let plane = Plane::start().await;
    let both = [
        ("shop", site(&["shop.test", "*.shop.test"])),
        ("other", site(&["other.test"])),
    ];
    plane.apply(objects(both)).await;
    (plane, origin)
}

/// Whether each of these is stored, `host/path`; all are afterwards.
async fn stored<const N: usize>(plane: &Plane, what: [&str; N]) -> [bool; N] {
    let mut client = plane.client().await;
    let mut found = [false; N];
    for (found, what) in found.iter_mut().zip(what) {
        let (host, path) = what.split_at(what.find('/').unwrap());
        *found = client.get(host, path, "").await.is_hit();
    }
    found
}

const ALL: [&str; 4] = ["shop.test/a", "shop.test/a/b", "eu.shop.test/a", "other.test/a"];

#[tokio::test]
async fn a_purge_by_the_admin_port_reaches_what_it_names_and_says_what_it_marked() {
    let (plane, _origin) = shops().await;
    stored(&plane, ALL).await;
    for (request, expected, marks) in [
        (
            json!({"urls": ["https://SHOP.test/a?utm_source=x"]}),
            [false, true, true, true],
            // The URL, and what its path has under a rule of its origin for queries.
            json!([["default/shop", 2]]),
        ),
        (
            json!({"edgeCache": "default/shop", "prefixes": ["/a"]}),
            [false, false, false, true],
            json!([["default/shop", 1]]),
        ),
        (
            json!({"prefixes": ["shop.test/a/b", "http://other.test"]}),
            [true, false, true, false],
            json!([["default/other", 1], ["default/shop", 1]]),
        ),
        (
            json!({"host": "eu.shop.test", "tags": ["a", "b"]}),
            [false, true, false, true],
            json!([["default/shop", 2]]),
        ),
        (
            json!({"edgeCache": "other", "everything": true}),
            [true, true, true, false],
            json!([["default/other", 1]]),
        ),
        (
            json!({"edgeCache": "EdgeCache/default/other", "tags": ["nothing"]}),
            [true; 4],
            json!([["default/other", 1]]),
        ),
        (
            json!({"host": "other.test", "everything": true, "mode": "Soft"}),
            [true, true, true, false],
            json!([["default/other", 1]]),
        ),
    ] {
        assert_eq!(stored(&plane, ALL).await, [true; 4]);
        let (status, said) = purge(&plane, request.clone()).await;
        assert_eq!(status, 200, "{said}");
        assert_eq!(
            said["mode"],
            request.get("mode").cloned().unwrap_or_else(|| json!("Hard"))
        );
        let purged = said["purged"].as_array().unwrap();
        let told: Vec<_> = purged.iter().map(|p| json!([p["edgeCache"], p["marks"]])).collect();
        assert_eq!(Value::Array(told), marks);
        assert_eq!(stored(&plane, ALL).await, expected, "{request}");
    }
    for (kind, mode, n) in [
        ("urls", "hard", 1.0),
        ("prefixes", "hard", 3.0),
        ("tags", "hard", 2.0),
        ("tags", "soft", 0.0),
        ("everything", "hard", 1.0),
        ("everything", "soft", 1.0),
    ] {
        let series = format!("breakwater_cache_purges_total{{kind=\"{kind}\",mode=\"{mode}\"}}");
        assert_eq!(plane.metric(&series).await, n, "of each EdgeCache: {series}");
    }
}

#[tokio::test]
async fn a_purge_that_is_not_understood_purges_nothing_and_says_why() {
    let (plane, _origin) = shops().await;
    stored(&plane, ALL).await;
    for (request, status, says) in [
        (json!({}), 400, "exactly one of"),
        (json!({"tags": ["a"], "everything": true}), 400, "exactly one of"),
        (json!({"everything": false}), 400, "exactly one of"),
        (json!({"everything": true}), 400, "name an edgeCache"),
        (json!({"prefixes": ["/a"]}), 400, "name an edgeCache"),
        (
            json!({"edgeCache": "shop", "host": "shop.test", "everything": true}),
            400,
            "not both",
        ),
        (
            json!({"edgeCache": "default/none", "everything": true}),
            404,
            "there is no EdgeCache/default/none",
        ),
        (
            json!({"host": "none.test", "everything": true}),
            404,
            "no EdgeCache on this node serves",
        ),
        (
            json!({"urls": ["http://shop.test/a", "http://none.test/"]}),
            404,
            "no EdgeCache on this node serves",
        ),
        (
            json!({"edgeCache": "other", "urls": ["http://shop.test/a"]}),
            404,
            "does not serve the host",
        ),
        (json!({"urls": ["/a"]}), 400, "not an absolute URL"),
        (json!({"urls": []}), 400, "1 to 256 entries"),
        (
            json!({"host": "shop.test", "tags": vec!["a"; 257]}),
            400,
            "1 to 256 entries",
        ),
        (json!({"host": "shop.test", "tags": ["a b"]}), 400, "cannot be a tag"),
        (json!({"prefixes": ["shop.test/a*"]}), 400, "leave out"),
        (
            json!({"host": "shop.test", "everything": true, "mode": "Gentle"}),
            400,
            "Gentle",
        ),
        (json!({"host": "shop.test", "everthing": true}), 400, "everthing"),
        (json!("everything"), 400, "not what is expected"),
    ] {
        let (got, said) = purge(&plane, request.clone()).await;
        assert_eq!(got, status, "{request}: {said}");
        assert!(said["error"].as_str().unwrap().contains(says), "{request}: {said}");
    }
    assert_eq!(stored(&plane, ALL).await, [true; 4]);
}

#[tokio::test]
async fn a_purge_that_a_web_page_could_send_is_refused() {
    let (plane, _origin) = shops().await;
    stored(&plane, ALL).await;
    let body = r#"{"host": "shop.test", "everything": true}"#;
    for (fields, status) in [
        ("", 415),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415),
        ("Content-Type: application/json\r\nOrigin: https://evil.test\r\n", 403),
        ("Content-Type: application/json\r\nOrigin: null\r\n", 403),
        ("Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Content-Type: application/json\r\nSec-Fetch-Site: same-origin\r\n", 403),
    ] {
        assert_eq!(post(&plane, fields, body).await.0, status, "{fields}");
    }
    assert_eq!(stored(&plane, ALL).await, [true; 4]);
    assert_eq!(admin_text(plane.admin, "/v1/purge").await.0, 405);
    let large = format!("{{\"tags\": [\"{}\"]}}", "a".repeat(3 << 20));
    assert_eq!(post(&plane, JSON, &large).await.0, 413);
    assert_eq!(
        post(&plane, "Content-Type: application/json; charset=utf-8\r\n", body)
            .await
            .0,
        200
    );
}

async fn inspect(plane: &Plane, query: &str) -> (u16, Value) {
    let (status, text) = admin_text(plane.admin, &format!("/v1/cache/inspect?{query}")).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn what_is_stored_for_a_url_can_be_inspected_without_a_trace() {
    let origin = Origin::start(async |_| {
        let fields = "Cache-Control: max-age=60\r\nAge: 10\r\nVary: Accept-Language\r\nETag: \"1\"\r\nSurrogate-Key: one two\r\n";
        answer(200, fields, vec![b'x'; 1000])
    })
    .await;
    let mut site = edge_cache(origin.address);
    site.cache.ignore_query = vec!["utm_*".to_owned()];
    site.cache.key_headers = vec!["x-device".to_owned()];
    site.cache.key_devices = vec![Device::Mobile];
    site.cache.key_cookies = vec!["tier".to_owned()];
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    let url = "url=http%3A%2F%2FSHOP.test%2Fa%2F.%2Fb%3Fq%3D1%26utm_x%3D2";
    let asked = format!("{url}&header=Accept-Language%3A+de&header=Cookie%3A%20tier%3Dgold");
    assert_eq!(inspect(&plane, &asked).await.1["variants"], json!([]));
    let mut client = plane.client().await;
    for language in ["de", "fr"] {
        let fields = format!("Accept-Language: {language}\r\nCookie: a=b; tier=gold\r\n");
        client.get("shop.test", "/a/b?q=1", &fields).await;
    }
    let (status, found) = inspect(&plane, &asked).await;
    assert_eq!(
        (status, &found["edgeCache"], &found["bypass"]),
        (200, &json!("default/site"), &json!(false))
    );
    assert_eq!(
        found["key"],
        json!({
            "edgeCache": "default/site", "scheme": "http", "host": "shop.test", "port": 80, "path": "/a/b", "query": "q=1",
            "headers": {"x-device": null}, "cookies": {"tier": "gold"}, "device": "desktop",
        })
    );
    let variants = found["variants"].as_array().unwrap();
    let selected: Vec<_> = variants
        .iter()
        .map(|variant| variant["selected"].as_bool().unwrap())
        .collect();
    assert_eq!(selected, [false, true], "newest first");
    let german = &variants[1];
    for (name, value) in [
        ("tier", json!("ram")),
        ("state", json!("fresh")),
        ("status", json!(200)),
        ("bytes", json!(1000)),
        ("purged", json!("no")),
        ("vary", json!(["accept-language"])),
        ("etag", json!("\"1\"")),
        ("tags", json!(["one", "two"])),
    ] {
        assert_eq!(german[name], value, "{name}");
    }
    assert!(german["age"].as_u64().unwrap() >= 10 && german["ttl"].as_i64().unwrap() <= 50);
    purge(&plane, json!({"host": "shop.test", "tags": ["one"], "mode": "Soft"})).await;
    let soft = inspect(&plane, &asked).await.1;
    assert_eq!(
        (&soft["variants"][1]["purged"], &soft["variants"][1]["state"]),
        (&json!("soft"), &json!("stale"))
    );
    purge(&plane, json!({"host": "shop.test", "everything": true})).await;
    for _ in 0..2 {
        let gone = inspect(&plane, &asked).await.1;
        assert_eq!(
            (&gone["variants"][1]["purged"], &gone["variants"][1]["state"]),
            (&json!("hard"), &json!("gone"))
        );
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn an_inspection_that_is_not_understood_says_why() {
    let (plane, _origin) = shops().await;
    for (query, status, says) in [
        ("", 400, "give url="),
        ("url=%2Fa", 400, "not an absolute URL"),
        ("url=%zz", 400, "not percent-encoded"),
        ("url=http://shop.test/%2", 400, "not percent-encoded"),
        ("url=http://shop.test/%252", 400, "answered 400"),
        ("url=http://none.test/", 404, "no EdgeCache on this node serves"),
        ("url=http://shop.test/&header=x", 400, "no header field"),
        ("uri=http://shop.test/", 400, "`uri` is not known"),
    ] {
        let (got, said) = inspect(&plane, query).await;
        assert_eq!(got, status, "{query}: {said}");
        assert!(said["error"].as_str().unwrap().contains(says), "{query}: {said}");
    }
}
