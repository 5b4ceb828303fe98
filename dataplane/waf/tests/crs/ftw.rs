//! The form of the regression tests (ftw-tests-schema), as far as the Core Rule Set uses it.

use std::collections::BTreeMap;
use std::path::Path;

use breakwater_waf::engine::Report;
use regex::Regex;
use serde::Deserialize;

use super::exchange;

#[derive(Debug, Deserialize)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) rule_id: u32,
    #[serde(default)]
    pub(crate) tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Test {
    pub(crate) test_id: u32,
    pub(crate) stages: Vec<Stage>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Stage {
    pub(crate) input: Input,
    pub(crate) output: Output,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Input {
    #[serde(default = "get")]
    pub(crate) method: String,
    #[serde(default = "slash")]
    pub(crate) uri: String,
    #[serde(default = "version")]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) data: Option<String>,
    #[serde(default)]
    pub(crate) encoded_request: Option<String>,
    #[serde(default = "yes")]
    pub(crate) autocomplete_headers: bool,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "statuses are a front's: `breakwater waf test` judges them")]
pub(crate) struct Output {
    #[serde(default)]
    pub(crate) log: Log,
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) expect_error: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Log {
    #[serde(default)]
    pub(crate) expect_ids: Vec<u32>,
    #[serde(default)]
    pub(crate) no_expect_ids: Vec<u32>,
    #[serde(default)]
    pub(crate) match_regex: Option<String>,
    #[serde(default)]
    pub(crate) no_match_regex: Option<String>,
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

fn yes() -> bool {
    true
}

/// Reads a file of tests.
pub(crate) fn read(path: &Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_saphyr::from_str(&text).map_err(|error| error.to_string())
}

impl Output {
    /// Whether a report is as expected. A status is the front's matter: in process, 200 says that nothing was refused
    /// before the rules saw it.
    pub(crate) fn check(&self, report: &Report) -> Result<(), String> {
        let ids: Vec<u32> = report.matches.iter().map(|found| found.id).collect();
        let missing: Vec<&u32> = self.log.expect_ids.iter().filter(|id| !ids.contains(id)).collect();
        if !missing.is_empty() {
            return Err(format!("{missing:?} did not match; {ids:?} did"));
        }
        let present: Vec<&u32> = self.log.no_expect_ids.iter().filter(|id| ids.contains(id)).collect();
        if !present.is_empty() {
            return Err(format!("{present:?} matched"));
        }
        let lines: Vec<String> = report.matches.iter().map(exchange::line).collect();
        if let Some(pattern) = &self.log.match_regex {
            let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
            if !lines.iter().any(|line| regex.is_match(line)) {
                return Err(format!("no line matches {pattern}: {lines:#?}"));
            }
        }
        if let Some(pattern) = &self.log.no_match_regex {
            let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
            if lines.iter().any(|line| regex.is_match(line)) {
                return Err(format!("a line matches {pattern}"));
            }
        }
        Ok(())
    }
}
