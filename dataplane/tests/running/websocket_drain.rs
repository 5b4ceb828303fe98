//! Live WebSockets when a WsRoute or a server goes, when the process goes, and when anything else changes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{Drain, Unit, WsRoute};
use breakwater_websocket::testing::{Connection, Error, Message, connect, serve_echo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{
    Plane, claims, edge_cache, http_origin, id, objects, prefix, until, waf_policy, within, ws_route,
};

const OPEN: &str = "breakwater_websocket_connections{resource=\"WsRoute/default/chat\"}";

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_echo(listener));
    address
}

fn route(backends: &[SocketAddr], close: bool, spread_ms: u64) -> WsRoute {
    WsRoute {
        backend: http_origin(backends),
        drain: Drain { close, spread_ms },
        ..ws_route(backends[0])
    }
}

async fn apply(plane: &Plane, route: &WsRoute) {
    plane.apply(objects([("chat", Unit::WsRoute(route.clone()))])).await;
}

async fn open(plane: &Plane) -> Connection<TcpStream> {
    within("a WebSocket", connect(plane.address(), "chat.test", "/ws", None, ""))
        .await
        .unwrap()
}

async fn open_many(plane: &Plane, count: usize) -> Vec<Connection<TcpStream>> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(open(plane).await);
    }
    sockets
}

async fn echoes(socket: &mut Connection<TcpStream>, text: &str) {
    socket.send_text(text).await.unwrap();
    let echoed = within("the echo", socket.next()).await.unwrap();
    assert_eq!(echoed, Message::Text(text.to_owned()));
}

