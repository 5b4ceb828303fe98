//! Limits of a WsRoute.

use breakwater_snapshot::unit::{Unit, WsLimits, WsRoute};
use breakwater_websocket::testing::{Connection, Error, Message, connect, serve_echo};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Plane, objects, within, ws_route};

async fn route(limits: WsLimits) -> WsRoute {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut route = ws_route(listener.local_addr().unwrap());
    tokio::spawn(serve_echo(listener));
    route.limits = limits;
    route
}

async fn plane(limits: WsLimits) -> Plane {
    Plane::running([("chat", Unit::WsRoute(route(limits).await))]).await
}

async fn try_open(plane: &Plane) -> Result<Connection<TcpStream>, Error> {
    within("an answer", connect(plane.address(), "chat.test", "/ws", None, "")).await
}

async fn refused(plane: &Plane) -> u16 {
    match try_open(plane).await {
        Err(Error::Refused { status, .. }) => status,
        other => panic!("{other:?}"),
    }
}

const OPEN: &str = "breakwater_websocket_connections{resource=\"WsRoute/default/chat\"}";

#[tokio::test]
async fn connections_over_the_limit_are_unavailable_until_one_closes() {
    let limits = WsLimits {
        connections: Some(2),
        ..WsLimits::default()
    };
    let plane = plane(limits).await;
    let first = try_open(&plane).await.unwrap();
    let _second = try_open(&plane).await.unwrap();
    assert_eq!(refused(&plane).await, 503);
    let series = "breakwater_limit_refusals_total{policy=\"WsRoute/default/chat\",limit=\"connections\"}";
    assert_eq!(plane.metric(series).await, 1.0);
    drop(first);
    plane.metric_reaches(OPEN, 1.0).await;
    assert!(try_open(&plane).await.is_ok());
}

#[tokio::test]
async fn connections_of_one_client_over_its_limit_are_too_many() {
    let limits = WsLimits {
        connections_per_client: Some(1),
        ..WsLimits::default()
    };
    let plane = plane(limits).await;
    let first = try_open(&plane).await.unwrap();
    assert_eq!(refused(&plane).await, 429);
    drop(first);
    plane.metric_reaches(OPEN, 0.0).await;
    assert!(try_open(&plane).await.is_ok());
}

#[tokio::test]
async fn a_change_of_the_route_still_counts_what_is_open() {
    let limits = WsLimits {
        connections: Some(1),
        ..WsLimits::default()
    };
    let mut route = route(limits).await;
    let plane = Plane::running([("chat", Unit::WsRoute(route.clone()))]).await;
    let _open = try_open(&plane).await.unwrap();
    route.idle_timeout_ms += 1;
    plane.apply(objects([("chat", Unit::WsRoute(route))])).await;
    assert_eq!(refused(&plane).await, 503);
}

async fn close_code(socket: &mut Connection<TcpStream>) -> Option<u16> {
    loop {
        match within("a close frame", socket.next()).await {
            Ok(Message::Close(code, _)) => return code,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn messages_and_frames_over_their_size_close_the_connection_with_1009() {
    let limits = WsLimits {
        message_size: Some(1000),
        frame_size: Some(600),
        ..WsLimits::default()
    };
    let plane = plane(limits).await;
    let mut socket = try_open(&plane).await.unwrap();
    socket.send_text(&"x".repeat(600)).await.unwrap();
    assert_eq!(socket.next().await.unwrap(), Message::Text("x".repeat(600)));
    socket.send_text(&"x".repeat(601)).await.unwrap();
    assert_eq!(close_code(&mut socket).await, Some(1009));
    let mut socket = try_open(&plane).await.unwrap();
    let text = breakwater_wire::websocket::Opcode::Text;
    let more = breakwater_wire::websocket::Opcode::Continuation;
    socket.send_frame(false, text, &[b'x'; 600]).await.unwrap();
    socket.send_frame(true, more, &[b'x'; 600]).await.unwrap();
    assert_eq!(close_code(&mut socket).await, Some(1009));
}

#[tokio::test]
async fn too_many_messages_in_a_second_close_the_connection_with_1008() {
    let limits = WsLimits {
        messages_per_second: Some(5),
        ..WsLimits::default()
    };
    let plane = plane(limits).await;
    let mut socket = try_open(&plane).await.unwrap();
    for _ in 0..100 {
        // The data plane may have closed already.
        let _ = socket.send_text("x").await;
    }
    assert_eq!(close_code(&mut socket).await, Some(1008));
}

#[tokio::test]
async fn a_silent_websocket_is_closed() {
    let mut route = route(WsLimits::default()).await;
    route.idle_timeout_ms = 100;
    let plane = Plane::running([("chat", Unit::WsRoute(route))]).await;
    let mut socket = try_open(&plane).await.unwrap();
    assert!(close_code(&mut socket).await.is_some());
    let closes = "breakwater_websocket_closes_total{resource=\"WsRoute/default/chat\"";
    crate::support::until("the close to be counted", async || {
        plane.metrics().await.contains(closes).then_some(())
    })
    .await;
}
