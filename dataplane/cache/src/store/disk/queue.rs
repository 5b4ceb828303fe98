//! What waits to be written. Requests never wait for it: what does not fit is refused and counted.
//!
//! Invariant: what is queued is written in order, and nothing that was queued before its key was removed becomes findable
//! afterwards ([`Queue::unless_removed`]): a removal counts from the moment it was asked for.
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
    /// A response, under the key of its request.
    Put { key: Key, object: Arc<Object> },
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
    bytes: u64,
    order: u64,
    /// Keys whose removal waits, with its place in the order.
    removals: HashMap<Key, u64, RandomState>,
}

impl Work {
    fn bytes(&self) -> u64 {
        match self {
            Self::Put { object, .. } => object.body.resident() + object.head.len() as u64,
            Self::Chunk { data, .. } => data.len() as u64,
            Self::Commit { .. } | Self::Remove(_) => 0,
        }
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
            if too_much || inner.items.len() >= MAX_ITEMS || self.is_closed() {
                return false;
            }
            inner.order += 1;
            let order = inner.order;
            if let Work::Remove(key) = work {
                inner.removals.insert(key, order);
            }
            inner.bytes += bytes;
            self.bytes.store(inner.bytes, Ordering::Relaxed);
            inner.items.push_back(Item { order, work });
        }
        self.more.notify_one();
        true
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.inner.lock().items.is_empty()
    }

    /// The next item; `None` if there is none for so long, or it is closed.
    pub(super) fn take(&self, patience: Duration) -> Option<Item> {
        let mut inner = self.inner.lock();
        if inner.items.is_empty() && !self.is_closed() {
            self.more.wait_for(&mut inner, patience);
        }
        let item = inner.items.pop_front()?;
        inner.bytes -= item.work.bytes();
        self.bytes.store(inner.bytes, Ordering::Relaxed);
        Some(item)
    }

    /// The next item if it is a removal.
    pub(super) fn take_removal(&self) -> Option<(Key, u64)> {
        let mut inner = self.inner.lock();
        let Some(Item {
            order,
            work: Work::Remove(key),
        }) = inner.items.front()
        else {
            return None;
        };
        let removal = (*key, *order);
        inner.items.pop_front();
        Some(removal)
    }

    /// The place in the order that work queued now is behind of.
    pub(super) fn order(&self) -> u64 {
        self.inner.lock().order
    }

    /// Does something unless a removal of `key` waits that was asked for after `order`.
    pub(super) fn unless_removed(&self, key: Key, order: u64, act: impl FnOnce()) -> bool {
        let inner = self.inner.lock();
        let removed = inner.removals.get(&key).is_some_and(|&removal| removal > order);
        if !removed {
            act();
        }
        !removed
    }

    /// Notes that a removal is in the log.
    pub(super) fn removal_done(&self, key: Key, order: u64) {
        let mut inner = self.inner.lock();
        if inner.removals.get(&key) == Some(&order) {
            inner.removals.remove(&key);
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
        Work::Put { key: Key(1), object }
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
        assert!(queue.take(Duration::ZERO).is_some());
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
        assert!(queue.unless_removed(Key(1), first.order, || {}));
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let queue = Queue::new(100);
        queue.push(put(1));
        queue.close();
        assert!(!queue.push(put(1)));
        assert!(queue.take(Duration::from_secs(60)).is_some());
        assert!(queue.take(Duration::from_secs(60)).is_none());
    }
}
