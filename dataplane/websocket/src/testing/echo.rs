//! A server that says what it hears.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::handshake::answer;
use super::{Connection, Error, Message};

/// The most connections of one server; more are cut off at once.
pub const MAX_CONNECTIONS: usize = 10_000;

/// Echoes text and binary messages, answers pings and close frames, until it is dropped; its connections go with it.
///
/// # Errors
/// The listener's.
pub async fn serve_echo(listener: TcpListener) -> Result<(), Error> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        if connections.len() < MAX_CONNECTIONS {
            connections.spawn(async move { echo(answer(stream).await?).await });
        }
    }
}

/// Echoes text and binary messages, answers pings, and ends when it has answered a close frame. For a server that
/// has done the handshake itself.
///
/// # Errors
/// Those of [`Connection::next`] and [`Connection::send`].
pub async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut connection: Connection<S>) -> Result<(), Error> {
    loop {
        match connection.next().await? {
            Message::Ping(payload) => connection.send(&Message::Pong(payload)).await?,
            Message::Pong(_) => {}
            message @ Message::Close(..) => return connection.send(&message).await,
            message => connection.send(&message).await?,
        }
    }
}
