//! The figures of a run into tables and verdicts.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::Serialize;

use super::budget::{figures, ratio, row};
use super::load::{CONNECTIONS, CONNECTIONS_LONG, LONGER};
use super::rules::Rules;
use super::{Outcome, Pair, Plan, TWINS, routes};
use crate::load::Run;
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
    /// The rules.
    pub rules: Rules,
    /// How it was run.
    pub plan: Plan,
    /// What was found.
    pub outcome: Outcome,
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

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        text(|out| self.write(out))
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Self {
            machine,
            rules,
            plan,
            outcome,
            ..
        } = self;
        writeln!(out, "# The web application firewall beside libmodsecurity\n")?;
        writeln!(
            out,
            "Written by `bench/run waf`. CPU is what the kernel charged to the server's process tree, divided by completed requests:\n\
             medians over interleaved rounds. The engine's is the difference of the same load with and without rules, seconds apart;\n\
             ratios are taken within a round.\n"
        )?;
        writeln!(out, "- {machine}")?;
        writeln!(out, "- generators: {}", machine.generators)?;
        writeln!(
            out,
            "- rules: OWASP Core Rule Set {} ({}), paranoia level 1, thresholds 5 and 4; request bodies inspected, responses not; audit log to /dev/null",
            rules.version, rules.from
        )?;
        writeln!(
            out,
            "- load: {} rounds of {} s for each load and site; wrk with {CONNECTIONS} connections, for 63 KiB {CONNECTIONS_LONG} and {LONGER} times as long; servers on CPU {}, load and an origin that answers 31 bytes on CPU {}",
            plan.rounds, plan.seconds, plan.server_cpu, plan.load_cpu
        )?;
        write_skipped(out, &self.skipped)?;
        for (what, why) in &outcome.left_out {
            writeln!(out, "- not measured: {what}: {why}")?;
        }
        write_servers(out, &self.servers)?;
        writeln!(
            out,
            "\n## Budgets\n\n| what | budget | measured | of the rounds | verdict |\n|---|---|---|---|---|"
        )?;
        for budget in &self.budgets {
            budget.write(out)?;
        }
        write_differences(out, outcome)?;
        write_pairs(out, outcome)?;
        write_refused(out, &outcome.refused)?;
        write_routes(out, outcome)?;
        write_reloads(out, outcome)
    }
}

fn write_differences(out: &mut String, outcome: &Outcome) -> fmt::Result {
    writeln!(out, "\n## Answers compared\n")?;
    writeln!(
        out,
        "Before anything was timed each server was asked each request: {} attacks are refused by all and are the mix.",
        outcome.attacks
    )?;
    if outcome.differences.is_empty() {
        return writeln!(out, "No request was answered differently.");
    }
    writeln!(out, "\n| request | should be | was |\n|---|---|---|")?;
    for difference in &outcome.differences {
        let statuses = difference.statuses.iter();
        let statuses: Vec<_> = statuses.map(|(server, status)| format!("{server} {status}")).collect();
        writeln!(
            out,
            "| {} | {} | {} |",
            difference.request,
            difference.expected,
            statuses.join(", ")
        )?;
    }
    Ok(())
}

fn write_pairs(out: &mut String, outcome: &Outcome) -> fmt::Result {
    writeln!(out, "\n## CPU for each request, microseconds\n")?;
    writeln!(
        out,
        "| load | bytes | server | without rules | with rules | engine | of the rounds | engine, us/KiB | engine, breakwater / this | requests/s | server busy |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for row in &outcome.pairs {
        let bytes = outcome.bytes.get(row.name).copied().unwrap_or(f64::NAN);
        for (server, pairs) in &row.figures {
            write_pair(out, row, server, pairs, bytes)?;
        }
        for (server, why) in &row.absent {
            writeln!(
                out,
                "| {} | {bytes:.0} | {server} | - | - | - | {} | - | - | - | - |",
                row.name,
                cell(why)
            )?;
        }
    }
    if let Some((attacks, twins)) = row(&outcome.pairs, super::ATTACKS).zip(row(&outcome.pairs, TWINS)) {
        let both = figures(attacks, "nginx").zip(figures(twins, "nginx"));
        if let Some(range) = both.and_then(ratio) {
            writeln!(
                out,
                "\nAttack mix / its harmless twins, by byte, of libmodsecurity: {:.2} ({:.2} to {:.2}).",
                range.median, range.low, range.high
            )?;
        }
    }
    Ok(())
}

