//! The origin behind a proxy under test: it reads strictly, answers 200, and shows what reached it.
//!
//! Invariant: a request is shown when it arrived whole, before it is answered. What a strict reader cannot frame is
//! shown as garbage, and its connection closed: a proxy that forwards it has been fooled.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{Result, error::Context};

/// The target of the request that is sent behind every case. It is not shown when it comes as sent.
pub(super) const AFTER: &str = "/after-the-case";
/// Its host.
pub(super) const AFTER_HOST: &str = "after.test";
/// What its answer holds.
pub(super) const ANSWER_AFTER: &[u8] = b"this-answers-what-came-after-the-case";

/// The most bytes of one request.
const MOST: usize = 1 << 20;

/// Fields that proxies add or rewrite in every request, or that only frame it.
const LEFT_OUT: [&str; 15] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-real-ip",
    "x-request-id",
    "cdn-loop",
    "surrogate-capability",
    "accept-encoding",
];

/// A recording origin. It lives on the test's runtime and ends with it.
#[derive(Debug, Clone)]
pub struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context(|| "listen on a free port".to_owned())?;
        let address = listener.local_addr().context(|| "ask for a port".to_owned())?;
        let recorder = Self {
            address,
            seen: Arc::default(),
        };
        let shared = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let recorder = shared.clone();
                // A connection that fails is the proxy's business: it answers for it.
                tokio::spawn(async move { recorder.serve(stream).await });
            }
        });
        Ok(recorder)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came since the case began, each as `METHOD TARGET HOST name=value… [body] trailer name=value…`, with `-`
    /// for an empty host. What is not printable is escaped.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Starts the next case.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        // Nothing panics with the lock held.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            match read(&buffer) {
                Read::Request { length, line } => {
                    buffer.drain(..length);
                    let after = line == format!("GET {AFTER} {AFTER_HOST}");
                    if !after {
                        self.lock().push(line);
                    }
                    let body = if after { ANSWER_AFTER } else { b"the origin's answer" };
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\r\n",
                        body.len()
                    );
                    stream.write_all(&[head.as_bytes(), body].concat()).await?;
                }
                Read::Partial if buffer.len() < MOST => {
                    if stream.read_buf(&mut buffer).await? == 0 {
                        return Ok(());
                    }
                }
                Read::Partial | Read::Garbage => {
                    self.lock().push(format!("garbage [{}]", buffer.escape_ascii()));
                    return Ok(());
                }
            }
        }
    }
}

enum Read {
    Request { length: usize, line: String },
    Partial,
    Garbage,
}

fn read(bytes: &[u8]) -> Read {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Read::Partial;
    };
    let head = text(&bytes[..end]);
    let rest = &bytes[end + 4..];
    let (start, lines) = head.split_once("\r\n").unwrap_or((&head, ""));
    let start: Vec<&str> = start.split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = start[..] else {
        return Read::Garbage;
    };
    let Some(fields) = fields(lines) else {
        return Read::Garbage;
    };
    let values = |wanted: &str| -> Vec<&str> {
        let found = fields.iter().filter(|(name, _)| name == wanted);
        found.map(|(_, value)| *value).collect()
    };
    let [host] = values("host")[..] else {
        return Read::Garbage;
    };
    let body = match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Ok(Some(Body::default())),
        ([length], []) => length.parse().map_err(|_| Unframed).map(|length: usize| {
            let bytes = rest.get(..length)?.to_vec();
            let trailers = Vec::new();
            Some(Body {
                bytes,
                length,
                trailers,
            })
        }),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => chunks(rest),
        _ => Err(Unframed),
    };
    let body = match body {
        Ok(Some(body)) => body,
        Ok(None) => return Read::Partial,
        Err(Unframed) => return Read::Garbage,
    };
    let mut line = format!("{method} {target} {}", if host.is_empty() { "-" } else { host });
    for (name, value) in fields.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())) {
        line.push_str(&format!(" {name}={value}"));
    }
    if !body.bytes.is_empty() {
        line.push_str(&format!(" [{}]", text(&body.bytes)));
    }
    for (name, value) in &body.trailers {
        line.push_str(&format!(" trailer {name}={value}"));
    }
    Read::Request {
        length: end + 4 + body.length,
        line: escape(&line),
    }
}

