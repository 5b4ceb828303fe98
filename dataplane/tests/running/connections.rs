//! Connections of clients: how many, how they end, and what becomes of requests whose client leaves.

use crate::support::{Client, Origin, Plane, answer, edge_cache, objects, until, within};
use breakwater_snapshot::unit::Unit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A data plane of 64 places, with as many connections that each have a request in progress; what is sent lets the
/// origin answer the requests from that number on.
async fn full() -> (Plane, Origin, Vec<Client>, tokio::sync::watch::Sender<usize>) {
    let (release, released) = tokio::sync::watch::channel(64);
    let origin = Origin::raw(move |mut peer| {
        let mut released = released.clone();
        async move {
            while let Some(request) = peer.request().await {
                let number: usize = request.target()[1..].parse().unwrap();
                if released.wait_for(|from| number >= *from).await.is_ok() {
                    peer.send(answer(200, "", "x")).await;
                }
            }
        }
    })
    .await;
    let plane = Plane::with(|options| {
        options.max_connections = 64;
        options.max_connections_per_client = Some(65);
    })
    .await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    let mut open = Vec::new();
    for n in 0..64 {
        let mut client = plane.client().await;
        client
            .send(format!("GET /{n} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
            .await;
        open.push(client);
    }
    origin.reached(64).await;
    (plane, origin, open, release)
}

#[tokio::test]
async fn when_none_is_idle_connections_beyond_the_most_are_closed_and_counted() {
    let (plane, _origin, mut open, release) = full().await;
    plane.client().await.closed().await;
    assert_eq!(
        plane.metric("breakwater_refused_total{reason=\"connections\"}").await,
        1.0
    );
    release.send(63).unwrap();
    let mut last = open.pop().unwrap();
    assert_eq!(last.response("GET").await.status, 200);
    drop(last);
    let mut newcomer = plane.client().await;
    assert_eq!(newcomer.get("shop.test", "/99", "").await.status, 200);
}

#[tokio::test]
async fn a_full_table_closes_the_connection_that_is_idle_for_the_longest_time() {
    let (plane, _origin, mut open, release) = full().await;
    let mut idle = Vec::new();
    for n in [63, 62] {
        release.send(n).unwrap();
        let mut client = open.pop().unwrap();
        assert_eq!(client.response("GET").await.status, 200);
        idle.push(client);
    }
    let mut newcomer = plane.client().await;
    assert_eq!(newcomer.get("shop.test", "/99", "").await.status, 200);
    idle[0].closed().await;
    assert_eq!(plane.metric("breakwater_connections_evicted_total").await, 1.0);
    assert_eq!(idle[1].get("shop.test", "/99", "").await.status, 200);
}

#[tokio::test]
async fn one_client_has_only_its_share_over_all_workers() {
    let plane = Plane::with(|options| {
        options.workers = 3;
        options.max_connections_per_client = Some(3);
    })
    .await;
    plane.apply(Vec::new()).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut client = plane.client().await;
        assert_eq!(client.get("shop.test", "/", "").await.status, 404);
        open.push(client);
    }
    plane.client().await.closed().await;
    let series = "breakwater_refused_total{reason=\"connections_per_client\"}";
    assert_eq!(plane.metric(series).await, 1.0);
    open.pop();
    until("a place", async || {
        let mut client = plane.client().await;
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
        client.try_response("GET").await
    })
    .await;
}

#[tokio::test]
async fn a_connection_in_use_learns_of_the_drain_from_an_answer_and_not_from_a_reset() {
    let plane = Plane::start().await;
    plane.apply(Vec::new()).await;
    let mut client = plane.client().await;
    assert_eq!(client.get("shop.test", "/", "").await.status, 404);
    let data = std::sync::Arc::clone(&plane.data);
    let drained = tokio::spawn(async move { data.drain(std::time::Duration::from_secs(20)).await });
    until("the drain to begin", async || (!plane.data.ready()).then_some(())).await;
    let last = client.get("shop.test", "/", "").await;
    assert_eq!((last.status, last.field("connection")), (404, Some("close")));
    client.closed().await;
    within("the drain", drained).await.unwrap();
}

#[tokio::test]
async fn a_data_plane_that_was_drained_takes_no_connections() {
    let plane = Plane::start().await;
    plane.apply(Vec::new()).await;
    let address = plane.address();
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("shop.test", "/", "").await.status, 404);
    plane.data.drain(std::time::Duration::from_secs(20)).await;
    client.closed().await;
    until("the port to be closed", async || {
        tokio::net::TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_does_not_look_complete_to_the_origin() {
    for (framing, start) in [
        ("Content-Length: 100", "only the beginning"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhel"),
    ] {
        let (left, mut reached) = tokio::sync::mpsc::channel(1);
        let origin = Origin::raw(move |mut peer| {
            let left = left.clone();
            async move {
                peer.only_head().await;
                left.send(peer.rest().await).await.unwrap();
            }
        })
        .await;
        let plane = Plane::before(&origin).await;
        let mut client = plane.client().await;
        client
            .send(format!(
                "POST /a HTTP/1.1\r\nHost: shop.test\r\n{framing}\r\n\r\n{start}"
            ))
            .await;
        origin.reached(1).await;
        drop(client);
        let body = within("the upload to be cut", reached.recv()).await.unwrap();
        assert!(
            body.len() < 100 && !body.ends_with(b"0\r\n\r\n"),
            "{framing}: {}",
            body.escape_ascii()
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_a_download_is_counted_as_gone() {
    let origin = Origin::fixed(answer(200, "Cache-Control: no-store\r\n", vec![b'x'; 50 << 20])).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status, 200);
    drop(client);
    let series = "breakwater_requests_total{resource=\"EdgeCache/default/site\",code=\"499\"}";
    plane.metric_reaches(series, 1.0).await;
    let idle = format!(
        "breakwater_connections{{listener=\"{}\",state=\"idle\"}}",
        plane.address()
    );
    plane.metric_reaches(&idle, 0.0).await;
}

/// What a client may send before it leaves.
const BEGINNINGS: [&str; 8] = [
    "",
    "GET /stored HT",
    "GET /stored HTTP/1.1\r\nHost: shop.test\r\n\r\n",
    "GET /large HTTP/1.1\r\nHost: shop.test\r\n\r\n",
    "GET /cut HTTP/1.1\r\nHost: shop.test\r\n\r\n",
    "POST /large HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10\r\n\r\n12345",
    "POST /a HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12",
    "GET /large HTTP/1.1\r\nHost: shop.test\r\n\r\nGET /large HTTP/1.1\r\nHost: shop.test\r\n\r\n",
];

#[tokio::test]
async fn clients_that_leave_at_any_time_leave_nothing_behind() {
    let origin = Origin::raw(async |mut peer| {
        while let Some(request) = peer.request().await {
            match request.target() {
                "/cut" => return peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await,
                "/large" => peer.send(answer(200, "", vec![b'x'; 1 << 20])).await,
                _ => peer.send(answer(200, "Cache-Control: max-age=60\r\n", "x")).await,
            }
        }
    })
    .await;
    let plane = Plane::with_workers(2).await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    for round in 0..60 {
        let mut leaving = tokio::task::JoinSet::new();
        for (n, beginning) in BEGINNINGS.into_iter().enumerate() {
            let address = plane.address();
            leaving.spawn(async move {
                let mut client = Client::connect(address).await;
                client.send(beginning).await;
                // Some leave at once, some within the answer, some after it.
                match (round + n) % 3 {
                    0 => {}
                    1 => tokio::task::yield_now().await,
                    _ if beginning.starts_with("GET") && beginning.ends_with("\r\n\r\n") => {
                        let most = if beginning.contains("/large") {
                            round * 10_000
                        } else {
                            20
                        };
                        client.take(most).await;
                    }
                    _ => {}
                }
            });
        }
        within("clients to leave", leaving.join_all()).await;
    }
    for state in ["active", "idle", "websocket"] {
        let series = format!(
            "breakwater_connections{{listener=\"{}\",state=\"{state}\"}}",
            plane.address()
        );
        plane.metric_reaches(&series, 0.0).await;
    }
    plane.metric_reaches("breakwater_cache_fill_bytes", 0.0).await;
    assert_eq!(plane.metric("breakwater_worker_restarts_total").await, 0.0);
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, 200);
}

#[tokio::test]
async fn a_client_that_never_closes_is_let_go_in_the_end() {
    let plane = Plane::running([]).await;
    let mut refused = plane.client().await;
    refused.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(refused.response("GET").await.status, 400);
    let mut served = plane.client().await;
    let response = served.get("shop.test", "/", "Connection: close\r\n").await;
    assert_eq!(response.status, 404);
    let mut silent = plane.client().await;
    silent.send("GET / HTTP/1.1\r\n").await;
    assert_eq!(silent.response("GET").await.status, 408);
    let idle = format!(
        "breakwater_connections{{listener=\"{}\",state=\"idle\"}}",
        plane.address()
    );
    plane.metric_reaches(&idle, 0.0).await;
    refused.closed().await;
    served.closed().await;
    silent.closed().await;
}

#[tokio::test]
async fn a_body_that_trickles_in_is_refused_and_counted() {
    let origin = Origin::raw(async |mut peer| {
        peer.only_head().await;
        peer.rest().await;
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let (mut reading, mut writing) = client.stream.split();
    writing
        .write_all(b"POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1000000\r\n\r\n")
        .await
        .unwrap();
    let trickle = async {
        let mut second = tokio::time::interval(std::time::Duration::from_secs(1));
        loop {
            second.tick().await;
            // Once it is refused, whether this is taken says nothing.
            let _ = writing.write_all(b"x").await;
        }
    };
    let mut answer = [0; 12];
    tokio::select! {
        read = within("the refusal", reading.read_exact(&mut answer)) => drop(read.unwrap()),
        () = trickle => {}
    }
    assert_eq!(answer.as_slice(), b"HTTP/1.1 408");
    assert_eq!(
        plane.metric("breakwater_refused_total{reason=\"body_rate\"}").await,
        1.0
    );
}

#[tokio::test]
async fn connections_are_counted_by_the_address_that_they_came_to() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let plane = Plane::with(|options| {
        options.listen = vec![any.into(), any.into()];
        options.workers = 2;
    })
    .await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    let [first, second] = [0, 1].map(|index| plane.data.addresses()[index]);
    let mut open = Vec::new();
    for address in [first, second, second, second] {
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
        open.push(client);
    }
    let idle = |address| format!("breakwater_connections{{listener=\"{address}\",state=\"idle\"}}");
    plane.metric_reaches(&idle(first), 1.0).await;
    plane.metric_reaches(&idle(second), 3.0).await;
    open.truncate(2);
    plane.metric_reaches(&idle(second), 1.0).await;
    for (address, n) in [(first, 1.0), (second, 3.0)] {
        let accepted = format!("breakwater_connections_accepted_total{{listener=\"{address}\"}}");
        assert_eq!(plane.metric(&accepted).await, n);
    }
}
