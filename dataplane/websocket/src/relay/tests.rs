//! The relay between two ends in memory, by a clock that the tests turn.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroU32;
use std::task::Waker;
use std::time::Duration;

use breakwater_wire::websocket::Opcode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet};

use super::*;
use crate::testing::{Connection, Error, Message};
use crate::{Order, SharedBuffer, Sizes, Wheel};

mod ends;
mod keepalive;
mod limits;
mod passing;
mod tcp;

/// A worker whose clock stands still until it is turned.
#[derive(Clone)]
struct Bench {
    worker: Worker,
    clock: Rc<Cell<u64>>,
    drain: Drain,
    counters: Arc<Counters>,
}

impl Bench {
    fn new() -> Self {
        let clock = Rc::new(Cell::new(1_000_000));
        let reading = Rc::clone(&clock);
        Self {
            worker: Worker::new(SharedBuffer::default(), Wheel::new(100), move || reading.get()),
            clock,
            drain: Drain::default(),
            counters: Arc::default(),
        }
    }

    /// Lets time pass as a worker sees it: in ticks, with the tasks running between them.
    async fn pass(&self, milliseconds: u64) {
        let until = self.clock.get() + milliseconds;
        while self.clock.get() < until {
            self.clock.set(until.min(self.clock.get() + 100));
            self.worker.wheel().tick(self.clock.get());
            settle().await;
        }
    }

    /// Has the group of all relays end; half of the spread is the first relay's moment.
    fn order(&self, cause: Cause, spread_ms: u32) {
        self.drain.begin(Order {
            cause,
            from_ms: self.clock.get(),
            spread_ms,
            phase: 1 << 31,
        });
        self.worker.wheel().wake_all();
    }

    fn relay<C, B>(&self, client: C, backend: B, settings: Settings) -> Relay<C, B>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let settings = Rc::new(settings);
        let session = Session::new(&self.worker, &settings, &self.drain).counters(&self.counters);
        Relay::new(client, backend, session)
    }

    /// A relay in a task of its own, and its two ends, through pipes that hold `capacity` bytes.
    fn open(&self, settings: Settings, capacity: usize) -> Open {
        let (client, relay_client) = duplex(capacity);
        let (backend, relay_backend) = duplex(capacity);
        Open {
            client: Connection::new(client, Sender::Client, Vec::new()),
            backend: Connection::new(backend, Sender::Server, Vec::new()),
            relay: tokio::task::spawn_local(self.relay(relay_client, relay_backend, settings)),
        }
    }
}

struct Open {
    client: Connection<DuplexStream>,
    backend: Connection<DuplexStream>,
    relay: JoinHandle<Closed>,
}

/// Runs a test on one thread. Time is paused, so that a wait that nothing would end runs into the limit at once.
fn run(test: impl Future<Output = ()>) {
    run_by(
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true),
        test,
    );
}

/// Runs a test with real sockets: paused time would run ahead of the kernel.
fn run_with_sockets(test: impl Future<Output = ()>) {
    run_by(tokio::runtime::Builder::new_current_thread().enable_all(), test);
}

fn run_by(runtime: &mut tokio::runtime::Builder, test: impl Future<Output = ()>) {
    let limited = async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .expect("nothing moves")
    };
    LocalSet::new().block_on(&runtime.build().unwrap(), limited);
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn text(text: &str) -> Message {
    Message::Text(text.into())
}

fn close(code: u16) -> Message {
    Message::Close(Some(code), String::new())
}

/// The next message must be a close frame; its code.
async fn closed_with<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut Connection<S>) -> Option<u16> {
    match connection.next().await.unwrap() {
        Message::Close(code, _) => code,
        other => panic!("not a close frame: {other:?}"),
    }
}

#[test]
fn a_relay_between_tcp_sockets_is_small() {
    assert_eq!(size_of::<Flow>(), 120);
    // 392, or 408 where the build has tokio's other runtime as well, which a socket's handle then has room for.
    assert!(size_of::<Relay<TcpStream, TcpStream>>() <= 408);
}
