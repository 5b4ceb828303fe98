//! Who comes late to a response that is too large for memory, which is kept in a file while it comes.

use std::sync::Arc;

use breakwater_dataplane::{Options, SpoolOptions};
use breakwater_snapshot::unit::Unit;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cache_coalescing::{ask_together, gated};
use crate::support::{Client, Origin, Plane, answer, edge_cache, objects, until, within};

/// A response that is too large for memory, of which the origin sends `first` bytes, and the rest when the gate lets it.
async fn too_large(first: usize) -> (Vec<u8>, Origin, Arc<Semaphore>, Plane) {
    too_large_at(first, |options| options.memory = 4 << 20).await
}

/// The same, with a data plane of these options.
async fn too_large_at(first: usize, change: impl FnOnce(&mut Options)) -> (Vec<u8>, Origin, Arc<Semaphore>, Plane) {
    too_large_of(6_000_000, first, change).await
}

/// The same, of so many bytes.
async fn too_large_of(
    size: u32,
    first: usize,
    change: impl FnOnce(&mut Options),
) -> (Vec<u8>, Origin, Arc<Semaphore>, Plane) {
    let whole: Vec<u8> = (0..size).map(|at| (at >> 9) as u8).collect();
    let answer = Arc::new(answer(200, "Cache-Control: max-age=60\r\n", &whole));
    let head = answer.len() - whole.len();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let origin = Origin::raw(move |mut peer| {
        let (held, answer) = (Arc::clone(&held), Arc::clone(&answer));
        async move {
            while peer.request().await.is_some() {
                peer.send(&answer[..head + first]).await;
                held.acquire().await.unwrap().forget();
                peer.send(&answer[head + first..]).await;
            }
        }
    })
    .await;
    let plane = Plane::with(change).await;
    let site = edge_cache(origin.address);
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    (whole, origin, gate, plane)
}

/// Clients that have all read the first `first` bytes, one after the other.
async fn begun(plane: &Plane, count: usize, first: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = plane.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
        assert_eq!(client.head().await.unwrap().status, 200);
        assert_eq!(client.take(first).await.unwrap().len(), first);
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn who_comes_while_the_beginning_of_a_response_too_large_for_memory_is_there_joins_its_fetch() {
    let (whole, origin, gate, plane) = too_large(500_000).await;
    let clients = begun(&plane, 3, 400_000).await;
    assert_eq!(origin.count(), 1);
    gate.add_permits(1);
    let mut reading = JoinSet::new();
    for mut client in clients {
        reading.spawn(async move { client.take(5_600_000).await.unwrap() });
    }
    for read in within("all of it", reading.join_all()).await {
        assert!(read == whole[400_000..]);
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn without_a_directory_who_comes_when_the_beginning_of_a_response_too_large_for_memory_is_gone_fetches_it() {
    let (_, origin, _gate, plane) = too_large(3_000_000).await;
    let _clients = begun(&plane, 3, 2_900_000).await;
    assert_eq!(origin.count(), 3);
}

/// Memory for less than the response, and a directory for what does not fit.
fn spooling(dir: &tempfile::TempDir, bytes: u64) -> impl FnOnce(&mut Options) {
    let spool = SpoolOptions {
        dir: dir.path().to_owned(),
        bytes,
    };
    move |options| {
        options.memory = 4 << 20;
        options.spool = Some(spool);
    }
}

#[tokio::test]
async fn twenty_that_come_one_after_the_other_to_a_response_too_large_for_memory_make_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, origin, gate, plane) = too_large_at(3_000_000, spooling(&dir, 64 << 20)).await;
    let clients = begun(&plane, 20, 2_900_000).await;
    assert_eq!(origin.count(), 1);
    gate.add_permits(1);
    let mut reading = JoinSet::new();
    for mut client in clients {
        reading.spawn(async move { client.take(3_100_000).await.unwrap() });
    }
    for read in within("all of it", reading.join_all()).await {
        assert!(read == whole[2_900_000..]);
    }
    assert_eq!(origin.count(), 1);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "files have no names");
    plane.metric_reaches("breakwater_cache_spool_bytes", 0.0).await;
    assert_eq!(plane.metric("breakwater_cache_spools_total").await, 1.0);
}

