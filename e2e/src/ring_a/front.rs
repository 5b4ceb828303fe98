//! What a Service is to the nodes: one address, and behind it whichever replica lives.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{Result, error::Context};

/// A relay that runs until it is dropped.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Front {
    /// Listens on `address` and gives each connection to the next of `replicas` that takes it.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(address: SocketAddr, replicas: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .context(|| format!("listen on {address}"))?;
        let mut task = JoinSet::new();
        task.spawn(relay(listener, replicas));
        Ok(Self { address, _task: task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn relay(listener: TcpListener, replicas: Vec<SocketAddr>) {
    let turn = AtomicUsize::new(0);
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let first = turn.fetch_add(1, Ordering::Relaxed);
        let order: Vec<_> = (0..replicas.len())
            .filter_map(|n| replicas.get((first + n) % replicas.len()).copied())
            .collect();
        connections.spawn(connect(client, order));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(mut client: TcpStream, replicas: Vec<SocketAddr>) {
    for replica in replicas {
        if let Ok(mut server) = TcpStream::connect(replica).await {
            // An end on either side is an end for both.
            let _ = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
