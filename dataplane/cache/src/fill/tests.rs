//! Fills between tasks on several threads, and their edge cases one poll at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::mpsc;

use super::*;
use crate::key::Key;
use crate::purge::{Epochs, Mode, Selector};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1000);
const STORE: Disposition = Disposition::Store {
    limit: u64::MAX,
    shared: true,
};

fn fills() -> Fills {
    Fills::new(FillConfig::default())
}

fn join(fills: &Fills, key: u128) -> Join {
    fills.join(Key(key), &Epochs::default().stamp(1), &[], 0, NOW)
}

fn lead(fills: &Fills, key: u128) -> (FillWriter, FillReader) {
    match join(fills, key) {
        Join::Leader(writer, reader) => (writer, reader),
        other => panic!("expected to lead: {other:?}"),
    }
}

fn follow(fills: &Fills, key: u128) -> FillReader {
    match join(fills, key) {
        Join::Follower(reader) => reader,
        other => panic!("expected to follow: {other:?}"),
    }
}

fn head(length: Option<u64>) -> FillHead {
    FillHead {
        status: 200,
        fields: HeaderMap::new(),
        head: Bytes::from_static(b"HTTP/1.1 200 OK\r\n"),
        content_length: length,
        storable: None,
        stored: false,
        variant: Fingerprint::default(),
        in_language: None,
    }
}

fn poll_head(reader: &mut FillReader) -> Poll<HeadOutcome> {
    reader.poll_head(&mut Context::from_waker(Waker::noop()))
}

fn poll_chunk(reader: &mut FillReader) -> Poll<Result<Option<Bytes>, Failure>> {
    reader.poll_chunk(&mut Context::from_waker(Waker::noop()))
}

fn poll_ready(writer: &mut FillWriter) -> Poll<Result<(), NoReaders>> {
    writer.poll_ready(&mut Context::from_waker(Waker::noop()))
}

async fn read_all(reader: &mut FillReader) -> Result<u64, Failure> {
    let mut len = 0;
    while let Some(chunk) = reader.chunk().await? {
        len += chunk.len() as u64;
    }
    Ok(len)
}

const FAILURE: Failure = Failure {
    status: 502,
    reason: "refused",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_requests_make_one_fetch_and_all_get_all_of_it() {
    let fills = fills();
    let fetches = std::sync::Arc::new(AtomicUsize::new(0));
    let (joined, mut all_joined) = mpsc::channel::<()>(1000);
    let (ended, mut all_ended) = mpsc::channel(1000);
    let (start, started) = tokio::sync::watch::channel(false);
    for _ in 0..1000 {
        let (fills, fetches, joined, ended) = (fills.clone(), fetches.clone(), joined.clone(), ended.clone());
        let mut started = started.clone();
        tokio::spawn(async move {
            let mut reader = match join(&fills, 1) {
                Join::Leader(mut writer, reader) => {
                    fetches.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(async move {
                        started.wait_for(|started| *started).await.unwrap();
                        writer.publish(head(Some(3_200_000)), STORE);
                        for i in 0..100u8 {
                            writer.ready().await.unwrap();
                            writer.push(Bytes::from(vec![i; 32_000]));
                            tokio::task::yield_now().await;
                        }
                        writer.finish().unwrap();
                    });
                    reader
                }
                Join::Follower(reader) => reader,
                other => panic!("{other:?}"),
            };
            joined.send(()).await.unwrap();
            let HeadOutcome::Head(head) = reader.head().await else {
                panic!("no head")
            };
            let mut sum = 0u64;
            while let Some(chunk) = reader.chunk().await.unwrap() {
                sum += u64::from(chunk[0]) * chunk.len() as u64;
            }
            ended.send((head.status, sum)).await.unwrap();
        });
    }
    for _ in 0..1000 {
        all_joined.recv().await.unwrap();
    }
    start.send(true).unwrap();
    for _ in 0..1000 {
        assert_eq!(all_ended.recv().await.unwrap(), (200, 4950 * 32_000));
    }
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
    assert_eq!(fills.stats().followers, 999);
}

#[test]
fn readers_and_writer_may_live_on_different_runtimes() {
    let fills = fills();
    let (mut writer, mut own) = lead(&fills, 1);
    let mut other = follow(&fills, 1);
    let on_own_runtime = |reader: &mut FillReader| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert!(matches!(reader.head().await, HeadOutcome::Head(_)));
            read_all(reader).await
        })
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| on_own_runtime(&mut own));
        let second = scope.spawn(|| on_own_runtime(&mut other));
        writer.publish(head(None), STORE);
        for _ in 0..50 {
            writer.push(Bytes::from_static(b"0123456789"));
        }
        writer.finish().unwrap();
        assert_eq!(first.join().unwrap(), Ok(500));
        assert_eq!(second.join().unwrap(), Ok(500));
    });
}

