//! What the tests' backend answers: `/reflect` what the request's body asks for, everything else an empty 200.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields, without `Content-Length`.
    pub headers: BTreeMap<String, String>,
    /// Its content.
    pub body: Vec<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reflect {
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    body: String,
    encoded_body: String,
}

impl Answer {
    /// To a request for `target` with `body`.
    #[must_use]
    pub fn to(target: &[u8], body: &[u8]) -> Self {
        let wanted: Reflect = match target.starts_with(b"/reflect") {
            true => serde_json::from_slice(body).unwrap_or_default(),
            false => Reflect::default(),
        };
        let body = match wanted.encoded_body.as_str() {
            "" => wanted.body.into_bytes(),
            encoded => STANDARD.decode(encoded).unwrap_or_default(),
        };
        let mut headers = wanted.headers;
        headers.retain(|name, _| !name.eq_ignore_ascii_case("content-length"));
        if !headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
            headers.insert("Content-Type".to_owned(), sniffed(&body).to_owned());
        }
        Self {
            status: wanted.status.unwrap_or(200),
            headers,
            body,
        }
    }
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
