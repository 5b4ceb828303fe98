//! The way to another node: a connection that was proved at both ends, and a request that is asked once.
//!
//! Invariant: connections of nodes serve nothing else. Their pool key names the node, so that a site whose origin is a
//! node's peer address never gets a connection that was proved.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use breakwater_snapshot::unit;
use breakwater_wire::http1::{OwnedResponse, ResponseFraming};
use tokio::time::Instant;

use super::connection::Http1Body;
use super::exchange::Framed;
use super::origin::Origin;
use super::{Asker, Attempt, Exchange, Failed, Head, OriginError, ResponseBody, Upstream};
use crate::peer::handshake::Door;

/// Longest wait for a connection, the greeting included, and for the first word to a request.
const CONNECT_MS: u64 = 500;
const FIRST_WORD: Duration = Duration::from_secs(1);

impl Origin {
    /// The one server that is the node behind `door`.
    pub(crate) fn of_peer(door: Door, address: SocketAddr, started: std::time::Instant) -> Self {
        let unit = unit::Origin {
            endpoints: vec![unit::Endpoint {
                host: address.ip().to_string(),
                port: address.port(),
                weight: 1,
            }],
            connect_timeout_ms: CONNECT_MS,
            response_timeout_ms: 30_000,
            ..unit::Origin::default()
        };
        let label = format!("peer {}", door.name);
        let mut origin = Self::new(&label, unit, None, None, started);
        origin.peer = Some(door);
        origin
    }

    /// Whether this is the way to `address`.
    pub(crate) fn is_at(&self, address: SocketAddr) -> bool {
        let servers = self.subscribe();
        let servers = servers.borrow();
        servers
            .entries
            .first()
            .is_some_and(|entry| entry.server.address == address)
    }
}

impl Upstream {
    /// Asks the node that this leads to. Whoever lives says so at once, with an interim response or the answer; the
    /// answer itself, and each part of its content, may take `patience`.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) async fn ask(
        self: &std::rc::Rc<Self>,
        head: &Head,
        asker: &Asker<'_>,
        patience: Duration,
    ) -> Result<(OwnedResponse, ResponseBody), OriginError> {
        let mut attempt = Attempt::new(head, asker, None);
        loop {
            match self.ask_once(&attempt, patience).await {
                // A connection that was idle too long says nothing of the node.
                Err(failed) if failed.stale && attempt.reuse && failed.error.retryable() => attempt.reuse = false,
                result => return result.map_err(|failed| failed.error),
            }
        }
    }

    async fn ask_once(
        self: &std::rc::Rc<Self>,
        attempt: &Attempt<'_>,
        patience: Duration,
    ) -> Result<(OwnedResponse, ResponseBody), Failed> {
        let mut exchange = self.start(attempt).await?;
        let mut deadline = Instant::now() + FIRST_WORD;
        let response = loop {
            match exchange.read_head(&attempt.head.method, deadline).await {
                Ok(response) if response.status.is_informational() => deadline = Instant::now() + patience,
                Ok(response) => break response,
                Err(error) => {
                    return Err(Failed {
                        error,
                        stale: exchange.may_be_stale(),
                        server: Some(Arc::clone(&exchange.lease().server)),
                    });
                }
            }
        };
        let Exchange::Http1(connection, _) = exchange else {
            return Err(OriginError::Unexpected("a node speaks HTTP/1.1").into());
        };
        let reusable = response.keep_alive && response.framing != ResponseFraming::UntilClose;
        let body = Http1Body::new(*connection, response.framing, reusable, patience);
        let body = ResponseBody {
            ahead: None,
            from: Framed::Http1(Box::new(body)),
            cells: Arc::clone(&self.cells),
        };
        Ok((response, body))
    }
}
