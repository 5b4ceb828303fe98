//! Origins that do as they are told: a function from a request's head to what happens on the wire.
//!
//! They live on the test's runtime and end with it. Requests with bodies are not understood.

use std::{net::SocketAddr, sync::Arc};

use breakwater_websocket::testing;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::{Result, error::Context};

/// The longest head that is read.
const LONGEST_HEAD: usize = 64 << 10;

/// What an origin does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// 200 with these header lines, each ended by CRLF, and this body; the connection stays.
    Ok(String, String),
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// Nothing, with the connection open.
    Silence,
}

impl Reply {
    /// 200 with this body, fresh for as long as `Cache-Control` says.
    pub fn text(cache_control: &str, body: impl Into<String>) -> Self {
        Self::Ok(format!("Cache-Control: {cache_control}\r\n"), body.into())
    }
}

/// Starts an origin on a free port; `answer` gets method and target of each request.
///
/// # Errors
/// When no port is free.
pub async fn start(answer: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Result<SocketAddr> {
    let listener = bind().await?;
    let address = listener.local_addr().context(|| "ask for a port".to_owned())?;
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            // A connection that fails is the client's business: it sees it.
            tokio::spawn(async move { serve(stream, &*answer).await });
        }
    });
    Ok(address)
}

/// Starts a WebSocket echo on a free port.
///
/// # Errors
/// When no port is free.
pub async fn start_echo() -> Result<SocketAddr> {
    let listener = bind().await?;
    let address = listener.local_addr().context(|| "ask for a port".to_owned())?;
    tokio::spawn(testing::serve_echo(listener));
    Ok(address)
}

/// An address that refuses connections, for as long as the socket beside it is held: no other program gets the port.
///
/// # Errors
/// When no port is free.
pub fn nobody() -> Result<(SocketAddr, TcpSocket)> {
    let bound = || -> std::io::Result<_> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok((socket.local_addr()?, socket))
    };
    bound().context(|| "reserve a port".to_owned())
}

async fn bind() -> Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0")
        .await
        .context(|| "listen on a free port".to_owned())
}

async fn serve(mut stream: TcpStream, answer: &(impl Fn(&str, &str) -> Reply + ?Sized)) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 || buffer.len() > LONGEST_HEAD {
                return Ok(());
            }
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match answer(method, target) {
            Reply::Ok(lines, body) => {
                let length = body.len();
                let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{lines}\r\n{body}");
                stream.write_all(response.as_bytes()).await?;
            }
            Reply::Bytes(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Silence => {
                // Until the other side has enough.
                while stream.read(&mut [0; 64]).await? > 0 {}
                return Ok(());
            }
        }
    }
}
