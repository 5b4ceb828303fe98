//! A server as all workers see it: how busy it is, whether it is well, whether it rests.
//!
//! Invariant: everything here is an atomic; a request never waits for another. A server is the same value for as long
//! as its origin names it, across configurations: what is known of it survives a change of anything else.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use breakwater_snapshot::unit::{Ejection, Endpoint};
use tokio::sync::Semaphore;

use super::tls::Kind;

/// A fault that lasts is told again after this long.
const TELL_AGAIN_MS: u64 = 10 * 60 * 1000;

/// An ejection lasts at most so many times its base.
const LONGEST: u32 = 10;

/// One address of an origin.
#[derive(Debug)]
pub(crate) struct Server {
    /// As configured: a name or an address.
    pub(crate) host: Arc<str>,
    pub(crate) address: SocketAddr,
    /// `host:port`.
    name: String,
    /// For rendezvous hashing: the same on every worker and node.
    pub(crate) key: u64,
    /// Requests in progress.
    pub(crate) requests: AtomicU32,
    /// Requests that wait for a connection.
    pub(crate) waiting: AtomicU32,
    /// What active checks say.
    unhealthy: AtomicBool,
    /// Whether an active check was ever answered for.
    checked: AtomicBool,
    /// Failures in a row.
    failures: AtomicU32,
    /// It rests until then, milliseconds of the workers' clock.
    ejected_until_ms: AtomicU64,
    /// How often it was ejected of late.
    ejections: AtomicU32,
    /// When it was last seen to come back or appear; 0 means it was there from the start.
    back_since_ms: AtomicU64,
    /// When each kind of TLS fault was last told, milliseconds; 0 means never.
    told_ms: [AtomicU64; Kind::COUNT],
}

impl Server {
    /// A server that is taken to be well. `now_ms` is when it appeared; 0 gives it its full share at once.
    pub(crate) fn new(endpoint: &Endpoint, address: SocketAddr, now_ms: u64) -> Self {
        use std::hash::{BuildHasher, Hasher};
        let name = endpoint.to_string();
        let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
        hasher.write(name.as_bytes());
        hasher.write(address.to_string().as_bytes());
        Self {
            host: bare(&endpoint.host).into(),
            address,
            name,
            key: hasher.finish(),
            requests: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            unhealthy: AtomicBool::new(false),
            checked: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            back_since_ms: AtomicU64::new(now_ms),
            told_ms: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Whether it takes requests.
    pub(crate) fn is_well(&self, now_ms: u64) -> bool {
        !self.unhealthy.load(Relaxed) && !self.is_ejected(now_ms)
    }

    /// Whether active checks found it well.
    pub(crate) fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Relaxed)
    }

    /// Whether an active check had a result; notes that one has now.
    pub(super) fn was_checked(&self) -> bool {
        self.checked.swap(true, Relaxed)
    }

    /// Whether it rests.
    pub(crate) fn is_ejected(&self, now_ms: u64) -> bool {
        now_ms < self.ejected_until_ms.load(Relaxed)
    }

    /// How much of its share it gets, in thousandths: less while it comes back.
    pub(crate) fn share(&self, slow_start_ms: u64, now_ms: u64) -> u64 {
        let since = self.back_since_ms.load(Relaxed);
        if slow_start_ms == 0 || since == 0 {
            return 1000;
        }
        let passed = now_ms.saturating_sub(since).min(slow_start_ms);
        (passed * 1000 / slow_start_ms).max(100)
    }

    /// Takes the word of an active check. True when that changes anything.
    pub(super) fn set_healthy(&self, healthy: bool, now_ms: u64) -> bool {
        let changed = self.unhealthy.swap(!healthy, Relaxed) == healthy;
        if changed && healthy {
            self.failures.store(0, Relaxed);
            self.back_since_ms.store(now_ms.max(1), Relaxed);
        }
        changed
    }

    /// Whether a fault is to be told now; noted as told then.
    pub(super) fn may_tell(&self, kind: Kind, now_ms: u64) -> bool {
        let Some(told) = self.told_ms.get(kind as usize) else {
            return false;
        };
        let last = told.load(Relaxed);
        let now_ms = now_ms.max(1);
        // Of several workers that see it at once, one tells.
        (last == 0 || now_ms >= last.saturating_add(TELL_AGAIN_MS))
            && told.compare_exchange(last, now_ms, Relaxed, Relaxed).is_ok()
    }

