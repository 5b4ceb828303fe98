//! Another node's connection: it proves that it is one before it is heard.

use tokio::net::TcpStream;

use crate::peer::{Peering, handshake};

/// Greets a node. On error the label of what was wrong.
pub(super) async fn greet(peering: &Peering, mut stream: TcpStream) -> Result<TcpStream, &'static str> {
    match handshake::receive(&mut stream, &peering.name, &peering.keys).await {
        Ok(()) => Ok(stream),
        Err(error) => {
            peering.counts.strangers.add();
            tracing::debug!(%error, "a connection to the peer listener is no node's");
            Err("peer_handshake")
        }
    }
}
