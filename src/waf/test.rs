//! `breakwater waf test`: the regression tests of the Core Rule Set, through a data plane as `up` runs it.
//!
//! What a test sends goes over a socket, byte for byte; a backend answers as the tests' own (albedo) does; what rules said
//! is read from the audit log, by the request id of the answer. The audit log keeps its order, so a request that a rule of
//! ours marks tells when everything before it is there.

mod backend;
mod front;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use breakwater_ftw::{Logged, Output, Test};
use clap::Args;
use serde::Deserialize;

use crate::exit::{self, Failure};
use front::{Front, Seen};

/// Tests between two looks at the audit log: fewer lines than wait in its queue.
const BATCH: usize = 256;

/// What to test with what.
#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Directory of the Core Rule Set: DIR/rules/*.conf with their data files
    #[arg(long = "crs", value_name = "DIR")]
    crs: PathBuf,
    /// Files of tests (ftw), and directories of them
    #[arg(value_name = "TESTS", required = true)]
    tests: Vec<PathBuf>,
    /// Tests that are not held to, each with its reason: a YAML list of `{test: 920100-4, reason: …}`
    #[arg(long, value_name = "FILE")]
    overrides: Option<PathBuf>,
    /// Only this test, such as 942190-1; tells what it did
    #[arg(long, value_name = "TEST")]
    only: Option<String>,
}

/// A test that is not held to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Override {
    test: String,
    reason: String,
}

pub(crate) fn run(args: &TestArgs) -> Result<ExitCode, Failure> {
    let overrides = overrides(args.overrides.as_deref())?;
    let mut tests = Vec::new();
    for path in &args.tests {
        breakwater_ftw::collect(path, &mut tests)
            .map_err(|error| Failure::environment(error.to_string(), "name files or directories of ftw tests"))?;
    }
    choose(&mut tests, args.only.as_deref())?;
    let mut front = Front::start(&args.crs)?;
    let mut report = Report::default();
    for batch in tests.chunks(BATCH) {
        let mut seen: Vec<Vec<Seen>> = Vec::with_capacity(batch.len());
        for test in batch {
            let sent = test.stages.iter().map(|stage| Ok(front.send(stage.input.bytes()?)));
            let sent: Result<_, breakwater_ftw::Error> = sent.collect();
            seen.push(sent.map_err(|error| Failure::environment(format!("{}: {error}", test.name), "mend the test"))?);
        }
        let said = front.said()?;
        for (test, seen) in batch.iter().zip(&seen) {
            let mut verdict = Ok(());
            for (stage, seen) in test.stages.iter().zip(seen) {
                let matches = seen.request_id.as_ref().and_then(|id| said.get(id));
                let matches = matches.map_or(&[][..], Vec::as_slice);
                if args.only.is_some() {
                    tell(seen, matches);
                }
                verdict = verdict.and_then(|()| check(&stage.output, seen.status, matches));
            }
            report.take(test, verdict, overrides.get(&test.name));
        }
    }
    report.finish()
}

/// Leaves the one that is asked for, if one is.
fn choose(tests: &mut Vec<Test>, only: Option<&str>) -> Result<(), Failure> {
    let Some(first) = tests.first().map(|test| test.name.clone()) else {
        return Err(Failure::environment(
            "there are no tests",
            "name files or directories of ftw tests",
        ));
    };
    let Some(only) = only else { return Ok(()) };
    let count = tests.len();
    tests.retain(|test| test.name == only);
    match tests.is_empty() {
        true => Err(Failure::environment(
            format!("none of {} is `{only}`", crate::check::count(count, "test")),
            format!("name rule and number, such as {first}"),
        )),
        false => Ok(()),
    }
}

/// Whether it came as expected; no status: there was no answer.
fn check(expected: &Output, status: Option<u16>, logged: &[Logged]) -> Result<(), String> {
    if expected.expect_error == Some(true) {
        return match status {
            None => Ok(()),
            Some(status) => Err(format!("an answer was not expected: {status}")),
        };
    }
    let Some(status) = status else {
        return Err("there was no answer".to_owned());
    };
    if expected.status.is_some_and(|expected| expected != status) {
        return Err(format!("the status is {status}"));
    }
    let checked = expected.log.check(logged);
    checked.map_err(|why| format!("{why}; the status is {status}"))
}

fn tell(seen: &Seen, matches: &[Logged]) {
    let status = seen
        .status
        .map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    exit::complain(format!("{}\n-> {status}", String::from_utf8_lossy(&seen.request)));
    matches.iter().for_each(|found| exit::complain(found.line()));
}

fn overrides(file: Option<&Path>) -> Result<HashMap<String, String>, Failure> {
    let Some(file) = file else { return Ok(HashMap::new()) };
    let unreadable = |error: String| {
        Failure::environment(
            format!("{} cannot be read: {error}", file.display()),
            "write a list of {test, reason}",
        )
    };
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    let list: Vec<Override> = serde_saphyr::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    Ok(list.into_iter().map(|entry| (entry.test, entry.reason)).collect())
}

/// How tests went, by group of rules.
#[derive(Default)]
struct Report {
    groups: BTreeMap<u32, (usize, usize)>,
    failures: Vec<String>,
    overridden: Vec<String>,
}

impl Report {
    fn take(&mut self, test: &Test, verdict: Result<(), String>, reason: Option<&String>) {
        if let Some(reason) = reason {
            let holds = if verdict.is_ok() { " (it holds)" } else { "" };
            self.overridden.push(format!("{}: {reason}{holds}", test.name));
            return;
        }
        let group = self.groups.entry(test.rule / 1000).or_default();
        group.1 += 1;
        match verdict {
            Ok(()) => group.0 += 1,
            Err(why) => self.failures.push(format!("{}: {why}", test.name)),
        }
    }

    fn finish(self) -> Result<ExitCode, Failure> {
        let mut text = String::new();
        let mut line = |of: String| {
            text.push_str(&of);
            text.push('\n');
        };
        self.failures
            .iter()
            .for_each(|failure| line(format!("failed  {failure}")));
        self.overridden
            .iter()
            .for_each(|entry| line(format!("passed over  {entry}")));
        for (group, (good, all)) in &self.groups {
            line(format!("{group}xxx  {good} of {all}"));
        }
        let (good, all) = self
            .groups
            .values()
            .fold((0, 0), |sum, group| (sum.0 + group.0, sum.1 + group.1));
        line(format!("all  {good} of {all}, {} passed over", self.overridden.len()));
        exit::print(&text)?;
        Ok(match self.failures.len() {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(exit::INPUT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests() -> Vec<Test> {
        let test = |name: &str| Test {
            name: name.to_owned(),
            rule: 942_190,
            stages: Vec::new(),
        };
        vec![test("942190-1"), test("942190-2")]
    }

    #[test]
    fn a_test_that_is_not_there_is_told_from_tests_that_are_not_there() {
        let mut chosen = tests();
        choose(&mut chosen, Some("942190-2")).unwrap();
        assert!(chosen.len() == 1 && chosen[0].name == "942190-2");
        let told = choose(&mut tests(), Some("999999-1")).unwrap_err().to_string();
        assert!(
            told.contains("none of 2 tests is `999999-1`") && told.contains("such as 942190-1"),
            "{told}"
        );
        for only in [None, Some("942190-1")] {
            let told = choose(&mut Vec::new(), only).unwrap_err().to_string();
            assert!(told.contains("there are no tests"), "{told}");
        }
    }
}
