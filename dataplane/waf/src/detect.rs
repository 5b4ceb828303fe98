//! The detectors behind `@detectSQLi` and `@detectXSS`: the same verdicts as libinjection 3.10, in linear time.
//!
//! `sql` and `html` with `script` are written anew from what libinjection does; its word lists and patterns are in
//! `data/` (BSD-3-Clause, LICENSE-libinjection). Neither detector allocates, and no input makes them panic or go back over
//! what they have read: `bytes` counts that in builds with debug assertions.
//!
//! Where the verdict of libinjection depends on whether C's `char` has a sign, ours is that of x86, but for one: a byte
//! 0xFF between attributes is the end of the page to libinjection there, which hides what is behind it. Here it is part
//! of a name. And its 443 names of events are those of 3.10 and of 4.0 together: 3.10 lacks some that browsers have since.

mod bytes;
mod html;
mod script;
mod script_names;
mod sql;
#[cfg(test)]
mod vectors;

/// The token pattern of an SQL injection, at most five letters, such as `s&1c`; zeros behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    /// The letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let letters = self.0.get(..length).unwrap_or_default();
        std::str::from_utf8(letters).unwrap_or_default()
    }
}

/// Whether `input`, put into an SQL statement, would change what it does; with the pattern that says so.
#[must_use]
pub fn sqli(input: &[u8]) -> Option<Fingerprint> {
    sql::detect(input)
}

/// Whether `input`, put into an HTML page, would run script.
#[must_use]
pub fn xss(input: &[u8]) -> bool {
    script::detect(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(input: &[u8]) -> String {
        sqli(input)
            .map(|fingerprint| fingerprint.as_str().to_owned())
            .unwrap_or_default()
    }

    #[test]
    fn an_injection_is_known_by_its_pattern() {
        for (input, expected) in [
            ("1 or 1=1", "1&1"),
            ("1' or '1'='1", "s&sos"),
            ("' union select password from users --", "sUEnk"),
            ("1; drop table users", "1;Tnn"),
            ("1 /*!anything*/", "X"),
            ("foo\" and 1=1 `", "s&1c"),
            ("1/* comment */", "1c"),
            ("1--", "1c"),
            ("-1' and sleep(5)#", "s&f(1"),
        ] {
            assert_eq!(pattern(input.as_bytes()), expected, "{input}");
        }
    }

    #[test]
    fn plain_text_is_no_injection() {
        for input in [
            "",
            "hello",
            "select",
            "12345",
            "it's a nice day",
            "I'd like to order a table, and two chairs",
            "union of workers",
            "550e8400-e29b-41d4-a716-446655440000",
            "user@example.com",
            "/path/to/file.html?x=1",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP",
            "\u{fc}ml\u{e4}ut",
        ] {
            assert_eq!(pattern(input.as_bytes()), "", "{input}");
        }
    }

    #[test]
    fn script_is_found_wherever_it_is_put() {
        for input in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "x onclick=alert(1)",
            "' onclick=alert(1) x='",
            "\" onclick=alert(1) x=\"",
            "` onclick=alert(1) x=`",
            "<a href=\"java&#115;cript:alert(1)\">",
            "<a href='&#x20;&#x01;vbscript:x'>",
            "<svg/onload=alert(1)>",
            "<s\0cript>",
            "<!DOCTYPE html>",
            "<!--[if IE]>",
            "<set attributename=onclick>",
            "<p style=x>",
            "<a \u{ff}\u{ff} onclick=x>",
        ] {
            assert!(xss(input.as_bytes()), "{input}");
        }
    }

    #[test]
    fn plain_text_and_harmless_tags_run_no_script() {
        for input in [
            "",
            "1 < 2 = true",
            "a=b&c=d",
            "<b>bold</b>",
            "<a href=\"https://example.com/?q=java\">",
            "<p class='x'>",
            "online = yes",
        ] {
            assert!(!xss(input.as_bytes()), "{input}");
        }
    }

    #[test]
    fn a_byte_0xff_does_not_hide_what_is_behind_it() {
        assert!(xss(b"<img \xff src=x onerror=alert(1)>"));
        assert!(xss(b"<img src \xff onerror=\xffalert(1)>"));
    }

    /// Inputs that are quadratic to a detector that looks for an end again and again. The count of what is looked at,
    /// in `bytes`, fails the test; the number of tokens is not bounded by the five that are kept.
    #[test]
    fn the_work_is_linear_in_the_input() {
        for piece in [
            "OR`x`",
            "1+",
            "a.",
            "/*",
            "/*x*/",
            "''",
            "\\'",
            "\"\"",
            "`",
            "$a",
            "$a$",
            "$$",
            "b'0",
            "x'f",
            "q'(",
            "{a ",
            "((",
            "--\n",
            "@@`",
            "1,",
            "<",
            "<a ",
            "<!--",
            "<!---",
            "-\0",
            "<%",
            "%",
            "<![CDATA[",
            "]",
            "a=",
            "a='",
            "a=\"",
            "<a b=&#0",
            "/",
            "</",
            "\0",
            "binary ",
            "not ",
            "- ",
            "; ",
            "'+'",
        ] {
            for lead in ["", "1 ", "'", "\"", "<a ", "<!--", "<%"] {
                let input = format!("{lead}{}", piece.repeat(3_000));
                let _ = (sqli(input.as_bytes()), xss(input.as_bytes()));
            }
        }
    }
}
