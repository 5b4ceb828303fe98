//! A follower against a publisher over real sockets: what a node and an operator do together, and what a node does
//! when the operator fails it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, http::StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use breakwater_dataplane::follow::{Config, FollowState, Follower, Sink};
use breakwater_operator::Metrics;
use breakwater_operator::publish::serve::{ServeLimits, serve};
use breakwater_operator::publish::{Limits, NodeState, Publisher, admin_router, router};
use breakwater_operator::status::peers::Peers as Replicas;
use breakwater_snapshot::unit::{CachePurge, PurgeMode, PurgeSelector, Unit};
use breakwater_snapshot::{
    Blob, Digest, Kind, Labels, ObjectId, PeerAddress, Peers, PrefetchProgress, Rejection, Snapshot,
};

/// Long enough for anything that is going to happen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_node_applies_what_is_published_and_the_operator_hears_of_it() {
    let operator = Operator::start(None, untouched()).await;
    let mut node = Node::start(operator.address, None);
    operator.publisher.publish(&snapshot([purge("a", 1)]));
    node.applied(&[("a", 1)]).await;
    operator.publisher.publish(&snapshot([purge("a", 2), purge("b", 1)]));
    node.applied(&[("a", 2), ("b", 1)]).await;
    let latest = snapshot([purge("a", 2), purge("b", 1)]).manifest().digest();
    operator.acked(latest, &[]).await;
    assert_eq!(node.stop().await, 2, "each manifest was applied once");
    operator.nodes(|states| matches!(states, [NodeState::Left])).await;
}

#[tokio::test]
async fn how_far_prefetching_is_reaches_the_operator_without_a_new_manifest() {
    let operator = Operator::start(None, untouched()).await;
    let (told, telling) = watch::channel(Arc::default());
    let mut node = Node::prefetching(operator.address, telling);
    operator.publisher.publish(&snapshot([purge("a", 1)]));
    node.applied(&[("a", 1)]).await;
    for completed in [None, Some(7)] {
        let progress = PrefetchProgress {
            id: ObjectId::new(Kind::EdgeCache, "default", "shop"),
            generation: 3,
            running: completed.is_none(),
            urls: 2,
            fetched: 2,
            fresh: 0,
            failed: 0,
            completed,
            retry: None,
            failures: Vec::new(),
        };
        told.send_replace(Arc::from([progress.clone()]));
        let heard =
            |state: &NodeState| matches!(state, NodeState::Running { prefetch, .. } if *prefetch == [progress.clone()]);
        operator.nodes(|states| states.iter().any(heard)).await;
    }
    drop(told);
    operator.publisher.publish(&snapshot([purge("a", 2)]));
    node.applied(&[("a", 2)]).await;
}

#[tokio::test]
async fn the_version_of_a_nodes_core_rule_set_reaches_the_operator() {
    let operator = Operator::start(None, untouched()).await;
    let mut config = Node::config("node-1", operator.address);
    config.crs = Some("OWASP_CRS/9.9.9".to_owned());
    let _node = Node::with(config);
    operator.publisher.publish(&snapshot([purge("a", 1)]));
    let heard =
        |state: &NodeState| matches!(state, NodeState::Running { crs: Some(crs), .. } if crs == "OWASP_CRS/9.9.9");
    operator.nodes(|states| states.iter().any(heard)).await;
}

#[tokio::test]
async fn only_blobs_that_changed_are_fetched() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let operator = Operator::start(None, recording(&log)).await;
    let first = snapshot([purge("a", 1), purge("b", 1)]);
    operator.publisher.publish(&first);
    let mut node = Node::start(operator.address, None);
    node.applied(&[("a", 1), ("b", 1)]).await;
    let second = snapshot([purge("a", 1), purge("b", 2)]);
    operator.publisher.publish(&second);
    node.applied(&[("a", 1), ("b", 2)]).await;
    let fetched: Vec<String> = log.lock().unwrap().clone();
    let distinct: BTreeSet<&String> = fetched.iter().collect();
    assert_eq!((fetched.len(), distinct.len()), (3, 3), "{fetched:?}");
}

