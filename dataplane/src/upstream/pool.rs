//! Connections to servers, kept for the next request.
//!
//! Invariant: a pooled connection has no request in progress and no unread byte. Each worker has its own pool; it keeps
//! at most [`IDLE_PER_SERVER`] for a server, each for at most [`IDLE_MS`]. A connection whose server has a limited
//! number of them holds its place for as long as it is open; it goes to whoever waits before it goes to the pool.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use foldhash::fast::RandomState;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::http2;
use super::server::Server;
use super::stream::Stream;
use crate::clock::Clock;

/// Idle connections kept for one server.
const IDLE_PER_SERVER: usize = 64;

/// How long an idle connection is kept, milliseconds. Shorter than the keep-alive of common servers (nginx 75 s, Go and
/// Node less), so that the server seldom closes first.
const IDLE_MS: u64 = 4_500;

/// A connection goes from request to request of one worker at most so often while another worker waits for its place.
const MOST_IN_A_ROW: u8 = 32;

/// A worker's connections.
pub(crate) struct Pool {
    idle: RefCell<HashMap<Key, Vec<Idle>, RandomState>>,
    /// Who waits for a connection to a server that has no place for another.
    waiting: RefCell<HashMap<Key, VecDeque<oneshot::Sender<Wire>>, RandomState>>,
    pub(super) http2: http2::Connections,
    pub(super) clock: Rc<Clock>,
}

/// Which connections serve each other's requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) address: SocketAddr,
    /// The number of the TLS identity and the name that was verified; none in clear text.
    pub(super) secured: Option<(u64, Arc<str>)>,
}

/// An open connection without a request.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: Stream,
    /// Its place among its server's connections, where those are limited.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// How often it was handed on while others waited.
    pub(super) handed: u8,
}

struct Idle {
    wire: Wire,
    server: Arc<Server>,
    since_ms: u64,
}

impl Pool {
    pub(crate) fn new(clock: Rc<Clock>) -> Self {
        Self {
            idle: RefCell::default(),
            waiting: RefCell::default(),
            http2: http2::Connections::default(),
            clock,
        }
    }

    /// Takes a connection back.
    pub(super) fn give(&self, key: Key, server: &Arc<Server>, mut wire: Wire) {
        if wire.place.is_some() && server.waiting.load(Relaxed) > 0 {
            let mut waiting = self.waiting.borrow_mut();
            let mut queue = waiting.get_mut(&key);
            let here = queue.as_ref().map_or(0, |queue| queue.len());
            let elsewhere = server.waiting.load(Relaxed) as usize > here;
            if elsewhere && wire.handed >= MOST_IN_A_ROW {
                return;
            }
            wire.handed = wire.handed.saturating_add(1);
            while let Some(next) = queue.as_mut().and_then(|queue| queue.pop_front()) {
                match next.send(wire) {
                    Ok(()) => return,
                    Err(returned) => wire = returned,
                }
            }
            // Whoever waits does so on another worker: this place is given up.
            if elsewhere {
                return;
            }
        }
        wire.handed = 0;
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(key).or_default();
        if kept.len() < IDLE_PER_SERVER {
            kept.push(Idle {
                wire,
                server: Arc::clone(server),
                since_ms: self.clock.now_ms(),
            });
        }
    }

    /// The connection used last, if it still lives.
    pub(super) fn take(&self, key: &Key) -> Option<Wire> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(key)?;
        while let Some(Idle { mut wire, .. }) = kept.pop() {
            // Else it was closed by the server, or there are bytes nobody asked for.
            if wire.stream.is_quiet() {
                return Some(wire);
            }
        }
        None
    }

    /// Closes one idle connection, so that its place is free.
    pub(super) fn close_one(&self, key: &Key) {
        if let Some(kept) = self.idle.borrow_mut().get_mut(key) {
            drop(kept.pop());
        }
    }

    /// Stands in line for a connection that another request of this worker is done with.
    pub(super) fn stand_in_line(&self, key: Key) -> oneshot::Receiver<Wire> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.borrow_mut();
        let queue = waiting.entry(key).or_default();
        queue.retain(|waiter| !waiter.is_closed());
        queue.push_back(sender);
        receiver
    }

    /// Closes what was idle too long, and what others wait for. Called with each tick.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now_ms();
        self.idle.borrow_mut().retain(|_, kept| {
            kept.retain(|idle| {
                let wanted = idle.wire.place.is_some() && idle.server.waiting.load(Relaxed) > 0;
                !wanted && now.saturating_sub(idle.since_ms) < IDLE_MS
            });
            !kept.is_empty()
        });
        self.waiting.borrow_mut().retain(|_, queue| {
            queue.retain(|waiter| !waiter.is_closed());
            !queue.is_empty()
        });
        self.http2.sweep(now);
    }
}
