//! The combined log format of nginx and Apache, and the common one without its last two parts:
//! `ADDRESS IDENT USER [TIME] "METHOD TARGET PROTOCOL" STATUS BYTES "REFERER" "USER-AGENT"`.

use std::net::IpAddr;

use super::line::{Line, LineError, absolute};
use crate::audit::{MAX_NAME, Rfc3339, cut};

/// Longest value of a field that is kept, bytes.
const MAX_FIELD: usize = 8 * 1024;

/// Reads a line. Such a log does not say what a firewall did, so nothing in it counts as refused.
pub(super) fn parse(text: &str) -> Result<Line, LineError> {
    let (client, rest) = text.split_once(' ').ok_or(LineError::Unknown)?;
    let client: IpAddr = client.parse().map_err(|_| LineError::Unknown)?;
    let (_, rest) = rest.split_once('[').ok_or(LineError::Unknown)?;
    let (time, rest) = rest.split_once(']').ok_or(LineError::Part("time"))?;
    let unix_ms = clock(time).ok_or(LineError::Part("time"))?;
    let (request, rest) = quoted(rest).ok_or(LineError::Part("request line"))?;
    let (method, request) = request.split_once(' ').ok_or(LineError::Part("request line"))?;
    // HTTP/0.9 has no version.
    let (target, version) = request.rsplit_once(' ').ok_or(LineError::Part("request line"))?;
    if !version.starts_with("HTTP/") || target.is_empty() {
        return Err(LineError::Part("request line"));
    }
    let mut fields = Vec::new();
    let mut rest = rest;
    for name in ["referer", "user-agent"] {
        let Some((value, after)) = quoted(rest) else { break };
        if value != "-" {
            fields.push((name, cut(&value, MAX_FIELD).to_owned()));
        }
        rest = after;
    }
    Ok(Line {
        unix_ms,
        request_id: None,
        client,
        method: method.to_owned(),
        host: absolute(target).map(|(authority, _)| cut(authority, MAX_NAME).to_owned()),
        target: target.to_owned(),
        shortened: false,
        redacted: false,
        http10: version == "HTTP/1.0",
        fields,
        blocked: false,
        objections: Vec::new(),
    })
}

/// The next string between quotes, without escapes, and what comes behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (_, text) = text.split_once('"')?;
    let mut value = Vec::new();
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                let value = String::from_utf8_lossy(&value).into_owned();
                return Some((value, text.get(at + 1..)?));
            }
            b'\\' => match bytes.next()?.1 {
                b'x' => {
                    let digits = [bytes.next()?.1, bytes.next()?.1];
                    let digits = std::str::from_utf8(&digits).ok()?;
                    value.push(u8::from_str_radix(digits, 16).ok()?);
                }
                b'n' => value.push(b'\n'),
                b'r' => value.push(b'\r'),
                b't' => value.push(b'\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// `28/Nov/2026:14:36:55 +0100` in milliseconds since the Unix epoch.
fn clock(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (date, zone) = text.split_once(' ')?;
    let (day, date) = date.split_once('/')?;
    let (month, date) = date.split_once('/')?;
    let (year, time) = date.split_once(':')?;
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    let text = format!("{year}-{month:02}-{day}T{time}Z");
    let local: Rfc3339 = text.parse().ok()?;
    let (sign, zone) = zone.split_at_checked(1)?;
    let (hours, minutes) = zone.split_at_checked(2)?;
    let off = (hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?) * 60_000;
    match sign {
        "+" => local.unix_ms.checked_sub(off),
        "-" => local.unix_ms.checked_add(off),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        r#"203.0.113.9 - - [28/Nov/2026:13:00:01 +0100] "GET /x?q=\x22a\x5C HTTP/1.1" 200 12 "-" "Mozilla \"5\"""#;

    #[test]
    fn a_line_of_the_combined_format_has_a_request_and_two_fields() {
        let line = parse(LINE).unwrap();
        assert_eq!(line.unix_ms, 1_795_867_201_000);
        assert_eq!((line.method.as_str(), line.target.as_str()), ("GET", r#"/x?q="a\"#));
        assert_eq!(line.fields, [("user-agent", r#"Mozilla "5""#.to_owned())]);
        assert!(line.host.is_none() && !line.blocked && !line.http10);
    }

    #[test]
    fn an_absolute_target_has_the_host_and_the_path() {
        for (target, host, path) in [
            ("http://shop.test/admin?x=/y", Some("shop.test"), "/admin"),
            ("HTTPS://shop.test:8443", Some("shop.test:8443"), "/"),
            ("http://shop.test?x=1", Some("shop.test"), "/"),
            ("/http://shop.test/admin", None, "/http://shop.test/admin"),
            ("ftp://shop.test/admin", None, "ftp://shop.test/admin"),
        ] {
            let line = parse(&LINE.replace("/x?q=\\x22a\\x5C", target)).unwrap();
            assert_eq!((line.host.as_deref(), line.path()), (host, path), "{target}");
            // What rules see is what was sent.
            assert_eq!(line.target, target);
        }
    }

    #[test]
    fn a_line_of_the_common_format_has_none() {
        let (common, _) = LINE.split_once(" \"-\"").unwrap();
        assert!(parse(common).unwrap().fields.is_empty());
    }

    #[test]
    fn what_is_not_of_the_format_is_told() {
        for (text, error) in [
            ("203.0.113.9", LineError::Unknown),
            ("host - - [x] \"GET / HTTP/1.1\"", LineError::Unknown),
            (&LINE.replace("Nov", "nov"), LineError::Part("time")),
            (&LINE.replace("+0100", "0100"), LineError::Part("time")),
            (&LINE.replace(" HTTP/1.1", ""), LineError::Part("request line")),
            (
                r#"203.0.113.9 - - [28/Nov/2026:13:00:01 +0100] "\x1"#,
                LineError::Part("request line"),
            ),
            (
                r#"203.0.113.9 - - [28/Nov/2026:13:00:01 +0100] "-" 400 0"#,
                LineError::Part("request line"),
            ),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