#[tokio::test]
async fn a_rejection_reaches_the_operator_and_the_fix_is_applied() {
    let operator = Operator::start(None, untouched()).await;
    let mut node = Node::start(operator.address, None);
    node.sink.lock().unwrap().rejects.insert("bad".to_owned());
    let broken = snapshot([purge("bad", 1), purge("good", 1)]);
    operator.publisher.publish(&broken);
    operator.acked(broken.manifest().digest(), &["bad"]).await;
    node.sink.lock().unwrap().rejects.clear();
    let fixed = snapshot([purge("bad", 2), purge("good", 1)]);
    operator.publisher.publish(&fixed);
    operator.acked(fixed.manifest().digest(), &[]).await;
    node.applied(&[("bad", 2), ("good", 1)]).await;
}

#[tokio::test]
async fn a_blob_that_arrives_damaged_or_not_at_all_is_fetched_until_it_is_right() {
    for fault in [Fault::Damaged, Fault::Missing, Fault::TooLong] {
        let faults = watch::Sender::new(true);
        let operator = Operator::start(None, failing_blobs(fault, faults.subscribe())).await;
        let mut node = Node::start(operator.address, None);
        operator.publisher.publish(&snapshot([purge("a", 1)]));
        let seen = node.state(|state| state.last_error().is_some()).await;
        let error = seen.last_error().unwrap();
        assert!(error.contains("CachePurge/default/a"), "{fault:?}: {error}");
        assert!(!seen.is_ready() && seen.connected, "{fault:?}");
        faults.send_replace(false);
        node.applied(&[("a", 1)]).await;
        node.state(|state| state.last_error().is_none()).await;
    }
}

#[tokio::test]
async fn a_node_outlives_its_operator_and_follows_the_next_without_a_needless_apply() {
    let first = Operator::start(None, untouched()).await;
    let published = snapshot([purge("a", 1)]);
    first.publisher.publish(&published);
    let mut node = Node::start(first.address, None);
    node.applied(&[("a", 1)]).await;
    let address = first.address;
    first.stop().await;
    node.state(|state| !state.connected).await;
    assert!(node.state(|_| true).await.is_ready());

    let second = Operator::start(Some(address), untouched()).await;
    second.publisher.publish(&published);
    second.acked(published.manifest().digest(), &[]).await;
    second.publisher.publish(&snapshot([purge("a", 2)]));
    node.applied(&[("a", 2)]).await;
    assert_eq!(node.stop().await, 2, "what was held was not applied again");
}

#[tokio::test]
async fn a_restarted_node_serves_from_its_disk_while_the_operator_is_down() {
    let disk = tempfile::tempdir().unwrap();
    let operator = Operator::start(None, untouched()).await;
    operator.publisher.publish(&snapshot([purge("a", 1), purge("b", 1)]));
    let mut node = Node::start(operator.address, Some(disk.path()));
    node.applied(&[("a", 1), ("b", 1)]).await;
    node.stop().await;
    let address = operator.address;
    operator.stop().await;

    let mut node = Node::start(address, Some(disk.path()));
    node.applied(&[("a", 1), ("b", 1)]).await;
    let seen = node.state(|state| state.last_error().is_some()).await;
    assert!(seen.from_disk && seen.is_ready() && !seen.connected);

    // The operator returns with the same configuration: nothing is sent, and the node says what it runs.
    let operator = Operator::start(Some(address), untouched()).await;
    let same = snapshot([purge("a", 1), purge("b", 1)]);
    operator.publisher.publish(&same);
    operator.acked(same.manifest().digest(), &[]).await;
    assert_eq!(node.stop().await, 1);
}

