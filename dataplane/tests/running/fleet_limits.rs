//! Limits that hold across nodes.

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{Limit, RequestRate, Unit};

use crate::support::{Client, Nodes, Origin, Way, answer, edge_cache, id, limit, objects, until, waf_policy, within};

const HOUR_MS: u64 = 3_600_000;

fn per_hour(count: u32) -> Option<RequestRate> {
    Some(RequestRate {
        count,
        per_ms: HOUR_MS,
        burst: None,
    })
}

/// Nodes that know each other, before a site under one limit.
async fn nodes(count: usize, limit: Limit) -> (Origin, Nodes) {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let nodes = Nodes::before(count, edge_cache(origin.address)).await;
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.limits = vec![limit];
    let site = Unit::EdgeCache(edge_cache(origin.address));
    nodes
        .apply(&objects([("site", site), ("policy", Unit::WafPolicy(policy))]))
        .await;
    (origin, nodes)
}

async fn heard(nodes: &Nodes, node: usize, result: &str) -> f64 {
    let direction = if matches!(result, "taken" | "unknown") {
        "in"
    } else {
        "out"
    };
    let series = format!("breakwater_limit_fleet_clients_total{{direction=\"{direction}\",result=\"{result}\"}}");
    nodes.0[node].metric(&series).await
}

/// So many requests of one client, each of which passes.
async fn pass(client: &mut Client, count: usize) {
    for _ in 0..count {
        assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
    }
}

async fn status(nodes: &Nodes, node: usize) -> u16 {
    nodes.0[node].client().await.get("shop.test", "/a", "").await.status
}

/// Until `node` has heard all that was allowed so far at others, which was told once for each of them.
async fn until_heard(nodes: &Nodes, node: usize, least: f64) {
    until("a node to hear of the others", async || {
        (heard(nodes, node, "taken").await >= least).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_asks_three_nodes_in_turn_is_refused_by_all_after_the_limit_in_all() {
    let limit = Limit {
        requests: per_hour(6),
        fleet: true,
        ..limit("all")
    };
    let (_origin, nodes) = nodes(3, limit).await;
    for round in 0..2 {
        for node in 0..3 {
            assert_eq!(status(&nodes, node).await, 200, "{round}, {node}");
            for other in (0..3).filter(|other| *other != node) {
                // Each node has heard of every request that was not its own.
                let own = if other < node { round + 1 } else { round };
                until_heard(&nodes, other, f64::from(round * 3 + node as i32 + 1 - own)).await;
            }
        }
    }
    for node in 0..3 {
        assert_eq!(status(&nodes, node).await, 429, "{node}");
    }
    until("what was told of two requests to two nodes", async || {
        (heard(&nodes, 0, "sent").await == 4.0).then_some(())
    })
    .await;
    assert_eq!(heard(&nodes, 0, "failed").await, 0.0);
    // What is heard is not told on.
    assert_eq!(heard(&nodes, 0, "taken").await, 4.0);
}

#[tokio::test]
async fn a_limit_of_each_node_lets_a_client_have_it_at_each() {
    let limit = Limit {
        requests: per_hour(2),
        ..limit("each")
    };
    let (_origin, nodes) = nodes(2, limit).await;
    for node in 0..2 {
        let mut client = nodes.0[node].client().await;
        pass(&mut client, 2).await;
        assert_eq!(client.get("shop.test", "/a", "").await.status, 429);
    }
    assert!(!nodes.0[0].metrics().await.contains("limit_fleet_clients_total"));
}

#[tokio::test]
async fn new_connections_at_one_node_count_at_another() {
    let limit = Limit {
        new_connections: per_hour(2),
        fleet: true,
        ..limit("arrivals")
    };
    let (_origin, nodes) = nodes(2, limit).await;
    let mut first = nodes.0[0].client().await;
    pass(&mut first, 3).await;
    assert_eq!(status(&nodes, 0).await, 200);
    until("both to be told", async || {
        (heard(&nodes, 0, "sent").await >= 1.0 && status(&nodes, 1).await == 429).then_some(())
    })
    .await;
    pass(&mut first, 1).await;
}

#[tokio::test]
async fn when_a_node_does_not_answer_the_others_go_on_and_the_limit_holds_there_by_itself() {
    let limit = Limit {
        requests: per_hour(3),
        fleet: true,
        ..limit("all")
    };
    let (_origin, nodes) = nodes(3, limit).await;
    let mut peers = nodes.peers(|_| true);
    let way = Way::to(nodes.0[2].data.peer_address().unwrap()).await;
    nodes.lead(&mut peers, 2, &way);
    pass(&mut nodes.0[0].client().await, 1).await;
    until_heard(&nodes, 1, 1.0).await;
    until_heard(&nodes, 2, 1.0).await;
    drop(way);
    pass(&mut nodes.0[0].client().await, 1).await;
    until_heard(&nodes, 1, 2.0).await;
    until("the failure to be counted", async || {
        (heard(&nodes, 0, "failed").await >= 1.0).then_some(())
    })
    .await;
    // One is left here, and two where the second is not known of.
    for (node, left) in [(1, 1), (2, 2)] {
        let mut client = nodes.0[node].client().await;
        pass(&mut client, left).await;
        assert_eq!(client.get("shop.test", "/a", "").await.status, 429, "{node}");
    }
}

#[tokio::test]
async fn a_node_that_has_the_limit_not_counts_what_it_is_told_as_unknown() {
    let limit = Limit {
        requests: per_hour(3),
        fleet: true,
        ..limit("all")
    };
    let (origin, nodes) = nodes(2, limit.clone()).await;
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.limits = vec![Limit {
        requests: per_hour(4),
        ..limit
    }];
    let site = Unit::EdgeCache(edge_cache(origin.address));
    let other = objects([("site", site), ("policy", Unit::WafPolicy(policy))]);
    nodes.0[1].apply(other).await;
    pass(&mut nodes.0[0].client().await, 3).await;
    until("the other to be told", async || {
        (heard(&nodes, 1, "unknown").await >= 1.0).then_some(())
    })
    .await;
    pass(&mut nodes.0[1].client().await, 4).await;
}

#[tokio::test]
async fn what_a_stranger_or_a_client_tells_as_if_it_were_a_node_counts_for_nothing() {
    let limit = Limit {
        requests: per_hour(1),
        fleet: true,
        ..limit("all")
    };
    let (_origin, nodes) = nodes(1, limit).await;
    let address = nodes.0[0].data.peer_address().unwrap();
    let mut stranger = Client::connect(address).await;
    let value = "v=1;0000000000000001=7f000001*9";
    stranger
        .send(format!(
            "SPENT / HTTP/1.1\r\nHost: a\r\nBreakwater-Peer: {value}\r\n\r\n"
        ))
        .await;
    assert!(within("the end", stranger.try_response("GET")).await.is_none());
    // As a client it is a request like any other.
    let mut client = nodes.0[0].client().await;
    client
        .send(format!(
            "SPENT /a HTTP/1.1\r\nHost: shop.test\r\nBreakwater-Peer: {value}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.response("GET").await.status, 200);
    assert_eq!(heard(&nodes, 0, "taken").await + heard(&nodes, 0, "unknown").await, 0.0);
    assert_eq!(nodes.counted("in", "unauthenticated").await, 1.0);
}
