//! `http-cache-tests` 0.4.5 through `breakwater up` with default settings.
//!
//! Every check it requires and every one it calls optimal holds, but for those listed here with the reason. What each of all
//! of them comes to is in `cache-tests/outcomes.txt`, so that a change of behaviour shows: `UPDATE_GOLDEN=1` writes it
//! anew.

use std::{collections::BTreeMap, fmt::Write};

use breakwater_e2e::{
    Result,
    breakwater::{Site, root},
    cache_tests::{Check, Kind, Outcome, Results, Suite},
};

const NO_MORE: [&str; 0] = [];
const GOLDEN: &str = "e2e/cache-tests/outcomes.txt";

/// Checks that no correct cache passes, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("age-parse-nonnumeric", OLD_AGE),
    ("age-parse-negative", OLD_AGE),
    ("age-parse-float", OLD_AGE),
    ("age-parse-parameter", OLD_AGE),
    ("age-parse-numeric-parameter", OLD_AGE),
    ("age-parse-prefix-twoline", OLD_AGES),
    ("age-parse-dup-0", OLD_AGES),
    ("age-parse-dup-0-twoline", OLD_AGES),
    ("age-parse-dup-old", OLD_AGES),
    ("stale-close-must-revalidate", NO_ORIGIN),
    ("stale-close-proxy-revalidate", NO_ORIGIN),
    ("stale-close-no-cache", NO_ORIGIN),
    ("stale-close-s-maxage=2", NO_ORIGIN),
    (
        "conditional-lm-fresh-no-lm",
        "wants 304 to a date before the stored Date; RFC 9111 section 4.3.2 gives 200",
    ),
];
const OLD_AGE: &str = "from before RFC 9111, whose section 5.1 says that an Age that is no number is ignored";
const OLD_AGES: &str =
    "from before RFC 9111, whose section 5.1 says that the first Age counts; age-parse-prefix wants that too";
const NO_ORIGIN: &str =
    "the origin hangs up, and the check wants a field that only its answer could have; we answer 502";

#[tokio::test]
async fn all_that_is_required_or_optimal_holds_but_what_is_listed() -> Result<()> {
    let suite = Suite::install().await?;
    let checks = suite.checks().await?;
    let site = Site::new(&[])?;
    let (_process, origin) = suite.origin(&site.path("origin.log")).await?;
    site.write("site.yaml", &before(origin))?;
    let mut up = site.up(NO_MORE).await?;
    up.wait_status("localhost", "/", "", 200).await?;
    let all: Vec<_> = checks.iter().map(|check| check.id.as_str()).collect();
    let results = suite.run(up.front, &all).await?;
    let again = unexpected(&checks, &results);
    eprintln!("asked once more: {again:?}");
    let results = results.amended(suite.run(up.front, &again).await?);
    let outcomes = results.outcomes(&checks);

    let mut wrong = Vec::new();
    for check in checks.iter().filter(|check| check.kind != Kind::Check) {
        let outcome = outcomes[&check.id];
        let listed = EXCEPTIONS.iter().any(|(id, _)| *id == check.id);
        if (outcome == Outcome::Pass) == listed {
            wrong.push(format!("{} is {outcome}: {}", check.id, results.detail(&check.id)));
        }
    }
    assert!(
        wrong.is_empty(),
        "of what is required or optimal:\n{}",
        wrong.join("\n")
    );
    let unknown = EXCEPTIONS.iter().filter(|(id, _)| !outcomes.contains_key(*id));
    assert_eq!(unknown.count(), 0, "what is listed is there");
    compare(&table(&checks, &outcomes));
    assert!(up.stop().await?.success());
    Ok(())
}

/// Checks that did not come to what the golden file says. The suite counts in real seconds: where the machine stalled for
/// one of them, a fresh answer was stale. What is wrong with the cache is wrong the second time, when little else runs.
fn unexpected<'a>(checks: &'a [Check], results: &Results) -> Vec<&'a str> {
    let golden = golden();
    let outcomes = results.outcomes(checks);
    let differs = |check: &&Check| !golden.contains(&line(check, outcomes[&check.id]));
    let differing = checks.iter().filter(differs);
    let differing = differing.inspect(|check| eprintln!("{}: {}", check.id, results.detail(&check.id)));
    differing.map(|check| check.id.as_str()).collect()
}

fn before(origin: std::net::SocketAddr) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: site}}\nspec:\n  \
         hostnames: [localhost]\n  origin: {{urls: [\"http://{origin}\"]}}\n"
    )
}

/// One line for each check, in the order of the suite.
fn table(checks: &[Check], outcomes: &BTreeMap<String, Outcome>) -> String {
    let mut text = String::new();
    for kind in [Kind::Required, Kind::Optimal, Kind::Check] {
        let of_kind = || checks.iter().filter(move |check| check.kind == kind);
        let holds = of_kind().filter(|check| outcomes[&check.id].holds()).count();
        let _ = writeln!(text, "# {kind}: {holds} of {}", of_kind().count());
    }
    for check in checks {
        text.push_str(&line(check, outcomes[&check.id]));
        text.push('\n');
    }
    text
}

fn line(Check { group, id, kind, .. }: &Check, outcome: Outcome) -> String {
    let listed = EXCEPTIONS.iter().find(|(listed, _)| listed == id);
    let reason = listed.map_or_else(String::new, |(_, reason)| format!("  # {reason}"));
    format!("{group} {kind} {outcome} {id}{reason}")
}

fn golden() -> Vec<String> {
    let golden = std::fs::read_to_string(root().join(GOLDEN)).unwrap_or_default();
    golden.lines().map(str::to_owned).collect()
}

fn compare(found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = root().join(GOLDEN);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).expect("the directory can be made");
        }
        std::fs::write(&path, found).expect("the golden file can be written");
    }
    let golden = golden();
    let found: Vec<_> = found.lines().map(str::to_owned).collect();
    let gone = golden
        .iter()
        .filter(|line| !found.contains(line))
        .map(|line| format!("- {line}"));
    let new = found
        .iter()
        .filter(|line| !golden.contains(line))
        .map(|line| format!("+ {line}"));
    let differences: Vec<_> = gone.chain(new).collect();
    assert!(
        differences.is_empty(),
        "{GOLDEN} says otherwise:\n{}",
        differences.join("\n")
    );
}
