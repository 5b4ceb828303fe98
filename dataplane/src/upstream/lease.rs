//! A request's hold on a server: counted as in progress, and how it went is told once it is known.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::origin::Admitted;
use super::pool::Wire;
use super::server::Server;
use super::{Failed, OriginError, Upstream};

/// One request's hold on one server. Counted out when it is dropped.
pub(crate) struct Lease {
    pub(super) upstream: Rc<Upstream>,
    pub(super) server: Arc<Server>,
    _admitted: Option<Rc<Admitted>>,
}

impl Lease {
    pub(super) fn new(upstream: &Rc<Upstream>, server: &Arc<Server>, admitted: Option<&Rc<Admitted>>) -> Self {
        server.requests.fetch_add(1, Relaxed);
        Self {
            upstream: Rc::clone(upstream),
            server: Arc::clone(server),
            _admitted: admitted.cloned(),
        }
    }

    /// The server answered: 502, 503 and 504 count as failures.
    pub(super) fn answered(&self, status: u16) {
        if matches!(status, 502..=504) {
            self.failed();
        } else {
            self.server.succeeded();
        }
    }

    /// The server did not answer.
    pub(super) fn failed(&self) {
        let now_ms = self.upstream.pool.clock.now_ms();
        if self.upstream.origin.failed(&self.server, now_ms) {
            self.upstream.cells.origin_ejections.add(1);
        }
    }
}

impl Lease {
    /// There is no connection to the server.
    pub(super) fn unconnected(self, error: OriginError) -> Failed {
        if error.is_ours() {
            tracing::debug!(%error, server = %self.server.address, "this process cannot open a connection");
        } else if error.is_unsent() {
            self.failed();
        }
        Failed {
            error,
            server: Some(Arc::clone(&self.server)),
            stale: false,
        }
    }

    /// Keeps the connection for the next request.
    pub(super) fn give_back(self, wire: Wire) {
        let upstream = &self.upstream;
        upstream
            .pool
            .give(upstream.origin.key(&self.server), &self.server, wire);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.server.requests.fetch_sub(1, Relaxed);
    }
}
