//! Many requests for one response: one of them asks the origin.

use std::sync::Arc;

use breakwater_dataplane::{Options, SpoolOptions};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{Client, Origin, Plane, Response, answer, within};

const SITE: &str = "EdgeCache/default/site";

/// An origin that answers `bytes` once `gate` lets it, and the gate.
async fn gated(bytes: Vec<u8>) -> (Origin, Arc<Semaphore>) {
    Origin::gated(move |_| bytes.clone()).await
}

/// Starts `count` clients that ask for the same.
async fn ask_together(plane: &Plane, count: usize) -> JoinSet<Response> {
    let mut asking = JoinSet::new();
    for _ in 0..count {
        let mut client = plane.client().await;
        asking.spawn(async move { client.get("shop.test", "/a", "").await });
    }
    asking
}

#[tokio::test]
async fn two_hundred_clients_are_answered_by_one_request() {
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", "shared")).await;
    let plane = Plane::with_workers(2).await;
    let site = crate::support::edge_cache(origin.address);
    plane
        .apply(crate::support::objects([(
            "site",
            breakwater_snapshot::unit::Unit::EdgeCache(site),
        )]))
        .await;
    let asking = ask_together(&plane, 200).await;
    let active = format!(
        "breakwater_connections{{listener=\"{}\",state=\"active\"}}",
        plane.address()
    );
    plane.metric_reaches(&active, 200.0).await;
    let fetches = format!("breakwater_cache_fetches{{resource=\"{SITE}\"}}");
    assert_eq!(plane.metric(&fetches).await, 1.0);
    gate.add_permits(1);
    let answers = within("all answers", asking.join_all()).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 && answer.text() == "shared")
    );
    let collapsed = answers
        .iter()
        .filter(|answer| answer.cache_status().contains("collapsed"));
    assert_eq!(collapsed.count(), 199);
    assert_eq!(origin.count(), 1);
    let series = format!("breakwater_cache_collapsed_total{{resource=\"{SITE}\"}}");
    assert_eq!(plane.metric(&series).await, 199.0);
    plane.metric_reaches(&fetches, 0.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_fetch_it_began() {
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", "shared")).await;
    let plane = Plane::before(&origin).await;
    let mut first = plane.client().await;
    first.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(1).await;
    let asking = ask_together(&plane, 3).await;
    drop(first);
    gate.add_permits(1);
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!((answer.status, answer.text().as_str()), (200, "shared"));
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_fetch_that_everyone_left_is_still_stored() {
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", "shared")).await;
    let plane = Plane::before(&origin).await;
    let mut only = plane.client().await;
    only.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(1).await;
    drop(only);
    gate.add_permits(1);
    plane
        .metric_reaches("breakwater_cache_objects{tier=\"ram\"}", 1.0)
        .await;
    assert!(plane.client().await.get("shop.test", "/a", "").await.is_hit());
}

#[tokio::test]
async fn those_who_wait_for_what_cannot_be_shared_ask_for_themselves() {
    let (origin, gate) = gated(answer(200, "Cache-Control: private\r\nSet-Cookie: mine=1\r\n", "own")).await;
    let plane = Plane::before(&origin).await;
    let asking = ask_together(&plane, 5).await;
    origin.reached(1).await;
    gate.add_permits(5);
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!((answer.status, answer.text().as_str()), (200, "own"));
    }
    assert_eq!(origin.count(), 5);
}

#[tokio::test]
async fn what_each_request_has_to_validate_is_not_given_to_those_who_wait() {
    for lifetime in [
        "no-cache",
        "no-cache, max-age=60",
        "max-age=0",
        "max-age=0, must-revalidate",
    ] {
        let lines = format!("ETag: \"a\"\r\nCache-Control: {lifetime}\r\n");
        let (origin, gate) = gated(answer(200, &lines, "own")).await;
        let plane = Plane::before(&origin).await;
        let asking = ask_together(&plane, 5).await;
        origin.reached(1).await;
        gate.add_permits(5);
        for answer in within("all answers", asking.join_all()).await {
            assert_eq!((answer.status, answer.text().as_str()), (200, "own"));
        }
        assert_eq!(origin.count(), 5, "{lifetime}");
    }
}

#[tokio::test]
async fn a_confirmation_that_is_private_is_given_to_nobody_else() {
    let (origin, gate) = Origin::gated(|request| {
        if request.field("if-none-match").is_none() {
            return answer(200, "ETag: \"a\"\r\nCache-Control: max-age=0\r\n", "x");
        }
        let cookie = request.field("cookie").unwrap_or_default();
        let lines = format!("ETag: \"a\"\r\nCache-Control: private\r\nSet-Cookie: {cookie}\r\n");
        answer(304, &lines, "")
    })
    .await;
    gate.add_permits(1);
    let plane = Plane::before(&origin).await;
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, 200);
    let mut asking = JoinSet::new();
    for n in 0..4 {
        let mut client = plane.client().await;
        asking.spawn(async move {
            let answer = client.get("shop.test", "/a", &format!("Cookie: user={n}\r\n")).await;
            (format!("user={n}"), answer)
        });
    }
    origin.reached(2).await;
    gate.add_permits(4);
    for (own, answer) in within("all answers", asking.join_all()).await {
        let cookie = answer.field("set-cookie");
        assert!(
            answer.status == 200 && cookie.is_none_or(|cookie| cookie == own),
            "{own}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_failed_fetch_fails_those_who_waited_and_not_the_next() {
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", "x")[..30].to_vec()).await;
    let plane = Plane::before(&origin).await;
    let asking = ask_together(&plane, 3).await;
    origin.reached(1).await;
    gate.add_permits(1);
    // The head is incomplete; the origin goes away.
    drop(origin);
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!(answer.status, 502);
    }
    let good = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "good")).await;
    let site = crate::support::edge_cache(good.address);
    plane
        .apply(crate::support::objects([(
            "site",
            breakwater_snapshot::unit::Unit::EdgeCache(site),
        )]))
        .await;
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.text(), "good");
}