/// The code of the close frame that comes, which is answered; none when the stream ends without one.
async fn code(mut socket: Connection<TcpStream>) -> Option<u16> {
    match within("a close frame", socket.next()).await {
        Ok(Message::Close(code, _)) => {
            let _ = socket.close(code, "").await;
            code
        }
        Ok(other) => panic!("{other:?}"),
        Err(Error::Eof | Error::Io(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The codes with which all of them are closed.
async fn codes(sockets: Vec<Connection<TcpStream>>) -> Vec<Option<u16>> {
    let closing: JoinSet<_> = sockets.into_iter().map(code).collect();
    closing.join_all().await
}

fn closes(code: u16, reason: &str) -> String {
    format!(
        "breakwater_websocket_closes_total{{resource=\"WsRoute/default/chat\",code=\"{code}\",reason=\"{reason}\"}}"
    )
}

#[tokio::test]
async fn sockets_of_a_deleted_route_are_closed_with_1001() {
    let plane = Plane::with_workers(2).await;
    apply(&plane, &route(&[echo().await], true, 300)).await;
    let sockets = open_many(&plane, 10).await;
    plane.apply(Vec::new()).await;
    assert_eq!(codes(sockets).await, [Some(1001); 10]);
    plane.metric_reaches(&closes(1001, "route_deleted"), 10.0).await;
    assert_eq!(plane.metric(OPEN).await, 0.0);
}

#[tokio::test]
async fn sockets_to_a_removed_server_are_closed_with_1012_and_no_others() {
    let (one, two) = (echo().await, echo().await);
    let plane = Plane::with_workers(2).await;
    apply(&plane, &route(&[one], true, 300)).await;
    let mut staying = open_many(&plane, 5).await;
    let mut both = route(&[one, two], true, 300);
    // It gets no more, but is still one of them.
    both.backend.endpoints[0].weight = 0;
    apply(&plane, &both).await;
    let leaving = open_many(&plane, 10).await;
    apply(&plane, &route(&[one], true, 300)).await;
    assert_eq!(codes(leaving).await, [Some(1012); 10]);
    plane.metric_reaches(&closes(1012, "server_removed"), 10.0).await;
    for socket in &mut staying {
        echoes(socket, "here").await;
    }
    assert_eq!(plane.metric(OPEN).await, 5.0);
}

#[tokio::test]
async fn a_server_that_comes_back_in_time_keeps_its_sockets() {
    let (one, two) = (echo().await, echo().await);
    let plane = Plane::start().await;
    apply(&plane, &route(&[one], true, 3_600_000)).await;
    let mut sockets = open_many(&plane, 5).await;
    apply(&plane, &route(&[two], true, 3_600_000)).await;
    plane.apply(Vec::new()).await;
    // Whoever is still to be closed would be at once.
    apply(&plane, &route(&[one], true, 1)).await;
    for socket in &mut sockets {
        echoes(socket, "here").await;
    }
    assert_eq!(plane.metric(OPEN).await, 5.0);
}

#[tokio::test]
async fn with_keep_nothing_is_closed_but_by_the_end_of_the_process() {
    let (one, two) = (echo().await, echo().await);
    let plane = Plane::start().await;
    apply(&plane, &route(&[one], false, 1)).await;
    let mut sockets = open_many(&plane, 5).await;
    apply(&plane, &route(&[two], false, 1)).await;
    for socket in &mut sockets {
        echoes(socket, "the server is removed").await;
    }
    plane.apply(Vec::new()).await;
    for socket in &mut sockets {
        echoes(socket, "the route is deleted").await;
    }
    let data = Arc::clone(&plane.data);
    let drained = tokio::spawn(async move { data.drain(Duration::from_secs(20)).await });
    assert_eq!(codes(sockets).await, [Some(1001); 5]);
    within("the end of the drain", drained).await.unwrap();
}

#[tokio::test]
async fn closing_is_spread_over_the_time_that_is_given() {
    let plane = Plane::start().await;
    apply(&plane, &route(&[echo().await], true, 60_000)).await;
    let sockets = open_many(&plane, 100).await;
    plane.apply(Vec::new()).await;
    // One every 600 ms: when the first is closed, most are open.
    let mut closing: JoinSet<_> = sockets.into_iter().map(code).collect();
    assert_eq!(closing.join_next().await.unwrap().unwrap(), Some(1001));
    let open = plane.metric(OPEN).await;
    assert!(open > 50.0, "{open} are open");
}

#[tokio::test]
async fn a_drain_closes_every_socket_before_its_deadline_however_long_the_spread() {
    let plane = Plane::with_workers(2).await;
    apply(&plane, &route(&[echo().await], true, 3_600_000)).await;
    let sockets = open_many(&plane, 40).await;
    let data = Arc::clone(&plane.data);
    let drained = tokio::spawn(async move { data.drain(Duration::from_secs(4)).await });
    assert_eq!(
        codes(sockets).await,
        [Some(1001); 40],
        "nobody is cut without a close frame"
    );
    within("the end of the drain", drained).await.unwrap();
}

/// Eight thousand files: each takes two in the data plane, and one at either end.
const SOCKETS: usize = 2_000;

#[tokio::test]
async fn a_hundred_changes_of_the_configuration_close_no_live_websocket() {
    let (one, two) = (echo().await, echo().await);
    let plane = Plane::with_workers(2).await;
    let change = |n: u64| {
        let mut chat = route(&[one], true, 1);
        if n.is_multiple_of(2) {
            chat.backend = http_origin(&[one, two]);
        }
        chat.origins = vec![format!("https://{n}.test")];
        chat.handshake_timeout_ms += n;
        chat.idle_timeout_ms -= n;
        chat.limits.messages_per_second = u32::try_from(n + 1).ok();
        chat.claims = claims("chat.test", if n.is_multiple_of(3) { "/ws" } else { "/elsewhere" });
        let mut policy = waf_policy(id(Kind::WsRoute, "chat"));
        policy.uris.deny = vec![prefix(&format!("/denied{n}"))];
        let mut site = edge_cache(one);
        site.claims = claims(&format!("{n}.test"), "/");
        objects([
            ("chat", Unit::WsRoute(chat)),
            ("policy", Unit::WafPolicy(policy)),
            ("site", Unit::EdgeCache(site)),
        ])
    };
    apply(&plane, &route(&[one], true, 1)).await;
    let mut sockets = open_many(&plane, SOCKETS).await;
    for n in 0..100 {
        plane.apply(change(n)).await;
    }
    for socket in &mut sockets {
        echoes(socket, "still here").await;
    }
    let still_open = until("the sockets to be counted", async || {
        let open = plane.metric(OPEN).await;
        (open > 0.0).then_some(open)
    });
    assert_eq!(still_open.await, SOCKETS as f64);
    let any = "breakwater_websocket_closes_total{resource=\"WsRoute/default/chat\"";
    assert!(!plane.metrics().await.contains(any), "none was closed");
}
