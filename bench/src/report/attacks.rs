//! The tables of what a client waits for while others attack.

use std::fmt::{self, Write};

use super::{Range, cell};
use crate::latency::{Latency, UnderAttack};
use crate::measure::Row;

pub(super) fn write_row(out: &mut String, row: &Row<UnderAttack>) -> fmt::Result {
    writeln!(out, "\n## A client beside {}\n", row.name)?;
    let of = |figure| {
        format!(
            "{figure} us alone | the floor attacked | under attack | ratio to alone | ratio to the floor | of the rounds"
        )
    };
    let (p50, p99) = (of("p50"), of("p99"));
    writeln!(out, "| server | {p50} | {p99} | requests failed | attackers cut |")?;
    writeln!(out, "|{}", "---|".repeat(15))?;
    for (server, figures) in &row.figures {
        let failed: usize = figures.iter().map(|figure| figure.attacked.failed).sum();
        let cut: u64 = figures.iter().map(|figure| figure.ended).sum();
        let (Some(p50), Some(p99)) = (cells(figures, |l| l.p50_us), cells(figures, |l| l.p99_us)) else {
            continue;
        };
        writeln!(out, "| {server} | {p50} | {p99} | {failed} | {cut} |")?;
    }
    for (server, why) in &row.absent {
        writeln!(out, "| {server} | {} |{}", cell(why), " - |".repeat(13))?;
    }
    Ok(())
}

/// A figure alone, while the floor is attacked, and under attack; the ratios are those of the same round.
fn cells(figures: &[UnderAttack], of: fn(&Latency) -> f64) -> Option<String> {
    let range = |each: &dyn Fn(&UnderAttack) -> f64| Range::of(figures.iter().map(each).collect());
    let alone = range(&|figure| of(&figure.alone))?;
    let beside = range(&|figure| of(&figure.beside))?;
    let attacked = range(&|figure| of(&figure.attacked))?;
    let to_alone = range(&|figure| of(&figure.attacked) / of(&figure.alone))?;
    let to_beside = range(&|figure| of(&figure.attacked) / of(&figure.beside))?;
    Some(format!(
        "{:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} to {:.2}",
        alone.median, beside.median, attacked.median, to_alone.median, to_beside.median, to_beside.low, to_beside.high
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
            beside: latency(alone * 2.0),
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
            text.contains("| us | 80 | 160 | 100 | 1.10 | 0.55 | 0.50 to 1.00 | 800 | 1600 | 1000 | 1.10 | 0.55 | 0.50 to 1.00 | 0 | 6 |"),
            "{text}"
        );
        assert!(text.contains("it has no HTTP/2"), "{text}");
    }
}
