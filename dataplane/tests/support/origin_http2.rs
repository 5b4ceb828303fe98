//! Origins that speak HTTP/2, with prior knowledge, by the `h2` crate.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use breakwater_snapshot::unit::{EdgeCache, OriginProtocol};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use tokio::net::TcpListener;

use super::edge_cache;

pub(crate) type Stream = h2::server::Connection<tokio::net::TcpStream, Bytes>;

/// An HTTP/2 origin. Stops when it is dropped.
pub(crate) struct Origin2 {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Origin2 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin2 {
    /// Each connection is the script's, with its number from 0.
    pub(crate) async fn raw<F>(script: impl Fn(usize, Stream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                tasks.spawn(async move {
                    if let Ok(stream) = h2::server::handshake(stream).await {
                        script(number, stream).await;
                    }
                });
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    /// Each request is the script's.
    pub(crate) async fn start<F>(
        script: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script = Arc::new(script);
        Self::raw(move |_, mut connection| {
            let script = Arc::clone(&script);
            async move {
                let mut tasks = tokio::task::JoinSet::new();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tasks.spawn(script(request, respond));
                }
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A site before such an origin.
pub(crate) fn http2_site(address: SocketAddr) -> EdgeCache {
    let mut site = edge_cache(address);
    site.origin.protocol = OriginProtocol::Http2;
    site
}

/// All of a body.
pub(crate) async fn whole(mut body: RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
        all.extend_from_slice(&piece);
    }
    all
}