#[test]
fn a_fill_that_ended_gives_its_content_and_its_place() {
    let fills = fills();
    let (mut writer, reader) = lead(&fills, 1);
    drop(reader);
    writer.publish(head(Some(5)), STORE);
    writer.push(Bytes::from_static(b"he"));
    writer.push(Bytes::from_static(b"llo"));
    assert_eq!(writer.body(Bytes::new()).unwrap().contiguous(), Some(&b"hello"[..]));
    writer.finish().unwrap();
    let _ = lead(&fills, 1);
    assert_eq!(fills.stats().buffered, 0);
}

#[test]
fn who_joins_late_reads_from_the_beginning() {
    let fills = fills();
    let (mut writer, _own) = lead(&fills, 1);
    writer.publish(head(None), STORE);
    writer.push(Bytes::from_static(b"a"));
    let mut late = follow(&fills, 1);
    assert!(matches!(poll_head(&mut late), Poll::Ready(HeadOutcome::Head(_))));
    assert_eq!(poll_chunk(&mut late), Poll::Ready(Ok(Some(Bytes::from_static(b"a")))));
    assert!(poll_chunk(&mut late).is_pending());
    writer.finish().unwrap();
    assert_eq!(poll_chunk(&mut late), Poll::Ready(Ok(None)));
}

#[test]
fn a_private_answer_releases_all_followers_at_once_and_the_key_is_remembered_for_two_minutes() {
    let fills = fills();
    let (mut writer, mut own) = lead(&fills, 1);
    let mut others: Vec<_> = (0..10).map(|_| follow(&fills, 1)).collect();
    writer.publish(head(None), Disposition::Private { now: NOW });
    for other in &mut others {
        assert!(matches!(poll_head(other), Poll::Ready(HeadOutcome::Released)));
    }
    assert!(matches!(poll_head(&mut own), Poll::Ready(HeadOutcome::Head(_))));
    writer.push(Bytes::from_static(b"mine"));
    assert_eq!(poll_chunk(&mut own), Poll::Ready(Ok(Some(Bytes::from_static(b"mine")))));
    assert!(writer.body(Bytes::new()).is_none());
    let stamp = Epochs::default().stamp(1);
    let later = |seconds: u64| fills.join(Key(1), &stamp, &[], 0, Timestamp::from_secs(1000 + seconds));
    assert!(matches!(later(119), Join::Uncacheable));
    assert!(matches!(later(120), Join::Leader(..)));
}

#[test]
fn a_failure_before_the_head_concerns_its_own_client_and_one_successor_takes_over() {
    let fills = fills();
    let (writer, mut own) = lead(&fills, 1);
    let mut second = follow(&fills, 1);
    let mut third = follow(&fills, 1);
    writer.fail(FAILURE);
    assert!(matches!(poll_head(&mut own), Poll::Ready(HeadOutcome::Failed(FAILURE))));
    assert!(poll_head(&mut third).is_pending());
    let Poll::Ready(HeadOutcome::Lead(mut writer)) = poll_head(&mut second) else {
        panic!("no successor")
    };
    assert!(poll_head(&mut second).is_pending());
    let mut newcomer = follow(&fills, 1);
    writer.publish(head(None), STORE);
    for reader in [&mut second, &mut third, &mut newcomer] {
        assert!(matches!(poll_head(reader), Poll::Ready(HeadOutcome::Head(_))));
    }
    assert_eq!(fills.stats().successions, 1);
}

#[test]
fn after_the_last_attempt_all_fail_and_the_next_request_begins_anew() {
    let fills = Fills::new(FillConfig {
        max_attempts: 2,
        ..FillConfig::default()
    });
    let (writer, _own) = lead(&fills, 1);
    let mut second = follow(&fills, 1);
    let mut third = follow(&fills, 1);
    writer.fail(FAILURE);
    let Poll::Ready(HeadOutcome::Lead(writer)) = poll_head(&mut second) else {
        panic!("no successor")
    };
    writer.fail(FAILURE);
    for reader in [&mut second, &mut third] {
        assert!(matches!(poll_head(reader), Poll::Ready(HeadOutcome::Failed(FAILURE))));
    }
    let _ = lead(&fills, 1);
}

