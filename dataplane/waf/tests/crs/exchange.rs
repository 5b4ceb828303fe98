//! A request's way through the engine, with the answer of the tests' backend.

use std::sync::Arc;

use breakwater_ftw::{Answer, Logged};
use breakwater_waf::engine::{Bound, Connection, Report, RuleMatch, Transaction};

/// Sends a request through the rules, and the backend's answer after it.
pub(crate) fn run(bound: &Arc<Bound>, request: &[u8]) -> Report {
    let address = "127.0.0.1".parse().unwrap();
    let connection = Connection {
        client: address,
        client_port: 40000,
        server: address,
        server_port: 80,
        unique_id: "0123456789abcdef",
        now_ms: 1_764_000_000_000,
    };
    let mut transaction = Transaction::bound(bound, &connection, true);
    let end = find(request, b"\r\n\r\n").unwrap_or(request.len());
    let (head, body) = (&request[..end], request.get(end + 4..).unwrap_or_default());
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = lines.next().unwrap_or_default();
    let (method, rest) = split(line, line.iter().position(|byte| *byte == b' '));
    let (target, version) = match rest.iter().rposition(|byte| *byte == b' ') {
        Some(at) => split(rest, Some(at)),
        None => (rest, &b""[..]),
    };
    transaction.request_line(method, target, version);
    let mut length = None;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            length = std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.parse::<usize>().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            length = Some(body.len());
        }
        transaction.request_header(name, value);
    }
    transaction.run_request_headers();
    // As a front that waits for the body, and then for the answer.
    transaction.rest();
    let body = &body[..length.unwrap_or(0).min(body.len())];
    transaction.run_request_body(body, false);
    transaction.rest();

    let answer = Answer::to(target, body);
    let fields: Vec<(&[u8], &[u8])> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    transaction.run_response_headers(answer.status, &mut fields.into_iter());
    if transaction.wants_response_body() {
        transaction.run_response_body(&answer.body, false);
    } else {
        transaction.run_response_body(b"", false);
    }
    transaction.finish()
}

/// A match as an audit line has it.
pub(crate) fn logged(found: &RuleMatch) -> Logged {
    Logged {
        id: found.id.into(),
        msg: found.msg.clone(),
        severity: found
            .severity
            .map(|severity| format!("{severity:?}"))
            .unwrap_or_default(),
        data: found.data.clone(),
    }
}

fn split(text: &[u8], at: Option<usize>) -> (&[u8], &[u8]) {
    match at {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, b""),
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
