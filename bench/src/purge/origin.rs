//! An origin whose answers carry tags that all have, and one of their own.
//!
//! Invariant: the count goes up before an answer is written.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Error;
use crate::origin::listen;

/// How long it keeps an idle connection.
const IDLE: Duration = Duration::from_secs(600);

/// A running origin. It ends with the process.
#[derive(Debug)]
pub(super) struct Origin {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl Origin {
    pub(super) fn start() -> Result<Self, Error> {
        let asked = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&asked);
        let address = listen(move |stream| serve(stream, &counter))?;
        Ok(Self { address, asked })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests for objects so far.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The content of an object.
pub(super) fn body(number: usize) -> Vec<u8> {
    format!("object {number} ").repeat(16).into_bytes()
}

fn serve(stream: &TcpStream, asked: &AtomicU64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    let (mut line, mut field) = (String::new(), String::new());
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        field.clear();
        while lines.read_line(&mut field)? > 2 {
            field.clear();
        }
        let path = line.split(' ').nth(1).unwrap_or_default();
        let number = path.strip_prefix("/object/").and_then(|number| number.parse().ok());
        let mut writer = stream;
        writer.write_all(&answer(number, asked))?;
    }
}

/// The tags that all have.
fn all() -> String {
    let tags: Vec<_> = (0..super::ALL).map(|number| format!("all-{number}")).collect();
    tags.join(" ")
}

fn answer(number: Option<usize>, asked: &AtomicU64) -> Vec<u8> {
    let Some(number) = number else {
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    };
    asked.fetch_add(1, Ordering::SeqCst);
    let body = body(number);
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nCache-Control: max-age=86400\r\n\
         Surrogate-Key: {} one-{number}\r\n\r\n",
        body.len(),
        all()
    )
    .into_bytes();
    answer.extend(body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_the_tag_of_all_and_its_own_and_is_counted() {
        let origin = Origin::start().expect("start");
        let answer = crate::client::get(origin.address(), "/object/7").expect("get");
        let tags = answer.field("Surrogate-Key").expect("tags");
        assert!(tags.starts_with("all-0 all-1 ") && tags.ends_with(" one-7"), "{tags}");
        assert_eq!(answer.body, body(7));
        let other = crate::client::get(origin.address(), "/ready").expect("get");
        assert_eq!((other.status, origin.asked()), (404, 1));
    }
}