fn write_pair(out: &mut String, row: &Row<Pair>, server: &str, pairs: &[Pair], bytes: f64) -> fmt::Result {
    let range = |figure: fn(&Pair) -> f64| Range::of(pairs.iter().map(figure).collect());
    let (Some(without), Some(with), Some(engine), Some(rate), Some(busy)) = (
        range(|pair| pair.without.cpu_us),
        range(|pair| pair.with.cpu_us),
        range(Pair::engine_us),
        range(|pair| pair.with.rate),
        range(|pair| pair.with.busy * 100.0),
    ) else {
        return Ok(());
    };
    let both = figures(row, "breakwater").zip(figures(row, server));
    let part = both
        .and_then(ratio)
        .map_or_else(|| "-".to_owned(), |range| format!("{:.3}", range.median));
    writeln!(
        out,
        "| {} | {bytes:.0} | {server} | {:.1} | {:.1} | {:.1} | {:.1} to {:.1} | {:.1} | {part} | {:.0} | {:.0} % |",
        row.name,
        without.median,
        with.median,
        engine.median,
        engine.low,
        engine.high,
        engine.median * 1024.0 / bytes,
        rate.median,
        busy.median
    )
}

fn write_refused(out: &mut String, row: &Row<Run>) -> fmt::Result {
    writeln!(
        out,
        "\n## Attacks that are refused\n\nThe whole request: a refused one never gets to the origin.\n\n\
         | server | CPU us/request | of the rounds | breakwater / this | requests/s |\n|---|---|---|---|---|"
    )?;
    let cpu =
        |server: &str| -> Option<Vec<f64>> { Some(row.figures.get(server)?.iter().map(|run| run.cpu_us).collect()) };
    for (server, runs) in &row.figures {
        let rate = Range::of(runs.iter().map(|run| run.rate).collect());
        let (Some(range), Some(rate)) = (cpu(server).and_then(Range::of), rate) else {
            continue;
        };
        let part = cpu("breakwater")
            .zip(cpu(server))
            .and_then(ratio)
            .map_or_else(|| "-".to_owned(), |range| format!("{:.3}", range.median));
        writeln!(
            out,
            "| {server} | {:.1} | {:.1} to {:.1} | {part} | {:.0} |",
            range.median, range.low, range.high, rate.median
        )?;
    }
    for (server, why) in &row.absent {
        writeln!(out, "| {server} | - | {} | - | - |", cell(why))?;
    }
    Ok(())
}

fn write_routes(out: &mut String, outcome: &Outcome) -> fmt::Result {
    writeln!(
        out,
        "\n## Memory by number of routes, MiB\n\nEach route has the same rules and an exclusion of its own.\n\n\
         | server | {} | KiB for one more |\n|---|---|---|---|---|---|",
        routes::ROUTES.map(|routes| routes.to_string()).join(" | ")
    )?;
    for (server, rounds) in &outcome.routes.figures {
        let cells = routes::ROUTES.map(|routes| {
            let of = rounds.iter().flatten().filter(|memory| memory.routes == routes);
            let range = Range::of(of.map(|memory| memory.mib).collect());
            range.map_or_else(|| "-".to_owned(), |range| format!("{:.1}", range.median))
        });
        let slopes = rounds.iter().filter_map(|figures| routes::slope(figures)).collect();
        let slope = Range::of(slopes).map_or_else(|| "-".to_owned(), |range| format!("{:.0}", range.median));
        writeln!(out, "| {server} | {} | {slope} |", cells.join(" | "))?;
    }
    for (server, why) in &outcome.routes.absent {
        writeln!(out, "| {server} | {} | - | - | - | - |", cell(why))?;
    }
    Ok(())
}

