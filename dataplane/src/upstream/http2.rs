//! HTTP/2 towards servers (RFC 9113): few connections, shared by the requests of a worker.
//!
//! The `h2` crate speaks the protocol; here are its connections, their limits and their ends. Invariant: a connection
//! that said GOAWAY, or failed, takes no further request; one that has no request is closed after a while; one whose
//! server is silent for too long is cut. A body's window opens only as its bytes are passed on, so a slow client slows
//! the server.

mod exchange;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use h2::Ping;
use h2::client::{Connection, SendRequest};
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::time::{Instant, interval_at, timeout};

use super::OriginError;
use super::head::Head;
use super::pool::Key;
use super::stream::Stream;
use crate::clock::Clock;
pub(crate) use exchange::{Body, Exchange, Upload};

/// Bytes of one response's body that may be on their way, and of all on one connection.
const WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of request bodies that wait to be sent, for each request.
const SEND_BUFFER: usize = 64 * 1024;

/// A response's fields may take so many bytes (RFC 9113 section 6.5.2).
const HEAD: u32 = 64 * 1024;

/// Connections to one server; each has as many requests as the server allows, up to [`STREAMS`].
const CONNECTIONS: usize = 4;

/// Requests on one connection.
const STREAMS: usize = 256;

/// A connection without requests is closed after so long, milliseconds.
const IDLE_MS: u64 = 30_000;

/// A connection with requests is asked for a sign of life so often, and cut when none comes for as long.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A worker's HTTP/2 connections.
#[derive(Default)]
pub(super) struct Connections {
    open: RefCell<HashMap<Key, Rc<Target>, RandomState>>,
}

/// The connections to one server.
#[derive(Default)]
struct Target {
    links: RefCell<Vec<Rc<Link>>>,
    /// One is opened at a time, so that a burst of requests does not open one each.
    opening: Mutex<()>,
}

/// One connection.
struct Link {
    send: SendRequest<Bytes>,
    streams: Cell<usize>,
    idle_since_ms: Cell<u64>,
    ended: Rc<Cell<bool>>,
}

/// A request's share of a connection.
pub(super) struct Share {
    link: Rc<Link>,
    clock: Rc<Clock>,
}

impl Share {
    fn new(link: &Rc<Link>, clock: &Rc<Clock>) -> Self {
        link.streams.set(link.streams.get() + 1);
        Self {
            link: Rc::clone(link),
            clock: Rc::clone(clock),
        }
    }

    /// What requests are sent by.
    pub(super) fn send(&self) -> SendRequest<Bytes> {
        self.link.send.clone()
    }

    /// The connection takes no further request.
    pub(super) fn retire(&self) {
        self.link.ended.set(true);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.link.streams.set(self.link.streams.get().saturating_sub(1));
        self.link.idle_since_ms.set(self.clock.now_ms().max(1));
    }
}

impl Connections {
    /// A share of a connection: one that has room, or a new one from `dial`, of which there are at most `most`. True
    /// beside it when the connection served before. `fresh` passes over those that did.
    pub(super) async fn share(
        &self,
        key: &Key,
        fresh: bool,
        most: usize,
        clock: &Rc<Clock>,
        dial: impl AsyncFnOnce() -> Result<(Stream, Option<OwnedSemaphorePermit>), OriginError>,
    ) -> Result<(Share, bool), OriginError> {
        let target = Rc::clone(self.open.borrow_mut().entry(key.clone()).or_default());
        if !fresh && let Some(link) = target.with_room() {
            return Ok((Share::new(&link, clock), true));
        }
        let _one = target.opening.lock().await;
        // Another request may have opened one meanwhile.
        if let Some(link) = target.with_room().filter(|link| !fresh || link.is_new()) {
            return Ok((Share::new(&link, clock), !link.is_new()));
        }
        if target.links.borrow().iter().filter(|link| !link.ended.get()).count() >= most.min(CONNECTIONS)
            && let Some(link) = target.least_busy()
        {
            return Ok((Share::new(&link, clock), true));
        }
        let (stream, place) = dial().await?;
        let link = Rc::new(open(stream, place).await?);
        let share = Share::new(&link, clock);
        target.links.borrow_mut().push(link);
        Ok((share, false))
    }

    /// Closes what was idle for too long, and forgets what ended. Called with each tick.
    pub(super) fn sweep(&self, now_ms: u64) {
        self.open.borrow_mut().retain(|_, target| {
            target.links.borrow_mut().retain(|link| {
                let idle = link.streams.get() == 0 && now_ms.saturating_sub(link.idle_since_ms.get()) >= IDLE_MS;
                !link.ended.get() && !idle
            });
            !target.links.borrow().is_empty() || Rc::strong_count(target) > 1
        });
    }
}

impl Target {
    fn with_room(&self) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        let room = |link: &&Rc<Link>| {
            let most = link.send.current_max_send_streams().min(STREAMS);
            !link.ended.get() && link.streams.get() < most
        };
        links.iter().find(room).map(Rc::clone)
    }

    fn least_busy(&self) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        let open = links.iter().filter(|link| !link.ended.get());
        open.min_by_key(|link| link.streams.get()).map(Rc::clone)
    }
}

impl Link {
    /// Whether nothing was answered on it yet.
    fn is_new(&self) -> bool {
        self.idle_since_ms.get() == 0
    }
}

/// Shakes hands, and lets the connection run until it ends.
async fn open(stream: Stream, place: Option<OwnedSemaphorePermit>) -> Result<Link, OriginError> {
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(64)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(|error| OriginError::Http2(error.to_string()))?;
    let ended = Rc::new(Cell::new(false));
    let link = Link {
        send,
        streams: Cell::new(0),
        idle_since_ms: Cell::new(0),
        ended: Rc::clone(&ended),
    };
    tokio::task::spawn_local(async move {
        run(connection).await;
        ended.set(true);
        drop(place);
    });
    Ok(link)
}

/// Drives a connection to its end: when nobody holds it any more, when it fails, or when its server falls silent.
async fn run(mut connection: Connection<Stream, Bytes>) {
    let pings = connection.ping_pong();
    let silent = async {
        let Some(mut pings) = pings else {
            return std::future::pending().await;
        };
        let mut beat = interval_at(Instant::now() + KEEPALIVE, KEEPALIVE);
        loop {
            beat.tick().await;
            if timeout(KEEPALIVE, pings.ping(Ping::opaque())).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "an HTTP/2 connection to an origin ended");
            }
        }
        () = silent => tracing::debug!("an HTTP/2 connection to an origin gives no sign of life; it is cut"),
    }
}

/// Asks one question on a connection of its own, for its status.
///
/// # Errors
/// When there is no answer of use.
pub(super) async fn ask(stream: Stream, head: &Head, secure: bool) -> Result<u16, OriginError> {
    let (send, connection) = h2::client::handshake(stream)
        .await
        .map_err(|error| exchange::failure(&error, true))?;
    let request = exchange::request(head, secure)?;
    let answer = async {
        let mut send = send.ready().await?;
        let (response, _) = send.send_request(request, true)?;
        response.await.map(|response| response.status().as_u16())
    };
    tokio::select! {
        status = answer => status.map_err(|error: h2::Error| exchange::failure(&error, true)),
        _ = connection => Err(OriginError::Closed),
    }
}
