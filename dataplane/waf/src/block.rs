//! The page a refused client sees: its status, a sentence, and the request id that finds the audit line. It says nothing
//! of what was matched, and nothing of the request but the id is in it.

/// Longest request id that is shown, in bytes; the rest is cut.
pub const MAX_REQUEST_ID: usize = 128;

/// A page for `status` as (content type, body): JSON when the client asked for it, else HTML. At most 2 KiB.
#[must_use]
pub fn page(status: u16, request_id: &str, wants_json: bool) -> (&'static str, Vec<u8>) {
    let id = crate::audit::cut(request_id, MAX_REQUEST_ID);
    let (title, sentence) = words(status);
    if wants_json {
        let body = serde_json::json!({ "status": status, "error": title, "message": sentence, "request_id": id });
        return ("application/json", body.to_string().into_bytes());
    }
    let id = escape(id);
    let body = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{status} {title}</title></head>\n\
         <body><h1>{status} {title}</h1><p>{sentence}</p><p>Request id: <code>{id}</code></p></body></html>\n"
    );
    ("text/html; charset=utf-8", body.into_bytes())
}

/// What a client that cannot do the work of a challenge is told, in JSON. At most 2 KiB.
#[must_use]
pub fn challenged(status: u16, request_id: &str) -> Vec<u8> {
    let id = crate::audit::cut(request_id, MAX_REQUEST_ID);
    let body = serde_json::json!({
        "status": status,
        "error": words(status).0,
        "reason": "challenge",
        "message": "Browsers have to do a little work first: ask for text/html.",
        "request_id": id,
    });
    body.to_string().into_bytes()
}

/// Whether an `Accept` field asks for JSON rather than for HTML: it names a JSON type and no HTML type. Weights are not
/// compared.
#[must_use]
pub fn wants_json(accept: &str) -> bool {
    let mut json = false;
    for range in accept.split(',') {
        let kind = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind == "text/html" || kind == "application/xhtml+xml" {
            return false;
        }
        json |= kind == "application/json" || kind.ends_with("+json");
    }
    json
}

fn words(status: u16) -> (&'static str, &'static str) {
    match status {
        404 => ("Not Found", "There is nothing here."),
        429 => (
            "Too Many Requests",
            "You are sending too many requests. Wait a moment and try again.",
        ),
        503 => (
            "Service Unavailable",
            "The site cannot answer safely at the moment. Try again later.",
        ),
        _ => (title(status), "The request was refused by the site's security policy."),
    }
}

/// Rules may refuse with other statuses than 403.
const fn title(status: u16) -> &'static str {
    match status {
        300..=399 => "Elsewhere",
        400 => "Bad Request",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        501 => "Not Implemented",
        500..=599 => "Server Error",
        _ => "Forbidden",
    }
}

/// Text as it may stand in HTML, between tags or in a quoted attribute.
#[must_use]
pub fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: u16, id: &str, json: bool) -> String {
        String::from_utf8(page(status, id, json).1).unwrap()
    }

    #[test]
    fn the_html_page_shows_status_and_request_id() {
        let (kind, body) = page(403, "abc-123", false);
        assert_eq!(kind, "text/html; charset=utf-8");
        let body = String::from_utf8(body).unwrap();
        assert!(
            body.contains("<h1>403 Forbidden</h1>") && body.contains("<code>abc-123</code>"),
            "{body}"
        );
    }

    #[test]
    fn a_rule_with_a_status_of_its_own_has_a_page_of_that_title() {
        assert!(text(400, "x", false).contains("<h1>400 Bad Request</h1>"));
        assert!(text(413, "x", false).contains("<h1>413 Content Too Large</h1>"));
        assert!(text(451, "x", false).contains("<h1>451 Forbidden</h1>"));
    }

    #[test]
    fn the_json_page_parses_and_shows_the_same() {
        assert_eq!(page(429, "x", true).0, "application/json");
        let body: serde_json::Value = serde_json::from_str(&text(429, "a\"b\n", true)).unwrap();
        assert_eq!(body.get("status").unwrap(), 429);
        assert_eq!(body.get("request_id").unwrap(), "a\"b\n");
    }

    #[test]
    fn who_cannot_do_the_work_reads_why_it_is_refused() {
        let body: serde_json::Value = serde_json::from_slice(&challenged(429, "a\"b")).unwrap();
        assert_eq!((&body["status"], &body["reason"]), (&429.into(), &"challenge".into()));
        assert_eq!(body["request_id"], "a\"b");
    }

    #[test]
    fn a_request_id_cannot_bring_markup() {
        let body = text(403, "<script>alert('\"&\0')</script>", false);
        assert!(
            body.contains("&lt;script&gt;alert(&#39;&quot;&amp;\u{fffd}&#39;)&lt;/script&gt;"),
            "{body}"
        );
    }

    #[test]
    fn every_page_is_small_whatever_the_id() {
        for status in [0, 403, 404, 429, 503, u16::MAX] {
            for json in [false, true] {
                assert!(page(status, &"'".repeat(100_000), json).1.len() <= 2048);
                assert!(page(status, &"\u{1}".repeat(100_000), json).1.len() <= 2048);
            }
        }
    }

    #[test]
    fn json_is_for_those_that_ask_for_it_and_not_for_html() {
        assert!(wants_json("application/json"));
        assert!(wants_json("application/problem+json; q=0.9, */*"));
        assert!(!wants_json("text/html,application/json"));
        assert!(!wants_json("*/*"));
        assert!(!wants_json(""));
    }
}
