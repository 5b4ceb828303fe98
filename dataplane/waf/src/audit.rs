//! Audit events and the JSON lines they become.
//!
//! One event is one line: the fields below in this order, whatever is in them. Invariant: a line holds no line break, no
//! control or bidirectional-override character and no line separator but as a `\u` escape, so nothing a client sends can
//! start a second line or rewrite one on a terminal; and each string is cut at a length stated here, so neither can it
//! fill a disk with one request. A string that was cut ends in `…`.
//!
//! Writing lines somewhere, and how many a second, is the caller's.

mod json;
mod redact;
mod time;

use std::{borrow::Cow, net::IpAddr};

use serde::{Serialize, Serializer, ser::SerializeSeq};

pub use self::{
    redact::{Mask, Redaction},
    time::Rfc3339,
};
use crate::geo::Country;
use crate::policy::{Finding, Mode, Reason, RequestView};

/// Longest `uri`, in bytes.
pub const MAX_URI: usize = 2048;
/// Longest `host`, in bytes: no DNS name is longer.
pub const MAX_HOST: usize = 255;
/// Longest `method` and rule `id` or `severity`, in bytes.
pub const MAX_TOKEN: usize = 32;
/// Longest `request_id`, `resource`, `policy`, `detail`, rule `msg` or tag, in bytes.
pub const MAX_NAME: usize = 512;
/// Longest rule `data`, in bytes.
pub const MAX_DATA: usize = 1024;
/// Most rules in one line.
pub const MAX_RULES: usize = 64;
/// Most tags of one rule.
pub const MAX_TAGS: usize = 32;

/// One audit event. Fields are serialised in this order; strings are bounded and escaped when they are written.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    /// When, as milliseconds since the Unix epoch; written as RFC 3339 in UTC with milliseconds.
    pub time: Rfc3339,
    /// The request's id.
    #[serde(serialize_with = "name")]
    pub request_id: &'a str,
    /// The client, behind all trusted proxies.
    pub client: IpAddr,
    /// The country it is in. Left out where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    /// The autonomous system it is in. Left out where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// The method, as sent.
    #[serde(serialize_with = "token")]
    pub method: &'a str,
    /// The host asked for.
    #[serde(serialize_with = "host")]
    pub host: &'a str,
    /// Path and query, redacted.
    #[serde(serialize_with = "uri")]
    pub uri: Cow<'a, str>,
    /// What served it, `Kind/namespace/name`.
    #[serde(serialize_with = "name")]
    pub resource: &'a str,
    /// The policy's name.
    #[serde(serialize_with = "name")]
    pub policy: &'a str,
    /// The policy's mode.
    pub mode: Mode,
    /// What was done.
    pub action: Action,
    /// Which part of the policy objected.
    pub reason: Reason,
    /// The status that was sent, or would have been.
    pub status: u16,
    /// Anomaly scores.
    pub score: Score,
    /// Rules that matched; at most [`MAX_RULES`] are written.
    #[serde(serialize_with = "rules")]
    pub rules: Vec<RuleMatch<'a>>,
    /// What exactly objected: a prefix, a path pattern, a limit's name. Left out if there is nothing to say.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "detail")]
    pub detail: Option<Cow<'a, str>>,
}

/// What was done with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was refused.
    Block,
    /// It passed and was reported.
    Detect,
    /// Its client was given work to do first.
    Challenge,
}

impl Action {
    /// As in audit lines: lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Detect => "detect",
            Self::Challenge => "challenge",
        }
    }
}

impl From<Mode> for Action {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Block,
            Mode::DetectOnly => Self::Detect,
        }
    }
}

/// Anomaly scores of request and response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Of the request.
    pub inbound: u32,
    /// Of the response.
    pub outbound: u32,
}

/// A rule that matched.
#[derive(Clone, Debug, Serialize)]
pub struct RuleMatch<'a> {
    /// Its number.
    pub id: u64,
    /// Its message.
    #[serde(serialize_with = "name")]
    pub msg: &'a str,
    /// Its severity.
    #[serde(serialize_with = "token")]
    pub severity: &'a str,
    /// Its tags; at most [`MAX_TAGS`] are written.
    #[serde(serialize_with = "tags")]
    pub tags: Vec<&'a str>,
    /// What it matched, redacted.
    #[serde(serialize_with = "data")]
    pub data: Cow<'a, str>,
    /// The phase it ran in.
    pub phase: u8,
}