/// Field lines, names in lower case; none when one of them is no field.
fn fields(lines: &str) -> Option<Vec<(String, &str)>> {
    let lines = lines.split("\r\n").filter(|line| !line.is_empty());
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':')?;
        let bad = name.is_empty() || name.contains([' ', '\t']) || value.contains(['\r', '\n', '\0']);
        (!bad).then(|| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])))
    });
    fields.collect()
}

/// A body that came whole.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    /// Bytes on the wire.
    length: usize,
    trailers: Vec<(String, String)>,
}

/// Nobody can tell where the body ends.
struct Unframed;

/// A chunked body without extensions; none when it is incomplete.
fn chunks(bytes: &[u8]) -> Result<Option<Body>, Unframed> {
    let mut body = Body::default();
    loop {
        let rest = &bytes[body.length..];
        let Some(end) = find(rest, b"\r\n") else {
            return Ok(None);
        };
        let digits = &rest[..end];
        if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(Unframed);
        }
        let size = usize::from_str_radix(&text(digits), 16).map_err(|_| Unframed)?;
        if size == 0 {
            let Some(last) = find(&rest[end..], b"\r\n\r\n") else {
                return Ok(None);
            };
            let lines = text(&rest[end..end + last]);
            let trailers = fields(&lines).ok_or(Unframed)?;
            body.trailers = trailers
                .into_iter()
                .map(|(name, value)| (name, value.to_owned()))
                .collect();
            body.length += end + last + 4;
            return Ok(Some(body));
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + size + 2) else {
            return Ok(None);
        };
        let (data, line_end) = chunk.split_at(size);
        if line_end != b"\r\n" {
            return Err(Unframed);
        }
        body.bytes.extend_from_slice(data);
        body.length += end + 2 + size + 2;
    }
}

/// Each byte as the character of that number: nothing is lost, whatever the bytes are.
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// What [`text`] made, for people: bytes that are not printable ASCII as escapes.
fn escape(text: &str) -> String {
    let escaped = text.chars().map(|character| match u8::try_from(character) {
        Ok(byte) if byte.is_ascii_graphic() || byte == b' ' => char::from(byte).to_string(),
        Ok(byte) => byte.escape_ascii().to_string(),
        Err(_) => character.to_string(),
    });
    escaped.collect()
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Option<String> {
        match read(bytes) {
            Read::Request { length, line } if length == bytes.len() => Some(line),
            _ => None,
        }
    }

    #[test]
    fn the_same_request_in_either_framing_is_one_line() {
        let want = Some("POST /a shop.test x-t=1 [hello]".to_owned());
        assert_eq!(
            line(b"POST /a HTTP/1.1\r\nHost: shop.test\r\nX-T: 1\r\nContent-Length: 5\r\n\r\nhello"),
            want
        );
        assert_eq!(
            line(b"POST /a HTTP/1.1\r\nhost: shop.test\r\nx-t:1\r\nVia: 1.1 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
            want
        );
    }

    #[test]
    fn trailers_empty_hosts_and_odd_bytes_are_shown() {
        assert_eq!(
            line(b"POST /\xff HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\nX-T: a\r\n\r\n"),
            Some("POST /\\xff - [\\n] trailer x-t=a".to_owned())
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_garbage_and_what_is_cut_is_partial() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n",
        ] {
            assert!(matches!(read(bytes), Read::Garbage), "{}", bytes.escape_ascii());
        }
        assert!(matches!(
            read(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx"),
            Read::Partial
        ));
    }
}
