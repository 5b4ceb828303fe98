//! The PROXY header at the start of a connection, read without a byte of what follows.

use std::io;
use std::net::IpAddr;

use breakwater_wire::proxy_protocol::{Error, MAX, Parsed, parse};
use tokio::net::TcpStream;

/// Reads the header. Gives the client's address where the proxy speaks for one, in its IPv4 form if it has one.
///
/// Bytes are looked at before they are taken, and taken only as far as they are the header's: so what follows is the
/// connection's, and a header that comes in pieces is waited for, not looked at again and again.
///
/// # Errors
/// The label of what was wrong.
pub(super) async fn read(stream: &TcpStream) -> Result<Option<IpAddr>, &'static str> {
    let mut header = [0; MAX];
    let mut taken = 0;
    loop {
        let rest = header.get_mut(taken..).unwrap_or_default();
        let seen = taken + stream.peek(rest).await.map_err(|_| "proxy_closed")?;
        if seen == taken {
            return Err("proxy_closed");
        }
        let parsed = parse(header.get(..seen).unwrap_or_default()).map_err(label)?;
        let end = match &parsed {
            Parsed::Partial => seen,
            Parsed::Complete(header) => header.len,
        };
        take(stream, header.get_mut(taken..end).unwrap_or_default()).await?;
        taken = end;
        if let Parsed::Complete(header) = parsed {
            return Ok(header.addresses.map(|addresses| addresses.source.ip().to_canonical()));
        }
    }
}

/// Takes bytes that are there.
async fn take(stream: &TcpStream, mut bytes: &mut [u8]) -> Result<(), &'static str> {
    while !bytes.is_empty() {
        match stream.try_read(bytes) {
            Ok(0) => return Err("proxy_closed"),
            Ok(n) => bytes = bytes.get_mut(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stream.readable().await.map_err(|_| "proxy_closed")?;
            }
            Err(_) => return Err("proxy_closed"),
        }
    }
    Ok(())
}

const fn label(error: Error) -> &'static str {
    match error {
        Error::Missing => "proxy_missing",
        _ => "proxy_malformed",
    }
}
