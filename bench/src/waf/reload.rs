//! Starts, and changes of the rules: how long until they are in force, and what many of them leave behind.
//!
//! Invariant: a change is a rule of ours that refuses another value than before, so that all rules are compiled again, and
//! it counts when a request was refused by it. The next change begins then, never earlier.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Plan;
use super::server::{Common, Kind, Server, Sites};
use crate::measure::Row;
use crate::report::Range;
use crate::{Error, account};

/// Starts of a fresh server.
const STARTS: usize = 3;
/// libmodsecurity is changed so many times less often: it is no budget of ours, and takes its time.
const LESS: u32 = 10;

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Reloads {
    /// Milliseconds from a start until the rules were in force.
    pub start_ms: Range,
    /// Milliseconds from a signal until a change was in force.
    pub reload_ms: Range,
    /// CPU milliseconds of a change, the questions whether it is in force included.
    pub cpu_ms: f64,
    /// Changes that were made.
    pub made: u32,
    /// Changes that were planned.
    pub planned: u32,
    /// MiB of memory after the first tenth of them, and at the end.
    pub mib: (f64, f64),
    /// KiB that a change leaves behind.
    pub leak_kib: f64,
}

/// Measures every server.
pub(super) fn run(kinds: &[Kind], common: Common<'_>, plan: Plan) -> Row<Reloads> {
    let mut row = Row::new("starts and changes");
    for kind in kinds {
        let planned = match kind {
            Kind::Breakwater(_) => plan.reloads,
            Kind::Nginx => plan.reloads / LESS,
        };
        row.add(kind.name(), measure(kind, common, planned, plan.reload_seconds));
    }
    row
}

fn measure(kind: &Kind, common: Common<'_>, planned: u32, seconds: u64) -> Result<Reloads, Error> {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let start = || Server::start(kind, common, Sites::Routes(1));
    let mut starts = Vec::new();
    for _ in 1..STARTS {
        starts.push(ms(start()?.started));
    }
    let mut server = start()?;
    starts.push(ms(server.started));
    let end = Instant::now() + Duration::from_secs(seconds);
    let before = account::cpu(server.pid())?;
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    while (times.len() as u32) < planned && Instant::now() < end {
        times.push(ms(server.reload()?));
        memory.push(account::proportional(server.pid())? as f64 / 1024.0);
        if times.len() % 50 == 0 {
            eprintln!("{}: {} of {planned} changes", kind.name(), times.len());
        }
    }
    let made = times.len() as u32;
    let none = || Error::Server {
        server: kind.name().to_owned(),
        why: format!("{made} changes in {seconds} s are too few"),
    };
    let settled = memory.get(memory.len() / 10..).unwrap_or_default();
    let (Some(first), Some(last)) = (settled.first(), settled.last()) else {
        return Err(none());
    };
    let used = account::cpu(server.pid())? - before;
    Ok(Reloads {
        start_ms: Range::of(starts).ok_or_else(none)?,
        reload_ms: Range::of(times).ok_or_else(none)?,
        cpu_ms: used.total() * 1e3 / f64::from(made),
        made,
        planned,
        mib: (first / 1024.0, last / 1024.0),
        leak_kib: slope(settled).ok_or_else(none)?,
    })
}

/// How much a figure grows from one to the next: the line of least squares.
fn slope(figures: &[f64]) -> Option<f64> {
    let n = figures.len() as f64;
    let (mean_x, mean_y) = ((n - 1.0) / 2.0, figures.iter().sum::<f64>() / n);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in figures.iter().enumerate() {
        let x = x as f64 - mean_x;
        above += x * (y - mean_y);
        below += x * x;
    }
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_noise_around_a_level_has_next_to_none() {
        let close = |a: Option<f64>, b: f64| a.is_some_and(|a| (a - b).abs() < 1e-9);
        assert!(close(slope(&[5.0, 7.0, 9.0, 11.0]), 2.0));
        assert!(close(slope(&[5.0, 6.0, 6.0, 5.0]), 0.0));
        assert_eq!(slope(&[5.0]), None);
        assert_eq!(slope(&[]), None);
    }
}
