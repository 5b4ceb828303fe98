//! `websocket-echo`: a WebSocket client as a program, so that a test can run it where it cannot go
//! itself: in a client's network namespace.
//!
//! Prints what comes back for each message, one line each, and then closes with 1000. A handshake
//! that is refused prints `refused STATUS` and is no failure.

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use breakwater_websocket::testing::{self, Message};
use clap::Parser;

/// For everything, handshake to close.
const DEADLINE: Duration = Duration::from_secs(20);

/// Opens a WebSocket, sends messages and prints what comes back.
#[derive(Parser)]
struct Arguments {
    /// Where to connect
    address: SocketAddr,
    /// The Host header
    host: String,
    /// The path
    path: String,
    /// The Origin header
    #[arg(long)]
    origin: Option<String>,
    /// Text messages, each sent once the last has come back
    messages: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let said = match tokio::time::timeout(DEADLINE, talk(&arguments)).await {
        Ok(said) => said,
        Err(_) => Err(format!("nothing more came within {} s", DEADLINE.as_secs())),
    };
    // Nowhere is left to report a closed standard output or error.
    match said {
        Ok(lines) => {
            let _ = writeln!(io::stdout(), "{}", lines.join("\n"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "websocket-echo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn talk(arguments: &Arguments) -> Result<Vec<String>, String> {
    let (host, path) = (&arguments.host, &arguments.path);
    let opened = testing::connect(arguments.address, host, path, arguments.origin.as_deref(), "").await;
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(testing::Error::Refused { status, .. }) => return Ok(vec![format!("refused {status}")]),
        Err(error) => return Err(error.to_string()),
    };
    let mut lines = Vec::new();
    for message in &arguments.messages {
        connection.send_text(message).await.map_err(|error| error.to_string())?;
        match next(&mut connection).await? {
            Message::Text(text) => lines.push(text),
            other => return Err(format!("{message:?} was answered by {other:?}")),
        }
    }
    connection
        .close(Some(1000), "")
        .await
        .map_err(|error| error.to_string())?;
    match next(&mut connection).await? {
        Message::Close(..) => Ok(lines),
        other => Err(format!("the close was answered by {other:?}")),
    }
}

/// The next message that is no ping or pong.
async fn next(connection: &mut testing::Connection<tokio::net::TcpStream>) -> Result<Message, String> {
    loop {
        match connection.next().await.map_err(|error| error.to_string())? {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return Ok(message),
        }
    }
}
