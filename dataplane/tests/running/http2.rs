//! Requests and answers over HTTP/2.

use std::time::Duration;

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::Unit;

use crate::support::http2::{GOAWAY, Http2, PREFACE, RST_STREAM, WINDOW_UPDATE, head};
use crate::support::{Client, Origin, Plane, answer, edge_cache, id, objects, waf_policy, ws_route};

async fn storing() -> (Origin, Plane) {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "hello")).await;
    let plane = Plane::before(&origin).await;
    (origin, plane)
}

#[tokio::test]
async fn a_miss_and_a_hit_are_answered() {
    let (origin, plane) = storing().await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let miss = client.ask(&head("GET", "shop.test", "/a?b")).await;
    assert_eq!(
        (miss.status, miss.text().as_str(), miss.is_hit()),
        (200, "hello", false),
        "{miss:?}"
    );
    let hit = client.ask(&head("GET", "shop.test", "/a?b")).await;
    assert_eq!(
        (hit.status, hit.text().as_str(), hit.is_hit()),
        (200, "hello", true),
        "{hit:?}"
    );
    assert_eq!(hit.field("content-length"), Some("5"));
    assert_eq!(hit.field("connection"), None);
    assert!(
        hit.field("x-request-id").is_some() && hit.field("age").is_some(),
        "{hit:?}"
    );
    let seen = origin.last();
    assert_eq!((origin.count(), seen.target()), (1, "/a?b"));
    assert_eq!(seen.field("host").as_deref(), Some("shop.test"));
    assert_eq!(seen.field("via").as_deref(), Some("2.0 breakwater"));
    assert_eq!(seen.field("x-forwarded-proto").as_deref(), Some("http"));
}

#[tokio::test]
async fn a_hit_has_the_fields_it_has_over_http1_however_often_it_is_sent() {
    let lines = "Cache-Control: max-age=60\r\nETag: \"1\"\r\nX-Own: A b\r\nSet-Thing: x\r\nSet-Thing: y\r\n";
    let origin = Origin::fixed(answer(200, lines, "hello")).await;
    let plane = Plane::before(&origin).await;
    let mut first = plane.client().await;
    first.get("shop.test", "/a", "").await;
    let mut second = Http2::connect(plane.address(), &[]).await;
    let own = ["age", "cache-status", "x-request-id"];
    let told = |fields: &[(String, String)]| -> Vec<_> {
        let regular = fields.iter().filter(|(name, _)| !name.starts_with(':'));
        let lower = regular.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        lower
            .map(|(name, value)| {
                if own.contains(&&*name) {
                    (name, String::new())
                } else {
                    (name, value)
                }
            })
            .collect()
    };
    let expected = told(first.get("shop.test", "/a", "").await.fields());
    assert!(
        expected.contains(&("x-own".to_owned(), "A b".to_owned())),
        "{expected:?}"
    );
    for _ in 0..4 {
        let hit = second.ask(&head("GET", "shop.test", "/a")).await;
        assert!(hit.is_hit());
        assert_eq!((told(hit.fields()), hit.text().as_str()), (expected.clone(), "hello"));
    }
}

