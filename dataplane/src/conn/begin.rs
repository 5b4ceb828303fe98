//! How a connection begins: at once, or after a PROXY header and a TLS handshake.
//!
//! Invariant: whatever must come before the first request comes within one deadline ([`Wait::Handshake`]), and only so
//! many connections of a worker are in that state at once ([`MAX_BEGINNING`]). A connection in clear text from a peer
//! that sends no PROXY header pays for none of this.

mod handshake;
mod proxy_header;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::net::TcpStream;

use super::{Connection, Protocol};
use crate::listen::Listen;
use crate::worker::deadlines::{Deadline, Wait};
use crate::worker::{Counted, Worker};

/// Connections of one worker that may be at a PROXY header or a handshake at once. Each holds some tens of kilobytes.
const MAX_BEGINNING: u64 = 2048;

/// Starts the task of an accepted connection, if there is a place for it.
pub(crate) fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: IpAddr, listen: &Arc<Listen>) {
    let header = listen.sends_proxy_header(peer);
    // Who has no place of its own makes nobody else lose theirs, so this comes before [`Worker::admit`]. For whom a
    // proxy speaks is not known yet.
    let Some(counted) = (if header { Some(Counted::NOT) } else { worker.count(peer) }) else {
        return;
    };
    if !worker.admit() {
        worker.uncount(peer, counted);
        return;
    }
    if !listen.tls && !header {
        tokio::task::spawn_local(Connection::new(
            Rc::clone(worker),
            stream,
            peer,
            counted,
            None,
            Protocol::Http1,
        ));
        return;
    }
    let beginning = Beginning::new(worker, peer, counted);
    if worker.cells.beginning.get() > MAX_BEGINNING {
        worker.cells.refuse("handshakes");
        return;
    }
    let tls = listen.tls;
    tokio::task::spawn_local(async move {
        if let Err(reason) = beginning.run(stream, header, tls).await {
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
    /// A [`Connection`] took over, and with it the place among the worker's connections.
    begun: Cell<bool>,
}

impl Beginning {
    fn new(worker: &Rc<Worker>, client: IpAddr, counted: Counted) -> Self {
        worker.cells.beginning.add(1);
        Self {
            worker: Rc::clone(worker),
            deadline: Deadline::new(&worker.deadlines),
            client: client.into(),
            counted: counted.into(),
            begun: false.into(),
        }
    }

    /// Reads what comes first and starts the connection. On error the label of what was wrong.
    async fn run(&self, stream: TcpStream, header: bool, tls: bool) -> Result<(), &'static str> {
        if header {
            let read = self.within(proxy_header::read(&stream)).await;
            if let Some(told) = read.unwrap_or(Err("proxy_timeout"))? {
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
        let shaken = self.within(handshake::shake_hands(&self.worker, stream)).await;
        let (stream, realm) = shaken.unwrap_or(Err("tls_timeout"))?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        self.start(stream, Some(realm), protocol);
        Ok(())
    }

    /// Waits for `future` until the deadline, which is one for all that a connection begins with.
    async fn within<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.worker.clock.refresh();
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            // Asked first: to wait again would be to begin again.
            if self.deadline.expired() {
                return Poll::Ready(None);
            }
            let now = self.worker.clock.now_ms();
            self.deadline.wait(Wait::Handshake, false, now, cx.waker());
            Poll::Pending
        })
        .await
    }

    fn start<S: super::Transport>(&self, stream: S, realm: Option<crate::tls::Realm>, protocol: Protocol) {
        self.begun.set(true);
        let connection = Connection::new(
            Rc::clone(&self.worker),
            stream,
            self.client.get(),
            self.counted.get(),
            realm,
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
            self.worker.leave();
        }
    }
}
