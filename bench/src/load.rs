//! The load: one generator pinned to a CPU of its own, and what it cost the server.
//!
//! Invariant: a run with a single error or non-2xx answer is no figure.

mod h2load;
pub(crate) mod wrk;

use std::process::Command;

use crate::account::{self, Cpu};
use crate::peer::Protocol;
use crate::server::Server;
use crate::{Error, origin::Origin};

/// The authority asked for in clear text.
pub const HOST: &str = "bench.example";
/// The authority asked for over TLS, which is also the name in the certificate.
pub const TLS_HOST: &str = "localhost";

/// Connections `wrk` keeps open.
pub const CONNECTIONS: u32 = 64;
/// Connections `h2load` keeps open.
pub const HTTP2_CONNECTIONS: u32 = 32;

/// What a generator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Requests one after the other on [`CONNECTIONS`] connections of HTTP/1.1.
    KeepAlive,
    /// So many streams at a time on each of [`HTTP2_CONNECTIONS`] connections of HTTP/2 in clear text.
    Http2(u32),
    /// Requests one after the other on [`CONNECTIONS`] connections over TLS 1.3.
    TlsKeepAlive,
    /// A new TLS 1.3 connection for each request, without resumption.
    TlsHandshakes,
}

impl Load {
    /// What is spoken.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        match self {
            Self::KeepAlive => Protocol::Http1,
            Self::Http2(_) => Protocol::Http2,
            Self::TlsKeepAlive | Self::TlsHandshakes => Protocol::Tls,
        }
    }
}

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

/// What a generator counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Counted {
    pub(crate) requests: u64,
    pub(crate) rate: f64,
}

/// Loads `server` for `seconds` from CPU `cpu` and charges what it used to the requests it completed.
///
/// # Errors
/// When the generator fails, any request did, the origin was asked meanwhile, or the server is gone.
pub fn run(
    server: &Server,
    load: Load,
    origin: &Origin,
    path: &str,
    size: usize,
    seconds: u32,
    cpu: usize,
) -> Result<Run, Error> {
    let failed = |why: String| Error::Load {
        server: server.name.to_owned(),
        why,
    };
    let address = server.address(load.protocol()).map_err(|why| failed(why.to_owned()))?;
    let asked = origin.seen(path);
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &cpu.to_string()]);
    match load {
        Load::Http2(streams) => h2load::arguments(&mut command, address, streams, path, seconds),
        _ => wrk::arguments(&mut command, address, load, path, seconds),
    }
    let (text, used) = generate(command, server.pid(), failed)?;
    let counted = match load {
        Load::Http2(_) => h2load::read(&text, size),
        _ => wrk::read(&text),
    };
    let counted = counted.map_err(failed)?;
    if origin.seen(path) != asked {
        return Err(failed(
            "the origin was asked during the run, so these were not all hits".to_owned(),
        ));
    }
    Ok(charge(counted, used))
}

/// Runs a load generator to its end: what it printed, and what the process tree of `pid` used meanwhile.
pub(crate) fn generate(
    mut command: Command,
    pid: u32,
    failed: impl Fn(String) -> Error,
) -> Result<(String, Cpu), Error> {
    let before = account::cpu(pid)?;
    let output = command.output().map_err(Error::io("running the load generator"))?;
    let used = account::cpu(pid)? - before;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("{}: {}", output.status, said.trim())));
    }
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), used))
}

/// What was used, divided by what was done.
pub(crate) fn charge(counted: Counted, used: Cpu) -> Run {
    let Counted { requests, rate } = counted;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_divided_by_requests() {
        let counted = Counted {
            requests: 100_000,
            rate: 50_000.0,
        };
        let run = charge(counted, Cpu { user: 0.1, system: 0.9 });
        assert!((run.cpu_us - 10.0).abs() < 1e-9 && (run.user_us - 1.0).abs() < 1e-9 && (run.busy - 0.5).abs() < 1e-9);
    }
}
