//! One case over one connection: its bytes, the request beyond doubt behind them, and the answers to both.
//!
//! Invariant: an exchange ends when the second request was answered or the proxy closed the connection; waiting for
//! either is bounded by [`DEADLINE`], after which the proxy counts as waiting for more, and the case as an error.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Outcome, Recorder, origin};
use crate::{Error, Result, breakwater::DEADLINE, error::Context};

/// Sends `case` to the proxy at `address`, before whose origin `recorder` sits.
///
/// # Errors
/// When the proxy cannot be reached, or neither answers nor closes.
pub async fn send(address: SocketAddr, recorder: &Recorder, case: &[u8]) -> Result<Outcome> {
    recorder.forget();
    let mut stream = TcpStream::connect(address)
        .await
        .context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true).context(|| format!("set up {address}"))?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", origin::AFTER, origin::AFTER_HOST);
    let bytes = [case, request.as_bytes()].concat();
    let (mut reader, mut writer) = stream.split();
    let mut answers = Vec::new();
    let exchange = async {
        // A proxy that refuses early resets the connection while it is written to: what it answered counts.
        let write = async { writer.write_all(&bytes).await.is_ok() };
        let read = async {
            let mut chunk = [0; 16 << 10];
            while let Ok(length @ 1..) = reader.read(&mut chunk).await {
                answers.extend_from_slice(&chunk[..length]);
                if contains(&answers, origin::ANSWER_AFTER) {
                    return true;
                }
            }
            false
        };
        tokio::join!(write, read).1
    };
    let open = tokio::time::timeout(DEADLINE, exchange)
        .await
        .map_err(|_| Error::Timeout {
            what: "an answer or the end of the connection".to_owned(),
            seconds: DEADLINE.as_secs_f64(),
            last: answers.escape_ascii().to_string(),
        })?;
    let mut statuses = statuses(&answers, case.starts_with(b"HEAD "));
    if open {
        // The last one answers the second request.
        statuses.pop();
    }
    Ok(Outcome {
        statuses,
        open,
        seen: recorder.seen(),
    })
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The final statuses in a stream of responses; 0 for what is no response.
fn statuses(mut bytes: &[u8], mut head: bool) -> Vec<u16> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            found.push(status(bytes).unwrap_or(0));
            break;
        };
        let (lines, rest) = bytes.split_at(end + 4);
        let Some(status) = status(lines) else {
            found.push(0);
            break;
        };
        bytes = rest;
        if (100..200).contains(&status) {
            continue;
        }
        found.push(status);
        let skipped = if std::mem::take(&mut head) || matches!(status, 204 | 304) {
            Some(0)
        } else {
            body_length(lines, rest)
        };
        bytes = skipped.and_then(|length| rest.get(length..)).unwrap_or_default();
    }
    found
}

fn status(bytes: &[u8]) -> Option<u16> {
    let line = bytes.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(line.get(2..5)?).ok()?.parse().ok()
}

/// Bytes of `rest` that are the body; none when it goes on to the end of the connection.
fn body_length(head: &[u8], rest: &[u8]) -> Option<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked") {
        return rest
            .windows(5)
            .position(|window| window == b"0\r\n\r\n")
            .map(|at| at + 5);
    }
    let (_, length) = head.split_once("\r\ncontent-length:")?;
    length.lines().next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_found_behind_bodies_of_each_framing() {
        let stream = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
            HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nHTTP/1.1 400 Bad\r\n\r\nwhy";
        assert_eq!(statuses(stream, false), [200, 404, 400]);
    }

    #[test]
    fn an_answer_to_head_has_no_body_and_one_without_a_status_is_zero() {
        let stream = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(statuses(stream, true), [200, 204]);
        assert_eq!(statuses(b"<html>", false), [0]);
        assert!(statuses(b"", false).is_empty());
    }
}
