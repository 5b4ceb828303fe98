//! A store that is full: what goes, what stays, and what is on its way meanwhile.

use super::*;

/// Bytes of the objects here: about four to a segment.
const SIZE: usize = 240_000;

fn fill(process: &mut Process, keys: std::ops::Range<u64>) {
    keys.for_each(|n| process.write(n, &content(n, 0, SIZE)));
}

#[test]
fn the_oldest_go_and_what_was_used_since_stays() {
    let mut process = start(&MemoryDir::default());
    process.write(1, &content(1, 0, 1000));
    process.write(2, &content(2, 0, 1000));
    for round in 0..6 {
        // Straight from the disk, each time it may be about to go.
        assert!(process.store.find(key(1)).is_some(), "round {round}");
        fill(&mut process, 100 + round * 10..100 + round * 10 + 10);
    }
    process.cache.keep_purges();
    let stats = process.store.stats();
    assert!(
        stats.rewritten > 0 && stats.evictions > 0 && stats.bytes <= stats.limit,
        "{stats:?}"
    );
    assert_eq!(process.content(1), Some(content(1, 0, 1000)));
    assert_eq!(process.content(2), None);
    let next = process.restart();
    assert_eq!(next.content(1), Some(content(1, 0, 1000)));
    assert_eq!(next.content(159), Some(content(159, 0, SIZE)));
}

#[test]
fn what_was_removed_or_replaced_is_not_written_again() {
    let mut process = start(&MemoryDir::default());
    process.write(1, &content(1, 0, 1000));
    process.write(2, &content(2, 0, 1000));
    process.store.find(key(1));
    process.store.find(key(2));
    process.store(1, content(1, 5, 1000));
    process.cache.remove_for_tests(key(2));
    process.work();
    fill(&mut process, 100..140);
    assert_eq!(process.store.stats().rewritten, 0);
    assert_eq!(process.content(2), None);
}

#[test]
fn when_more_was_used_than_is_written_again_what_was_used_most_stays() {
    let mut process = start(&MemoryDir::default());
    // Two of these are half of a segment; the last ones are used most.
    (1..=4).for_each(|n| process.write(n, &content(n, 0, SIZE)));
    let uses = |n: u64| if n > 2 { 3 } else { 1 };
    (1..=4).for_each(|n| (0..uses(n)).for_each(|_| drop(process.store.find(key(n)))));
    let mut fresh = 100..200;
    let goes = fresh.any(|n| {
        process.write(n, &content(n, 0, SIZE));
        !process.store.contains(key(1))
    });
    assert!(goes);
    let left = (1..=4).filter(|n| process.store.contains(key(*n))).collect::<Vec<_>>();
    assert_eq!(left, [3, 4]);
}

#[test]
fn a_reader_of_a_segment_that_goes_reads_on() {
    let whole = content(1, 0, 500_000);
    let mut process = start(&MemoryDir::default());
    process.write(1, &whole);
    let mut process = process.restart();
    let object = process.load(1, "").unwrap();
    let extents = Arc::clone(object.body.extents().unwrap());
    let pinned = process.store.pin(&extents).unwrap();
    // Not used: memory has its head.
    let place = process.store.place(key(1)).unwrap();
    process.store.forget(key(1), &place);
    fill(&mut process, 100..140);
    assert!(process.store.pin(&extents).is_none(), "nobody begins any more");
    assert_eq!(read_range(&pinned, 0, 500_000), Some(whole));
}

#[test]
fn a_large_object_that_is_used_moves_with_the_log_and_one_that_is_not_goes() {
    let (used, unused) = (content(1, 0, 600_000), content(2, 0, 600_000));
    let mut process = start_with(&MemoryDir::default(), 64 << 20);
    process.write(1, &used);
    process.write(2, &unused);
    let units = process.store.max_segments();
    for n in 0..units * 8 {
        process.store.find(key(1));
        process.write(1000 + n, &content(n, 0, SIZE));
    }
    assert_eq!(process.content(2), None);
    let object = process.load(1, "");
    // Half of a segment of a mebibyte is less than it: it went as a whole.
    assert!(object.is_none());
    assert!(process.store.stats().evictions > 0);
}

#[test]
fn a_large_object_within_the_share_is_written_again_piece_by_piece() {
    // Segments of 4 MiB: the share is 2 MiB.
    let whole = content(1, 0, 300_000);
    let dir = MemoryDir::default();
    let mut process = start_with(&dir, 256 << 20);
    let segments = 4;
    process.store.limit_for_tests(segments);
    process.write(1, &whole);
    for n in 0..100 {
        process.store.find(key(1));
        process.write(1000 + n, &content(n, 0, SIZE));
    }
    assert_eq!(process.content(1), Some(whole.clone()));
    assert!(process.store.stats().rewritten > 0);
    process.cache.keep_purges();
    drop(process);
    let next = start_with(&dir, 256 << 20);
    assert_eq!(next.content(1), Some(whole));
}