#[tokio::test]
async fn what_http1_stored_answers_http2_and_the_other_way_round() {
    let (origin, plane) = storing().await;
    let mut first = plane.client().await;
    let mut second = Http2::connect(plane.address(), &[]).await;
    assert!(!first.get("shop.test", "/one", "").await.is_hit());
    assert!(second.ask(&head("GET", "shop.test", "/one")).await.is_hit());
    assert!(!second.ask(&head("GET", "shop.test", "/two")).await.is_hit());
    assert!(first.get("shop.test", "/two", "").await.is_hit());
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn head_has_no_body_stored_or_not() {
    let (_origin, plane) = storing().await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    client.ask(&head("GET", "shop.test", "/a")).await;
    for path in ["/a", "/b?passed"] {
        let answer = client.ask(&head("HEAD", "shop.test", path)).await;
        assert_eq!(
            (answer.status, answer.field("content-length")),
            (200, Some("5")),
            "{path}"
        );
        assert!(answer.body.is_empty() && answer.ended, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_hundred_streams_are_answered_on_one_connection() {
    let (origin, gate) = Origin::gated(|request| answer(200, "", request.target())).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let mut asked = Vec::new();
    for n in 0..100 {
        let path = format!("/{n}");
        asked.push((client.get(&path).await, path));
    }
    origin.reached(100).await;
    gate.add_permits(100);
    for (stream, path) in asked {
        let answer = client.answer(stream).await;
        assert_eq!((answer.status, answer.text()), (200, path));
    }
    assert_eq!(origin.count(), 100);
    plane
        .metric_reaches(
            "breakwater_requests_total{resource=\"EdgeCache/default/site\",code=\"200\"}",
            100.0,
        )
        .await;
}

#[tokio::test]
async fn a_stored_body_larger_than_every_window_arrives_whole() {
    let body: Vec<u8> = (0..400_000_u32).map(|n| (n % 251) as u8).collect();
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", &body)).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    assert!(client.ask(&head("GET", "shop.test", "/a")).await.body == body);
    let streams = [client.get("/a").await, client.get("/a").await, client.get("/a").await];
    for stream in streams {
        let answer = client.answer(stream).await;
        assert!(answer.is_hit() && answer.body == body, "{} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn conditions_and_ranges_hold() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\nETag: \"v1\"\r\n", "hello")).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    client.ask(&head("GET", "shop.test", "/a")).await;
    let with = |field| {
        let mut fields = head("GET", "shop.test", "/a").to_vec();
        fields.push(field);
        fields
    };
    let unchanged = client.ask(&with(("if-none-match", "\"v1\""))).await;
    assert_eq!(
        (unchanged.status, unchanged.body.len(), unchanged.ended),
        (304, 0, true)
    );
    let part = client.ask(&with(("range", "bytes=1-2"))).await;
    assert_eq!((part.status, part.text().as_str()), (206, "el"));
}

#[tokio::test]
async fn a_chunked_answer_and_interim_answers_come_through() {
    let origin = Origin::fixed(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
          Connection: x-own\r\nX-Own: 1\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
            .to_vec(),
    )
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let answer = client.ask(&head("POST", "shop.test", "/a")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "abcdef"), "{answer:?}");
    assert_eq!(answer.interim, [103]);
    assert_eq!((answer.field("transfer-encoding"), answer.field("x-own")), (None, None));
}

#[tokio::test]
async fn a_failed_origin_is_a_page() {
    let origin = Origin::raw(|_| async {}).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let answer = client.ask(&head("GET", "shop.test", "/a")).await;
    assert_eq!((answer.status, answer.ended), (502, true), "{answer:?}");
    assert!(client.ping().await, "the connection goes on");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_reset_and_not_ended() {
    let origin = Origin::raw(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
                .await;
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let answer = client.ask(&head("GET", "shop.test", "/a")).await;
    assert_eq!((answer.status, answer.ended), (200, false), "{answer:?}");
    assert!(answer.reset.is_some() && client.ping().await);
}

#[tokio::test]
async fn what_is_not_served_and_what_a_policy_denies_is_refused_and_the_connection_goes_on() {
    let (origin, plane) = storing().await;
    let mut site = edge_cache(origin.address);
    site.claims = crate::support::claims("shop.test", "/");
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.uris.deny = vec![crate::support::prefix("/admin")];
    plane
        .apply(objects([
            ("site", Unit::EdgeCache(site)),
            ("policy", Unit::WafPolicy(policy)),
        ]))
        .await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    assert_eq!(client.ask(&head("GET", "other.test", "/")).await.status, 404);
    let denied = client.ask(&head("GET", "shop.test", "/admin/x")).await;
    assert_eq!((denied.status, denied.field("connection")), (403, None));
    assert!(
        denied.text().contains(denied.field("x-request-id").unwrap()),
        "{denied:?}"
    );
    assert_eq!(client.ask(&head("TRACE", "shop.test", "/")).await.status, 405);
    assert_eq!(
        client.ask(&head("GET", "shop.test", "/%2e%2e%2fadmin")).await.status,
        400
    );
    assert_eq!(
        (client.ask(&head("GET", "shop.test", "/a")).await.status, origin.count()),
        (200, 1)
    );
    let line = plane.audit(1).await.remove(0);
    assert_eq!(line["uri"], "/admin/x");
}

#[tokio::test]
async fn the_access_line_says_which_protocol() {
    let (_origin, plane) = storing().await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    client.ask(&head("GET", "shop.test", "/a")).await;
    client.ask(&head("GET", "shop.test", "/a")).await;
    plane.client().await.get("shop.test", "/a", "").await;
    let lines = plane.access(3).await;
    let said: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["protocol"].as_str().unwrap(),
                line["cache"].as_str().unwrap(),
                &line["bytes"],
            )
        })
        .collect();
    let five = serde_json::json!(5);
    assert_eq!(
        said,
        [
            ("HTTP/2", "miss", &five),
            ("HTTP/2", "hit", &five),
            ("HTTP/1.1", "hit", &five)
        ]
    );
}

#[tokio::test]
async fn a_websocket_route_says_that_it_needs_http1() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::running([("chat", Unit::WsRoute(ws_route(origin.address)))]).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let answer = client.ask(&head("GET", "shop.test", "/")).await;
    assert_eq!((answer.status, origin.count()), (400, 0), "{answer:?}");
    assert!(answer.text().contains("HTTP/1.1"), "{answer:?}");
}

#[tokio::test]
async fn a_stream_that_is_reset_while_the_origin_works_is_dropped_alone() {
    let origin = Origin::start(|request| async move {
        if request.target() == "/slow" {
            std::future::pending::<()>().await;
        }
        answer(200, "", "x")
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    // What may be shared goes on without those who asked; this may not.
    let stream = client.request(&head("POST", "shop.test", "/slow"), true).await;
    origin.reached(1).await;
    client.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
    assert_eq!(client.ask(&head("GET", "shop.test", "/quick")).await.status, 200);
    let lines = plane.access(2).await;
    let said: Vec<_> = lines.iter().map(|line| (&line["uri"], &line["status"])).collect();
    assert!(said.contains(&(&"/slow".into(), &499.into())), "{said:?}");
}

#[tokio::test]
async fn a_fetch_outlives_the_connection_that_began_it() {
    let (release, held) = tokio::sync::watch::channel(false);
    let origin = Origin::start(move |_| {
        let mut held = held.clone();
        async move {
            held.wait_for(|free| *free).await.unwrap();
            answer(200, "Cache-Control: max-age=60\r\n", "x")
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    client.get("/a").await;
    origin.reached(1).await;
    drop(client);
    assert_eq!(plane.access(1).await[0]["status"], 499);
    release.send_replace(true);
    let mut other = Http2::connect(plane.address(), &[]).await;
    assert_eq!(other.ask(&head("GET", "shop.test", "/a")).await.status, 200);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn the_preface_counts_only_at_the_start_and_may_come_in_pieces() {
    let (_origin, plane) = storing().await;
    let mut client = plane.client().await;
    for piece in PREFACE.chunks(5) {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let settings = client.take(9).await.unwrap();
    assert_eq!(settings[3..9], [4, 0, 0, 0, 0, 0]);

    let mut client = plane.client().await;
    assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
    client.send(PREFACE).await;
    assert_eq!(client.response("PRI").await.status, 505);
    client.closed().await;
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_passed_over() {
    let (_origin, plane) = storing().await;
    let mut client: Client = plane.client().await;
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let answer = client.get("shop.test", "/a", lines).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
}

#[tokio::test]
async fn a_drain_asks_first_serves_what_is_on_its_way_and_then_closes() {
    let (release, held) = tokio::sync::watch::channel(false);
    let origin = Origin::start(move |_| {
        let mut held = held.clone();
        async move {
            held.wait_for(|free| *free).await.unwrap();
            answer(200, "", "late")
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut busy = Http2::connect(plane.address(), &[]).await;
    let mut idle = Http2::connect(plane.address(), &[]).await;
    assert!(idle.ping().await);
    let first = busy.get("/1").await;
    origin.reached(1).await;
    let data = std::sync::Arc::clone(&plane.data);
    let drained = tokio::spawn(async move { data.drain(Duration::from_secs(20)).await });
    assert!(idle.until(|client| !client.goaways.is_empty()).await);
    assert_eq!(idle.goaways[0], ((1 << 31) - 1, 0), "asked first");
    assert_eq!(idle.closed().await, Some(0));
    assert_eq!(idle.goaways.len(), 2);
    // The other connection learns of it when something comes.
    let second = busy.get("/2").await;
    origin.reached(2).await;
    release.send_replace(true);
    for stream in [first, second] {
        assert_eq!(busy.answer(stream).await.text(), "late");
    }
    assert_eq!(busy.closed().await, Some(0));
    drained.await.unwrap();
}

#[tokio::test]
async fn a_client_that_says_goodbye_has_its_pings_answered_until_it_closes() {
    let (_origin, plane) = storing().await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    client.send(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]).await;
    assert!(client.ping().await);
    assert!(client.ping().await, "GOAWAY was read before the first answer");
    let stream = client.get("/a").await;
    assert_eq!(client.answer(stream).await.status, 200);
    // A client that does not close is told to.
    assert_eq!(client.closed().await, Some(0));
}

#[tokio::test]
async fn what_was_sent_before_a_drain_reaches_a_client_that_reads_it_later() {
    const LENGTH: usize = 400_000;
    let content = "x".repeat(LENGTH);
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", &content)).await;
    let plane = Plane::before(&origin).await;
    let mut idle = Http2::connect(plane.address(), &[]).await;
    assert_eq!(idle.ask(&head("GET", "shop.test", "/a")).await.body.len(), LENGTH);
    let mut slow = Http2::connect_narrow(plane.address(), &[(4, 1 << 30)]).await;
    slow.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).await;
    assert!(slow.ping().await);
    let stream = slow.get("/a").await;
    let data = std::sync::Arc::clone(&plane.data);
    let drained = tokio::spawn(async move { data.drain(Duration::from_secs(20)).await });
    assert_eq!(idle.closed().await, Some(0));
    // Each frame is acknowledged by a WINDOW_UPDATE, which a closed connection would answer with a reset.
    let answer = slow.answer(stream).await;
    assert_eq!((answer.ended, answer.body.len()), (true, LENGTH));
    assert_eq!(slow.closed().await, Some(0));
    drop((idle, slow));
    drained.await.unwrap();
}
