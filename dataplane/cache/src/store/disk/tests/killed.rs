//! What a process that is killed leaves to the next: nothing that was invalidated, and of what was replaced nothing while
//! its successor waits to be written.

use std::future::Future;

use super::*;
use crate::cache::Target;

impl Process {
    /// What the next process finds if this one is killed now.
    fn killed(&self) -> Self {
        start_with(&self.dir.copy(), 16 << 20)
    }

    /// Does one piece of work.
    fn step(&mut self) {
        assert!(self.log.work(NOW, Duration::ZERO));
    }

    /// Stores and writes content with one tag.
    fn write_tagged(&mut self, n: u64, content: &Content, tag: u64) {
        for _ in 0..2 {
            let mut head = self.head("", content.0.len() as u64, "");
            if let Some(storable) = &mut head.storable {
                storable.metadata.tags = [tag].into();
            }
            let stamp = self.cache.stamp(SITE);
            self.cache.insert(key(n), &head, content.0.clone().into(), &stamp);
        }
        self.work();
    }
}

fn begin() -> Process {
    start_with(&MemoryDir::default(), 16 << 20)
}

#[test]
fn an_invalidation_of_a_url_with_several_keys_outlives_a_kill() {
    let (mut process, url) = (begin(), key(99));
    let tag = process.cache.keyer().url_tag(url);
    process.write_tagged(1, &content(1, 0, 10), tag);
    process.write_tagged(2, &content(2, 0, 10), tag);
    process.write(3, &content(3, 0, 10));
    process.cache.keep_purges();
    assert!(process.killed().content(1).is_some());
    let policy = SitePolicy {
        key_cookies: vec!["lang".into()],
        ..SitePolicy::default()
    };
    let target = Target {
        site: SITE,
        url,
        key: key(1),
    };
    process.cache.invalidate(&target, &policy);
    // It has woken the writer, who would else wait for longer than anybody.
    assert!(process.log.work(NOW, Duration::from_secs(3600)));
    process.cache.note_news();
    process.step();
    let next = process.killed();
    assert_eq!((next.content(1), next.content(2)), (None, None));
    assert_eq!(next.content(3), Some(content(3, 0, 10)));
}

#[test]
fn an_invalidation_of_a_group_outlives_a_kill() {
    let (mut process, origin) = (begin(), key(98));
    let tag = process.cache.keyer().group_tag(origin, b"news");
    process.write_tagged(1, &content(1, 0, 10), tag);
    process.cache.keep_purges();
    process.cache.invalidate_groups(SITE, origin, &["news".to_owned()]);
    assert!(process.log.work(NOW, Duration::from_secs(3600)));
    process.cache.note_news();
    assert_eq!(process.killed().content(1), None);
}

#[test]
fn who_waits_for_an_invalidation_is_let_go_when_it_outlives_a_kill() {
    let (mut process, url) = (begin(), key(99));
    let tag = process.cache.keyer().url_tag(url);
    process.write_tagged(1, &content(1, 0, 10), tag);
    process.write_tagged(2, &content(2, 0, 10), tag);
    process.cache.keep_purges();
    let policy = SitePolicy {
        key_cookies: vec!["lang".into()],
        ..SitePolicy::default()
    };
    let target = Target {
        site: SITE,
        url,
        key: key(1),
    };
    process.cache.invalidate(&target, &policy);
    let mut settled = std::pin::pin!(process.cache.settled().unwrap());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut turns = 0;
    while settled.as_mut().poll(&mut cx).is_pending() {
        turns += 1;
        let turn = process.store.turn();
        process.step();
        process.cache.note_news();
        process.store.settle(turn);
    }
    assert!((1..=3).contains(&turns), "{turns}");
    let next = process.killed();
    assert_eq!((next.content(1), next.content(2)), (None, None));
}

#[test]
fn nobody_waits_where_nothing_is_to_be_written() {
    let mut process = begin();
    process.write(1, &content(1, 0, 10));
    process.cache.remove_for_tests(key(2));
    assert!(process.cache.settled().is_none());
    process.cache.remove_for_tests(key(1));
    assert!(process.cache.settled().is_some());
}

#[test]
fn nobody_waits_for_content() {
    let mut process = begin();
    process.cache.keep_purges();
    (0..2).for_each(|_| process.store(1, content(1, 0, 300_000)));
    assert!(!process.store.queue.is_empty() && process.cache.settled().is_none());
    process.work();
}

#[test]
fn who_waits_for_a_removal_does_not_wait_for_those_of_others_that_come_later() {
    let mut process = begin();
    (1..9).for_each(|n| process.write(n, &content(n, 0, 10)));
    process.cache.keep_purges();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    process.cache.remove_for_tests(key(1));
    let mut settled = std::pin::pin!(process.cache.settled().unwrap());
    assert!(settled.as_mut().poll(&mut cx).is_pending());
    // Its piece of work is to look whether there is news, the next one the removal.
    let mut others = Vec::new();
    for n in 2..4 {
        let turn = process.store.turn();
        process.step();
        process.cache.note_news();
        process.cache.remove_for_tests(key(n));
        others.push(process.cache.settled().unwrap());
        process.store.settle(turn);
    }
    assert!(settled.as_mut().poll(&mut cx).is_ready());
    let mut last = std::pin::pin!(others.pop().unwrap());
    assert!(
        last.as_mut().poll(&mut cx).is_pending(),
        "the last removal is in no log"
    );
    let next = process.killed();
    assert_eq!((next.content(1), next.content(3)), (None, Some(content(3, 0, 10))));
}

