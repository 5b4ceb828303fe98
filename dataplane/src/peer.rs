//! Nodes that ask each other: who owns a URL, who may be asked for it, and what was made of it.
//!
//! ```text
//! client ── node ── miss ──> owner of the URL ── hit, or one fetch for all ──> origin
//!             └── no owner, or it does not answer: ──────────────────────────>┘
//! ```
//!
//! Every node ranks all nodes for a URL alike ([`rank`]), by their names: an address that changes moves nothing. Only
//! the first two of that ranking are ever asked, and whoever is asked asks nobody but the origin: one hop, no loops.
//! A node that fails rests; one that has too much of ours under way is passed over; nothing here fails a request.
//!
//! How nodes know each other is [`handshake`]'s; what they say to each other, `wire`'s. Who is asked for which
//! request, and what is done with the answer, is left to `handler`.

pub(crate) mod counts;
pub(crate) mod handshake;
pub(crate) mod rank;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use breakwater_snapshot::Peers;
use parking_lot::Mutex;

use crate::upstream::{Origin, Pool, Upstream};
use counts::Counts;
use handshake::{Door, Keys};
use rank::Standing;

/// How long a node that failed is not asked, milliseconds: doubled with each failure in a row.
const REST_MS: u64 = 2_000;
const LONGEST_REST_MS: u64 = 60_000;

/// What a process knows of the other nodes; shared by all workers.
pub(crate) struct Peering {
    /// This node's name.
    pub(crate) name: Arc<str>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) counts: Counts,
    started: Instant,
    ring: Mutex<Arc<Ring>>,
    /// Requests to all nodes under way.
    in_flight: AtomicU32,
}

/// The nodes that may be asked, this one among them if it may.
#[derive(Default)]
pub(crate) struct Ring(Vec<Arc<Member>>);

/// A node. It stays the same value for as long as it is at the same address.
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    hash: u64,
    own: bool,
    origin: Arc<Origin>,
    in_flight: AtomicU32,
    failures: AtomicU32,
    rests_until_ms: AtomicU64,
}

/// Who is to be asked.
pub(crate) enum Choice {
    /// This node asks the origin: it owns the URL, or the owner is not to be asked now.
    Origin,
    /// Another node.
    Member(Asked),
}

