//! Deadlines of a worker's connections without a timer for each.
//!
//! Every connection waits for one thing at a time, and all that wait for the same thing have the same time to do it. So
//! there is one list for each [`Wait`], ordered by when the wait began: starting or ending a wait moves one entry, and a
//! tick looks only at the heads of the lists. Precision is the tick (`clock::TICK`).
//!
//! The same lists say who goes first when there is no place left ([`Deadlines::evict`]).

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The next request.
    Idle,
    /// The rest of a request head.
    Head,
    /// The client to take a response.
    Send,
    /// What comes before the first request: a PROXY header, a TLS handshake.
    Handshake,
    /// More of a request body; its rate is looked at when the wait is over (`pace`).
    Body,
    /// Requests that were on their way when the client was told to send no more.
    Goodbye,
    /// The rest of a frame, of a connection that has requests in progress.
    Frame,
    /// More of what a client says that has been told that this is the end; or its own end.
    Linger,
}

impl Wait {
    const ALL: [Self; 8] = [
        Self::Idle,
        Self::Head,
        Self::Send,
        Self::Handshake,
        Self::Body,
        Self::Goodbye,
        Self::Frame,
        Self::Linger,
    ];

    /// How long it may last, milliseconds.
    pub(crate) const fn allowed_ms(self) -> u64 {
        match self {
            Self::Idle => 60_000,
            Self::Head | Self::Handshake | Self::Body | Self::Frame => 10_000,
            Self::Send => 30_000,
            Self::Linger => 5_000,
            Self::Goodbye => 1000,
        }
    }
}

const NONE: u32 = u32::MAX;
const LISTS: usize = Wait::ALL.len();

/// The deadlines of one worker.
#[derive(Debug)]
pub(crate) struct Deadlines {
    allowed: [u64; LISTS],
    entries: Vec<Entry>,
    free: Vec<u32>,
    heads: [u32; LISTS],
    tails: [u32; LISTS],
    /// Connections that were told to make room and are still there, by what they waited for.
    evicting: [u64; LISTS],
}

