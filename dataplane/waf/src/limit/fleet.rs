//! Limits that hold across nodes: which there are, what of them this node has to tell the others, and what others tell.
//!
//! Nothing on a request's way waits for another node: a request is judged by the node's own table of rates. What was
//! allowed is noted ([`spent`](super::spent)), told from time to time by the caller, and counted by who hears it as if
//! it had been allowed there.
//!
//! Invariants: telling and hearing know no time but the hearer's own, so that clocks of nodes may differ; what is heard
//! in another order comes to the same; it only ever moves a client's debt up. What one node allows before it hears from
//! the others is beyond the limit and is owed: the rate holds over time, and at one instant a client may get one `burst`
//! of each node. So a debt has a bound, one burst for each node, and no node can make a client owe more.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    rate::RateTable,
    spent::{Spent, SpentTable},
};
use crate::ClientKey;

/// A limit that holds across nodes.
#[derive(Debug)]
pub(crate) struct FleetLimit {
    number: u64,
    /// Names it in the table of rates.
    id: u64,
    interval: Duration,
    burst: u32,
}

/// What became of what another node told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Clients of limits that were counted.
    pub taken: usize,
    /// Clients of limits that are none here: the two nodes have different configurations.
    pub unknown: usize,
}

/// The limits that hold across nodes. Locked when policies are made and nodes talk, never for a request.
#[derive(Debug, Default)]
pub(crate) struct FleetLimits {
    /// By number; as many as policies have.
    known: Mutex<HashMap<u64, Weak<FleetLimit>>>,
    /// Made with the first limit.
    spent: OnceLock<SpentTable>,
}

impl FleetLimits {
    /// The limit of this name and rate, for as long as somebody holds it.
    pub(crate) fn limit(&self, name: &[&str], id: u64, interval: Duration, burst: u32) -> Arc<FleetLimit> {
        self.spent.get_or_init(SpentTable::new);
        let number = number(name, interval, burst);
        let mut known = self.known.lock();
        known.retain(|_, limit| limit.strong_count() > 0);
        if let Some(limit) = known.get(&number).and_then(Weak::upgrade) {
            return limit;
        }
        let limit = Arc::new(FleetLimit {
            number,
            id,
            interval,
            burst,
        });
        known.insert(number, Arc::downgrade(&limit));
        limit
    }

    /// Notes that `client`, whose hash is `key`, was allowed one more.
    pub(crate) fn note(&self, limit: &FleetLimit, key: u64, client: ClientKey) {
        if let Some(spent) = self.spent.get() {
            spent.note(key, limit.number, client);
        }
    }

    /// See [`Tables::take_spent`](super::Tables::take_spent).
    pub(super) fn take(&self, rates: &RateTable) -> Vec<Spent> {
        let Some(spent) = self.spent.get() else {
            return Vec::new();
        };
        let limits = self.limits();
        spent.take(|number, client| {
            let limit = limits.get(&number)?;
            Some(rates.key((limit.id, client)))
        })
    }

    /// See [`Tables::add_spent`](super::Tables::add_spent).
    pub(super) fn add(
        &self,
        rates: &RateTable,
        told: impl IntoIterator<Item = Spent>,
        now_ms: u64,
        nodes: u32,
    ) -> Heard {
        let limits = self.limits();
        let mut heard = Heard::default();
        for Spent { limit, client, count } in told {
            let Some(limit) = limits.get(&limit) else {
                heard.unknown += 1;
                continue;
            };
            heard.taken += 1;
            let key = rates.key((limit.id, client));
            rates.add(key, now_ms, limit.interval, limit.burst, count, nodes);
        }
        heard
    }

    pub(super) fn any(&self) -> bool {
        self.known.lock().values().any(|limit| limit.strong_count() > 0)
    }

    pub(super) fn lost(&self) -> u64 {
        self.spent.get().map_or(0, SpentTable::lost)
    }

    fn limits(&self) -> HashMap<u64, Arc<FleetLimit>> {
        let known = self.known.lock();
        known
            .iter()
            .filter_map(|(number, limit)| Some((*number, limit.upgrade()?)))
            .collect()
    }
}

