//! The origin behind every cache: `/KIND/SIZE` answers SIZE fixed bytes, cacheable for an hour, and counts who asked.
//!
//! Invariant: the count goes up before the answer is written, so a cache that asked again is seen.
//! Left to others: speed. The origin is asked once for each object and server, before anything is measured.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::Error;

/// The largest body the origin makes, in bytes.
const LARGEST: usize = 16 << 20;
/// How long the origin keeps an idle connection of a cache.
const IDLE: Duration = Duration::from_secs(120);

/// A running origin. It ends with the process.
#[derive(Debug, Clone)]
pub struct Origin {
    address: SocketAddr,
    seen: Arc<Seen>,
}

type Seen = Mutex<BTreeMap<String, u64>>;

impl Origin {
    /// Starts an origin on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start() -> Result<Self, Error> {
        let seen = Arc::<Seen>::default();
        let counter = Arc::clone(&seen);
        let address = listen(move |stream| serve(stream, &counter))?;
        Ok(Self { address, seen })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often `path` was asked for.
    #[must_use]
    pub fn seen(&self, path: &str) -> u64 {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .copied()
            .unwrap_or(0)
    }
}

/// Serves each connection to a free port of the loopback interface on a thread of its own, until the process ends. A
/// connection that fails ends; who lost it tells by its own answer.
pub(crate) fn listen(
    serve: impl Fn(&TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::io("binding the origin"))?;
    let address = listener
        .local_addr()
        .map_err(Error::io("asking for the origin's address"))?;
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(&stream));
        }
    });
    Ok(address)
}

fn serve(stream: &TcpStream, seen: &Seen) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split_ascii_whitespace().nth(1).unwrap_or("/").to_owned();
        let mut head = String::new();
        while lines.read_line(&mut head)? > 2 {
            head.clear();
        }
        *seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(path.clone())
            .or_default() += 1;
        let mut writer = stream;
        writer.write_all(&answer(&path))?;
    }
}

/// The body of `size` bytes that every server must hand out: printable, and different at every offset that matters.
#[must_use]
pub fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + ((at / 26 + at) % 26) as u8).collect()
}

fn answer(path: &str) -> Vec<u8> {
    let size = path
        .rsplit('/')
        .next()
        .and_then(|size| size.parse().ok())
        .filter(|size| *size <= LARGEST);
    let Some(size) = size else {
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    };
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\nCache-Control: max-age=3600\r\n\
         ETag: \"bench-{size}\"\r\nLast-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\n\r\n"
    )
    .into_bytes();
    answer.extend(body(size));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_counted_under_its_path() {
        let origin = Origin::start().expect("start");
        let answer = crate::client::get(origin.address(), "/x/10").expect("get");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, body(10));
        assert_eq!((origin.seen("/x/10"), origin.seen("/y/10")), (1, 0));
    }

    #[test]
    fn a_path_without_a_size_or_with_a_huge_one_is_not_found() {
        assert!(answer("/x").starts_with(b"HTTP/1.1 404"));
        assert!(answer("/x/99999999999").starts_with(b"HTTP/1.1 404"));
    }
}
