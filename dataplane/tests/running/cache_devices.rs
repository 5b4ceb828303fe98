//! Responses of classes of devices are stored apart.

use breakwater_snapshot::unit::{Device, EdgeCache, Unit};

use crate::support::{Client, Origin, Plane, Request, Response, answer, edge_cache};

const DESKTOP: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148";
const ANDROID: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36";
const TABLET: &str = "Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36";

/// An origin that answers with the class it was told, for a minute.
async fn echo(lines: &'static str) -> Origin {
    Origin::start(move |request: Request| async move {
        let class = request.field("x-device-type").unwrap_or_else(|| "none".to_owned());
        answer(200, &format!("Cache-Control: max-age=60\r\n{lines}"), class)
    })
    .await
}

fn site(origin: &Origin) -> EdgeCache {
    let mut site = edge_cache(origin.address);
    site.cache.key_devices = vec![Device::Mobile, Device::Tablet];
    site
}

async fn get(client: &mut Client, user_agent: &str, lines: &str) -> Response {
    let lines = format!("User-Agent: {user_agent}\r\n{lines}");
    client.get("shop.test", "/", &lines).await
}

#[tokio::test]
async fn each_class_has_a_response_of_its_own_and_the_origin_is_told_which() {
    let origin = echo("").await;
    let plane = Plane::running([("site", Unit::EdgeCache(site(&origin)))]).await;
    let mut client = plane.client().await;
    for (user_agent, class) in [(DESKTOP, "desktop"), (PHONE, "mobile"), (TABLET, "tablet")] {
        let miss = get(&mut client, user_agent, "").await;
        assert_eq!(miss.text(), class);
        let status = format!("breakwater; fwd=miss; stored; detail=\"{class}\"");
        assert_eq!(miss.cache_status(), status);
        let hit = get(&mut client, user_agent, "").await;
        assert_eq!((hit.is_hit(), hit.text().as_str()), (true, class));
        let detail = format!("; detail=\"{class}\"");
        assert!(hit.cache_status().ends_with(&detail), "{hit:?}");
    }
    assert!(get(&mut client, ANDROID, "").await.is_hit(), "another telephone");
    assert!(get(&mut client, "curl/8", "").await.is_hit(), "all else is desktop");
    assert!(
        client.get("shop.test", "/", "").await.is_hit(),
        "so is what says nothing"
    );
    let hinted = get(&mut client, DESKTOP, "Sec-CH-UA-Mobile: ?1\r\n").await;
    assert_eq!((hinted.is_hit(), hinted.text().as_str()), (true, "mobile"));
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn what_a_client_says_of_its_class_counts_for_nothing_also_under_vary() {
    let origin = echo("Vary: X-Device-Type\r\n").await;
    let plane = Plane::running([("site", Unit::EdgeCache(site(&origin)))]).await;
    let mut client = plane.client().await;
    let claim = "X-Device-Type: tablet\r\nX_Device_Type: tablet\r\n";
    assert_eq!(get(&mut client, PHONE, claim).await.text(), "mobile");
    assert_eq!(origin.last().field("x_device_type"), None);
    assert!(get(&mut client, PHONE, "").await.is_hit());
    assert!(get(&mut client, PHONE, "X-Device-Type: bot\r\n").await.is_hit());
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn where_devices_are_not_told_apart_nothing_is_added_and_nothing_removed() {
    let origin = echo("").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let first = get(&mut client, PHONE, "X-Device-Type: watch\r\n").await;
    assert_eq!(
        (first.text().as_str(), first.cache_status()),
        ("watch", "breakwater; fwd=miss; stored")
    );
    assert!(get(&mut client, DESKTOP, "").await.is_hit());
}

#[tokio::test]
async fn an_unsafe_request_of_one_device_forgets_the_responses_of_all() {
    let origin = echo("").await;
    let plane = Plane::running([("site", Unit::EdgeCache(site(&origin)))]).await;
    let mut client = plane.client().await;
    for user_agent in [DESKTOP, PHONE] {
        get(&mut client, user_agent, "").await;
        assert!(get(&mut client, user_agent, "").await.is_hit());
    }
    let lines = format!("User-Agent: {TABLET}\r\nContent-Length: 0\r\n");
    let posted = client.ask("POST", "shop.test", "/", &lines, b"").await;
    assert_eq!(posted.text(), "tablet");
    for user_agent in [DESKTOP, PHONE] {
        assert!(!get(&mut client, user_agent, "").await.is_hit(), "{user_agent}");
    }
}

#[tokio::test]
async fn a_user_agent_that_the_connection_names_goes_no_further_and_counts_for_nothing() {
    let origin = echo("").await;
    let plane = Plane::running([("site", Unit::EdgeCache(site(&origin)))]).await;
    let mut client = plane.client().await;
    let named = get(&mut client, PHONE, "Connection: User-Agent\r\n").await;
    assert_eq!(named.text(), "desktop");
    assert_eq!(origin.last().field("user-agent"), None);
    assert_eq!(get(&mut client, PHONE, "").await.text(), "mobile");
}
