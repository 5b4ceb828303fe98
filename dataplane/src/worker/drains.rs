//! Which of a worker's live WebSockets are told to go: those of a WsRoute that is gone, those to a server that is no
//! longer one of its backend's, and all of them when the process goes away.
//!
//! Sockets of one route to one server are a [`Group`]. Invariants: what a group is told follows from the configuration in
//! force alone, so that a route or a server that comes back in time keeps the sockets whose moment has not come, and any
//! other change touches none; there is a group only while it has sockets. A relay finds its own moment
//! ([`breakwater_websocket::Drain`]).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::{Rc, Weak};
use std::time::Duration;

use breakwater_snapshot::unit;
use breakwater_websocket::{Cause, Drain, Order};

use crate::config::Config;

/// How long the last that is closed has to answer before a drain's deadline, at least.
const ANSWER: Duration = Duration::from_secs(5);

/// The groups of a worker; cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drains(Rc<Groups>);

#[derive(Debug, Default)]
struct Groups {
    all: RefCell<BTreeMap<Key, Weak<Group>>>,
    /// The process goes away: since when, and the longest spread there is time for.
    leaving: Cell<Option<(u64, u64)>>,
}

/// The route, `Kind/namespace/name`, and the server, `host:port` as its backend names it. A name's addresses may come and
/// go: an answer to a question for it may be a part of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    route: String,
    server: String,
}

/// The sockets of a route to a server; each holds it.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) drain: Drain,
    /// Of the last configuration that had the route.
    terms: Cell<unit::Drain>,
    key: Key,
    groups: Rc<Groups>,
}

impl Drains {
    /// The group of a new socket of `route` to `server`. The route is as it was when the handshake began:
    /// [`Drains::settle`] must follow if the configuration has changed since.
    pub(crate) fn join(&self, route: &str, server: &str, terms: unit::Drain) -> Rc<Group> {
        let key = Key {
            route: route.to_owned(),
            server: server.to_owned(),
        };
        let known = self.0.all.borrow().get(&key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let group = Rc::new(Group {
                drain: Drain::default(),
                terms: Cell::new(terms),
                key: key.clone(),
                groups: Rc::clone(&self.0),
            });
            if let Some((since_ms, longest_ms)) = self.0.leaving.get() {
                group.leave(since_ms, longest_ms);
            }
            self.0.all.borrow_mut().insert(key, Rc::downgrade(&group));
            group
        })
    }

    /// Tells each group what follows from `config`. True if one of them has a new order: the relays must be woken.
    pub(crate) fn settle(&self, config: &Config, now_ms: u64) -> bool {
        if self.0.leaving.get().is_some() {
            return false;
        }
        let groups = self.groups();
        if groups.is_empty() {
            return false;
        }
        let routes: HashMap<_, _> = config.web_sockets().collect();
        let mut ordered = false;
        // Those of one route are neighbours.
        for groups in groups.chunk_by(|one, other| one.key.route == other.key.route) {
            let Some(route) = groups.first().and_then(|group| routes.get(&*group.key.route)) else {
                for group in groups {
                    ordered |= group.wish(Some(Cause::RouteDeleted), now_ms);
                }
                continue;
            };
            let servers: HashSet<String> = route.servers().collect();
            for group in groups {
                group.terms.set(route.drain);
                let gone = !servers.contains(&group.key.server);
                ordered |= group.wish(gone.then_some(Cause::ServerRemoved), now_ms);
            }
        }
        ordered
    }

    /// The process goes away and is cut off after `grace`: every socket is closed before, those too that are opened from
    /// now on. The relays must be woken.
    pub(crate) fn leave(&self, grace: Duration, now_ms: u64) {
        let longest = grace.saturating_sub(ANSWER).max(grace / 2);
        let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.0.leaving.set(Some((now_ms, longest_ms)));
        for group in self.groups() {
            group.leave(now_ms, longest_ms);
        }
    }

    /// In the order of their keys.
    fn groups(&self) -> Vec<Rc<Group>> {
        self.0.all.borrow().values().filter_map(Weak::upgrade).collect()
    }
}

impl Group {
    /// Gives an order, or takes it back, if that changes anything. True if there is a new order.
    fn wish(&self, cause: Option<Cause>, now_ms: u64) -> bool {
        let terms = self.terms.get();
        let cause = cause.filter(|_| terms.close);
        if cause == self.drain.cause() {
            return false;
        }
        match cause {
            None => self.drain.withdraw(),
            Some(cause) => self.order(cause, now_ms, terms.spread_ms),
        }
        cause.is_some()
    }

    fn leave(&self, since_ms: u64, longest_ms: u64) {
        self.order(Cause::Shutdown, since_ms, self.terms.get().spread_ms.min(longest_ms));
    }

    fn order(&self, cause: Cause, from_ms: u64, spread_ms: u64) {
        self.drain.begin(Order {
            cause,
            from_ms,
            spread_ms: u32::try_from(spread_ms).unwrap_or(u32::MAX),
            phase: fastrand::u32(..),
        });
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut all = self.groups.all.borrow_mut();
        // Not its successor, if it has one already.
        if all.get(&self.key).is_some_and(|group| group.strong_count() == 0) {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "192.0.2.1:80";

    fn join(drains: &Drains, close: bool) -> Rc<Group> {
        let terms = unit::Drain {
            close,
            spread_ms: 1_000,
        };
        drains.join("WsRoute/default/chat", SERVER, terms)
    }

    #[test]
    fn sockets_of_a_route_to_a_server_are_one_group_which_is_forgotten_with_the_last() {
        let drains = Drains::default();
        let (one, two) = (join(&drains, true), join(&drains, true));
        assert!(Rc::ptr_eq(&one, &two));
        let other = drains.join("WsRoute/default/chat", "192.0.2.2:80", unit::Drain::default());
        assert!(!Rc::ptr_eq(&one, &other));
        drop((one, other));
        assert_eq!(drains.0.all.borrow().len(), 1);
        drop(two);
        assert!(drains.0.all.borrow().is_empty());
    }

    #[test]
    fn a_deleted_route_is_told_once_and_only_to_those_that_are_not_kept() {
        let (drains, kept) = (Drains::default(), Drains::default());
        let (group, other) = (join(&drains, true), join(&kept, false));
        assert!(drains.settle(&Config::default(), 5) && !drains.settle(&Config::default(), 6));
        assert!(!kept.settle(&Config::default(), 5));
        assert_eq!(
            (group.drain.cause(), other.drain.cause()),
            (Some(Cause::RouteDeleted), None)
        );
    }

    #[test]
    fn when_the_process_leaves_all_are_told_and_those_that_come_later_too() {
        let drains = Drains::default();
        let before = join(&drains, false);
        drains.leave(Duration::from_secs(30), 5);
        let later = drains.join("WsRoute/default/other", SERVER, unit::Drain::default());
        assert!(!drains.settle(&Config::default(), 6), "nothing else counts any more");
        for group in [before, later] {
            assert_eq!(group.drain.cause(), Some(Cause::Shutdown));
        }
    }
}
