//! The strategies' distributions: exact where they are deterministic, by a seeded generator where they are not.

use breakwater_snapshot::unit::{Ejection, Endpoint};
use tokio::sync::Semaphore;

use super::*;

const REST: Ejection = Ejection {
    consecutive_failures: 1,
    base_ms: 1_000,
    max_percent: 100,
};

fn entries(weights: &[u16]) -> Vec<Entry> {
    let entry = |(n, weight): (usize, &u16)| {
        let endpoint = Endpoint {
            host: format!("192.0.2.{n}"),
            port: 80,
            weight: *weight,
        };
        let address = format!("192.0.2.{n}:80").parse().unwrap();
        Entry {
            server: Arc::new(Server::new(&endpoint, address, 0)),
            weight: *weight,
            slots: None,
            multiplexed: false,
        }
    };
    weights.iter().enumerate().map(entry).collect()
}

fn balancer(strategy: BalanceStrategy) -> Balancer {
    Balancer::new(strategy, 0, 0, fastrand::Rng::with_seed(7))
}

fn pick(balancer: &mut Balancer, entries: &[Entry], hash: u64) -> usize {
    let ask = Ask {
        now_ms: 10,
        hash: || hash,
        tried: &[],
    };
    balancer.pick(entries, ask).unwrap().index
}

fn counts(balancer: &mut Balancer, entries: &[Entry], picks: u64) -> Vec<usize> {
    let mut counts = vec![0; entries.len()];
    (0..picks).for_each(|n| counts[pick(balancer, entries, mix(n))] += 1);
    counts
}

