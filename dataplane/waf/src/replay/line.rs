//! One line of a log.

use std::net::IpAddr;

use serde::Deserialize;

use super::combined;
use crate::audit::{Action, MAX_NAME, MAX_RULES, Rfc3339, cut};

/// Longest target that is kept, bytes: our logs have at most 2,048 bytes of one, others what a request line may have.
const MAX_TARGET: usize = 8 * 1024;

/// What ends a string that an audit line has the beginning of.
const CUT: char = '…';

/// The length at which access lines cut a target. They may cut a few bytes earlier, between characters.
const CUT_AT: usize = crate::audit::MAX_URI;

/// Variables, by how their names begin, whose values are in no log.
const UNLOGGED: [&str; 8] = [
    "REQUEST_HEADERS",
    "REQUEST_COOKIES",
    "REQUEST_BODY",
    "ARGS_POST",
    "FILES",
    "MULTIPART_",
    "XML",
    "RESPONSE_",
];

/// A line, as far as requests are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, milliseconds since the Unix epoch; whole seconds in access lines.
    pub unix_ms: u64,
    /// The request's id, if the log has one.
    pub request_id: Option<String>,
    /// The client.
    pub client: IpAddr,
    /// The method.
    pub method: String,
    /// The host, if the log has one.
    pub host: Option<String>,
    /// Path and query.
    pub target: String,
    /// Only the beginning of it is in the log.
    pub shortened: bool,
    /// Values in it may be `***`: it is from an audit line.
    pub redacted: bool,
    /// It came over HTTP/1.0.
    pub http10: bool,
    /// Fields that the log has of the request, by their names in lower case.
    pub fields: Vec<(&'static str, String)>,
    /// The log says that it was refused by a policy.
    pub blocked: bool,
    /// What the log has of policies that objected.
    pub objections: Vec<Objection>,
}

/// An objection of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Whose.
    pub policy: String,
    /// Whether it was refused for it.
    pub action: Action,
    /// As in audit lines: `address`, `rule`, …
    pub reason: String,
    /// What exactly.
    pub detail: Option<String>,
    /// The rules that matched, and the latest phase of one.
    pub rules: Vec<u64>,
    /// 0: there are none.
    pub last_phase: u8,
    /// A rule says that it found something where a log does not show it: in a field, a cookie, a body.
    pub elsewhere: bool,
    /// The message of the first of them.
    pub message: Option<String>,
}

/// Why a line cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is no line of a known form.
    #[error("it is neither a line of an access log or audit log of Breakwater nor of the combined log format")]
    Unknown,
    /// It is JSON that lacks something, or has it in another form.
    #[error("it is JSON, but no line of an access log or audit log: {0}")]
    Json(String),
    /// It is of the combined log format, but for this part.
    #[error("its {0} cannot be read")]
    Part(&'static str),
    /// It is too long.
    #[error("its target is longer than {MAX_TARGET} bytes")]
    Target,
}

impl Line {
    /// Reads a line, which is without its line feed.
    ///
    /// # Errors
    /// When it is of no known form, or lacks what a request needs.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let text = text.trim();
        let line = if text.starts_with('{') {
            let raw: Raw = serde_json::from_str(text).map_err(|error| LineError::Json(error.to_string()))?;
            raw.line()?
        } else {
            combined::parse(text)?
        };
        if line.target.len() > MAX_TARGET {
            return Err(LineError::Target);
        }
        Ok(line)
    }

    /// Bytes that it takes, roughly.
    pub(super) fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(_, value)| value.len()).sum();
        let objections: usize = self.objections.iter().map(Objection::size).sum();
        size_of::<Self>() + self.target.len() + self.method.len() + fields + objections + 128
    }

    /// Path and query of its target, which may be an absolute URI.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        absolute(&self.target).map_or(self.target.as_str(), |(_, rest)| rest)
    }

    /// The path of its target.
    #[must_use]
    pub fn path(&self) -> &str {
        let target = self.path_and_query();
        match target.split_once('?') {
            Some(("", _)) => "/",
            Some((path, _)) => path,
            None => target,
        }
    }
}

