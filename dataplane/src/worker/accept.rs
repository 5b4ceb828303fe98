//! Taking in connections: the loop of one worker on one listening socket.

use std::rc::Rc;
use std::time::Duration;

use super::Worker;
use crate::conn::Connection;

pub(super) async fn accept(listener: tokio::net::TcpListener, worker: Rc<Worker>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if worker.admit() {
                    // A peer that is gone already shows itself at the first read.
                    let _ = stream.set_nodelay(true);
                    tokio::task::spawn_local(Connection::new(Rc::clone(&worker), stream, peer.ip()));
                }
            }
            Err(error) => {
                worker.cells.refuse("accept");
                tracing::warn!(%error, "a connection cannot be accepted; waiting a moment");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
