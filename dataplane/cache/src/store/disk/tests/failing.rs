//! Disks that fail, fill up, or take less than they are given.

use super::*;

#[test]
fn short_reads_and_writes_are_gone_on_with() {
    let dir = MemoryDir::default();
    dir.faults.short.store(true, Ordering::Relaxed);
    let mut process = start(&dir);
    process.write(1, &content(1, 0, 300_000));
    process.cache.keep_purges();
    assert_eq!(process.restart().content(1), Some(content(1, 0, 300_000)));
}

#[test]
fn what_cannot_be_written_is_lost_and_counted_and_the_rest_is_served() {
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    process.write(1, &content(1, 0, 10));
    dir.faults.fail_writes.store(true, Ordering::Relaxed);
    process.write(2, &content(2, 0, 10));
    let stats = process.store.stats();
    assert_eq!((stats.lost, stats.write_errors > 0), (1, true));
    assert_eq!(
        (process.content(1), process.content(2)),
        (Some(content(1, 0, 10)), None)
    );
    dir.faults.fail_writes.store(false, Ordering::Relaxed);
    process.write(3, &content(3, 0, 10));
    assert_eq!(process.content(3), Some(content(3, 0, 10)), "it goes on elsewhere");
}

#[test]
fn a_disk_that_fails_again_and_again_is_left_alone_for_a_while() {
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    process.write(0, &content(0, 0, 10));
    dir.faults.fail_writes.store(true, Ordering::Relaxed);
    for n in 1..10 {
        process.write(n, &content(n, 0, 10));
    }
    assert!(matches!(
        process.store.complaint(),
        Some(Complaint::Resting { ms: 10_000, .. })
    ));
    let before = dir.faults.writes.load(Ordering::Relaxed);
    process.write(10, &content(10, 0, 10));
    assert_eq!(dir.faults.writes.load(Ordering::Relaxed), before);

    dir.faults.fail_writes.store(false, Ordering::Relaxed);
    process.store(11, content(11, 0, 10));
    process.store(11, content(11, 0, 10));
    let later = NOW.plus_millis(10_000);
    assert!(process.log.work(later, Duration::ZERO));
    assert_eq!(process.content(11), Some(content(11, 0, 10)));
}

#[test]
fn a_removal_that_could_not_be_written_is_written_as_soon_as_the_disk_works() {
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    process.write(1, &content(1, 0, 10));
    process.cache.keep_purges();
    dir.faults.fail_writes.store(true, Ordering::Relaxed);
    process.cache.remove_for_tests(key(1));
    process.work();
    dir.faults.fail_writes.store(false, Ordering::Relaxed);
    process.write(2, &content(2, 0, 10));
    let next = process.restart();
    assert_eq!((next.content(1), next.content(2)), (None, Some(content(2, 0, 10))));
}

#[test]
fn a_store_that_ends_with_removals_unwritten_is_not_used_again() {
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    process.write(1, &content(1, 0, 10));
    process.cache.keep_purges();
    let (name, _) = dir.list().unwrap().into_iter().map(|name| (name, ())).next().unwrap();
    assert!(name.ends_with(".seg"));
    // The segment fails, the directory does not.
    dir.faults.writable.store(1, Ordering::Relaxed);
    process.cache.remove_for_tests(key(1));
    process.work();
    dir.faults.writable.store(u64::MAX, Ordering::Relaxed);
    process.store.distrust("a test");
    assert!(matches!(process.store.complaint(), Some(Complaint::Distrusted(_))));
    let next = process.restart();
    assert_eq!(next.content(1), None);
    assert!(next.emptied.is_some());
}

#[test]
fn purges_that_cannot_be_kept_keep_the_store_from_being_used_again() {
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    process.write(1, &content(1, 0, 10));
    process.cache.keep_purges();
    process.cache.epochs().purge(SITE, &Selector::Everything, Mode::Hard);
    // Enough for no entry, but the directory works.
    dir.faults.writable.store(1, Ordering::Relaxed);
    dir.faults.short.store(true, Ordering::Relaxed);
    process.cache.keep_purges();
    assert!(process.store.complaint().is_some());
    dir.faults.writable.store(u64::MAX, Ordering::Relaxed);
    let _ = dir.remove("store");
    assert!(process.restart().emptied.is_some());
}

#[test]
fn a_full_disk_gives_up_the_oldest_for_the_newest_and_is_counted() {
    let dir = MemoryDir::default();
    // Room for three segments and what belongs to the store.
    dir.faults.room.store((3 << 20) + (5 << 19), Ordering::Relaxed);
    let mut process = start(&dir);
    for n in 0..60 {
        process.write(n, &content(n, 0, 200_000));
    }
    let stats = process.store.stats();
    assert!(stats.full_errors > 0 && stats.bytes <= 4 << 20, "{stats:?}");
    assert_eq!(process.content(59), Some(content(59, 0, 200_000)));
    assert_eq!(process.content(0), None);
    let found = (0..60)
        .filter(|&n| process.content(n) == Some(content(n, 0, 200_000)))
        .count();
    assert!(found >= 8, "{found}");
}

#[test]
fn a_disk_without_any_room_stores_nothing_and_does_no_harm() {
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    dir.faults.room.store(0, Ordering::Relaxed);
    process.write(1, &content(1, 0, 10));
    assert_eq!(process.content(1), None);
    assert!(process.store.stats().full_errors > 0);
}

#[test]
fn a_read_that_fails_is_a_miss() {
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    process.write(1, &content(1, 0, 10));
    dir.faults.fail_reads.store(true, Ordering::Relaxed);
    assert_eq!(process.content(1), None);
}

#[test]
fn a_segment_that_cannot_be_read_at_the_start_is_let_go() {
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    for n in 0..12 {
        process.write(n, &content(n, 0, 200_000));
    }
    process.cache.keep_purges();
    let first = dir
        .list()
        .unwrap()
        .into_iter()
        .find(|name| name.ends_with(".seg"))
        .unwrap();
    dir.file(&first).unwrap().bytes.lock()[10] ^= 1;
    let next = process.restart();
    assert_eq!(next.content(0), None);
    assert_eq!(next.content(11), Some(content(11, 0, 200_000)));
    assert!(!dir.list().unwrap().contains(&first));
}