#[derive(Debug)]
struct Entry {
    waker: Option<Waker>,
    since_ms: u64,
    wait: Option<Wait>,
    expired: bool,
    /// It has to make room; what it waited for.
    evicted: Option<Wait>,
    before: u32,
    after: u32,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self {
            allowed: Wait::ALL.map(Wait::allowed_ms),
            entries: Vec::new(),
            free: Vec::new(),
            heads: [NONE; LISTS],
            tails: [NONE; LISTS],
            evicting: [0; LISTS],
        }
    }

    /// Changes how long a wait may last, for those that wait already too.
    pub(crate) fn allow(&mut self, wait: Wait, ms: u64) {
        self.allowed[wait as usize] = ms;
    }

    /// Ends the wait of the connection that is missed least, to make room for another: of those that are idle the one
    /// that is for the longest time; when none is, the one that owes its first bytes, the rest of a head or its own end
    /// for the longest time. False when there is neither: everybody has a request in progress.
    pub(crate) fn evict(&mut self) -> bool {
        if self.evict_from(Wait::Idle) {
            return true;
        }
        let since = |wait: Wait| {
            let entry = self.entries.get(self.heads[wait as usize] as usize);
            entry.map(|entry| (entry.since_ms, wait))
        };
        let waits = [Wait::Head, Wait::Handshake, Wait::Linger];
        let oldest = waits.into_iter().filter_map(since);
        let oldest = oldest.min_by_key(|(since_ms, _)| *since_ms);
        oldest.is_some_and(|(_, wait)| self.evict_from(wait))
    }

    /// Ends the wait of the connection that has waited for this for the longest time, to make room for another. False
    /// when none waits for it.
    pub(crate) fn evict_from(&mut self, wait: Wait) -> bool {
        let id = self.heads[wait as usize];
        let Some(entry) = self.entries.get_mut(id as usize) else {
            return false;
        };
        entry.evicted = Some(wait);
        self.evicting[wait as usize] += 1;
        self.end(id);
        true
    }

    /// How many connections were told to make room and are still there.
    pub(crate) fn evicting(&self) -> u64 {
        self.evicting.iter().sum()
    }

    /// How many of them waited for this.
    pub(crate) const fn evicting_from(&self, wait: Wait) -> u64 {
        self.evicting[wait as usize]
    }

    /// Wakes every connection whose wait has lasted too long.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        for (list, allowed) in self.allowed.into_iter().enumerate() {
            while let Some(entry) = self.entries.get(self.heads[list] as usize) {
                if now_ms.saturating_sub(entry.since_ms) < allowed {
                    break;
                }
                self.end(self.heads[list]);
            }
        }
    }

    /// Ends a wait as one that lasted too long.
    fn end(&mut self, id: u32) {
        self.unlink(id);
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.expired = true;
            entry.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// The connection goes on after all, or is gone.
    fn settle(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        entry.expired = false;
        if let Some(wait) = entry.evicted.take() {
            self.evicting[wait as usize] -= 1;
        }
    }

    fn add(&mut self) -> u32 {
        let entry = Entry {
            waker: None,
            since_ms: 0,
            wait: None,
            expired: false,
            evicted: None,
            before: NONE,
            after: NONE,
        };
        match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        }
    }

    fn remove(&mut self, id: u32) {
        self.unlink(id);
        self.settle(id);
        self.entries[id as usize].waker = None;
        self.free.push(id);
    }

    fn unlink(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        let Some(wait) = entry.wait.take() else { return };
        let (before, after) = (entry.before, entry.after);
        match self.entries.get_mut(before as usize) {
            Some(entry) => entry.after = after,
            None => self.heads[wait as usize] = after,
        }
        match self.entries.get_mut(after as usize) {
            Some(entry) => entry.before = before,
            None => self.tails[wait as usize] = before,
        }
    }

    fn link(&mut self, id: u32, wait: Wait, now_ms: u64) {
        let list = wait as usize;
        let before = self.tails[list];
        let entry = &mut self.entries[id as usize];
        entry.wait = Some(wait);
        entry.since_ms = now_ms;
        entry.before = before;
        entry.after = NONE;
        match self.entries.get_mut(before as usize) {
            Some(last) => last.after = id,
            None => self.heads[list] = id,
        }
        self.tails[list] = id;
    }
}

/// A connection's place among the deadlines; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Deadline {
    all: Rc<RefCell<Deadlines>>,
    id: u32,
}

impl Deadline {
    pub(crate) fn new(all: &Rc<RefCell<Deadlines>>) -> Self {
        let id = all.borrow_mut().add();
        Self {
            all: Rc::clone(all),
            id,
        }
    }

