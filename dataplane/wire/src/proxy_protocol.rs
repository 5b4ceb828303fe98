//! The PROXY protocol, versions 1 and 2: who connected to the proxy in front of us.
//!
//! Strict and bounded: a header is complete, not there yet, or refused; nothing is guessed and nothing after it is
//! touched. Whether a peer may send one at all, and must, is decided by who listens: a header that is believed from
//! anybody lets anybody choose an address.

mod crc32c;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crc32c::Crc32c;

/// The longest header of version 1, its CRLF included, bytes.
pub const V1_MAX: usize = 107;

/// What follows the addresses of a header of version 2 may take this many bytes.
pub const TLVS_MAX: usize = 512;

/// The longest header that is read, bytes: version 2, with the addresses of Unix sockets.
pub const MAX: usize = V2_FIXED + V2_UNIX + TLVS_MAX;

const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
const V2_UNIX: usize = 216;
/// `PP2_TYPE_CRC32C`.
const CRC32C: u8 = 0x03;

/// What the start of a connection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// So far a header, but not all of it.
    Partial,
    /// A header.
    Complete(Header),
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length, bytes: what follows belongs to the connection.
    pub len: usize,
    /// The connection the proxy speaks for. None: the proxy's own (`LOCAL`, for its health checks), or one of which it
    /// knows nothing that we do (`UNKNOWN`, Unix sockets); then the real peer is the client.
    pub addresses: Option<Addresses>,
}

/// Both ends of the connection that the proxy accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// Why a connection does not begin with a usable header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It begins with something else.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// Longer than the protocol, or [`TLVS_MAX`], allows.
    #[error("the PROXY header is too long")]
    TooLong,
    /// Its version or command is none that we know.
    #[error("the PROXY header has an unknown version or command")]
    Version,
    /// It speaks of no TCP connection.
    #[error("the PROXY header names an unknown protocol")]
    Protocol,
    /// Addresses or ports that are none, or do not fit.
    #[error("the PROXY header's addresses are malformed")]
    Addresses,
    /// What follows the addresses is no sequence of type, length and value.
    #[error("the PROXY header's extensions are malformed")]
    Extensions,
    /// Its checksum is another.
    #[error("the PROXY header's checksum is wrong")]
    Checksum,
}

/// Reads the header at the start of `bytes`. [`MAX`] bytes are always enough to decide.
///
/// # Errors
/// When `bytes` cannot become a header, whatever follows.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Error> {
    if begins(bytes, V2_START) {
        version_2(bytes)
    } else if begins(bytes, V1_START) {
        version_1(bytes)
    } else {
        Err(Error::Missing)
    }
}

/// Whether `bytes` begins with `start`, or is the beginning of it.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let len = bytes.len().min(start.len());
    bytes.get(..len) == start.get(..len)
}

fn version_1(bytes: &[u8]) -> Result<Parsed, Error> {
    let Some(end) = bytes.iter().take(V1_MAX).position(|b| *b == b'\n') else {
        return if bytes.len() < V1_MAX {
            Ok(Parsed::Partial)
        } else {
            Err(Error::TooLong)
        };
    };
    let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.ok_or(Error::Addresses)?;
    let complete = |addresses| {
        Parsed::Complete(Header {
            len: end + 1,
            addresses,
        })
    };
    let rest = line.get(V1_START.len()..).ok_or(Error::Protocol)?;
    // What follows is to be passed over, whatever it is.
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Ok(complete(None));
    }
    let text = std::str::from_utf8(rest).map_err(|_| Error::Addresses)?;
    let mut words = text.split(' ');
    let v4 = match words.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return Err(Error::Protocol),
    };
    let [
        Some(source),
        Some(destination),
        Some(source_port),
        Some(destination_port),
        None,
    ] = std::array::from_fn(|_| words.next())
    else {
        return Err(Error::Addresses);
    };
    Ok(complete(Some(Addresses {
        source: SocketAddr::new(address(source, v4)?, port(source_port)?),
        destination: SocketAddr::new(address(destination, v4)?, port(destination_port)?),
    })))
}

fn address(text: &str, v4: bool) -> Result<IpAddr, Error> {
    let parsed = if v4 {
        text.parse::<Ipv4Addr>().map(IpAddr::from)
    } else {
        text.parse::<Ipv6Addr>().map(IpAddr::from)
    };
    parsed.map_err(|_| Error::Addresses)
}

fn port(text: &str) -> Result<u16, Error> {
    let decimal = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| decimal).ok_or(Error::Addresses)
}

fn version_2(bytes: &[u8]) -> Result<Parsed, Error> {
    let Some(&[command, protocol, high, low]) = bytes.get(V2_START.len()..V2_FIXED) else {
        return Ok(Parsed::Partial);
    };
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Error::Version),
    };
    // Of a `LOCAL` header only the length counts.
    let addresses_len = match protocol {
        _ if local => V2_UNIX,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => V2_UNIX,
        _ => return Err(Error::Protocol),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > addresses_len + TLVS_MAX {
        return Err(Error::TooLong);
    }
    if length < addresses_len && !local {
        return Err(Error::Addresses);
    }
    let Some(header) = bytes.get(..V2_FIXED + length) else {
        return Ok(Parsed::Partial);
    };
    let complete = |addresses| {
        Parsed::Complete(Header {
            len: header.len(),
            addresses,
        })
    };
    if local {
        return Ok(complete(None));
    }
    check_extensions(header, V2_FIXED + addresses_len)?;
    let block = header.get(V2_FIXED..).unwrap_or_default();
    Ok(complete(match protocol {
        0x11 => Some(binary(block, |bytes: [u8; 4]| Ipv4Addr::from(bytes).into())?),
        0x21 => Some(binary(block, |bytes: [u8; 16]| Ipv6Addr::from(bytes).into())?),
        _ => None,
    }))
}

/// Two addresses of `N` bytes, two ports.
fn binary<const N: usize>(block: &[u8], address: impl Fn([u8; N]) -> IpAddr) -> Result<Addresses, Error> {
    let field = |at: usize| block.get(at..at + N).and_then(|bytes| bytes.try_into().ok());
    let port = |at: usize| block.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
    match (field(0), field(N), port(2 * N), port(2 * N + 2)) {
        (Some(source), Some(destination), Some(from), Some(to)) => Ok(Addresses {
            source: SocketAddr::new(address(source), u16::from_be_bytes(from)),
            destination: SocketAddr::new(address(destination), u16::from_be_bytes(to)),
        }),
        _ => Err(Error::Addresses),
    }
}

/// Extensions are passed over, but for a checksum: who sends one wants it checked.
fn check_extensions(header: &[u8], start: usize) -> Result<(), Error> {
    let mut at = start;
    let mut checksum = None;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else {
            return Err(Error::Extensions);
        };
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        let content = header.get(value.clone()).ok_or(Error::Extensions)?;
        at = value.end;
        if kind == CRC32C {
            let content: [u8; 4] = content.try_into().map_err(|_| Error::Extensions)?;
            if checksum.replace((value, u32::from_be_bytes(content))).is_some() {
                return Err(Error::Extensions);
            }
        }
    }
    let Some((field, expected)) = checksum else {
        return Ok(());
    };
    // Over the whole header, with zeros in the checksum's place.
    let mut crc = Crc32c::new();
    crc.update(header.get(..field.start).unwrap_or_default());
    crc.update(&[0; 4]);
    crc.update(header.get(field.end..).unwrap_or_default());
    if crc.finish() == expected {
        Ok(())
    } else {
        Err(Error::Checksum)
    }
}
