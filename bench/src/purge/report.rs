//! The figures of a purge run into a table and a verdict.

use std::fmt::{self, Write};

use serde::Serialize;

use super::{Figure, Plan};
use crate::machine::Machine;
use crate::report::{Budget, Range, Verdict, text};

/// What a purge of all may take, as a part of what one of a single response takes: the same, but for what else a busy
/// machine does within some hundred microseconds.
const LIMIT: f64 = 1.5;

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where and on which commit.
    pub machine: Machine,
    /// The version measured.
    pub version: String,
    /// How it was run.
    pub plan: Plan,
    /// The rounds.
    pub rounds: Vec<Figure>,
    /// All beside one.
    pub budget: Budget,
}

impl Report {
    /// A report of these rounds.
    #[must_use]
    pub fn new(machine: Machine, version: String, plan: Plan, rounds: Vec<Figure>) -> Self {
        let ratios = rounds.iter().map(|round| round.all / round.one).collect();
        let what = format!("time of a purge by tag: {} responses / one", plan.objects);
        Self {
            machine,
            version,
            plan,
            rounds,
            budget: Budget::new(what, LIMIT, Range::of(ratios)),
        }
    }

    /// Whether the purge of all took longer in every round.
    #[must_use]
    pub fn missed(&self) -> bool {
        self.budget.verdict == Verdict::Missed
    }

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        text(|out| self.write(out))
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Self { machine, plan, .. } = self;
        writeln!(out, "# Purging by tag\n")?;
        writeln!(
            out,
            "Written by `bench/run purge`. From the request to the admin port to its answer, by which time nothing of it is served.\n"
        )?;
        writeln!(out, "- {machine}")?;
        writeln!(out, "- {}", self.version)?;
        writeln!(
            out,
            "- {} rounds; in each {} responses with {} tags in common are stored, {} single ones are purged, then all by each of those tags; \
             the origin is asked for all of them again",
            plan.rounds,
            plan.objects,
            super::ALL,
            plan.singles
        )?;
        writeln!(out, "\n| purge by tag of | us | of the rounds |\n|---|---|---|")?;
        let mut line = |what: String, of: fn(&Figure) -> f64| match Range::of(self.rounds.iter().map(of).collect()) {
            Some(Range { low, median, high }) => writeln!(out, "| {what} | {median:.0} | {low:.0} to {high:.0} |"),
            None => writeln!(out, "| {what} | - | - |"),
        };
        line("one response".to_owned(), |round| round.one)?;
        line(format!("{} responses", plan.objects), |round| round.all)?;
        writeln!(
            out,
            "\n| what | at most | measured | of the rounds | verdict |\n|---|---|---|---|---|"
        )?;
        self.budget.write(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_that_takes_longer_with_more_responses_in_every_round_is_missed() {
        let machine = Machine {
            cpu: "x".to_owned(),
            cpus: 2,
            kernel: "6".to_owned(),
            load_before: 0.0,
            commit: "abc".to_owned(),
            generators: String::new(),
        };
        let report = |all: f64| {
            let round = Figure { one: 100.0, all };
            let plan = Plan::new(false, 0);
            Report::new(machine.clone(), "1".to_owned(), plan, vec![round; 3])
        };
        assert!(!report(110.0).missed());
        assert!(report(200.0).missed());
        assert!(report(110.0).markdown().contains("| 100000 responses | 110 |"));
    }
}
