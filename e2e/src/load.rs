//! Steady load that counts every answer: keep-alive connections and WebSockets that go on until they are told to stop.
//!
//! Nothing is tried again. A connection that ends, a status other than 200, a body or an echo that is not the one
//! expected is a failure, kept with what was seen; a worker ends at its first.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use breakwater_websocket::testing::{self, Message};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{Error, Result, http::Connection, http2};

/// What a load asks for, again and again, and what it wants to get.
#[derive(Debug, Clone)]
pub struct Target {
    /// The `Host` field.
    pub host: String,
    /// The request target.
    pub path: String,
    /// The whole body of the answer.
    pub body: String,
    /// More may follow behind it.
    pub open_ended: bool,
}

impl Target {
    fn is_met(&self, status: u16, body: &str) -> bool {
        let good = match self.open_ended {
            true => body.starts_with(&self.body),
            false => body == self.body,
        };
        status == 200 && good
    }
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: JoinSet<Result<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    requests: AtomicU64,
    messages: AtomicU64,
    reconnected: AtomicU64,
}

/// What a load did without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Requests answered as expected.
    pub requests: u64,
    /// Messages echoed.
    pub messages: u64,
    /// Connections opened because the server ended the one before.
    pub reconnected: u64,
}

impl Load {
    /// A load of nothing.
    pub fn new() -> Self {
        Self {
            shared: Arc::default(),
            workers: JoinSet::new(),
        }
    }

    /// Adds `count` keep-alive connections to `address`, each with one request every `pace`, `targets` in turn.
    ///
    /// # Errors
    /// When a connection cannot be opened.
    pub async fn connections(
        &mut self,
        count: usize,
        address: SocketAddr,
        targets: &[Target],
        pace: Duration,
    ) -> Result<()> {
        for first in 0..count {
            let connection = Connection::open(address).await?;
            let mut targets = targets.to_vec();
            let turn = first % targets.len().max(1);
            targets.rotate_left(turn);
            self.workers
                .spawn(ask(Arc::clone(&self.shared), connection, targets, pace));
        }
        Ok(())
    }

    /// As [`Self::connections`], over HTTP/2 with prior knowledge and for one target.
    ///
    /// # Errors
    /// When a connection cannot be opened.
    pub async fn http2_connections(
        &mut self,
        count: usize,
        address: SocketAddr,
        target: &Target,
        pace: Duration,
    ) -> Result<()> {
        for _ in 0..count {
            let connection = http2::Connection::open(address, &[]).await?;
            self.workers
                .spawn(ask_http2(Arc::clone(&self.shared), connection, target.clone(), pace));
        }
        Ok(())
    }

    /// Adds `count` clients with a keep-alive connection each, one request every `pace`, `targets` in turn. As a load
    /// balancer does, a client that is told `Connection: close` goes on with a new connection, to the next of the servers
    /// that are ready then; a connection that ends without that word, or is refused, is a failure.
    ///
    /// # Errors
    /// When a connection cannot be opened.
    pub async fn balanced(&mut self, count: usize, ready: &Ready, targets: &[Target], pace: Duration) -> Result<()> {
        self.balanced_over(count, &tcp(ready), targets, pace).await
    }

