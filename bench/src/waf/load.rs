//! The load: `wrk` with the requests of a case in turn, and what it cost the server.
//!
//! Invariant: a run is a figure only when every answer was of the kind that is wanted: all served, or all refused.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use super::client;
use super::requests::Site;
use super::server::{Server, request};
use crate::load::{Counted, Run, charge, generate, wrk};
use crate::server::pause;
use crate::{Error, account};

/// Connections that are kept open, with one request on each.
pub const CONNECTIONS: u32 = 16;
/// The same for long requests: so few of them are answered that those which are not, at the end, would weigh.
pub const CONNECTIONS_LONG: u32 = 2;
/// So much longer are long requests sent.
pub const LONGER: u32 = 3;
/// Bytes from which on a request is long.
const LONG: usize = 16 << 10;

/// A server that used no CPU for so long has nothing left to do.
const QUIET: Duration = Duration::from_millis(100);
/// How long what is left may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Loads `server` for `seconds` from CPU `cpu` with these requests and charges what it used to those that completed.
///
/// # Errors
/// When the generator fails, an answer is of the other kind, or the server is gone.
pub fn run(server: &Server<'_>, requests: &[Vec<u8>], refused: bool, seconds: u32, cpu: usize) -> Result<Run, Error> {
    let failed = |why: String| Error::Load {
        server: server.kind.name().to_owned(),
        why,
    };
    let long = requests.iter().any(|request| request.len() > LONG);
    let (connections, seconds) = if long {
        (CONNECTIONS_LONG, seconds * LONGER)
    } else {
        (CONNECTIONS, seconds)
    };
    let mut file = tempfile::NamedTempFile::new().map_err(Error::io("making a file for the requests"))?;
    file.write_all(script(requests).as_bytes())
        .map_err(Error::io("writing the requests"))?;
    settle(server)?;
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", &cpu.to_string(), "wrk", "--threads", "1"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--timeout", "30s", "--script"])
        .arg(file.path())
        .arg(format!("http://{}/", server.address));
    let (text, used) = generate(command, server.pid(), failed)?;
    let counted = if refused { read_refused(&text) } else { wrk::read(&text) };
    Ok(charge(counted.map_err(failed)?, used))
}

/// Waits until the server is done with what an earlier load left behind: requests whose client has gone.
fn settle(server: &Server<'_>) -> Result<(), Error> {
    let begun = Instant::now();
    client::ask(server.address, request(Site::Plain, "/settled").as_bytes())?;
    let mut last = (account::cpu(server.pid())?, Instant::now());
    while last.1.elapsed() < QUIET && begun.elapsed() < PATIENCE {
        pause();
        let now = account::cpu(server.pid())?;
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    Ok(())
}

/// What `wrk` is told: these bytes, one request after the other.
fn script(requests: &[Vec<u8>]) -> String {
    let mut text = "local requests = {\n".to_owned();
    for request in requests {
        text.push('"');
        for byte in request {
            match byte {
                b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
                b' '..=b'~' => text.push(char::from(*byte)),
                _ => text += &format!("\\{byte:03}"),
            }
        }
        text += "\",\n";
    }
    text + "}\nlocal n = 0\nrequest = function()\n  n = n % #requests + 1\n  return requests[n]\nend\n"
}

/// Requests, of which every one was refused.
fn read_refused(text: &str) -> Result<Counted, String> {
    const REFUSED: &str = "Non-2xx or 3xx responses:";
    let refused = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(REFUSED)?.trim().parse::<u64>().ok());
    let rest: String = text
        .lines()
        .filter(|line| !line.contains(REFUSED))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let counted = wrk::read(&rest)?;
    match refused {
        Some(refused) if refused == counted.requests => Ok(counted),
        other => Err(format!(
            "{} of {} requests were refused",
            other.unwrap_or(0),
            counted.requests
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_what_the_script_says() {
        let text = script(&[b"a\"\\\r\n\xff".to_vec(), b"b".to_vec()]);
        assert!(text.contains("\"a\\\"\\\\\\013\\010\\255\",\n\"b\",\n}"), "{text}");
    }

    #[test]
    fn a_run_in_which_one_attack_went_through_is_no_figure() {
        let report = |refused: u32| {
            format!("  200 requests in 2.01s, 250MB read\n  Non-2xx or 3xx responses: {refused}\nRequests/sec:  99.5\n")
        };
        assert_eq!(read_refused(&report(200)).map(|counted| counted.requests), Ok(200));
        assert!(read_refused(&report(199)).is_err());
        assert!(read_refused("  200 requests in 2.01s, 1MB read\nRequests/sec: 9.5\n").is_err());
    }
}
