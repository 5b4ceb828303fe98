//! The form of the regression tests (ftw-tests-schema), as far as the Core Rule Set uses it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;

use crate::exit::Failure;

/// One test.
#[derive(Debug)]
pub(super) struct Test {
    /// Rule and number, such as `942100-3`.
    pub(super) name: String,
    pub(super) rule: u32,
    pub(super) stages: Vec<Stage>,
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    rule_id: u32,
    #[serde(default)]
    tests: Vec<Written>,
}

#[derive(Debug, Deserialize)]
struct Written {
    test_id: u32,
    stages: Vec<Stage>,
}

/// A request and what is expected of it.
#[derive(Debug, Deserialize)]
pub(super) struct Stage {
    pub(super) input: Input,
    pub(super) output: Output,
}

/// What is sent.
#[derive(Debug, Deserialize)]
pub(super) struct Input {
    #[serde(default = "get")]
    pub(super) method: String,
    #[serde(default = "slash")]
    pub(super) uri: String,
    #[serde(default = "version")]
    pub(super) version: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) data: Option<String>,
    #[serde(default)]
    pub(super) encoded_request: Option<String>,
    #[serde(default = "yes")]
    pub(super) autocomplete_headers: bool,
}

fn get() -> String {
    "GET".to_owned()
}

fn slash() -> String {
    "/".to_owned()
}

fn version() -> String {
    "HTTP/1.1".to_owned()
}

const fn yes() -> bool {
    true
}

/// What is expected.
#[derive(Debug, Deserialize)]
pub(super) struct Output {
    #[serde(default)]
    log: Log,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    expect_error: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
struct Log {
    #[serde(default)]
    expect_ids: Vec<u64>,
    #[serde(default)]
    no_expect_ids: Vec<u64>,
    #[serde(default)]
    match_regex: Option<String>,
    #[serde(default)]
    no_match_regex: Option<String>,
}

/// A rule in an audit line.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Match {
    id: u64,
    msg: String,
    severity: String,
    data: String,
}

impl Match {
    /// As ModSecurity logs it.
    pub(super) fn line(&self) -> String {
        let Self {
            id,
            msg,
            severity,
            data,
        } = self;
        let (msg, data) = (printable(msg), printable(data));
        format!("[id \"{id}\"] [msg \"{msg}\"] [data \"{data}\"] [severity \"{severity}\"]")
    }
}

/// On one line, as logs have it.
fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, letter| {
        match letter {
            ' '..='~' => out.push(letter),
            _ => out.push_str(&format!("\\x{:02x}", u32::from(letter))),
        }
        out
    })
}

impl Output {
    /// Whether it came as expected; no status: there was no answer.
    pub(super) fn check(&self, status: Option<u16>, matches: &[Match]) -> Result<(), String> {
        if self.expect_error == Some(true) {
            return match status {
                None => Ok(()),
                Some(status) => Err(format!("an answer was not expected: {status}")),
            };
        }
        let Some(status) = status else {
            return Err("there was no answer".to_owned());
        };
        if self.status.is_some_and(|expected| expected != status) {
            return Err(format!("the status is {status}"));
        }
        let ids: Vec<u64> = matches.iter().map(|found| found.id).collect();
        let missing: Vec<_> = self.log.expect_ids.iter().filter(|id| !ids.contains(id)).collect();
        if !missing.is_empty() {
            return Err(format!(
                "{missing:?} did not match, {ids:?} did; the status is {status}"
            ));
        }
        let present: Vec<_> = self.log.no_expect_ids.iter().filter(|id| ids.contains(id)).collect();
        if !present.is_empty() {
            return Err(format!("{present:?} matched"));
        }
        let lines: Vec<String> = matches.iter().map(Match::line).collect();
        let found = |pattern: &str| -> Result<bool, String> {
            let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
            Ok(lines.iter().any(|line| regex.is_match(line)))
        };
        if let Some(pattern) = &self.log.match_regex
            && !found(pattern)?
        {
            return Err(format!("nothing is logged that matches {pattern}"));
        }
        if let Some(pattern) = &self.log.no_match_regex
            && found(pattern)?
        {
            return Err(format!("something is logged that matches {pattern}"));
        }
        Ok(())
    }
}

/// Reads the tests of a file, or of all files below a directory, in the order of their names.
pub(super) fn collect(path: &Path, out: &mut Vec<Test>) -> Result<(), Failure> {
    let failed = |error: String| {
        Failure::environment(
            format!("{} cannot be read: {error}", path.display()),
            "name files or directories of ftw tests",
        )
    };
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| failed(error.to_string()))?;
        let mut within: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        within.sort();
        let yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
        return within
            .iter()
            .filter(|path| path.is_dir() || yaml(path))
            .try_for_each(|path| collect(path, out));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let file: File = serde_saphyr::from_str(&text).map_err(|error| failed(error.to_string()))?;
    out.extend(file.tests.into_iter().map(|test| Test {
        name: format!("{}-{}", file.rule_id, test.test_id),
        rule: file.rule_id,
        stages: test.stages,
    }));
    Ok(())
}
