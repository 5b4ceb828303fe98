//! The conformance suite `http-cache-tests` (cache-tests.fyi): installed by npm, run through a cache, its results classed.
//!
//! Invariant: a check counts as passed only if it and everything it depends on passed. The rules are those of the suite's
//! own `lib/display.mjs`; what a check has to come to is for the test to say.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{Error, Result, breakwater, command, error::Context, process::Process};

/// What is installed: the suite, and the client it asks with, whose version the suite leaves open.
const PACKAGES: [&str; 2] = ["http-cache-tests@0.4.5", "node-fetch@2.7.0"];

/// Checks that are about browsers are left out, as the suite does itself.
const LIST: &str = "import tests from './tests/index.mjs'; import surrogate from './tests/surrogate-control.mjs'; \
    const all = [...tests, surrogate].flatMap(group => group.tests.filter(test => !test.browser_only)\
    .map(test => ({group: group.id, id: test.id, kind: test.kind ?? 'required', needs: test.depends_on ?? []}))); \
    console.log(JSON.stringify(all))";

/// Runs the checks whose names are its arguments, and nothing else.
const SOME: &str = "import { runTests, getResults } from './client/runner.mjs'; import fetch from 'node-fetch'; \
    import tests from './tests/index.mjs'; import surrogate from './tests/surrogate-control.mjs'; \
    const ids = new Set(process.argv.slice(1)); \
    const some = [...tests, surrogate].map(group => ({...group, tests: group.tests.filter(test => ids.has(test.id))})); \
    await runTests(some, fetch, false, process.env.npm_config_base); console.log(JSON.stringify(getResults()))";

/// The whole suite takes a quarter of a minute: a hundred checks go at once, and each pauses three seconds a few times.
const DEADLINE: Duration = Duration::from_secs(180);

/// What a check is to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A requirement of the specifications.
    Required,
    /// Something a good cache does.
    Optimal,
    /// A question without a right answer.
    Check,
}

/// One check of the suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The chapter it is in.
    pub group: String,
    /// Its name.
    pub id: String,
    /// What it is to a cache.
    pub kind: Kind,
    /// Checks without which its result says nothing.
    pub needs: Vec<String>,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// The answer to a question is yes.
    Yes,
    /// The answer to a question is no.
    No,
    /// What it builds on failed.
    Setup,
    /// The origin got one request twice.
    Retry,
    /// A check that it depends on did not pass.
    Dependency,
    /// There is no result.
    Untested,
}

impl Outcome {
    /// Whether others may depend on it.
    pub const fn holds(self) -> bool {
        matches!(self, Self::Pass | Self::Yes)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "required",
            Self::Optimal => "optimal",
            Self::Check => "check",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Yes => "yes",
            Self::No => "no",
            Self::Setup => "setup",
            Self::Retry => "retry",
            Self::Dependency => "dependency",
            Self::Untested => "untested",
        })
    }
}

/// The suite, installed.
#[derive(Debug, Clone)]
pub struct Suite {
    directory: PathBuf,
}

/// The results of one run, by id: `true`, or the name of an error and its message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Results(BTreeMap<String, Value>);

impl Suite {
    /// Installs the suite into the target directory, unless it is there.
    ///
    /// # Errors
    /// When there is no npm, or the registry does not give it.
    pub async fn install() -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let prefix = breakwater::root().join(target).join("cache-tests");
        let suite = Self {
            directory: prefix.join("node_modules/http-cache-tests"),
        };
        // npm writes it last.
        let complete = prefix.join("node_modules/.package-lock.json");
        let wanted = PACKAGES.join(" ");
        let stamp = prefix.join("installed");
        if complete.exists() && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(suite);
        }
        std::fs::create_dir_all(&prefix).context(|| format!("make {}", prefix.display()))?;
        let mut npm = Command::new("npm");
        npm.arg("install")
            .args([
                "--no-save",
                "--no-package-lock",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
            ])
            .arg("--prefix")
            .arg(&prefix)
            .args(PACKAGES);
        command::run(npm).await?;
        std::fs::write(&stamp, wanted).context(|| format!("write {}", stamp.display()))?;
        Ok(suite)
    }

    /// All checks that are about shared caches.
    ///
    /// # Errors
    /// When there is no node, or it cannot read the suite.
    pub async fn checks(&self) -> Result<Vec<Check>> {
        let mut node = self.node();
        node.args(["--input-type=module", "--eval", LIST]);
        let text = command::run(node).await?;
        let list = parse(&text)?;
        list.as_array().into_iter().flatten().map(check).collect()
    }

    /// Starts the suite's origin on a free port; its log goes to `log`.
    ///
    /// # Errors
    /// When it does not say where it listens.
    pub async fn origin(&self, log: &Path) -> Result<(Process, SocketAddr)> {
        let mut node = self.node();
        node.arg("server/server.mjs").envs([
            ("npm_config_protocol", "http"),
            ("npm_config_port", "0"),
            ("npm_config_pidfile", "/dev/null"),
        ]);
        let mut process = Process::spawn("http-cache-tests", node, log)?;
        let line = process.wait_line("Listening on ", breakwater::DEADLINE).await?;
        let port = line.trim_end_matches('/').rsplit(':').next();
        let port: u16 = port
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| Error::Invalid(format!("no port in `{line}`")))?;
        Ok((process, SocketAddr::from(([127, 0, 0, 1], port))))
    }

    /// Runs the checks `ids` through the cache at `front`, which has the origin behind it as `localhost`.
    ///
    /// # Errors
    /// When the suite's client fails.
    pub async fn run(&self, front: SocketAddr, ids: &[&str]) -> Result<Results> {
        let mut node = self.node();
        node.args(["--no-warnings", "--input-type=module", "--eval", SOME, "--"])
            .args(ids)
            .env("npm_config_base", format!("http://localhost:{}", front.port()));
        let output = command::run_within(node, "", DEADLINE).await?;
        // What the client warns of comes before.
        let json = output
            .find('{')
            .and_then(|start| output.get(start..))
            .unwrap_or_default();
        Results::of(parse(json)?)
    }

    fn node(&self) -> Command {
        let mut node = Command::new("node");
        node.current_dir(&self.directory).env_remove("npm_config_id");
        node
    }
}

