//! Requests that wait until what they had forgotten is forgotten on the disk as well.
//!
//! Invariant: who waits is let go when all removals that were asked for before, and the list of purges as it was then, were
//! handed to the system, so that the end of this process loses none of them. Who waits decides for how long.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::Store;

/// Who waits, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Settling {
    came: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last that was let go.
    done: u64,
    waiting: BTreeMap<u64, Waker>,
}

/// Waits until everything that was asked of the writer so far is written.
#[derive(Debug)]
#[must_use]
pub struct Settled {
    store: Arc<Store>,
    number: u64,
}

impl Store {
    /// Waits for the writer, which has to call [`Self::turn`] and [`Self::settle`].
    pub fn settled(self: &Arc<Self>) -> Settled {
        let number = self.settling.came.fetch_add(1, Ordering::SeqCst) + 1;
        self.queue.wake();
        let store = Arc::clone(self);
        Settled { store, number }
    }

    /// What the writer is asked for by now, before it works; for [`Self::settle`].
    pub fn turn(&self) -> u64 {
        self.settling.came.load(Ordering::SeqCst)
    }

    /// After a piece of work, and after the list of purges was brought up to date: lets those go who came before `turn`, if
    /// no removal waits.
    pub fn settle(&self, turn: u64) {
        if self.queue.has_removals() {
            return;
        }
        let mut state = self.settling.state.lock();
        if state.done >= turn {
            return;
        }
        state.done = turn;
        let later = state.waiting.split_off(&(turn + 1));
        let gone = std::mem::replace(&mut state.waiting, later);
        drop(state);
        gone.into_values().for_each(Waker::wake);
    }
}

impl Future for Settled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.store.settling.state.lock();
        if state.done >= self.number || self.store.is_closed() {
            return Poll::Ready(());
        }
        let former = state.waiting.insert(self.number, cx.waker().clone());
        drop(state);
        // A waker may own what it wakes: not under the lock.
        drop(former);
        Poll::Pending
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        let mine = self.store.settling.state.lock().waiting.remove(&self.number);
        drop(mine);
    }
}