#[test]
fn round_robin_is_smooth_by_weight() {
    let entries = entries(&[5, 1, 1, 0]);
    let mut balancer = balancer(BalanceStrategy::RoundRobin);
    let order: Vec<_> = (0..7).map(|_| pick(&mut balancer, &entries, 0)).collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn workers_begin_at_different_servers() {
    let entries = entries(&[1, 1, 1]);
    let mut second = Balancer::new(BalanceStrategy::RoundRobin, 0, 1, fastrand::Rng::with_seed(7));
    let order: Vec<_> = (0..4).map(|_| pick(&mut second, &entries, 0)).collect();
    assert_eq!(order, [1, 2, 0, 1]);
}

#[test]
fn what_a_server_misses_while_it_rests_is_not_made_up_for() {
    let entries = entries(&[1, 1]);
    let mut balancer = balancer(BalanceStrategy::RoundRobin);
    entries[1].server.set_healthy(false, 0);
    assert_eq!(counts(&mut balancer, &entries, 100), [100, 0]);
    entries[1].server.set_healthy(true, 0);
    assert_eq!(counts(&mut balancer, &entries, 100), [50, 50]);
}

#[test]
fn the_least_busy_for_its_weight_is_chosen() {
    let entries = entries(&[1, 2, 1]);
    let mut balancer = balancer(BalanceStrategy::LeastConnections);
    let mut taken = [0; 3];
    for _ in 0..8 {
        let index = pick(&mut balancer, &entries, 0);
        entries[index].server.requests.fetch_add(1, Relaxed);
        taken[index] += 1;
    }
    assert_eq!(taken, [2, 4, 2]);
    entries[2].server.requests.store(0, Relaxed);
    assert_eq!(pick(&mut balancer, &entries, 0), 2);
}

#[test]
fn the_equally_busy_take_turns() {
    let entries = entries(&[1, 1, 1]);
    let mut balancer = balancer(BalanceStrategy::LeastConnections);
    assert_eq!(counts(&mut balancer, &entries, 30), [10, 10, 10]);
}

#[test]
fn of_two_by_chance_the_less_busy_is_chosen() {
    let entries = entries(&[1, 1, 1, 1]);
    let mut balancer = balancer(BalanceStrategy::PowerOfTwo);
    entries[3].server.requests.store(50, Relaxed);
    let counts = counts(&mut balancer, &entries, 3_000);
    assert_eq!(counts[3], 0, "it loses against each other");
    assert!(counts[..3].iter().all(|n| (900..1100).contains(n)), "{counts:?}");
}

#[test]
fn chance_goes_by_weight() {
    let entries = entries(&[3, 1]);
    let mut balancer = balancer(BalanceStrategy::PowerOfTwo);
    entries[0].server.requests.store(3, Relaxed);
    entries[1].server.requests.store(1, Relaxed);
    let counts = counts(&mut balancer, &entries, 4_000);
    assert!((2_900..3_100).contains(&counts[0]), "{counts:?}");
}

#[test]
fn what_looks_alike_goes_to_the_same_server_whatever_the_worker() {
    let entries = entries(&[1; 5]);
    let mut one = balancer(BalanceStrategy::Hash);
    let mut other = Balancer::new(BalanceStrategy::Hash, 0, 3, fastrand::Rng::with_seed(9));
    for hash in (0..1_000).map(mix) {
        assert_eq!(pick(&mut one, &entries, hash), pick(&mut other, &entries, hash));
    }
}

#[test]
fn hashing_spreads_by_weight() {
    let entries = entries(&[1, 2, 1]);
    let counts = counts(&mut balancer(BalanceStrategy::Hash), &entries, 8_000);
    for (count, expected) in counts.iter().zip([2_000, 4_000, 2_000]) {
        assert!(count.abs_diff(expected) < 200, "{counts:?}");
    }
}

#[test]
fn a_server_that_goes_moves_only_its_own() {
    let entries = entries(&[1; 5]);
    let mut balancer = balancer(BalanceStrategy::Hash);
    let before: Vec<_> = (0..1_000).map(|n| pick(&mut balancer, &entries, mix(n))).collect();
    entries[2].server.eject(&REST, 0);
    for (n, before) in before.into_iter().enumerate() {
        let after = pick(&mut balancer, &entries, mix(n as u64));
        assert!(
            after != 2 && (before == 2 || after == before),
            "{n}: {before} -> {after}"
        );
    }
}

#[test]
fn a_server_that_comes_back_has_little_at_first() {
    let entries = entries(&[1, 1]);
    entries[1].server.set_healthy(false, 0);
    entries[1].server.set_healthy(true, 10);
    let mut balancer = Balancer::new(BalanceStrategy::RoundRobin, 1_000, 0, fastrand::Rng::with_seed(7));
    assert_eq!(counts(&mut balancer, &entries, 110), [100, 10]);
}

#[test]
fn when_none_is_well_all_are_asked() {
    let entries = entries(&[1, 1, 0]);
    entries
        .iter()
        .for_each(|entry| assert!(entry.server.set_healthy(false, 0)));
    let mut balancer = balancer(BalanceStrategy::RoundRobin);
    let picks: Vec<_> = (0..4)
        .map(|_| {
            let ask = Ask {
                now_ms: 10,
                hash: || 0,
                tried: &[],
            };
            balancer.pick(&entries, ask).unwrap()
        })
        .collect();
    assert!(picks.iter().all(|pick| pick.panic));
    assert_eq!(picks.iter().map(|pick| pick.index).collect::<Vec<_>>(), [0, 1, 0, 1]);
}

#[test]
fn another_server_than_those_tried_is_chosen_where_there_is_one() {
    let entries = entries(&[1, 1, 1]);
    for strategy in [
        BalanceStrategy::RoundRobin,
        BalanceStrategy::LeastConnections,
        BalanceStrategy::PowerOfTwo,
        BalanceStrategy::Hash,
    ] {
        let mut balancer = balancer(strategy);
        let mut tried = Vec::new();
        for _ in 0..3 {
            let ask = Ask {
                now_ms: 10,
                hash: || 1,
                tried: &tried,
            };
            let pick = balancer.pick(&entries, ask).unwrap();
            let server = &entries[pick.index].server;
            assert!(
                !tried.iter().any(|t: &Arc<Server>| Arc::ptr_eq(t, server)),
                "{strategy:?}"
            );
            tried.push(Arc::clone(server));
        }
        let ask = Ask {
            now_ms: 10,
            hash: || 1,
            tried: &tried,
        };
        assert!(
            !balancer.pick(&entries, ask).unwrap().panic,
            "all were tried, and all are well"
        );
    }
}

#[test]
fn a_full_server_comes_after_those_with_room() {
    let mut entries = entries(&[1, 1]);
    entries[0].slots = Some((1, Arc::new(Semaphore::new(1))));
    let mut balancer = balancer(BalanceStrategy::RoundRobin);
    entries[0].server.requests.store(1, Relaxed);
    assert_eq!(counts(&mut balancer, &entries, 10), [0, 10]);
}

#[test]
fn no_server_is_no_choice() {
    let mut balancer = balancer(BalanceStrategy::RoundRobin);
    for entries in [entries(&[]), entries(&[0]), entries(&[0, 0])] {
        let ask = Ask {
            now_ms: 10,
            hash: || 0,
            tried: &[],
        };
        assert_eq!(balancer.pick(&entries, ask), None);
    }
}
