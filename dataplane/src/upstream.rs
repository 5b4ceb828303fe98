//! The way to the servers behind: which one, a connection to it, a request sent and its answer read.
//!
//! What a request touches belongs to one worker, or is an atomic; names are resolved and health is checked by a thread
//! of its own (`keeper`). A connection goes back to its pool only when the answer was framed without doubt and read to
//! its end. What the answer means is left to the handlers.

mod asker;
mod balance;
mod budget;
mod connection;
mod error;
mod exchange;
mod head;
mod health;
mod http2;
mod interims;
mod keeper;
mod lease;
mod origin;
mod parent;
mod peer;
mod pool;
mod resolve;
mod server;
mod stream;
mod tls;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use breakwater_snapshot::unit::OriginProtocol;
use breakwater_wire::http1::{OwnedResponse, ResponseFraming};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use crate::telemetry::ResourceCells;
pub(crate) use asker::Asker;
use balance::{Ask, Balancer};
use budget::Budget;
use connection::Http1Body;
pub(crate) use connection::{Connection, Hold};
pub(crate) use error::OriginError;
use exchange::Framed;
pub(crate) use exchange::{Exchange, ResponseBody};
pub(crate) use head::{Body, Head};
pub(crate) use http2::Upload;
use lease::Lease;
use origin::Admitted;
pub(crate) use origin::{Fleet, Origin, Refusal};
pub(crate) use parent::{By, Parent, ParentWay};
pub(crate) use pool::Pool;
use pool::Wire;
pub(crate) use server::Server;
use server::{Entry, Servers};
pub(crate) use stream::Stream;
pub(crate) use tls::check as check_tls;

/// The servers of one resource, as one worker sees them.
pub(crate) struct Upstream {
    origin: Arc<Origin>,
    pool: Rc<Pool>,
    /// The servers of now, and word when they change.
    servers: RefCell<watch::Receiver<Arc<Servers>>>,
    current: RefCell<Arc<Servers>>,
    balancer: RefCell<Balancer>,
    budget: Budget,
    cells: Arc<ResourceCells>,
}

/// What the attempts of a request have in common, and what the next one keeps clear of.
struct Attempt<'a> {
    head: &'a Head,
    asker: &'a Asker<'a>,
    admitted: Option<Rc<Admitted>>,
    /// Servers that failed.
    tried: Vec<Arc<Server>>,
    /// Whether a connection may be taken that was idle.
    reuse: bool,
}

impl<'a> Attempt<'a> {
    const fn new(head: &'a Head, asker: &'a Asker<'a>, admitted: Option<Rc<Admitted>>) -> Self {
        Self {
            head,
            asker,
            admitted,
            tried: Vec::new(),
            reuse: true,
        }
    }
}

/// A failed attempt.
struct Failed {
    error: OriginError,
    server: Option<Arc<Server>>,
    /// It failed on a connection that was idle before.
    stale: bool,
}

impl From<OriginError> for Failed {
    fn from(error: OriginError) -> Self {
        Self {
            error,
            server: None,
            stale: false,
        }
    }
}

impl Upstream {
    pub(crate) fn new(origin: Arc<Origin>, worker: usize, pool: Rc<Pool>, cells: Arc<ResourceCells>) -> Self {
        let mut servers = origin.subscribe();
        let current = Arc::clone(&servers.borrow_and_update());
        let balance = &origin.unit.balance;
        Self {
            balancer: RefCell::new(Balancer::new(
                balance.strategy,
                balance.slow_start_ms,
                worker,
                fastrand::Rng::new(),
            )),
            budget: Budget::new(origin.unit.retries.budget_percent),
            servers: RefCell::new(servers),
            current: RefCell::new(current),
            origin,
            pool,
            cells,
        }
    }

