//! What is known of nodes, by sentence.

use super::*;
use breakwater_snapshot::{Kind, ObjectId};

const MEMORY: Duration = Duration::from_secs(90);

fn ack(node: &str, rejected: usize) -> Ack {
    Ack {
        node: node.to_owned(),
        manifest: Digest::of(b"m"),
        rejected: (0..rejected)
            .map(|n| Rejection {
                id: ObjectId::new(Kind::WafPolicy, "default", n.to_string()),
                message: "é".repeat(400),
            })
            .collect(),
        prefetch: Vec::new(),
        peer: None,
        crs: None,
    }
}

#[test]
fn another_version_of_the_core_rule_set_is_news_and_a_long_one_is_cut() {
    let now = Instant::now();
    let mut nodes = Nodes::new(10, 10, 10, MEMORY);
    let mut say = |crs: &str| {
        let crs = Some(crs.to_owned());
        nodes.ack(Ack { crs, ..ack("a", 0) }, now).unwrap();
        let view = nodes.view("r", now);
        match view.nodes.first().map(|node| &node.state) {
            Some(NodeState::Running { crs, .. }) => (view.version, crs.clone().unwrap_or_default()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(say("4"), (1, "4".to_owned()));
    assert_eq!(say("4"), (1, "4".to_owned()));
    let (version, long) = say(&"5".repeat(1000));
    assert_eq!((version, long.chars().count()), (2, LONGEST_VERSION + 1));
}

#[test]
fn where_a_node_may_be_asked_is_what_it_said_last() {
    let now = Instant::now();
    let mut nodes = Nodes::new(10, 10, 10, MEMORY);
    let at = Some(PeerAddress {
        address: ([192, 0, 2, 1], 8602).into(),
    });
    let peer = |nodes: &Nodes| nodes.peers(now).pop().map(|word| word.at);
    nodes.touch("a", now).unwrap();
    assert_eq!((peer(&nodes), nodes.peers_version), (None, 0));
    nodes
        .ack(
            Ack {
                peer: at.clone(),
                ..ack("a", 0)
            },
            now,
        )
        .unwrap();
    nodes.touch("a", now).unwrap();
    assert_eq!((peer(&nodes), nodes.peers_version), (Some(at), 1));
    nodes.ack(ack("a", 1), now).unwrap();
    assert_eq!((peer(&nodes), nodes.peers_version), (Some(None), 2));
    nodes.leave("a", now).unwrap();
    assert_eq!((peer(&nodes), nodes.peers_version), (Some(None), 2));
}

#[test]
fn a_silent_node_is_forgotten() {
    let start = Instant::now();
    let mut nodes = Nodes::new(10, 10, 10, MEMORY);
    nodes.ack(ack("a", 0), start).unwrap();
    nodes.touch("a", start + MEMORY / 2).unwrap();
    assert_eq!(nodes.view("me", start + MEMORY).nodes.len(), 1);
    assert_eq!(nodes.view("me", start + MEMORY * 2).nodes.len(), 0);
}

#[test]
fn only_news_raises_the_version() {
    let now = Instant::now();
    let mut nodes = Nodes::new(10, 10, 10, MEMORY);
    nodes.ack(ack("a", 0), now).unwrap();
    assert_eq!(nodes.version, 1);
    nodes.ack(ack("a", 0), now + MEMORY / 3).unwrap();
    nodes.touch("a", now + MEMORY / 3).unwrap();
    assert_eq!(nodes.version, 1);
    nodes.ack(ack("a", 1), now + MEMORY / 3).unwrap();
    assert_eq!(nodes.version, 2);
    nodes.leave("a", now + MEMORY / 3).unwrap();
    assert_eq!(nodes.version, 3);
}

#[test]
fn a_full_table_takes_a_new_node_only_in_place_of_a_forgotten_one() {
    let now = Instant::now();
    let mut nodes = Nodes::new(2, 10, 10, MEMORY);
    nodes.touch("a", now).unwrap();
    nodes.touch("b", now + MEMORY / 2).unwrap();
    assert_eq!(nodes.touch("c", now + MEMORY / 2), Err(NodesError::Full(2)));
    nodes.touch("c", now + MEMORY).unwrap();
    assert_eq!(nodes.known(now + MEMORY), 2);
}

#[test]
fn rejections_past_the_limits_are_counted_and_messages_are_cut() {
    let now = Instant::now();
    let mut nodes = Nodes::new(10, 3, 4, MEMORY);
    nodes.ack(ack("a", 5), now).unwrap();
    nodes.ack(ack("b", 5), now).unwrap();
    let kept: Vec<_> = nodes
        .view("me", now)
        .nodes
        .into_iter()
        .map(|node| match node.state {
            NodeState::Running {
                rejected,
                rejected_more,
                ..
            } => {
                assert!(rejected.iter().all(|r| r.message.len() <= LONGEST_MESSAGE + 3));
                (rejected.len(), rejected_more)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kept, [(3, 2), (1, 4)]);
}

#[test]
fn what_is_no_node_name_is_refused() {
    let mut nodes = Nodes::new(10, 3, 4, MEMORY);
    for bad in ["", "a b", "a/b", "a\n", &"x".repeat(254)] {
        assert_eq!(nodes.touch(bad, Instant::now()), Err(NodesError::Name), "{bad:?}");
    }
}

#[test]
fn a_node_that_left_and_returns_is_known_again() {
    let now = Instant::now();
    let mut nodes = Nodes::new(10, 3, 4, MEMORY);
    nodes.ack(ack("a", 0), now).unwrap();
    nodes.leave("a", now).unwrap();
    assert_eq!(nodes.known(now), 0);
    nodes.touch("a", now).unwrap();
    assert_eq!(nodes.known(now), 1);
    assert_eq!(nodes.view("me", now).nodes[0].state, NodeState::Starting);
}

fn prefetch(name: &str, fetched: u32, completed: Option<u64>) -> PrefetchProgress {
    PrefetchProgress {
        id: ObjectId::new(Kind::EdgeCache, "default", name),
        generation: 1,
        running: completed.is_none(),
        urls: 9,
        fetched,
        fresh: 0,
        failed: 0,
        completed,
        retry: None,
        failures: vec!["x".repeat(1000); 9],
    }
}

#[test]
fn counts_of_a_prefetch_are_kept_and_are_no_news() {
    let now = Instant::now();
    let mut nodes = Nodes::new(10, 10, 10, MEMORY);
    for (fetched, completed, version) in [(1, None, 1), (2, None, 1), (9, Some(5), 2), (9, Some(6), 3)] {
        let mut ack = ack("a", 0);
        ack.prefetch = vec![prefetch("shop", fetched, completed)];
        nodes.ack(ack, now).unwrap();
        assert_eq!(nodes.version, version);
        let NodeState::Running { prefetch, .. } = &nodes.view("me", now).nodes[0].state else {
            panic!("it runs");
        };
        assert_eq!((prefetch[0].fetched, prefetch[0].completed), (fetched, completed));
        assert_eq!(prefetch[0].failures.len(), PrefetchProgress::REASONS);
        assert!(
            prefetch[0]
                .failures
                .iter()
                .all(|text| text.len() <= LONGEST_MESSAGE + 3)
        );
    }
}

#[test]
fn no_node_says_more_of_prefetches_than_it_may() {
    let now = Instant::now();
    let mut nodes = Nodes::new(10, 10, 10, MEMORY);
    let mut ack = ack("a", 0);
    ack.prefetch = vec![prefetch("shop", 1, None); PrefetchProgress::MOST + 1];
    nodes.ack(ack, now).unwrap();
    let NodeState::Running { prefetch, .. } = &nodes.view("me", now).nodes[0].state else {
        panic!("it runs");
    };
    assert_eq!(prefetch.len(), PrefetchProgress::MOST);
}

#[test]
fn a_view_survives_json() {
    let now = Instant::now();
    let mut nodes = Nodes::new(10, 3, 4, MEMORY);
    nodes.ack(ack("a", 1), now).unwrap();
    nodes.leave("b", now).unwrap();
    nodes.touch("c", now).unwrap();
    let view = nodes.view("me", now);
    let text = serde_json::to_string(&view).unwrap();
    assert_eq!(serde_json::from_str::<NodesView>(&text).unwrap(), view);
}
