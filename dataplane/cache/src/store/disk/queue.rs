//! What waits to be written. Requests never wait for it: what does not fit is refused and counted.
//!
//! Removals go ahead of content that was queued before them, in turns with it, so that they wait for one item at most; all
//! else is written in order.
//!
//! Invariant: nothing that was queued before its key was removed is written, or becomes findable, after that removal
//! ([`Queue::is_removed`], [`Queue::unless_removed`]): a removal counts from the moment it was asked for.
//!
//! Bounds: bytes of content that wait (one object may exceed them if nothing else waits), and the number of all else.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::{Condvar, Mutex};

use super::spill::Spilled;
use crate::key::Key;
use crate::object::Object;

/// Items without content that wait at most.
const MAX_ITEMS: usize = 65_536;

/// Something to write.
#[derive(Debug)]
pub(super) enum Work {
    /// A response, under the key of its request. What it `replaces` is not found any more, and is to be removed from the
    /// log should this not be written.
    Write {
        key: Key,
        object: Arc<Object>,
        replaces: Option<Key>,
    },
    /// A piece of a response that is still coming.
    Chunk { of: Arc<Spilled>, data: Bytes },
    /// The pieces are complete; `object` has everything but them.
    Commit {
        of: Arc<Spilled>,
        key: Key,
        object: Arc<Object>,
    },
    /// A key is forgotten.
    Remove(Key),
}

/// Work and its place in the order of all work.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) order: u64,
    pub(super) work: Work,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    more: Condvar,
    most_bytes: u64,
    /// A copy, to be read without the lock.
    bytes: AtomicU64,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Item>,
    /// Keys to be removed, with their place in the order.
    removals: VecDeque<(Key, u64)>,
    bytes: u64,
    order: u64,
    /// The newest removal of each key that has one waiting, or that responses from before it still wait for.
    removed: HashMap<Key, Removal, RandomState>,
    /// How many responses wait for a key, the one at work included.
    puts: HashMap<Key, u32, RandomState>,
    at_work: Option<AtWork>,
    /// It is content's turn.
    turn: bool,
    /// The writer is to look at something else.
    woken: bool,
    /// That is what it did last.
    looked: bool,
}

/// A removal that counts.
#[derive(Debug)]
struct Removal {
    order: u64,
    /// It is in the log.
    written: bool,
}

/// What the writer has taken and not done yet.
#[derive(Debug)]
enum AtWork {
    Response(Key),
    Removal,
    Other,
}

impl Work {
    fn bytes(&self) -> u64 {
        match self {
            Self::Write { object, .. } => object.body.resident() + object.head.len() as u64,
            Self::Chunk { data, .. } => data.len() as u64,
            Self::Commit { .. } | Self::Remove(_) => 0,
        }
    }

    /// The key under which it will be found.
    const fn response(&self) -> Option<Key> {
        match self {
            Self::Write { key, .. } | Self::Commit { key, .. } => Some(*key),
            Self::Chunk { .. } | Self::Remove(_) => None,
        }
    }
}

impl Inner {
    /// The writer is done with what it took.
    fn done(&mut self) {
        let Some(AtWork::Response(key)) = self.at_work.take() else {
            return;
        };
        if let Some(puts) = self.puts.get_mut(&key) {
            *puts -= 1;
            if *puts == 0 {
                self.puts.remove(&key);
                if self.removed.get(&key).is_some_and(|removal| removal.written) {
                    self.removed.remove(&key);
                }
            }
        }
    }

    fn has_work(&self) -> bool {
        !self.items.is_empty() || !self.removals.is_empty()
    }

    fn next(&mut self) -> Option<Item> {
        // Nothing that was queued after a removal goes before it.
        let older = |item: &Item| self.removals.front().is_none_or(|&(_, order)| item.order < order);
        let content = self.items.front().is_some_and(older) && (self.turn || self.removals.is_empty());
        let item = match content {
            true => self.items.pop_front()?,
            false => {
                let (key, order) = self.removals.pop_front()?;
                let work = Work::Remove(key);
                Item { order, work }
            }
        };
        self.turn = matches!(item.work, Work::Remove(_));
        self.at_work = Some(match (&item.work, item.work.response()) {
            (Work::Remove(_), _) => AtWork::Removal,
            (_, Some(key)) => AtWork::Response(key),
            (_, None) => AtWork::Other,
        });
        self.bytes -= item.work.bytes();
        Some(item)
    }

    fn is_removed(&self, key: Key, order: u64) -> bool {
        self.removed.get(&key).is_some_and(|removal| removal.order > order)
    }
}

