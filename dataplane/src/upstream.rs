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
mod head;
mod health;
mod keeper;
mod lease;
mod origin;
mod pool;
mod resolve;
mod server;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use breakwater_wire::http1::{OwnedResponse, ResponseFraming};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::telemetry::ResourceCells;
pub(crate) use asker::Asker;
use balance::{Ask, Balancer};
use budget::Budget;
pub(crate) use connection::{Connection, Hold, ResponseBody};
pub(crate) use error::OriginError;
pub(crate) use head::{Body, Head};
use lease::Lease;
use origin::Admitted;
pub(crate) use origin::{Fleet, Origin, Refusal};
pub(crate) use pool::Pool;
use pool::{Key, Wire};
use server::{Entry, Server, Servers};

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

    /// A new connection to the next server, for a request that is sent once.
    ///
    /// # Errors
    /// When none can be had.
    pub(crate) async fn connect(self: &Rc<Self>, asker: &Asker<'_>) -> Result<Connection, OriginError> {
        let admitted = self.admit()?;
        let connected = self.connection(asker, admitted.as_ref(), &[], false).await;
        self.count(connected)
    }

    /// Sends the head of a request whose body follows. Goes to another server when one cannot be connected to.
    ///
    /// # Errors
    /// When no server takes it.
    pub(crate) async fn begin(self: &Rc<Self>, head: &Head, asker: &Asker<'_>) -> Result<Connection, OriginError> {
        let admitted = self.admit()?;
        self.budget.request(self.pool.clock.now_ms());
        let bytes = head.encode()?;
        let mut tried = Vec::new();
        loop {
            match self.connection(asker, admitted.as_ref(), &tried, true).await {
                Ok(mut connection) => {
                    connection.write(&bytes, self.response_timeout()).await?;
                    return Ok(connection);
                }
                Err(failed) if failed.error.is_unsent() && self.may_retry(tried.len()) => tried.extend(failed.server),
                failed => return self.count(failed),
            }
        }
    }

    /// Sends a request that has no body and waits for the response head. Tries again where that is safe: nothing was
    /// answered, and the method is idempotent or nothing was sent (RFC 9110 section 9.2.2). `interim` is given each 1xx
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
        let bytes = head.encode()?;
        let idempotent = idempotent(&head.method);
        let passed = Cell::new(false);
        let mut interim = async |response| {
            passed.set(true);
            interim(response).await;
        };
        let mut tried = Vec::new();
        let mut reuse = true;
        loop {
            let result = self
                .attempt(
                    &head.method,
                    &bytes,
                    asker,
                    admitted.as_ref(),
                    &tried,
                    reuse,
                    &mut interim,
                )
                .await;
            match result {
                // A connection that was idle too long says nothing of the server, and costs no retry.
                Err(failed) if failed.stale && idempotent && failed.error.retryable() => reuse = false,
                Err(failed)
                    if (failed.error.is_unsent() || idempotent && failed.error.retryable())
                        && !passed.get()
                        && self.may_retry(tried.len()) =>
                {
                    tried.extend(failed.server);
                }
                Ok((response, body))
                    if idempotent
                        && self.is_retried(response.status.as_u16())
                        && !passed.get()
                        && self.may_retry(tried.len()) =>
                {
                    tried.push(Arc::clone(body.server()));
                }
                result => return self.count(result),
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one attempt of `request`, which has them all")]
    async fn attempt(
        self: &Rc<Self>,
        method: &str,
        bytes: &[u8],
        asker: &Asker<'_>,
        admitted: Option<&Rc<Admitted>>,
        tried: &[Arc<Server>],
        reuse: bool,
        interim: &mut impl AsyncFnMut(OwnedResponse),
    ) -> Result<(OwnedResponse, ResponseBody), Failed> {
        let mut connection = self.connection(asker, admitted, tried, reuse).await?;
        match self.exchange(&mut connection, method, bytes, interim).await {
            Ok(response) => {
                let body = self.body(connection, &response);
                Ok((response, body))
            }
            Err(error) => Err(Failed {
                error,
                stale: connection.may_be_stale(),
                server: Some(Arc::clone(connection.server())),
            }),
        }
    }

    async fn exchange(
        &self,
        connection: &mut Connection,
        method: &str,
        bytes: &[u8],
        interim: &mut impl AsyncFnMut(OwnedResponse),
    ) -> Result<OwnedResponse, OriginError> {
        connection.write(bytes, self.response_timeout()).await?;
        let deadline = Instant::now() + self.response_timeout();
        loop {
            let response = connection.read_head(method, deadline).await?;
            match response.status.as_u16() {
                101 => return Err(OriginError::Unexpected("it switched protocols without being asked")),
                100..200 => interim(response).await,
                _ => return Ok(response),
            }
        }
    }

    /// The body of `response`, whose head was just read from `connection`.
    pub(crate) fn body(&self, connection: Connection, response: &OwnedResponse) -> ResponseBody {
        let reusable = response.keep_alive && response.framing != ResponseFraming::UntilClose;
        ResponseBody::new(connection, response.framing, reusable, self.response_timeout())
    }

    /// A connection to the next server, taken from the pool if `reuse` and there is one.
    async fn connection(
        self: &Rc<Self>,
        asker: &Asker<'_>,
        admitted: Option<&Rc<Admitted>>,
        tried: &[Arc<Server>],
        reuse: bool,
    ) -> Result<Connection, Failed> {
        let deadline = Instant::now() + Duration::from_millis(self.origin.unit.connect_timeout_ms);
        let entry = self.pick(asker, tried, deadline).await?;
        let lease = Lease::new(self, &entry.server, admitted);
        let failed = |error: OriginError| {
            if error.is_unsent() {
                lease.failed();
            }
            Failed {
                error,
                server: Some(Arc::clone(&entry.server)),
                stale: false,
            }
        };
        match self.wire(&entry, reuse, deadline).await {
            Ok((wire, reused)) => Ok(Connection::new(wire, lease, reused)),
            Err(error) => Err(failed(error)),
        }
    }

    async fn wire(&self, entry: &Entry, reuse: bool, deadline: Instant) -> Result<(Wire, bool), OriginError> {
        let key = self.key(&entry.server);
        if reuse && let Some(wire) = self.pool.take(&key) {
            return Ok((wire, true));
        }
        let mut place = None;
        if let Some((_, slots)) = &entry.slots {
            if !reuse && slots.available_permits() == 0 {
                self.pool.close_one(&key);
            }
            place = Arc::clone(slots).try_acquire_owned().ok();
            if place.is_none() {
                let _waiting = self.origin.wait(&entry.server)?;
                let turn = async {
                    if !reuse {
                        return Ok(Arc::clone(slots).acquire_owned().await.ok());
                    }
                    let line = self.pool.stand_in_line(key);
                    tokio::select! {
                        biased;
                        Ok(wire) = line => Err(wire),
                        place = Arc::clone(slots).acquire_owned() => Ok(place.ok()),
                    }
                };
                match timeout_at(deadline, turn).await {
                    Err(_) => return Err(OriginError::Overloaded(Refusal::Waited)),
                    Ok(Err(wire)) => return Ok((wire, true)),
                    Ok(Ok(free)) => place = free,
                }
            }
        }
        let dialled = timeout_at(deadline, Pool::dial(&entry.server)).await;
        let stream = dialled.map_err(|_| OriginError::ConnectTimeout)??;
        let wire = Wire {
            stream,
            place,
            handed: 0,
        };
        Ok((wire, false))
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

    fn key(&self, server: &Server) -> Key {
        Key {
            address: server.address,
        }
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
