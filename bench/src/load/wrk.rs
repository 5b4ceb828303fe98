//! `wrk`: HTTP/1.1 in clear text and over TLS.

use std::net::SocketAddr;
use std::process::Command;

use super::{CONNECTIONS, Counted, HOST, Load, TLS_HOST};

pub(super) fn arguments(command: &mut Command, address: SocketAddr, load: Load, path: &str, seconds: u32) {
    command.args(["wrk", "--threads", "1"]);
    command.args(["--connections", &CONNECTIONS.to_string()]);
    command.args(["--duration", &format!("{seconds}s")]);
    if load == Load::KeepAlive {
        command.arg("--header").arg(format!("Host: {HOST}"));
        command.arg(format!("http://{address}{path}"));
        return;
    }
    command.arg("--header").arg(format!("Host: {TLS_HOST}"));
    if load == Load::TlsHandshakes {
        // It opens another connection then, with a session of its own.
        command.args(["--header", "Connection: close"]);
    }
    command.arg(format!("https://{TLS_HOST}:{}{path}", address.port()));
}

/// Requests and requests per second; an error when any failed.
pub(crate) fn read(text: &str) -> Result<Counted, String> {
    let bad = text
        .lines()
        .find(|line| line.contains("Socket errors:") || line.contains("Non-2xx"));
    if let Some(line) = bad {
        return Err(format!("some requests failed: {}", line.trim()));
    }
    let requests = text
        .lines()
        .find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    match (requests, rate) {
        (Some(requests), Some(rate)) if requests > 0 => Ok(Counted { requests, rate }),
        _ => Err(format!("a report this bench cannot read: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
        200000 requests in 2.01s, 250MB read\nRequests/sec:  99502.5\nTransfer/sec: 1MB\n";

    #[test]
    fn the_report_gives_requests_and_rate() {
        let (requests, rate) = (200_000, 99_502.5);
        assert_eq!(read(REPORT), Ok(Counted { requests, rate }));
    }

    #[test]
    fn a_run_with_failures_is_no_figure() {
        let refused = format!("{REPORT}  Non-2xx or 3xx responses: 3\n");
        assert!(read(&refused).expect_err("refused").contains("Non-2xx"));
        let broken = format!("{REPORT}  Socket errors: connect 0, read 2, write 0, timeout 0\n");
        assert!(read(&broken).is_err());
        assert!(read("").is_err());
    }
}
