//! The figures of a zipf run into a table and verdicts.
//!
//! Verdicts are on what goes to the origin and on CPU, each as a part of the peer's in the same round: at most 1.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::Serialize;

use super::{Figure, Plan, Workload};
use crate::hitrate::trace::EXPONENT;
use crate::machine::Machine;
use crate::measure::Row;
use crate::report::{Budget, Range, cell, is_any_missed, text, write_servers, write_skipped};

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where and on which commit.
    pub machine: Machine,
    /// Server name to the version it states and its settings.
    pub servers: BTreeMap<&'static str, (String, &'static str)>,
    /// How it was run.
    pub plan: Plan,
    /// What was asked for.
    pub workload: Workload,
    /// Every server's rounds.
    pub row: Row<Figure>,
    /// Breakwater beside each peer.
    pub budgets: Vec<Budget>,
    /// Servers left out: name and reason.
    pub skipped: BTreeMap<&'static str, String>,
}

/// The peers that Breakwater has to beat.
const PEERS: [&str; 2] = ["nginx", "varnish"];

/// Breakwater's part of what the peers take, round by round. Of memory nothing is said when files are on a disk: what the
/// kernel keeps of them is in nobody's figure.
#[must_use]
pub fn budgets(row: &Row<Figure>, plan: &Plan) -> Vec<Budget> {
    let mut all = Vec::new();
    for peer in PEERS {
        let mut add = |what: &str, of: fn(&Figure) -> f64| {
            let ratio = ratio(row, peer, of);
            all.push(Budget::new(format!("{what}: breakwater / {peer}"), 1.0, ratio));
        };
        add("requests at the origin", |figure| 1.0 - figure.hits);
        add("bytes from the origin", |figure| 1.0 - figure.byte_hits);
        add("CPU per request", |figure| figure.cpu_us);
        if plan.disk.is_none() {
            add("memory", |figure| figure.memory);
        }
    }
    all
}

fn ratio(row: &Row<Figure>, peer: &str, of: fn(&Figure) -> f64) -> Option<Range> {
    let (ours, theirs) = (row.figures.get("breakwater")?, row.figures.get(peer)?);
    Range::of(ours.iter().zip(theirs).map(|(a, b)| of(a) / of(b)).collect())
}

