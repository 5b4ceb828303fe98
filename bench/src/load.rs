//! The load: `wrk` for requests, plain sockets for idle connections.
//!
//! Invariant: a run with a single error or non-2xx answer is no figure.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use crate::account::{self, Cpu};
use crate::server::Server;
use crate::{Error, check};

/// Connections the generator keeps open.
pub const CONNECTIONS: u32 = 64;
/// Idle connections opened before the first reading, so that what a server allocates once is not charged to them.
const WARM: usize = 256;

/// One timed run against one server.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Run {
    /// Requests completed.
    pub requests: u64,
    /// Requests per second, as the generator counted them.
    pub rate: f64,
    /// CPU microseconds of the server's process tree per request.
    pub cpu_us: f64,
    /// The part of it in user mode.
    pub user_us: f64,
    /// Share of one CPU the server used: below 0.9 the generator was the limit, and part of the CPU time is waking up.
    pub busy: f64,
}

/// The request as the bench itself sends it.
#[must_use]
pub fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: breakwater-bench\r\n\r\n")
}

/// Loads `server` for `seconds` from CPU `cpu` and charges what it used to the requests it completed.
///
/// # Errors
/// When `wrk` fails, any request did, or the server is gone.
pub fn run(server: &Server, path: &str, seconds: u32, cpu: usize) -> Result<Run, Error> {
    let before = account::cpu(server.pid())?;
    let output = Command::new("taskset")
        .args(["--cpu-list", &cpu.to_string(), "wrk", "--threads", "1"])
        .args([
            "--connections",
            &CONNECTIONS.to_string(),
            "--duration",
            &format!("{seconds}s"),
        ])
        .args(["--header", "Host: bench.example"])
        .arg(format!("http://{}{path}", server.address))
        .output()
        .map_err(Error::io("running wrk"))?;
    let used = account::cpu(server.pid())? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = |why| Error::Load {
        server: server.name.to_owned(),
        why,
    };
    if !output.status.success() {
        return Err(failed(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let (requests, rate) = read(&text).map_err(failed)?;
    Ok(charge(requests, rate, used))
}

fn charge(requests: u64, rate: f64, used: Cpu) -> Run {
    let per_request = |seconds: f64| seconds * 1e6 / requests as f64;
    let cpu_us = per_request(used.total());
    Run {
        requests,
        rate,
        cpu_us,
        user_us: per_request(used.user),
        busy: cpu_us * rate / 1e6,
    }
}

/// Requests and requests per second from wrk's report; an error when it reports any failure.
fn read(text: &str) -> Result<(u64, f64), String> {
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
        (Some(requests), Some(rate)) if requests > 0 => Ok((requests, rate)),
        _ => Err(format!("a report this bench cannot read: {text}")),
    }
}

/// Resident bytes the server keeps for each of `count` connections that made one request and then stay idle.
///
/// # Errors
/// When a connection or its one request fails, or the server is gone.
pub fn idle(server: &Server, path: &str, count: usize) -> Result<f64, Error> {
    let mut open = Vec::with_capacity(WARM + count);
    for _ in 0..WARM {
        open.push(visit(server.address, path)?);
    }
    let before = account::resident(server.pid())?;
    for _ in 0..count {
        open.push(visit(server.address, path)?);
    }
    let after = account::resident(server.pid())?;
    // A connection the server closed meanwhile would make the figure look better than it is.
    let closed = open.iter().filter(|stream| is_closed(stream)).count();
    if closed > 0 {
        let why = format!("{closed} of {} idle connections were closed by the server", open.len());
        return Err(Error::Server {
            server: server.name.to_owned(),
            why,
        });
    }
    Ok((after as f64 - before as f64) / count as f64)
}

fn visit(address: SocketAddr, path: &str) -> Result<TcpStream, Error> {
    let stream = check::connect(address)?;
    check::exchange(&stream, path)?;
    Ok(stream)
}

fn is_closed(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    // An idle open connection has nothing to read and would block.
    !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
        200000 requests in 2.01s, 250MB read\nRequests/sec:  99502.5\nTransfer/sec: 1MB\n";

    #[test]
    fn the_report_gives_requests_and_rate() {
        assert_eq!(read(REPORT), Ok((200_000, 99_502.5)));
    }

    #[test]
    fn a_run_with_failures_is_no_figure() {
        let refused = format!("{REPORT}  Non-2xx or 3xx responses: 3\n");
        assert!(read(&refused).expect_err("refused").contains("Non-2xx"));
        let broken = format!("{REPORT}  Socket errors: connect 0, read 2, write 0, timeout 0\n");
        assert!(read(&broken).is_err());
        assert!(read("").is_err());
    }

    #[test]
    fn cpu_time_is_divided_by_requests() {
        let run = charge(100_000, 50_000.0, Cpu { user: 0.1, system: 0.9 });
        assert!((run.cpu_us - 10.0).abs() < 1e-9 && (run.user_us - 1.0).abs() < 1e-9 && (run.busy - 0.5).abs() < 1e-9);
    }
}