#[test]
fn who_waited_as_long_as_an_origin_may_take_is_not_asked_to_wait_again() {
    let fills = fills();
    let late = Failure { status: 504, ..FAILURE };
    let (writer, mut own) = lead(&fills, 1);
    let mut second = follow(&fills, 1);
    writer.fail(late);
    for reader in [&mut own, &mut second] {
        assert!(matches!(poll_head(reader), Poll::Ready(HeadOutcome::Failed(failure)) if failure == late));
    }
    let _ = lead(&fills, 1);
}

#[test]
fn a_failure_with_nobody_else_waiting_ends_the_fill() {
    let fills = fills();
    let (writer, mut own) = lead(&fills, 1);
    writer.fail(FAILURE);
    assert!(matches!(poll_head(&mut own), Poll::Ready(HeadOutcome::Failed(FAILURE))));
    let _ = lead(&fills, 1);
}

#[test]
fn a_successor_that_leaves_passes_the_fetch_on_and_the_last_one_ends_it() {
    let fills = fills();
    let (writer, own) = lead(&fills, 1);
    let second = follow(&fills, 1);
    let mut third = follow(&fills, 1);
    drop(writer);
    drop(own);
    drop(second);
    let Poll::Ready(HeadOutcome::Lead(writer)) = poll_head(&mut third) else {
        panic!("no successor")
    };
    let fourth = follow(&fills, 1);
    drop(writer);
    drop(fourth);
    let _ = lead(&fills, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_dropped_after_the_head_wakes_everyone_with_an_error() {
    let fills = fills();
    let (mut writer, own) = lead(&fills, 1);
    let readers: Vec<_> = std::iter::once(own).chain((0..20).map(|_| follow(&fills, 1))).collect();
    writer.publish(head(Some(10)), STORE);
    writer.push(Bytes::from_static(b"half"));
    let waiting: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            tokio::spawn(async move {
                assert!(matches!(reader.head().await, HeadOutcome::Head(_)));
                read_all(&mut reader).await
            })
        })
        .collect();
    drop(writer);
    for reader in waiting {
        assert_eq!(reader.await.unwrap(), Err(Failure::ABANDONED));
    }
}

#[test]
fn content_of_another_length_than_announced_is_an_error_and_no_body() {
    let fills = fills();
    let (mut writer, mut own) = lead(&fills, 1);
    writer.publish(head(Some(10)), STORE);
    writer.push(Bytes::from_static(b"short"));
    assert!(writer.body(Bytes::new()).is_none());
    assert_eq!(writer.finish(), Err(Failure::LENGTH));
    assert_eq!(
        poll_chunk(&mut own),
        Poll::Ready(Ok(Some(Bytes::from_static(b"short"))))
    );
    assert_eq!(poll_chunk(&mut own), Poll::Ready(Err(Failure::LENGTH)));
}

#[test]
fn a_slow_reader_does_not_hold_up_a_fill_that_will_be_stored() {
    let fills = fills();
    let (mut writer, mut slow) = lead(&fills, 1);
    writer.publish(head(None), STORE);
    for _ in 0..64 {
        assert_eq!(poll_ready(&mut writer), Poll::Ready(Ok(())));
        writer.push(Bytes::from(vec![0; 65_536]));
    }
    assert_eq!(writer.body(Bytes::new()).unwrap().len(), 64 * 65_536);
    writer.finish().unwrap();
    assert_eq!(
        poll_chunk(&mut slow).map_ok(|chunk| chunk.map_or(0, |chunk| chunk.len())),
        Poll::Ready(Ok(65_536))
    );
}

