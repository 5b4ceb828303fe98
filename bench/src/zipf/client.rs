//! The load of a zipf run: one thread, so many connections, each with one request at a time, in the order of the trace.
//!
//! Invariant: every byte of every answer is compared; an answer that is not the origin's ends the run.

use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::bodies::{Bodies, path};
use crate::load::HOST;
use crate::{Error, client};

/// Connections that are kept open.
pub const CONNECTIONS: usize = 64;
/// The longest that nothing at all may come.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest head of an answer, bytes.
const HEAD: usize = 16 << 10;

/// A request: key and size of an object.
pub(super) type Wanted = (u64, usize);

/// What was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Requests answered.
    pub(super) requests: u64,
    /// Bytes of content.
    pub(super) bytes: u64,
    /// From the first request to the last answer.
    pub(super) took: Duration,
}

/// Asks `address` for all of it.
///
/// # Errors
/// When an answer is not the origin's, or the server hangs up or is silent.
pub(super) fn send(server: &str, address: SocketAddr, wanted: &[Wanted], bodies: &Bodies) -> Result<Sent, Error> {
    let poll = epoll::create(CreateFlags::CLOEXEC).map_err(|e| Error::io("creating epoll")(e.into()))?;
    let mut connections = Vec::new();
    for token in 0..CONNECTIONS.min(wanted.len()) {
        let stream = client::connect(address)?;
        stream
            .set_nonblocking(true)
            .map_err(Error::io("making a connection non-blocking"))?;
        epoll::add(&poll, &stream, EventData::new_u64(token as u64), EventFlags::IN)
            .map_err(|error| Error::io("watching a socket")(error.into()))?;
        connections.push(Connection {
            stream,
            asked: None,
            head: Vec::new(),
            rest: &[],
        });
    }
    let wrong = |(key, size): Wanted, why: String| Error::Wrong {
        server: server.to_owned(),
        path: path(key, size),
        why,
    };
    let begun = Instant::now();
    let mut next = wanted.iter().copied();
    for connection in &mut connections {
        if let Some(object) = next.next() {
            connection
                .ask(object)
                .map_err(|error| wrong(object, error.to_string()))?;
        }
    }
    let mut sent = Sent {
        requests: 0,
        bytes: 0,
        took: Duration::ZERO,
    };
    let mut input = vec![0; 256 << 10];
    let mut events = [MaybeUninit::<epoll::Event>::uninit(); CONNECTIONS];
    let patience = Timespec::try_from(PATIENCE).map_err(|_| Error::io("waiting")(ErrorKind::InvalidInput.into()))?;
    while sent.requests < wanted.len() as u64 {
        let (ready, _) =
            epoll::wait(&poll, &mut events, Some(&patience)).map_err(|e| Error::io("waiting")(e.into()))?;
        if ready.is_empty() {
            return Err(Error::Load {
                server: server.to_owned(),
                why: format!("silent for {} s after {} answers", PATIENCE.as_secs(), sent.requests),
            });
        }
        for event in &*ready {
            let token = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let Some(connection) = connections.get_mut(token) else {
                continue;
            };
            let object = connection.asked.unwrap_or_default();
            if !connection.read(&mut input, bodies).map_err(|why| wrong(object, why))? {
                continue;
            }
            sent.requests += 1;
            sent.bytes += object.1 as u64;
            if let Some(object) = next.next() {
                connection
                    .ask(object)
                    .map_err(|error| wrong(object, error.to_string()))?;
            }
        }
    }
    sent.took = begun.elapsed();
    Ok(sent)
}

struct Connection<'a> {
    stream: TcpStream,
    asked: Option<Wanted>,
    /// Of the answer, until it is whole.
    head: Vec<u8>,
    /// Content that is still to come.
    rest: &'a [u8],
}

impl<'a> Connection<'a> {
    fn ask(&mut self, (key, size): Wanted) -> std::io::Result<()> {
        self.asked = Some((key, size));
        let request = format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", path(key, size));
        // Nothing else is under way on it: it fits the socket.
        match self.stream.write(request.as_bytes())? {
            length if length == request.len() => Ok(()),
            _ => Err(ErrorKind::WriteZero.into()),
        }
    }

    /// Takes in what has come. Whether the answer is complete.
    fn read(&mut self, input: &mut [u8], bodies: &'a Bodies) -> Result<bool, String> {
        let length = match self.stream.read(input) {
            Ok(0) => return Err("the connection was closed".to_owned()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.to_string()),
        };
        let came = input.get(..length).unwrap_or_default();
        let Some((key, size)) = self.asked else {
            return Err("bytes that nobody asked for".to_owned());
        };
        if !self.rest.is_empty() {
            return self.take(came);
        }
        let from = self.head.len();
        self.head.extend_from_slice(came);
        let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if self.head.len() > HEAD {
                Err("a head without an end".to_owned())
            } else {
                Ok(false)
            };
        };
        check(self.head.get(..end + 2).unwrap_or_default(), size)?;
        self.head.clear();
        self.rest = bodies.of(key, size);
        self.take(came.get(end + 4 - from..).unwrap_or_default())
    }

    fn take(&mut self, content: &[u8]) -> Result<bool, String> {
        let Some(rest) = self.rest.strip_prefix(content) else {
            return Err("another byte than the origin's".to_owned());
        };
        self.rest = rest;
        if rest.is_empty() {
            self.asked = None;
        }
        Ok(rest.is_empty())
    }
}

/// Whether a head announces what was asked for.
fn check(head: &[u8], size: usize) -> Result<(), String> {
    let text = String::from_utf8_lossy(head);
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    let status = text.split(' ').nth(1);
    if status == Some("200") && length.and_then(|length| length.parse().ok()) == Some(size) {
        Ok(())
    } else {
        Err(format!(
            "not 200 with {size} bytes: {}",
            text.lines().next().unwrap_or_default()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::origin::Origin;
    use super::*;

    #[test]
    fn every_answer_is_compared_and_counted() {
        let bodies = Arc::new(Bodies::new());
        let origin = Origin::start(&bodies).expect("start");
        let wanted: Vec<Wanted> = (0..200)
            .map(|key| (key % 90, 1024 + 3000 * (key as usize % 90)))
            .collect();
        let sent = send("it", origin.address(), &wanted, &bodies).expect("all are the origin's");
        let bytes: u64 = wanted.iter().map(|(_, size)| *size as u64).sum();
        assert_eq!((sent.requests, sent.bytes), (200, bytes));
        assert_eq!(origin.counts(), (200, bytes));
    }

    #[test]
    fn an_answer_that_is_not_the_origins_ends_the_run() {
        check(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 7\r\n", 7).expect("as asked");
        assert!(check(b"HTTP/1.1 503 No\r\nContent-Length: 7\r\n", 7).is_err());
        assert!(check(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n", 7).is_err());
        let bodies = Bodies::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno!");
            let _ = stream.read(&mut [0; 1]);
        });
        let error = send("it", address, &[(1, 3)], &bodies).expect_err("not its bytes");
        assert!(error.to_string().contains("another byte"), "{error}");
    }
}
