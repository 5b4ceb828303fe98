//! A client of raw bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// A connection, and what was read of it but not yet understood.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    received: Vec<u8>,
}

/// A response, as received.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self
            .fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// How often a field came.
    pub(crate) fn count(&self, name: &str) -> usize {
        let found = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        found.count()
    }

    pub(crate) fn cache_status(&self) -> &str {
        self.field("cache-status").unwrap_or_default()
    }

    /// Whether it was answered from the store.
    pub(crate) fn is_hit(&self) -> bool {
        self.cache_status().starts_with("breakwater; hit")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) const fn over(stream: S) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("the data plane to read", self.stream.write_all(bytes.as_ref()))
            .await
            .unwrap();
    }

    /// A GET of `target` at `host`; `lines` are further fields, each ended by CRLF.
    pub(crate) async fn get(&mut self, host: &str, target: &str, lines: &str) -> Response {
        self.ask("GET", host, target, lines, b"").await
    }

    /// Any request; the fields that frame `body` are for `lines` to say.
    pub(crate) async fn ask(&mut self, method: &str, host: &str, target: &str, lines: &str, body: &[u8]) -> Response {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n").into_bytes();
        request.extend_from_slice(body);
        self.send(request).await;
        self.response(method).await
    }

    /// The next response to a request of `method`, interim ones included.
    pub(crate) async fn response(&mut self, method: &str) -> Response {
        within("a response", self.try_response(method))
            .await
            .expect("a whole response")
    }

    /// The next response; none when the connection ends before it is complete.
    pub(crate) async fn try_response(&mut self, method: &str) -> Option<Response> {
        let mut response = self.head().await?;
        let bodiless = method == "HEAD" || response.status < 200 || matches!(response.status, 204 | 304);
        if bodiless {
            return Some(response);
        }
        if response.field("transfer-encoding").is_some() {
            response.body = self.chunks().await?;
        } else if let Some(length) = response.field("content-length") {
            let length = length.parse().expect("a length");
            response.body = self.take(length).await?;
        } else {
            while self.read().await {}
            response.body = std::mem::take(&mut self.received);
        }
        Some(response)
    }

    /// The head of the next response, body left unread.
    pub(crate) async fn head(&mut self) -> Option<Response> {
        let end = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at;
            }
            if !self.read().await {
                return None;
            }
        };
        let head = self.take(end + 4).await?;
        let head = String::from_utf8(head).expect("a head of text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let fields = lines.filter_map(|line| line.split_once(':'));
        Some(Response {
            status: status.unwrap_or_else(|| panic!("no status line: {head}")),
            fields: fields
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
            body: Vec::new(),
        })
    }

    /// Exactly so many bytes; none when the connection ends before.
    pub(crate) async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.received.len() < length {
            if !self.read().await {
                return None;
            }
        }
        let rest = self.received.split_off(length);
        Some(std::mem::replace(&mut self.received, rest))
    }

    async fn line(&mut self) -> Option<String> {
        let end = loop {
            if let Some(at) = find(&self.received, b"\r\n") {
                break at;
            }
            if !self.read().await {
                return None;
            }
        };
        let line = self.take(end + 2).await?;
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut chunk = self.chunk().await?;
            if chunk.is_empty() {
                return Some(body);
            }
            body.append(&mut chunk);
        }
    }

    /// The next chunk of a body; the last is empty. None when the connection ends before.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line().await?;
        let size = usize::from_str_radix(&line, 16).expect("a chunk size");
        let mut chunk = self.take(size + 2).await?;
        chunk.truncate(size);
        Some(chunk)
    }

    /// Everything until the data plane closes. A reset counts as a close.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        within("the data plane to close", async { while self.read().await {} }).await;
        std::mem::take(&mut self.received)
    }

    /// Waits for the connection to end; fails when anything but its end comes.
    pub(crate) async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "unexpected: {}", String::from_utf8_lossy(&rest));
    }

    async fn read(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.received).await, Ok(n) if n > 0)
    }
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
