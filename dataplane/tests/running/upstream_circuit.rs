//! What is let through to an origin at once.

use breakwater_snapshot::unit::{Circuit, Unit};
use tokio::sync::mpsc;

use crate::support::{Client, Origin, Plane, answer, edge_cache};

/// An origin that answers a request whenever it is let.
async fn held() -> (Origin, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel(16);
    let released = std::sync::Arc::new(tokio::sync::Mutex::new(released));
    let origin = Origin::start(move |_| {
        let released = std::sync::Arc::clone(&released);
        async move {
            released.lock().await.recv().await;
            answer(200, "", "x")
        }
    })
    .await;
    (origin, release)
}

async fn plane(origin: &Origin, circuit: Circuit, connect_timeout_ms: u64) -> Plane {
    let mut site = edge_cache(origin.address);
    site.origin.circuit = circuit;
    site.origin.connect_timeout_ms = connect_timeout_ms;
    Plane::running([("site", Unit::EdgeCache(site))]).await
}

async fn send(plane: &Plane, path: &str) -> Client {
    let mut client = plane.client().await;
    client
        .send(format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
        .await;
    client
}

fn refusals(reason: &str) -> String {
    format!("breakwater_origin_refusals_total{{resource=\"EdgeCache/default/site\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn requests_beyond_the_limit_are_answered_at_once() {
    let (origin, release) = held().await;
    let circuit = Circuit {
        requests: Some(1),
        ..Circuit::default()
    };
    let plane = plane(&origin, circuit, 10_000).await;
    let mut first = send(&plane, "/1").await;
    origin.reached(1).await;
    let second = plane.client().await.get("shop.test", "/2", "").await;
    assert_eq!((second.status, second.field("retry-after")), (503, Some("1")));
    assert_eq!(plane.metric(&refusals("requests")).await, 1.0);
    release.send(()).await.unwrap();
    assert_eq!(first.response("GET").await.status, 200);
    release.send(()).await.unwrap();
    assert_eq!(
        first.get("shop.test", "/3", "").await.status,
        200,
        "the place is free again"
    );
}

#[tokio::test]
async fn requests_wait_in_line_for_the_one_connection() {
    let (origin, release) = held().await;
    let circuit = Circuit {
        connections_per_server: Some(1),
        pending: Some(2),
        ..Circuit::default()
    };
    let plane = plane(&origin, circuit, 20_000).await;
    let mut clients = vec![send(&plane, "/0").await];
    origin.reached(1).await;
    for n in 1..=2 {
        clients.push(send(&plane, &format!("/{n}")).await);
    }
    // One of three that come now finds no place to wait; which one is up to the kernel.
    let refused = crate::support::until("a refusal", async || {
        let response = plane.client().await.get("shop.test", "/over", "").await;
        (response.status == 503).then_some(response)
    });
    let refused = refused.await;
    assert_eq!(refused.status, 503);
    assert_eq!(plane.metric(&refusals("pending")).await, 1.0);
    for (n, client) in clients.iter_mut().enumerate() {
        release.send(()).await.unwrap();
        assert_eq!(client.response("GET").await.status, 200, "{n}");
    }
    let seen = origin.seen();
    let order: Vec<_> = seen.iter().map(|request| request.target()).collect();
    assert_eq!(order, ["/0", "/1", "/2"]);
    assert!(
        seen.iter().all(|request| request.connection == 0),
        "they share one connection"
    );
}

#[tokio::test]
async fn who_waits_too_long_is_told() {
    let (origin, release) = held().await;
    let circuit = Circuit {
        connections_per_server: Some(1),
        ..Circuit::default()
    };
    let plane = plane(&origin, circuit, 200).await;
    let mut first = send(&plane, "/1").await;
    origin.reached(1).await;
    assert_eq!(plane.client().await.get("shop.test", "/2", "").await.status, 503);
    assert_eq!(plane.metric(&refusals("waited")).await, 1.0);
    release.send(()).await.unwrap();
    assert_eq!(first.response("GET").await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_free() {
    let (origin, release) = held().await;
    let circuit = Circuit {
        connections_per_server: Some(1),
        requests: Some(2),
        ..Circuit::default()
    };
    let plane = plane(&origin, circuit, 20_000).await;
    let mut post = plane.client().await;
    // Past the cache, so that it belongs to its client alone.
    post.send("POST /1 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nab")
        .await;
    let second = send(&plane, "/2").await;
    drop(post);
    let mut second = second;
    release.send(()).await.unwrap();
    assert_eq!(second.response("GET").await.status, 200);
}

#[tokio::test]
async fn an_open_websocket_keeps_its_place() {
    let origin = Origin::raw(async |mut peer| {
        peer.only_head().await;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n").await;
        peer.rest().await;
    })
    .await;
    let mut route = crate::support::ws_route(origin.address);
    route.backend.circuit.requests = Some(1);
    let plane = Plane::running([("chat", Unit::WsRoute(route))]).await;
    let lines = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut first = plane.client().await;
    assert_eq!(first.get("chat.test", "/", lines).await.status, 101);
    assert_eq!(plane.client().await.get("chat.test", "/", lines).await.status, 503);
    drop(first);
    crate::support::until("the place to be free", async || {
        let response = plane.client().await.get("chat.test", "/", lines).await;
        (response.status == 101).then_some(())
    })
    .await;
}
