//! Which server gets the next request.
//!
//! One pass over the servers for each pick, without allocating. Servers that are unwell or rest take nothing; when none
//! is left, all of them are asked: an origin that seems to be gone is better asked than given up. Servers without a
//! free connection come after those with one, servers that were tried already after all others.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use breakwater_snapshot::unit::BalanceStrategy;

use super::server::{Entry, Server};

/// A worker's balancer for one origin.
#[derive(Debug)]
pub(crate) struct Balancer {
    strategy: BalanceStrategy,
    slow_start_ms: u64,
    /// Where a pass begins, so that workers do not all prefer the same server.
    offset: usize,
    /// What smooth weighted round robin owes each server.
    owed: Vec<i64>,
    rng: fastrand::Rng,
}

/// What a pick may depend on beside the servers.
pub(crate) struct Ask<'a, H> {
    pub(crate) now_ms: u64,
    /// What requests that look alike have in common. Asked for only by [`BalanceStrategy::Hash`].
    pub(crate) hash: H,
    /// Servers that failed this request.
    pub(crate) tried: &'a [Arc<Server>],
}

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) index: usize,
    /// None was well, so all were asked.
    pub(crate) panic: bool,
}

/// How little stands against a server; the lowest that any server has decides who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Free,
    Full,
    Tried,
    Unwell,
    UnwellTried,
    Never,
}

impl Balancer {
    /// `offset` is the worker's number.
    pub(crate) fn new(strategy: BalanceStrategy, slow_start_ms: u64, offset: usize, rng: fastrand::Rng) -> Self {
        Self {
            strategy,
            slow_start_ms,
            offset,
            owed: Vec::new(),
            rng,
        }
    }

    /// Forgets what is owed: the servers are others now.
    pub(crate) fn reset(&mut self) {
        self.owed.clear();
    }

    /// The server for the next request; none when there is none that may be asked.
    pub(crate) fn pick(&mut self, entries: &[Entry], ask: Ask<'_, impl FnOnce() -> u64>) -> Option<Pick> {
        if entries.len() == 1 {
            let tier = tier(entries.first()?, ask.now_ms, ask.tried);
            return (tier != Tier::Never).then_some(Pick {
                index: 0,
                panic: tier >= Tier::Unwell,
            });
        }
        let best = entries.iter().map(|entry| tier(entry, ask.now_ms, ask.tried)).min()?;
        if best == Tier::Never {
            return None;
        }
        let round = Round {
            entries,
            best,
            now_ms: ask.now_ms,
            tried: ask.tried,
            slow_start_ms: self.slow_start_ms,
            offset: self.offset % entries.len(),
        };
        let index = match self.strategy {
            BalanceStrategy::RoundRobin => round.smooth(&mut self.owed),
            BalanceStrategy::LeastConnections => {
                // Those that are equally busy take turns.
                self.offset = self.offset.wrapping_add(1);
                round.least()
            }
            BalanceStrategy::PowerOfTwo => round.two(&mut self.rng),
            BalanceStrategy::Hash => round.rendezvous((ask.hash)()),
        }?;
        Some(Pick {
            index,
            panic: best >= Tier::Unwell,
        })
    }
}

fn tier(entry: &Entry, now_ms: u64, tried: &[Arc<Server>]) -> Tier {
    let was_tried = tried.iter().any(|server| Arc::ptr_eq(server, &entry.server));
    match (entry.weight == 0, entry.server.is_well(now_ms), was_tried) {
        (true, ..) => Tier::Never,
        (_, true, false) if entry.is_full() => Tier::Full,
        (_, true, false) => Tier::Free,
        (_, true, true) => Tier::Tried,
        (_, false, false) => Tier::Unwell,
        (_, false, true) => Tier::UnwellTried,
    }
}

/// One pick.
struct Round<'a> {
    entries: &'a [Entry],
    best: Tier,
    now_ms: u64,
    tried: &'a [Arc<Server>],
    slow_start_ms: u64,
    offset: usize,
}

