//! Nodes that ask each other: who owns a URL, who may be asked for it, and what was made of it.
//!
//! ```text
//! client ── node ── miss ──> owner of the URL ── hit, or one fetch for all ──> origin
//!             └── no owner, or it does not answer: ──────────────────────────>┘
//! ```
//!
//! Every node ranks all nodes for a URL alike ([`rank`]), by their names: an address that changes moves nothing. Only
//! the first two of that ranking are ever asked, and whoever is asked asks nobody but the origin: one hop, no loops.
//! A node that fails rests ([`rest`]); one that has too much of ours under way is passed over; nothing here fails a
//! request. A site with a first level ranks only the nodes that have its labels.
//!
//! How nodes know each other is [`handshake`]'s; what they say to each other, `wire`'s. Who is asked for which
//! request, and what is done with the answer, is left to `handler`.

pub(crate) mod counts;
pub(crate) mod handshake;
pub(crate) mod rank;
pub(crate) mod rest;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use breakwater_snapshot::{Labels, Peers};
use parking_lot::Mutex;

use crate::upstream::{Origin, Pool, Upstream};
use counts::Counts;
use handshake::{Door, Keys};
use rank::{Pick, Standing};
use rest::Rest;

/// Levels of one list that are remembered: as many as a configuration has that differ, and then some.
const MOST_LEVELS: usize = 1_024;

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
pub(crate) struct Ring {
    all: Arc<[Arc<Member>]>,
    /// By name.
    labels: BTreeMap<String, Labels>,
    /// Those with certain labels, as they were asked for.
    levels: Mutex<BTreeMap<Labels, Arc<[Arc<Member>]>>>,
}

impl Ring {
    /// The nodes that have all of these labels.
    fn level(&self, wanted: &Labels) -> Arc<[Arc<Member>]> {
        let mut levels = self.levels.lock();
        if let Some(level) = levels.get(wanted) {
            return Arc::clone(level);
        }
        let has = |member: &&Arc<Member>| {
            let labels = self.labels.get(&*member.name);
            labels.is_some_and(|labels| wanted.iter().all(|(name, value)| labels.get(name) == Some(value)))
        };
        let level: Arc<[_]> = self.all.iter().filter(has).cloned().collect();
        if levels.len() >= MOST_LEVELS {
            levels.clear();
        }
        levels.insert(wanted.clone(), Arc::clone(&level));
        level
    }
}

/// Which nodes a site's requests may go to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Among<'a> {
    /// All, and the origin when nobody is to be asked.
    All,
    /// Those of the first level, which have these labels.
    Level {
        labels: &'a Labels,
        /// The others may ask the origin as well, when nobody there is to be asked.
        fallback: bool,
    },
}

/// A node. It stays the same value for as long as it is at the same address.
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    hash: u64,
    own: bool,
    origin: Arc<Origin>,
    in_flight: AtomicU32,
    rest: Rest,
}

