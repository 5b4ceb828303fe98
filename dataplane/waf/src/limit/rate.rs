//! Request rates: the generic cell rate algorithm (GCRA) in a fixed, set-associative, lock-free table.
//!
//! For each client of each limit one number is kept: the theoretical arrival time (TAT), when the bucket will be full
//! again. A request moves it forward by the emission interval `T = per / count`; it is refused, and moves nothing, when
//! that would put it more than `burst x T` ahead of now. So `burst` requests may come at once, then one every `T`:
//! `count: 10, per: 1m, burst: 5` lets five through at once and one more every six seconds, and never more than
//! `burst + t / T` in any span `t`. Without a burst it is `count`: `10 per 1m` lets ten through at once and refuses the
//! eleventh. Refused requests cost a client nothing.
//!
//! Invariant: memory is fixed when the table is made. When eight clients share a set and a ninth comes, the one with the
//! oldest TAT is forgotten. If its TAT has passed nothing is lost, for a forgotten client and a full bucket are the same;
//! if not, it may send one more burst, and [`RateTable::evictions`] counts it. While a set has room the bound above is
//! exact, from however many threads; a request that races with the replacement of its own entry may be counted for the
//! client that replaces it.

use std::{
    hash::{BuildHasher, Hash},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How many entries share a set.
const WAYS: usize = 8;

const NANOS_PER_MS: u64 = 1_000_000;

/// What a [`RateTable`] says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It conforms and was counted.
    Allowed,
    /// It does not conform and was not counted.
    Refused {
        /// After so many milliseconds one request will conform, if none is counted until then.
        retry_after_ms: u64,
    },
}

/// See the module.
pub struct RateTable {
    sets: Box<[[Entry; WAYS]]>,
    hasher: foldhash::quality::FixedState,
    evictions: AtomicU64,
}

/// One client of one limit. Fingerprint 0 is an entry never used; an entry once used never becomes unused, so two
/// threads that add the same client to a set with room race for the same entry, and the loser finds the winner.
#[derive(Default)]
struct Entry {
    fingerprint: AtomicU64,
    /// Nanoseconds on the caller's clock.
    tat: AtomicU64,
}

impl RateTable {
    /// 65,536 entries take 1 MiB.
    pub const DEFAULT_ENTRIES: usize = 65_536;

    /// A table of at least `entries` entries (rounded up to a power of two, 8 at least, 2^28 at most), 16 bytes each.
    /// `seed` keys [`RateTable::key`].
    #[must_use]
    pub fn new(entries: usize, seed: u64) -> Self {
        let sets = entries.clamp(WAYS, 1 << 28).next_power_of_two() / WAYS;
        Self {
            sets: (0..sets).map(|_| <[Entry; WAYS]>::default()).collect(),
            hasher: foldhash::quality::FixedState::with_seed(seed),
            evictions: AtomicU64::new(0),
        }
    }

    /// The key under which a value is counted: its hash, keyed by the table's seed.
    #[must_use]
    pub fn key(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }

    /// Counts a request of `key` at `now_ms`, unless it comes too early.
    ///
    /// `interval` is the emission interval `T`; `burst` is how many requests may come at once and is read as at least
    /// one, and as at least `1 ms / T`, because the clock cannot tell apart requests of the same millisecond. A clock
    /// that is behind another thread's by some milliseconds costs a client those milliseconds and nothing else.
    pub fn check(&self, key: u64, now_ms: u64, interval: Duration, burst: u32) -> Check {
        let now = now_ms.saturating_mul(NANOS_PER_MS);
        let (interval, window) = window(interval, burst);
        let Some(entry) = self.entry(key.max(1), now) else {
            return Check::Allowed;
        };

        let mut tat = entry.tat.load(Relaxed);
        loop {
            let next = tat.max(now).saturating_add(interval);
            let ahead = next - now;
            if ahead > window {
                return Check::Refused {
                    retry_after_ms: (ahead - window).div_ceil(NANOS_PER_MS),
                };
            }
            match entry.tat.compare_exchange_weak(tat, next, Relaxed, Relaxed) {
                Ok(_) => return Check::Allowed,
                Err(current) => tat = current,
            }
        }
    }

