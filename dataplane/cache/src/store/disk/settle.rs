//! Requests that wait until what they had forgotten is forgotten on the disk as well.
//!
//! Invariant: who waits is let go as soon as the removals that were asked for before, and the list of purges as it was
//! then, were handed to the system, so that the end of this process loses none of them; what others ask for later is not
//! waited for, nor is a removal that a failing disk does not take. Who waits decides for how long.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::Store;

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Settling(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many came.
    came: u64,
    /// So many came before the list of purges was brought up to date last.
    noted: u64,
    /// Up to here, in the order of all work, no removal waits.
    written: u64,
    /// In the order in which they came, and so of what they wait for.
    waiting: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    order: u64,
    waker: Waker,
}

impl State {
    const fn has(&self, number: u64, order: u64) -> bool {
        self.noted >= number && self.written >= order
    }

    /// Takes out those who need not wait any more.
    fn let_go(&mut self) -> impl Iterator<Item = Waker> + use<> {
        let first = self
            .waiting
            .iter()
            .find(|(number, waiter)| !self.has(**number, waiter.order));
        let first = first.map(|(number, _)| *number);
        let later = first.map(|first| self.waiting.split_off(&first)).unwrap_or_default();
        let gone = std::mem::replace(&mut self.waiting, later);
        gone.into_values().map(|waiter| waiter.waker)
    }
}

/// Waits until the removals that were asked for so far, and the purges of so far, are written.
#[derive(Debug)]
#[must_use]
pub struct Settled {
    store: Arc<Store>,
    number: u64,
    order: u64,
}

impl Store {
    /// Waits for the writer, which has to call [`Self::turn`] and [`Self::settle`].
    pub fn settled(self: &Arc<Self>) -> Settled {
        let (number, order) = {
            let mut state = self.settling.0.lock();
            state.came += 1;
            (state.came, self.queue.order())
        };
        self.queue.wake();
        let store = Arc::clone(self);
        Settled { store, number, order }
    }

    /// How many wait or waited by now, before the writer works; for [`Self::settle`].
    pub fn turn(&self) -> u64 {
        self.settling.0.lock().came
    }

    /// After a piece of work, and after the list of purges was brought up to date: lets those go who came before `turn`, if
    /// no removal that they wait for does.
    pub fn settle(&self, turn: u64) {
        let written = self.queue.removed_until();
        self.have_settled(turn, written);
    }

    /// The writer ends: nobody waits for it any more.
    pub(super) fn settle_all(&self) {
        self.have_settled(u64::MAX, u64::MAX);
    }

    fn have_settled(&self, noted: u64, written: u64) {
        let gone = {
            let mut state = self.settling.0.lock();
            state.noted = state.noted.max(noted);
            state.written = state.written.max(written);
            state.let_go()
        };
        gone.for_each(Waker::wake);
    }
}

impl Future for Settled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.store.settling.0.lock();
        if state.has(self.number, self.order) {
            return Poll::Ready(());
        }
        let waiter = Waiter {
            order: self.order,
            waker: cx.waker().clone(),
        };
        let former = state.waiting.insert(self.number, waiter);
        drop(state);
        // A waker may own what it wakes: not under the lock.
        drop(former);
        Poll::Pending
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        let mine = self.store.settling.0.lock().waiting.remove(&self.number);
        drop(mine);
    }
}
