//! A process that dies at any byte of a write, and what the next one finds.

use super::*;

/// The bytes of the newest segment.
fn newest(dir: &MemoryDir) -> (String, Vec<u8>) {
    let names = dir.list().unwrap();
    let name = names.iter().rfind(|name| name.ends_with(".seg")).unwrap();
    (name.clone(), dir.file(name).unwrap().bytes.lock().clone())
}

/// What is stored of a key after some number of its versions.
fn versions(n: u64) -> Vec<Option<Content>> {
    match n {
        1 => vec![None, Some(content(1, 0, 100)), Some(content(1, 1, 120))],
        2 => vec![None, Some(content(2, 0, 200)), None],
        _ => vec![None, Some(content(3, 0, 300_000))],
    }
}

/// A store with several records at its end: an object, its successor, one that is removed, one in pieces.
fn written() -> MemoryDir {
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    process.write(9, &content(9, 0, 50));
    process.cache.keep_purges();
    process.write(1, &content(1, 0, 100));
    process.write(2, &content(2, 0, 200));
    process.store(1, content(1, 1, 120));
    process.work();
    process.cache.remove_for_tests(key(2));
    process.work();
    process.write(3, &content(3, 0, 300_000));
    dir
}

#[test]
fn a_log_that_is_cut_at_any_byte_gives_what_was_whole_and_nothing_wrong() {
    let dir = written();
    let (name, whole) = newest(&dir);
    let segment = Segment {
        sequence: segment::sequence_of(&name).unwrap(),
        file: dir.open(&name).unwrap(),
    };
    let listed = segment.contents(1 << 20).unwrap().listed;
    // Every byte of an object and of the removal behind it; of the others, some.
    let cuts = listed.iter().enumerate().flat_map(|(i, entry)| {
        let start = entry.unit as usize * 4096;
        let most = if matches!(i, 3 | 4) { 400 } else { 0 };
        let rest = (start + most..start + entry.units as usize * 4096).step_by(20_011);
        (start..start + most)
            .chain((start + most..start + 400).step_by(23))
            .chain(rest)
    });
    let known: Vec<_> = (1..=3).map(versions).collect();
    let mut found = 0;
    for (i, cut) in cuts.enumerate().skip(1) {
        let torn = dir.copy();
        let mut bytes = whole[..cut].to_vec();
        // What comes behind is nothing, or what was there before.
        bytes.resize(whole.len(), if i % 2 == 0 { 0 } else { 0xa5 });
        if i % 2 == 1 {
            bytes[whole.len() - 4096..].fill(0);
        }
        torn.set(&name, bytes);
        let next = start(&torn);
        let whole = cut >= 4096 * 2;
        assert!(!whole || next.content(9) == Some(content(9, 0, 50)), "cut at {cut}");
        for (n, known) in (1..).zip(&known) {
            let content = next.content(n);
            found += usize::from(content.is_some());
            assert!(known.contains(&content), "key {n}, cut at {cut}");
        }
    }
    assert!(found > 300, "{found}");
}

#[test]
fn a_log_goes_on_where_it_was_cut_and_what_lay_behind_never_comes_back() {
    let dir = written();
    let (name, whole) = newest(&dir);
    // The record of key 1, torn in its first byte; those behind it are there still.
    let mut bytes = whole;
    bytes[4096 * 2] ^= 0xff;
    dir.set(&name, bytes);
    let mut next = start(&dir);
    assert_eq!((next.content(1), next.content(2), next.content(3)), (None, None, None));
    next.write(1, &content(1, 7, 100));
    next.cache.keep_purges();
    let last = next.restart();
    assert_eq!(last.content(1), Some(content(1, 7, 100)));
    assert_eq!((last.content(2), last.content(3)), (None, None));
    assert_eq!(last.content(9), Some(content(9, 0, 50)));
}

#[test]
fn a_process_that_dies_at_any_write_leaves_what_was_written_before() {
    // More than a segment, so that sealing and beginning anew are among the writes.
    let fill = |process: &mut Process| {
        for n in 0..8 {
            process.write(n, &content(n, 0, 200_000));
        }
    };
    let probe = MemoryDir::default();
    let mut process = start(&probe);
    process.cache.stamp(SITE);
    process.cache.keep_purges();
    let writable = 1u64 << 40;
    probe.faults.writable.store(writable, Ordering::Relaxed);
    fill(&mut process);
    let total = writable - probe.faults.writable.load(Ordering::Relaxed);
    assert!(
        probe
            .list()
            .unwrap()
            .iter()
            .filter(|name| name.ends_with(".seg"))
            .count()
            > 1
    );

    for step in 0..60 {
        let at = total * step / 59;
        let dir = MemoryDir::default();
        let mut process = start(&dir);
        process.cache.stamp(SITE);
        process.cache.keep_purges();
        dir.faults.writable.store(at, Ordering::Relaxed);
        fill(&mut process);
        let written: Vec<_> = (0..8).filter(|&n| process.store.contains(key(n))).collect();
        let next = start(&dir.copy());
        for n in 0..8 {
            let found = next.content(n);
            assert!(found.is_none() || found == Some(content(n, 0, 200_000)), "{n} at {at}");
            assert!(
                found.is_some() || !written.contains(&n),
                "{n} at {at}: it was acknowledged"
            );
        }
    }
}

#[test]
fn a_bit_that_flips_on_the_disk_costs_its_object_and_is_counted() {
    let dir = written();
    let (name, whole) = newest(&dir);
    for at in [4096 + 20, 4096 + 100, 4096 + 300] {
        let flipped = dir.copy();
        let process = start(&flipped);
        let file = flipped.file(&name).unwrap();
        file.bytes.lock()[at] ^= 1;
        assert_eq!(process.content(9), None, "{at}");
        assert_eq!(process.store.stats().checksum_errors, 1);
        assert!(!process.store.contains(key(9)), "it is not read again");
        assert_eq!(process.content(1), Some(content(1, 1, 120)));
        assert!(whole.len() > at);
    }
}
