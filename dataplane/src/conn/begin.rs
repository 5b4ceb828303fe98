//! How a connection begins: at once, or after a PROXY header and a TLS handshake.
//!
//! Invariant: whatever must come before the first request comes within one deadline ([`Wait::Handshake`]), and only so
//! many connections of a worker are in that state at once: one more makes the oldest of them go
//! ([`Worker::make_room_to_begin`]), so that who says nothing keeps nobody out. A connection in clear text from a peer
//! that sends no PROXY header pays for none of this.

mod handshake;
mod peer;
mod proxy_header;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use tokio::net::TcpStream;

use super::{Connection, Protocol};
use crate::listen::{Door, Listen};
use crate::tls::Proof;
use crate::worker::deadlines::{Deadline, Wait};
use crate::worker::{Counted, Worker};

/// The reason under which connections are counted that went before they had begun, because others came.
const EVICTED: &str = "handshakes";

/// Starts the task of an accepted connection, if there is a place for it.
pub(crate) fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: IpAddr, listen: &Arc<Listen>) {
    let header = listen.sends_proxy_header(peer);
    // Who has no place of its own makes nobody else lose theirs, so this comes before [`Worker::admit`]. For whom a
    // proxy speaks is not known yet. Nodes are no clients.
    let Some(counted) = (if header || listen.peer {
        Some(Counted::NOT)
    } else {
        worker.count(peer)
    }) else {
        return;
    };
    let door = Door::new(worker.metrics.listener(listen.address), listen);
    if !worker.admit(door) {
        worker.uncount(peer, counted);
        return;
    }
    if !listen.tls && !header && !listen.peer {
        tokio::task::spawn_local(Connection::new(
            Rc::clone(worker),
            stream,
            peer,
            (counted, door),
            None,
            Protocol::Http1,
        ));
        return;
    }
    worker.make_room_to_begin();
    let beginning = Beginning::new(worker, peer, counted, door);
    let listen = Arc::clone(listen);
    tokio::task::spawn_local(async move {
        let begun = match listen.peer {
            true => beginning.greet(stream).await,
            false => beginning.run(stream, header, listen.tls).await,
        };
        if let Err(reason) = begun {
            beginning.worker.cells.refuse(reason);
        }
    });
}

/// A connection before its first request.
struct Beginning {
    worker: Rc<Worker>,
    deadline: Deadline,
    client: Cell<IpAddr>,
    counted: Cell<Counted>,
    door: Door,
    /// A [`Connection`] took over, and with it the place among the worker's connections.
    begun: Cell<bool>,
}

impl Beginning {
    fn new(worker: &Rc<Worker>, client: IpAddr, counted: Counted, door: Door) -> Self {
        worker.cells.beginning.add(1);
        let deadline = Deadline::new(&worker.deadlines);
        // From now on, not from its first turn on: in a rush many come before any has its turn.
        deadline.wait(Wait::Handshake, false, worker.clock.now_ms(), Waker::noop());
        Self {
            worker: Rc::clone(worker),
            deadline,
            client: client.into(),
            counted: counted.into(),
            door,
            begun: false.into(),
        }
    }

    /// Reads what comes first and starts the connection. On error the label of what was wrong.
    async fn run(&self, stream: TcpStream, header: bool, tls: bool) -> Result<(), &'static str> {
        if header {
            let read = self.within(proxy_header::read(&stream), "proxy_timeout").await;
            if let Some(told) = read? {
                self.client.set(told);
                // A refusal is counted there already.
                let Some(counted) = self.worker.count(told) else {
                    return Ok(());
                };
                self.counted.set(counted);
            }
        }
        if !tls {
            self.start(stream, None, Protocol::Http1);
            return Ok(());
        }
        let shaken = self.within(handshake::shake_hands(&self.worker, stream), "tls_timeout");
        let (stream, proof) = shaken.await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        self.start(stream, Some(proof), protocol);
        Ok(())
    }

    /// Starts the connection of another node once it has proved that it is one.
    async fn greet(&self, stream: TcpStream) -> Result<(), &'static str> {
        let greeting = peer::greet(&self.worker.metrics.peering, stream);
        let stream = self.within(greeting, "peer_timeout").await?;
        self.start(stream, None, Protocol::Peer);
        Ok(())
    }

    /// Waits for `future` until the deadline, which is one for all that a connection begins with. The label of what was
    /// wrong is `late` when that has passed.
    async fn within<T>(
        &self,
        future: impl Future<Output = Result<T, &'static str>>,
        late: &'static str,
    ) -> Result<T, &'static str> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.worker.clock.refresh();
            if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            // Asked first: to wait again would be to begin again.
            if self.deadline.expired() {
                return Poll::Ready(Err(if self.deadline.evicted() { EVICTED } else { late }));
            }
            let now = self.worker.clock.now_ms();
            self.deadline.wait(Wait::Handshake, false, now, cx.waker());
            Poll::Pending
        })
        .await
    }

    fn start<S: super::Transport>(&self, stream: S, proof: Option<Proof>, protocol: Protocol) {
        self.begun.set(true);
        let connection = Connection::new(
            Rc::clone(&self.worker),
            stream,
            self.client.get(),
            (self.counted.get(), self.door),
            proof,
            protocol,
        );
        // A task of its own: nothing of the handshake is kept.
        tokio::task::spawn_local(connection);
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        self.worker.cells.beginning.sub(1);
        if !self.begun.get() {
            self.worker.uncount(self.client.get(), self.counted.get());
            self.worker.leave(self.door);
        }
    }
}