#[tokio::test]
async fn who_comes_when_all_of_a_response_too_large_for_memory_came_shares_it_while_another_reads() {
    let dir = tempfile::tempdir().unwrap();
    // More than the kernel takes of an answer that its client does not read.
    let size = 40_000_000;
    let (whole, origin, gate, plane) = too_large_of(size, 3_000_000, spooling(&dir, 64 << 20)).await;
    let mut first = begun(&plane, 1, 2_900_000).await;
    let mut second = begun(&plane, 1, 1_000_000).await;
    gate.add_permits(1);
    assert!(first[0].take(37_100_000).await.unwrap() == whole[2_900_000..]);
    let mut third = plane.client().await;
    let answer = third.get("shop.test", "/a", "").await;
    assert!(answer.body == whole && answer.cache_status().contains("collapsed"));
    assert!(second[0].take(39_000_000).await.unwrap() == whole[1_000_000..]);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn who_reads_what_is_kept_in_a_file_waits_for_a_disk_that_has_too_much_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, origin, gate, plane) = too_large_at(3_000_000, spooling(&dir, 64 << 20)).await;
    let mut first = begun(&plane, 1, 2_900_000).await;
    let held = plane.data.hold_disk_reads().unwrap();
    let mut second = plane.client().await;
    second.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    until("it to wait", async || (held.waited() == 1).then_some(())).await;
    drop(held);
    gate.add_permits(1);
    assert!(second.response("GET").await.body == whole);
    assert!(first[0].take(3_100_000).await.unwrap() == whole[2_900_000..]);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn who_asks_for_something_newer_gets_nothing_of_what_is_kept_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (_, origin, _gate, plane) = too_large_at(3_000_000, spooling(&dir, 64 << 20)).await;
    let _first = begun(&plane, 2, 2_900_000).await;
    assert_eq!(origin.count(), 1, "the second has what the first had fetched");
    for (n, asked) in (2..).zip(["no-cache", "max-age=0", "max-age=5", "min-fresh=5"]) {
        let mut client = plane.client().await;
        client
            .send(format!(
                "GET /a HTTP/1.1\r\nHost: shop.test\r\nCache-Control: {asked}\r\n\r\n"
            ))
            .await;
        let head = client.head().await.unwrap();
        assert_eq!(head.status, 200);
        assert!(!head.cache_status().contains("collapsed"), "{asked}");
        assert_eq!(origin.count(), n, "{asked}");
    }
    let _late = begun(&plane, 1, 2_900_000).await;
    assert_eq!(origin.count(), 5, "who asks for nothing of the kind has what there is");
}

#[tokio::test]
async fn an_unsafe_request_keeps_those_who_come_later_from_what_came_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_, origin, gate, plane) = too_large_at(3_000_000, spooling(&dir, 64 << 20)).await;
    let _first = begun(&plane, 1, 2_900_000).await;
    gate.add_permits(1);
    let mut posting = plane.client().await;
    posting
        .send("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(posting.head().await.unwrap().status, 200);
    origin.reached(2).await;
    let _second = begun(&plane, 1, 2_900_000).await;
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_costs_only_those_who_come_late() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let change = |options: &mut Options| {
        options.memory = 4 << 20;
        options.spool = Some(SpoolOptions {
            dir: blocked,
            bytes: 64 << 20,
        });
    };
    let (whole, origin, gate, plane) = too_large_at(3_000_000, change).await;
    let mut clients = begun(&plane, 2, 2_900_000).await;
    assert_eq!(origin.count(), 2);
    gate.add_permits(2);
    for client in &mut clients {
        assert!(client.take(3_100_000).await.unwrap() == whole[2_900_000..]);
    }
    assert_eq!(plane.metric("breakwater_cache_spools_lost_total").await, 2.0);
}

#[tokio::test]
async fn a_response_that_breaks_off_while_it_is_kept_in_a_file_is_cut_for_all_and_kept_for_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let whole = answer(200, "Cache-Control: max-age=60\r\n", vec![b'x'; 6_000_000]);
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let origin = Origin::raw(move |mut peer| {
        let (held, whole) = (Arc::clone(&held), whole.clone());
        async move {
            peer.request().await;
            peer.send(&whole[..3_000_000]).await;
            held.acquire().await.unwrap().forget();
        }
    })
    .await;
    let plane = Plane::with(spooling(&dir, 64 << 20)).await;
    let site = Unit::EdgeCache(edge_cache(origin.address));
    plane.apply(objects([("site", site)])).await;
    let clients = begun(&plane, 3, 2_900_000).await;
    assert_eq!(origin.count(), 1);
    gate.add_permits(1);
    for mut client in clients {
        assert!(client.take(3_100_000).await.is_none());
    }
    let _next = begun(&plane, 1, 1_000).await;
    assert_eq!(origin.count(), 2);
    assert_eq!(plane.metric("breakwater_cache_objects{tier=\"ram\"}").await, 0.0);
}

#[tokio::test]
async fn forty_at_once_at_a_response_larger_than_all_memory_make_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let size = 12 << 20;
    let body = vec![b'x'; size];
    let bytes = answer(200, "Cache-Control: max-age=60\r\n", &body);
    let (origin, gate) = gated(bytes).await;
    gate.add_permits(40);
    let plane = Plane::with(|options| {
        spooling(&dir, 64 << 20)(options);
        options.memory = 8 << 20;
        options.workers = 2;
    })
    .await;
    let site = edge_cache(origin.address);
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    let asking = ask_together(&plane, 40).await;
    for answer in within("all answers", asking.join_all()).await {
        assert!(answer.body == body);
    }
    assert_eq!(origin.count(), 1);
}
