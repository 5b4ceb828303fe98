//! Evening out connections between workers.
//!
//! The kernel spreads new connections by a hash of their addresses and knows nothing of how long they last, so those that
//! live long pile up on some workers. A worker that has noticeably more than its part hands what it accepts to the one
//! that has least. Sockets on their way belong to no thread: they survive a worker that dies.

use std::collections::VecDeque;
use std::net::{IpAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Heartbeat, Worker};
use crate::conn::begin;
use crate::listen::Listen;

/// Sockets that may be on their way to one worker.
const MAX_WAITING: usize = 256;

/// Connections more than its part that a worker may have before it hands any over.
const SLACK: u64 = 64;

/// An accepted socket on its way to another worker.
struct Handed {
    stream: TcpStream,
    peer: IpAddr,
    listen: Arc<Listen>,
}

/// All workers of the process, as each of them sees the others.
#[derive(Default)]
pub(crate) struct Crew(Vec<Mate>);

struct Mate {
    heartbeat: Arc<Heartbeat>,
    /// None: it has left, and takes no more.
    waiting: Mutex<Option<VecDeque<Handed>>>,
    arrived: Notify,
}

impl Crew {
    pub(crate) fn new(heartbeats: &[Arc<Heartbeat>]) -> Self {
        let mate = |heartbeat| Mate {
            heartbeat: Arc::clone(heartbeat),
            waiting: Mutex::new(Some(VecDeque::new())),
            arrived: Notify::new(),
        };
        Self(heartbeats.iter().map(mate).collect())
    }

    /// Who should have the next connection of worker `own` instead of it.
    fn relief(&self, own: usize) -> Option<&Mate> {
        let mine = self.0.get(own)?.connections();
        // Most of the time this is all that is looked at.
        if mine <= SLACK {
            return None;
        }
        let all: u64 = self.0.iter().map(Mate::connections).sum();
        let least = self.0.iter().min_by_key(|mate| mate.connections())?;
        is_too_many(mine, all, self.0.len() as u64).then_some(least)
    }

    /// Whether the worker may leave: nothing is on its way to it. From then on nothing will be.
    pub(super) fn leave(&self, own: usize) -> bool {
        let Some(mate) = self.0.get(own) else { return true };
        let mut waiting = mate.waiting.lock();
        let empty = waiting.as_ref().is_none_or(VecDeque::is_empty);
        if empty {
            *waiting = None;
        }
        empty
    }
}

impl Mate {
    fn connections(&self) -> u64 {
        self.heartbeat.connections.load(Ordering::Relaxed)
    }
}

/// Whether a worker with `own` of `all` connections should get no more: a quarter above its part, and some.
fn is_too_many(own: u64, all: u64, workers: u64) -> bool {
    let part = all / workers.max(1);
    own > part + part / 4 + SLACK
}

impl Worker {
    /// Hands a connection to another worker if this one has too many; gives it back if not.
    pub(super) fn hand_over(
        &self,
        stream: tokio::net::TcpStream,
        peer: IpAddr,
        listen: &Arc<Listen>,
    ) -> Option<tokio::net::TcpStream> {
        let Some(mate) = self.crew.relief(self.index) else {
            return Some(stream);
        };
        let mut waiting = mate.waiting.lock();
        let Some(waiting) = waiting.as_mut().filter(|waiting| waiting.len() < MAX_WAITING) else {
            return Some(stream);
        };
        // One that cannot leave this thread's reactor is broken.
        let stream = stream.into_std().ok()?;
        waiting.push_back(Handed {
            stream,
            peer,
            listen: Arc::clone(listen),
        });
        mate.arrived.notify_one();
        self.cells.handed_over.add(1);
        None
    }
}

/// Takes in what other workers hand over.
pub(super) async fn receive(worker: Rc<Worker>) {
    let crew = Arc::clone(&worker.crew);
    let Some(own) = crew.0.get(worker.index) else { return };
    loop {
        loop {
            // The lock is not held while a connection begins.
            let Some(handed) = own.waiting.lock().as_mut().and_then(VecDeque::pop_front) else {
                break;
            };
            if let Ok(stream) = tokio::net::TcpStream::from_std(handed.stream) {
                begin(&worker, stream, handed.peer, &handed.listen);
            }
        }
        own.arrived.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_too_many_when_it_is_a_quarter_and_some_above_its_part() {
        assert!(!is_too_many(64, 64, 4), "few connections are never moved");
        assert!(!is_too_many(80, 64, 4));
        assert!(is_too_many(85, 64, 4));
        assert!(!is_too_many(1314, 4000, 4));
        assert!(is_too_many(1315, 4000, 4));
        assert!(!is_too_many(10_000, 10_000, 1), "alone it keeps all");
    }

    #[test]
    fn the_relief_is_the_worker_with_the_fewest_connections() {
        let heartbeats: Vec<Arc<Heartbeat>> = (0..3).map(|_| Arc::default()).collect();
        let crew = Crew::new(&heartbeats);
        for (heartbeat, n) in heartbeats.iter().zip([400, 90, 80]) {
            heartbeat.connections.store(n, Ordering::Relaxed);
        }
        let relief = crew.relief(0).expect("somebody with fewer");
        assert_eq!(relief.connections(), 80);
        assert!(crew.relief(1).is_none());
    }
}
