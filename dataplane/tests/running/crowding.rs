//! Full tables: who loses its place, in which order, and who never does.

use breakwater_dataplane::Options;
use breakwater_snapshot::unit::Unit;

use crate::support::http2::{self, HEADERS, Http2, block, frame};
use crate::support::{
    Authority, Client, Dialer, Origin, Plane, answer, edge_cache, objects, secure_listen, tls, until,
};

/// Places of the data plane; half of them at most are for connections that begin.
const PLACES: usize = 64;

fn few(options: &mut Options) {
    options.max_connections = PLACES as u64;
    options.max_connections_per_client = Some(1000);
}

fn refused(reason: &str) -> String {
    format!("breakwater_refused_total{{reason=\"{reason}\"}}")
}

const EVICTED: &str = "breakwater_connections_evicted_total";

/// An origin that answers nothing under `/held`, and everything else at once.
async fn origin() -> Origin {
    Origin::raw(async |mut peer| {
        while let Some(request) = peer.request().await {
            if request.target().starts_with("/held") {
                std::future::pending::<()>().await;
            }
            peer.send(answer(200, "Cache-Control: max-age=60\r\n", "x")).await;
        }
    })
    .await
}

/// A full data plane: the first connection is within a head, the last of the others has sent `in_head`, and all the rest
/// have a request in progress.
async fn full(origin: &Origin, in_head: &[u8]) -> (Plane, Client, Vec<Client>) {
    let plane = Plane::with(few).await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    let mut busy = Vec::new();
    for n in 2..PLACES {
        let mut client = plane.client().await;
        client
            .send(format!("GET /held/{n} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
            .await;
        busy.push(client);
    }
    origin.reached(PLACES - 2).await;
    let mut oldest = plane.client().await;
    let mut next = plane.client().await;
    for (client, beginning) in [
        (&mut oldest, &b"GET /stored HTTP/1.1\r\nHost: "[..]),
        (&mut next, in_head),
    ] {
        // One write: when the first is answered, the worker has the beginning of the second.
        let first = b"GET /stored HTTP/1.1\r\nHost: shop.test\r\n\r\n";
        client.send([first, beginning].concat()).await;
        assert_eq!(client.response("GET").await.status, 200);
    }
    busy.push(next);
    (plane, oldest, busy)
}

#[tokio::test]
async fn when_none_is_idle_who_owes_the_rest_of_a_head_for_the_longest_time_goes() {
    let origin = origin().await;
    let (plane, mut oldest, mut others) = full(&origin, b"GET /stored HTTP/1.1\r\nHost: ").await;
    let mut newcomer = plane.client().await;
    assert_eq!(newcomer.get("shop.test", "/stored", "").await.status, 200);
    oldest.closed().await;
    assert_eq!(plane.metric(&refused("heads")).await, 1.0);
    assert_eq!(plane.metric(EVICTED).await, 1.0);
    let mut next = others.pop().unwrap();
    next.send("shop.test\r\n\r\n").await;
    assert_eq!(
        next.response("GET").await.status,
        200,
        "the younger one keeps its place"
    );
}

#[tokio::test]
async fn the_idle_go_before_those_within_a_head() {
    let origin = origin().await;
    let (plane, mut oldest, mut others) = full(&origin, b"GET /stored HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    let mut idle = others.pop().unwrap();
    assert_eq!(idle.response("GET").await.status, 200);
    let mut newcomer = plane.client().await;
    assert_eq!(newcomer.get("shop.test", "/stored", "").await.status, 200);
    idle.closed().await;
    assert_eq!(plane.metric(&refused("heads")).await, 0.0);
    oldest.send("shop.test\r\n\r\n").await;
    assert_eq!(oldest.response("GET").await.status, 200);
}

#[tokio::test]
async fn a_connection_of_http2_within_a_frame_goes_unless_it_has_requests_in_progress() {
    let origin = origin().await;
    let plane = Plane::with(few).await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    let mut busy = Http2::connect(plane.address(), &[]).await;
    busy.get("/held").await;
    origin.reached(1).await;
    let mut silent = Http2::connect(plane.address(), &[]).await;
    let half = frame(
        HEADERS,
        http2::END | http2::END_HEADERS,
        3,
        &block(&http2::head("GET", "shop.test", "/stored")),
    );
    for client in [&mut busy, &mut silent] {
        assert!(client.ping().await);
        client.write(&half[..20]).await;
    }
    let mut held = Vec::new();
    for n in 2..PLACES {
        let mut client = plane.client().await;
        client
            .send(format!("GET /held/{n} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
            .await;
        held.push(client);
    }
    origin.reached(PLACES - 1).await;
    let mut newcomer = plane.client().await;
    assert_eq!(newcomer.get("shop.test", "/stored", "").await.status, 200);
    assert_eq!(silent.closed().await, Some(0), "it is told");
    assert_eq!(plane.metric(&refused("heads")).await, 1.0);
    busy.write(&half[20..]).await;
    assert_eq!(busy.answer(3).await.status, 200);
}

#[tokio::test]
async fn who_says_nothing_before_its_handshake_keeps_nobody_out() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = Plane::with(|options| {
        few(options);
        options.listen.push(secure_listen());
    })
    .await;
    let mut site = edge_cache(origin.address);
    site.tls = Some(tls(&["shop.test"], "secret"));
    plane
        .apply(objects([
            ("site", Unit::EdgeCache(site)),
            ("secret", Unit::Certificate(authority.secret(&["shop.test"]))),
        ]))
        .await;
    let mut silent = Vec::new();
    for _ in 0..PLACES / 2 {
        silent.push(Client::connect(plane.secure_address()).await);
    }
    until("all to begin", async || {
        (plane.metric("breakwater_connections_beginning").await == (PLACES / 2) as f64).then_some(())
    })
    .await;
    let mut newcomer = Dialer::new(&authority).connect(&plane, "shop.test").await;
    assert_eq!(newcomer.get("shop.test", "/stored", "").await.status, 200);
    // The oldest went, and nobody else.
    silent.remove(0).closed().await;
    plane.metric_reaches(&refused("handshakes"), 1.0).await;
    let beginning = plane.metric("breakwater_connections_beginning").await;
    assert_eq!(beginning, (PLACES / 2 - 1) as f64);
    let last = silent.pop().unwrap();
    let mut last = Dialer::new(&authority).over(last.stream, "shop.test").await.unwrap();
    assert_eq!(last.get("shop.test", "/stored", "").await.status, 200);
}
