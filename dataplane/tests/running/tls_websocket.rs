//! WebSockets over TLS.

use breakwater_snapshot::unit::Unit;
use breakwater_websocket::testing::serve_echo;
use tokio::net::TcpListener;

use crate::support::{Authority, Dialer, Plane, objects, tls, within, ws_route};

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: chat.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bm90IHNvIHJhbmRvbS4uLg==\r\n\r\n";

/// A frame of 64-bit length: binary, from a client with the mask that changes nothing.
fn frame(payload: &[u8], masked: bool) -> Vec<u8> {
    let mut frame = vec![0x82, 127 | if masked { 0x80 } else { 0 }];
    frame.extend((payload.len() as u64).to_be_bytes());
    if masked {
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn messages_larger_than_any_buffer_are_relayed_over_tls_and_the_close_arrives() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut route = ws_route(listener.local_addr().unwrap());
    tokio::spawn(serve_echo(listener));
    route.tls = Some(tls(&["*"], "secret"));
    let authority = Authority::new();
    let plane = Plane::secure().await;
    plane
        .apply(objects([
            ("chat", Unit::WsRoute(route)),
            ("secret", Unit::Certificate(authority.secret(&["chat.test"]))),
        ]))
        .await;
    let mut client = Dialer::new(&authority).connect(&plane, "chat.test").await;
    client.send(HANDSHAKE).await;
    assert_eq!(client.response("GET").await.status, 101);
    let payload: Vec<u8> = (0..500_000_u32).map(|n| (n % 251) as u8).collect();
    for _ in 0..2 {
        client.send(frame(&payload, true)).await;
        let expected = frame(&payload, false);
        let echoed = within("the echo", client.take(expected.len())).await;
        assert!(echoed.as_deref() == Some(&expected[..]));
    }
    // 1000, and its echo.
    client.send([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await;
    assert_eq!(client.rest().await, [0x88, 0x02, 0x03, 0xe8]);
}
