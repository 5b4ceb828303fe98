//! The design's budgets held against a run.
//!
//! Invariant: a verdict other than "within noise" is that of every round.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::load::Run;
use crate::measure::Row;

/// The least, the median and the largest figure of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// The least.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// The largest.
    pub high: f64,
}

impl Range {
    /// That of these figures; none when there are none.
    #[must_use]
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let upper = *figures.get(figures.len() / 2)?;
        let median = if figures.len() % 2 == 1 {
            upper
        } else {
            f64::midpoint(*figures.get(figures.len() / 2 - 1)?, upper)
        };
        let (low, high) = (*figures.first()?, *figures.last()?);
        Some(Self { low, median, high })
    }
}

/// CPU per request of `server` over that of `peer`, round by round: both sides of a ratio ran seconds apart, so what
/// else the machine did weighs on both.
pub(super) fn ratio(row: &Row<Run>, server: &str, peer: &str) -> Option<Range> {
    best_ratio(row, server, &[peer])
}

/// CPU per request of `server` over that of the peer which was the cheapest in the same round.
fn best_ratio(row: &Row<Run>, server: &str, peers: &[&str]) -> Option<Range> {
    let ours = row.figures.get(server)?;
    let ratios = ours.iter().enumerate().filter_map(|(round, run)| {
        let theirs = peers.iter().filter_map(|peer| row.figures.get(peer)?.get(round));
        let best = theirs.map(|run| run.cpu_us).reduce(f64::min)?;
        Some(run.cpu_us / best)
    });
    Range::of(ratios.collect())
}

/// What a budget said once it was held against the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every round is within it.
    Held,
    /// Some rounds are within it and some are not: this run cannot tell. The median is within it.
    HeldWithinNoise,
    /// Some rounds are within it and some are not: this run cannot tell. The median is over it.
    MissedWithinNoise,
    /// Every round is over it.
    Missed,
    /// One side is missing.
    NotMeasured,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "held",
            Self::HeldWithinNoise => "within noise, the median holds",
            Self::MissedWithinNoise => "within noise, the median does not hold",
            Self::Missed => "**missed**",
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
    /// The rounds' values, when they were measured.
    pub measured: Option<Range>,
    /// How they compare.
    pub verdict: Verdict,
}

impl Budget {
    /// Holds `measured` against `limit`.
    #[must_use]
    pub fn new(what: impl Into<String>, limit: f64, measured: Option<Range>) -> Self {
        let verdict = match measured {
            None => Verdict::NotMeasured,
            Some(range) if range.high <= limit => Verdict::Held,
            Some(range) if range.low > limit => Verdict::Missed,
            Some(range) if range.median <= limit => Verdict::HeldWithinNoise,
            Some(_) => Verdict::MissedWithinNoise,
        };
        Self {
            what: what.into(),
            limit,
            measured,
            verdict,
        }
    }

    /// A line of a table.
    pub(crate) fn write(&self, out: &mut String) -> fmt::Result {
        let cells = self.measured.map_or_else(
            || "- | -".to_owned(),
            |Range { low, median, high }| format!("{median:.2} | {low:.2} to {high:.2}"),
        );
        writeln!(
            out,
            "| {} | <= {:.2} | {cells} | {} |",
            self.what, self.limit, self.verdict
        )
    }
}

