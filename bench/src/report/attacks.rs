//! The tables of what a client waits for while others attack.

use std::fmt::{self, Write};

use super::{Range, cell};
use crate::latency::{Latency, UnderAttack};
use crate::measure::Row;

pub(super) fn write_row(out: &mut String, row: &Row<UnderAttack>) -> fmt::Result {
    writeln!(out, "\n## A client beside {}\n", row.name)?;
    writeln!(
        out,
        "| server | p50 us alone | under attack | ratio | of the rounds | p99 us alone | under attack | ratio | of the rounds | requests failed | attackers cut |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|")?;
    for (server, figures) in &row.figures {
        let failed: usize = figures.iter().map(|figure| figure.attacked.failed).sum();
        let cut: u64 = figures.iter().map(|figure| figure.ended).sum();
        let (Some(p50), Some(p99)) = (cells(figures, |l| l.p50_us), cells(figures, |l| l.p99_us)) else {
            continue;
        };
        writeln!(out, "| {server} | {p50} | {p99} | {failed} | {cut} |")?;
    }
    for (server, why) in &row.absent {
        writeln!(out, "| {server} | - | - | - | {} | - | - | - | - | - | - |", cell(why))?;
    }
    Ok(())
}

/// A figure alone and under attack, and the ratio of the two in the same round.
fn cells(figures: &[UnderAttack], of: fn(&Latency) -> f64) -> Option<String> {
    let range = |each: &dyn Fn(&UnderAttack) -> f64| Range::of(figures.iter().map(each).collect());
    let alone = range(&|figure| of(&figure.alone))?;
    let attacked = range(&|figure| of(&figure.attacked))?;
    let ratio = range(&|figure| of(&figure.attacked) / of(&figure.alone))?;
    Some(format!(
        "{:.0} | {:.0} | {:.2} | {:.2} to {:.2}",
        alone.median, attacked.median, ratio.median, ratio.low, ratio.high
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_the_rounds_and_not_of_the_medians() {
        let latency = |us| Latency {
            p50_us: us,
            p99_us: us * 10.0,
            answered: 1,
            failed: 0,
        };
        let round = |alone, attacked| UnderAttack {
            alone: latency(alone),
            attacked: latency(attacked),
            ended: 2,
        };
        let mut row = Row {
            name: "attackers",
            figures: std::collections::BTreeMap::new(),
            absent: std::collections::BTreeMap::from([("varnish", "it has no HTTP/2".to_owned())]),
        };
        row.figures
            .insert("us", vec![round(100.0, 110.0), round(50.0, 100.0), round(80.0, 80.0)]);
        let mut text = String::new();
        write_row(&mut text, &row).expect("a String");
        assert!(
            text.contains("| us | 80 | 100 | 1.10 | 1.00 to 2.00 | 800 | 1000 | 1.10 | 1.00 to 2.00 | 0 | 6 |"),
            "{text}"
        );
        assert!(text.contains("it has no HTTP/2"), "{text}");
    }
}
