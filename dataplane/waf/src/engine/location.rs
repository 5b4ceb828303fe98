//! Where `redirect` sends a client: an absolute URI of `http` or `https`, or a path (RFC 3986). It becomes a header field,
//! and browsers follow it: to another scheme (`javascript:`, `data:`) nobody is sent.
//!
//! What is written in a rule must be one as far as it is known then. Of what macros come to, bytes that no URI has are
//! percent-encoded, so that no client writes into the head of an answer; if the whole is none even so, or is
//! cut for its length, there is no redirect.

use crate::seclang::{Expr, ExprPart};

/// Longest, bytes.
pub(super) const LONGEST: usize = 4096;

/// What is wrong with a redirect as it is written.
pub(super) fn mistake(written: &Expr) -> Option<String> {
    let mut length = 0;
    for part in &written.0 {
        let ExprPart::Text(text) = part else { continue };
        length += text.len();
        for (at, byte) in text.bytes().enumerate() {
            if !may_stand(text.as_bytes(), at) {
                let shown = text
                    .get(at..)
                    .and_then(|rest| rest.chars().next())
                    .unwrap_or(char::REPLACEMENT_CHARACTER);
                return Some(format!(
                    "redirect: `{}` cannot stand in a URI; write %{byte:02X}",
                    shown.escape_debug()
                ));
            }
        }
    }
    if length > LONGEST {
        return Some(format!(
            "redirect: a URI of {length} bytes is too long: {LONGEST} at most"
        ));
    }
    let known = match written.0.as_slice() {
        [ExprPart::Text(text)] => begins(text.as_bytes(), true),
        // How a URI begins is known once something in it says so.
        [ExprPart::Text(text), ..] => !text.contains([':', '/', '?', '#']) || begins(text.as_bytes(), false),
        _ => true,
    };
    (!known).then(|| {
        "redirect needs a URI of http or https, or a path: redirect:https://example.com/blocked or redirect:/blocked"
            .to_owned()
    })
}

/// The location that a redirect's text, macros expanded, comes to; none if nobody may be sent there.
pub(super) fn location(expanded: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(expanded.len());
    for (at, byte) in expanded.iter().enumerate() {
        if may_stand(expanded, at) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    (out.len() <= LONGEST && begins(out.as_bytes(), true)).then_some(out)
}

/// Whether a URI may have a byte where it stands (RFC 3986 section 2).
fn may_stand(text: &[u8], at: usize) -> bool {
    match text.get(at) {
        Some(b'%') => {
            let digits = text.get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        }
        Some(byte) => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
        None => false,
    }
}

/// Whether it begins as a URI of `http` or `https` or a path does; `whole`: no more comes behind it.
fn begins(text: &[u8], whole: bool) -> bool {
    if let Some(path) = text.strip_prefix(b"/") {
        // What begins with two is another host's, which a client may have written.
        return !path.starts_with(b"/");
    }
    let Some(colon) = memchr::memchr(b':', text) else {
        return false;
    };
    let (scheme, rest) = text.split_at(colon);
    let rest = rest.get(1..).unwrap_or_default();
    if !(scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")) {
        return false;
    }
    let Some(host) = rest.strip_prefix(b"//") else {
        return !whole && b"//".starts_with(rest);
    };
    match host.first() {
        Some(first) => !matches!(first, b'/' | b'?' | b'#' | b':' | b'@'),
        None => !whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Option<String> {
        mistake(&Expr::parse(text).unwrap())
    }

    #[test]
    fn a_redirect_is_written_as_a_uri_of_http_or_a_path() {
        for text in [
            "https://example.com/blocked?x=%2F#top",
            "/blocked",
            "HTTP://[2001:db8::1]:8080/",
            "https://example.com/?from=%{REQUEST_URI}",
            "https://%{SERVER_NAME}/",
            "https:%{TX.rest}",
            "%{TX.where}",
            "www%{TX.where}",
        ] {
            assert_eq!(wrong(text), None, "{text}");
        }
        for (text, part) in [
            ("https://example.com/a b", "` ` cannot stand in a URI; write %20"),
            ("https://example.com/\r\nSet-Cookie: a=b", "`\\r` cannot stand in a URI"),
            ("https://example.com/%zz", "`%` cannot stand in a URI; write %25"),
            ("https://example.com/é", "`é` cannot stand"),
            ("blocked.html", "needs a URI of http or https, or a path"),
            ("example.com/%{TX.where}", "needs a URI of http or https, or a path"),
            ("javascript:alert(1)", "needs a URI of http"),
            ("JavaScript:%{ARGS.x}", "needs a URI of http"),
            ("data:text/html,x", "needs a URI of http"),
            ("mailto:abuse@example.com", "needs a URI of http"),
            ("//example.com/", "needs a URI of http"),
            ("https://", "needs a URI of http"),
            ("https:/example.com", "needs a URI of http"),
            ("https:///%{TX.where}", "needs a URI of http"),
            (&format!("/{}", "a".repeat(5000)), "too long"),
        ] {
            let message = wrong(text).unwrap_or_default();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn what_macros_come_to_cannot_leave_the_field() {
        assert_eq!(
            location(b"https://example.com/?from=/a%20b\r\nSet-Cookie: a=b%\xff").as_deref(),
            Some("https://example.com/?from=/a%20b%0D%0ASet-Cookie:%20a=b%25%FF")
        );
        for text in [
            &b""[..],
            b"nowhere",
            b"https://",
            b"https:///etc",
            b"//example.com/",
            b"javascript:alert(1)",
            b" javascript:alert(1)",
            b"data:text/html,x",
            b"ftp://example.com/",
            b":x",
        ] {
            assert_eq!(location(text), None, "{text:?}");
        }
    }
}
