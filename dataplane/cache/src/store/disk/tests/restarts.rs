//! What one process leaves to the next: purges, sites, a store it cannot use, and what happened before it could.

use super::*;

#[test]
fn purges_outlive_the_process_hard_and_soft() {
    for (mode, found) in [(Mode::Hard, false), (Mode::Soft, true)] {
        let mut process = start(&MemoryDir::default());
        process.write(1, &content(1, 0, 10));
        process.cache.epochs().purge(SITE, &Selector::Tags(vec![77]), mode);
        process.cache.keep_purges();
        let next = process.restart();
        let object = next.load(1, "");
        assert_eq!(object.is_some(), found);
        assert!(object.is_none_or(|object| object.purged() == crate::purge::Purged::Soft));
    }
}

#[test]
fn a_purge_of_the_next_process_reaches_what_the_last_one_stored() {
    let mut process = start(&MemoryDir::default());
    // Its clock runs ahead without a word in the journal.
    (0..100).for_each(|n| process.cache.remove_for_tests(key(n + 100)));
    process.write(1, &content(1, 0, 10));
    process.cache.keep_purges();
    let next = process.restart();
    assert!(next.load(1, "").is_some());
    next.cache.epochs().purge(SITE, &Selector::Everything, Mode::Hard);
    assert!(next.load(1, "").is_none());
}

#[test]
fn a_site_that_was_forgotten_has_nothing_when_one_of_its_name_comes() {
    let mut process = start(&MemoryDir::default());
    process.write(1, &content(1, 0, 10));
    process.cache.keep_purges();
    process.cache.retain_sites(|_| false);
    process.cache.keep_purges();
    let next = process.restart();
    next.cache.stamp(SITE);
    assert!(next.load(1, "").is_none());
}

#[test]
fn a_site_the_journal_never_knew_has_nothing() {
    let mut process = start(&MemoryDir::default());
    process.write(1, &content(1, 0, 10));
    // Its opening was not kept: the process was killed first.
    let next = start(&process.dir);
    assert!(next.load(1, "").is_none());
}

#[test]
fn a_store_of_another_format_is_emptied_and_says_so() {
    let dir = MemoryDir::default();
    let mut process = start(&dir);
    process.write(1, &content(1, 0, 10));
    process.cache.keep_purges();
    let mut superblock = dir.file("store").unwrap().bytes.lock().clone();
    superblock[8] += 1;
    dir.set("store", superblock);
    let next = process.restart();
    assert!(
        next.emptied
            .as_ref()
            .is_some_and(|why| why.contains(&format!("format {FORMAT}"))),
        "{:?}",
        next.emptied
    );
    assert_eq!((next.content(1), next.store.stats().bytes), (None, 0));
    assert!(!dir.list().unwrap().iter().any(|name| name.ends_with(".seg")));
}

#[test]
fn a_store_whose_purges_or_superblock_are_lost_is_emptied() {
    for name in ["store", "purges"] {
        let dir = MemoryDir::default();
        let mut process = start(&dir);
        process.write(1, &content(1, 0, 10));
        process.cache.keep_purges();
        dir.remove(name).unwrap();
        let next = process.restart();
        assert!(next.emptied.is_some(), "{name}");
        assert_eq!(next.content(1), None, "{name}");
    }
}

#[test]
fn keys_that_changed_while_the_store_was_awaited_are_not_found_in_it() {
    let dir = MemoryDir::default();
    let mut first = start(&dir);
    for n in 1..=3 {
        first.write(n, &content(n, 0, 10));
    }
    first.cache.keep_purges();
    drop(first);

    let opened = open(Arc::new(dir.clone()), &DiskConfig { bytes: 8 << 20 }, [0, 0]).unwrap();
    let store = opened.store;
    let cache = Cache::new(Config::new(4 << 20, store.superblock().seed));
    cache.await_disk(store.superblock(), &opened.purges).unwrap();
    let mut process = Process {
        dir,
        log: store.recover().unwrap(),
        cache,
        store,
        emptied: None,
    };
    // Not attached yet.
    process.store(1, content(1, 1, 10));
    process.cache.remove_for_tests(key(2));
    process.cache.adopt_purges(&process.store, &opened.purges).unwrap();
    assert!(process.cache.attach_disk(&process.store));
    assert_eq!((process.content(1), process.content(2)), (None, None));
    assert_eq!(process.content(3), Some(content(3, 0, 10)));
    process.work();
    assert_eq!(process.restart().content(2), None);
}
