//! One connection by hand, in each protocol: opened, asked once, and kept.
//!
//! Invariant: what [`Client::ask`] returns is a whole answer. Left to others: what the answer should be ([`crate::check`]).

pub(crate) mod http2;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::Error;
use crate::certificate::Certificate;
use crate::load::{HOST, TLS_HOST};
use crate::peer::Protocol;

/// No answer may take longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest body read, in bytes.
const LARGEST: usize = 16 << 20;

/// A response that was read whole.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The head's lines after the status line, as sent; none over HTTP/2.
    pub fields: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of the first field called `name`, in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// An open connection.
#[derive(Debug)]
pub enum Client {
    /// HTTP/1.1 in clear text.
    Plain(TcpStream),
    /// HTTP/2 in clear text; it can be asked once.
    Http2(TcpStream),
    /// HTTP/1.1 over TLS 1.3.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Client {
    /// Opens a connection with timeouts set.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn open(protocol: Protocol, address: SocketAddr, certificate: &Certificate) -> Result<Self, Error> {
        let stream = connect(address)?;
        Ok(match protocol {
            Protocol::Http1 => Self::Plain(stream),
            Protocol::Http2 => Self::Http2(stream),
            Protocol::Tls => {
                let failed = |error: String| Error::io(format!("TLS to {address}"))(std::io::Error::other(error));
                let name = ServerName::try_from(TLS_HOST).map_err(|e| failed(e.to_string()))?;
                let session =
                    ClientConnection::new(certificate.client.clone(), name).map_err(|e| failed(e.to_string()))?;
                Self::Tls(Box::new(StreamOwned::new(session, stream)))
            }
        })
    }

    /// One request and its answer; the connection stays open.
    ///
    /// # Errors
    /// When the exchange fails.
    pub fn ask(&mut self, path: &str) -> Result<Answer, Error> {
        match self {
            Self::Plain(stream) => exchange(stream, HOST, path),
            Self::Tls(stream) => exchange(stream.as_mut(), TLS_HOST, path),
            Self::Http2(stream) => http2::exchange(stream, path).map_err(Error::io(format!("asking for {path}"))),
        }
    }

    /// Whether the server has closed it. Afterwards it can only be dropped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let stream = match self {
            Self::Plain(stream) | Self::Http2(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        };
        // Bytes that are still to be read (a ticket, a settings frame) are no end.
        let open = stream.set_nonblocking(true).is_ok()
            && match stream.peek(&mut [0]) {
                Ok(length) => length > 0,
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            };
        !open
    }
}

/// Sends one `GET` in clear text on a connection of its own and reads the whole answer.
///
/// # Errors
/// When the server cannot be reached, or answers without a `Content-Length`.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer, Error> {
    exchange(&mut connect(address)?, HOST, path)
}

/// Opens a connection with timeouts set.
///
/// # Errors
/// When the server cannot be reached.
pub fn connect(address: SocketAddr) -> Result<TcpStream, Error> {
    let stream =
        TcpStream::connect_timeout(&address, TIMEOUT).map_err(Error::io(format!("connecting to {address}")))?;
    stream
        .set_read_timeout(Some(TIMEOUT))
        .map_err(Error::io("setting a timeout"))?;
    stream.set_nodelay(true).map_err(Error::io("setting TCP_NODELAY"))?;
    Ok(stream)
}

/// One request of HTTP/1.1 and its answer on an open connection, which stays open.
///
/// # Errors
/// When the exchange fails, or the answer has no `Content-Length`.
pub fn exchange(stream: &mut (impl Read + Write), host: &str, path: &str) -> Result<Answer, Error> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: breakwater-bench\r\n\r\n");
    send(stream, &request, path)
}

/// Sends a request for `path`, which is for messages, and reads its answer.
pub(crate) fn send(stream: &mut (impl Read + Write), request: &str, path: &str) -> Result<Answer, Error> {
    let failed = || format!("asking for {path}");
    stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.flush())
        .map_err(Error::io(failed()))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(Error::io(failed()))?;
    let invalid = |why: &str| Error::Io {
        what: failed(),
        source: std::io::Error::other(format!("{why}: {line:?}")),
    };
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid("no status line"))?;
    let mut answer = Answer {
        status,
        fields: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).map_err(Error::io(failed()))?;
        let field = field.trim_end();
        if field.is_empty() {
            break;
        }
        answer.fields.push(field.to_owned());
    }
    let length = answer
        .field("content-length")
        .and_then(|length| length.parse().ok())
        .filter(|n| *n <= LARGEST);
    let length: usize = length.ok_or_else(|| invalid("no usable Content-Length"))?;
    answer.body.resize(length, 0);
    reader.read_exact(&mut answer.body).map_err(Error::io(failed()))?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_any_case_and_trimmed() {
        let answer = Answer {
            status: 200,
            fields: vec!["cache-status:  breakwater; hit".to_owned()],
            body: Vec::new(),
        };
        assert_eq!(answer.field("Cache-Status"), Some("breakwater; hit"));
        assert_eq!(answer.field("Age"), None);
    }

    #[test]
    fn an_unreachable_server_is_an_error_that_names_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        drop(listener);
        let error = get(address, "/").expect_err("nothing listens there");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
