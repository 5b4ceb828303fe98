//! Nodes that fail each other: no request fails with them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use breakwater_snapshot::unit::Unit;
use breakwater_snapshot::{PeerAddress, Peers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{Client, Nodes, Origin, Way, answer, edge_cache, objects, owner_site, until, within};

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// Asks node 0 for many URLs at once; all of them have to be answered.
async fn ask_for_many(nodes: &Nodes, stem: &str, count: usize) {
    let mut asking = JoinSet::new();
    for n in 0..count {
        let mut client = nodes.0[0].client().await;
        let target = format!("/{stem}/{n}");
        asking.spawn(async move { client.get("shop.test", &target, "").await });
    }
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
    }
}

#[tokio::test]
async fn when_owners_are_gone_the_next_or_the_origin_is_asked_and_no_request_fails() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(4, owner_site(origin.address)).await;
    let mut peers = nodes.peers(|_| true);
    let mut ways = Vec::new();
    for n in 2..4 {
        let way = Way::to(nodes.0[n].data.peer_address().unwrap()).await;
        nodes.lead(&mut peers, n, &way);
        ways.push(way);
    }
    ask_for_many(&nodes, "before", 40).await;
    assert!(nodes.counted("out", "answered").await > 0.0);
    // Two of them go without a word, with connections to them open.
    drop(ways);
    ask_for_many(&nodes, "after", 40).await;
    assert!(nodes.counted("out", "unreachable").await > 0.0);
    let resting = nodes.0[0].metric("breakwater_peers{state=\"resting\"}").await;
    assert!(resting > 0.0, "who failed rests");
    let failures = nodes.counted("out", "unreachable").await;
    ask_for_many(&nodes, "rest", 40).await;
    let asked_in_vain = nodes.counted("out", "unreachable").await - failures;
    assert!(asked_in_vain < 40.0, "{asked_in_vain}");
}

#[tokio::test]
async fn an_owner_that_dies_before_it_answers_costs_no_answer() {
    let held = Arc::new(AtomicBool::new(true));
    let origin = Origin::start({
        let held = Arc::clone(&held);
        move |_| {
            let held = Arc::clone(&held);
            async move {
                // The first fetches, those of the owners, are never answered.
                if held.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                answer(200, FRESH, "x")
            }
        }
    })
    .await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    let way = Way::to(nodes.0[1].data.peer_address().unwrap()).await;
    nodes.lead(&mut nodes.peers(|_| false), 1, &way);
    let mut client = nodes.0[0].client().await;
    client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(1).await;
    held.store(false, Ordering::SeqCst);
    drop(way);
    let answer = client.response("GET").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
    assert_eq!(nodes.counted("out", "unreachable").await, 1.0);
}

#[tokio::test]
async fn an_owner_that_accepts_and_says_nothing_is_given_up() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(1, owner_site(origin.address)).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peers = nodes.peers(|_| false);
    let at = PeerAddress {
        address: silent.local_addr().unwrap(),
    };
    peers.members.insert("silent".to_owned(), at);
    nodes.0[0].data.set_peers(&peers);
    ask_for_many(&nodes, "a", 3).await;
    assert!(nodes.counted("out", "unreachable").await >= 1.0);
}

/// A way to `address` on which what is answered never ends: a byte comes now and then.
async fn way_that_drips(address: SocketAddr) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut relays = JoinSet::new();
    relays.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(address).await.unwrap();
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
            open.spawn(async move { drop(tokio::io::copy(&mut near_in, &mut far_out).await) });
            open.spawn(async move {
                let (mut seen, mut passed) = (Vec::new(), 0);
                // Nodes first prove who they are.
                let answer = loop {
                    if far_in.read_buf(&mut seen).await.is_ok_and(|n| n == 0) {
                        return;
                    }
                    if let Some(at) = memchr::memmem::find(&seen, b"HTTP/1.1") {
                        break at;
                    }
                    near_out.write_all(&seen[passed..]).await.unwrap();
                    passed = seen.len();
                };
                near_out.write_all(&seen[passed..answer]).await.unwrap();
                let mut next = "HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n";
                while near_out.write_all(next.as_bytes()).await.is_ok() {
                    next = "1\r\nx\r\n";
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
    });
    (at, relays)
}

#[tokio::test]
async fn a_node_that_is_told_and_never_ends_its_answer_is_given_up() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    let (address, _relays) = way_that_drips(nodes.0[1].data.peer_address().unwrap()).await;
    let mut peers = nodes.peers(|_| false);
    peers.members.insert("node-1".to_owned(), PeerAddress { address });
    nodes.0[0].data.set_peers(&peers);
    let mut client = nodes.0[0].client().await;
    let posted = client
        .ask("POST", "shop.test", "/a", "Content-Length: 0\r\n", b"")
        .await;
    assert_eq!(posted.status, 200);
    until("it to be given up", async || {
        (nodes.counted("out", "unreachable").await == 1.0).then_some(())
    })
    .await;
    assert_eq!(nodes.counted("in", "invalidated").await, 1.0);
}