/// A node with a request of ours, counted out when this is dropped.
pub(crate) struct Asked {
    pub(crate) member: Arc<Member>,
    peering: Arc<Peering>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.member.in_flight.fetch_sub(1, Relaxed);
        self.peering.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Peering {
    pub(crate) fn new(name: &str, started: Instant) -> Self {
        Self {
            name: name.into(),
            keys: Arc::default(),
            counts: Counts::default(),
            started,
            ring: Mutex::default(),
            in_flight: AtomicU32::new(0),
        }
    }

    /// Takes in who may be asked. Nodes that stay where they were keep what is known of them.
    pub(crate) fn set(&self, peers: &Peers) {
        self.keys.set(&peers.keys);
        let before = Arc::clone(&self.ring.lock());
        let known: HashMap<_, _> = before.0.iter().map(|member| (&*member.name, member)).collect();
        let members = peers.members.iter().map(|(name, at)| {
            let known = known.get(name.as_str());
            match known.filter(|known| known.origin.is_at(at.address)) {
                Some(member) => Arc::clone(member),
                None => {
                    let name: Arc<str> = name.as_str().into();
                    let door = Door {
                        name: Arc::clone(&name),
                        keys: Arc::clone(&self.keys),
                    };
                    Arc::new(Member {
                        hash: rank::of_name(&name),
                        own: *name == *self.name,
                        origin: Arc::new(Origin::of_peer(door, at.address, self.started)),
                        name,
                        in_flight: AtomicU32::new(0),
                        failures: AtomicU32::new(0),
                        rests_until_ms: AtomicU64::new(0),
                    })
                }
            }
        });
        let ring = Ring(members.collect());
        *self.ring.lock() = Arc::new(ring);
    }

    /// Nodes that may be asked, and how many of them rest.
    pub(crate) fn members(&self) -> (usize, usize) {
        let ring = Arc::clone(&self.ring.lock());
        let now = self.now_ms();
        let resting = ring.0.iter().filter(|member| member.rests(now)).count();
        (ring.0.len(), resting)
    }

    /// Whom to ask for what is at `place`, of those who were not asked for it before.
    pub(crate) fn choose(self: &Arc<Self>, place: u64, asked: &[Arc<Member>]) -> Choice {
        let ring = Arc::clone(&self.ring.lock());
        let now = self.now_ms();
        let bound = rank::bound(self.in_flight.load(Relaxed), ring.0.len());
        let owners = rank::first_two(place, ring.0.iter().map(|member| member.hash));
        let owners = owners.into_iter().flatten().filter_map(|index| ring.0.get(index));
        let standing = |member: &&Arc<Member>| {
            if member.own {
                Standing::Own
            } else if asked.iter().any(|asked| Arc::ptr_eq(asked, member)) || member.rests(now) {
                Standing::Away
            } else if member.in_flight.load(Relaxed) >= bound {
                self.counts.passed_over.add();
                Standing::Busy
            } else {
                Standing::Free
            }
        };
        match rank::pick(owners, standing) {
            Some(member) => {
                member.in_flight.fetch_add(1, Relaxed);
                self.in_flight.fetch_add(1, Relaxed);
                Choice::Member(Asked {
                    member: Arc::clone(member),
                    peering: Arc::clone(self),
                })
            }
            None => Choice::Origin,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Asked {
    /// The node answered.
    pub(crate) fn answered(&self) {
        if self.member.failures.load(Relaxed) != 0 {
            self.member.failures.store(0, Relaxed);
        }
    }

    /// The node did not answer: it rests.
    pub(crate) fn failed(&self) {
        let member = &self.member;
        let before = member.failures.fetch_add(1, Relaxed).min(16);
        let rest = (REST_MS << before).min(LONGEST_REST_MS);
        let now = self.peering.now_ms();
        member.rests_until_ms.fetch_max(now.saturating_add(rest), Relaxed);
    }
}

impl Member {
    fn rests(&self, now_ms: u64) -> bool {
        now_ms < self.rests_until_ms.load(Relaxed)
    }
}

/// One worker's ways to the other nodes.
#[derive(Default)]
pub(crate) struct Ways(RefCell<HashMap<Arc<str>, Rc<Upstream>>>);

impl Ways {
    /// The way to `member`. What led to an address that a node has left is forgotten.
    pub(crate) fn to(&self, member: &Member, worker: usize, pool: &Rc<Pool>) -> Rc<Upstream> {
        let mut ways = self.0.borrow_mut();
        if let Some(way) = ways.get(&member.name)
            && Arc::ptr_eq(way.origin(), &member.origin)
        {
            return Rc::clone(way);
        }
        if ways.len() >= Peers::MOST {
            ways.clear();
        }
        let origin = Arc::clone(&member.origin);
        let way = Rc::new(Upstream::new(origin, worker, Rc::clone(pool), Arc::default()));
        ways.insert(Arc::clone(&member.name), Rc::clone(&way));
        way
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakwater_snapshot::PeerAddress;

    fn peers(names: &[&str], port: u16) -> Peers {
        let at = PeerAddress {
            address: ([192, 0, 2, 1], port).into(),
        };
        let members = names.iter().map(|name| ((*name).to_owned(), at.clone()));
        Peers {
            members: members.collect(),
            keys: Vec::new(),
        }
    }

    fn asked(choice: Choice) -> Option<Asked> {
        match choice {
            Choice::Member(asked) => Some(asked),
            Choice::Origin => None,
        }
    }

    #[test]
    fn a_node_that_failed_rests_and_the_second_is_asked_and_then_the_origin() {
        let peering = Arc::new(Peering::new("a", Instant::now()));
        peering.set(&peers(&["b", "c"], 1));
        let first = asked(peering.choose(7, &[])).unwrap();
        first.failed();
        let second = asked(peering.choose(7, &[])).unwrap();
        assert_ne!(first.member.name, second.member.name);
        second.failed();
        assert!(asked(peering.choose(7, &[])).is_none());
        assert_eq!(peering.members(), (2, 2));
    }

    #[test]
    fn what_was_asked_before_is_not_asked_again_for_the_same() {
        let peering = Arc::new(Peering::new("a", Instant::now()));
        peering.set(&peers(&["b", "c"], 1));
        let first = asked(peering.choose(7, &[])).unwrap();
        let second = asked(peering.choose(7, &[Arc::clone(&first.member)])).unwrap();
        assert_ne!(first.member.name, second.member.name);
        let both = [Arc::clone(&first.member), Arc::clone(&second.member)];
        assert!(asked(peering.choose(7, &both)).is_none());
    }

    #[test]
    fn a_node_with_too_much_of_ours_is_passed_over() {
        let peering = Arc::new(Peering::new("a", Instant::now()));
        peering.set(&peers(&["b", "c", "d", "e"], 1));
        let held: Vec<_> = (0..1_000).map_while(|_| asked(peering.choose(7, &[]))).collect();
        let to_first = held.iter().filter(|asked| asked.member.name == held[0].member.name);
        assert!(to_first.count() < held.len(), "the second took some");
        assert!(peering.counts.passed_over.get() > 0);
        drop(held);
        assert_eq!(peering.in_flight.load(Relaxed), 0);
    }

    #[test]
    fn a_node_elsewhere_is_another_and_one_that_stays_keeps_what_is_known_of_it() {
        let peering = Arc::new(Peering::new("a", Instant::now()));
        peering.set(&peers(&["b"], 1));
        asked(peering.choose(7, &[])).unwrap().failed();
        peering.set(&peers(&["a", "b"], 1));
        assert_eq!(peering.members(), (2, 1));
        peering.set(&peers(&["a", "b"], 2));
        assert_eq!(peering.members(), (2, 0));
    }
}
