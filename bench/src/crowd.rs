//! A crowd at one cold object: how often the origin is asked, when each client has its first byte, and what it costs in
//! memory.
//!
//! Invariant: every byte of every client is compared, so a figure is that of right answers. All clients are connected
//! before the first asks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::certificate::Certificate;
use crate::load::HOST;
use crate::origin::{body, listen};
use crate::peer::{Kind, Protocol, Room};
use crate::server::{Common, Server};
use crate::{Error, account, client};

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Clients that ask at once.
    pub clients: usize,
    /// Bytes of the object.
    pub size: usize,
    /// How long the origin takes to its first byte.
    pub delay: Duration,
    /// How long they take to come, one after the other; zero is all at once.
    pub over: Duration,
    /// MiB of memory for the server, if not what holds the object.
    pub memory: Option<u64>,
    /// The CPU the server runs on.
    pub cpu: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Requests at the origin.
    pub asked: u64,
    /// First byte of a client that asks the origin itself.
    pub origin: Duration,
    /// First byte of the median client and of the last.
    pub first: (Duration, Duration),
    /// Until the last client had everything.
    pub whole: Duration,
    /// The most memory that was resident in the server, bytes.
    pub resident: u64,
}

/// Starts `kind` in front of a slow origin and sends the crowd.
///
/// # Errors
/// When the server does not serve, or a client got anything but the object.
pub fn run(kind: &Kind, certificate: &Certificate, plan: Plan) -> Result<Outcome, Error> {
    let expected: Arc<[u8]> = body(plan.size).into();
    let origin = Origin::start(Arc::clone(&expected), plan.delay)?;
    let (alone, _) = ask(client::connect(origin.address)?, &expected, Instant::now())?;
    origin.asked.store(0, Ordering::SeqCst);
    let server = Server::start(
        kind,
        Common {
            cpu: plan.cpu,
            origin: origin.address,
            certificate,
            sizes: &[plan.size],
            room: plan.memory.map(|memory| Room { memory, disk: None }),
        },
    )?;
    let failed = |why: String| Error::Load {
        server: server.name.to_owned(),
        why,
    };
    let address = server.address(Protocol::Http1).map_err(|why| failed(why.to_owned()))?;
    let begin = Arc::new(Barrier::new(plan.clients + 1));
    let mut crowd = Vec::with_capacity(plan.clients);
    for number in 0..plan.clients {
        let after = plan.over.mul_f64(number as f64 / plan.clients.max(1) as f64);
        let stream = client::connect(address)?;
        let (begin, expected) = (Arc::clone(&begin), Arc::clone(&expected));
        let client = thread::Builder::new().stack_size(STACK).spawn(move || {
            begin.wait();
            think(after);
            ask(stream, &expected, Instant::now())
        });
        crowd.push(client.map_err(Error::io("starting a client"))?);
    }
    begin.wait();
    let began = Instant::now();
    let mut firsts = Vec::with_capacity(plan.clients);
    for client in crowd {
        let (first, _) = client.join().map_err(|_| failed("a client panicked".to_owned()))??;
        firsts.push(first);
    }
    let whole = began.elapsed();
    firsts.sort_unstable();
    let at = |index: usize| firsts.get(index).copied().unwrap_or_default();
    Ok(Outcome {
        asked: origin.asked.load(Ordering::SeqCst),
        origin: alone,
        first: (at(firsts.len() / 2), at(firsts.len().saturating_sub(1))),
        whole,
        resident: account::peak(server.pid())?,
    })
}

/// Stack of a client's thread: its buffer and little else.
const STACK: usize = 256 * 1024;
/// The longest a client or the origin waits for the other side.
const PATIENCE: Duration = Duration::from_secs(300);

/// Asks for the object and compares it. When the first byte came, and the last.
fn ask(mut stream: TcpStream, expected: &[u8], began: Instant) -> Result<(Duration, Duration), Error> {
    let failed = Error::io("asking for the object");
    let wrong = |why: &str| Error::Wrong {
        server: "the server".to_owned(),
        path: "/crowd".to_owned(),
        why: why.to_owned(),
    };
    let mut exchange = || -> std::io::Result<Result<(Duration, Duration), &'static str>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET /crowd HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        )?;
        let mut buffer = vec![0; 64 * 1024];
        let mut filled = stream.read(&mut buffer)?;
        let first = began.elapsed();
        let end = loop {
            let head = buffer.get(..filled).unwrap_or_default();
            if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            let more = stream.read(buffer.get_mut(filled..).unwrap_or_default())?;
            if more == 0 {
                return Ok(Err("no head"));
            }
            filled += more;
        };
        if !buffer.starts_with(b"HTTP/1.1 200 ") {
            return Ok(Err("not 200"));
        }
        let mut rest = expected;
        let mut piece = buffer.get(end..filled).unwrap_or_default().len();
        let mut from = end;
        loop {
            let Some(after) = buffer
                .get(from..from + piece)
                .and_then(|piece| rest.strip_prefix(piece))
            else {
                return Ok(Err("another byte than the origin's"));
            };
            rest = after;
            piece = stream.read(&mut buffer)?;
            from = 0;
            if piece == 0 {
                break;
            }
        }
        Ok(if rest.is_empty() {
            Ok((first, began.elapsed()))
        } else {
            Err("it ended early")
        })
    };
    exchange().map_err(failed)?.map_err(wrong)
}

/// An origin that thinks for a while before it answers; each connection carries one answer.
struct Origin {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl Origin {
    fn start(object: Arc<[u8]>, delay: Duration) -> Result<Self, Error> {
        let asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&asked);
        let address = listen(move |stream| serve(stream, &object, &counter, delay))?;
        Ok(Self { address, asked })
    }
}

fn serve(mut stream: &TcpStream, object: &[u8], asked: &AtomicU64, delay: Duration) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 && line != "\r\n" {
        line.clear();
    }
    if line.is_empty() {
        return Ok(());
    }
    asked.fetch_add(1, Ordering::SeqCst);
    think(delay);
    let length = object.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\
         Cache-Control: max-age=3600\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(object)
}

#[expect(
    clippy::disallowed_methods,
    reason = "when the first byte comes, and when a client, is what this is about"
)]
fn think(delay: Duration) {
    thread::sleep(delay);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_takes_nothing_but_the_object() {
        let object: Arc<[u8]> = body(200_000).into();
        let origin = Origin::start(Arc::clone(&object), Duration::ZERO).expect("start");
        let connect = || client::connect(origin.address).expect("connect");
        ask(connect(), &object, Instant::now()).expect("it is the same");
        ask(connect(), &object[1..], Instant::now()).expect_err("it begins elsewhere");
        ask(connect(), &body(200_001), Instant::now()).expect_err("it is longer");
        assert_eq!(origin.asked.load(Ordering::SeqCst), 3);
    }
}