#[tokio::test]
async fn nobody_is_heard_at_the_peer_listener_who_has_not_the_key() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(1, owner_site(origin.address)).await;
    let address = nodes.0[0].data.peer_address().unwrap();
    let letter = "v=1;resource=EdgeCache/default/site;client=192.0.2.1;from=192.0.2.1;trusted=1;secure=0;id=a";
    let mut stranger = Client::connect(address).await;
    let request = format!("GET /a HTTP/1.1\r\nHost: shop.test\r\nBreakwater-Peer: {letter}\r\n\r\n");
    stranger.send(request).await;
    assert!(within("the end", stranger.try_response("GET")).await.is_none());
    until("the refusal to be counted", async || {
        let counted = nodes.counted("in", "unauthenticated").await;
        let refused = nodes.0[0]
            .metric("breakwater_refused_total{reason=\"peer_handshake\"}")
            .await;
        (counted == 1.0 && refused == 1.0).then_some(())
    })
    .await;
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_node_with_another_key_is_not_answered_and_its_clients_are() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    let mut peers = nodes.peers(|_| true);
    peers.keys[0].secret = "77".repeat(32);
    nodes.0[0].data.set_peers(&peers);
    ask_for_many(&nodes, "a", 20).await;
    assert_eq!(origin.count(), 20);
    assert!(nodes.counted("out", "unreachable").await > 0.0);
    assert!(nodes.counted("in", "unauthenticated").await > 0.0);
}

#[tokio::test]
async fn what_a_client_says_in_the_field_of_nodes_is_passed_over() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    let letter = "v=1;resource=EdgeCache/default/site;client=192.0.2.1;from=192.0.2.1;trusted=1;secure=0;id=a";
    for n in 0..8 {
        let lines = format!("Breakwater-Peer: {letter}\r\n");
        let answer = nodes.0[0]
            .client()
            .await
            .get("shop.test", &format!("/{n}"), &lines)
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.count("breakwater-peer"), 0);
        let seen = origin.last();
        assert_eq!(seen.field("breakwater-peer"), None);
        assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    }
}

#[tokio::test]
async fn what_an_origin_says_in_the_field_of_nodes_is_passed_over() {
    let fields = format!("{FRESH}Breakwater-Peer: v=1;word=refused\r\n");
    let origin = Origin::fixed(answer(200, &fields, "x")).await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    for _ in 0..2 {
        ask_for_many(&nodes, "a", 16).await;
        ask_for_many(&nodes, "b", 16).await;
    }
    assert_eq!(origin.count(), 32);
    assert_eq!(nodes.counted("out", "refused").await, 0.0);
}

#[tokio::test]
async fn an_owner_with_another_configuration_refuses_and_the_origin_is_asked() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    nodes.0[1].apply(Vec::new()).await;
    ask_for_many(&nodes, "a", 20).await;
    assert_eq!(origin.count(), 20);
    assert!(nodes.counted("out", "refused").await > 0.0);
    assert!(nodes.counted("in", "refused").await > 0.0);
}

#[tokio::test]
async fn an_origin_that_fails_is_asked_once_for_all_nodes() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = dead.local_addr().unwrap();
    drop(dead);
    let nodes = Nodes::before(2, owner_site(address)).await;
    let mut statuses = Vec::new();
    for n in 0..16 {
        let answer = nodes.0[0].client().await.get("shop.test", &format!("/{n}"), "").await;
        statuses.push(answer.status);
    }
    assert!(statuses.iter().all(|status| *status == 502), "{statuses:?}");
    let failed = nodes.counted("out", "origin_failed").await;
    assert!(failed > 0.0);
    let errors = "breakwater_origin_requests_total{resource=\"EdgeCache/default/site\",code=\"error\"}";
    let own = nodes.0[0].metric(errors).await;
    let owners = nodes.0[1].metric(errors).await;
    assert_eq!((own + failed, owners), (16.0, failed));
}

#[tokio::test]
async fn a_site_without_owners_asks_nobody_but_the_origin() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(2, edge_cache(origin.address)).await;
    ask_for_many(&nodes, "a", 20).await;
    assert_eq!(nodes.counted("in", "answered").await, 0.0);
    nodes
        .apply(&objects([("site", Unit::EdgeCache(owner_site(origin.address)))]))
        .await;
    nodes.0.iter().for_each(|plane| plane.data.set_peers(&Peers::default()));
    ask_for_many(&nodes, "b", 20).await;
    assert_eq!(nodes.counted("in", "answered").await, 0.0);
    assert_eq!(origin.count(), 40);
}