#[tokio::test]
async fn a_node_whose_cache_outlived_a_restart_hears_the_operator_before_it_is_ready() {
    let disk = tempfile::tempdir().unwrap();
    let operator = Operator::start(None, untouched()).await;
    operator.publisher.publish(&snapshot([purge("a", 1)]));
    let mut node = Node::start(operator.address, Some(disk.path()));
    node.applied(&[("a", 1)]).await;
    node.stop().await;

    // A purge while it was away is the first thing it applies: the copy, which lacks it, is never in force.
    operator.publisher.publish(&snapshot([purge("a", 1), purge("b", 1)]));
    let mut node = Node::patient(operator.address, disk.path(), PATIENCE);
    node.applied(&[("a", 1), ("b", 1)]).await;
    assert_eq!(node.stop().await, 1);

    // Without an operator it goes on with its copy when the time is over.
    let address = operator.address;
    operator.stop().await;
    let mut node = Node::patient(address, disk.path(), Duration::from_millis(50));
    node.applied(&[("a", 1), ("b", 1)]).await;
    assert!(node.state(FollowState::is_ready).await.from_disk);
    assert_eq!(node.stop().await, 1);
}

#[tokio::test]
async fn after_a_restart_a_broken_object_still_has_its_last_good_unit() {
    let disk = tempfile::tempdir().unwrap();
    let operator = Operator::start(None, untouched()).await;
    let mut node = Node::start(operator.address, Some(disk.path()));
    operator.publisher.publish(&snapshot([purge("a", 1)]));
    node.applied(&[("a", 1)]).await;
    node.sink.lock().unwrap().rejects.insert("a".to_owned());
    let broken = snapshot([purge("a", 2)]);
    operator.publisher.publish(&broken);
    operator.acked(broken.manifest().digest(), &["a"]).await;
    node.stop().await;

    let mut node = Node::start(operator.address, Some(disk.path()));
    node.applied(&[("a", 2)]).await;
    let seen = node.sink.lock().unwrap().seen.clone();
    assert_eq!(seen, [vec![("a".to_owned(), 1)], vec![("a".to_owned(), 2)]]);
}

#[tokio::test]
async fn a_damaged_copy_costs_only_the_damaged_object() {
    let disk = tempfile::tempdir().unwrap();
    let operator = Operator::start(None, untouched()).await;
    let whole = snapshot([purge("a", 1), purge("b", 1)]);
    operator.publisher.publish(&whole);
    let mut node = Node::start(operator.address, Some(disk.path()));
    node.applied(&[("a", 1), ("b", 1)]).await;
    node.stop().await;
    let address = operator.address;
    operator.stop().await;
    let entry = whole.manifest().get(&purge("a", 1).0).unwrap();
    let blob = disk.path().join("blobs").join(entry.sha256.to_string());
    std::fs::write(&blob, b"{}").unwrap();

    let mut node = Node::start(address, Some(disk.path()));
    node.state(FollowState::is_ready).await;
    let valid = node.sink.lock().unwrap().valid.clone();
    assert_eq!(valid, ["b"]);
    let operator = Operator::start(Some(address), untouched()).await;
    operator.publisher.publish(&whole);
    operator.acked(whole.manifest().digest(), &[]).await;
    let valid = node.sink.lock().unwrap().valid.clone();
    assert_eq!(valid, ["a", "b"]);
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_counted_and_survived() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"not a directory").unwrap();
    let operator = Operator::start(None, untouched()).await;
    operator.publisher.publish(&snapshot([purge("a", 1)]));
    let mut node = Node::start(operator.address, Some(&file));
    node.applied(&[("a", 1)]).await;
    node.state(|state| state.disk_failures > 1).await;
    operator.publisher.publish(&snapshot([purge("a", 2)]));
    node.applied(&[("a", 2)]).await;
}

