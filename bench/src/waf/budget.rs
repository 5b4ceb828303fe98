//! The budgets of the web application firewall held against a run.

use super::routes;
use super::{ATTACKS, FORM, LONG, Outcome, Pair, SMALL, TWINS};
use crate::measure::Row;
use crate::report::{Budget, Range};

/// The part of libmodsecurity's CPU that the engine may take.
const OF_LIBMODSECURITY: f64 = 0.1;
/// KiB that a change may leave behind: a thousandth of what the rules take. Less cannot be told from what an allocator
/// does.
const LEAK: f64 = 16.0;

/// All of them, in the order of the design.
#[must_use]
pub fn budgets(outcome: &Outcome) -> Vec<Budget> {
    let engine = |name: &str, server: &str| figures(row(&outcome.pairs, name)?, server);
    let mut all = Vec::new();
    for (name, limit) in [(SMALL, 100.0), (FORM, 180.0), (LONG, 2500.0)] {
        let ours = engine(name, "breakwater").and_then(Range::of);
        all.push(Budget::new(format!("engine, {name}, CPU us"), limit, ours));
    }
    for name in [SMALL, FORM, LONG, ATTACKS] {
        let both = engine(name, "breakwater").zip(engine(name, "nginx"));
        all.push(Budget::new(
            format!("engine, {name}: breakwater / libmodsecurity"),
            OF_LIBMODSECURITY,
            both.and_then(ratio),
        ));
    }
    // Attacks and twins are of one length, so this is the ratio for each byte too.
    let attacks = engine(ATTACKS, "breakwater").zip(engine(TWINS, "breakwater"));
    all.push(Budget::new(
        "engine, attack mix / its harmless twins, by byte",
        1.5,
        attacks.and_then(ratio),
    ));
    let slopes = outcome.routes.figures.get("breakwater").map(|rounds| {
        let slopes = rounds.iter().filter_map(|figures| routes::slope(figures));
        slopes.collect()
    });
    all.push(Budget::new(
        "memory of one more route, KiB",
        100.0,
        slopes.and_then(Range::of),
    ));
    let reloads = outcome.reloads.figures.get("breakwater");
    let reloads = reloads.and_then(|figures| figures.first());
    all.push(Budget::new(
        "change of the rules until it is in force, ms",
        250.0,
        reloads.map(|reloads| reloads.reload_ms),
    ));
    all.push(Budget::new(
        "memory that a change leaves behind, KiB",
        LEAK,
        reloads.and_then(|reloads| Range::of(vec![reloads.leak_kib])),
    ));
    all
}

/// The row of this name.
pub(super) fn row<'a>(rows: &'a [Row<Pair>], name: &str) -> Option<&'a Row<Pair>> {
    rows.iter().find(|row| row.name == name)
}

/// What the engine of a server took, round by round.
pub(super) fn figures(row: &Row<Pair>, server: &str) -> Option<Vec<f64>> {
    Some(row.figures.get(server)?.iter().map(Pair::engine_us).collect())
}

/// The one over the other, round by round.
pub(super) fn ratio((ours, theirs): (Vec<f64>, Vec<f64>)) -> Option<Range> {
    Range::of(ours.iter().zip(&theirs).map(|(a, b)| a / b).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::super::reload::Reloads;
    use super::super::routes::Memory;
    use super::*;
    use crate::load::Run;
    use crate::report::Verdict;

    fn run(cpu_us: f64) -> Run {
        Run {
            requests: 1,
            rate: 1.0,
            cpu_us,
            user_us: 0.0,
            busy: 1.0,
        }
    }

    /// An outcome in which engines take this, by row and server.
    pub(in super::super) fn outcome(engines: &[(&'static str, &'static str, f64)]) -> Outcome {
        let mut rows: BTreeMap<&'static str, Row<Pair>> = BTreeMap::new();
        for (name, server, us) in engines {
            let pair = Pair {
                without: run(30.0),
                with: run(30.0 + us),
            };
            let row = rows.entry(name).or_insert_with(|| Row::new(name));
            row.figures.insert(server, vec![pair, pair]);
        }
        Outcome {
            pairs: rows.into_values().collect(),
            refused: Row::new("refused"),
            attacks: 20,
            bytes: BTreeMap::new(),
            differences: Vec::new(),
            routes: Row::new("routes"),
            reloads: Row::new("reloads"),
            left_out: BTreeMap::new(),
        }
    }

    fn verdict(outcome: &Outcome, what: &str) -> (Verdict, Option<f64>) {
        let budgets = budgets(outcome);
        let budget = budgets.iter().find(|budget| budget.what == what).expect("it is there");
        (
            budget.verdict,
            budget.measured.map(|range| (range.median * 100.0).round()),
        )
    }

    #[test]
    fn the_engine_is_what_rules_add_and_a_ratio_is_that_of_engines() {
        let outcome = outcome(&[
            (SMALL, "breakwater", 90.0),
            (SMALL, "nginx", 1800.0),
            (FORM, "breakwater", 200.0),
            (FORM, "nginx", 1000.0),
        ]);
        let held = |what: &str| verdict(&outcome, what);
        assert_eq!(held("engine, small GET, CPU us"), (Verdict::Held, Some(9000.0)));
        assert_eq!(
            held("engine, small GET: breakwater / libmodsecurity"),
            (Verdict::Held, Some(5.0))
        );
        let form = "form of nine arguments, 230 B";
        assert_eq!(held(&format!("engine, {form}, CPU us")).0, Verdict::Missed);
        assert_eq!(
            held(&format!("engine, {form}: breakwater / libmodsecurity")),
            (Verdict::Missed, Some(20.0))
        );
        assert_eq!(
            held("engine, form of one argument, 63 KiB, CPU us"),
            (Verdict::NotMeasured, None)
        );
    }

    #[test]
    fn attacks_are_held_against_their_twins() {
        let with = |attacks| outcome(&[(ATTACKS, "breakwater", attacks), (TWINS, "breakwater", 100.0)]);
        let what = "engine, attack mix / its harmless twins, by byte";
        assert_eq!(verdict(&with(140.0), what), (Verdict::Held, Some(140.0)));
        assert_eq!(verdict(&with(160.0), what).0, Verdict::Missed);
    }

    #[test]
    fn routes_and_changes_have_their_budgets() {
        let mut outcome = outcome(&[]);
        let memory = |routes, mib| Memory { routes, mib };
        outcome
            .routes
            .figures
            .insert("breakwater", vec![vec![memory(1, 40.0), memory(65, 45.0)]]);
        let range = |ms| Range::of(vec![ms]).expect("a figure");
        outcome.reloads.figures.insert(
            "breakwater",
            vec![Reloads {
                start_ms: range(300.0),
                reload_ms: range(260.0),
                cpu_ms: 200.0,
                made: 1000,
                planned: 1000,
                mib: (50.0, 50.0),
                leak_kib: -0.5,
            }],
        );
        let held = |what: &str| verdict(&outcome, what);
        assert_eq!(held("memory of one more route, KiB"), (Verdict::Held, Some(8000.0)));
        assert_eq!(held("change of the rules until it is in force, ms").0, Verdict::Missed);
        assert_eq!(held("memory that a change leaves behind, KiB").0, Verdict::Held);
    }
}
