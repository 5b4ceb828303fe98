//! Measures what a text costs, and says where that is too much: more than linear, or more for each byte than its kind may.
//!
//! The measure is the CPU time of the thread, the least of a few runs, so that what else the machine does counts for
//! little. A finding is measured again before it is one.

use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};

use crate::kinds::Kind;
use crate::shape::Shape;

/// The sizes that are compared, and the size that says whether it is worth it.
pub const SMALL: usize = 256 << 10;
pub const LARGE: usize = 1 << 20;
const PROBE: usize = 64 << 10;

/// The large text may cost so many times what the small one costs: four would be linear.
const RATIO: f64 = 8.0;

/// What one run cost, by size.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Nanoseconds for each byte of the small text.
    pub small: f64,
    /// And of the large one.
    pub large: f64,
    /// How many times as much the large text cost.
    pub ratio: f64,
}

/// Fails where the texts that an input describes cost too much.
///
/// # Panics
/// They do.
pub fn check(kind: Kind, input: &[u8]) {
    let Some((shape, work)) = kind.work(input) else {
        return;
    };
    let run = |size| work.cost(&shape, size, 1);
    let (_, eighth) = run(PROBE / 8);
    let (_, probe) = run(PROBE);
    steer(probe, probe / eighth);
    // Most inputs are neither dear nor grow; one in sixteen is looked at all the same, for bounds that are far away.
    let chosen = input.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) % 16 == 0;
    if !chosen && probe < kind.ceiling() / 2.0 && probe < 2.0 * eighth {
        return;
    }
    let mut cost = measure(&shape, &work, 1);
    steer(cost.large, cost.ratio / 4.0);
    if is_too_much(kind, cost) {
        cost = measure(&shape, &work, 3);
    }
    assert!(
        !is_too_much(kind, cost),
        "{kind:?} costs too much: {:.0} ns a byte at {SMALL} bytes, {:.0} at {LARGE}, {:.1} times as much; at most {:.0} and {RATIO}",
        cost.small,
        cost.large,
        cost.ratio,
        kind.ceiling(),
    );
}

/// What the texts that an input describes cost; none where it describes none.
#[must_use]
pub fn of(kind: Kind, input: &[u8]) -> Option<Cost> {
    let (shape, work) = kind.work(input)?;
    Some(measure(&shape, &work, 2))
}

fn is_too_much(kind: Kind, cost: Cost) -> bool {
    // What costs next to nothing may grow as caches run full.
    cost.large > kind.ceiling() || (cost.ratio > RATIO && cost.large > kind.ceiling() / 100.0)
}

fn measure(shape: &Shape<'_>, work: &Work, runs: u32) -> Cost {
    let (small_ns, small) = work.cost(shape, SMALL, runs);
    let (large_ns, large) = work.cost(shape, LARGE, runs);
    Cost {
        small,
        large,
        ratio: large_ns / small_ns.max(1.0),
    }
}

/// What is done with a text.
pub struct Work(Box<dyn Fn(&[u8])>);

impl Work {
    pub(crate) fn new(work: impl Fn(&[u8]) + 'static) -> Self {
        Self(Box::new(work))
    }

    /// Nanoseconds, and nanoseconds for each byte.
    fn cost(&self, shape: &Shape<'_>, size: usize, runs: u32) -> (f64, f64) {
        let text = shape.text(size);
        let mut least = f64::MAX;
        for _ in 0..runs {
            let from = thread_time();
            (self.0)(black_box(&text));
            least = least.min(thread_time() - from);
        }
        (least, least / text.len().max(1) as f64)
    }
}

/// CPU time of this thread, in nanoseconds.
fn thread_time() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

/// A branch for each step of cost: libFuzzer keeps what reaches one first, and so walks towards what is dear.
fn steer(per_byte: f64, growth: f64) {
    macro_rules! branches {
        ($level:expr, $salt:literal: $($step:literal)*) => {
            $(if $level >= $step { black_box(($salt, $step)); })*
        };
    }
    // A step is a quarter more.
    let level = (per_byte.max(0.1).log(1.25) as i32).max(0);
    branches!(level, 'c': 4 8 10 12 14 16 18 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48
        49 50 51 52 53 54 55 56 57 58 59 60);
    let tenths = (growth * 10.0) as i32;
    branches!(tenths, 'g': 13 15 17 19 21 24 27 30 40 60 80);
}
