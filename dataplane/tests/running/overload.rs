//! Overload and death: what is refused when a worker is late or memory is short, what is served all the same, and what
//! becomes of a worker that dies.

use std::time::Duration;

use breakwater_snapshot::unit::Unit;

use crate::support::{Client, Origin, Plane, answer, edge_cache, objects, until, within};

const OVERLOAD: &str = "breakwater_refused_total{reason=\"overload\"}";

/// Whether a new connection is served; a reset may come at any time.
async fn serves(plane: &Plane) -> bool {
    let Ok(stream) = tokio::net::TcpStream::connect(plane.address()).await else {
        return false;
    };
    let mut client = Client::over(stream);
    let request = "GET /stored HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let sent = tokio::io::AsyncWriteExt::write_all(&mut client.stream, request.as_bytes()).await;
    sent.is_ok() && client.try_response("GET").await.is_some()
}

/// Waits until a connection is refused.
async fn refused(plane: &Plane) {
    until("a connection to be refused", async || {
        (!serves(plane).await).then_some(())
    })
    .await;
}

/// A data plane with one response stored, and a connection that stays.
async fn with_a_stored_response() -> (Plane, Origin, Client) {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=600\r\n", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/stored", "").await;
    assert!(client.get("shop.test", "/stored", "").await.is_hit());
    (plane, origin, client)
}

/// Hits are served, misses refused with a time to come back, and the origin is not asked.
async fn only_hits_are_served(origin: &Origin, client: &mut Client) {
    let asked = origin.count();
    assert!(client.get("shop.test", "/stored", "").await.is_hit());
    let miss = client.get("shop.test", "/other", "").await;
    assert_eq!((miss.status, miss.field("retry-after")), (503, Some("1")));
    let posted = client
        .ask("POST", "shop.test", "/stored", "Content-Length: 0\r\n", b"")
        .await;
    assert_eq!(posted.status, 503);
    assert!(client.get("shop.test", "/stored", "").await.is_hit());
    assert_eq!(origin.count(), asked);
}

#[tokio::test]
async fn a_late_worker_refuses_connections_and_misses_but_no_hit() {
    let (plane, origin, mut client) = with_a_stored_response().await;
    plane.data.pretend_lag(Duration::from_millis(700));
    refused(&plane).await;
    // Both marks are passed at the same moment.
    only_hits_are_served(&origin, &mut client).await;
    assert!(plane.metric("breakwater_worker_lag_seconds").await >= 0.2);
    assert!(plane.metric(OVERLOAD).await >= 3.0);
    plane.data.pretend_lag(Duration::ZERO);
    let served = until("the end of it", async || {
        let miss = client.get("shop.test", "/new", "").await;
        (miss.status == 200).then_some(miss)
    })
    .await;
    assert_eq!(served.status, 200);
    until("connections to be taken", async || serves(&plane).await.then_some(())).await;
}

#[tokio::test]
async fn a_little_late_it_refuses_connections_and_serves_misses() {
    let (plane, _origin, mut client) = with_a_stored_response().await;
    plane.data.pretend_lag(Duration::from_millis(300));
    refused(&plane).await;
    assert_eq!(client.get("shop.test", "/other", "").await.status, 200);
}

#[tokio::test]
async fn short_of_memory_it_gives_some_back_then_refuses_what_takes_more_and_serves_what_it_has() {
    const STORED: &str = "breakwater_cache_bytes{tier=\"ram\"}";
    let body = vec![b'x'; 4096];
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=600\r\n", body)).await;
    let plane = Plane::with(|options| options.memory = 1 << 20).await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    let mut client = plane.client().await;
    for n in 0..100 {
        assert_eq!(client.get("shop.test", &format!("/{n}"), "").await.status, 200);
    }
    let stored = plane.metric(STORED).await;
    plane.data.pretend_memory(91);
    let left = plane.metric(STORED).await;
    assert!(left < stored && left > 0.0, "{left} of {stored}");
    assert_eq!(client.get("shop.test", "/new", "").await.status, 200);
    plane.data.pretend_memory(96);
    let asked = origin.count();
    let mut hits = 0;
    for n in 0..100 {
        let response = client.get("shop.test", &format!("/{n}"), "").await;
        assert!(response.is_hit() || response.status == 503, "{response:?}");
        hits += usize::from(response.is_hit());
    }
    assert!(hits > 0 && hits < 100, "{hits} hits");
    assert_eq!(origin.count(), asked);
    refused(&plane).await;
    plane.data.pretend_memory(50);
    assert_eq!(client.get("shop.test", "/newer", "").await.status, 200);
    assert_eq!(plane.client().await.get("shop.test", "/newer", "").await.status, 200);
}