#[tokio::test]
async fn curl_can_read_all_of_it() {
    let operator = Operator::start(None, untouched()).await;
    let get = |path: String| {
        let url = format!("http://{}{path}", operator.address);
        async move { reqwest::get(url).await.unwrap() }
    };
    assert_eq!(get("/v1/manifest".into()).await.status(), 503);
    assert_eq!(get("/readyz".into()).await.status(), 503);
    let published = snapshot([purge("a", 1)]);
    operator.publisher.publish(&published);
    assert_eq!(get("/readyz".into()).await.status(), 200);

    let manifest = get("/v1/manifest".into()).await;
    let etag = manifest.headers()["etag"].to_str().unwrap().to_owned();
    let body = manifest.bytes().await.unwrap();
    assert_eq!(etag, format!("\"{}\"", Digest::of(&body)));
    let client = reqwest::Client::new();
    let url = format!("http://{}/v1/manifest", operator.address);
    let again = client.get(url).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(again.status(), 304);

    let (digest, bytes) = published.blobs().next().unwrap();
    let blob = get(format!("/v1/blobs/{digest}")).await;
    assert!(blob.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    assert_eq!(blob.bytes().await.unwrap(), &bytes[..]);
    assert_eq!(get(format!("/v1/blobs/{}", Digest::of(b"none"))).await.status(), 404);
    assert_eq!(get("/v1/blobs/../../etc/passwd".into()).await.status(), 404);
    assert_eq!(get("/v1/blobs/short".into()).await.status(), 400);

    let mut stream = get("/v1/stream".into()).await;
    let line = stream.chunk().await.unwrap().unwrap();
    assert_eq!(line, [&body[..], b"\n"].concat());
    let metrics = get("/metrics".into()).await.text().await.unwrap();
    assert!(metrics.contains("breakwater_operator_streams 1"), "{metrics}");
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let limits = Limits {
        streams: 1,
        nodes: 1,
        ack_bytes: 300,
        heartbeat: Duration::from_millis(5),
        ..Limits::default()
    };
    let operator = Operator::with(None, untouched(), limits).await;
    operator.publisher.publish(&snapshot([]));
    let base = format!("http://{}", operator.address);
    let client = reqwest::Client::new();
    let mut open = client.get(format!("{base}/v1/stream")).send().await.unwrap();
    assert_eq!(
        client.get(format!("{base}/v1/stream")).send().await.unwrap().status(),
        503
    );

    // The manifest once, then signs of life.
    let mut text = String::new();
    while text.lines().count() < 3 {
        text.push_str(std::str::from_utf8(&open.chunk().await.unwrap().unwrap()).unwrap());
    }
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["{\"entries\":[]}", "{\"heartbeat\":true}"]);

    let ack = |body: String| {
        let request = client
            .post(format!("{base}/v1/ack"))
            .header("content-type", "application/json");
        async move { request.body(body).send().await.unwrap().status().as_u16() }
    };
    let word = |node: &str| format!("{{\"node\":\"{node}\",\"manifest\":\"{}\"}}", Digest::of(b""));
    assert_eq!(ack(word("a")).await, 204);
    assert_eq!(ack(word("b")).await, 503);
    assert_eq!(ack(word(&"a".repeat(300))).await, 413);
    assert_eq!(ack(word("a b")).await, 400);
    assert_eq!(ack("{}".to_owned()).await, 422);
}

#[tokio::test]
async fn a_question_about_the_nodes_waits_for_news() {
    let operator = Operator::start(None, untouched()).await;
    operator.publisher.publish(&snapshot([]));
    let version = operator.publisher.nodes().version;
    let url = format!("http://{}/v1/nodes?since={version}&wait_ms=10000", operator.address);
    let asking = tokio::spawn(async move { reqwest::get(url).await.unwrap().text().await.unwrap() });
    let _node = Node::start(operator.address, None);
    let answer = tokio::time::timeout(PATIENCE, asking).await.unwrap().unwrap();
    assert!(answer.contains("\"node\":\"node-1\""), "{answer}");
}