    /// As [`Self::balanced`], on streams that `connect` opens.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub async fn balanced_over<S: Stream>(
        &mut self,
        count: usize,
        connect: &Connect<S>,
        targets: &[Target],
        pace: Duration,
    ) -> Result<()> {
        for number in 0..count {
            let connection = Connection::over(connect(number).await?);
            let mut targets = targets.to_vec();
            let turn = number % targets.len().max(1);
            targets.rotate_left(turn);
            let client = Client {
                connection,
                connect: Arc::clone(connect),
                number,
            };
            self.workers.spawn(client.ask(Arc::clone(&self.shared), targets, pace));
        }
        Ok(())
    }

    /// As [`Self::balanced_over`], over HTTP/2: the word to go elsewhere is GOAWAY, and what was asked before it is
    /// answered.
    ///
    /// # Errors
    /// When a stream cannot be opened.
    pub async fn balanced_http2_over<S: Stream>(
        &mut self,
        count: usize,
        connect: &Connect<S>,
        target: &Target,
        pace: Duration,
    ) -> Result<()> {
        for number in 0..count {
            let connection = http2::Connection::over(connect(number).await?, &[]).await?;
            let client = Http2Client {
                connection,
                connect: Arc::clone(connect),
                number,
            };
            self.workers
                .spawn(client.ask(Arc::clone(&self.shared), target.clone(), pace));
        }
        Ok(())
    }

    /// Adds `count` WebSockets to `path` of `host`, each with one message to and fro every `pace`.
    ///
    /// # Errors
    /// When a handshake fails.
    pub async fn web_sockets(
        &mut self,
        count: usize,
        address: SocketAddr,
        host: &str,
        path: &str,
        pace: Duration,
    ) -> Result<()> {
        for number in 0..count {
            let socket = testing::connect(address, host, path, None, "")
                .await
                .map_err(|error| Error::Invalid(format!("WebSocket {number}: {error}")))?;
            self.workers.spawn(talk(Arc::clone(&self.shared), socket, number, pace));
        }
        Ok(())
    }

    /// What was done up to now.
    pub fn done(&self) -> Done {
        Done {
            requests: self.shared.requests.load(Ordering::Relaxed),
            messages: self.shared.messages.load(Ordering::Relaxed),
            reconnected: self.shared.reconnected.load(Ordering::Relaxed),
        }
    }

    /// Fails as soon as a worker has failed, and returns what was done up to now.
    ///
    /// # Errors
    /// The first failure.
    pub fn check(&mut self) -> Result<Done> {
        while let Some(ended) = self.workers.try_join_next() {
            flatten(ended)?;
        }
        Ok(self.done())
    }

    /// Lets each worker finish what it has begun, and counts.
    ///
    /// # Errors
    /// Every failure, in one message.
    pub async fn stop(mut self) -> Result<Done> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(ended) = self.workers.join_next().await {
            failures.extend(flatten(ended).err().map(|error| error.to_string()));
        }
        if failures.is_empty() {
            return Ok(self.done());
        }
        Err(Error::Invalid(format!(
            "{} of the load's connections failed:\n{}",
            failures.len(),
            failures.join("\n")
        )))
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

fn flatten(ended: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    ended.map_err(|error| Error::Invalid(format!("a worker of the load: {error}")))?
}