    /// Counts `count` requests of `key` that were allowed elsewhere, whether they conform or not: what is too much is owed
    /// until its time has come. No debt is moved beyond `most` bursts; one that is there already stays.
    pub(super) fn add(&self, key: u64, now_ms: u64, interval: Duration, burst: u32, count: u32, most: u32) {
        let now = now_ms.saturating_mul(NANOS_PER_MS);
        let (interval, window) = window(interval, burst);
        let latest = now.saturating_add(window.saturating_mul(most.max(1).into()));
        let Some(entry) = self.entry(key.max(1), now) else {
            return;
        };
        let forward = interval.saturating_mul(count.into());
        let moved = |tat: u64| Some(tat.max(now).saturating_add(forward).min(latest).max(tat));
        // A closure that gives a value each time cannot fail.
        let _ = entry.tat.fetch_update(Relaxed, Relaxed, moved);
    }

    /// How many clients were forgotten while they still had something to answer for. If it grows the table is too small
    /// for the number of clients that send at once, or is being flooded from very many addresses.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    /// The entry of `fingerprint`, which takes over the oldest of its set if it has none.
    fn entry(&self, fingerprint: u64, now: u64) -> Option<&Entry> {
        // The set is chosen by the low bits; the number of sets is a power of two.
        let set = self.sets.get(fingerprint as usize & (self.sets.len() - 1))?;
        loop {
            let mut oldest: Option<(&Entry, u64, u64)> = None;
            for entry in set {
                let owner = entry.fingerprint.load(Relaxed);
                if owner == fingerprint {
                    return Some(entry);
                }
                if owner == 0 {
                    // Entries fill in order, so nothing follows.
                    oldest = Some((entry, owner, 0));
                    break;
                }
                let tat = entry.tat.load(Relaxed);
                if oldest.is_none_or(|(_, _, least)| tat < least) {
                    oldest = Some((entry, owner, tat));
                }
            }
            let (entry, owner, tat) = oldest?;
            if tat > now {
                // First the debt, then the name: the newcomer must not inherit it.
                if entry.tat.compare_exchange(tat, now, Relaxed, Relaxed).is_err() {
                    continue;
                }
                self.evictions.fetch_add(1, Relaxed);
            }
            if entry
                .fingerprint
                .compare_exchange(owner, fingerprint, Relaxed, Relaxed)
                .is_ok()
            {
                return Some(entry);
            }
        }
    }
}

/// The emission interval and the span of a burst, nanoseconds.
fn window(interval: Duration, burst: u32) -> (u64, u64) {
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    let burst = u64::from(burst).max(NANOS_PER_MS.div_ceil(interval));
    (interval, interval.saturating_mul(burst))
}