#[tokio::test]
async fn a_slow_reader_skips_what_it_missed() {
    let operator = Operator::start(None, untouched()).await;
    operator.publisher.publish(&snapshot([purge("a", 0)]));
    let mut stream = reqwest::get(format!("http://{}/v1/stream", operator.address))
        .await
        .unwrap();
    stream.chunk().await.unwrap().unwrap();
    // More text than sockets hold, so that most of it can only have been skipped.
    let filler = "x".repeat(50_000);
    let big = |n: i64| Snapshot::build((0..10).map(|m| purge(&format!("{filler}-{m}"), n)));
    let last = [&big(40).manifest().to_json()[..], b"\n"].concat();
    for n in 1..=40 {
        operator.publisher.publish(&big(n));
        tokio::task::yield_now().await;
    }
    let mut read = 0;
    let mut tail = Vec::new();
    while tail != last {
        let chunk = tokio::time::timeout(PATIENCE, stream.chunk())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        read += chunk.len();
        tail.extend_from_slice(&chunk);
        tail.drain(..tail.len().saturating_sub(last.len()));
    }
    assert!(read < 35 * last.len(), "{read} bytes of {}", 40 * last.len());
}

#[tokio::test]
async fn nodes_are_told_the_labels_of_each_other_and_when_these_change() {
    let operator = Operator::start(None, untouched()).await;
    let labels = |tier: &str| Labels::from([("tier".to_owned(), tier.to_owned())]);
    let seen = Arc::new(Mutex::new(BTreeMap::from([("node-1".to_owned(), labels("first"))])));
    let looked_at = Arc::clone(&seen);
    let announcing = tokio::spawn(operator.publisher.clone().announce_peers_after(
        Duration::ZERO,
        Replicas::default(),
        move || looked_at.lock().unwrap().clone(),
    ));
    operator.publisher.publish(&snapshot([purge("a", 1)]));
    let at = PeerAddress {
        address: SocketAddr::from(([192, 0, 2, 1], 1)),
    };
    let _one = Node::named("node-1", operator.address, Some(at));
    let two = Node::named("node-2", operator.address, None);
    let mut heard = two.peers.clone();
    let has = |wanted: Labels| move |peers: &Peers| peers.labels_of("node-1") == Some(&wanted);
    tokio::time::timeout(PATIENCE, heard.wait_for(has(labels("first"))))
        .await
        .unwrap()
        .unwrap();
    seen.lock().unwrap().insert("node-1".to_owned(), labels("second"));
    tokio::time::timeout(PATIENCE, heard.wait_for(has(labels("second"))))
        .await
        .unwrap()
        .unwrap();
    seen.lock().unwrap().clear();
    let none = |peers: &Peers| peers.members.contains_key("node-1") && peers.labels_of("node-1").is_none();
    tokio::time::timeout(PATIENCE, heard.wait_for(none))
        .await
        .unwrap()
        .unwrap();
    announcing.abort();
}

#[tokio::test]
async fn nodes_are_told_of_each_other_and_of_a_goodbye() {
    let operator = Operator::start(None, untouched()).await;
    let announcing = tokio::spawn(operator.publisher.clone().announce_peers_after(
        Duration::ZERO,
        Replicas::default(),
        BTreeMap::new,
    ));
    operator.publisher.publish(&snapshot([purge("a", 1)]));
    let at = |port| PeerAddress {
        address: SocketAddr::from(([192, 0, 2, 1], port)),
    };
    let one = Node::named("node-1", operator.address, Some(at(1)));
    let two = Node::named("node-2", operator.address, Some(at(2)));
    let three = Node::named("node-3", operator.address, None);
    let mut heard = one.peers.clone();
    let both = |peers: &Peers| peers.members.len() == 2 && !peers.keys.is_empty();
    let known = tokio::time::timeout(PATIENCE, heard.wait_for(both))
        .await
        .unwrap()
        .unwrap()
        .clone();
    assert_eq!(known.members.get("node-2"), Some(&at(2)));
    let mut same = three.peers.clone();
    let others = tokio::time::timeout(PATIENCE, same.wait_for(both))
        .await
        .unwrap()
        .unwrap()
        .clone();
    assert_eq!(others, known);
    two.stop().await;
    let alone = |peers: &Peers| peers.members.keys().eq(["node-1"]);
    let left = tokio::time::timeout(PATIENCE, heard.wait_for(alone))
        .await
        .unwrap()
        .unwrap()
        .clone();
    assert_eq!(left.keys, known.keys);
    announcing.abort();
}

