//! The regression tests of the OWASP Core Rule Set (ftw-tests-schema 2, as far as it uses it): what they say, the bytes
//! that go-ftw would send for them, and what the backend that they are written for (albedo) answers.
//!
//! Two run them: `breakwater waf test` through a data plane, and the tests of `breakwater-waf` through the engine alone.
//!
//! Left to them: sending, and what rules said.

mod answer;
mod request;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;

pub use answer::Answer;

/// Why tests cannot be read or sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of tests.
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// `encoded_request`.
    #[error("encoded_request is not base64: {0}")]
    Encoding(#[from] base64::DecodeError),
}

/// One test.
#[derive(Debug)]
pub struct Test {
    /// Rule and number, such as `942190-1`.
    pub name: String,
    /// The rule it is about.
    pub rule: u32,
    /// Requests, in order.
    pub stages: Vec<Stage>,
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
pub struct Stage {
    /// What is sent.
    pub input: Input,
    /// What is expected.
    pub output: Output,
}

/// What is sent.
#[derive(Debug, Deserialize)]
pub struct Input {
    #[serde(default = "get")]
    method: String,
    #[serde(default = "slash")]
    uri: String,
    #[serde(default = "version")]
    version: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    encoded_request: Option<String>,
    #[serde(default = "yes")]
    autocomplete_headers: bool,
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
pub struct Output {
    /// Of the rules.
    #[serde(default)]
    pub log: Log,
    /// Of the answer.
    #[serde(default)]
    pub status: Option<u16>,
    /// That there is none.
    #[serde(default)]
    pub expect_error: Option<bool>,
}

/// What is expected of the rules.
#[derive(Debug, Default, Deserialize)]
pub struct Log {
    #[serde(default)]
    expect_ids: Vec<u64>,
    #[serde(default)]
    no_expect_ids: Vec<u64>,
    #[serde(default)]
    match_regex: Option<String>,
    #[serde(default)]
    no_match_regex: Option<String>,
}

/// A rule that matched and is logged.
#[derive(Clone, Debug, Deserialize)]
pub struct Logged {
    /// Its number.
    pub id: u64,
    /// Its message.
    pub msg: String,
    /// Its severity.
    pub severity: String,
    /// What it says of the match.
    pub data: String,
}

impl Logged {
    /// As ModSecurity logs it.
    #[must_use]
    pub fn line(&self) -> String {
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

impl Log {
    /// Whether rules said what was expected.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&self, logged: &[Logged]) -> Result<(), String> {
        let ids: Vec<u64> = logged.iter().map(|found| found.id).collect();
        let missing: Vec<_> = self.expect_ids.iter().filter(|id| !ids.contains(id)).collect();
        if !missing.is_empty() {
            return Err(format!("{missing:?} did not match, {ids:?} did"));
        }
        let present: Vec<_> = self.no_expect_ids.iter().filter(|id| ids.contains(id)).collect();
        if !present.is_empty() {
            return Err(format!("{present:?} matched"));
        }
        let found = |pattern: &str| -> Result<bool, String> {
            let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
            Ok(logged.iter().any(|found| regex.is_match(&found.line())))
        };
        if let Some(pattern) = &self.match_regex
            && !found(pattern)?
        {
            let lines: Vec<String> = logged.iter().map(Logged::line).collect();
            return Err(format!("nothing is logged that matches {pattern}: {lines:#?}"));
        }
        if let Some(pattern) = &self.no_match_regex
            && found(pattern)?
        {
            return Err(format!("something is logged that matches {pattern}"));
        }
        Ok(())
    }
}

/// Reads the tests of a file, or of all files below a directory, in the order of their names.
///
/// # Errors
/// The first that cannot be read.
pub fn collect(path: &Path, out: &mut Vec<Test>) -> Result<(), Error> {
    let unreadable = |why: String| Error::Unreadable {
        path: path.to_owned(),
        why,
    };
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(error.to_string()))?;
        let mut within: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        within.sort();
        let yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
        return within
            .iter()
            .filter(|path| path.is_dir() || yaml(path))
            .try_for_each(|path| collect(path, out));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let file: File = serde_saphyr::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    out.extend(file.tests.into_iter().map(|test| Test {
        name: format!("{}-{}", file.rule_id, test.test_id),
        rule: file.rule_id,
        stages: test.stages,
    }));
    Ok(())
}
