//! The origin of a zipf run: answers every object of it, and counts what it was asked for.
//!
//! Invariant: the counts go up before an answer is written. What is no object (readiness, a peer's manager) is answered with
//! one byte and not counted.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bodies::{Bodies, parse};
use crate::Error;
use crate::origin::listen;

/// How long it keeps an idle connection of a cache.
const IDLE: Duration = Duration::from_secs(600);

/// A running origin. It ends with the process.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Origin {
    pub(super) fn start(bodies: &Arc<Bodies>) -> Result<Self, Error> {
        let counts = Arc::<Counts>::default();
        let (bodies, counter) = (Arc::clone(bodies), Arc::clone(&counts));
        let address = listen(move |stream| serve(stream, &bodies, &counter))?;
        Ok(Self { address, counts })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests and bytes of content so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        let Counts { requests, bytes } = &*self.counts;
        (requests.load(Ordering::SeqCst), bytes.load(Ordering::SeqCst))
    }
}

fn serve(stream: &TcpStream, bodies: &Bodies, counts: &Counts) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    let (mut line, mut field, mut answer) = (String::new(), String::new(), Vec::new());
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        field.clear();
        while lines.read_line(&mut field)? > 2 {
            field.clear();
        }
        let body = match parse(line.split(' ').nth(1).unwrap_or_default()) {
            Ok((key, size)) => {
                counts.requests.fetch_add(1, Ordering::SeqCst);
                counts.bytes.fetch_add(size as u64, Ordering::SeqCst);
                bodies.of(key, size)
            }
            Err(_) => b".".as_slice(),
        };
        answer.clear();
        write!(
            answer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\
             Cache-Control: max-age=86400\r\nETag: \"{}\"\r\nLast-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\n\r\n",
            body.len(),
            body.len()
        )?;
        answer.extend_from_slice(body);
        let mut writer = stream;
        writer.write_all(&answer)?;
    }
}