/// Authority, and path and query, of a target that is an absolute URI (RFC 9112 section 3.2.2).
pub(super) fn absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if !(scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")) {
        return None;
    }
    let (authority, rest) = rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))?;
    let rest = if rest.is_empty() { "/" } else { rest };
    (!authority.is_empty()).then_some((authority, rest))
}

impl Objection {
    fn size(&self) -> usize {
        size_of::<Self>() + self.policy.len() + self.rules.len() * size_of::<u64>() + 256
    }
}

/// What access lines and audit lines have.
#[derive(Deserialize)]
struct Raw {
    time: String,
    request_id: String,
    client: IpAddr,
    method: String,
    host: String,
    uri: String,
    /// Access lines have it.
    protocol: Option<String>,
    waf: Option<String>,
    /// Audit lines have it.
    action: Option<RawAction>,
    #[serde(default)]
    policy: String,
    #[serde(default)]
    reason: String,
    detail: Option<String>,
    #[serde(default)]
    rules: Vec<RawRule>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawAction {
    Block,
    Detect,
    Challenge,
}

#[derive(Deserialize)]
struct RawRule {
    id: u64,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    phase: u8,
}

impl RawRule {
    /// The Core Rule Set writes `Matched Data: … found within ARGS:q: …`.
    fn is_about_what_is_not_in_a_log(&self) -> bool {
        let mut places = self.data.split(" found within ").skip(1);
        places.any(|place| UNLOGGED.iter().any(|variable| place.starts_with(variable)))
    }
}

impl Raw {
    fn line(self) -> Result<Line, LineError> {
        if self.action.is_none() && self.protocol.is_none() {
            return Err(LineError::Json("it has neither `protocol` nor `action`".to_owned()));
        }
        let time: Rfc3339 = self
            .time
            .parse()
            .map_err(|()| LineError::Json(format!("`{}` is no time", cut(&self.time, 64))))?;
        let objection = self.action.map(|action| Objection {
            policy: cut(&self.policy, MAX_NAME).to_owned(),
            action: match action {
                RawAction::Block => Action::Block,
                RawAction::Detect => Action::Detect,
                RawAction::Challenge => Action::Challenge,
            },
            reason: cut(&self.reason, MAX_NAME).to_owned(),
            detail: self.detail.as_deref().map(|detail| cut(detail, MAX_NAME).to_owned()),
            rules: self.rules.iter().take(MAX_RULES).map(|rule| rule.id).collect(),
            last_phase: self.rules.iter().map(|rule| rule.phase).max().unwrap_or_default(),
            elsewhere: self.rules.iter().any(RawRule::is_about_what_is_not_in_a_log),
            message: self.rules.first().map(|rule| cut(&rule.msg, MAX_NAME).to_owned()),
        });
        let blocked_by = |objection: &Objection| objection.action == Action::Block;
        let (target, shortened) = whole(&self.uri, objection.is_none());
        Ok(Line {
            unix_ms: time.unix_ms,
            request_id: Some(cut(&self.request_id, MAX_NAME).to_owned()),
            client: self.client,
            method: cut(&self.method, MAX_NAME).to_owned(),
            host: Some(cut(&self.host, MAX_NAME).to_owned()),
            target: target.to_owned(),
            shortened,
            redacted: objection.is_some(),
            http10: self.protocol.as_deref() == Some("HTTP/1.0"),
            fields: Vec::new(),
            blocked: self.waf.as_deref() == Some("block") || objection.as_ref().is_some_and(blocked_by),
            objections: objection.into_iter().collect(),
        })
    }
}

/// What can be read of a target that was perhaps cut, and whether it was.
fn whole(uri: &str, of_access: bool) -> (&str, bool) {
    let (text, shortened) = match uri.strip_suffix(CUT) {
        Some(text) if !of_access => (text, true),
        _ => (uri, of_access && uri.len() + char::MAX.len_utf8() > CUT_AT),
    };
    // Half an escape would be another mistake than what was sent.
    let broken = match text.as_bytes() {
        [.., b'%'] => 1,
        [.., b'%', _] => 2,
        _ => 0,
    };
    match shortened {
        true => (text.get(..text.len() - broken).unwrap_or(text), true),
        false => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: &str = r#"{"time":"2026-11-28T12:00:01.000Z","request_id":"r1","client":"203.0.113.9","protocol":"HTTP/2","method":"GET","host":"a.example","uri":"/x?y=1","status":403,"bytes":10,"duration_ms":1.5,"resource":"EdgeCache/default/a","cache":null,"upstream":null,"waf":"block","aborted":false,"error":null}"#;
    const AUDIT: &str = r#"{"time":"2026-11-28T12:00:01.234Z","request_id":"r1","client":"203.0.113.9","method":"GET","host":"a.example","uri":"/x?y=***","resource":"EdgeCache/default/a","policy":"WafPolicy/default/a","mode":"Enforce","action":"block","reason":"rule","status":403,"score":{"inbound":5,"outbound":0},"rules":[{"id":942100,"msg":"SQL Injection","severity":"CRITICAL","tags":[],"data":"","phase":2}],"detail":"rule 949110"}"#;

    #[test]
    fn access_lines_say_what_was_asked_for_and_whether_it_was_refused() {
        let line = Line::parse(ACCESS).unwrap();
        assert_eq!(
            (line.unix_ms, line.blocked, line.redacted),
            (1_795_867_201_000, true, false)
        );
        assert_eq!(
            (line.target.as_str(), line.host.as_deref()),
            ("/x?y=1", Some("a.example"))
        );
        assert!(!Line::parse(&ACCESS.replace("\"block\"", "null")).unwrap().blocked);
    }

    #[test]
    fn audit_lines_say_which_rules_objected() {
        let line = Line::parse(AUDIT).unwrap();
        let objection = line.objections.first().unwrap();
        assert_eq!((objection.rules.as_slice(), objection.last_phase), (&[942_100][..], 2));
        assert!(line.blocked && line.redacted);
        assert!(!objection.elsewhere);
        let within = |variable: &str| {
            let data = format!("\"data\":\"Matched Data: x found within {variable}: x\"");
            let line = Line::parse(&AUDIT.replace("\"data\":\"\"", &data)).unwrap();
            line.objections.first().unwrap().elsewhere
        };
        assert!(within("REQUEST_COOKIES:a") && within("REQUEST_HEADERS:User-Agent") && !within("ARGS:q"));
        let detected = Line::parse(&AUDIT.replace("\"block\"", "\"detect\"")).unwrap();
        assert!(!detected.blocked);
    }

    #[test]
    fn lines_of_other_kinds_say_why_they_cannot_be_used() {
        for (text, why) in [
            ("", "neither"),
            ("2026-11-28T12:00:00Z INFO listening", "neither"),
            ("{", "EOF"),
            (r#"{"level":"info"}"#, "missing field"),
            (
                &ACCESS.replace("\"protocol\"", "\"other\""),
                "neither `protocol` nor `action`",
            ),
            (&ACCESS.replace("2026-11-28T", "2026-13-28T"), "is no time"),
            (&ACCESS.replace("203.0.113.9", "203.0.113"), "IP address"),
        ] {
            let error = Line::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let long = ACCESS.replace("/x", &"/x".repeat(5000));
        assert_eq!(Line::parse(&long), Err(LineError::Target));
    }

    #[test]
    fn a_target_that_was_cut_is_read_up_to_its_last_whole_escape() {
        let audit = Line::parse(&AUDIT.replace("/x?y=***", "/x?y=%4…")).unwrap();
        assert_eq!((audit.target.as_str(), audit.shortened), ("/x?y=", true));
        let cut = format!("/{}%", "x".repeat(CUT_AT - 2));
        let access = Line::parse(&ACCESS.replace("/x?y=1", &cut)).unwrap();
        assert_eq!((access.target.len(), access.shortened), (CUT_AT - 1, true));
        let whole = Line::parse(&ACCESS.replace("/x?y=1", "/x?y=%4")).unwrap();
        assert_eq!((whole.target.as_str(), whole.shortened), ("/x?y=%4", false));
    }
}