/// The budgets of docs/architecture.md that this bench measures; rows in the order of [`crate::measure::WORKLOADS`] and
/// [`crate::measure::IDLE`].
#[must_use]
pub fn budgets(rows: &[Row<Run>], idle: &[Row<f64>]) -> Vec<Budget> {
    const PEERS: [&str; 5] = ["nginx", "nginx-tuned", "haproxy", "varnish", "ats"];
    let against = |row: usize, peers: &[&str]| best_ratio(rows.get(row)?, "breakwater", peers);
    let memory = |row: usize| -> Option<Range> {
        let bytes = idle.get(row)?.figures.get("breakwater")?;
        Range::of(bytes.iter().map(|bytes| bytes / 1024.0).collect())
    };
    let cpu = |what: &str, limit, row, peers: &[&str]| Budget::new(format!("CPU, {what}"), limit, against(row, peers));
    vec![
        cpu("hit of 1 KiB: breakwater / nginx", 0.58, 0, &["nginx"]),
        cpu("hit of 1 KiB: breakwater / haproxy", 0.70, 0, &["haproxy"]),
        cpu("hit of 1 KiB: breakwater / floor", 1.15, 0, &["floor"]),
        cpu("hit of 100 KiB: breakwater / best peer", 1.0, 1, &PEERS),
        cpu("HTTP/2, 1 stream: breakwater / haproxy", 0.8, 2, &["haproxy"]),
        cpu("HTTP/2, 1 stream: breakwater / nginx", 0.45, 2, &["nginx"]),
        cpu("HTTP/2, 10 streams: breakwater / haproxy", 0.8, 3, &["haproxy"]),
        cpu("HTTP/2, 10 streams: breakwater / nginx", 0.45, 3, &["nginx"]),
        Budget::new("idle in clear text, KiB of RSS", 0.75, memory(0)),
        Budget::new("idle with TLS 1.3, KiB of RSS", 9.0, memory(1)),
        Budget::new("idle HTTP/2 in clear text, KiB of RSS", 3.0, memory(2)),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn runs(figures: &[f64]) -> Vec<Run> {
        let run = |cpu_us: &f64| Run {
            requests: 1,
            rate: 1.0,
            cpu_us: *cpu_us,
            user_us: 0.0,
            busy: 0.0,
        };
        figures.iter().map(run).collect()
    }

    fn row() -> Row<Run> {
        Row {
            name: "x",
            // The machine was busy in the second round: every figure doubled, the ratio did not.
            figures: BTreeMap::from([
                ("breakwater", runs(&[4.0, 8.0, 4.4])),
                ("nginx", runs(&[8.0, 16.0, 8.0])),
                ("haproxy", runs(&[5.0, 16.0, 4.0])),
            ]),
            absent: BTreeMap::new(),
        }
    }

    #[test]
    fn a_ratio_pairs_the_figures_of_one_round() {
        let range = ratio(&row(), "breakwater", "nginx").expect("both are there");
        assert_eq!((range.low, range.median), (0.5, 0.5));
        assert_eq!(ratio(&row(), "breakwater", "floor"), None);
    }

    #[test]
    fn the_best_peer_is_the_cheapest_of_each_round() {
        let range = best_ratio(&row(), "breakwater", &["nginx", "haproxy"]).expect("they are there");
        assert_eq!((range.low, range.median), (0.5, 0.8));
        assert!((range.high - 1.1).abs() < 1e-9, "{range:?}");
    }

    #[test]
    fn a_verdict_is_that_of_every_round_or_noise() {
        let verdict = |figures: &[f64]| Budget::new("x", 1.0, Range::of(figures.to_vec())).verdict;
        assert_eq!(verdict(&[]), Verdict::NotMeasured);
        assert_eq!(verdict(&[0.9, 1.0]), Verdict::Held);
        assert_eq!(verdict(&[0.9, 0.95, 1.1]), Verdict::HeldWithinNoise);
        assert_eq!(verdict(&[0.9, 1.05, 1.1]), Verdict::MissedWithinNoise);
        assert_eq!(verdict(&[1.05, 1.1]), Verdict::Missed);
    }

    #[test]
    fn the_median_ignores_one_wild_round() {
        let range = Range::of(vec![9.0, 90.0, 8.0]).expect("figures");
        assert_eq!((range.low, range.median, range.high), (8.0, 9.0, 90.0));
        assert_eq!(Range::of(vec![1.0, 3.0]).expect("figures").median, 2.0);
    }
}