#[test]
fn who_waits_when_the_store_is_closed_is_let_go_when_the_writer_ends() {
    let mut process = begin();
    process.write(1, &content(1, 0, 10));
    process.cache.remove_for_tests(key(1));
    let mut settled = std::pin::pin!(process.cache.settled().unwrap());
    process.store.close();
    let woken = Arc::<Woken>::default();
    let waker = std::task::Waker::from(Arc::clone(&woken));
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(settled.as_mut().poll(&mut cx).is_pending(), "it is not in the log yet");
    assert!(process.cache.settled().is_none());
    while process.log.work(NOW, Duration::ZERO) {}
    assert!(woken.0.load(Ordering::SeqCst) && settled.as_mut().poll(&mut cx).is_ready());
    assert_eq!(process.killed().content(1), None);
}

/// Notes that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn an_invalidation_is_written_ahead_of_content_that_waits() {
    let mut process = begin();
    process.write(1, &content(1, 0, 10));
    process.cache.keep_purges();
    for _ in 0..2 {
        (2..6).for_each(|n| process.store(n, content(n, 0, 300_000)));
    }
    process.cache.remove_for_tests(key(1));
    process.step();
    let next = process.killed();
    assert_eq!((next.content(1), next.content(2)), (None, None));
}

#[test]
fn what_waited_when_its_key_was_removed_is_not_found_after_a_restart() {
    let mut process = begin();
    (0..2).for_each(|_| process.store(1, content(1, 0, 10)));
    (0..2).for_each(|_| process.store(2, content(2, 0, 10)));
    process.cache.keep_purges();
    // The removal goes ahead of the response, which must not come behind it.
    process.cache.remove_for_tests(key(1));
    process.work();
    let next = process.killed();
    assert_eq!((next.content(1), next.content(2)), (None, Some(content(2, 0, 10))));
    assert!(!process.store.contains(key(1)));
}

#[test]
fn what_was_replaced_is_not_found_while_its_successor_waits_nor_after_a_kill() {
    for size in [10, 600_000] {
        let mut process = begin();
        process.write(1, &content(1, 0, size));
        process.cache.keep_purges();
        for _ in 0..2 {
            (2..6).for_each(|n| process.store(n, content(n, 0, 300_000)));
        }
        process.store(1, content(1, 1, size));
        assert_eq!(process.content(1), None, "it is only in memory");
        process.step();
        assert_eq!(process.killed().content(1), None, "{size} bytes");
        process.work();
        assert_eq!(process.killed().content(1), Some(content(1, 1, size)));
    }
}

#[test]
fn what_was_replaced_while_nothing_waits_costs_no_removal() {
    let mut process = begin();
    process.write(1, &content(1, 0, 10));
    process.cache.keep_purges();
    let writes = || process.dir.faults.writes.load(Ordering::Relaxed);
    let before = writes();
    process.store(1, content(1, 1, 10));
    assert_eq!(process.content(1), None, "it is only in memory");
    process.step();
    let after = process.dir.faults.writes.load(Ordering::Relaxed);
    assert_eq!(
        (after - before, process.killed().content(1)),
        (1, Some(content(1, 1, 10)))
    );
}

#[test]
fn a_variant_that_was_replaced_leaves_the_others_where_they_are() {
    let mut process = begin();
    for accept in ["a", "b"] {
        let first = content(1, accept.as_bytes()[0].into(), 400_000);
        (0..2).for_each(|_| process.store_variant(1, first.clone(), "accept", accept));
    }
    process.work();
    process.cache.keep_purges();
    process.store_variant(1, content(1, 7, 400_000), "accept", "a");
    process.step();
    let next = process.killed();
    assert_eq!(next.content_of(1, "a"), None);
    assert_eq!(next.content_of(1, "b"), Some(content(1, b'b'.into(), 400_000)));
    process.work();
    assert_eq!(process.killed().content_of(1, "a"), Some(content(1, 7, 400_000)));
}

#[test]
fn a_replacement_that_cannot_be_written_ends_what_it_was_to_replace() {
    let mut process = begin();
    process.write(1, &content(1, 0, 10));
    process.cache.keep_purges();
    process.store(1, content(1, 1, 10));
    process.dir.faults.fail_writes.store(true, Ordering::Relaxed);
    process.step();
    process.dir.faults.fail_writes.store(false, Ordering::Relaxed);
    // The next that is written is preceded by the removal.
    process.write(2, &content(2, 0, 10));
    let next = process.killed();
    assert_eq!((next.content(1), next.content(2)), (None, Some(content(2, 0, 10))));
}

#[test]
fn what_is_replaced_again_and_again_while_others_are_removed_is_there_in_the_end() {
    let mut process = begin();
    process.write(1, &content(1, 0, 400_000));
    process.cache.keep_purges();
    for version in 1..6 {
        // So that it is content's turn.
        process.write(9, &content(9, version, 10));
        process.cache.remove_for_tests(key(9));
        process.step();
        process.store(1, content(1, version, 400_000));
    }
    process.work();
    assert_eq!(process.killed().content(1), Some(content(1, 5, 400_000)));
    assert_eq!(process.content(1), Some(content(1, 5, 400_000)));
}