#[tokio::test]
async fn a_slow_reader_does_not_hold_up_a_quick_one() {
    let body = vec![b'x'; 4 << 20];
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", &body)).await;
    let plane = Plane::before(&origin).await;
    let mut slow = plane.client().await;
    slow.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    origin.reached(1).await;
    let quick = ask_together(&plane, 1).await;
    gate.add_permits(1);
    let answers = within("the quick reader", quick.join_all()).await;
    assert_eq!(answers[0].body.len(), body.len());
    assert_eq!(slow.response("GET").await.body.len(), body.len());
    assert_eq!(origin.count(), 1);
}

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
    let site = crate::support::edge_cache(origin.address);
    plane
        .apply(crate::support::objects([(
            "site",
            breakwater_snapshot::unit::Unit::EdgeCache(site),
        )]))
        .await;
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
    let site = crate::support::edge_cache(origin.address);
    plane
        .apply(crate::support::objects([(
            "site",
            breakwater_snapshot::unit::Unit::EdgeCache(site),
        )]))
        .await;
    let asking = ask_together(&plane, 40).await;
    for answer in within("all answers", asking.join_all()).await {
        assert!(answer.body == body);
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn who_waited_for_another_variant_gets_its_own() {
    let (origin, gate) = Origin::gated(|request| {
        let language = request.field("accept-language").unwrap();
        answer(200, "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n", language)
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut asking = JoinSet::new();
    for language in ["de", "fr", "de", "fr", "en"] {
        let mut client = plane.client().await;
        asking.spawn(async move {
            let lines = format!("Accept-Language: {language}\r\n");
            (language, client.get("shop.test", "/a", &lines).await)
        });
        origin.reached(1).await;
    }
    gate.add_permits(5);
    for (language, response) in within("all answers", asking.join_all()).await {
        assert_eq!((response.status, response.text().as_str()), (200, language));
    }
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn requests_with_authorization_do_not_wait_for_each_other() {
    let (origin, gate) = gated(answer(200, "Cache-Control: max-age=60\r\n", "own")).await;
    let plane = Plane::before(&origin).await;
    let mut asking = JoinSet::new();
    for _ in 0..3 {
        let mut client = plane.client().await;
        asking.spawn(async move { client.get("shop.test", "/a", "Authorization: Basic eDp5\r\n").await });
    }
    origin.reached(3).await;
    gate.add_permits(3);
    for response in within("all answers", asking.join_all()).await {
        assert_eq!((response.status, response.text().as_str()), (200, "own"));
    }
}