impl<'a> Event<'a> {
    /// The event of `finding` about `request`, redacted as its policy says. The action follows from the policy's mode.
    #[must_use]
    pub fn new(
        finding: &'a Finding,
        request: &RequestView<'a>,
        request_id: &'a str,
        resource: &'a str,
        unix_ms: u64,
    ) -> Self {
        let policy = &*finding.policy;
        Self {
            time: Rfc3339 { unix_ms },
            request_id,
            client: request.client.to_canonical(),
            country: request.country(),
            asn: request.asn(),
            method: request.method,
            host: request.host,
            uri: policy.redaction.uri(request.path, request.query),
            resource,
            policy: &policy.name,
            mode: policy.mode,
            action: finding.action(),
            reason: finding.reason,
            status: finding.status,
            score: Score::default(),
            rules: Vec::new(),
            detail: Some(finding.detail.to_string().into()),
        }
    }
}

/// Appends `event` and a line feed to `out`.
pub fn write_line(event: &Event<'_>, out: &mut Vec<u8>) {
    write_json_line(event, out);
}

/// Appends any value as one line of JSON with the escapes of this module, for logs of other kinds. Bounding its strings
/// is the caller's; [`cut`] helps. A value that JSON cannot hold, such as a map whose keys are no strings, writes nothing.
pub fn write_json_line(value: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    if value.serialize(&mut json::serializer(&mut *out)).is_err() {
        // Half a line would be worse than none.
        out.truncate(start);
        return;
    }
    out.push(b'\n');
}

/// At most `most` bytes of `text`, ending between characters.
#[must_use]
pub fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

fn bounded<S: Serializer>(text: &str, most: usize, serializer: S) -> Result<S::Ok, S::Error> {
    if text.len() <= most {
        return serializer.serialize_str(text);
    }
    let kept = cut(text, most - '…'.len_utf8());
    serializer.serialize_str(&format!("{kept}…"))
}

fn name<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    bounded(text, MAX_NAME, serializer)
}

fn token<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    bounded(text, MAX_TOKEN, serializer)
}

fn host<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    bounded(text, MAX_HOST, serializer)
}

fn uri<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    bounded(text, MAX_URI, serializer)
}

fn data<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    bounded(text, MAX_DATA, serializer)
}

fn detail<S: Serializer>(text: &Option<Cow<'_, str>>, serializer: S) -> Result<S::Ok, S::Error> {
    bounded(text.as_deref().unwrap_or_default(), MAX_NAME, serializer)
}

