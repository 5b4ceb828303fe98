//! One request by hand, on a connection of its own: before anything is measured, and while a change is awaited.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::{Error, client};

/// The longest answer that is read.
const LARGEST: u64 = 1 << 20;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The body, as far as its length is announced.
    pub body: String,
}

/// Sends these bytes, whose host's connection is then closed, and reads the answer.
///
/// # Errors
/// When the server cannot be reached, or answers without status or with less than it announced.
pub fn ask(address: SocketAddr, request: &[u8]) -> Result<Answer, Error> {
    let failed = || Error::io(format!("asking {address}"));
    let mut stream = client::connect(address)?;
    stream.write_all(request).map_err(failed())?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let mut answer = None;
    while answer.is_none() && (bytes.len() as u64) < LARGEST {
        match stream.read(&mut part).map_err(failed())? {
            0 => break,
            read => bytes.extend_from_slice(part.get(..read).unwrap_or_default()),
        }
        answer = parse(&bytes);
    }
    answer.ok_or_else(|| {
        let text = String::from_utf8_lossy(&bytes)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        failed()(std::io::Error::other(format!("no whole answer: {text:?}")))
    })
}

/// An answer, if these bytes are a whole one. Of one without `Content-Length` the head is enough.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    (body.len() >= length.unwrap_or(0)).then(|| Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let text = "HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nno.";
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end]), None, "{end}");
        }
        let answer = parse(text.as_bytes()).expect("whole");
        assert_eq!((answer.status, answer.body.as_str()), (403, "no."));
    }
}
