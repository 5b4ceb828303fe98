//! The access line: what the client saw, who answered, and what went wrong.

use serde_json::{Value, json};

use crate::support::http2::Http2;
use crate::support::{Origin, Plane, answer, edge_cache, objects, within, ws_route};
use breakwater_snapshot::unit::Unit;
use breakwater_websocket::testing::{connect, serve_echo};
use tokio::net::TcpListener;

/// Some fields of a line.
fn of(line: &Value, fields: &[&str]) -> Value {
    fields.iter().map(|field| line[field].clone()).collect()
}

const END: [&str; 3] = ["status", "aborted", "error"];

#[tokio::test]
async fn a_response_that_breaks_off_is_logged_with_the_status_that_was_sent() {
    let origin = Origin::raw(async |mut peer| {
        if let Some(request) = peer.request().await {
            let lines = if request.target() == "/stored" {
                "max-age=60"
            } else {
                "no-store"
            };
            let head = format!("HTTP/1.1 200 OK\r\nCache-Control: {lines}\r\nContent-Length: 100\r\n\r\n");
            peer.send(head + "half").await;
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    for (n, (method, target)) in [("GET", "/stored"), ("PUT", "/passed")].into_iter().enumerate() {
        let mut client = plane.client().await;
        client
            .send(format!("{method} {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
            .await;
        assert!(client.try_response(method).await.is_none(), "it is cut");
        let line = &plane.access(n + 1).await[n];
        assert_eq!(of(line, &END), json!([200, true, "malformed_body"]), "{line}");
        assert_eq!(
            (&line["upstream"], &line["bytes"]),
            (&json!(origin.address.to_string()), &json!(4))
        );
    }
    let mut client = Http2::connect(plane.address(), &[]).await;
    let stream = client.get("/other").await;
    assert!(client.answer(stream).await.reset.is_some());
    assert_eq!(
        of(&plane.access(3).await[2], &END),
        json!([200, true, "malformed_body"])
    );
    // The counter says what went wrong.
    let series = "breakwater_requests_total{resource=\"EdgeCache/default/site\",code=\"502\"}";
    assert_eq!(plane.metric(series).await, 3.0);
}

#[tokio::test]
async fn a_websocket_has_a_line_when_it_opens_and_one_when_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap();
    tokio::spawn(serve_echo(listener));
    let plane = Plane::running([("chat", Unit::WsRoute(ws_route(backend)))]).await;
    let mut socket = connect(plane.address(), "chat.test", "/ws?room=1", None, "")
        .await
        .unwrap();
    let opened = plane.access(1).await[0].clone();
    assert_eq!(of(&opened, &["status", "websocket"]), json!([101, null]));
    socket.send_text("hello").await.unwrap();
    within("the echo", socket.next()).await.unwrap();
    socket.close(Some(4001), "").await.unwrap();
    within("the close", socket.next()).await.unwrap();
    drop(socket);
    let ended = plane.access(2).await[1].clone();
    const SAME: [&str; 7] = ["request_id", "client", "method", "host", "uri", "resource", "upstream"];
    assert_eq!(of(&ended, &SAME), of(&opened, &SAME));
    assert_eq!(ended["upstream"], json!(backend.to_string()));
    // With their headers, and the client's with masks: a text of five bytes and a close frame of two, each way.
    let websocket = json!({
        "code": 4001, "reason": "client_closed", "messages_in": 1, "messages_out": 1, "bytes_in": 11 + 8, "bytes_out": 7 + 4
    });
    assert_eq!(ended["websocket"], websocket, "{ended}");
}

#[tokio::test]
async fn a_client_that_leaves_before_an_answer_is_499_and_within_one_it_is_what_was_sent() {
    let origin = Origin::raw(async |mut peer| {
        while let Some(request) = peer.request().await {
            match request.target() {
                "/never" => std::future::pending().await,
                _ => {
                    peer.send(answer(200, "Cache-Control: no-store\r\n", vec![b'x'; 50 << 20]))
                        .await
                }
            }
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.send("PUT /large HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status, 200);
    drop(client);
    assert_eq!(of(&plane.access(1).await[0], &END), json!([200, true, "client_gone"]));
    let mut client = Http2::connect(plane.address(), &[]).await;
    client.get("/never").await;
    origin.reached(2).await;
    drop(client);
    assert_eq!(of(&plane.access(2).await[1], &END), json!([499, false, "client_gone"]));
}

#[tokio::test]
async fn an_origin_that_cannot_be_asked_is_logged_with_the_answer_and_the_reason() {
    let origin = Origin::fixed(Vec::new()).await;
    let site = edge_cache(origin.address);
    drop(origin);
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    for (n, method) in ["GET", "PUT"].into_iter().enumerate() {
        let mut client = plane.client().await;
        assert_eq!(client.ask(method, "shop.test", "/a", "", b"").await.status, 502);
        let line = &plane.access(n + 1).await[n];
        assert_eq!(of(line, &END), json!([502, false, "connect"]), "{line}");
        assert_eq!(line["upstream"], Value::Null);
    }
}

#[tokio::test]
async fn who_led_a_fetch_names_the_server_and_who_followed_or_hit_names_none() {
    let (release, held) = tokio::sync::watch::channel(false);
    let origin = Origin::start(move |request| {
        let mut held = held.clone();
        async move {
            if request.field("if-none-match").is_some() {
                return answer(304, "ETag: \"a\"\r\nCache-Control: max-age=0\r\n", "");
            }
            held.wait_for(|free| *free).await.unwrap();
            answer(200, "ETag: \"a\"\r\nCache-Control: max-age=60\r\n", "x")
        }
    })
    .await;
    let plane = Plane::running([]).await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    let get = "GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let mut leader = plane.client().await;
    leader.send(get).await;
    origin.reached(1).await;
    let mut follower = plane.client().await;
    follower.send(get).await;
    plane.active_reaches(2.0).await;
    release.send(true).unwrap();
    assert_eq!(leader.response("GET").await.status, 200);
    assert_eq!(follower.response("GET").await.status, 200);
    let server = origin.address.to_string();
    let mut lines = plane.access(2).await;
    lines.sort_by_key(|line| line["upstream"].is_null());
    let seen = |line: &Value| of(line, &["cache", "upstream", "aborted", "error"]);
    assert_eq!(seen(&lines[0]), json!(["miss", server, false, null]));
    assert_eq!(seen(&lines[1]), json!(["miss", null, false, null]));
    // Who has it confirmed names the server as well.
    let confirmed = leader.get("shop.test", "/a", "Cache-Control: no-cache\r\n").await;
    assert_eq!(confirmed.status, 200);
    assert_eq!(
        seen(&plane.access(3).await[2]),
        json!(["revalidated", server, false, null])
    );
}