#[test]
fn a_smaller_store_keeps_the_newest() {
    let dir = MemoryDir::default();
    let mut process = start_with(&dir, 16 << 20);
    fill(&mut process, 0..50);
    process.cache.keep_purges();
    drop(process);
    let next = start_with(&dir, 4 << 20);
    assert!(next.store.stats().bytes <= 4 << 20);
    assert_eq!(next.content(0), None);
    assert_eq!(next.content(49), Some(content(49, 0, SIZE)));
}

#[test]
fn an_object_too_large_for_the_store_is_refused() {
    let mut process = start(&MemoryDir::default());
    process.write(1, &content(1, 0, (2 << 20) + 1));
    assert_eq!(process.content(1), None);
    assert_eq!(process.store.stats().lost, 1);
}

#[test]
fn a_fetch_is_written_while_it_comes_and_found_when_it_is_complete() {
    let whole = content(1, 0, 1_500_000);
    let mut process = start_with(&MemoryDir::default(), 16 << 20);
    let head = process.head("", whole.0.len() as u64, "");
    let policy = SitePolicy::default();
    // Memory takes about 3 MiB in one part: pretend that it is too large for it by not knowing its length.
    let unknown = FillHead {
        content_length: None,
        ..head
    };
    let stamp = process.cache.stamp(SITE);
    assert!(
        process.cache.spill(key(1), &unknown, &policy).is_none(),
        "the first time"
    );
    let mut spill = process.cache.spill(key(1), &unknown, &policy).unwrap();
    for piece in whole.0.chunks(10_007) {
        spill.push(piece);
        process.work();
    }
    assert_eq!(process.content(1), None, "not before its end");
    assert!(process.cache.insert_spilled(key(1), &unknown, spill, &stamp, None));
    process.work();
    process.cache.keep_purges();
    assert_eq!(process.content(1), Some(whole.clone()));
    let object = process.load(1, "").unwrap();
    let head = String::from_utf8(object.head.to_vec()).unwrap();
    assert!(head.contains("content-length: 1500000"), "{head}");
}

#[test]
fn a_fetch_that_is_given_up_or_loses_a_piece_never_becomes_an_object() {
    let whole = content(1, 0, 400_000);
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    let head = process.head("", whole.0.len() as u64, "");
    let unknown = FillHead {
        content_length: None,
        ..head.clone()
    };
    let stamp = process.cache.stamp(SITE);
    process.store.seen(key(1));
    let spill = |process: &Process| process.cache.spill(key(1), &unknown, &SitePolicy::default()).unwrap();

    let mut given_up = spill(&process);
    given_up.push(&whole.0);
    drop(given_up);
    process.work();
    assert!(!process.store.contains(key(1)));

    let mut short = spill(&process);
    short.push(&whole.0[1..]);
    assert!(!process.cache.insert_spilled(key(1), &head, short, &stamp, None));

    let mut lost = spill(&process);
    dir.faults.fail_writes.store(true, Ordering::Relaxed);
    lost.push(&whole.0);
    process.work();
    dir.faults.fail_writes.store(false, Ordering::Relaxed);
    assert!(!lost.is_alive());
    assert!(!process.cache.insert_spilled(key(1), &unknown, lost, &stamp, None));

    let mut purged = spill(&process);
    purged.push(&whole.0);
    process.cache.epochs().purge(SITE, &Selector::Everything, Mode::Hard);
    assert!(!process.cache.insert_spilled(key(1), &unknown, purged, &stamp, None));
    process.work();
    assert!(!process.store.contains(key(1)));
}

#[test]
fn a_queue_that_is_full_refuses_and_what_was_to_be_replaced_goes() {
    let mut process = start_with(&MemoryDir::default(), 512 << 20);
    process.write(1, &content(1, 0, 10));
    // Nobody writes.
    let large = Content(vec![1; 500_000].into());
    for n in 100..200 {
        process.store(n, large.clone());
        process.store(n, large.clone());
    }
    assert!(process.store.stats().refused > 0);
    process.store(1, content(1, 1, 10));
    process.store(1, content(1, 1, 10));
    process.work();
    let found = process.content(1);
    assert!(found.is_none() || found == Some(content(1, 1, 10)), "never the old one");
}