async fn ask(shared: Arc<Shared>, mut connection: Connection, targets: Vec<Target>, pace: Duration) -> Result<()> {
    let mut pace = interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for target in targets.iter().cycle() {
        pace.tick().await;
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let response = connection.get(&target.host, &target.path, "").await?;
        if !target.is_met(response.status, &response.body) {
            return Err(Error::Invalid(format!("{target:?} was answered with {response:?}")));
        }
        shared.requests.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn ask_http2(
    shared: Arc<Shared>,
    mut connection: http2::Connection,
    target: Target,
    pace: Duration,
) -> Result<()> {
    let mut pace = interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        if shared.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (status, body) = connection.get(&target.host, &target.path).await?;
        if !target.is_met(status, &body) {
            return Err(Error::Invalid(format!(
                "{target:?} over HTTP/2 was answered with {status}: {body}"
            )));
        }
        shared.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// The servers that are ready, as a load balancer knows them.
#[derive(Debug, Clone)]
pub struct Ready(Arc<Mutex<Vec<SocketAddr>>>);

impl Ready {
    /// These servers.
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self(Arc::new(Mutex::new(servers.to_vec())))
    }

    /// From now on these servers.
    pub fn set(&self, servers: &[SocketAddr]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = servers.to_vec();
    }

    /// One of them: the same for a number for as long as they do not change.
    ///
    /// # Errors
    /// When there is none.
    pub fn pick(&self, number: usize) -> Result<SocketAddr> {
        let ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = number.checked_rem(ready.len());
        let server = index.and_then(|index| ready.get(index).copied());
        server.ok_or_else(|| Error::Invalid("no server is ready".to_owned()))
    }
}

/// What a client's bytes go over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Opens the stream of the client with this number, to a server that is ready.
pub type Connect<S> = Arc<dyn Fn(usize) -> Pin<Box<dyn Future<Output = Result<S>> + Send>> + Send + Sync>;

/// Connects in clear text.
pub fn tcp(ready: &Ready) -> Connect<TcpStream> {
    let ready = ready.clone();
    Arc::new(move |number| {
        let server = ready.pick(number);
        Box::pin(async move { Ok(Connection::open(server?).await?.into_stream()) })
    })
}

/// A client of a load balancer's kind.
struct Client<S> {
    connection: Connection<S>,
    connect: Connect<S>,
    number: usize,
}

impl<S: Stream> Client<S> {
    async fn ask(mut self, shared: Arc<Shared>, targets: Vec<Target>, pace: Duration) -> Result<()> {
        let mut pace = interval(pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for target in targets.iter().cycle() {
            pace.tick().await;
            if shared.stop.load(Ordering::Relaxed) {
                break;
            }
            let response = self.connection.get(&target.host, &target.path, "").await?;
            if !target.is_met(response.status, &response.body) {
                return Err(Error::Invalid(format!("{target:?} was answered with {response:?}")));
            }
            shared.requests.fetch_add(1, Ordering::Relaxed);
            if response.header("connection").eq_ignore_ascii_case("close") {
                shared.reconnected.fetch_add(1, Ordering::Relaxed);
                self.connection = Connection::over((self.connect)(self.number).await?);
            }
        }
        Ok(())
    }
}

/// The same over HTTP/2.
struct Http2Client<S> {
    connection: http2::Connection<S>,
    connect: Connect<S>,
    number: usize,
}

impl<S: Stream> Http2Client<S> {
    async fn ask(mut self, shared: Arc<Shared>, target: Target, pace: Duration) -> Result<()> {
        let mut pace = interval(pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What the server says between two requests is heard before the next.
            loop {
                tokio::select! {
                    biased;
                    frame = self.connection.next(), if !self.connection.is_leaving() => {
                        frame?.ok_or_else(|| Error::Invalid("the connection ended without a word".to_owned()))?;
                    }
                    _ = pace.tick() => break,
                }
            }
            if shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.connection.is_leaving() {
                shared.reconnected.fetch_add(1, Ordering::Relaxed);
                let stream = (self.connect)(self.number).await?;
                self.connection = http2::Connection::over(stream, &[]).await?;
            }
            let (status, body) = self.connection.get(&target.host, &target.path).await?;
            if !target.is_met(status, &body) {
                return Err(Error::Invalid(format!(
                    "{target:?} over HTTP/2 was answered with {status}: {body}"
                )));
            }
            shared.requests.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn talk(
    shared: Arc<Shared>,
    mut socket: testing::Connection<TcpStream>,
    number: usize,
    pace: Duration,
) -> Result<()> {
    let mut pace = interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let failed = |error: testing::Error| Error::Invalid(format!("WebSocket {number}: {error}"));
    for turn in 0_u64.. {
        pace.tick().await;
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let text = format!("message {turn} of {number}");
        socket.send_text(&text).await.map_err(failed)?;
        match socket.next().await.map_err(failed)? {
            Message::Text(echo) if echo == text => {}
            other => return Err(Error::Invalid(format!("WebSocket {number}: {other:?} for {text}"))),
        }
        shared.messages.fetch_add(1, Ordering::Relaxed);
    }
    socket.close(Some(1000), "done").await.map_err(failed)?;
    match socket.next().await.map_err(failed)? {
        Message::Close(Some(1000), _) => Ok(()),
        other => Err(Error::Invalid(format!("WebSocket {number}: {other:?} for a close"))),
    }
}
