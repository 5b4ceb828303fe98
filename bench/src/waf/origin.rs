//! The origin behind the rules: reads every body whole and answers with the same small page.
//!
//! Invariant: what is below `/stored/` may be stored for an hour, all else must not; and who asks for it is counted before
//! the answer is written. Left to others: chunked bodies; neither server sends any.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Error;
use crate::origin::listen;

/// The page, 31 bytes.
pub const PAGE: &str = "<html><body>hello</body></html>";
/// The longest body it reads.
const LARGEST: u64 = 1 << 20;
/// How long it keeps an idle connection.
const IDLE: Duration = Duration::from_secs(120);

/// A running origin. It ends with the process.
#[derive(Debug, Clone)]
pub struct Origin {
    address: SocketAddr,
    seen: Arc<AtomicU64>,
}

impl Origin {
    /// Starts an origin on a free port of the loopback interface, on the CPU of the calling thread.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start() -> Result<Self, Error> {
        let seen = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&seen);
        let address = listen(move |stream| serve(stream, &counter))?;
        Ok(Self { address, seen })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests so far for what may be stored.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: &TcpStream, seen: &AtomicU64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let cacheable = line
            .split(' ')
            .nth(1)
            .is_some_and(|target| target.starts_with("/stored/"));
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? <= 2 {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        if std::io::copy(&mut reader.by_ref().take(length.min(LARGEST)), &mut std::io::sink())? != length {
            return Ok(());
        }
        if cacheable {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        let lifetime = if cacheable { "max-age=3600" } else { "no-store" };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nCache-Control: {lifetime}\r\n\r\n{PAGE}",
            PAGE.len()
        );
        stream.write_all(answer.as_bytes())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waf::client::ask;
    use crate::waf::requests;

    #[test]
    fn a_body_is_read_to_its_end_and_what_may_be_stored_is_counted() {
        let origin = Origin::start().expect("start");
        for request in [requests::one_long_argument(), requests::stored(), requests::small()] {
            let answer = ask(origin.address(), &request.bytes("h")).expect("an answer");
            assert_eq!((answer.status, answer.body), (200, PAGE.to_owned()));
        }
        assert_eq!((origin.seen(), PAGE.len()), (1, 31));
    }
}
