//! WebSockets from handshake to close.

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{Unit, WsRoute};
use breakwater_websocket::testing::{Connection, Error, Message, connect, serve_echo};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Origin, Plane, answer, id, objects, prefix, within, ws_route};

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: chat.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bm90IHNvIHJhbmRvbS4uLg==\r\n";

/// What a backend answers to [`HANDSHAKE`].
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";

async fn echo_route() -> WsRoute {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_echo(listener));
    ws_route(address)
}

async fn plane(route: WsRoute) -> Plane {
    Plane::running([("chat", Unit::WsRoute(route))]).await
}

async fn open(plane: &Plane) -> Connection<TcpStream> {
    within("a WebSocket", connect(plane.address(), "chat.test", "/ws", None, ""))
        .await
        .unwrap()
}

async fn next(socket: &mut Connection<TcpStream>) -> Result<Message, Error> {
    within("a message", socket.next()).await
}

async fn echoes(socket: &mut Connection<TcpStream>, text: &str) {
    socket.send_text(text).await.unwrap();
    assert_eq!(next(socket).await.unwrap(), Message::Text(text.to_owned()));
}

async fn refusal(plane: &Plane, origin: Option<&str>, lines: &str) -> (u16, String) {
    match within("an answer", connect(plane.address(), "chat.test", "/ws", origin, lines)).await {
        Err(Error::Refused { status, head }) => (status, head),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was let in"),
    }
}

#[tokio::test]
async fn messages_of_any_size_are_relayed_both_ways() {
    let plane = plane(echo_route().await).await;
    let mut socket = open(&plane).await;
    for size in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        echoes(&mut socket, &"x".repeat(size)).await;
    }
    socket.send(&Message::Binary(vec![0, 255])).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap(), Message::Binary(vec![0, 255]));
    socket.send(&Message::Ping(b"p".to_vec())).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap(), Message::Pong(b"p".to_vec()));
    socket.close(Some(1000), "bye").await.unwrap();
    assert_eq!(
        next(&mut socket).await.unwrap(),
        Message::Close(Some(1000), "bye".to_owned())
    );
    let closes = "breakwater_websocket_closes_total{resource=\"WsRoute/default/chat\",code=\"1000\",reason=";
    crate::support::until("the close to be counted", async || {
        plane.metrics().await.contains(closes).then_some(())
    })
    .await;
    assert_eq!(
        plane
            .metric("breakwater_websocket_connections{resource=\"WsRoute/default/chat\"}")
            .await,
        0.0
    );
    let messages = "breakwater_websocket_messages_total{resource=\"WsRoute/default/chat\",direction=\"in\"}";
    assert!(plane.metric(messages).await >= 8.0);
    let requests = "breakwater_requests_total{resource=\"WsRoute/default/chat\",code=\"101\"}";
    assert_eq!(plane.metric(requests).await, 1.0);
}

