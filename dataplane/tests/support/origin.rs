//! Scripted origins: a script answers each request, or has the whole connection.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::client::find;
use super::within;

/// A request, as an origin receives it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// To its empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
}

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// All values of a field, as one list.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let values: Vec<_> = lines
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// An origin. Stops when it is dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: watch::Receiver<Vec<Request>>,
    task: JoinHandle<()>,
}

/// One connection of an origin.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
    number: usize,
    seen: watch::Sender<Vec<Request>>,
}

impl Origin {
    /// An origin that answers each request with the bytes `script` gives, and keeps connections open.
    pub(crate) async fn start<F>(script: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Vec<u8>> + Send + 'static,
    {
        let script = Arc::new(script);
        Self::raw(move |mut peer| {
            let script = Arc::clone(&script);
            async move {
                while let Some(request) = peer.request().await {
                    let answer = script(request).await;
                    if peer.stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// An origin that answers each request with the bytes `script` gives, once the semaphore has a permit for it.
    pub(crate) async fn gated(script: impl Fn(Request) -> Vec<u8> + Send + Sync + 'static) -> (Self, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let (held, script) = (Arc::clone(&gate), Arc::new(script));
        let origin = Self::start(move |request| {
            let (held, script) = (Arc::clone(&held), Arc::clone(&script));
            async move {
                held.acquire().await.unwrap().forget();
                script(request)
            }
        });
        (origin.await, gate)
    }

    /// An origin that answers every request alike.
    pub(crate) async fn fixed(answer: Vec<u8>) -> Self {
        Self::start(move |_| std::future::ready(answer.clone())).await
    }

    /// An origin whose connections are the script's; one that is dropped is closed.
    pub(crate) async fn raw<F>(script: impl Fn(Peer) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, script)
    }

    /// As [`Origin::raw`], on a socket that listens already.
    pub(crate) fn on<F>(listener: TcpListener, script: impl Fn(Peer) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let (log, seen) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(script(Peer {
                    stream,
                    received: Vec::new(),
                    number,
                    seen: log.clone(),
                }));
            }
        });
        Self { address, seen, task }
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.borrow().clone()
    }

    /// The last request.
    pub(crate) fn last(&self) -> Request {
        self.seen.borrow().last().cloned().expect("a request")
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Waits until at least `count` requests came.
    pub(crate) async fn reached(&self, count: usize) {
        let mut seen = self.seen.clone();
        let reached = seen.wait_for(|seen| seen.len() >= count);
        within("requests to reach the origin", reached).await.unwrap();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// The next request with its body; none when the connection ends.
    pub(crate) async fn request(&mut self) -> Option<Request> {
        let mut request = self.head().await?;
        if request.field("transfer-encoding").is_some() {
            let end = self.find(b"0\r\n\r\n").await?;
            request.body = self.take(end + 5);
        } else if let Some(length) = request.field("content-length") {
            let length: usize = length.parse().unwrap();
            while self.received.len() < length {
                self.read().await?;
            }
            request.body = self.take(length);
        }
        self.note(&request);
        Some(request)
    }

    /// The next request's head, noted as seen; its body is left unread.
    pub(crate) async fn only_head(&mut self) -> Option<Request> {
        let request = self.head().await?;
        self.note(&request);
        Some(request)
    }

    async fn head(&mut self) -> Option<Request> {
        let end = self.find(b"\r\n\r\n").await?;
        let head = self.take(end + 4);
        Some(Request {
            head: String::from_utf8(head).unwrap(),
            body: Vec::new(),
            connection: self.number,
        })
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The data plane may be gone; whoever misses the bytes says so.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// What comes until the other side closes, what was read with the last head included.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.read().await.is_some() {}
        std::mem::take(&mut self.received)
    }

    fn note(&self, request: &Request) {
        self.seen.send_modify(|seen| seen.push(request.clone()));
    }

    async fn find(&mut self, what: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = find(&self.received, what) {
                return Some(at);
            }
            self.read().await?;
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.received.split_off(length);
        std::mem::replace(&mut self.received, rest)
    }

    async fn read(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.received).await;
        (read.ok()? > 0).then_some(())
    }
}

/// A response with a length; `lines` are further fields, each ended by CRLF.
pub(crate) fn answer(status: u16, lines: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{lines}\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
