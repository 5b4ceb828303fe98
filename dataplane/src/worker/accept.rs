//! Taking in connections: the loop of one worker on one listening socket.
//!
//! When the worker drains, what waits to be accepted is taken in before the socket is closed: the kernel would reset it.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::{Pressure, Worker};
use crate::conn::begin;
use crate::listen::{BACKLOG, Listen};

pub(super) async fn accept(listener: TcpListener, listen: Arc<Listen>, worker: Rc<Worker>) {
    let mut leaving = pin!(worker.leaving.notified());
    // Known from now on, also to a worker that is too busy accepting to wait for it.
    leaving.as_mut().enable();
    // Of a failure that lasts one line is enough.
    let mut failing = false;
    while !worker.draining.get() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut leaving => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                take_in(&worker, stream, peer, &listen);
            }
            Err(error) => {
                worker.cells.refuse("accept");
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "connections cannot be accepted; those that are idle make room");
                }
                // Most likely there is no descriptor left.
                worker.evict();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    for _ in 0..BACKLOG {
        let Ok((stream, peer)) = accept_now(&listener) else {
            return;
        };
        take_in(&worker, stream, peer, &listen);
    }
}

/// Accepts what is there, whatever the reactor knows of it.
fn accept_now(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = SockRef::from(listener).accept()?;
    socket.set_nonblocking(true)?;
    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok((TcpStream::from_std(socket.into())?, peer))
}

fn take_in(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, listen: &Arc<Listen>) {
    if worker.pressure() >= Pressure::Connections {
        worker.cells.refuse("overload");
        // A reset costs least, and tells a load balancer at once to ask another.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        return;
    }
    // A peer that is gone already shows itself at the first read.
    let _ = stream.set_nodelay(true);
    if let Some(stream) = worker.hand_over(stream, peer.ip(), listen) {
        begin(worker, stream, peer.ip(), listen);
    }
}