impl Report {
    /// Whether Breakwater was worse than a peer.
    #[must_use]
    pub fn missed(&self) -> bool {
        is_any_missed(&self.budgets)
    }

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        text(|out| self.write(out))
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Self {
            machine,
            plan,
            workload,
            ..
        } = self;
        let mib = |bytes: u64| bytes >> 20;
        writeln!(out, "# A working set larger than memory\n")?;
        writeln!(
            out,
            "Written by `bench/run zipf`. A hit is a request that the origin was not asked for; CPU is what the kernel charged to the\n\
             server's process tree, divided by requests; memory is the proportional set size of its processes and its files that lie\n\
             in memory. Medians over interleaved rounds, ratios taken within a round.\n"
        )?;
        writeln!(out, "- {machine}")?;
        writeln!(
            out,
            "- {} objects of {} MiB together, 1 KiB to 1 MiB (lognormal, median 8 KiB, sigma 1.4), Zipf with exponent {EXPONENT}",
            plan.objects,
            mib(workload.catalogue)
        )?;
        writeln!(
            out,
            "- {} requests to warm up, then {} rounds of {}, on {} connections; the measured ones ask for {} MiB of different objects",
            plan.warm,
            plan.rounds,
            plan.requests,
            super::CONNECTIONS,
            mib(workload.asked)
        )?;
        let disk = plan
            .disk
            .map_or_else(String::new, |disk| format!(", {disk} MiB of disk"));
        writeln!(out, "- for each cache: {} MiB of memory{disk}, one CPU", plan.memory)?;
        writeln!(
            out,
            "- **a cache without a limit answers {:.1} % of the measured requests, {:.1} % of the bytes**",
            workload.limit * 100.0,
            workload.byte_limit * 100.0
        )?;
        write_skipped(out, &self.skipped)?;
        writeln!(
            out,
            "\n| server | hits, % of requests | of the rounds | % of bytes | CPU us/request | of it user | of the rounds | breakwater / this | requests/s | server busy | MiB of memory | most |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        for (server, figures) in &self.row.figures {
            self.write_server(out, server, figures)?;
        }
        for (server, why) in &self.row.absent {
            writeln!(
                out,
                "| {server} | - | {} | - | - | - | - | - | - | - | - | - |",
                cell(why)
            )?;
        }
        writeln!(
            out,
            "\n| what | at most | measured | of the rounds | verdict |\n|---|---|---|---|---|"
        )?;
        for budget in &self.budgets {
            budget.write(out)?;
        }
        write_servers(out, &self.servers)
    }

    fn write_server(&self, out: &mut String, server: &str, figures: &[Figure]) -> fmt::Result {
        let range = |of: fn(&Figure) -> f64| Range::of(figures.iter().map(of).collect());
        let (Some(hits), Some(bytes), Some(cpu), Some(user)) = (
            range(|figure| figure.hits * 100.0),
            range(|figure| figure.byte_hits * 100.0),
            range(|figure| figure.cpu_us),
            range(|figure| figure.user_us),
        ) else {
            return Ok(());
        };
        let (Some(rate), Some(busy), Some(memory), Some(peak)) = (
            range(|figure| figure.rate),
            range(|figure| figure.busy * 100.0),
            range(|figure| figure.memory),
            range(|figure| figure.peak),
        ) else {
            return Ok(());
        };
        let ratio = ratio(&self.row, server, |figure| figure.cpu_us)
            .map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", ratio.median));
        writeln!(
            out,
            "| {server} | {:.1} | {:.1} to {:.1} | {:.1} | {:.1} | {:.1} | {:.1} to {:.1} | {ratio} | {:.0} | {:.0} % | {:.0} | {:.0} |",
            hits.median,
            hits.low,
            hits.high,
            bytes.median,
            cpu.median,
            user.median,
            cpu.low,
            cpu.high,
            rate.median,
            busy.median,
            memory.median,
            peak.high
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verdict;

    fn figure(hits: f64, cpu_us: f64) -> Figure {
        Figure {
            requests: 1,
            hits,
            byte_hits: hits,
            cpu_us,
            user_us: 1.0,
            rate: 1.0,
            busy: 1.0,
            memory: 100.0,
            peak: 100.0,
        }
    }

    #[test]
    fn fewer_requests_at_the_origin_and_less_cpu_hold_and_the_other_way_round_misses() {
        let mut row = Row::new("zipf");
        for (server, figure) in [
            ("breakwater", figure(0.8, 30.0)),
            ("nginx", figure(0.6, 60.0)),
            ("varnish", figure(0.9, 15.0)),
        ] {
            row.add(server, Ok(figure));
        }
        let plan = Plan::new(true, 0, 1);
        let budgets = budgets(&row, &plan);
        let verdict = |what: &str| {
            let budget = budgets.iter().find(|budget| budget.what == what).expect("it is there");
            (
                budget.verdict,
                budget.measured.map(|range| (range.median * 100.0).round()),
            )
        };
        let origin = "requests at the origin: breakwater /";
        assert_eq!(verdict(&format!("{origin} nginx")), (Verdict::Held, Some(50.0)));
        assert_eq!(verdict(&format!("{origin} varnish")), (Verdict::Missed, Some(200.0)));
        assert_eq!(
            verdict("CPU per request: breakwater / nginx"),
            (Verdict::Held, Some(50.0))
        );
        assert_eq!(
            verdict("CPU per request: breakwater / varnish"),
            (Verdict::Missed, Some(200.0))
        );
        row.figures.remove("nginx");
        assert!(
            super::budgets(&row, &plan)
                .iter()
                .any(|budget| budget.verdict == Verdict::NotMeasured)
        );
    }
}