    /// A good answer.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// A failure; true when it is one too many in a row.
    pub(super) fn failed(&self, rule: &Ejection) -> bool {
        self.failures.fetch_add(1, Relaxed) + 1 >= rule.consecutive_failures.max(1)
    }

    /// Lets it rest, each time longer, and returns for how long, milliseconds.
    pub(super) fn eject(&self, rule: &Ejection, now_ms: u64) -> u64 {
        let last = self.ejected_until_ms.load(Relaxed);
        let longest = rule.base_ms.saturating_mul(LONGEST.into());
        let quiet = now_ms.saturating_sub(last) > longest;
        let times = if quiet { 1 } else { self.ejections.load(Relaxed) + 1 }.min(LONGEST);
        let rest = rule.base_ms.saturating_mul(times.into());
        self.ejections.store(times, Relaxed);
        self.failures.store(0, Relaxed);
        let until = now_ms.saturating_add(rest);
        self.back_since_ms.store(until, Relaxed);
        self.ejected_until_ms.store(until, Relaxed);
        rest
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A host without the brackets of an IPv6 address.
pub(super) fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// A server's place in its origin.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) server: Arc<Server>,
    pub(crate) weight: u16,
    /// Its connections, where they are limited: how many, and the places that are free.
    pub(crate) slots: Option<(u32, Arc<Semaphore>)>,
    /// One connection has many requests.
    pub(crate) multiplexed: bool,
}

impl Entry {
    /// Whether a request would have to wait its turn.
    pub(crate) fn is_full(&self) -> bool {
        let full = |(most, _): &(u32, _)| self.server.requests.load(Relaxed) >= *most;
        !self.multiplexed && self.slots.as_ref().is_some_and(full)
    }
}

/// The servers of an origin at one time.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    pub(crate) entries: Vec<Entry>,
    /// A name was not answered for yet.
    pub(crate) unresolved: bool,
    /// A name that has no address, and why.
    pub(crate) failed: Option<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Ejection = Ejection {
        consecutive_failures: 3,
        base_ms: 100,
        max_percent: 50,
    };

    fn server() -> Server {
        let endpoint = Endpoint {
            host: "192.0.2.1".to_owned(),
            port: 80,
            weight: 1,
        };
        Server::new(&endpoint, "192.0.2.1:80".parse().unwrap(), 0)
    }

    #[test]
    fn a_fault_is_told_once_and_again_after_a_while_and_each_kind_by_itself() {
        let server = server();
        assert!(server.may_tell(Kind::WrongName, 0));
        assert!(!server.may_tell(Kind::WrongName, 1) && !server.may_tell(Kind::WrongName, TELL_AGAIN_MS));
        assert!(server.may_tell(Kind::Expired, 2));
        assert!(server.may_tell(Kind::WrongName, TELL_AGAIN_MS + 1));
        assert!(!server.may_tell(Kind::WrongName, TELL_AGAIN_MS + 2));
    }

    #[test]
    fn failures_count_only_in_a_row() {
        let server = server();
        assert!(!server.failed(&RULE) && !server.failed(&RULE));
        server.succeeded();
        assert!(!server.failed(&RULE) && !server.failed(&RULE) && server.failed(&RULE));
    }

    #[test]
    fn an_ejection_is_longer_each_time_and_at_most_tenfold() {
        let server = server();
        let mut now = 1_000;
        let rests: Vec<_> = (0..12)
            .map(|_| {
                let rest = server.eject(&RULE, now);
                assert!(!server.is_well(now + rest - 1) && server.is_well(now + rest));
                now += rest;
                rest
            })
            .collect();
        assert_eq!(rests[..3], [100, 200, 300]);
        assert_eq!(rests[9..], [1000, 1000, 1000]);
        assert_eq!(
            server.eject(&RULE, now + 1_001),
            100,
            "after a quiet time it starts anew"
        );
    }

    #[test]
    fn a_server_that_comes_back_has_its_share_little_by_little() {
        let server = server();
        assert_eq!(server.share(1_000, 5), 1000, "it was there from the start");
        assert!(server.set_healthy(false, 10) && !server.set_healthy(false, 20));
        assert!(server.set_healthy(true, 1_000));
        assert_eq!(
            [1_000, 1_500, 1_999, 2_000].map(|now| server.share(1_000, now)),
            [100, 500, 999, 1000]
        );
        assert_eq!(server.share(0, 1_000), 1000);
    }
}
