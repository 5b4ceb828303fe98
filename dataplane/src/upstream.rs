//! The way to the servers behind: which one, a connection to it, a request sent and its answer read.
//!
//! Everything here belongs to one worker. A connection goes back to its pool only when the answer was framed without
//! doubt and read to its end. What the answer means is left to the handlers.

mod balance;
mod connection;
mod error;
mod pool;
mod resolve;

use std::rc::Rc;
use std::time::Duration;

use breakwater_snapshot::unit;
use breakwater_wire::http1::{OwnedResponse, ResponseFraming};
use tokio::time::timeout;

pub(crate) use balance::RoundRobin;
pub(crate) use connection::{Connection, ResponseBody};
pub(crate) use error::OriginError;
pub(crate) use pool::Pool;
pub(crate) use resolve::Resolver;

/// The servers of one resource, as one worker sees them.
pub(crate) struct Upstream {
    origin: unit::Origin,
    balance: RoundRobin,
    pool: Rc<Pool>,
}

/// A request without its body: what goes over the wire, and what is needed to read the answer.
pub(crate) struct Head {
    pub(crate) method: String,
    /// The encoded head, to its final empty line.
    pub(crate) bytes: Vec<u8>,
}

impl Upstream {
    pub(crate) fn new(origin: unit::Origin, worker: usize, pool: Rc<Pool>) -> Self {
        Self {
            // Workers start at different servers, so that few requests over many workers still spread.
            balance: RoundRobin::starting_at(worker),
            origin,
            pool,
        }
    }

    /// Longest wait for the head of a response, and between two reads of its body.
    pub(crate) fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.origin.response_timeout_ms)
    }

    /// A connection to the next server, taken from the pool if `reuse` and there is one.
    pub(crate) async fn connect(&self, reuse: bool) -> Result<Connection, OriginError> {
        let Some(endpoint) = self.balance.pick(&self.origin.endpoints) else {
            return Err(OriginError::NoEndpoints);
        };
        let limit = Duration::from_millis(self.origin.connect_timeout_ms);
        timeout(limit, self.pool.connect(endpoint, reuse))
            .await
            .unwrap_or(Err(OriginError::ConnectTimeout))
    }

    /// Sends a request that has no body and waits for the response head. Tries a second time, on a new connection,
    /// where that is safe: the connection failed before anything was answered, and the method is idempotent
    /// (RFC 9110 section 9.2.2). `interim` is given each 1xx on the way.
    pub(crate) async fn request(
        &self,
        head: &Head,
        mut interim: impl AsyncFnMut(OwnedResponse),
    ) -> Result<(OwnedResponse, ResponseBody), OriginError> {
        let mut first = true;
        loop {
            match self.attempt(head, first, &mut interim).await {
                Err(error) if first && error.retryable() && idempotent(&head.method) => first = false,
                result => return result,
            }
        }
    }

    async fn attempt(
        &self,
        head: &Head,
        reuse: bool,
        interim: &mut impl AsyncFnMut(OwnedResponse),
    ) -> Result<(OwnedResponse, ResponseBody), OriginError> {
        let mut connection = self.connect(reuse).await?;
        connection.write(&head.bytes, self.response_timeout()).await?;
        let deadline = tokio::time::Instant::now() + self.response_timeout();
        loop {
            let response = connection.read_head(&head.method, deadline).await?;
            if response.status.as_u16() >= 200 {
                let body = self.body(connection, &response);
                return Ok((response, body));
            }
            if response.status.as_u16() == 101 {
                return Err(OriginError::Unexpected("it switched protocols without being asked"));
            }
            interim(response).await;
        }
    }

    /// The body of `response`, whose head was just read from `connection`.
    pub(crate) fn body(&self, connection: Connection, response: &OwnedResponse) -> ResponseBody {
        let reusable = response.keep_alive && response.framing != ResponseFraming::UntilClose;
        ResponseBody::new(
            connection,
            response.framing,
            reusable,
            self.response_timeout(),
            &self.pool,
        )
    }
}

/// Whether sending a request twice does no more than sending it once (RFC 9110 section 9.2.2).
pub(crate) fn idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}
