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
//! Limits that hold across nodes go the same way ([`spent`]).
//!
//! How nodes know each other is [`handshake`]'s; what they say to each other, `wire`'s. Who is asked for which
//! request, and what is done with the answer, is left to `handler`.

pub(crate) mod counts;
pub(crate) mod handshake;
pub(crate) mod rank;
pub(crate) mod rest;
pub(crate) mod spent;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use breakwater_snapshot::{Labels, Peers};
use parking_lot::Mutex;

use crate::challenge;
use crate::upstream::{Origin, Pool, Upstream};
use counts::{Counts, SpentCounts};
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
    pub(crate) spent: SpentCounts,
    /// What clients are asked with; every node that has the keys of nodes accepts what another asked for.
    pub(crate) challenges: challenge::Keys,
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
    /// It is being told what clients were allowed.
    told: AtomicBool,
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
            spent: SpentCounts::default(),
            challenges: challenge::Keys::random(),
            started,
            ring: Mutex::default(),
            in_flight: AtomicU32::new(0),
        }
    }

    /// Takes in who may be asked. Nodes that stay where they were keep what is known of them.
    pub(crate) fn set(&self, peers: &Peers) {
        self.keys.set(&peers.keys);
        self.challenges.set(&peers.keys);
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
                        told: AtomicBool::new(false),
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

    /// The nodes but this one.
    pub(crate) fn others(&self) -> Vec<Arc<Member>> {
        let ring = Arc::clone(&self.ring.lock());
        ring.all.iter().filter(|member| !member.own).cloned().collect()
    }

    /// Whether `member` failed and is left alone.
    fn rests(&self, member: &Member) -> bool {
        member.rest.rests(self.now_ms())
    }

    fn answered(&self, member: &Member) {
        member.rest.answered();
    }

    fn failed(&self, member: &Member) {
        member.rest.failed(self.now_ms());
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
        self.peering.answered(&self.member);
    }

    /// The node did not answer: it rests.
    pub(crate) fn failed(&self) {
        self.peering.failed(&self.member);
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
mod tests;
