//! A small HTTP/1.1 client: one keep-alive connection, one request at a time, responses read whole.
//!
//! Invariant: what is returned is one complete response by its own framing; anything else is an error with what was
//! read. It sends heads as they are given, so that a test can also send what no client should.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Error, Result, error::Context};

/// The most bytes of one response.
const MOST: usize = 16 << 20;

/// How long one response may take. Far above anything that is measured: it only ends tests that hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// A response with its body, chunks put together.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header lines in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl Response {
    /// The first field of this name (in lower case); empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }
}

/// A connection that is used again and again.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context(|| format!("set up {address}"))?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Over a stream that is connected, and secured if it is to be.
    pub const fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// `GET path` of `host`, with more header lines, each ended by CRLF.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn get(&mut self, host: &str, path: &str, lines: &str) -> Result<Response> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"))
            .await
    }

    /// Sends a whole request without a body and reads the response.
    ///
    /// # Errors
    /// When the connection ends first, or the response is not HTTP/1.1, or takes longer than a minute.
    pub async fn send(&mut self, request: &str) -> Result<Response> {
        let exchange = async {
            self.stream
                .write_all(request.as_bytes())
                .await
                .context(|| "send a request".to_owned())?;
            self.response().await
        };
        tokio::time::timeout(DEADLINE, exchange).await.unwrap_or_else(|_| {
            Err(Error::Timeout {
                what: format!("a response to {}", request.lines().next().unwrap_or_default()),
                seconds: DEADLINE.as_secs_f64(),
                last: "no complete response".to_owned(),
            })
        })
    }

    /// The stream below, behind the last response.
    pub fn into_stream(self) -> S {
        self.stream
    }

    async fn response(&mut self) -> Result<Response> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            self.more().await?;
        };
        let head = self.take(end + 4);
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| Error::Invalid(format!("not a response of HTTP/1.1: {head}")))?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Response {
            status,
            headers,
            body: String::new(),
        };
        let body = self.body(&response).await?;
        response.body = String::from_utf8_lossy(&body).into_owned();
        Ok(response)
    }

    async fn body(&mut self, response: &Response) -> Result<Vec<u8>> {
        if response.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            return self.chunks().await;
        }
        let length = response.header("content-length");
        if length.is_empty() {
            return match response.status {
                204 | 304 => Ok(Vec::new()),
                _ => Err(Error::Invalid(format!("a response without framing: {response:?}"))),
            };
        }
        let length = length
            .parse()
            .map_err(|_| Error::Invalid(format!("Content-Length: {length}")))?;
        self.exactly(length).await
    }

    async fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = find(&self.buffer, b"\r\n") {
                    break end;
                }
                self.more().await?;
            };
            let line = self.take(end + 2);
            let line = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| Error::Invalid(format!("a chunk of size {line:?}")))?;
            let chunk = self.exactly(size).await?;
            // Trailers are not expected: the last chunk ends as any other.
            self.exactly(2).await?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk);
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.take(length))
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    async fn more(&mut self) -> Result<()> {
        let read = self
            .stream
            .read_buf(&mut self.buffer)
            .await
            .context(|| "read a response".to_owned())?;
        if read == 0 || self.buffer.len() > MOST {
            let text = String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(200)]).into_owned();
            return Err(Error::Invalid(format!("no complete response, only {text:?}")));
        }
        Ok(())
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// As [`Connection::open`] and [`Connection::get`].
pub async fn get(address: SocketAddr, host: &str, path: &str, lines: &str) -> Result<Response> {
    Connection::open(address).await?.get(host, path, lines).await
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answer(bytes: &'static [u8]) -> Result<Response> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("the client comes");
            let mut head = [0; 512];
            assert!(stream.read(&mut head).await.expect("it asks") > 0);
            stream.write_all(bytes).await.expect("it reads");
        };
        tokio::join!(serve, get(address, "localhost", "/", "")).1
    }

    #[tokio::test]
    async fn chunks_are_put_together() {
        let response = answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            .await
            .expect("it is complete");
        assert_eq!((response.status, response.body.as_str()), (200, "abcde"));
    }

    #[tokio::test]
    async fn a_response_cut_short_is_an_error() {
        let error = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")
            .await
            .expect_err("two bytes are missing");
        assert!(error.to_string().contains("abc"), "{error}");
    }
}