#[test]
fn a_fill_that_outgrows_its_limit_passes_through_at_the_pace_of_its_slowest_reader() {
    let fills = Fills::new(FillConfig {
        window: 200,
        ..FillConfig::default()
    });
    let (mut writer, mut fast) = lead(&fills, 1);
    let mut slow = follow(&fills, 1);
    writer.publish(
        head(None),
        Disposition::Store {
            limit: 150,
            shared: true,
        },
    );
    let chunk = Bytes::from(vec![0; 100]);
    writer.push(chunk.clone());
    assert!(!writer.is_passing());
    writer.push(chunk.clone());
    assert!(writer.is_passing());
    assert!(writer.body(Bytes::new()).is_none());
    let _newcomer = lead(&fills, 1);
    for _ in 0..2 {
        assert!(poll_chunk(&mut fast).is_ready());
    }
    assert!(
        poll_ready(&mut writer).is_pending(),
        "the slow reader has the window full"
    );
    assert!(poll_chunk(&mut slow).is_ready());
    assert_eq!(fills.stats().buffered, 100);
    assert_eq!(poll_ready(&mut writer), Poll::Ready(Ok(())));
    writer.push(chunk.clone());
    writer.push(chunk);
    assert!(poll_ready(&mut writer).is_pending());
    drop(slow);
    assert_eq!(
        poll_ready(&mut writer),
        Poll::Pending,
        "the fast reader is now the slowest"
    );
    assert!(poll_chunk(&mut fast).is_ready());
    assert_eq!(poll_ready(&mut writer), Poll::Ready(Ok(())));
    drop(fast);
    assert_eq!(poll_ready(&mut writer), Poll::Ready(Err(NoReaders)));
    assert_eq!(fills.stats().passed_through, 1);
}

#[test]
fn an_announced_length_above_the_limit_passes_through_from_the_start() {
    let fills = fills();
    let (mut writer, mut own) = lead(&fills, 1);
    let mut other = follow(&fills, 1);
    writer.publish(
        head(Some(1000)),
        Disposition::Store {
            limit: 999,
            shared: true,
        },
    );
    assert!(writer.is_passing());
    assert!(matches!(poll_head(&mut own), Poll::Ready(HeadOutcome::Head(_))));
    assert!(matches!(poll_head(&mut other), Poll::Ready(HeadOutcome::Head(_))));
}

#[test]
fn a_response_announced_too_large_can_be_joined_while_its_beginning_is_in_memory() {
    let fills = Fills::new(FillConfig {
        window: 250,
        ..FillConfig::default()
    });
    let chunk = Bytes::from(vec![0; 100]);
    let (mut writer, mut own) = lead(&fills, 1);
    writer.publish(
        head(Some(500)),
        Disposition::Store {
            limit: 300,
            shared: true,
        },
    );
    for _ in 0..2 {
        assert_eq!(poll_ready(&mut writer), Poll::Ready(Ok(())));
        writer.push(chunk.clone());
        assert!(poll_chunk(&mut own).is_ready());
    }
    let mut late = follow(&fills, 1);
    assert!(matches!(poll_head(&mut late), Poll::Ready(HeadOutcome::Head(_))));
    assert_eq!(poll_ready(&mut writer), Poll::Ready(Ok(())));
    writer.push(chunk.clone());
    assert!(poll_chunk(&mut own).is_ready());
    assert!(poll_ready(&mut writer).is_pending(), "the late one has seen nothing");
    for _ in 0..3 {
        let read = poll_chunk(&mut late).map_ok(|chunk| chunk.map(|chunk| chunk.len()));
        assert_eq!(read, Poll::Ready(Ok(Some(100))));
    }
    assert_eq!(fills.stats().buffered, 0);
    let (_writer, _reader) = lead(&fills, 1);
    for _ in 0..2 {
        assert_eq!(poll_ready(&mut writer), Poll::Ready(Ok(())));
        writer.push(chunk.clone());
    }
    writer.finish().unwrap();
    assert_eq!(fills.stats().passed_through, 1);
}