impl Queue {
    pub(super) fn new(most_bytes: u64) -> Self {
        Self {
            inner: Mutex::default(),
            more: Condvar::new(),
            most_bytes,
            bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether content would be refused now.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= self.most_bytes || self.is_closed()
    }

    /// Takes work. Returns whether there was room.
    pub(super) fn push(&self, work: Work) -> bool {
        let bytes = work.bytes();
        {
            let mut inner = self.inner.lock();
            let too_much = bytes > 0 && inner.bytes > 0 && inner.bytes + bytes > self.most_bytes;
            if too_much || inner.items.len() + inner.removals.len() >= MAX_ITEMS || self.is_closed() {
                return false;
            }
            inner.order += 1;
            let order = inner.order;
            if let Some(key) = work.response() {
                *inner.puts.entry(key).or_default() += 1;
            }
            inner.bytes += bytes;
            self.bytes.store(inner.bytes, Ordering::Relaxed);
            match work {
                Work::Remove(key) => {
                    inner.removed.insert(key, Removal { order, written: false });
                    inner.removals.push_back((key, order));
                }
                work => inner.items.push_back(Item { order, work }),
            }
        }
        self.more.notify_one();
        true
    }

    /// Whether nothing waits, and nothing is at work.
    pub(super) fn is_empty(&self) -> bool {
        let inner = self.inner.lock();
        !inner.has_work() && inner.at_work.is_none()
    }

    /// Whether removals wait, or are at work.
    pub(super) fn has_removals(&self) -> bool {
        let inner = self.inner.lock();
        !inner.removals.is_empty() || matches!(inner.at_work, Some(AtWork::Removal))
    }

    /// Up to which place in the order no removal waits.
    pub(super) fn removed_until(&self) -> u64 {
        let inner = self.inner.lock();
        inner.removals.front().map_or(inner.order, |(_, order)| order - 1)
    }

    /// Has [`Self::take`] come back, now or the next time; but not twice in a row while something waits.
    pub(super) fn wake(&self) {
        self.inner.lock().woken = true;
        self.more.notify_one();
    }

    /// The next item; `None` if there is none for so long, it is closed, or somebody called [`Self::wake`]. What was taken
    /// before is done.
    pub(super) fn take(&self, patience: Duration) -> Option<Item> {
        let mut inner = self.inner.lock();
        inner.done();
        if !inner.has_work() && !inner.woken && !self.is_closed() {
            self.more.wait_for(&mut inner, patience);
        }
        let looked = std::mem::take(&mut inner.looked);
        if std::mem::take(&mut inner.woken) && !looked && !self.is_closed() {
            inner.looked = true;
            return None;
        }
        let item = inner.next()?;
        self.bytes.store(inner.bytes, Ordering::Relaxed);
        Some(item)
    }

    /// The next removal.
    pub(super) fn take_removal(&self) -> Option<(Key, u64)> {
        self.inner.lock().removals.pop_front()
    }

    /// The place in the order that work queued now is behind of.
    pub(super) fn order(&self) -> u64 {
        self.inner.lock().order
    }

    /// Whether `key` was removed after `order`.
    pub(super) fn is_removed(&self, key: Key, order: u64) -> bool {
        self.inner.lock().is_removed(key, order)
    }

    /// Does something unless `key` was removed after `order`.
    pub(super) fn unless_removed(&self, key: Key, order: u64, act: impl FnOnce()) -> bool {
        let inner = self.inner.lock();
        let removed = inner.is_removed(key, order);
        if !removed {
            act();
        }
        !removed
    }

    /// Notes that a removal is in the log.
    pub(super) fn removal_done(&self, key: Key, order: u64) {
        let mut inner = self.inner.lock();
        let awaited = inner.puts.contains_key(&key);
        if let Some(removal) = inner.removed.get_mut(&key).filter(|removal| removal.order == order) {
            removal.written = true;
            if !awaited {
                inner.removed.remove(&key);
            }
        }
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        let _inner = self.inner.lock();
        self.closed.store(true, Ordering::Release);
        self.more.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: usize) -> Work {
        let mut object = Object::for_tests();
        object.body = Bytes::from(vec![0; bytes]).into();
        let object = Arc::new(object);
        Work::Write {
            key: Key(1),
            object,
            replaces: None,
        }
    }

    #[test]
    fn content_beyond_the_bound_is_refused_but_one_object_always_fits() {
        let queue = Queue::new(100);
        assert!(queue.push(put(500)));
        assert!(queue.is_full());
        assert!(!queue.push(put(1)));
        assert!(
            queue.push(Work::Remove(Key(2))),
            "what has no content waits all the same"
        );
        // The removal, then the object.
        (0..2).for_each(|_| assert!(queue.take(Duration::ZERO).is_some()));
        assert!(queue.push(put(1)) && queue.bytes() == 1);
    }

    #[test]
    fn what_was_queued_before_a_removal_is_not_done_after_it() {
        let queue = Queue::new(100);
        queue.push(put(1));
        let first = queue.take(Duration::ZERO).unwrap();
        queue.push(Work::Remove(Key(1)));
        let second = queue.order();
        assert!(!queue.unless_removed(Key(1), first.order, || panic!("removed")));
        assert!(queue.unless_removed(Key(2), first.order, || {}));
        assert!(queue.unless_removed(Key(1), second, || {}), "asked for afterwards");
        let (key, order) = queue.take_removal().unwrap();
        queue.removal_done(key, order);
        assert!(queue.is_removed(Key(1), first.order), "it is still at work");
        assert!(queue.take(Duration::ZERO).is_none());
        assert!(!queue.is_removed(Key(1), first.order), "nothing from before is left");
    }

    #[test]
    fn a_removal_goes_ahead_of_content_and_lets_one_item_pass_between_two() {
        let queue = Queue::new(1000);
        let key = |n: u128| Key(10 + n);
        (0..3).for_each(|_| assert!(queue.push(put(1))));
        (0..3).for_each(|n| assert!(queue.push(Work::Remove(key(n)))));
        let removes = |item: Item| match item.work {
            Work::Remove(key) => Some(key),
            _ => None,
        };
        queue.push(put(1));
        let taken: Vec<_> = (0..6).map(|_| removes(queue.take(Duration::ZERO).unwrap())).collect();
        assert_eq!(taken, [Some(key(0)), None, Some(key(1)), None, Some(key(2)), None]);
        assert!(
            queue.take(Duration::ZERO).is_some() && !queue.is_empty(),
            "the last is at work"
        );
        assert!(queue.take(Duration::ZERO).is_none() && queue.is_empty());
    }

    #[test]
    fn who_wakes_the_writer_again_and_again_keeps_no_work_waiting() {
        let queue = Queue::new(1000);
        (0..2).for_each(|n| assert!(queue.push(Work::Remove(Key(n)))));
        for _ in 0..2 {
            queue.wake();
            assert!(queue.take(Duration::ZERO).is_none(), "it looks at something else");
            queue.wake();
            assert!(queue.take(Duration::ZERO).is_some(), "and then works");
        }
        queue.wake();
        assert!(queue.take(Duration::ZERO).is_none());
    }

    #[test]
    fn what_was_queued_after_a_removal_never_goes_before_it() {
        let queue = Queue::new(1000);
        queue.push(Work::Remove(Key(9)));
        assert!(queue.take(Duration::ZERO).is_some(), "it is content's turn now");
        queue.push(Work::Remove(Key(1)));
        queue.push(put(1));
        assert!(matches!(queue.take(Duration::ZERO).unwrap().work, Work::Remove(Key(1))));
        assert!(matches!(queue.take(Duration::ZERO).unwrap().work, Work::Write { .. }));
    }

    #[test]
    fn a_removal_that_is_written_first_counts_until_the_last_response_from_before_it_is_done() {
        let queue = Queue::new(1000);
        (0..2).for_each(|_| assert!(queue.push(put(1))));
        let before = queue.order();
        queue.push(Work::Remove(Key(1)));
        let removal = queue.take(Duration::ZERO).unwrap();
        queue.removal_done(Key(1), removal.order);
        for _ in 0..2 {
            let late = queue.take(Duration::ZERO).unwrap();
            assert!(queue.is_removed(Key(1), late.order));
        }
        assert!(queue.take(Duration::ZERO).is_none());
        assert!(!queue.is_removed(Key(1), before));
    }

    #[test]
    fn a_writer_that_is_woken_comes_back_before_it_takes_anything() {
        let queue = Queue::new(100);
        queue.push(put(1));
        queue.wake();
        assert!(queue.take(Duration::from_secs(60)).is_none());
        assert!(queue.take(Duration::ZERO).is_some());
        queue.wake();
        assert!(queue.take(Duration::from_secs(60)).is_none());
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let queue = Queue::new(100);
        queue.push(put(1));
        queue.wake();
        queue.close();
        assert!(!queue.push(put(1)));
        assert!(queue.take(Duration::from_secs(60)).is_some());
        assert!(queue.take(Duration::from_secs(60)).is_none());
    }
}
