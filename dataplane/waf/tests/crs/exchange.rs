//! One test's request as go-ftw sends it, and its way through the engine, with the answer of the test backend (albedo).

use std::fmt::Write as _;
use std::sync::Arc;

use breakwater_waf::engine::{Bound, Connection, Report, RuleMatch, Transaction};
use serde::Deserialize;

use super::ftw::Input;

/// The bytes that go-ftw sends.
pub(crate) fn request(input: &Input) -> Result<Vec<u8>, String> {
    if let Some(encoded) = &input.encoded_request {
        return base64(encoded);
    }
    let mut headers: Vec<(String, String)> = input.headers.clone().into_iter().collect();
    let mut data = input.data.as_deref().map(repeated).unwrap_or_default().into_bytes();
    let value = |headers: &[(String, String)], name: &str| {
        headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
    };
    if !data.is_empty() && input.autocomplete_headers {
        if value(&headers, "content-type").is_none() {
            headers.push((
                "Content-Type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            ));
        }
        let form = value(&headers, "content-type")
            .is_some_and(|value| value.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
        // Data in which decoding changes nothing is not encoded yet.
        if form && !data.contains(&b'%') && !data.contains(&b'+') {
            data = encoded(&data);
        }
    }
    if value(&headers, "content-type").is_some_and(|value| value.to_ascii_lowercase().contains("multipart/form-data;"))
    {
        data = String::from_utf8_lossy(&data).replace('\n', "\r\n").into_bytes();
    }
    if input.autocomplete_headers {
        if value(&headers, "connection").is_none() {
            headers.push(("Connection".to_owned(), "close".to_owned()));
        }
        let has_body = ["POST", "PUT", "PATCH", "DELETE"]
            .iter()
            .any(|method| input.method.contains(method));
        if value(&headers, "content-length").is_none() && (!data.is_empty() || has_body) {
            headers.push(("Content-Length".to_owned(), data.len().to_string()));
        }
    }
    let mut out = format!("{} {} {}\r\n", input.method, input.uri, input.version).into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&data);
    Ok(out)
}

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
    let body = &body[..length.unwrap_or(0).min(body.len())];
    transaction.run_request_body(body, false);

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

/// A match as ModSecurity logs it.
pub(crate) fn line(found: &RuleMatch) -> String {
    let escaped = |text: &str| {
        text.chars().fold(String::new(), |mut out, letter| {
            match letter {
                '\x20'..='\x7e' => out.push(letter),
                _ => {
                    let _ = write!(out, "\\x{:02x}", u32::from(letter));
                }
            }
            out
        })
    };
    let mut out = format!(
        "[id \"{}\"] [msg \"{}\"] [data \"{}\"]",
        found.id,
        escaped(&found.msg),
        escaped(&found.data)
    );
    if let Some(severity) = found.severity {
        let _ = write!(out, " [severity \"{severity:?}\"]");
    }
    out
}

/// What the test backend answers.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reflect {
    status: Option<u16>,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
    encoded_body: String,
}

impl Answer {
    fn to(target: &[u8], body: &[u8]) -> Self {
        let mut this = Self {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
        };
        if target.starts_with(b"/reflect") {
            let reflect: Reflect = serde_json::from_slice(body).unwrap_or_default();
            this.status = reflect.status.unwrap_or(200);
            this.headers = reflect.headers.into_iter().collect();
            this.body = if reflect.encoded_body.is_empty() {
                reflect.body.into_bytes()
            } else {
                base64(&reflect.encoded_body).unwrap_or_default()
            };
        }
        if !this
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            this.headers
                .push(("Content-Type".to_owned(), sniffed(&this.body).to_owned()));
        }
        this
    }
}

/// The media type that Go gives a body that says nothing of its own.
fn sniffed(body: &[u8]) -> &'static str {
    const HTML: &[&str] = &[
        "<!DOCTYPE HTML",
        "<HTML",
        "<HEAD",
        "<SCRIPT",
        "<IFRAME",
        "<H1",
        "<DIV",
        "<FONT",
        "<TABLE",
        "<A",
        "<STYLE",
        "<TITLE",
        "<B",
        "<BODY",
        "<BR",
        "<P",
    ];
    let text = body.trim_ascii_start();
    let starts = |tag: &&str| {
        text.get(..tag.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()))
            && matches!(text.get(tag.len()), Some(b' ' | b'>'))
    };
    if HTML.iter().any(starts) || text.starts_with(b"<!--") {
        "text/html; charset=utf-8"
    } else if text.starts_with(b"<?xml") {
        "text/xml; charset=utf-8"
    } else if body
        .iter()
        .any(|byte| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f))
    {
        "application/octet-stream"
    } else {
        "text/plain; charset=utf-8"
    }
}

/// `{{ "x" | repeat 3 }}`, the only template that the tests use.
fn repeated(data: &str) -> String {
    let regex = regex::Regex::new(r#"\{\{\s*"([^"]*)"\s*\|\s*repeat\s+(\d+)\s*\}\}"#).unwrap();
    let replace = |groups: &regex::Captures<'_>| groups[1].repeat(groups[2].parse().unwrap());
    regex.replace_all(data, replace).into_owned()
}

/// Data as a form, names and values encoded.
fn encoded(data: &[u8]) -> Vec<u8> {
    let escape = |text: &[u8]| {
        text.iter().fold(String::new(), |mut out, byte| {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(*byte)),
                b' ' => out.push('+'),
                _ => {
                    let _ = write!(out, "%{byte:02X}");
                }
            }
            out
        })
    };
    let pair = |token: &[u8]| match token.iter().position(|byte| *byte == b'=') {
        Some(at) => format!("{}={}", escape(&token[..at]), escape(&token[at + 1..])),
        None => escape(token),
    };
    data.split(|byte| *byte == b'&')
        .map(pair)
        .collect::<Vec<_>>()
        .join("&")
        .into_bytes()
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

fn base64(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return Err(format!("{byte:#x} is not base64")),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
    Ok(out)
}
