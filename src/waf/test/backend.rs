//! The backend of the tests: `/reflect` answers what the request's body asks for, everything else is an empty 200.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Largest body that is read.
const LARGEST: u64 = 16 << 20;

/// Starts it; it ends with the process.
pub(super) fn start() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(&stream));
        }
    });
    Ok(address)
}

fn serve(stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Some((target, body)) = request(&mut reader) {
        let mut writer = stream;
        if writer.write_all(&answer(&target, &body)).is_err() {
            return;
        }
    }
}

/// The target and the body of the next request.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<(String, Vec<u8>)> {
    let line = |reader: &mut BufReader<&TcpStream>| {
        let mut bytes = Vec::new();
        let read = reader.read_until(b'\n', &mut bytes).ok()?;
        (read > 0).then(|| String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    let first = line(reader)?;
    let (mut length, mut chunked) = (0_u64, false);
    loop {
        let field = line(reader)?;
        let Some((name, value)) = field.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let size = u64::from_str_radix(line(reader)?.split(';').next()?.trim(), 16).ok()?;
            reader.take(size.min(LARGEST)).read_to_end(&mut body).ok()?;
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else {
        reader.take(length.min(LARGEST)).read_to_end(&mut body).ok()?;
    }
    Some((first.split(' ').nth(1)?.to_owned(), body))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reflect {
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    body: String,
    encoded_body: String,
}

fn answer(target: &str, body: &[u8]) -> Vec<u8> {
    let wanted: Reflect = match target.starts_with("/reflect") {
        true => serde_json::from_slice(body).unwrap_or_default(),
        false => Reflect::default(),
    };
    let body = match wanted.encoded_body.as_str() {
        "" => wanted.body.into_bytes(),
        encoded => STANDARD.decode(encoded).unwrap_or_default(),
    };
    let mut out = format!("HTTP/1.1 {} x\r\n", wanted.status.unwrap_or(200)).into_bytes();
    let mut headers = wanted.headers;
    headers.retain(|name, _| !name.eq_ignore_ascii_case("content-length"));
    if !headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
        headers.insert("Content-Type".to_owned(), sniffed(&body).to_owned());
    }
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(&body);
    out
}

/// The media type that Go gives a body that says nothing of its own.
fn sniffed(body: &[u8]) -> &'static str {
    const TAGS: [&str; 16] = [
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
    let starts = |tag: &str| {
        let begins = text
            .get(..tag.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()));
        begins && matches!(text.get(tag.len()), Some(b' ' | b'>'))
    };
    if TAGS.iter().any(|tag| starts(tag)) || text.starts_with(b"<!--") {
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
