//! What an idle connection with TLS 1.3 costs. In a process of its own, so that nothing else allocates meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/support.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use all of it")]
#[expect(unused_imports, reason = "shared with the other tests, which use all of it")]
mod support;

use breakwater_snapshot::unit::Unit;
use support::{Authority, Dialer, Origin, Plane, answer, edge_cache, objects, secure_listen, tls};

const CONNECTIONS: usize = 1_000;

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// As for connections in clear text, the client keeps nothing but its socket: its TLS session is dropped once it has an
/// answer.
#[tokio::test]
async fn a_thousand_idle_connections_with_tls_cost_less_than_nine_kibibytes_each() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=3600\r\n", "x")).await;
    let authority = Authority::new();
    let mut site = edge_cache(origin.address);
    site.tls = Some(tls(&["*"], "secret"));
    let plane = Plane::with(|options| options.listen = vec![secure_listen()]).await;
    plane
        .apply(objects([
            ("site", Unit::EdgeCache(site)),
            ("secret", Unit::Certificate(authority.secret(&["shop.test"]))),
        ]))
        .await;
    let dialer = Dialer::with(&authority, &[&rustls::version::TLS13], None)
        .change(|config| config.resumption = rustls::client::Resumption::disabled());
    let mut idle: Vec<Option<std::net::TcpStream>> = Vec::new();
    idle.resize_with(CONNECTIONS, || None);
    // Everything that is made once: workers' buffers, tables, the test's own.
    open_and_ask(&plane, &dialer, &mut idle[..50]).await;
    idle.fill_with(|| None);
    let state = format!(
        "breakwater_connections{{listener=\"{}\",state=\"idle\"}}",
        plane.address()
    );
    plane.metric_reaches(&state, 0.0).await;
    let before = resident();
    open_and_ask(&plane, &dialer, &mut idle).await;
    plane.metric_reaches(&state, CONNECTIONS as f64).await;
    let each = resident().saturating_sub(before) / CONNECTIONS;
    println!("{each} bytes of resident memory for each idle connection with TLS 1.3");
    assert!(
        each < 9 * 1024,
        "an idle connection with TLS costs {each} bytes of resident memory"
    );
}

async fn open_and_ask(plane: &Plane, dialer: &Dialer, into: &mut [Option<std::net::TcpStream>]) {
    for (n, slot) in into.iter_mut().enumerate() {
        let mut client = dialer.try_connect(plane.address(), "shop.test").await.unwrap();
        let target = if n % 20 == 0 { "/passed?x" } else { "/stored" };
        assert_eq!(client.get("shop.test", target, "").await.status, 200);
        let (stream, session) = client.stream.into_inner();
        drop(session);
        *slot = Some(stream.into_std().unwrap());
    }
}