fn write_reloads(out: &mut String, outcome: &Outcome) -> fmt::Result {
    writeln!(
        out,
        "\n## Starts and changes\n\nA change is another value in a rule of ours, and SIGHUP; it is in force when a request was refused by it. All rules are compiled again.\n\n\
         | server | start to rules in force, ms | change to rules in force, ms: least | median | most | CPU ms | changes made | MiB after a tenth | at the end | KiB left behind by one |\n\
         |---|---|---|---|---|---|---|---|---|---|"
    )?;
    for (server, figures) in &outcome.reloads.figures {
        for reloads in figures {
            writeln!(
                out,
                "| {server} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {} of {} | {:.1} | {:.1} | {:.2} |",
                reloads.start_ms.median,
                reloads.reload_ms.low,
                reloads.reload_ms.median,
                reloads.reload_ms.high,
                reloads.cpu_ms,
                reloads.made,
                reloads.planned,
                reloads.mib.0,
                reloads.mib.1,
                reloads.leak_kib
            )?;
        }
    }
    for (server, why) in &outcome.reloads.absent {
        writeln!(out, "| {server} | {} | - | - | - | - | - | - | - | - |", cell(why))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::budget::{budgets, tests::outcome};
    use super::super::routes::Memory;
    use super::super::{ATTACKS, Difference, SMALL};
    use super::*;

    fn report(outcome: Outcome) -> Report {
        Report {
            machine: Machine {
                cpu: "x".to_owned(),
                cpus: 2,
                kernel: "6".to_owned(),
                load_before: 0.0,
                commit: "abc".to_owned(),
                generators: "wrk".to_owned(),
            },
            servers: BTreeMap::new(),
            rules: Rules {
                version: "4.28.0".to_owned(),
                from: "--crs",
                directory: PathBuf::new(),
                setup: PathBuf::new(),
            },
            plan: Plan::new(true, 0, 1),
            budgets: budgets(&outcome),
            outcome,
            skipped: BTreeMap::from([("nginx", "no module".to_owned())]),
        }
    }

    #[test]
    fn a_row_has_the_engine_alone_and_its_part_of_the_peer() {
        let mut outcome = outcome(&[(SMALL, "breakwater", 90.0), (SMALL, "nginx", 900.0)]);
        outcome.bytes.insert(SMALL, 512.0);
        let text = report(outcome).markdown();
        assert!(
            text.contains("| small GET | 512 | breakwater | 30.0 | 120.0 | 90.0 | 90.0 to 90.0 | 180.0 | 1.000 |"),
            "{text}"
        );
        assert!(
            text.contains("| nginx | 30.0 | 930.0 | 900.0 | 900.0 to 900.0 | 1800.0 | 0.100 |"),
            "{text}"
        );
    }

    #[test]
    fn what_is_missing_is_named_and_is_no_missed_budget() {
        let mut outcome = outcome(&[(SMALL, "breakwater", 90.0)]);
        outcome.refused.absent.insert("nginx", "it said | nothing".to_owned());
        outcome
            .left_out
            .insert("nginx, 64 routes".to_owned(), "too little memory".to_owned());
        let report = report(outcome);
        let text = report.markdown();
        for said in [
            "**nginx is not in this run: no module**",
            "- not measured: nginx, 64 routes: too little memory",
            "| nginx | - | it said \\| nothing | - | - |",
            "OWASP Core Rule Set 4.28.0 (--crs)",
            "No request was answered differently.",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!report.missed());
    }

    #[test]
    fn a_request_that_is_answered_differently_is_listed() {
        let mut outcome = outcome(&[(ATTACKS, "nginx", 150.0), (TWINS, "nginx", 100.0)]);
        outcome.differences.push(Difference {
            request: "scanner",
            expected: 403,
            statuses: BTreeMap::from([("breakwater", 403), ("nginx", 200)]),
        });
        let memory = |routes, mib| Memory { routes, mib };
        let rounds = vec![vec![memory(1, 50.0), memory(4, 80.0)]];
        outcome.routes.figures.insert("nginx", rounds);
        let text = report(outcome).markdown();
        assert!(text.contains("| scanner | 403 | breakwater 403, nginx 200 |"), "{text}");
        assert!(text.contains("of libmodsecurity: 1.50 (1.50 to 1.50)"), "{text}");
        assert!(text.contains("| nginx | 50.0 | 80.0 | - | - | 10240 |"), "{text}");
    }
}