impl<'a> Round<'a> {
    /// Who takes part, beginning at the offset: index, server, weight in thousandths.
    fn candidates(&self) -> impl Iterator<Item = (usize, &'a Entry, u64)> {
        let entries = self.entries.iter().enumerate();
        let from = entries.clone().skip(self.offset);
        from.chain(entries.take(self.offset))
            .filter(|(_, entry)| tier(entry, self.now_ms, self.tried) == self.best)
            .map(|(index, entry)| {
                let share = entry.server.share(self.slow_start_ms, self.now_ms);
                (index, entry, u64::from(entry.weight) * share)
            })
    }

    /// Smooth weighted round robin: each is owed its weight each time, and who is owed most pays what all were given.
    fn smooth(&self, owed: &mut Vec<i64>) -> Option<usize> {
        if owed.len() != self.entries.len() {
            owed.clear();
            owed.resize(self.entries.len(), 0);
        }
        let mut all = 0;
        let mut most: Option<(usize, i64)> = None;
        for (index, _, weight) in self.candidates() {
            let weight = weight as i64;
            all += weight;
            let owes = owed.get_mut(index)?;
            *owes += weight;
            if most.is_none_or(|(_, most)| *owes > most) {
                most = Some((index, *owes));
            }
        }
        let (index, _) = most?;
        *owed.get_mut(index)? -= all;
        Some(index)
    }

    /// The fewest requests in progress for its weight, this one included.
    fn least(&self) -> Option<usize> {
        let busy = |entry: &Entry, weight| (u64::from(entry.server.requests.load(Relaxed)) + 1, weight);
        self.candidates()
            .map(|(index, entry, weight)| (index, busy(entry, weight)))
            .reduce(|a, b| if less_busy(b.1, a.1) { b } else { a })
            .map(|(index, _)| index)
    }

    /// The less busy of two, each drawn with the chance its weight gives it.
    fn two(&self, rng: &mut fastrand::Rng) -> Option<usize> {
        let first = self.draw(rng, None)?;
        let Some(second) = self.draw(rng, Some(first.0)) else {
            return Some(first.0);
        };
        let busy = |(_, requests, weight): (usize, u64, u64)| (requests, weight);
        let second_is_less = less_busy(busy(second), busy(first));
        Some(if second_is_less { second.0 } else { first.0 })
    }

    fn draw(&self, rng: &mut fastrand::Rng, but: Option<usize>) -> Option<(usize, u64, u64)> {
        let candidates = || self.candidates().filter(|(index, ..)| Some(*index) != but);
        let all: u64 = candidates().map(|(_, _, weight)| weight).sum();
        if all == 0 {
            return None;
        }
        let mut at = rng.u64(0..all);
        for (index, entry, weight) in candidates() {
            if at < weight {
                return Some((index, entry.server.requests.load(Relaxed).into(), weight));
            }
            at -= weight;
        }
        None
    }

    /// Rendezvous hashing with weights: each server draws by the request's hash and its own, and the best draw wins.
    /// A server that goes moves only its own requests.
    fn rendezvous(&self, hash: u64) -> Option<usize> {
        let draw = |entry: &Entry, weight: u64| {
            // In (0, 1): the upper 53 bits, and half a step.
            let unit = ((mix(hash ^ entry.server.key) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            weight as f64 / -unit.ln()
        };
        self.candidates()
            .map(|(index, entry, weight)| (index, draw(entry, weight)))
            .reduce(|a, b| if b.1 > a.1 { b } else { a })
            .map(|(index, _)| index)
    }
}

/// Whether `a`, requests and weight, has fewer requests for its weight than `b`.
fn less_busy(a: (u64, u64), b: (u64, u64)) -> bool {
    u128::from(a.0) * u128::from(b.1) < u128::from(b.0) * u128::from(a.1)
}

/// The finaliser of splitmix64: every bit of the input moves half of the output's.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
