//! Connections to servers, kept for the next request.
//!
//! Invariant: a pooled connection has no request in progress and no unread byte. Each worker has its own pool; it keeps
//! at most [`IDLE_PER_ENDPOINT`] for a server, each for at most [`IDLE_MS`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use breakwater_snapshot::unit::Endpoint;
use foldhash::fast::RandomState;
use tokio::net::TcpStream;

use super::{Connection, OriginError, Resolver};
use crate::clock::Clock;

/// Idle connections kept for one server.
const IDLE_PER_ENDPOINT: usize = 64;

/// How long an idle connection is kept, milliseconds. Shorter than the keep-alive of common servers (nginx 75 s, Go and
/// Node less), so that the server seldom closes first.
const IDLE_MS: u64 = 4_500;

/// A worker's connections.
pub(crate) struct Pool {
    idle: RefCell<HashMap<Rc<Endpoint>, Vec<Idle>, RandomState>>,
    resolver: Resolver,
    clock: Rc<Clock>,
    turn: Cell<usize>,
}

struct Idle {
    stream: TcpStream,
    since_ms: u64,
}

impl Pool {
    pub(crate) fn new(resolver: Resolver, clock: Rc<Clock>) -> Self {
        Self {
            idle: RefCell::default(),
            resolver,
            clock,
            turn: Cell::new(0),
        }
    }

    /// A connection to `endpoint`: the one used last, if it still lives, else a new one.
    pub(super) async fn connect(&self, endpoint: &Endpoint, reuse: bool) -> Result<Connection, OriginError> {
        if reuse && let Some((key, stream)) = self.take(endpoint) {
            return Ok(Connection::new(stream, key));
        }
        let addresses = self.resolver.addresses(endpoint).await?;
        // A name's addresses take turns; one that refuses hands on to the next.
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for n in 0..addresses.len() {
            let Some(address) = addresses.get(turn.wrapping_add(n) % addresses.len()) else {
                break;
            };
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(OriginError::Connect)?;
                    return Ok(Connection::new(stream, self.key(endpoint)));
                }
                Err(error) => last = error,
            }
        }
        Err(OriginError::Connect(last))
    }

    /// Takes a connection back.
    pub(super) fn give(&self, key: Rc<Endpoint>, stream: TcpStream) {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(key).or_default();
        if kept.len() < IDLE_PER_ENDPOINT {
            kept.push(Idle {
                stream,
                since_ms: self.clock.now_ms(),
            });
        }
    }

    /// Closes what was idle too long. Called with each tick.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now_ms();
        self.idle.borrow_mut().retain(|_, kept| {
            kept.retain(|idle| now.saturating_sub(idle.since_ms) < IDLE_MS);
            !kept.is_empty()
        });
    }

    fn take(&self, endpoint: &Endpoint) -> Option<(Rc<Endpoint>, TcpStream)> {
        let mut idle = self.idle.borrow_mut();
        let key = idle.get_key_value(endpoint).map(|(key, _)| Rc::clone(key))?;
        let kept = idle.get_mut(endpoint)?;
        while let Some(Idle { stream, .. }) = kept.pop() {
            // Readable means closed by the server, or bytes nobody asked for.
            let nothing = stream.try_read(&mut [0]);
            if nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return Some((key, stream));
            }
        }
        None
    }

    fn key(&self, endpoint: &Endpoint) -> Rc<Endpoint> {
        let idle = self.idle.borrow();
        let known = idle.get_key_value(endpoint).map(|(key, _)| Rc::clone(key));
        known.unwrap_or_else(|| Rc::new(endpoint.clone()))
    }
}
