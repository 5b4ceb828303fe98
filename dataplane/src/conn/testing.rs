//! A connection that a test polls by hand, over a stream in memory, with a clock that can be moved on.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::{Connection, Protocol};
use crate::listen::{Door, Listen};
use crate::telemetry::LineLog;
use crate::worker::{Counted, Worker, alone};

/// Bytes on their way in each direction.
const ROOM: usize = 1 << 20;

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection and its client.
pub(super) struct ByHand {
    pub(super) worker: Rc<Worker>,
    connection: Pin<Box<Connection<DuplexStream>>>,
    client: DuplexStream,
    woken: Arc<Woken>,
    pub(super) received: Vec<u8>,
    pub(super) ended: bool,
}

impl ByHand {
    pub(super) fn new() -> Self {
        let (client, stream) = duplex(ROOM);
        let (audit_log, _) = LineLog::kept();
        let worker = alone::worker(1, &alone::metrics(1, audit_log), Arc::default());
        let peer = IpAddr::from([192, 0, 2, 1]);
        let listen = Listen::from(std::net::SocketAddr::from(([127, 0, 0, 1], 80)));
        let connection = Connection::new(
            Rc::clone(&worker),
            stream,
            peer,
            (Counted::NOT, Door::new(0, &listen)),
            None,
            Protocol::Http1,
        );
        Self {
            worker,
            connection: Box::pin(connection),
            client,
            woken: Arc::default(),
            received: Vec::new(),
            ended: false,
        }
    }

    /// The client sends this.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let written = Pin::new(&mut self.client).poll_write(&mut cx, bytes);
        assert!(matches!(written, Poll::Ready(Ok(n)) if n == bytes.len()));
    }

    /// Polls the connection once, and takes what it sent. True when it wants to be polled again without anybody doing
    /// anything.
    pub(super) fn poll(&mut self) -> bool {
        self.woken.0.store(0, Ordering::Relaxed);
        let waker = Arc::clone(&self.woken).into();
        let polled = self.connection.as_mut().poll(&mut Context::from_waker(&waker));
        self.ended = polled.is_ready();
        let again = self.woken.0.load(Ordering::Relaxed) > 0;
        let mut room = vec![0; ROOM];
        let mut read = ReadBuf::new(&mut room);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if Pin::new(&mut self.client).poll_read(&mut cx, &mut read).is_ready() {
            self.received.extend_from_slice(read.filled());
        }
        again
    }

    /// So much later, with a tick of the worker's clock.
    pub(super) fn later(&self, ms: u64) {
        self.worker.clock.skip(ms);
        self.worker.clock.tick();
        let now = self.worker.clock.now_ms();
        self.worker.deadlines.borrow_mut().expire(now);
    }

    /// How often something was refused for this reason.
    pub(super) fn refused(&self, reason: &str) -> u64 {
        let refused = self.worker.cells.refused();
        refused
            .iter()
            .find(|(known, _)| *known == reason)
            .map_or(0, |(_, n)| *n)
    }
}

/// A frame of HTTP/2.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A frame that came.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) length: usize,
}

/// The frames in what came.
pub(super) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = Frame> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_first_chunk::<9>()?;
        let length = header[..3].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        bytes = rest.get(length..).unwrap_or_default();
        Some(Frame {
            kind: header[3],
            flags: header[4],
            length,
        })
    })
}