#[tokio::test]
async fn the_spellings_of_browsers_are_understood() {
    let plane = plane(echo_route().await).await;
    for (from, to) in [
        ("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        ("Upgrade: websocket", "Upgrade: WebSocket"),
        ("Connection: Upgrade", "Connection: upgrade"),
        (
            "\r\nUpgrade",
            "\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nUpgrade",
        ),
    ] {
        let mut client = plane.client().await;
        client.send(format!("{}\r\n", HANDSHAKE.replacen(from, to, 1))).await;
        assert_eq!(client.head().await.unwrap().status, 101, "{to}");
    }
}

#[tokio::test]
async fn frames_sent_before_the_answer_arrive() {
    let plane = plane(echo_route().await).await;
    let mut client = plane.client().await;
    let frame = b"\x81\x85\0\0\0\0early";
    client
        .send([format!("{HANDSHAKE}\r\n").as_bytes(), frame].concat())
        .await;
    assert_eq!(client.head().await.unwrap().status, 101);
    assert_eq!(client.take(7).await.unwrap(), b"\x81\x05early");
}

#[tokio::test]
async fn frames_that_come_with_the_backends_answer_arrive() {
    let origin = Origin::raw(async |mut peer| {
        let request = peer.request().await.unwrap();
        let key = request.field("sec-websocket-key").unwrap();
        let accept = String::from_utf8(breakwater_wire_accept(&key)).unwrap();
        peer.send(
            [
                format!("{SWITCHED}Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes(),
                b"\x81\x02hi",
            ]
            .concat(),
        )
        .await;
        peer.rest().await;
    })
    .await;
    let plane = plane(ws_route(origin.address)).await;
    let mut socket = open(&plane).await;
    assert_eq!(next(&mut socket).await.unwrap(), Message::Text("hi".to_owned()));
    let request = origin.last();
    assert_eq!(request.field("upgrade").as_deref(), Some("websocket"));
    assert_eq!(request.field("connection").as_deref(), Some("Upgrade"));
    assert_eq!(request.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(request.field("host").as_deref(), Some("chat.test"));
}

fn breakwater_wire_accept(key: &str) -> Vec<u8> {
    breakwater_wire::websocket::accept(key.as_bytes()).to_vec()
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let plane = plane(echo_route().await).await;
    for (what, status, from, to) in [
        ("an old version", 426, "Version: 13", "Version: 8"),
        ("no version", 426, "Sec-WebSocket-Version: 13\r\n", ""),
        ("a short key", 400, "bm90IHNvIHJhbmRvbS4uLg==", "c2hvcnQ="),
        ("no key", 400, "Sec-WebSocket-Key: bm90IHNvIHJhbmRvbS4uLg==\r\n", ""),
        ("another protocol", 426, "Upgrade: websocket", "Upgrade: h2c"),
        ("no upgrade", 426, "Upgrade: websocket\r\n", ""),
        (
            "no connection upgrade",
            400,
            "Connection: Upgrade",
            "Connection: keep-alive",
        ),
        ("POST", 405, "GET", "POST"),
        ("HTTP/1.0", 400, "HTTP/1.1", "HTTP/1.0"),
    ] {
        let mut client = plane.client().await;
        client.send(format!("{}\r\n", HANDSHAKE.replacen(from, to, 1))).await;
        let response = client.response("GET").await;
        assert_eq!(response.status, status, "{what}: {response:?}");
        if status == 426 {
            assert_eq!(response.field("sec-websocket-version"), Some("13"), "{what}");
            assert_eq!(response.field("upgrade"), Some("websocket"), "{what}");
        }
    }
}

#[tokio::test]
async fn only_listed_origins_are_let_in() {
    let mut route = echo_route().await;
    route.origins = vec!["https://chat.test".to_owned()];
    let plane = plane(route).await;
    for origin in [
        "https://evil.test",
        "http://chat.test",
        "https://chat.test.evil.test",
        "null",
    ] {
        assert_eq!(refusal(&plane, Some(origin), "").await.0, 403, "{origin}");
    }
    let allowed = connect(plane.address(), "chat.test", "/ws", Some("https://CHAT.test"), "").await;
    assert!(allowed.is_ok());
}

#[tokio::test]
async fn only_listed_subprotocols_reach_the_backend() {
    let mut route = echo_route().await;
    route.subprotocols = vec!["chat.v2".to_owned()];
    let plane = plane(route).await;
    assert_eq!(
        refusal(&plane, None, "Sec-WebSocket-Protocol: chat.v1\r\n").await.0,
        400
    );
    let mut client = plane.client().await;
    client
        .send(format!("{HANDSHAKE}Sec-WebSocket-Protocol: chat.v1, chat.v2\r\n\r\n"))
        .await;
    let switched = client.head().await.unwrap();
    assert_eq!(
        (switched.status, switched.field("sec-websocket-protocol")),
        (101, Some("chat.v2"))
    );
}

#[tokio::test]
async fn a_wrong_answer_of_the_backend_is_a_bad_gateway() {
    for answer in [
        format!("{SWITCHED}Sec-WebSocket-Accept: bm9wZQ==\r\n\r\n"),
        format!("{SWITCHED}\r\n"),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n".to_owned(),
        "garbage\r\n\r\n".to_owned(),
        String::new(),
    ] {
        let sent = answer.clone();
        let origin = Origin::raw(move |mut peer| {
            let sent = sent.clone();
            async move {
                peer.request().await;
                peer.send(sent).await;
            }
        })
        .await;
        let plane = plane(ws_route(origin.address)).await;
        assert_eq!(refusal(&plane, None, "").await.0, 502, "{answer}");
    }
}

#[tokio::test]
async fn a_backend_that_does_not_answer_the_handshake_in_time_is_a_gateway_timeout() {
    let origin = Origin::raw(async |mut peer| {
        peer.rest().await;
    })
    .await;
    let mut route = ws_route(origin.address);
    route.handshake_timeout_ms = 50;
    assert_eq!(refusal(&plane(route).await, None, "").await.0, 504);
}

#[tokio::test]
async fn after_a_refusal_of_the_backend_nothing_of_the_client_reaches_it() {
    let (left, mut reached) = tokio::sync::mpsc::channel(1);
    let origin = Origin::raw(move |mut peer| {
        let left = left.clone();
        async move {
            peer.request().await;
            peer.send(answer(403, "X-Why: no\r\n", "go away")).await;
            left.send(peer.rest().await).await.unwrap();
        }
    })
    .await;
    let plane = plane(ws_route(origin.address)).await;
    let mut client = plane.client().await;
    let early = "GET /smuggled HTTP/1.1\r\nHost: chat.test\r\n\r\n";
    client.send(format!("{HANDSHAKE}\r\n{early}")).await;
    let response = client.response("GET").await;
    assert_eq!((response.status, response.field("x-why")), (403, Some("no")));
    assert_eq!(response.text(), "go away");
    let behind = client.try_response("GET").await;
    assert!(
        behind.is_none_or(|response| response.status == 426),
        "it is an HTTP request to the gate at most"
    );
    drop(client);
    let rest = within("the backend's connection to end", reached.recv()).await.unwrap();
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn an_edge_cache_does_not_switch_protocols() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.send(format!("{HANDSHAKE}\r\n")).await;
    assert_eq!(client.response("GET").await.status, 400);
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_policy_guards_the_handshake() {
    let route = echo_route().await;
    let mut policy = crate::support::waf_policy(id(Kind::WsRoute, "chat"));
    policy.uris.deny = vec![prefix("/ws")];
    let plane = Plane::running([("chat", Unit::WsRoute(route)), ("policy", Unit::WafPolicy(policy))]).await;
    assert_eq!(refusal(&plane, None, "").await.0, 403);
    assert!(connect(plane.address(), "chat.test", "/other", None, "").await.is_ok());
}

#[tokio::test]
async fn a_live_websocket_outlives_changes_of_the_configuration() {
    let mut route = echo_route().await;
    route.drain.close = false;
    let plane = plane(route.clone()).await;
    let mut socket = open(&plane).await;
    echoes(&mut socket, "one").await;
    let mut changed = route.clone();
    changed.origins = vec!["https://chat.test".to_owned()];
    plane.apply(objects([("chat", Unit::WsRoute(changed))])).await;
    echoes(&mut socket, "two").await;
    plane.apply(Vec::new()).await;
    echoes(&mut socket, "three").await;
    assert_eq!(refusal(&plane, None, "").await.0, 404, "new ones see the change");
    plane.apply(objects([("chat", Unit::WsRoute(route))])).await;
    echoes(&mut socket, "four").await;
}

#[tokio::test]
async fn a_drain_closes_websockets_with_going_away() {
    let mut route = echo_route().await;
    route.drain.spread_ms = 100;
    let plane = plane(route).await;
    let mut socket = open(&plane).await;
    echoes(&mut socket, "one").await;
    let data = std::sync::Arc::clone(&plane.data);
    let drained = tokio::spawn(async move { data.drain(std::time::Duration::from_secs(20)).await });
    let Message::Close(code, _) = next(&mut socket).await.unwrap() else {
        panic!("no close frame");
    };
    assert_eq!(code, Some(1001));
    socket.close(code, "").await.unwrap();
    within("the end of the drain", drained).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_connection_to_the_backend() {
    let (left, mut ended) = tokio::sync::mpsc::channel(1);
    let origin = Origin::raw(move |mut peer| {
        let left = left.clone();
        async move {
            let key = peer.request().await.unwrap().field("sec-websocket-key").unwrap();
            let accept = String::from_utf8(breakwater_wire_accept(&key)).unwrap();
            peer.send(format!("{SWITCHED}Sec-WebSocket-Accept: {accept}\r\n\r\n"))
                .await;
            left.send(peer.rest().await).await.unwrap();
        }
    })
    .await;
    let plane = plane(ws_route(origin.address)).await;
    let socket = open(&plane).await;
    drop(socket);
    within("the backend's connection to end", ended.recv()).await.unwrap();
}

#[tokio::test]
async fn a_backend_that_goes_away_ends_the_websocket() {
    let origin = Origin::raw(async |mut peer| {
        let key = peer.request().await.unwrap().field("sec-websocket-key").unwrap();
        let accept = String::from_utf8(breakwater_wire_accept(&key)).unwrap();
        peer.send(format!("{SWITCHED}Sec-WebSocket-Accept: {accept}\r\n\r\n"))
            .await;
    })
    .await;
    let plane = plane(ws_route(origin.address)).await;
    let mut socket = open(&plane).await;
    match next(&mut socket).await {
        Ok(Message::Close(..)) | Err(Error::Eof | Error::Io(_)) => {}
        other => panic!("{other:?}"),
    }
    let open = "breakwater_websocket_connections{resource=\"WsRoute/default/chat\"}";
    plane.metric_reaches(open, 0.0).await;
}
