//! `h2load`: HTTP/2 in clear text, by prior knowledge.

use std::net::SocketAddr;
use std::process::Command;

use super::{Counted, HOST, HTTP2_CONNECTIONS};

pub(super) fn arguments(command: &mut Command, address: SocketAddr, streams: u32, path: &str, seconds: u32) {
    command.args(["h2load", "--threads", "1"]);
    command.args(["--clients", &HTTP2_CONNECTIONS.to_string()]);
    command.args(["--max-concurrent-streams", &streams.to_string()]);
    command.args(["--duration", &seconds.to_string()]);
    command.arg("--header").arg(format!(":authority: {HOST}"));
    command.arg(format!("http://{address}{path}"));
}

/// Requests and requests per second; an error when any failed or had another body than `size` bytes.
pub(super) fn read(text: &str, size: usize) -> Result<Counted, String> {
    let unknown = || format!("a report this bench cannot read: {text}");
    let line = |start: &str| text.lines().find(|line| line.starts_with(start));
    let number = |line: &str, after: &str| -> Option<u64> {
        line.split([',', ':'])
            .find_map(|part| part.trim().strip_suffix(after)?.trim().parse().ok())
    };
    let requests = line("requests:").ok_or_else(unknown)?;
    let codes = line("status codes:").ok_or_else(unknown)?;
    let succeeded = number(requests, "succeeded").ok_or_else(unknown)?;
    for part in ["failed", "errored", "timeout"] {
        if number(requests, part) != Some(0) {
            return Err(format!("some requests failed: {requests}"));
        }
    }
    let good = number(codes, "2xx").ok_or_else(unknown)?;
    if ["3xx", "4xx", "5xx"]
        .iter()
        .any(|class| number(codes, class) != Some(0))
    {
        return Err(format!("some requests failed: {codes}"));
    }
    // `…, 4.00KB (4096) data`: what was on its way at the end is in it as well.
    let data: u64 = line("traffic:")
        .and_then(|line| line.split(", ").find(|part| part.ends_with(") data")))
        .and_then(|part| part.split_once('(')?.1.split_once(')')?.0.parse().ok())
        .ok_or_else(unknown)?;
    if data < good.min(succeeded) * size as u64 {
        return Err(format!(
            "{data} bytes of data are less than {succeeded} bodies of {size}"
        ));
    }
    let rate = line("finished in")
        .and_then(|line| line.split(", ").find_map(|part| part.strip_suffix(" req/s")))
        .and_then(|rate| rate.trim().parse().ok())
        .ok_or_else(unknown)?;
    if succeeded == 0 {
        return Err("no request succeeded".to_owned());
    }
    Ok(Counted {
        requests: succeeded,
        rate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "starting benchmark...\nfinished in 2.00s, 61234.50 req/s, 63.11MB/s\n\
        requests: 122469 total, 122501 started, 122469 done, 122469 succeeded, 0 failed, 0 errored, 0 timeout\n\
        status codes: 122469 2xx, 0 3xx, 0 4xx, 0 5xx\n\
        traffic: 126.22MB (132357033) total, 4.20MB (4400000) headers (space savings 94.00%), 119.60MB (125408256) data\n";

    #[test]
    fn the_report_gives_requests_and_rate() {
        let (requests, rate) = (122_469, 61_234.5);
        assert_eq!(read(REPORT, 1024), Ok(Counted { requests, rate }));
    }

    #[test]
    fn failures_and_short_bodies_are_no_figure() {
        for (from, to) in [
            ("0 errored", "3 errored"),
            ("0 5xx", "7 5xx"),
            ("(125408256) data", "(1024) data"),
            ("requests:", "other:"),
        ] {
            assert!(read(&REPORT.replace(from, to), 1024).is_err(), "{to}");
        }
    }
}
