//! Reading behind a fetch that is written while it comes.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::super::record::CHUNK;
use super::*;

const SIZE: usize = 1_500_000;

fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// What can be read behind at once, from the beginning.
fn behind(follower: &Follower) -> (Content, Poll<Result<(), Lost>>) {
    let mut all = Vec::new();
    loop {
        let end = match poll(follower.from(all.len() as u64)) {
            Poll::Ready(Ok(Some(pinned))) => {
                while let Some(part) = pinned.part(all.len() as u64) {
                    let mut bytes = vec![0; part.len()];
                    io::read_exact_at(&**part.file().unwrap(), &mut bytes, part.offset()).unwrap();
                    all.extend_from_slice(&part.content(&bytes.into()).unwrap());
                }
                continue;
            }
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(lost)) => Poll::Ready(Err(lost)),
            Poll::Pending => Poll::Pending,
        };
        return (Content(all.into()), end);
    }
}

/// A fetch that is written while it comes, of unknown length, and its head.
fn begin(process: &Process) -> (Spill, FillHead) {
    let head = FillHead {
        content_length: None,
        ..process.head("", SIZE as u64, "")
    };
    process.store.seen(key(1));
    let spill = process.cache.spill(key(1), &head, &SitePolicy::default());
    (spill.unwrap(), head)
}

#[test]
fn who_comes_late_reads_what_is_written_and_then_what_comes_to_the_end() {
    let whole = content(1, 0, SIZE);
    let mut process = start_with(&MemoryDir::default(), 16 << 20);
    let stamp = process.cache.stamp(SITE);
    let (mut spill, head) = begin(&process);
    let early = spill.trail().follow();
    assert_eq!(behind(&early), (Content(Bytes::new()), Poll::Pending));
    spill.push(&whole.0[..700_000]);
    assert!(behind(&early).0.0.is_empty(), "it is not written yet");
    process.work();
    let late = spill.trail().follow();
    for follower in [&early, &late] {
        let (read, end) = behind(follower);
        assert_eq!((read.0.len(), end), (5 * CHUNK as usize, Poll::Pending), "whole pieces");
        assert!(whole.0.starts_with(&read.0));
    }
    spill.push(&whole.0[700_000..]);
    assert!(process.cache.insert_spilled(key(1), &head, spill, &stamp, None));
    process.work();
    assert_eq!(behind(&late), (whole.clone(), Poll::Ready(Ok(()))));
    assert_eq!(behind(&early), (whole, Poll::Ready(Ok(()))));
}

#[test]
fn who_reads_behind_a_fetch_that_was_purged_meanwhile_gets_all_of_it() {
    let whole = content(1, 0, SIZE);
    let mut process = start_with(&MemoryDir::default(), 16 << 20);
    let stamp = process.cache.stamp(SITE);
    let (mut spill, head) = begin(&process);
    let follower = spill.trail().follow();
    spill.push(&whole.0);
    process.cache.epochs().purge(SITE, &Selector::Everything, Mode::Hard);
    assert!(!process.cache.insert_spilled(key(1), &head, spill, &stamp, None));
    process.work();
    assert_eq!(behind(&follower), (whole, Poll::Ready(Ok(()))));
    assert_eq!(process.content(1), None);
}

#[test]
fn a_fetch_that_fails_or_loses_a_piece_ends_those_behind_with_an_error() {
    let dir = MemoryDir::default();
    let mut process = start_with(&dir, 16 << 20);
    let (mut spill, _) = begin(&process);
    let follower = spill.trail().follow();
    spill.push(&content(1, 0, 200_000).0);
    process.work();
    drop(spill);
    let (read, end) = behind(&follower);
    assert_eq!((read.0.len(), end), (CHUNK as usize, Poll::Ready(Err(Lost))));
    assert!(!follower.is_alive());

    let (mut spill, _) = begin(&process);
    let follower = spill.trail().follow();
    dir.faults.fail_writes.store(true, Ordering::Relaxed);
    spill.push(&content(1, 0, 200_000).0);
    process.work();
    assert_eq!(behind(&follower).1, Poll::Ready(Err(Lost)));
    assert!(!spill.trail().is_alive());
}

#[test]
fn a_fetch_waits_for_its_pieces_to_be_written_only_while_somebody_reads_behind() {
    let mut process = start_with(&MemoryDir::default(), 64 << 20);
    let (mut spill, _) = begin(&process);
    spill.push(&vec![0; 5 << 20]);
    assert!(poll(spill.room()).is_ready(), "nobody is behind");
    let follower = spill.trail().follow();
    assert!(poll(spill.room()).is_pending());
    drop(follower);
    assert!(poll(spill.room()).is_ready(), "nobody is behind any more");
    let _follower = spill.trail().follow();
    process.work();
    assert!(poll(spill.room()).is_ready(), "all of it is written");
}

#[tokio::test]
async fn who_waits_is_woken_by_the_next_piece_and_by_the_end() {
    let mut process = start_with(&MemoryDir::default(), 16 << 20);
    let (mut spill, _) = begin(&process);
    let follower = spill.trail().follow();
    let reading = tokio::spawn(async move {
        let first = follower.from(0).await;
        (
            first.is_ok_and(|pinned| pinned.is_some()),
            follower.from(CHUNK).await.is_err(),
        )
    });
    tokio::task::yield_now().await;
    spill.push(&content(1, 0, 200_000).0);
    process.work();
    tokio::task::yield_now().await;
    drop(spill);
    assert_eq!(reading.await.unwrap(), (true, true));
}