impl Results {
    fn of(results: Value) -> Result<Self> {
        match results {
            Value::Object(results) => Ok(Self(results.into_iter().collect())),
            other => Err(Error::Invalid(format!("no results of http-cache-tests: {other}"))),
        }
    }

    /// These results, with those of `later` in their place where there are any.
    #[must_use]
    pub fn amended(mut self, later: Self) -> Self {
        self.0.extend(later.0);
        self
    }

    /// What each check came to.
    pub fn outcomes(&self, checks: &[Check]) -> BTreeMap<String, Outcome> {
        let known: BTreeMap<&str, &Check> = checks.iter().map(|check| (check.id.as_str(), check)).collect();
        checks
            .iter()
            .map(|check| (check.id.clone(), self.outcome(check, &known)))
            .collect()
    }

    /// What was found, for people.
    pub fn detail(&self, id: &str) -> String {
        self.0.get(id).map_or_else(String::new, Value::to_string)
    }

    fn outcome(&self, check: &Check, known: &BTreeMap<&str, &Check>) -> Outcome {
        let Some(result) = self.0.get(&check.id) else {
            return Outcome::Untested;
        };
        let holds = |id: &String| {
            known
                .get(id.as_str())
                .is_some_and(|check| self.outcome(check, known).holds())
        };
        if !check.needs.iter().all(holds) {
            return Outcome::Dependency;
        }
        match (
            result[0].as_str(),
            result[1].as_str(),
            check.kind,
            *result == Value::Bool(true),
        ) {
            (Some("Setup"), Some("retry"), ..) => Outcome::Retry,
            (Some("Setup"), ..) => Outcome::Setup,
            (_, _, Kind::Check, true) => Outcome::Yes,
            (_, _, Kind::Check, false) => Outcome::No,
            (_, _, _, true) => Outcome::Pass,
            (_, _, _, false) => Outcome::Fail,
        }
    }
}

fn parse(json: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|error| Error::Invalid(format!("http-cache-tests: {error}: {json}")))
}

fn check(value: &Value) -> Result<Check> {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let kind = match value["kind"].as_str() {
        Some("required") => Some(Kind::Required),
        Some("optimal") => Some(Kind::Optimal),
        Some("check") => Some(Kind::Check),
        _ => None,
    };
    let needs = value["needs"].as_array().map(|needs| {
        let needs = needs.iter().filter_map(Value::as_str);
        needs.map(str::to_owned).collect()
    });
    match (text("group"), text("id"), kind, needs) {
        (Some(group), Some(id), Some(kind), Some(needs)) => Ok(Check { group, id, kind, needs }),
        _ => Err(Error::Invalid(format!("no check of http-cache-tests: {value}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcomes(results: Value) -> Vec<(String, Outcome)> {
        let check = |id: &str, kind, needs: &[&str]| Check {
            group: "group".to_owned(),
            id: id.to_owned(),
            kind,
            needs: needs.iter().map(|id| (*id).to_owned()).collect(),
        };
        let checks = [
            check("a", Kind::Required, &[]),
            check("b", Kind::Optimal, &["a"]),
            check("c", Kind::Check, &["b"]),
        ];
        let results = Results::of(results).expect("a map");
        results.outcomes(&checks).into_iter().collect()
    }

    #[test]
    fn a_check_passes_only_with_everything_it_depends_on() {
        use Outcome::{Dependency, Fail, No, Pass, Retry, Setup, Untested, Yes};
        let assertion = json!(["Assertion", "Response 2 comes from cache"]);
        for (results, expected) in [
            (json!({"a": true, "b": true, "c": true}), [Pass, Pass, Yes]),
            (json!({"a": true, "b": true, "c": assertion}), [Pass, Pass, No]),
            (
                json!({"a": assertion, "b": true, "c": true}),
                [Fail, Dependency, Dependency],
            ),
            (
                json!({"a": ["Setup", "retry"], "b": true, "c": true}),
                [Retry, Dependency, Dependency],
            ),
            (
                json!({"a": ["Setup", "status is 502"], "b": true}),
                [Setup, Dependency, Untested],
            ),
            (
                json!({"a": ["FetchError", "socket hang up"], "b": true}),
                [Fail, Dependency, Untested],
            ),
        ] {
            let expected = ["a", "b", "c"].map(str::to_owned).into_iter().zip(expected);
            assert_eq!(outcomes(results), expected.collect::<Vec<_>>());
        }
    }
}
