//! Figures into a table, ratios and verdicts: for a person (Markdown) and for a program (JSON).
//!
//! Invariant: a budget is `pass` or `miss` only when both sides of its ratio were measured in this run; otherwise it
//! is `not measured`, with the reason.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::Serialize;

use crate::load::Run;
use crate::machine::Machine;

/// One workload: every server's runs.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The row's name.
    pub name: String,
    /// Server name to its runs, one for each round.
    pub runs: BTreeMap<&'static str, Vec<Run>>,
}

impl Row {
    /// The median of one figure over the rounds.
    #[must_use]
    pub fn median(&self, server: &str, figure: impl Fn(&Run) -> f64) -> Option<f64> {
        median(self.runs.get(server)?.iter().map(figure).collect())
    }

    /// CPU per request of `server` over that of `peer`: the median of the rounds' ratios. Both sides of a ratio ran
    /// seconds apart, so what else the machine did weighs on both.
    #[must_use]
    pub fn ratio(&self, server: &str, peer: &str) -> Option<f64> {
        let pairs = self.runs.get(server)?.iter().zip(self.runs.get(peer)?);
        median(pairs.map(|(ours, theirs)| ours.cpu_us / theirs.cpu_us).collect())
    }

    /// The spread of the CPU figure over the rounds: (largest - smallest) / median.
    fn spread(&self, server: &str) -> Option<f64> {
        let figures: Vec<f64> = self.runs.get(server)?.iter().map(|run| run.cpu_us).collect();
        let largest = figures.iter().copied().fold(f64::MIN, f64::max);
        let smallest = figures.iter().copied().fold(f64::MAX, f64::min);
        Some((largest - smallest) / median(figures)?)
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = *figures.get(figures.len() / 2)?;
    if figures.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*figures.get(figures.len() / 2 - 1)?, upper))
}

/// What a budget said once it was held against the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Within the budget.
    Pass,
    /// Over it.
    Miss,
    /// One side is missing.
    NotMeasured,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Miss => "**miss**",
            Self::NotMeasured => "not measured",
        })
    }
}

/// A line of the design's budget table with its measured value.
#[derive(Debug, Clone, Serialize)]
pub struct Budget {
    /// What is bounded.
    pub what: String,
    /// The largest allowed value.
    pub limit: f64,
    /// The value, when it was measured.
    pub measured: Option<f64>,
    /// How they compare.
    pub verdict: Verdict,
}

impl Budget {
    /// Holds `measured` against `limit`.
    #[must_use]
    pub fn new(what: impl Into<String>, limit: f64, measured: Option<f64>) -> Self {
        let verdict = match measured {
            None => Verdict::NotMeasured,
            Some(measured) if measured <= limit => Verdict::Pass,
            Some(_) => Verdict::Miss,
        };
        Self {
            what: what.into(),
            limit,
            measured,
            verdict,
        }
    }
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where and on which commit.
    pub machine: Machine,
    /// Server name to the version it states.
    pub versions: BTreeMap<&'static str, String>,
    /// The settings that matter, by name.
    pub settings: BTreeMap<&'static str, String>,
    /// Request workloads.
    pub rows: Vec<Row>,
    /// Resident bytes per idle keep-alive connection, by server.
    pub idle: BTreeMap<&'static str, f64>,
    /// The budgets.
    pub budgets: Vec<Budget>,
    /// Servers left out: name and reason.
    pub skipped: BTreeMap<&'static str, String>,
}

impl Report {
    /// Whether a budget was missed.
    #[must_use]
    pub fn missed(&self) -> bool {
        self.budgets.iter().any(|budget| budget.verdict == Verdict::Miss)
    }

