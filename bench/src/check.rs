//! One request by hand, and the proof that what is about to be measured is a cache hit with the right bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::origin::{self, Origin};
use crate::server::Server;
use crate::{Error, load};

/// No answer may take longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest body read, in bytes.
const LARGEST: usize = 16 << 20;
/// How often the warm-up asks before it gives up on a hit.
const ATTEMPTS: u32 = 20;

/// A response that was read whole.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The head's lines after the status line, as sent.
    pub fields: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of the first field called `name`, in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends one `GET` on a connection of its own and reads the whole answer.
///
/// # Errors
/// When the server cannot be reached, or answers without a `Content-Length`.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer, Error> {
    let stream = connect(address)?;
    exchange(&stream, path)
}

/// Opens a connection with timeouts set.
///
/// # Errors
/// When the server cannot be reached.
pub fn connect(address: SocketAddr) -> Result<TcpStream, Error> {
    let stream =
        TcpStream::connect_timeout(&address, TIMEOUT).map_err(Error::io(format!("connecting to {address}")))?;
    stream
        .set_read_timeout(Some(TIMEOUT))
        .map_err(Error::io("setting a timeout"))?;
    Ok(stream)
}

/// One request and its answer on an open connection, which stays open.
///
/// # Errors
/// When the exchange fails, or the answer has no `Content-Length`.
pub fn exchange(mut stream: &TcpStream, path: &str) -> Result<Answer, Error> {
    let failed = || format!("asking for {path}");
    stream
        .write_all(load::request(path).as_bytes())
        .map_err(Error::io(failed()))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(Error::io(failed()))?;
    let invalid = |why: &str| Error::Io {
        what: failed(),
        source: std::io::Error::other(format!("{why}: {line:?}")),
    };
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid("no status line"))?;
    let mut answer = Answer {
        status,
        fields: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).map_err(Error::io(failed()))?;
        let field = field.trim_end();
        if field.is_empty() {
            break;
        }
        answer.fields.push(field.to_owned());
    }
    let length = answer
        .field("content-length")
        .and_then(|length| length.parse().ok())
        .filter(|n| *n <= LARGEST);
    let length: usize = length.ok_or_else(|| invalid("no usable Content-Length"))?;
    answer.body.resize(length, 0);
    reader.read_exact(&mut answer.body).map_err(Error::io(failed()))?;
    Ok(answer)
}

/// Asks `server` for `path` until the origin is no longer asked, then proves a hit: status 200, the origin's bytes,
/// the origin not asked again, and the word for a hit where the server has one.
///
/// # Errors
/// [`Error::Wrong`] with the first difference.
pub fn prove_hit(server: &Server, origin: &Origin, path: &str, size: usize) -> Result<(), Error> {
    let wrong = |why: String| Error::Wrong {
        server: server.name.to_owned(),
        path: path.to_owned(),
        why,
    };
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let before = origin.seen(path);
        let answer = get(server.address, path)?;
        if answer.status != 200 {
            return Err(wrong(format!("status {}", answer.status)));
        }
        if answer.body != origin::body(size) {
            return Err(wrong("the body differs from the origin's".to_owned()));
        }
        let asked = origin.seen(path) - before;
        let said = server
            .hit
            .map(|(name, word)| (name, word, answer.field(name).unwrap_or("").to_owned()));
        let says_hit = said.as_ref().is_none_or(|(_, word, value)| value.starts_with(word));
        if asked == 0 && says_hit {
            // The floor has no origin behind it; everything else must have asked at least once.
            if server.caches && origin.seen(path) == 0 {
                return Err(wrong(
                    "the origin never saw a request, so this is not its object".to_owned(),
                ));
            }
            return Ok(());
        }
        last = Some((asked, said));
    }
    Err(wrong(format!(
        "no hit after {ATTEMPTS} requests; the last one: {last:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_any_case_and_trimmed() {
        let answer = Answer {
            status: 200,
            fields: vec!["cache-status:  breakwater; hit".to_owned()],
            body: Vec::new(),
        };
        assert_eq!(answer.field("Cache-Status"), Some("breakwater; hit"));
        assert_eq!(answer.field("Age"), None);
    }

    #[test]
    fn an_unreachable_server_is_an_error_that_names_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        drop(listener);
        let error = get(address, "/").expect_err("nothing listens there");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