/// Who is to be asked.
pub(crate) enum Choice {
    /// The origin: this node owns the URL, or the owner is not to be asked now.
    Origin,
    /// Another node.
    Member(Asked),
    /// Nobody: the origin is for others to ask, and none of them can be.
    Nobody,
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
        let known: HashMap<_, _> = before.all.iter().map(|member| (&*member.name, member)).collect();
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
                        rest: Rest::default(),
                    })
                }
            }
        });
        let ring = Ring {
            all: members.collect(),
            labels: peers.labels.clone(),
            levels: Mutex::default(),
        };
        *self.ring.lock() = Arc::new(ring);
    }

    /// Nodes that may be asked, and how many of them rest.
    pub(crate) fn members(&self) -> (usize, usize) {
        let ring = Arc::clone(&self.ring.lock());
        let now = self.now_ms();
        let resting = ring.all.iter().filter(|member| member.rest.rests(now)).count();
        (ring.all.len(), resting)
    }

    /// Whom of `among` to ask for what is at `place`, of those who were not asked for it before.
    pub(crate) fn choose(self: &Arc<Self>, place: u64, asked: &[Arc<Member>], among: Among<'_>) -> Choice {
        let ring = Arc::clone(&self.ring.lock());
        let now = self.now_ms();
        let (members, in_flight) = match among {
            Among::All => (Arc::clone(&ring.all), self.in_flight.load(Relaxed)),
            Among::Level { labels, .. } => {
                let members = ring.level(labels);
                let in_flight = members.iter().map(|member| member.in_flight.load(Relaxed)).sum();
                (members, in_flight)
            }
        };
        let bound = rank::bound(in_flight, members.len());
        let owners = rank::first_two(place, members.iter().map(|member| member.hash));
        let owners = owners.into_iter().flatten().filter_map(|index| members.get(index));
        let was_asked = |member: &Arc<Member>| asked.iter().any(|asked| Arc::ptr_eq(asked, member));
        let standing = |member: &&Arc<Member>| {
            if member.own {
                Standing::Own
            } else if was_asked(member) || member.rest.rests(now) {
                Standing::Away
            } else if member.in_flight.load(Relaxed) >= bound {
                self.counts.passed_over.add();
                Standing::Busy
            } else {
                Standing::Free
            }
        };
        match (rank::pick(owners.clone(), standing), among) {
            (Pick::Other(member), _) => Choice::Member(self.ask(member)),
            (Pick::Own, _) | (Pick::Nobody, Among::All | Among::Level { fallback: true, .. }) => Choice::Origin,
            (Pick::Nobody, Among::Level { fallback: false, .. }) if members.iter().any(|member| member.own) => {
                Choice::Origin
            }
            // Whoever rests or is busy is better than nobody.
            (Pick::Nobody, Among::Level { fallback: false, .. }) => {
                let mut owners = owners;
                let left = owners.find(|member| !was_asked(member));
                left.map_or(Choice::Nobody, |member| Choice::Member(self.ask(member)))
            }
        }
    }

    /// All nodes that may be asked, this one among them if it may.
    pub(crate) fn all(&self, among: Among<'_>) -> Arc<[Arc<Member>]> {
        let ring = Arc::clone(&self.ring.lock());
        match among {
            Among::All => Arc::clone(&ring.all),
            Among::Level { labels, .. } => ring.level(labels),
        }
    }

    /// Counts in a request to `member`, of so many nodes; none if that is this node, rests, or has enough of ours to do.
    pub(crate) fn ask_if_free(self: &Arc<Self>, member: &Arc<Member>, nodes: usize) -> Option<Asked> {
        if member.own || member.rest.rests(self.now_ms()) {
            return None;
        }
        if member.in_flight.load(Relaxed) >= rank::bound(self.in_flight.load(Relaxed), nodes) {
            self.counts.passed_over.add();
            return None;
        }
        Some(self.ask(member))
    }

    /// Counts in a request to `member`.
    fn ask(self: &Arc<Self>, member: &Arc<Member>) -> Asked {
        member.in_flight.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        Asked {
            member: Arc::clone(member),
            peering: Arc::clone(self),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Asked {
    /// The node answered.
    pub(crate) fn answered(&self) {
        self.member.rest.answered();
    }

    /// The node did not answer: it rests.
    pub(crate) fn failed(&self) {
        self.member.rest.failed(self.peering.now_ms());
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
            ..Peers::default()
        }
    }

    fn first_level(mut peers: Peers, names: &[&str]) -> Peers {
        let labels = names.iter().map(|name| ((*name).to_owned(), labels()));
        peers.labels = labels.collect();
        peers
    }

    fn labels() -> Labels {
        [("tier".to_owned(), "first".to_owned())].into()
    }

    fn asked(choice: Choice) -> Option<Asked> {
        match choice {
            Choice::Member(asked) => Some(asked),
            Choice::Origin | Choice::Nobody => None,
        }
    }

    #[test]
    fn a_node_that_failed_rests_and_the_second_is_asked_and_then_the_origin() {
        let peering = Arc::new(Peering::new("a", Instant::now()));
        peering.set(&peers(&["b", "c"], 1));
        let first = asked(peering.choose(7, &[], Among::All)).unwrap();
        first.failed();
        let second = asked(peering.choose(7, &[], Among::All)).unwrap();
        assert_ne!(first.member.name, second.member.name);
        second.failed();
        assert!(asked(peering.choose(7, &[], Among::All)).is_none());
        assert_eq!(peering.members(), (2, 2));
    }

    #[test]
    fn who_is_told_with_all_others_is_neither_this_node_nor_one_that_rests_or_has_enough_to_do() {
        let peering = Arc::new(Peering::new("a", Instant::now()));
        peering.set(&peers(&["a", "b", "c"], 1));
        let all = peering.all(Among::All);
        let free = || {
            let asked = all.iter().filter_map(|member| peering.ask_if_free(member, all.len()));
            asked.map(|asked| asked.member.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(free(), ["b", "c"]);
        let held: Vec<_> = std::iter::from_fn(|| peering.ask_if_free(&all[1], all.len())).collect();
        assert!(!held.is_empty());
        assert_eq!(free(), ["c"]);
        drop(held);
        peering.ask_if_free(&all[2], all.len()).unwrap().failed();
        assert_eq!(free(), ["b"]);
        assert_eq!(peering.in_flight.load(Relaxed), 0);
    }

    #[test]
    fn what_was_asked_before_is_not_asked_again_for_the_same() {
        let peering = Arc::new(Peering::new("a", Instant::now()));
        peering.set(&peers(&["b", "c"], 1));
        let first = asked(peering.choose(7, &[], Among::All)).unwrap();
        let second = asked(peering.choose(7, &[Arc::clone(&first.member)], Among::All)).unwrap();
        assert_ne!(first.member.name, second.member.name);
        let both = [Arc::clone(&first.member), Arc::clone(&second.member)];
        assert!(asked(peering.choose(7, &both, Among::All)).is_none());
    }

    #[test]
    fn a_node_with_too_much_of_ours_is_passed_over() {
        let peering = Arc::new(Peering::new("a", Instant::now()));
        peering.set(&peers(&["b", "c", "d", "e"], 1));
        let held: Vec<_> = (0..1_000)
            .map_while(|_| asked(peering.choose(7, &[], Among::All)))
            .collect();
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
        asked(peering.choose(7, &[], Among::All)).unwrap().failed();
        peering.set(&peers(&["a", "b"], 1));
        assert_eq!(peering.members(), (2, 1));
        peering.set(&peers(&["a", "b"], 2));
        assert_eq!(peering.members(), (2, 0));
    }

    #[test]
    fn only_nodes_of_the_first_level_are_asked_and_they_ask_each_other() {
        let labels = labels();
        let among = Among::Level {
            labels: &labels,
            fallback: true,
        };
        let all = ["a", "b", "c", "d", "e"];
        let list = first_level(peers(&all, 1), &["b", "d"]);
        let second = Arc::new(Peering::new("a", Instant::now()));
        let first = Arc::new(Peering::new("b", Instant::now()));
        second.set(&list);
        first.set(&list);
        let mut seen = std::collections::BTreeSet::new();
        for place in (0..64).map(|n| rank::of_name(&format!("/{n}"))) {
            let owner = asked(second.choose(place, &[], among)).unwrap().member.name.to_string();
            // The first level agrees with the second on whose a URL is.
            match first.choose(place, &[], among) {
                Choice::Origin => assert_eq!(owner, "b"),
                Choice::Member(asked) => assert_eq!((owner.as_str(), &*asked.member.name), ("d", "d")),
                Choice::Nobody => panic!("it is of the first level"),
            }
            seen.insert(owner);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["b", "d"]);
    }

    #[test]
    fn without_fallback_who_rests_is_asked_all_the_same_and_the_origin_only_by_the_first_level() {
        let labels = labels();
        let among = Among::Level {
            labels: &labels,
            fallback: false,
        };
        let second = Arc::new(Peering::new("a", Instant::now()));
        second.set(&first_level(peers(&["a", "b"], 1), &["b"]));
        let only = asked(second.choose(7, &[], among)).unwrap();
        only.failed();
        assert_eq!(&*asked(second.choose(7, &[], among)).unwrap().member.name, "b");
        let tried = [Arc::clone(&only.member)];
        assert!(matches!(second.choose(7, &tried, among), Choice::Nobody));
        second.set(&peers(&["a", "b"], 1));
        assert!(matches!(second.choose(7, &[], among), Choice::Nobody), "no first level");
        let first = Arc::new(Peering::new("a", Instant::now()));
        first.set(&first_level(peers(&["a", "b"], 1), &["a", "b"]));
        for place in (0..8).map(|n| rank::of_name(&format!("/{n}"))) {
            if let Some(other) = asked(first.choose(place, &[], among)) {
                other.failed();
            }
            assert!(matches!(first.choose(place, &[], among), Choice::Origin));
        }
    }
}
