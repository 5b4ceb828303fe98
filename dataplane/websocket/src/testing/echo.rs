//! A server that says what it hears.

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::handshake::answer;
use super::{Error, Message};

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
            connections.spawn(echo(stream));
        }
    }
}

async fn echo(stream: TcpStream) -> Result<(), Error> {
    let mut connection = answer(stream).await?;
    loop {
        match connection.next().await? {
            Message::Ping(payload) => connection.send(&Message::Pong(payload)).await?,
            Message::Pong(_) => {}
            message @ Message::Close(..) => return connection.send(&message).await,
            message => connection.send(&message).await?,
        }
    }
}
