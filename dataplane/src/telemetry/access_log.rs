//! The access line: one JSON object for each request, and one for each WebSocket that ends (docs/logs-and-metrics.md).

use std::net::IpAddr;
use std::time::Duration;

use breakwater_waf::audit::{Rfc3339, cut, write_json_line};
use breakwater_waf::geo::Country;
use breakwater_wire::http1::Version;
use serde::Serialize;

/// Longest URI that is logged, bytes; the rest is cut.
pub(crate) const MAX_URI: usize = 2048;

/// What an access line says.
pub(crate) struct Entry<'a> {
    pub(crate) unix_ms: u64,
    pub(crate) request_id: &'a str,
    pub(crate) client: IpAddr,
    /// Where a database says it is.
    pub(crate) country: Option<Country>,
    pub(crate) version: Version,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) status: u16,
    /// Bytes of the response body, and of its head where both left together.
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
    pub(crate) resource: &'a str,
    pub(crate) cache: Option<&'a str>,
    pub(crate) upstream: Option<&'a str>,
    pub(crate) waf: Option<&'a str>,
    /// The response broke off behind its head.
    pub(crate) aborted: bool,
    /// Why there is no whole answer, in a word.
    pub(crate) error: Option<&'a str>,
    /// It is the end of a WebSocket.
    pub(crate) websocket: Option<Ended>,
}

/// How a WebSocket ended, and what passed through it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ended {
    /// Of the close frame that began the end, if there was one.
    pub(crate) code: Option<u16>,
    pub(crate) reason: &'static str,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    time: Rfc3339,
    request_id: &'a str,
    client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<Country>,
    protocol: &'static str,
    method: &'a str,
    host: &'a str,
    uri: &'a str,
    status: u16,
    bytes: u64,
    duration_ms: f64,
    resource: &'a str,
    cache: Option<&'a str>,
    upstream: Option<&'a str>,
    waf: Option<&'a str>,
    aborted: bool,
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    websocket: Option<Ended>,
}

/// Renders a line, newline included.
pub(crate) fn line(entry: &Entry<'_>) -> Vec<u8> {
    let micros = entry.duration.as_micros().min(u128::from(u64::MAX)) as f64;
    let line = Line {
        time: Rfc3339 { unix_ms: entry.unix_ms },
        request_id: entry.request_id,
        client: entry.client,
        country: entry.country,
        protocol: match entry.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        },
        method: entry.method,
        host: entry.host,
        uri: cut(entry.uri, MAX_URI),
        status: entry.status,
        bytes: entry.bytes,
        duration_ms: micros / 1000.0,
        resource: entry.resource,
        cache: entry.cache,
        upstream: entry.upstream,
        waf: entry.waf,
        aborted: entry.aborted,
        error: entry.error,
        websocket: entry.websocket,
    };
    let mut text = Vec::with_capacity(512);
    write_json_line(&line, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_whatever_the_client_sent() {
        let uri = format!("/a\"\n{}", "x".repeat(5000));
        let entry = Entry {
            unix_ms: 1_700_000_000_123,
            request_id: "id",
            client: IpAddr::from([192, 0, 2, 1]),
            country: "SE".parse().ok(),
            version: Version::Http2,
            method: "GET",
            host: "example.com",
            uri: &uri,
            status: 200,
            bytes: 7,
            duration: Duration::from_micros(1500),
            resource: "EdgeCache/default/shop",
            cache: Some("hit"),
            upstream: None,
            waf: None,
            aborted: false,
            error: None,
            websocket: None,
        };
        let text = String::from_utf8(line(&entry)).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["time"], "2023-11-14T22:13:20.123Z");
        assert_eq!(value["duration_ms"], 1.5);
        assert_eq!(value["protocol"], "HTTP/2");
        assert_eq!(value["country"], "SE");
        assert_eq!(value["uri"].as_str().unwrap().len(), MAX_URI);
    }
}
