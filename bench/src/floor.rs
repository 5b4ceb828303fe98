//! The floor: what the kernel alone costs. A level-triggered epoll loop that answers fixed bytes to every request
//! head, looks nothing up and writes nothing down. No HTTP server on this machine can be cheaper and still use epoll.
//!
//! Invariant: one `read`, one `write` for a request that arrives whole and an answer that fits the socket.
//! Left to others: everything a server is for.

use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::{Error, origin};

const LISTENER: u64 = u64::MAX;
/// Events taken from one wait.
const EVENTS: usize = 256;
/// Connections above this are closed at once.
const CONNECTIONS: usize = 65_536;

/// Serves forever: `GET …/SIZE` answers SIZE bytes under a head as long as a cache's.
///
/// # Errors
/// When epoll fails.
pub fn serve(listener: &TcpListener, sizes: &[usize]) -> Result<(), Error> {
    let answers: Vec<Vec<u8>> = sizes.iter().map(|size| answer(*size)).collect();
    listener
        .set_nonblocking(true)
        .map_err(Error::io("making the listener non-blocking"))?;
    let poll = epoll::create(CreateFlags::CLOEXEC).map_err(|e| Error::io("creating epoll")(e.into()))?;
    watch(&poll, listener, LISTENER)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut input = vec![0; 64 << 10];
    let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
    loop {
        let (ready, _) = epoll::wait(&poll, &mut events, None).map_err(|e| Error::io("waiting")(e.into()))?;
        for event in &*ready {
            let token = event.data.u64();
            if token == LISTENER {
                accept(listener, &poll, &mut connections)?;
                continue;
            }
            let Some(slot) = usize::try_from(token).ok().and_then(|at| connections.get_mut(at)) else {
                continue;
            };
            let keep = slot
                .as_mut()
                .is_some_and(|connection| connection.turn(&answers, sizes, &mut input, &poll, token));
            if !keep {
                *slot = None;
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// The answer that did not fit the socket, and how much of it was sent.
    pending: Option<(usize, usize)>,
}

impl Connection {
    /// Does what the socket is ready for; false when the connection is over.
    fn turn(&mut self, answers: &[Vec<u8>], sizes: &[usize], input: &mut [u8], poll: impl AsFd, token: u64) -> bool {
        let blocked_before = self.pending.is_some();
        if !blocked_before {
            match self.stream.read(input) {
                Ok(0) => return false,
                Ok(length) => {
                    let Some(answer) = pick(input.get(..length).unwrap_or_default(), sizes) else {
                        return false;
                    };
                    self.pending = Some((answer, 0));
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        while let Some((which, sent)) = self.pending {
            let bytes = answers
                .get(which)
                .and_then(|answer| answer.get(sent..))
                .unwrap_or_default();
            match self.stream.write(bytes) {
                Ok(length) if length == bytes.len() => self.pending = None,
                Ok(0) => return false,
                Ok(length) => self.pending = Some((which, sent + length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        let blocked = self.pending.is_some();
        if blocked == blocked_before {
            return true;
        }
        let interest = if blocked { EventFlags::OUT } else { EventFlags::IN };
        epoll::modify(poll, &self.stream, EventData::new_u64(token), interest).is_ok()
    }
}

/// Which answer the request line asks for. A request is taken to arrive whole, as the load generator sends it.
fn pick(head: &[u8], sizes: &[usize]) -> Option<usize> {
    if sizes.len() == 1 {
        return Some(0);
    }
    let line = head.split(|byte| *byte == b'\r').next()?;
    let path = line.split(|byte| *byte == b' ').nth(1)?;
    let size: usize = std::str::from_utf8(path.rsplit(|byte| *byte == b'/').next()?)
        .ok()?
        .parse()
        .ok()?;
    sizes.iter().position(|known| *known == size)
}

fn accept(listener: &TcpListener, poll: impl AsFd, connections: &mut Vec<Option<Connection>>) -> Result<(), Error> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Error::io("accepting")(error)),
        };
        stream
            .set_nonblocking(true)
            .map_err(Error::io("making a connection non-blocking"))?;
        stream.set_nodelay(true).map_err(Error::io("setting TCP_NODELAY"))?;
        let at = connections
            .iter()
            .position(Option::is_none)
            .unwrap_or(connections.len());
        if at >= CONNECTIONS {
            continue;
        }
        watch(&poll, &stream, at as u64)?;
        let connection = Some(Connection { stream, pending: None });
        match connections.get_mut(at) {
            Some(slot) => *slot = connection,
            None => connections.push(connection),
        }
    }
}

fn watch(poll: impl AsFd, source: impl AsFd, token: u64) -> Result<(), Error> {
    epoll::add(poll, source, EventData::new_u64(token), EventFlags::IN)
        .map_err(|error| Error::io("watching a socket")(error.into()))
}

/// The bytes a cache would send for the origin's object of `size` bytes.
fn answer(size: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\nCache-Control: max-age=3600\r\n\
         ETag: \"bench-{size}\"\r\nLast-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\nAge: 10\r\n\
         Cache-Status: breakwater; hit\r\nX-Request-Id: 00000000000000000000000000000000\r\n\
         Date: Sun, 01 Nov 2026 00:00:10 GMT\r\n\r\n"
    )
    .into_bytes();
    answer.extend(origin::body(size));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_answer() {
        let sizes = [1024, 102_400];
        assert_eq!(pick(b"GET /hit/102400 HTTP/1.1\r\nHost: x\r\n\r\n", &sizes), Some(1));
        assert_eq!(pick(b"GET /hit/7 HTTP/1.1\r\n\r\n", &sizes), None);
        assert_eq!(pick(b"\x16\x03", &sizes), None);
    }

    #[test]
    fn several_requests_on_one_connection_get_the_fixed_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        std::thread::spawn(move || serve(&listener, &[16, 300_000]));
        let mut stream = crate::client::connect(address).expect("the floor listens");
        for size in [16, 300_000, 16] {
            let answer = crate::client::exchange(&mut stream, "x", &format!("/x/{size}")).expect("answer");
            assert_eq!(answer.body, origin::body(size));
        }
    }
}