impl std::fmt::Debug for RateTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateTable")
            .field("entries", &(self.sets.len() * WAYS))
            .field("evictions", &self.evictions())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::atomic::{AtomicU64, Ordering::SeqCst},
        thread,
    };

    use super::*;
    use crate::testing::Random;

    const SIX_SECONDS: Duration = Duration::from_secs(6);

    fn allowed(table: &RateTable, key: u64, now_ms: u64, interval: Duration, burst: u32, requests: usize) -> usize {
        (0..requests)
            .filter(|_| table.check(key, now_ms, interval, burst) == Check::Allowed)
            .count()
    }

    #[test]
    fn ten_per_minute_lets_ten_through_at_once_and_refuses_the_eleventh() {
        let table = RateTable::new(64, 1);
        assert_eq!(allowed(&table, 7, 0, SIX_SECONDS, 10, 10), 10);
        assert_eq!(
            table.check(7, 0, SIX_SECONDS, 10),
            Check::Refused { retry_after_ms: 6000 }
        );
    }

    #[test]
    fn a_burst_of_five_lets_five_through_at_once_then_one_every_interval() {
        let table = RateTable::new(64, 1);
        assert_eq!(allowed(&table, 7, 1000, SIX_SECONDS, 5, 20), 5);
        assert_eq!(
            table.check(7, 6999, SIX_SECONDS, 5),
            Check::Refused { retry_after_ms: 1 }
        );
        assert_eq!(allowed(&table, 7, 7000, SIX_SECONDS, 5, 20), 1);
        assert_eq!(allowed(&table, 7, 7000 + 12_000, SIX_SECONDS, 5, 20), 2);
    }

    #[test]
    fn the_bucket_never_holds_more_than_a_burst_however_long_the_rest() {
        let table = RateTable::new(64, 1);
        assert_eq!(allowed(&table, 7, 1_000_000_000, SIX_SECONDS, 5, 20), 5);
        assert_eq!(allowed(&table, 7, 9_000_000_000, SIX_SECONDS, 5, 20), 5);
    }

    #[test]
    fn waiting_as_long_as_told_is_enough_and_a_millisecond_less_is_not() {
        let table = RateTable::new(64, 1);
        let interval = Duration::from_nanos(1_234_567_891);
        let mut random = Random::new(3);
        let mut now = 0;
        for _ in 0..1000 {
            now += random.below(900);
            if let Check::Refused { retry_after_ms } = table.check(1, now, interval, 3) {
                assert!(matches!(
                    table.check(1, now + retry_after_ms - 1, interval, 3),
                    Check::Refused { .. }
                ));
                now += retry_after_ms;
                assert_eq!(table.check(1, now, interval, 3), Check::Allowed);
            }
        }
    }

    #[test]
    fn refused_requests_cost_nothing() {
        let table = RateTable::new(64, 1);
        assert_eq!(allowed(&table, 7, 0, SIX_SECONDS, 1, 1000), 1);
        assert_eq!(table.check(7, 6000, SIX_SECONDS, 1), Check::Allowed);
    }

    #[test]
    fn rates_above_one_per_millisecond_are_kept_although_the_clock_is_coarser() {
        let table = RateTable::new(64, 1);
        // 10,000 a second, burst 1: ten in each millisecond.
        let total: usize = (0..1000)
            .map(|now| allowed(&table, 7, now, Duration::from_micros(100), 1, 50))
            .sum();
        assert_eq!(total, 10_000);
    }

    #[test]
    fn extreme_arguments_do_not_overflow() {
        let table = RateTable::new(0, 1);
        for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            for burst in [0, 1, u32::MAX] {
                for now in [0, u64::MAX] {
                    table.check(0, now, interval, burst);
                }
            }
        }
    }

    #[test]
    fn keys_depend_on_the_seed_and_tell_clients_apart() {
        let (one, two) = (RateTable::new(64, 1), RateTable::new(64, 2));
        assert_ne!(one.key(7u64), two.key(7u64));
        assert_ne!(one.key(7u64), one.key(8u64));
        assert_eq!(one.key(7u64), RateTable::new(1024, 1).key(7u64));
    }

    #[test]
    fn a_full_set_forgets_its_oldest_client() {
        let table = RateTable::new(WAYS, 1);
        for key in 1..=WAYS as u64 {
            assert_eq!(allowed(&table, key, key, SIX_SECONDS, 1, 5), 1, "{key}");
        }
        assert_eq!(table.evictions(), 0);
        // A ninth gets a full bucket and not the debt of the first, which is forgotten; the second is not.
        assert_eq!(allowed(&table, 99, 10, SIX_SECONDS, 1, 5), 1);
        assert_eq!(table.evictions(), 1);
        assert_eq!(allowed(&table, 2, 10, SIX_SECONDS, 1, 5), 0);
        assert_eq!(allowed(&table, 1, 10, SIX_SECONDS, 1, 5), 1);
        assert_eq!(table.evictions(), 2);
    }

    #[test]
    fn replacing_a_client_that_owes_nothing_is_not_an_eviction() {
        let table = RateTable::new(WAYS, 1);
        for key in 1..=1000 {
            assert_eq!(allowed(&table, key, key * 6000, SIX_SECONDS, 1, 2), 1);
        }
        assert_eq!(table.evictions(), 0);
    }

    #[test]
    fn neighbouring_addresses_spread_over_the_sets() {
        let table = RateTable::new(RateTable::DEFAULT_ENTRIES, 42);
        for address in 0..16_384u32 {
            let key = table.key((7u64, crate::ClientKey::V4(0x0a00_0000 + address)));
            assert_eq!(table.check(key, 0, SIX_SECONDS, 1), Check::Allowed);
        }
        // A quarter full: on average two of eight ways. A poor hash would pile thousands onto a few sets.
        assert!(table.evictions() < 50, "{}", table.evictions());
    }

    /// The textbook's virtual scheduling algorithm for one key in exact integers, with no table around it.
    #[derive(Default)]
    struct Model {
        tat: u128,
    }

    impl Model {
        fn allow(&mut self, now_ms: u64, interval: u128, burst: u128) -> bool {
            let now = u128::from(now_ms) * 1_000_000;
            let conforms = self.tat <= now + (burst - 1) * interval;
            if conforms {
                self.tat = self.tat.max(now) + interval;
            }
            conforms
        }
    }

    #[test]
    fn random_schedules_agree_with_the_exact_model() {
        let mut random = Random::new(5);
        for round in 0..100 {
            let table = RateTable::new(4096, round);
            let interval = 1_000_000 + random.below(5_000_000_000);
            let burst = 1 + random.below(20) as u32;
            let mut models: HashMap<u64, Model> = HashMap::new();
            let mut now = random.below(1_000_000);
            for _ in 0..500 {
                now += random.below(interval / 1_000_000 + 2);
                let key = 1 + random.below(5);
                let expected = models.entry(key).or_default().allow(now, interval.into(), burst.into());
                let actual = table.check(key, now, Duration::from_nanos(interval), burst) == Check::Allowed;
                assert_eq!(
                    actual, expected,
                    "round {round}, now {now}, interval {interval}, burst {burst}"
                );
            }
        }
    }

    #[test]
    fn four_threads_never_admit_more_than_the_bound_nor_less_at_one_instant() {
        for round in 0..50 {
            let table = RateTable::new(WAYS, round);
            let admitted: [AtomicU64; WAYS] = Default::default();
            thread::scope(|scope| {
                for thread in 0..4 {
                    let (table, admitted) = (&table, &admitted);
                    scope.spawn(move || {
                        let mut random = Random::new(round * 4 + thread);
                        for _ in 0..2000 {
                            let key = random.below(WAYS as u64);
                            if table.check(key + 1, 0, SIX_SECONDS, 100) == Check::Allowed {
                                admitted[key as usize].fetch_add(1, SeqCst);
                            }
                        }
                    });
                }
            });
            // All eight clients share the one set; each asked about a thousand times.
            for (key, count) in admitted.iter().enumerate() {
                assert_eq!(count.load(SeqCst), 100, "round {round}, client {key}");
            }
            assert_eq!(table.evictions(), 0);
        }
    }

    #[test]
    fn threads_that_replace_each_others_clients_admit_no_more_than_what_is_forgotten() {
        const BURST: u32 = 3;
        let (table, admitted) = (RateTable::new(WAYS, 1), AtomicU64::new(0));
        thread::scope(|scope| {
            for thread in 0..4 {
                let (table, admitted) = (&table, &admitted);
                scope.spawn(move || {
                    let mut random = Random::new(thread);
                    for _ in 0..50_000 {
                        if table.check(1 + random.below(12), 0, SIX_SECONDS, BURST) == Check::Allowed {
                            admitted.fetch_add(1, SeqCst);
                        }
                    }
                });
            }
        });
        // At one instant every admitted request is a debt: of an entry, or of one that was forgotten.
        let forgotten = table.evictions();
        let admitted = admitted.load(SeqCst);
        assert!(forgotten > 0);
        assert!(
            admitted <= u64::from(BURST) * (forgotten + WAYS as u64),
            "{admitted}, {forgotten} forgotten"
        );
    }

    #[test]
    fn four_threads_with_a_moving_clock_stay_within_the_bound() {
        let table = RateTable::new(64, 9);
        let (clock, admitted) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        // Each thread reads the clock, then is late by however long the others take.
                        let now = clock.fetch_add(1, SeqCst);
                        if table.check(7, now, Duration::from_millis(10), 5) == Check::Allowed {
                            admitted.fetch_add(1, SeqCst);
                        }
                    }
                });
            }
        });
        let (admitted, elapsed) = (admitted.load(SeqCst), clock.load(SeqCst));
        assert!(admitted <= 5 + elapsed / 10, "{admitted} in {elapsed} ms");
        assert!(admitted > elapsed / 20, "{admitted} in {elapsed} ms");
    }
}