/// A number that all nodes give to the limit of one name and rate, in every version (FNV-1a).
fn number(name: &[&str], interval: Duration, burst: u32) -> u64 {
    let interval = interval.as_nanos().to_be_bytes();
    let burst = burst.to_be_bytes();
    // 0xff is in no text.
    let name = name.iter().flat_map(|part| part.bytes().chain([0xff]));
    name.chain(interval)
        .chain(burst)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limit::{Check, Tables},
        testing::Random,
    };

    const CLIENT: ClientKey = ClientKey::V4(0xc000_0201);
    const INTERVAL: Duration = Duration::from_millis(100);
    const BURST: u32 = 10;

    /// A node with a clock of its own and one limit.
    struct Node {
        tables: Tables,
        limit: Arc<FleetLimit>,
        ahead_ms: u64,
    }

    impl Node {
        fn new(seed: u64, ahead_ms: u64) -> Self {
            let tables = Tables::new(seed);
            let id = tables.rates.key("the limit");
            let limit = tables.fleet.limit(&["policy", "limit"], id, INTERVAL, BURST);
            Self {
                tables,
                limit,
                ahead_ms,
            }
        }

        fn ask(&self, now_ms: u64) -> bool {
            let key = self.tables.rates.key((self.limit.id, CLIENT));
            let check = self.tables.rates.check(key, now_ms + self.ahead_ms, INTERVAL, BURST);
            if check == Check::Allowed {
                self.tables.fleet.note(&self.limit, key, CLIENT);
            }
            check == Check::Allowed
        }

        fn hear(&self, told: impl IntoIterator<Item = Spent>, now_ms: u64, nodes: u32) -> Heard {
            self.tables.add_spent(told, now_ms + self.ahead_ms, nodes)
        }
    }

    fn nodes(count: u64) -> Vec<Node> {
        // Hours apart.
        (0..count).map(|n| Node::new(n, n * 5_000_000)).collect()
    }

    fn tell_all(nodes: &[Node], now_ms: u64) {
        let told: Vec<_> = nodes.iter().map(|node| node.tables.take_spent()).collect();
        for (to, node) in nodes.iter().enumerate() {
            for (from, told) in told.iter().enumerate() {
                if to != from {
                    node.hear(told.iter().copied(), now_ms, nodes.len() as u32);
                }
            }
        }
    }

    #[test]
    fn nodes_that_hear_of_each_other_in_time_allow_what_one_would() {
        let nodes = nodes(3);
        let allowed = (0..90_u32).filter(|n| {
            let now = u64::from(*n / 30);
            let allowed = nodes[*n as usize % 3].ask(now);
            tell_all(&nodes, now);
            allowed
        });
        assert_eq!(allowed.count(), BURST as usize);
        // One more every interval, wherever it is asked for.
        let mut later = 0;
        for n in 0..500 {
            let now = 10 * (n + 1);
            later += usize::from(nodes[n as usize % 3].ask(now));
            tell_all(&nodes, now);
        }
        assert_eq!(later, 50);
    }

    #[test]
    fn what_was_allowed_before_nodes_heard_of_each_other_is_owed() {
        let nodes = nodes(3);
        let allowed = |now| nodes.iter().map(move |node| (0..20).filter(|_| node.ask(now)).count());
        assert_eq!(allowed(0).sum::<usize>(), 30, "one burst of each");
        tell_all(&nodes, 0);
        // Thirty are owed: two seconds until the debt is down to one burst.
        assert_eq!(allowed(1_999).sum::<usize>(), 0);
        assert!(nodes[0].ask(2_100));
    }

    #[test]
    fn the_order_in_which_nodes_are_heard_makes_no_difference() {
        let mut random = Random::new(11);
        for _ in 0..50 {
            let mut told: Vec<_> = (0..20)
                .map(|_| Spent {
                    limit: 0,
                    client: ClientKey::V4(random.below(3) as u32),
                    count: random.below(4) as u32,
                })
                .collect();
            let debts = |told: &[Spent]| {
                let node = Node::new(5, 0);
                let number = node.limit.number;
                let told = told.iter().map(|spent| Spent {
                    limit: number,
                    ..*spent
                });
                assert_eq!(node.hear(told, 1_000, 4).unknown, 0);
                [0, 1, 2].map(|client| {
                    let key = node.tables.rates.key((node.limit.id, ClientKey::V4(client)));
                    (0..)
                        .take_while(|_| node.tables.rates.check(key, 1_000, INTERVAL, BURST) == Check::Allowed)
                        .count()
                })
            };
            let before = debts(&told);
            for n in (1..told.len()).rev() {
                told.swap(n, random.below(n as u64 + 1) as usize);
            }
            assert_eq!(debts(&told), before);
        }
    }

    #[test]
    fn no_node_makes_a_client_owe_more_than_a_burst_for_each_node() {
        let node = Node::new(1, 0);
        let told = Spent {
            limit: node.limit.number,
            client: CLIENT,
            count: u32::MAX,
        };
        for _ in 0..1_000 {
            assert_eq!(node.hear([told], 0, 3), Heard { taken: 1, unknown: 0 });
        }
        // Three bursts of ten, at ten a second: the last of them is the client's own.
        assert!(!node.ask(2_099));
        assert!(node.ask(2_100));
    }

    #[test]
    fn with_any_delays_and_clocks_no_more_than_a_burst_for_each_node_is_allowed_beyond_the_rate() {
        let mut random = Random::new(3);
        for round in 0..8 {
            let count = 2 + round % 4;
            let nodes = nodes(count);
            // What is on its way: when it arrives, where, and what.
            let mut under_way: Vec<(u64, usize, Vec<Spent>)> = Vec::new();
            let mut allowed = 0_u64;
            let span = 10_000;
            for now in 0..span {
                for (to, node) in nodes.iter().enumerate() {
                    for (_, _, told) in under_way.iter().filter(|(at, other, _)| *at == now && *other == to) {
                        node.hear(told.iter().copied(), now, count as u32);
                    }
                }
                under_way.retain(|(at, ..)| *at > now);
                let asks = random.below(4);
                for _ in 0..asks {
                    allowed += u64::from(nodes[random.below(count) as usize].ask(now));
                }
                if now % 100 == 0 {
                    for (from, node) in nodes.iter().enumerate() {
                        let told = node.tables.take_spent();
                        for to in (0..nodes.len()).filter(|to| *to != from) {
                            under_way.push((now + 1 + random.below(80), to, told.clone()));
                        }
                    }
                }
            }
            let rate = span / 100;
            // For each other node, what the rate gives in the longest time until it is heard: 180 ms.
            let most = rate + count * u64::from(BURST) + (count - 1) * 2;
            assert!(allowed >= rate && allowed <= most, "{allowed}, {rate} to {most}");
        }
    }

    #[test]
    fn limits_of_another_name_or_rate_are_others_and_those_of_one_name_and_rate_are_one_on_every_node() {
        let (one, two) = (Node::new(1, 0), Node::new(2, 0));
        assert_eq!(one.limit.number, two.limit.number);
        let other = |name: &[&str], interval, burst| number(name, interval, burst) != one.limit.number;
        assert!(other(&["policy", "other"], INTERVAL, BURST));
        assert!(other(&["policyl", "imit"], INTERVAL, BURST));
        assert!(other(&["policy", "limit"], INTERVAL * 2, BURST));
        assert!(other(&["policy", "limit"], INTERVAL, BURST + 1));
        let again = one.tables.fleet.limit(&["policy", "limit"], 77, INTERVAL, BURST);
        assert!(Arc::ptr_eq(&again, &one.limit));
    }

    #[test]
    fn what_is_told_of_a_limit_that_is_not_here_counts_for_nothing() {
        let node = Node::new(1, 0);
        let told = Spent {
            limit: node.limit.number ^ 1,
            client: CLIENT,
            count: 100,
        };
        assert_eq!(node.hear([told], 0, 3), Heard { taken: 0, unknown: 1 });
        assert!(node.ask(0));
        let number = node.limit.number;
        let Node { tables, limit, .. } = node;
        assert!(tables.has_fleet_limits());
        drop(limit);
        assert!(!tables.has_fleet_limits());
        assert!(tables.take_spent().is_empty());
        let told = Spent { limit: number, ..told };
        assert_eq!(tables.add_spent([told], 0, 3).unknown, 1);
    }
}
