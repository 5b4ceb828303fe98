//! The deadlines of a worker's connections, without a timer each.
//!
//! A [`Wheel`] has slots of equal span; an entry lies in the slot of its deadline, or in the farthest slot if the
//! deadline is farther. A deadline that moves later costs one store: the entry stays in its slot and is put
//! further when that slot comes. So a busy connection may move its deadline on every poll.
//!
//! Invariant: an entry is woken by the first [`Wheel::tick`] at or after its deadline, late by at most one span
//! and the time between ticks, and never by a tick before it. Entries are as many as connections, 40 bytes each.
//! Who calls `tick`, and how often, is the worker's: once per span is right.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::task::Waker;

/// Slots of a wheel: with a span of 250 ms it reaches two minutes.
const SLOTS: u64 = 512;

/// No entry.
const NONE: u32 = u32::MAX;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// A thread's deadlines; cloning shares them.
#[derive(Clone)]
pub struct Wheel(Rc<RefCell<Inner>>);

/// An entry of a [`Wheel`]; dropping it takes it out.
pub struct Timer {
    wheel: Wheel,
    index: u32,
}

struct Inner {
    entries: Vec<Entry>,
    /// The first unused entry; they are linked by `next`.
    free: u32,
    /// The first entry of each slot.
    slots: Box<[u32]>,
    span_ms: u64,
    /// The last tick that was handled: time divided by the span.
    now: u64,
    length: usize,
}

struct Entry {
    deadline: u64,
    /// The tick in whose slot it lies; [`NEVER`] if in none.
    tick: u64,
    waker: Option<Waker>,
    next: u32,
    previous: u32,
}

impl Wheel {
    /// A wheel whose slots span this many milliseconds, at least one.
    #[must_use]
    pub fn new(span_ms: u64) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            entries: Vec::new(),
            free: NONE,
            slots: vec![NONE; SLOTS as usize].into_boxed_slice(),
            span_ms: span_ms.max(1),
            now: 0,
            length: 0,
        })))
    }

    /// A new entry without a deadline.
    #[must_use]
    pub fn timer(&self) -> Timer {
        Timer {
            wheel: self.clone(),
            index: self.0.borrow_mut().insert(),
        }
    }

    /// Entries in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().length
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes every entry whose deadline has come. Each is woken once; it is up to it to set another deadline.
    pub fn tick(&self, now_ms: u64) {
        let due = self.0.borrow_mut().advance(now_ms);
        for waker in due {
            waker.wake();
        }
    }

    /// Wakes every entry, whatever its deadline.
    pub fn wake_all(&self) {
        let all: Vec<Waker> = self
            .0
            .borrow()
            .entries
            .iter()
            .filter_map(|entry| entry.waker.clone())
            .collect();
        for waker in all {
            waker.wake();
        }
    }
}

impl Timer {
    /// Wakes `waker` at `deadline_ms` ([`NEVER`]: only by [`Wheel::wake_all`]), instead of whatever was set before.
    pub fn set(&self, deadline_ms: u64, waker: &Waker) {
        self.wheel.0.borrow_mut().set(self.index, deadline_ms, waker);
    }

    /// The entry's number: unique among the entries in use, and small.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.index
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // Out of the borrow, since dropping a waker may run foreign code.
        let waker = self.wheel.0.borrow_mut().remove(self.index);
        drop(waker);
    }
}

impl Inner {
    fn insert(&mut self) -> u32 {
        self.length += 1;
        let entry = Entry {
            deadline: NEVER,
            tick: NEVER,
            waker: None,
            next: NONE,
            previous: NONE,
        };
        if let Some(unused) = self.entries.get_mut(self.free as usize) {
            let index = self.free;
            self.free = std::mem::replace(unused, entry).next;
            return index;
        }
        self.entries.push(entry);
        (self.entries.len() - 1) as u32
    }

    fn remove(&mut self, index: u32) -> Option<Waker> {
        self.unlink(index);
        self.length -= 1;
        let free = std::mem::replace(&mut self.free, index);
        let entry = self.entries.get_mut(index as usize)?;
        entry.next = free;
        entry.waker.take()
    }

    fn set(&mut self, index: u32, deadline: u64, waker: &Waker) {
        let Some(entry) = self.entries.get_mut(index as usize) else {
            return;
        };
        entry.deadline = deadline;
        match &mut entry.waker {
            Some(known) => known.clone_from(waker),
            unknown => *unknown = Some(waker.clone()),
        }
        let linked_at = entry.tick;
        if self.slot_tick(deadline) < linked_at {
            self.unlink(index);
            self.link(index);
        }
    }

    /// The tick that handles this deadline: the first at which it has surely come, as far as the wheel reaches.
    fn slot_tick(&self, deadline: u64) -> u64 {
        if deadline == NEVER {
            return NEVER;
        }
        deadline.div_ceil(self.span_ms).clamp(self.now + 1, self.now + SLOTS)
    }

    fn link(&mut self, index: u32) {
        let Some(deadline) = self.entries.get(index as usize).map(|entry| entry.deadline) else {
            return;
        };
        let tick = self.slot_tick(deadline);
        if tick == NEVER {
            return;
        }
        let Some(first) = self.slots.get_mut((tick % SLOTS) as usize) else {
            return;
        };
        let next = std::mem::replace(first, index);
        if let Some(entry) = self.entries.get_mut(next as usize) {
            entry.previous = index;
        }
        if let Some(entry) = self.entries.get_mut(index as usize) {
            (entry.tick, entry.next, entry.previous) = (tick, next, NONE);
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(entry) = self.entries.get_mut(index as usize) else {
            return;
        };
        let tick = std::mem::replace(&mut entry.tick, NEVER);
        if tick == NEVER {
            return;
        }
        let (next, previous) = (entry.next, entry.previous);
        if let Some(entry) = self.entries.get_mut(next as usize) {
            entry.previous = previous;
        }
        if let Some(entry) = self.entries.get_mut(previous as usize) {
            entry.next = next;
        } else if let Some(first) = self.slots.get_mut((tick % SLOTS) as usize) {
            *first = next;
        }
    }

    fn advance(&mut self, now_ms: u64) -> Vec<Waker> {
        let mut due = Vec::new();
        let target = now_ms / self.span_ms;
        // After a long gap each slot is visited once; what is not due there is linked anew.
        let first = (self.now + 1).max(target.saturating_sub(SLOTS - 1));
        let passed = first..=target;
        self.now = self.now.max(target);
        for tick in passed {
            let Some(head) = self.slots.get_mut((tick % SLOTS) as usize) else {
                break;
            };
            let mut index = std::mem::replace(head, NONE);
            while let Some(entry) = self.entries.get_mut(index as usize) {
                let next = entry.next;
                entry.tick = NEVER;
                if entry.deadline <= now_ms {
                    due.extend(entry.waker.clone());
                } else {
                    self.link(index);
                }
                index = next;
            }
        }
        due
    }
}

impl fmt::Debug for Wheel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Wheel")
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Timer")
            .field("number", &self.index)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