#[test]
fn who_comes_when_a_fetch_has_ended_for_want_of_readers_begins_another() {
    let fills = fills();
    let (mut writer, own) = lead(&fills, 1);
    writer.publish(
        head(Some(500)),
        Disposition::Store {
            limit: 300,
            shared: true,
        },
    );
    drop(own);
    let back = follow(&fills, 1);
    assert_eq!(poll_ready(&mut writer), Poll::Ready(Ok(())), "somebody came back");
    drop(back);
    assert_eq!(poll_ready(&mut writer), Poll::Ready(Err(NoReaders)));
    let _another = lead(&fills, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_waits_is_woken_when_the_slowest_reader_moves() {
    let fills = Fills::new(FillConfig {
        window: 1000,
        ..FillConfig::default()
    });
    let (mut writer, mut reader) = lead(&fills, 1);
    let writing = tokio::spawn(async move {
        writer.publish(head(None), Disposition::Store { limit: 0, shared: true });
        for _ in 0..1000 {
            writer.ready().await.unwrap();
            writer.push(Bytes::from(vec![0; 100]));
        }
        writer.finish().unwrap();
    });
    assert!(matches!(reader.head().await, HeadOutcome::Head(_)));
    let mut len = 0;
    while let Some(chunk) = reader.chunk().await.unwrap() {
        len += chunk.len();
        assert!(fills.stats().buffered <= 1100);
    }
    writing.await.unwrap();
    assert_eq!(len, 100_000);
}

#[test]
fn the_memory_of_all_fills_is_bounded_and_given_back() {
    let fills = Fills::new(FillConfig {
        max_buffered: 250,
        ..FillConfig::default()
    });
    let (mut first, reader) = lead(&fills, 1);
    first.publish(head(None), STORE);
    first.push(Bytes::from(vec![0; 200]));
    let (mut second, _own) = lead(&fills, 2);
    second.publish(head(None), STORE);
    second.push(Bytes::from(vec![0; 100]));
    assert!(!first.is_passing());
    assert!(second.is_passing());
    drop((first, reader));
    assert_eq!(fills.stats().buffered, 100);
}

#[test]
fn fills_that_pass_through_hold_little_once_all_fills_hold_too_much() {
    let fills = Fills::new(FillConfig {
        max_buffered: 1000,
        window: 400,
        narrow_window: 50,
        ..FillConfig::default()
    });
    let chunk = Bytes::from(vec![0; 100]);
    let mut held = Vec::new();
    for key in 0..40 {
        let (mut writer, mut reader) = lead(&fills, key);
        // Half of them keep their beginning for who comes late.
        let length = (key % 2 == 0).then_some(5000);
        writer.publish(
            head(length),
            Disposition::Store {
                limit: 300,
                shared: true,
            },
        );
        assert!(matches!(poll_head(&mut reader), Poll::Ready(HeadOutcome::Head(_))));
        while poll_ready(&mut writer).is_ready() {
            writer.push(chunk.clone());
        }
        held.push((writer, reader));
    }
    let most = 1000 + 400 + 40 * 100;
    assert!(fills.stats().buffered <= most, "{}", fills.stats().buffered);
    // Each goes on as its reader takes what there is.
    for (writer, reader) in &mut held {
        while let Poll::Ready(read) = poll_chunk(reader) {
            assert_eq!(read.unwrap().unwrap().len(), 100);
        }
        assert!(poll_ready(writer).is_ready());
    }
    assert_eq!(fills.stats().buffered, 0);
}

#[test]
fn fills_and_their_readers_are_bounded() {
    let fills = Fills::new(FillConfig {
        max_fills: 2,
        max_readers: 2,
        ..FillConfig::default()
    });
    let first = lead(&fills, 1);
    let _second = lead(&fills, 2);
    assert!(matches!(join(&fills, 3), Join::Full));
    let follower = follow(&fills, 1);
    assert!(matches!(join(&fills, 1), Join::Full));
    assert_eq!(fills.stats().refused, 2);
    drop(follower);
    let _follower = follow(&fills, 1);
    drop(first);
    drop(_follower);
    let _third = lead(&fills, 3);
}

#[test]
fn a_request_after_a_purge_does_not_join_a_fetch_from_before() {
    let (fills, epochs) = (fills(), Epochs::default());
    let join = |tags: &[u64]| fills.join(Key(1), &epochs.stamp(1), tags, 0, NOW);
    let Join::Leader(_writer, _own) = join(&[7]) else {
        panic!("expected to lead")
    };
    assert!(matches!(join(&[7]), Join::Follower(_)));
    epochs.purge(1, &Selector::Tags(vec![8]), Mode::Hard);
    assert!(matches!(join(&[7]), Join::Follower(_)));
    epochs.purge(1, &Selector::Tags(vec![7]), Mode::Hard);
    let Join::Leader(_newer, _reader) = join(&[7]) else {
        panic!("expected to lead")
    };
    assert!(matches!(join(&[7]), Join::Follower(_)));
}

#[test]
fn a_stored_object_may_answer_in_place_of_a_fetch() {
    let fills = fills();
    let (writer, mut own) = lead(&fills, 1);
    let mut other = follow(&fills, 1);
    let object = std::sync::Arc::new(crate::object::Object::for_tests());
    writer.answer(std::sync::Arc::clone(&object));
    for reader in [&mut own, &mut other] {
        let Poll::Ready(HeadOutcome::Object(found)) = poll_head(reader) else {
            panic!("no object")
        };
        assert!(std::sync::Arc::ptr_eq(&found, &object));
    }
    let _ = lead(&fills, 1);
}
