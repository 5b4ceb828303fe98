//! What an idle connection costs. In a process of its own, so that nothing else allocates meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/support.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use all of it")]
#[expect(unused_imports, reason = "shared with the other tests, which use all of it")]
mod support;

use breakwater_snapshot::unit::Unit;
use support::{Client, Origin, Plane, answer, edge_cache, objects};

const CONNECTIONS: usize = 2_000;

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// The figure holds both ends: for each connection the data plane's side, and of the client only a file descriptor in a
/// list made before the first measurement; socket buffers are the kernel's and not resident memory. Each connection has
/// had a miss or a hit answered before it idles.
#[tokio::test]
async fn two_thousand_idle_connections_cost_less_than_two_kibibytes_each() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=3600\r\n", "x")).await;
    let plane = Plane::start().await;
    plane
        .apply(objects([("site", Unit::EdgeCache(edge_cache(origin.address)))]))
        .await;
    let mut idle: Vec<Option<std::net::TcpStream>> = Vec::new();
    idle.resize_with(CONNECTIONS, || None);
    // Everything that is made once: workers' buffers, tables, the test's own.
    open_and_ask(&plane, &mut idle[..50]).await;
    idle.fill_with(|| None);
    let state = format!(
        "breakwater_connections{{listener=\"{}\",state=\"idle\"}}",
        plane.address()
    );
    plane.metric_reaches(&state, 0.0).await;
    let before = resident();
    open_and_ask(&plane, &mut idle).await;
    plane.metric_reaches(&state, CONNECTIONS as f64).await;
    let each = resident().saturating_sub(before) / CONNECTIONS;
    assert!(each < 2048, "an idle connection costs {each} bytes of resident memory");
}

async fn open_and_ask(plane: &Plane, into: &mut [Option<std::net::TcpStream>]) {
    for (n, slot) in into.iter_mut().enumerate() {
        let mut client = Client::connect(plane.address()).await;
        let target = if n % 20 == 0 { "/passed?x" } else { "/stored" };
        assert_eq!(client.get("shop.test", target, "").await.status, 200);
        *slot = Some(client.stream.into_std().unwrap());
    }
}