fn rules<S: Serializer>(rules: &[RuleMatch<'_>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rules.iter().take(MAX_RULES))
}

fn tags<S: Serializer>(tags: &[&str], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(None)?;
    for tag in tags.iter().take(MAX_TAGS) {
        sequence.serialize_element(cut(tag, MAX_NAME))?;
    }
    sequence.end()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::{Detail, Identity};

    fn finding(mode: Mode) -> Finding {
        let redaction = Arc::new(Redaction::new(["password".to_owned()], []));
        Finding {
            policy: Arc::new(Identity {
                name: "edge/shop".into(),
                mode,
                redaction,
            }),
            mode,
            reason: Reason::Address,
            status: 403,
            retry_after: None,
            work: None,
            detail: Detail::Prefix("203.0.113.0/24".parse().unwrap()),
        }
    }

    fn line(event: &Event<'_>) -> String {
        let mut out = Vec::new();
        write_line(event, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn request<'a>(method: &'a str, host: &'a str, path: &'a str, query: Option<&'a str>) -> RequestView<'a> {
        RequestView::new("::ffff:203.0.113.9".parse().unwrap(), method, host, path, query)
    }

    #[test]
    fn a_line_has_the_fields_in_the_documented_order() {
        let finding = finding(Mode::Enforce);
        let request = request("GET", "shop.example.com", "/login", Some("user=a&password=b"));
        let event = Event::new(&finding, &request, "r-1", "EdgeCache/edge/shop", 1_000_000_000_001);
        assert_eq!(
            line(&event),
            concat!(
                r#"{"time":"2001-09-09T01:46:40.001Z","request_id":"r-1","client":"203.0.113.9","method":"GET","#,
                r#""host":"shop.example.com","uri":"/login?user=a&password=***","resource":"EdgeCache/edge/shop","#,
                r#""policy":"edge/shop","mode":"Enforce","action":"block","reason":"address","status":403,"#,
                r#""score":{"inbound":0,"outbound":0},"rules":[],"detail":"203.0.113.0/24"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_is_only_detected_says_so() {
        let finding = finding(Mode::DetectOnly);
        let event = Event::new(&finding, &request("GET", "h", "/", None), "r", "k", 0);
        assert!(line(&event).contains(r#""mode":"DetectOnly","action":"detect""#));
    }

    #[test]
    fn actions_are_written_the_same_in_lines_and_labels() {
        for action in [Action::Block, Action::Detect, Action::Challenge] {
            assert_eq!(
                serde_json::to_string(&action).unwrap(),
                format!("\"{}\"", action.as_str())
            );
        }
    }

    #[test]
    fn rules_are_written_with_all_their_fields() {
        let finding = finding(Mode::Enforce);
        let mut event = Event::new(&finding, &request("GET", "h", "/", None), "r", "k", 0);
        event.detail = None;
        event.score = Score {
            inbound: 5,
            outbound: 0,
        };
        event.rules.push(RuleMatch {
            id: 942_100,
            msg: "SQL Injection",
            severity: "CRITICAL",
            tags: vec!["attack-sqli"],
            data: "1' or '1".into(),
            phase: 2,
        });
        assert!(line(&event).ends_with(concat!(
            r#""score":{"inbound":5,"outbound":0},"rules":[{"id":942100,"msg":"SQL Injection","severity":"CRITICAL","#,
            r#""tags":["attack-sqli"],"data":"1' or '1","phase":2}]}"#,
            "\n"
        )));
    }

    #[test]
    fn nothing_a_client_sends_starts_a_second_line_or_field() {
        let nasty = "\r\n{\"action\":\"x\"}\u{0}\u{1b}[2K\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\\\",\"status\":200";
        let finding = finding(Mode::Enforce);
        let request = request(nasty, nasty, nasty, Some(nasty));
        let event = Event::new(&finding, &request, nasty, nasty, 0);
        let line = line(&event);
        let (text, end) = line.split_at(line.len() - 1);
        assert_eq!(end, "\n");
        assert!(!text.chars().any(|c| c.is_control()), "{text:?}");
        assert!(
            !text
                .chars()
                .any(|c| matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'))
        );
        // Escaped, not lost: a reader gets every character back.
        let parsed: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(parsed.get("uri").unwrap().as_str().unwrap(), format!("{nasty}?{nasty}"));
        assert_eq!(parsed.get("status").unwrap(), 403);
        assert_eq!(parsed.get("action").unwrap(), "block");
    }

    #[test]
    fn long_strings_are_cut_between_characters_and_marked() {
        let finding = finding(Mode::Enforce);
        let long = "é".repeat(10_000);
        let event = Event::new(&finding, &request(&long, &long, &long, None), &long, &long, 0);
        let parsed: serde_json::Value = serde_json::from_str(&line(&event)).unwrap();
        for (field, most) in [
            ("method", MAX_TOKEN),
            ("host", MAX_HOST),
            ("uri", MAX_URI),
            ("request_id", MAX_NAME),
            ("resource", MAX_NAME),
        ] {
            let text = parsed.get(field).unwrap().as_str().unwrap();
            assert!(text.len() <= most && text.len() + 4 > most, "{field}: {}", text.len());
            assert!(text.ends_with("é…"), "{field}");
        }
    }

    #[test]
    fn lists_are_cut_too() {
        let finding = finding(Mode::Enforce);
        let mut event = Event::new(&finding, &request("GET", "h", "/", None), "r", "k", 0);
        let rule = RuleMatch {
            id: 1,
            msg: "m",
            severity: "s",
            tags: vec!["t"; 1000],
            data: "d".repeat(5000).into(),
            phase: 1,
        };
        event.rules = vec![rule; 1000];
        let parsed: serde_json::Value = serde_json::from_str(&line(&event)).unwrap();
        let rules = parsed.get("rules").unwrap().as_array().unwrap();
        assert_eq!(rules.len(), MAX_RULES);
        assert_eq!(rules[0].get("tags").unwrap().as_array().unwrap().len(), MAX_TAGS);
        assert_eq!(rules[0].get("data").unwrap().as_str().unwrap().len(), MAX_DATA);
    }

    #[test]
    fn a_value_that_json_cannot_hold_leaves_no_half_line() {
        let mut out = b"before\n".to_vec();
        write_json_line(&vec![std::collections::BTreeMap::from([(vec![1], 1)])], &mut out);
        assert_eq!(out, b"before\n");
    }

    #[test]
    fn lines_are_appended() {
        let finding = finding(Mode::Enforce);
        let event = Event::new(&finding, &request("GET", "h", "/", None), "r", "k", 0);
        let mut out = b"before\n".to_vec();
        write_line(&event, &mut out);
        write_line(&event, &mut out);
        assert!(out.starts_with(b"before\n{"));
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 3);
    }
}
