//! What is counted of a policy's rules. Written by all workers, a few times for each request that they judge.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::cells::{BUCKETS, bucket_of};

/// Rules of one policy that are counted by name; matches of others count as `other`.
const MOST_RULES: usize = 1024;

/// Upper bounds of the buckets of anomaly scores: one for each number up to 5, a critical match, then wider.
pub(crate) const SCORES: [f64; 13] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0];

/// Which way something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

impl Direction {
    pub(crate) const ALL: [Self; 2] = [Self::Request, Self::Response];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// A histogram of anomaly scores.
#[derive(Debug)]
struct Scores {
    buckets: [AtomicU64; SCORES.len() + 1],
    sum: AtomicU64,
}

impl Default for Scores {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }
    }
}

/// What is counted of a policy's rules.
#[derive(Debug)]
pub(crate) struct RuleCells {
    hits: Mutex<BTreeMap<u32, u64>>,
    other_hits: AtomicU64,
    scores: [Scores; Direction::ALL.len()],
    durations: [AtomicU64; BUCKETS.len() + 1],
    duration_ns: AtomicU64,
    bytes: [AtomicU64; Direction::ALL.len()],
    truncated: [AtomicU64; Direction::ALL.len()],
    /// Requests that rules did not look at.
    unsampled: AtomicU64,
}

impl Default for RuleCells {
    fn default() -> Self {
        Self {
            hits: Mutex::default(),
            other_hits: AtomicU64::new(0),
            scores: Default::default(),
            durations: std::array::from_fn(|_| AtomicU64::new(0)),
            duration_ns: AtomicU64::new(0),
            bytes: Default::default(),
            truncated: Default::default(),
            unsampled: AtomicU64::new(0),
        }
    }
}

impl RuleCells {
    /// A rule matched.
    pub(crate) fn hit(&self, rule: u32) {
        let mut hits = self.hits.lock();
        let full = hits.len() >= MOST_RULES;
        match hits.get_mut(&rule) {
            Some(count) => *count += 1,
            None if full => drop(self.other_hits.fetch_add(1, Ordering::Relaxed)),
            None => drop(hits.insert(rule, 1)),
        }
    }

    /// A transaction ended with these scores, and took so much time of the processor.
    pub(crate) fn ended(&self, spent: Duration, inbound: u32, outbound: Option<u32>) {
        if let Some(cell) = self.durations.get(bucket_of(spent)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        let ns = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.duration_ns.fetch_add(ns, Ordering::Relaxed);
        let scored = [(Direction::Request, Some(inbound)), (Direction::Response, outbound)];
        for (direction, score) in scored {
            let (Some(score), Some(scores)) = (score, self.scores.get(direction as usize)) else {
                continue;
            };
            let bucket = SCORES.iter().position(|bound| f64::from(score) <= *bound);
            if let Some(cell) = scores.buckets.get(bucket.unwrap_or(SCORES.len())) {
                cell.fetch_add(1, Ordering::Relaxed);
            }
            scores.sum.fetch_add(score.into(), Ordering::Relaxed);
        }
    }

    /// So many bytes of a body were inspected, and that was all of it or not.
    pub(crate) fn inspected(&self, direction: Direction, bytes: usize, truncated: bool) {
        if let Some(cell) = self.bytes.get(direction as usize) {
            cell.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        if truncated && let Some(cell) = self.truncated.get(direction as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request was passed over by sampling.
    pub(crate) fn passed_over(&self) {
        self.unsampled.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that sampling passed over.
    pub(crate) fn unsampled(&self) -> u64 {
        self.unsampled.load(Ordering::Relaxed)
    }

    /// Whether there is anything to tell of what rules did.
    pub(crate) fn is_used(&self) -> bool {
        self.durations.iter().any(|cell| cell.load(Ordering::Relaxed) > 0)
    }

    /// Matches by rule, those of rules without a series of their own as `other`.
    pub(crate) fn hits(&self) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self
            .hits
            .lock()
            .iter()
            .map(|(rule, n)| (rule.to_string(), *n))
            .collect();
        let other = self.other_hits.load(Ordering::Relaxed);
        if other > 0 {
            all.push(("other".to_owned(), other));
        }
        all
    }

    /// Counts per bucket of [`SCORES`], not cumulative, and the sum.
    pub(crate) fn scores(&self, direction: Direction) -> (Vec<u64>, f64) {
        self.scores
            .get(direction as usize)
            .map_or_else(Default::default, |scores| {
                (read(&scores.buckets), scores.sum.load(Ordering::Relaxed) as f64)
            })
    }

    /// Counts per bucket of [`BUCKETS`], not cumulative, and the sum, seconds.
    pub(crate) fn durations(&self) -> (Vec<u64>, f64) {
        let sum = self.duration_ns.load(Ordering::Relaxed) as f64 / 1e9;
        (read(&self.durations), sum)
    }

    /// Bytes inspected, and bodies of which only the beginning was.
    pub(crate) fn bodies(&self, direction: Direction) -> (u64, u64) {
        let read = |cells: &[AtomicU64]| {
            cells
                .get(direction as usize)
                .map_or(0, |cell| cell.load(Ordering::Relaxed))
        };
        (read(&self.bytes), read(&self.truncated))
    }
}

fn read(cells: &[AtomicU64]) -> Vec<u64> {
    cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_beyond_the_most_count_as_other() {
        let cells = RuleCells::default();
        for rule in 0..MOST_RULES as u32 + 5 {
            cells.hit(rule);
        }
        cells.hit(7);
        let hits = cells.hits();
        assert_eq!(hits.len(), MOST_RULES + 1);
        assert!(hits.contains(&("7".to_owned(), 2)) && hits.contains(&("other".to_owned(), 5)));
    }

    #[test]
    fn each_score_up_to_a_critical_match_has_a_bucket_of_its_own() {
        let cells = RuleCells::default();
        for score in [0, 3, 5, 6, 1000] {
            cells.ended(Duration::ZERO, score, None);
        }
        let (counts, sum) = cells.scores(Direction::Request);
        assert_eq!(counts, [1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert!((sum - 1014.0).abs() < f64::EPSILON);
        assert_eq!(cells.scores(Direction::Response).0.iter().sum::<u64>(), 0);
    }
}
