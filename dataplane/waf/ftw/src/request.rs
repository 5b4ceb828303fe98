//! The bytes of a test's request, as go-ftw sends them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Captures, Regex};

use super::{Error, Input};

impl Input {
    /// The bytes to send, as they are: some tests are about what is no request.
    ///
    /// # Errors
    /// [`Error::Encoding`].
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        match &self.encoded_request {
            Some(encoded) => {
                let text: String = encoded.split_ascii_whitespace().collect();
                Ok(STANDARD.decode(text)?)
            }
            None => Ok(composed(self)),
        }
    }
}

fn composed(input: &Input) -> Vec<u8> {
    // Sorted by name, as go-ftw sends them.
    let mut headers: Vec<(String, String)> = input.headers.clone().into_iter().collect();
    let value = |headers: &[(String, String)], name: &str| {
        let mut named = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.clone())
    };
    let mut data = input.data.as_deref().map(repeated).unwrap_or_default().into_bytes();
    if input.autocomplete_headers && !data.is_empty() {
        const FORM: &str = "application/x-www-form-urlencoded";
        if value(&headers, "content-type").is_none() {
            headers.push(("Content-Type".to_owned(), FORM.to_owned()));
        }
        let form = value(&headers, "content-type").is_some_and(|value| value.eq_ignore_ascii_case(FORM));
        // Data in which decoding changes nothing is not encoded yet.
        if form && !data.contains(&b'%') && !data.contains(&b'+') {
            data = encoded(&data);
        }
    }
    let kind = value(&headers, "content-type").unwrap_or_default().to_ascii_lowercase();
    if kind.contains("multipart/form-data;") {
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
    out
}

/// `{{ "x" | repeat 3 }}`, the only template that the tests use.
fn repeated(data: &str) -> String {
    let Ok(template) = Regex::new(r#"\{\{\s*"([^"]*)"\s*\|\s*repeat\s+(\d{1,6})\s*\}\}"#) else {
        return data.to_owned();
    };
    let replace = |found: &Captures<'_>| {
        let text = |group| found.get(group).map(|group| group.as_str()).unwrap_or_default();
        text(1).repeat(text(2).parse().unwrap_or_default())
    };
    template.replace_all(data, replace).into_owned()
}

/// Data as a form, names and values encoded.
fn encoded(data: &[u8]) -> Vec<u8> {
    let escape = |text: &[u8]| {
        text.iter().fold(String::new(), |mut out, byte| {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(*byte)),
                b' ' => out.push('+'),
                _ => out.push_str(&format!("%{byte:02X}")),
            }
            out
        })
    };
    let pairs = data.split(|byte| *byte == b'&').map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let name = escape(parts.next().unwrap_or_default());
        parts
            .next()
            .map_or_else(|| name.clone(), |value| format!("{name}={}", escape(value)))
    });
    pairs.collect::<Vec<_>>().join("&").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(yaml: &str) -> String {
        let input: Input = serde_saphyr::from_str(yaml).unwrap();
        String::from_utf8(input.bytes().unwrap()).unwrap()
    }

    #[test]
    fn what_is_missing_is_put_in_and_a_form_is_encoded() {
        assert_eq!(
            input("{method: POST, headers: {Host: a, Accept: b}, data: 'x=a b&y'}"),
            "POST / HTTP/1.1\r\nAccept: b\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nConnection: close\r\nContent-Length: 7\r\n\r\nx=a+b&y"
        );
        assert_eq!(
            input("{autocomplete_headers: false, data: x}"),
            "GET / HTTP/1.1\r\n\r\nx"
        );
        assert_eq!(input("{encoded_request: R0VU}"), "GET");
    }

    #[test]
    fn a_template_repeats() {
        assert_eq!(repeated("a={{ \"xy\" | repeat 3 }}&b"), "a=xyxyxy&b");
    }
}