    /// What all workers share of it.
    pub(crate) const fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Longest wait for the head of a response, and between two reads of its body.
    pub(crate) fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.origin.unit.response_timeout_ms)
    }

    /// Sends a request that is sent once, on a new HTTP/1.1 connection, which may become another protocol's. Goes to
    /// another server when one cannot be connected to.
    ///
    /// # Errors
    /// When there is no connection, or it takes the head not within `patience`.
    pub(crate) async fn connect(
        self: &Rc<Self>,
        head: &Head,
        asker: &Asker<'_>,
        patience: Duration,
    ) -> Result<Connection, OriginError> {
        let admitted = self.admit()?;
        self.budget.request(self.pool.clock.now_ms());
        let mut attempt = Attempt {
            reuse: false,
            ..Attempt::new(head, asker, admitted)
        };
        loop {
            match self.connection(&attempt).await {
                Err(failed) if failed.error.is_unsent() && self.may_retry(attempt.tried.len()) => {
                    self.cells.origin_attempt_failed(failed.error.label());
                    attempt.tried.extend(failed.server);
                }
                result => {
                    let mut connection = self.count(result)?;
                    connection.write_head(head, patience).await?;
                    return Ok(connection);
                }
            }
        }
    }

    /// Sends the head of a request whose body follows. Goes to another server when one cannot be connected to.
    ///
    /// # Errors
    /// When no server takes it.
    pub(crate) async fn begin(self: &Rc<Self>, head: &Head, asker: &Asker<'_>) -> Result<Exchange, OriginError> {
        let admitted = self.admit()?;
        self.budget.request(self.pool.clock.now_ms());
        let mut attempt = Attempt::new(head, asker, admitted);
        loop {
            match self.start(&attempt).await {
                Err(failed) if failed.stale && failed.error.is_unsent() && attempt.reuse => attempt.reuse = false,
                Err(failed) if failed.error.is_unsent() && self.may_retry(attempt.tried.len()) => {
                    self.cells.origin_attempt_failed(failed.error.label());
                    attempt.tried.extend(failed.server);
                }
                result => return self.count(result),
            }
        }
    }

    /// Sends a request that has no body and waits for the response head. Tries again where that is safe: nothing was
    /// answered, and the method is idempotent or nothing was done (RFC 9110 section 9.2.2). `interim` is given each 1xx
    /// on the way; behind one, nothing is tried again.
    ///
    /// # Errors
    /// When no attempt brought an answer.
    pub(crate) async fn request(
        self: &Rc<Self>,
        head: &Head,
        asker: &Asker<'_>,
        mut interim: impl AsyncFnMut(OwnedResponse),
    ) -> Result<(OwnedResponse, ResponseBody), OriginError> {
        let admitted = self.admit()?;
        self.budget.request(self.pool.clock.now_ms());
        let idempotent = idempotent(&head.method);
        let passed = Cell::new(false);
        let mut interim = async |response| {
            passed.set(true);
            interim(response).await;
        };
        let mut attempt = Attempt::new(head, asker, admitted);
        loop {
            let result = self.attempt(&attempt, &mut interim).await;
            let repeatable = |error: &OriginError| error.is_unsent() || idempotent && error.retryable();
            match result {
                // A connection that was idle too long says nothing of the server, and costs no retry.
                Err(failed) if failed.stale && attempt.reuse && repeatable(&failed.error) => attempt.reuse = false,
                Err(failed) if repeatable(&failed.error) && !passed.get() && self.may_retry(attempt.tried.len()) => {
                    self.cells.origin_attempt_failed(failed.error.label());
                    attempt.tried.extend(failed.server);
                }
                Ok((response, body))
                    if idempotent
                        && self.is_retried(response.status.as_u16())
                        && !passed.get()
                        && self.may_retry(attempt.tried.len()) =>
                {
                    attempt.tried.push(Arc::clone(body.server()));
                }
                result => return self.count(result),
            }
        }
    }

    async fn attempt(
        self: &Rc<Self>,
        attempt: &Attempt<'_>,
        interim: &mut impl AsyncFnMut(OwnedResponse),
    ) -> Result<(OwnedResponse, ResponseBody), Failed> {
        let mut exchange = self.start(attempt).await?;
        match self.answer(&mut exchange, &attempt.head.method, interim).await {
            Ok(response) => {
                let body = self.body(exchange, &response);
                Ok((response, body))
            }
            Err(error) => Err(Failed {
                error,
                stale: exchange.may_be_stale(),
                server: Some(Arc::clone(&exchange.lease().server)),
            }),
        }
    }

    async fn answer(
        &self,
        exchange: &mut Exchange,
        method: &str,
        interim: &mut impl AsyncFnMut(OwnedResponse),
    ) -> Result<OwnedResponse, OriginError> {
        let deadline = Instant::now() + self.response_timeout();
        loop {
            let response = exchange.read_head(method, deadline).await?;
            match response.status.as_u16() {
                101 => return Err(OriginError::Unexpected("it switched protocols without being asked")),
                100..200 => interim(response).await,
                _ => return Ok(response),
            }
        }
    }

    /// The body of `response`, whose head was just read from `exchange`.
    pub(crate) fn body(&self, exchange: Exchange, response: &OwnedResponse) -> ResponseBody {
        let patience = self.response_timeout();
        let from = match exchange {
            Exchange::Http1(connection, _) => {
                let reusable = response.keep_alive && response.framing != ResponseFraming::UntilClose;
                let body = Http1Body::new(*connection, response.framing, reusable, patience);
                Framed::Http1(Box::new(body))
            }
            Exchange::Http2(exchange) => Framed::Http2(Box::new(exchange.into_body(response.framing, patience))),
        };
        let cells = Arc::clone(&self.cells);
        ResponseBody {
            from,
            cells,
            ahead: None,
        }
    }

    /// Sends the head to the next server.
    async fn start(self: &Rc<Self>, attempt: &Attempt<'_>) -> Result<Exchange, Failed> {
        if self.origin.unit.protocol == OriginProtocol::Http2 {
            return self.start_http2(attempt).await;
        }
        let mut connection = self.connection(attempt).await?;
        let body = attempt.head.body;
        match connection.write_head(attempt.head, self.response_timeout()).await {
            Ok(()) => Ok(Exchange::Http1(Box::new(connection), body)),
            Err(error) => Err(Failed {
                error,
                stale: connection.may_be_stale(),
                server: Some(Arc::clone(connection.server())),
            }),
        }
    }

    async fn start_http2(self: &Rc<Self>, attempt: &Attempt<'_>) -> Result<Exchange, Failed> {
        let (entry, lease, deadline) = self.lease(attempt).await?;
        let most = entry.slots.as_ref().map_or(usize::MAX, |(most, _)| *most as usize);
        let dial = async || {
            let place = self.place(&entry, deadline).await?;
            let stream = self.origin.dial(&entry.server, true).await?;
            Ok((stream, place))
        };
        let key = self.origin.key(&entry.server);
        let share = self
            .pool
            .http2
            .share(&key, !attempt.reuse, most, &self.pool.clock, dial);
        let shared = timeout_at(deadline, share)
            .await
            .unwrap_or(Err(OriginError::ConnectTimeout));
        let (share, reused) = match shared {
            Ok(shared) => shared,
            Err(error) => return Err(lease.unconnected(error)),
        };
        let secure = self.origin.unit.tls.is_some();
        match http2::Exchange::begin(share, lease, reused, attempt.head, secure).await {
            Ok(exchange) => Ok(Exchange::Http2(Box::new(exchange))),
            Err((error, lease)) => Err(Failed {
                error,
                stale: reused,
                server: Some(Arc::clone(&lease.server)),
            }),
        }
    }

    /// An HTTP/1.1 connection to the next server, taken from the pool if there is one and it may be.
    async fn connection(self: &Rc<Self>, attempt: &Attempt<'_>) -> Result<Connection, Failed> {
        let (entry, lease, deadline) = self.lease(attempt).await?;
        match self.wire(&entry, attempt.reuse, deadline).await {
            Ok((wire, reused)) => Ok(Connection::new(wire, lease, reused)),
            Err(error) => Err(lease.unconnected(error)),
        }
    }

    async fn lease(self: &Rc<Self>, attempt: &Attempt<'_>) -> Result<(Entry, Lease, Instant), Failed> {
        let deadline = Instant::now() + Duration::from_millis(self.origin.unit.connect_timeout_ms);
        let entry = self.pick(attempt.asker, &attempt.tried, deadline).await?;
        let lease = Lease::new(self, &entry.server, attempt.admitted.as_ref());
        Ok((entry, lease, deadline))
    }

    async fn wire(&self, entry: &Entry, reuse: bool, deadline: Instant) -> Result<(Wire, bool), OriginError> {
        let key = self.origin.key(&entry.server);
        if reuse && let Some(wire) = self.pool.take(&key) {
            return Ok((wire, true));
        }
        if let Some((_, slots)) = &entry.slots
            && slots.available_permits() == 0
        {
            if reuse {
                let line = self.pool.stand_in_line(key);
                tokio::select! {
                    biased;
                    Ok(wire) = line => return Ok((wire, true)),
                    place = self.place(entry, deadline) => return self.dial(entry, place?, deadline).await,
                }
            }
            self.pool.close_one(&key);
        }
        let place = self.place(entry, deadline).await?;
        self.dial(entry, place, deadline).await
    }

    async fn dial(
        &self,
        entry: &Entry,
        place: Option<OwnedSemaphorePermit>,
        deadline: Instant,
    ) -> Result<(Wire, bool), OriginError> {
        let dialled = timeout_at(deadline, self.origin.dial(&entry.server, false)).await;
        let wire = Wire {
            stream: dialled.map_err(|_| OriginError::ConnectTimeout)??,
            place,
            handed: 0,
        };
        Ok((wire, false))
    }

    /// A place among the server's connections, where they are limited: waits in line for it.
    async fn place(&self, entry: &Entry, deadline: Instant) -> Result<Option<OwnedSemaphorePermit>, OriginError> {
        let Some((_, slots)) = &entry.slots else {
            return Ok(None);
        };
        if let Ok(place) = Arc::clone(slots).try_acquire_owned() {
            return Ok(Some(place));
        }
        let _waiting = self.origin.wait(&entry.server)?;
        match timeout_at(deadline, Arc::clone(slots).acquire_owned()).await {
            Ok(place) => Ok(place.ok()),
            Err(_) => Err(OriginError::Overloaded(Refusal::Waited)),
        }
    }

    /// The server for the next attempt. Waits only for the first answer to the question for a name.
    async fn pick(&self, asker: &Asker<'_>, tried: &[Arc<Server>], deadline: Instant) -> Result<Entry, OriginError> {
        loop {
            let servers = self.servers();
            let ask = Ask {
                now_ms: self.pool.clock.now_ms(),
                hash: || asker.hash(&self.origin.unit.balance.hash_by),
                tried,
            };
            let picked = self.balancer.borrow_mut().pick(&servers.entries, ask);
            if let Some(pick) = picked
                && let Some(entry) = servers.entries.get(pick.index)
            {
                if pick.panic && servers.entries.len() > 1 {
                    self.cells.origin_panics.add(1);
                }
                return Ok(entry.clone());
            }
            let unresolved = |name: String, reason: String| OriginError::Resolve { name, reason };
            if servers.unresolved {
                let mut changes = self.servers.borrow().clone();
                match timeout_at(deadline, changes.changed()).await {
                    Ok(Ok(())) => continue,
                    _ => return Err(unresolved(self.origin.label.clone(), "no answer in time".to_owned())),
                }
            }
            return Err(match &servers.failed {
                Some((name, reason)) => unresolved(name.clone(), reason.clone()),
                None => OriginError::NoEndpoints,
            });
        }
    }

    fn servers(&self) -> Arc<Servers> {
        let mut servers = self.servers.borrow_mut();
        if servers.has_changed().unwrap_or(false) {
            self.current.replace(Arc::clone(&servers.borrow_and_update()));
            self.balancer.borrow_mut().reset();
        }
        Arc::clone(&self.current.borrow())
    }

    fn admit(&self) -> Result<Option<Rc<Admitted>>, OriginError> {
        let admitted = self.origin.admit().map_err(Failed::from);
        Ok(self.count(admitted)?.map(Rc::new))
    }

    fn is_retried(&self, status: u16) -> bool {
        self.origin.unit.retries.statuses.contains(&status)
    }

    /// Whether there is an attempt left after `before`, and room for it in the budget; counted.
    fn may_retry(&self, before: usize) -> bool {
        if before >= self.origin.unit.retries.attempts as usize {
            return false;
        }
        let room = self.budget.retry(self.pool.clock.now_ms());
        match room {
            true => self.cells.origin_retries.add(1),
            false => self.cells.origin_retries_refused.add(1),
        }
        room
    }

    /// Counts a refusal, and passes the result on.
    fn count<T>(&self, result: Result<T, Failed>) -> Result<T, OriginError> {
        if let Err(Failed {
            error: OriginError::Overloaded(refusal),
            ..
        }) = &result
        {
            self.cells.origin_refused(*refusal).add(1);
        }
        result.map_err(|failed| failed.error)
    }
}

/// Whether sending a request twice does no more than sending it once (RFC 9110 section 9.2.2).
pub(crate) fn idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}
