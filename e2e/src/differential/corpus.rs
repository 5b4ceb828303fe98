//! Corpus files: cases with their bytes, what Breakwater does, and how each peer relates to it.
//!
//! A file is a list of paragraphs; lines that begin with `#` are remarks:
//!
//! ```text
//! case   two-hosts
//! send   GET / HTTP/1.1\r\nHost: shop.test\r\n
//! send   Host: shop.test\r\n\r\n
//! ours   400 closed
//! nginx  same
//! haproxy differs: takes two that are equal for one
//! ```
//!
//! Several `send` lines are one sequence of bytes. `\r \n \t \0 \\ \xNN` are bytes; `\{9000*a}` is a text so many times.

use std::collections::BTreeSet;

use crate::{Error, Result};

/// One case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its name, unique in the file.
    pub name: String,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// What Breakwater makes of it, as [`super::Outcome`] is written.
    pub ours: String,
    /// How nginx relates to it.
    pub nginx: Relation,
    /// How HAProxy relates to it.
    pub haproxy: Relation,
}

/// How a peer's outcome relates to ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// [`super::Outcome::agrees`].
    Same,
    /// It does not, for this reason.
    Differs(String),
}

/// Reads a corpus file.
///
/// # Errors
/// A line that is not understood, a case that is incomplete, or a name used twice: with the line's number.
pub fn parse(text: &str) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut names = BTreeSet::new();
    let mut draft = Draft::default();
    for (number, line) in (1..).zip(text.lines()) {
        let at = |why: String| Error::Invalid(format!("corpus, line {number}: {why}"));
        let line = line.trim_end();
        if line.is_empty() {
            if let Some(case) = std::mem::take(&mut draft).finish().map_err(at)? {
                cases.push(case);
            }
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (key, value) = line
            .split_once(' ')
            .ok_or_else(|| at(format!("no value after `{line}`")))?;
        let value = value.trim_start();
        match key {
            "case" => {
                if !names.insert(value.to_owned()) {
                    return Err(at(format!("`{value}` is there already")));
                }
                value.clone_into(&mut draft.name);
            }
            "send" => draft.bytes.extend(unescape(value).map_err(at)?),
            "ours" => value.clone_into(&mut draft.ours),
            "nginx" => draft.nginx = Some(relation(value).map_err(at)?),
            "haproxy" => draft.haproxy = Some(relation(value).map_err(at)?),
            _ => return Err(at(format!("unknown key `{key}`"))),
        }
    }
    cases.extend(
        draft
            .finish()
            .map_err(|why| Error::Invalid(format!("corpus, last case: {why}")))?,
    );
    Ok(cases)
}

#[derive(Default)]
struct Draft {
    name: String,
    bytes: Vec<u8>,
    ours: String,
    nginx: Option<Relation>,
    haproxy: Option<Relation>,
}

impl Draft {
    fn finish(self) -> Result<Option<Case>, String> {
        if self.name.is_empty() && self.bytes.is_empty() {
            return Ok(None);
        }
        let incomplete = || format!("`{}` lacks one of case, send, ours, nginx, haproxy", self.name);
        if self.name.is_empty() || self.bytes.is_empty() || self.ours.is_empty() {
            return Err(incomplete());
        }
        let (Some(nginx), Some(haproxy)) = (self.nginx.clone(), self.haproxy.clone()) else {
            return Err(incomplete());
        };
        Ok(Some(Case {
            name: self.name,
            bytes: self.bytes,
            ours: self.ours,
            nginx,
            haproxy,
        }))
    }
}

fn relation(text: &str) -> Result<Relation, String> {
    match text.split_once(": ") {
        Some(("differs", reason)) if !reason.trim().is_empty() => Ok(Relation::Differs(reason.to_owned())),
        None if text == "same" => Ok(Relation::Same),
        _ => Err(format!("`{text}` is neither `same` nor `differs: REASON`")),
    }
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let unknown = || format!("`\\{escape}` is no escape");
        let kind = escape.chars().next().ok_or_else(unknown)?;
        let after = &escape[kind.len_utf8()..];
        rest = after;
        match kind {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            '0' => bytes.push(0),
            '\\' => bytes.push(b'\\'),
            'x' => {
                let digits = after.get(..2).ok_or_else(unknown)?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| unknown())?);
                rest = &after[2..];
            }
            '{' => {
                let (inside, behind) = after.split_once('}').ok_or_else(unknown)?;
                let (times, what) = inside.split_once('*').ok_or_else(unknown)?;
                let times: usize = times.parse().map_err(|_| unknown())?;
                bytes.extend(unescape(what)?.repeat(times));
                rest = behind;
            }
            _ => return Err(unknown()),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# remark\ncase  one\nsend  GET /\\{3*a} HTTP/1.1\\r\\n\nsend  X: \\x00\\t\\\\\\r\\n\\r\\n\nours  400 closed\nnginx same\nhaproxy differs: it is old\n";

    #[test]
    fn a_case_has_bytes_and_relations() {
        let cases = parse(GOOD).expect("it is good");
        assert_eq!(cases.len(), 1);
        assert_eq!(cases[0].bytes, b"GET /aaa HTTP/1.1\r\nX: \0\t\\\r\n\r\n");
        assert_eq!(cases[0].nginx, Relation::Same);
        assert_eq!(cases[0].haproxy, Relation::Differs("it is old".to_owned()));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, part) in [
            (GOOD.replace("same", "equal"), "line 6"),
            (GOOD.replace("\\t", "\\q"), "line 4"),
            (GOOD.replace("differs: it is old", "differs: "), "line 7"),
            (GOOD.replace("ours", "mine"), "unknown key `mine`"),
            (GOOD.replace("nginx same\n", ""), "`one` lacks"),
            (format!("{GOOD}\n{GOOD}"), "there already"),
        ] {
            let error = parse(&text).expect_err("it is wrong").to_string();
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }
}