/// Connections, each with a request answered, and the worker it is with.
async fn spread(plane: &Plane, count: usize) -> Vec<(Client, usize)> {
    let mut open = Vec::new();
    let mut before = [0.0; 2];
    for _ in 0..count {
        let mut client = plane.client().await;
        assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
        let now = connections(plane).await;
        let worker = usize::from(now[1] > before[1]);
        before = now;
        open.push((client, worker));
    }
    open
}

async fn connections(plane: &Plane) -> [f64; 2] {
    let of = async |n: usize| {
        plane
            .metric(&format!("breakwater_worker_connections{{worker=\"{n}\"}}"))
            .await
    };
    [of(0).await, of(1).await]
}

#[tokio::test]
async fn a_worker_that_dies_is_replaced_within_a_second_and_the_other_is_unmoved() {
    let origin = Origin::fixed(answer(200, "Cache-Control: no-store\r\n", "x")).await;
    let plane = Plane::with_workers(2).await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    let open = spread(&plane, 32).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut of_the_dead = 0;
    let mut loads = tokio::task::JoinSet::new();
    for (mut client, worker) in open {
        if worker == 0 {
            of_the_dead += 1;
            loads.spawn(async move {
                // Until the worker is gone, and the connection with it.
                loop {
                    let _ = tokio::io::AsyncWriteExt::write_all(
                        &mut client.stream,
                        b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n",
                    )
                    .await;
                    match client.try_response("GET").await {
                        Some(response) => assert_eq!(response.status, 200),
                        None => return,
                    }
                }
            });
        } else {
            let stopped = stopped.clone();
            loads.spawn(async move {
                while !*stopped.borrow() {
                    assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
                }
            });
        }
    }
    assert!(of_the_dead > 0 && of_the_dead < 32, "the kernel spreads connections");
    plane.data.break_worker(0);
    plane.metric_reaches("breakwater_worker_restarts_total", 1.0).await;
    for _ in 0..of_the_dead {
        within("its connections to end", loads.join_next())
            .await
            .unwrap()
            .unwrap();
    }
    let died = std::time::Instant::now();
    until("the replacement to serve", async || {
        let mut client = plane.client().await;
        assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
        (connections(&plane).await[0] > 0.0).then_some(())
    })
    .await;
    assert!(died.elapsed() < Duration::from_secs(1), "{:?}", died.elapsed());
    assert!(plane.data.ready());
    stop.send(true).unwrap();
    while let Some(load) = loads.join_next().await {
        load.unwrap();
    }
}

#[tokio::test]
async fn a_worker_with_too_many_connections_hands_new_ones_over() {
    let plane = Plane::with(|options| {
        options.workers = 2;
        options.max_connections_per_client = Some(2000);
    })
    .await;
    plane.apply(Vec::new()).await;
    let mut kept = Vec::new();
    let mut before = connections(&plane).await;
    // All that the kernel gives to the other worker is closed again, so that they pile up at one.
    while plane.metric("breakwater_connections_handed_over_total").await == 0.0 {
        assert!(kept.len() < 400, "nothing was handed over");
        let mut client = plane.client().await;
        assert_eq!(client.get("shop.test", "/", "").await.status, 404);
        let now = connections(&plane).await;
        if now[0] > before[0] {
            kept.push(client);
            before = now;
        } else {
            drop(client);
            until("it to be gone", async || {
                (connections(&plane).await[1] == 0.0).then_some(())
            })
            .await;
        }
    }
    assert!(kept.len() > 64, "few are never moved: {}", kept.len());
    let mut served = plane.client().await;
    assert_eq!(served.get("shop.test", "/", "").await.status, 404);
}

#[tokio::test]
async fn what_waits_to_be_accepted_when_a_drain_begins_is_served() {
    let plane = Plane::start().await;
    plane.apply(Vec::new()).await;
    let mut waiting = Vec::new();
    for _ in 0..64 {
        // Asked before: who is idle in a drain has a second to ask, which a busy machine may take.
        let mut client = plane.client().await;
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
        waiting.push(client);
    }
    let data = std::sync::Arc::clone(&plane.data);
    let drain = tokio::spawn(async move { data.drain(Duration::from_secs(20)).await });
    until("the drain to begin", async || (!plane.data.ready()).then_some(())).await;
    for mut client in waiting {
        assert_eq!(client.response("GET").await.status, 404);
    }
    within("the drain", drain).await.unwrap();
}
