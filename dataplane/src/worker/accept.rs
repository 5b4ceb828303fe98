//! Taking in connections: the loop of one worker on one listening socket.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Worker;
use crate::conn::begin;
use crate::listen::Listen;

pub(super) async fn accept(listener: tokio::net::TcpListener, listen: Arc<Listen>, worker: Rc<Worker>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A peer that is gone already shows itself at the first read.
                let _ = stream.set_nodelay(true);
                begin(&worker, stream, peer.ip(), &listen);
            }
            Err(error) => {
                worker.cells.refuse("accept");
                tracing::warn!(%error, "a connection cannot be accepted; waiting a moment");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