    /// Begins a wait, or goes on with it when it is the same. `restart` begins it anew.
    pub(crate) fn wait(&self, wait: Wait, restart: bool, now_ms: u64, waker: &Waker) {
        let mut all = self.all.borrow_mut();
        let entry = &mut all.entries[self.id as usize];
        if !entry.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            entry.waker = Some(waker.clone());
        }
        if entry.wait == Some(wait) && !restart {
            return;
        }
        all.settle(self.id);
        all.unlink(self.id);
        all.link(self.id, wait, now_ms);
    }

    /// Ends the wait.
    pub(crate) fn clear(&self) {
        let mut all = self.all.borrow_mut();
        all.unlink(self.id);
        all.settle(self.id);
    }

    /// Whether the wait is over: it lasted too long, or somebody else needs the place.
    pub(crate) fn expired(&self) -> bool {
        self.all.borrow().entries[self.id as usize].expired
    }

    /// Whether it is over because somebody else needs the place.
    pub(crate) fn evicted(&self) -> bool {
        self.all.borrow().entries[self.id as usize].evicted.is_some()
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.all.borrow_mut().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines() -> Rc<RefCell<Deadlines>> {
        let mut all = Deadlines::new();
        all.allow(Wait::Idle, 60);
        all.allow(Wait::Head, 10);
        all.allow(Wait::Send, 30);
        Rc::new(RefCell::new(all))
    }

    #[test]
    fn only_waits_that_lasted_too_long_expire() {
        let all = deadlines();
        let (a, b, c) = (Deadline::new(&all), Deadline::new(&all), Deadline::new(&all));
        a.wait(Wait::Idle, false, 0, Waker::noop());
        b.wait(Wait::Idle, false, 5, Waker::noop());
        c.wait(Wait::Head, false, 50, Waker::noop());
        all.borrow_mut().expire(60);
        assert_eq!([a.expired(), b.expired(), c.expired()], [true, false, true]);
    }

    #[test]
    fn going_on_with_a_wait_does_not_prolong_it_but_a_restart_does() {
        let all = deadlines();
        let (a, b) = (Deadline::new(&all), Deadline::new(&all));
        a.wait(Wait::Head, false, 0, Waker::noop());
        b.wait(Wait::Head, false, 0, Waker::noop());
        a.wait(Wait::Head, false, 9, Waker::noop());
        b.wait(Wait::Head, true, 9, Waker::noop());
        all.borrow_mut().expire(12);
        assert_eq!([a.expired(), b.expired()], [true, false]);
    }

    #[test]
    fn leaving_from_the_middle_keeps_the_others_in_order() {
        let all = deadlines();
        let [a, b, c] = std::array::from_fn(|n| {
            let deadline = Deadline::new(&all);
            deadline.wait(Wait::Idle, false, n as u64, Waker::noop());
            deadline
        });
        drop(b);
        let d = Deadline::new(&all);
        d.wait(Wait::Idle, false, 3, Waker::noop());
        all.borrow_mut().expire(62);
        assert_eq!([a.expired(), c.expired(), d.expired()], [true, true, false]);
        a.clear();
        assert!(!a.expired());
    }

    /// Connections that wait, one after the other, each for what is said.
    fn waiting<const N: usize>(all: &Rc<RefCell<Deadlines>>, waits: [Wait; N]) -> [Deadline; N] {
        let mut now = 0;
        waits.map(|wait| {
            let deadline = Deadline::new(all);
            deadline.wait(wait, false, now, Waker::noop());
            now += 1;
            deadline
        })
    }

    #[test]
    fn room_is_made_by_the_connection_that_is_idle_for_the_longest_time() {
        let all = deadlines();
        let [reading, oldest, newest] = waiting(&all, [Wait::Head, Wait::Idle, Wait::Idle]);
        assert!(all.borrow_mut().evict());
        assert_eq!(
            [reading.expired(), oldest.expired(), newest.expired()],
            [false, true, false]
        );
        assert!(oldest.evicted());
        assert_eq!(all.borrow().evicting(), 1);
        drop(oldest);
        assert_eq!(all.borrow().evicting(), 0);
        assert!(all.borrow_mut().evict());
        // A request came first: the connection stays, and nobody counts on its place.
        newest.clear();
        assert_eq!((newest.evicted(), all.borrow().evicting()), (false, 0));
    }

    #[test]
    fn when_none_is_idle_room_is_made_by_who_owes_a_beginning_for_the_longest_time() {
        let all = deadlines();
        let waits = [
            Wait::Send,
            Wait::Body,
            Wait::Frame,
            Wait::Handshake,
            Wait::Head,
            Wait::Handshake,
        ];
        let [send, body, frame, first, second, third] = waiting(&all, waits);
        let mut order = Vec::new();
        while all.borrow_mut().evict() {
            order.push([first.evicted(), second.evicted(), third.evicted()]);
        }
        assert_eq!(order, [[true, false, false], [true, true, false], [true, true, true]]);
        assert!(
            ![send, body, frame].iter().any(Deadline::expired),
            "requests in progress go on"
        );
        assert_eq!(all.borrow().evicting_from(Wait::Handshake), 2);
    }
}
