//! Figures into tables and verdicts: for a person (Markdown) and for a program (JSON).
//!
//! Invariant: a budget has a verdict only when both sides of its ratio were measured in this run, and "held" or "missed"
//! only when every round says so; else it is within the noise of this run.

mod attacks;
mod budget;

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::Serialize;

pub use budget::{Budget, Range, Verdict, budgets};

use crate::latency::UnderAttack;
use crate::load::Run;
use crate::machine::Machine;
use crate::measure::Row;

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where and on which commit.
    pub machine: Machine,
    /// Server name to the version it states and its settings.
    pub servers: BTreeMap<&'static str, (String, &'static str)>,
    /// The settings of the run, by name.
    pub settings: BTreeMap<&'static str, String>,
    /// Request workloads.
    pub rows: Vec<Row<Run>>,
    /// Resident bytes per idle connection.
    pub idle: Vec<Row<f64>>,
    /// What a client waits for while others attack.
    pub attacks: Vec<Row<UnderAttack>>,
    /// The budgets.
    pub budgets: Vec<Budget>,
    /// Servers left out: name and reason.
    pub skipped: BTreeMap<&'static str, String>,
}

impl Report {
    /// Whether a budget was missed.
    #[must_use]
    pub fn missed(&self) -> bool {
        is_any_missed(&self.budgets)
    }

    /// The report as Markdown; `plot` is the file beside it.
    #[must_use]
    pub fn markdown(&self, plot: &str) -> String {
        text(|out| self.write(out, plot))
    }

    fn write(&self, out: &mut String, plot: &str) -> fmt::Result {
        let machine = &self.machine;
        writeln!(out, "# Breakwater and its peers in one run\n")?;
        writeln!(
            out,
            "Written by `bench/run`. CPU is what the kernel charged to the server's process tree, divided by completed\n\
             requests: medians over interleaved rounds, ratios taken within a round. Requests per second are for orientation.\n"
        )?;
        writeln!(out, "- {machine}")?;
        writeln!(out, "- generators: {}", machine.generators)?;
        for (name, value) in &self.settings {
            writeln!(out, "- {name}: {value}")?;
        }
        write_skipped(out, &self.skipped)?;
        write_servers(out, &self.servers)?;
        for row in &self.attacks {
            attacks::write_row(out, row)?;
        }
        if self.rows.is_empty() && self.idle.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\n## Budgets\n\n| what | budget | measured | of the rounds | verdict |\n|---|---|---|---|---|"
        )?;
        for budget in &self.budgets {
            budget.write(out)?;
        }
        writeln!(out, "\n![CPU per request and memory per idle connection]({plot})")?;
        for row in &self.rows {
            write_row(out, row)?;
        }
        for row in &self.idle {
            writeln!(
                out,
                "\n## Idle connection, {}\n\n| server | RSS bytes per connection | of the rounds |\n|---|---|---|",
                row.name
            )?;
            for (name, figures) in &row.figures {
                let Some(Range { low, median, high }) = Range::of(figures.clone()) else {
                    continue;
                };
                writeln!(out, "| {name} | {median:.0} | {low:.0} to {high:.0} |")?;
            }
            for (name, why) in &row.absent {
                writeln!(out, "| {name} | - | {} |", cell(why))?;
            }
        }
        Ok(())
    }
}

/// What `write` writes.
pub(crate) fn text(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write(&mut text);
    text
}

/// Whether one of these was missed.
pub(crate) fn is_any_missed(budgets: &[Budget]) -> bool {
    budgets.iter().any(|budget| budget.verdict == Verdict::Missed)
}

/// Servers left out, by name, with the reason.
pub(crate) fn write_skipped(out: &mut String, skipped: &BTreeMap<&'static str, String>) -> fmt::Result {
    for (name, reason) in skipped {
        writeln!(out, "- **{name} is not in this run: {reason}**")?;
    }
    Ok(())
}

/// What each server says it is, and how it was set.
pub(crate) fn write_servers(out: &mut String, servers: &BTreeMap<&'static str, (String, &'static str)>) -> fmt::Result {
    writeln!(out, "\n| server | version | settings |\n|---|---|---|")?;
    for (name, (version, settings)) in servers {
        writeln!(out, "| {name} | {version} | {settings} |")?;
    }
    Ok(())
}

fn write_row(out: &mut String, row: &Row<Run>) -> fmt::Result {
    writeln!(out, "\n## {}\n", row.name)?;
    writeln!(
        out,
        "| server | CPU us/request | of it user | of the rounds | breakwater / this | requests per CPU second | requests/s | server busy |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for (server, runs) in &row.figures {
        let range = |figure: fn(&Run) -> f64| Range::of(runs.iter().map(figure).collect());
        let (Some(cpu), Some(user), Some(rate), Some(busy)) = (
            range(|run| run.cpu_us),
            range(|run| run.user_us),
            range(|run| run.rate),
            range(|run| run.busy * 100.0),
        ) else {
            continue;
        };
        let ratio = budget::ratio(row, "breakwater", server)
            .map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", ratio.median));
        writeln!(
            out,
            "| {server} | {:.2} | {:.2} | {:.2} to {:.2} | {ratio} | {:.0} | {:.0} | {:.0} % |",
            cpu.median,
            user.median,
            cpu.low,
            cpu.high,
            1e6 / cpu.median,
            rate.median,
            busy.median
        )?;
    }
    for (server, why) in &row.absent {
        writeln!(out, "| {server} | - | - | {} | - | - | - | - |", cell(why))?;
    }
    Ok(())
}

/// Text for a cell of a table: the last line, where programs say what was wrong, not too long.
pub(crate) fn cell(text: &str) -> String {
    let line = text.trim_end().lines().last().unwrap_or_default().replace('|', "\\|");
    line.chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_left_out_is_named_in_the_text_and_so_is_a_row_it_does_not_offer() {
        let machine = Machine {
            cpu: "x".to_owned(),
            cpus: 2,
            kernel: "6".to_owned(),
            load_before: 0.0,
            commit: "abc".to_owned(),
            generators: "wrk".to_owned(),
        };
        let row = Row {
            name: "hit",
            figures: BTreeMap::new(),
            absent: BTreeMap::from([("varnish", "it has no TLS".to_owned())]),
        };
        let report = Report {
            machine,
            servers: BTreeMap::new(),
            settings: BTreeMap::new(),
            budgets: budgets(std::slice::from_ref(&row), &[]),
            rows: vec![row],
            idle: Vec::new(),
            attacks: Vec::new(),
            skipped: BTreeMap::from([("breakwater", "no binary".to_owned())]),
        };
        let text = report.markdown("bench.svg");
        assert!(text.contains("**breakwater is not in this run: no binary**"), "{text}");
        assert!(text.contains("| varnish | - | - | it has no TLS |"), "{text}");
        assert!(text.contains("| - | - | not measured |"), "{text}");
        assert!(!report.missed());
    }
}