    /// The report as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _infallible = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let machine = &self.machine;
        writeln!(out, "# Cache hits: Breakwater and its peers in one run\n")?;
        writeln!(
            out,
            "Written by `bench/run`. CPU per request is what the kernel charged to the server's process tree, "
        )?;
        writeln!(
            out,
            "divided by completed requests; medians over interleaved rounds, ratios taken within a round. Requests per second are for orientation.\n"
        )?;
        writeln!(
            out,
            "- commit {}; {}, {} CPUs, Linux {}",
            machine.commit, machine.cpu, machine.cpus, machine.kernel
        )?;
        writeln!(
            out,
            "- load average before the run: {:.2}; {}",
            machine.load_before, machine.wrk
        )?;
        for (name, version) in &self.versions {
            writeln!(out, "- {name}: {version}")?;
        }
        for (name, value) in &self.settings {
            writeln!(out, "- {name}: {value}")?;
        }
        for (name, reason) in &self.skipped {
            writeln!(out, "- **{name} is not in this run: {reason}**")?;
        }
        for row in &self.rows {
            self.write_row(out, row)?;
        }
        writeln!(
            out,
            "\n## Idle keep-alive connection\n\n| server | RSS bytes per connection |\n|---|---|"
        )?;
        for (name, bytes) in &self.idle {
            writeln!(out, "| {name} | {bytes:.0} |")?;
        }
        writeln!(
            out,
            "\n## Budgets\n\n| what | budget | measured | verdict |\n|---|---|---|---|"
        )?;
        for budget in &self.budgets {
            let measured = budget
                .measured
                .map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
            writeln!(
                out,
                "| {} | <= {:.2} | {measured} | {} |",
                budget.what, budget.limit, budget.verdict
            )?;
        }
        Ok(())
    }

    fn write_row(&self, out: &mut String, row: &Row) -> fmt::Result {
        writeln!(out, "\n## {}\n", row.name)?;
        writeln!(
            out,
            "| server | CPU us/request | of it user | spread | breakwater / this | requests/s | server busy |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|")?;
        let cpu = |server| row.median(server, |run| run.cpu_us);
        for server in row.runs.keys() {
            let Some(figure) = cpu(server) else { continue };
            let ratio = row
                .ratio("breakwater", server)
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let user = row.median(server, |run| run.user_us).unwrap_or(f64::NAN);
            let rate = row.median(server, |run| run.rate).unwrap_or(f64::NAN);
            let busy = row.median(server, |run| run.busy * 100.0).unwrap_or(f64::NAN);
            let spread = row.spread(server).unwrap_or(f64::NAN) * 100.0;
            writeln!(
                out,
                "| {server} | {figure:.2} | {user:.2} | {spread:.0} % | {ratio} | {rate:.0} | {busy:.0} % |"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cpu_us: f64) -> Run {
        Run {
            requests: 1,
            rate: 1.0,
            cpu_us,
            user_us: 0.0,
            busy: 0.0,
        }
    }

    #[test]
    fn the_median_ignores_one_wild_round() {
        let row = Row {
            name: "x".to_owned(),
            runs: BTreeMap::from([("nginx", vec![run(9.0), run(90.0), run(8.0)])]),
        };
        assert_eq!(row.median("nginx", |run| run.cpu_us), Some(9.0));
        assert_eq!(row.median("haproxy", |run| run.cpu_us), None);
        assert_eq!(median(vec![1.0, 3.0]), Some(2.0));
    }

    #[test]
    fn a_ratio_pairs_the_figures_of_one_round() {
        // The machine was busy in the second round: every figure doubled, the ratio did not.
        let runs = BTreeMap::from([
            ("breakwater", vec![run(4.0), run(8.0), run(4.4)]),
            ("nginx", vec![run(8.0), run(16.0), run(8.0)]),
        ]);
        let row = Row {
            name: "x".to_owned(),
            runs,
        };
        assert_eq!(row.ratio("breakwater", "nginx"), Some(0.5));
        assert_eq!(row.ratio("breakwater", "haproxy"), None);
    }

    #[test]
    fn a_budget_passes_only_on_a_measured_value() {
        assert_eq!(Budget::new("x", 0.58, None).verdict, Verdict::NotMeasured);
        assert_eq!(Budget::new("x", 0.58, Some(0.58)).verdict, Verdict::Pass);
        assert_eq!(Budget::new("x", 0.58, Some(0.59)).verdict, Verdict::Miss);
    }

    #[test]
    fn a_server_left_out_is_named_in_the_text() {
        let machine = Machine {
            cpu: "x".to_owned(),
            cpus: 2,
            kernel: "6".to_owned(),
            load_before: 0.0,
            commit: "abc".to_owned(),
            wrk: "wrk".to_owned(),
        };
        let report = Report {
            machine,
            versions: BTreeMap::new(),
            settings: BTreeMap::new(),
            rows: Vec::new(),
            idle: BTreeMap::new(),
            budgets: vec![Budget::new("hit / nginx", 0.58, None)],
            skipped: BTreeMap::from([("breakwater", "no binary".to_owned())]),
        };
        let text = report.markdown();
        assert!(text.contains("**breakwater is not in this run: no binary**"), "{text}");
        assert!(text.contains("| hit / nginx | <= 0.58 | - | not measured |"), "{text}");
        assert!(!report.missed());
    }
}
