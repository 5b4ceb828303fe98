//! Both halves of the opening handshake, over TCP.

use std::net::SocketAddr;

use breakwater_wire::websocket::frame::Sender;
use breakwater_wire::websocket::{accept, key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Connection, Error};

const MAX_HEAD: usize = 16 * 1024;

/// Connects to `address` and asks for a WebSocket at `path` of `host`, with this `Origin` and these other header
/// lines, each ended by CRLF.
///
/// # Errors
/// The socket's; [`Error::Refused`] for any status but 101; [`Error::Handshake`] if the answer's
/// `Sec-WebSocket-Accept` does not match.
pub async fn connect(
    address: SocketAddr,
    host: &str,
    path: &str,
    origin: Option<&str>,
    lines: &str,
) -> Result<Connection<TcpStream>, Error> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let key = key(*b"not so random...");
    let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{origin}{lines}\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let (head, early) = read_head(&mut stream).await?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    match status {
        Some(101) => {}
        Some(status) => return Err(Error::Refused { status, head }),
        None => return Err(Error::Handshake("no status line")),
    }
    if field(&head, "sec-websocket-accept").map(str::as_bytes) != Some(&accept(key.as_bytes())) {
        return Err(Error::Handshake("Sec-WebSocket-Accept does not match"));
    }
    Ok(Connection::new(stream, Sender::Client, early))
}

/// Answers a client's handshake; any path and Origin will do.
pub(super) async fn answer(mut stream: TcpStream) -> Result<Connection<TcpStream>, Error> {
    stream.set_nodelay(true)?;
    let (head, early) = read_head(&mut stream).await?;
    let Some(key) = field(&head, "sec-websocket-key") else {
        let refusal = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\
                       Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(refusal.as_bytes()).await?;
        return Err(Error::Handshake("no Sec-WebSocket-Key"));
    };
    let mut response = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_vec();
    response.extend(b"Sec-WebSocket-Accept: ");
    response.extend(accept(key.as_bytes()));
    if let Some(first) = field(&head, "sec-websocket-protocol").and_then(|list| list.split(',').next()) {
        response.extend(format!("\r\nSec-WebSocket-Protocol: {}", first.trim()).as_bytes());
    }
    response.extend(b"\r\n\r\n");
    stream.write_all(&response).await?;
    Ok(Connection::new(stream, Sender::Server, early))
}

/// A head, and what came after it.
async fn read_head(stream: &mut TcpStream) -> Result<(String, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let early = bytes.split_off(end + 4);
            let head = String::from_utf8(bytes).map_err(|_| Error::Handshake("head is not UTF-8"))?;
            return Ok((head, early));
        }
        if bytes.len() >= MAX_HEAD {
            return Err(Error::Handshake("head too long"));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(Error::Eof);
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    });
    line.map(str::trim)
}