// --- what the tests are made of

fn snapshot<const N: usize>(objects: [(ObjectId, i64, Blob); N]) -> Snapshot {
    Snapshot::build(objects)
}

fn purge(name: &str, generation: i64) -> (ObjectId, i64, Blob) {
    let unit = Unit::CachePurge(CachePurge {
        uid: format!("{name}-{generation}"),
        target: ObjectId::new(Kind::EdgeCache, "default", "shop"),
        selector: PurgeSelector::Everything,
        mode: PurgeMode::default(),
    });
    let id = ObjectId::new(Kind::CachePurge, "default", name);
    (id, generation, Blob::Valid { unit: Box::new(unit) })
}

struct Operator {
    address: SocketAddr,
    publisher: Publisher,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Operator {
    async fn start(address: Option<SocketAddr>, wrap: impl FnOnce(Router) -> Router) -> Self {
        Self::with(address, wrap, Limits::default()).await
    }

    async fn with(address: Option<SocketAddr>, wrap: impl FnOnce(Router) -> Router, limits: Limits) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(address.unwrap_or(any)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let publisher = Publisher::new("operator-1", limits, Metrics::new().unwrap());
        let routes = router(publisher.clone()).merge(admin_router(publisher.clone()));
        let (stop, stopped) = oneshot::channel();
        let limits = ServeLimits {
            drain: Duration::from_millis(100),
            ..ServeLimits::default()
        };
        let task = tokio::spawn(serve(listener, wrap(routes), limits, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            publisher,
            stop,
            task,
        }
    }

    async fn stop(self) {
        self.publisher.close();
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    async fn nodes(&self, wanted: impl Fn(&[NodeState]) -> bool) {
        let mut changed = self.publisher.nodes_changed();
        let waiting = async {
            loop {
                let states: Vec<_> = self
                    .publisher
                    .nodes()
                    .nodes
                    .into_iter()
                    .map(|node| node.state)
                    .collect();
                if wanted(&states) {
                    return;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("the operator hears of it");
    }

    async fn acked(&self, digest: Digest, names: &[&str]) {
        self.nodes(|states| match states {
            [NodeState::Running { manifest, rejected, .. }] => {
                *manifest == digest && rejected.iter().map(|r| r.id.name.as_str()).eq(names.iter().copied())
            }
            _ => false,
        })
        .await;
    }
}

#[derive(Default)]
struct Recorded {
    rejects: BTreeSet<String>,
    /// Names and generations of each snapshot.
    seen: Vec<Vec<(String, i64)>>,
    /// The names of the latest snapshot's valid units.
    valid: Vec<String>,
}

struct Recorder(Arc<Mutex<Recorded>>);

impl Sink for Recorder {
    async fn apply(&mut self, snapshot: Snapshot) -> Vec<Rejection> {
        let mut recorded = self.0.lock().unwrap();
        let entries = &snapshot.manifest().entries;
        let names = entries
            .iter()
            .map(|entry| (entry.id.name.clone(), entry.generation))
            .collect();
        recorded.seen.push(names);
        let valid = entries.iter().filter(|entry| {
            let blob = Blob::from_json(snapshot.blob(&entry.sha256).unwrap()).unwrap();
            matches!(blob, Blob::Valid { .. })
        });
        recorded.valid = valid.map(|entry| entry.id.name.clone()).collect();
        let rejected = entries.iter().filter(|entry| recorded.rejects.contains(&entry.id.name));
        rejected
            .map(|entry| Rejection {
                id: entry.id.clone(),
                message: "no".to_owned(),
            })
            .collect()
    }
}

struct Node {
    sink: Arc<Mutex<Recorded>>,
    state: watch::Receiver<FollowState>,
    peers: watch::Receiver<Peers>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Recorder>,
}

impl Node {
    fn start(operator: SocketAddr, state_dir: Option<&Path>) -> Self {
        let mut config = Self::config("node-1", operator);
        config.state_dir = state_dir.map(Path::to_owned);
        Self::with(config)
    }

    /// One whose cache outlived the restart: it waits for the operator's word for so long.
    fn patient(operator: SocketAddr, state_dir: &Path, first_word: Duration) -> Self {
        let mut config = Self::config("node-1", operator);
        config.state_dir = Some(state_dir.to_owned());
        config.timing.first_word = first_word;
        Self::with(config)
    }

    fn prefetching(operator: SocketAddr, told: watch::Receiver<Arc<[PrefetchProgress]>>) -> Self {
        let mut config = Self::config("node-1", operator);
        config.prefetch = Some(told);
        Self::with(config)
    }

    /// A node that other nodes may ask at `peer`.
    fn named(name: &str, operator: SocketAddr, peer: Option<PeerAddress>) -> Self {
        let mut config = Self::config(name, operator);
        config.peer = Some(watch::Sender::new(peer).subscribe());
        Self::with(config)
    }

    fn config(name: &str, operator: SocketAddr) -> Config {
        let mut config = Config::new(format!("http://{operator}").parse().unwrap(), name);
        config.timing.first_word = Duration::ZERO;
        config
    }

    fn with(mut config: Config) -> Self {
        let sink = Arc::new(Mutex::new(Recorded::default()));
        config.timing.backoff.1 = Duration::from_millis(50);
        let follower = Follower::new(config, Recorder(sink.clone())).unwrap();
        let state = follower.state();
        let peers = follower.peers();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(follower.run(async {
            let _ = stopped.await;
        }));
        Self {
            sink,
            state,
            peers,
            stop,
            task,
        }
    }

    async fn state(&mut self, wanted: impl Fn(&FollowState) -> bool) -> FollowState {
        let waiting = self.state.wait_for(|state| wanted(state));
        let found = tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("the state is reached");
        found.unwrap().clone()
    }

    async fn applied(&mut self, wanted: &[(&str, i64)]) {
        let sink = self.sink.clone();
        self.state(|_| {
            let sink = sink.lock().unwrap();
            let latest = sink.seen.last().map(Vec::as_slice).unwrap_or_default();
            latest
                .iter()
                .map(|(name, generation)| (name.as_str(), *generation))
                .eq(wanted.iter().copied())
        })
        .await;
    }

    /// Stops the node and tells how many snapshots it applied.
    async fn stop(self) -> usize {
        self.stop.send(()).unwrap();
        drop(self.sink);
        let Recorder(sink) = tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
        Arc::into_inner(sink).map_or(0, |sink| sink.into_inner().unwrap().seen.len())
    }
}

fn untouched() -> impl FnOnce(Router) -> Router {
    |router| router
}

/// Notes the path of each blob that is asked for.
fn recording(log: &Arc<Mutex<Vec<String>>>) -> impl FnOnce(Router) -> Router + use<> {
    let log = log.clone();
    move |router| {
        router.layer(middleware::from_fn(move |request: Request, next: Next| {
            if request.uri().path().starts_with("/v1/blobs/") {
                log.lock().unwrap().push(request.uri().path().to_owned());
            }
            next.run(request)
        }))
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Damaged,
    Missing,
    TooLong,
}

/// Answers for blobs in place of the operator while `faulty` says so.
fn failing_blobs(fault: Fault, faulty: watch::Receiver<bool>) -> impl FnOnce(Router) -> Router {
    move |router| {
        router.layer(middleware::from_fn(move |request: Request, next: Next| {
            let fails = *faulty.borrow() && request.uri().path().starts_with("/v1/blobs/");
            async move {
                if !fails {
                    return next.run(request).await;
                }
                match fault {
                    Fault::Damaged => "{\"state\":\"Valid\"}".into_response(),
                    Fault::Missing => StatusCode::NOT_FOUND.into_response(),
                    Fault::TooLong => Response::new(Body::from(vec![b'x'; 1 << 20])),
                }
            }
        }))
    }
}
