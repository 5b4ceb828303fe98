//! An origin as all workers see it, and the register of all origins.
//!
//! Invariant: a server that stays in its origin stays the same [`Server`], whatever else changes, so that its health and
//! its load are never forgotten by a configuration. What the last configuration does not name is swept with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use breakwater_snapshot::unit;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, watch};

use super::pool::Key;
use super::server::{Entry, Server, Servers, bare};
use super::stream::Stream;
use super::tls::{Identities, Identity, Shown};
use super::{OriginError, keeper, tls};
use crate::peer::handshake::Door;

/// In place of the number of a TLS identity, which counts up from 0: the connection was proved to be a node's.
const PEER: u64 = u64::MAX;

/// Addresses of one name that are used.
const MAX_ADDRESSES: usize = 64;

/// Requests that may wait for a connection where nothing else is said.
const PENDING: u32 = 1_024;

/// A group of servers and what is known of them.
#[derive(Debug)]
pub(crate) struct Origin {
    /// `Kind/namespace/name` of the resource.
    pub(crate) label: String,
    pub(crate) unit: unit::Origin,
    /// How connections are secured, or why they cannot be; none means clear text.
    tls: Option<Result<Arc<Identity>, String>>,
    /// The one server is another node: how it is greeted.
    pub(super) peer: Option<Door>,
    servers: watch::Sender<Arc<Servers>>,
    /// What each name was resolved to.
    names: Mutex<BTreeMap<String, Answer>>,
    counts: Arc<Counts>,
    started: Instant,
}

/// What a name is.
pub(super) type Answer = Result<Vec<IpAddr>, String>;

/// What is going on towards an origin, over all configurations.
#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU32,
    pending: AtomicU32,
    ejecting: Mutex<()>,
}

impl Origin {
    pub(super) fn new(
        label: &str,
        unit: unit::Origin,
        tls: Option<Result<Arc<Identity>, String>>,
        before: Option<&Self>,
        started: Instant,
    ) -> Self {
        let named: BTreeSet<_> = unit.endpoints.iter().filter_map(name_of).collect();
        let names = before.map(|before| before.names.lock().clone()).unwrap_or_default();
        let names: BTreeMap<_, _> = names
            .into_iter()
            .filter(|(name, _)| named.contains(name.as_str()))
            .collect();
        let empty = Arc::default();
        let known = before.map_or(empty, |before| Arc::clone(&before.servers.borrow()));
        let now_ms = elapsed_ms(started);
        let servers = Arc::new(servers(&unit, &names, &known, now_ms));
        Self {
            label: label.to_owned(),
            tls,
            peer: None,
            servers: watch::Sender::new(servers),
            names: Mutex::new(names),
            counts: before.map(|before| Arc::clone(&before.counts)).unwrap_or_default(),
            unit,
            started,
        }
    }

    /// How connections are secured; none means clear text.
    ///
    /// # Errors
    /// When something for it is missing.
    pub(super) fn identity(&self) -> Result<Option<&Identity>, OriginError> {
        match &self.tls {
            None => Ok(None),
            Some(Ok(identity)) => Ok(Some(identity)),
            Some(Err(reason)) => Err(tls::incomplete(reason)),
        }
    }

    /// Which connections to `server` serve each other's requests.
    pub(super) fn key(&self, server: &Server) -> Key {
        let identity = self.tls.as_ref().and_then(|tls| tls.as_ref().ok());
        if let Some(door) = &self.peer {
            return Key {
                address: server.address,
                secured: Some((PEER, Arc::clone(&door.name))),
            };
        }
        Key {
            address: server.address,
            secured: identity.map(|identity| (identity.number, Arc::clone(&server.host))),
        }
    }

    /// Opens a connection to `server` and secures it, if it is to be. `http2` asks for that protocol.
    pub(super) async fn dial(&self, server: &Server, http2: bool) -> Result<Stream, OriginError> {
        let dialled = self.connect(server, http2).await;
        if let Err(error) = &dialled {
            self.tell(server, error);
        }
        dialled
    }

    /// Says what is wrong with TLS and what to do: the rest is seen elsewhere, and mends itself more often. Once for a
    /// server and a reason, and again from time to time while it lasts.
    pub(super) fn tell(&self, server: &Server, error: &OriginError) {
        if let Some(fault) = error.tls_fault()
            && server.may_tell(fault.kind, self.now_ms())
        {
            let (resource, reason) = (self.label.as_str(), fault.kind.label());
            let remedy = fault.remedy();
            tracing::warn!(resource, %server, reason, "no TLS with an origin's server: {fault}; {remedy}");
        }
    }

    async fn connect(&self, server: &Server, http2: bool) -> Result<Stream, OriginError> {
        let identity = self.identity()?;
        let mut stream = TcpStream::connect(server.address).await.map_err(OriginError::Connect)?;
        stream.set_nodelay(true).map_err(OriginError::Connect)?;
        if let Some(door) = &self.peer {
            door.enter(&mut stream).await.map_err(OriginError::Connect)?;
        }
        Ok(match identity {
            None => Stream::Plain(stream),
            Some(identity) => Stream::Tls(Box::new(identity.secure(&server.host, stream, http2).await?)),
        })
    }

    /// The servers, and word when they change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Servers>> {
        self.servers.subscribe()
    }

    /// Whether there is anything to keep true of it: names, or health.
    pub(super) fn needs_keeping(&self) -> bool {
        self.unit.health.is_some() || self.unit.endpoints.iter().any(|endpoint| name_of(endpoint).is_some())
    }

    /// The servers whose health is checked: address, and whether it is well.
    pub(crate) fn checked(&self) -> Vec<(SocketAddr, bool)> {
        if self.unit.health.is_none() {
            return Vec::new();
        }
        let servers = self.servers.borrow();
        let entries = servers.entries.iter();
        entries.map(|e| (e.server.address, e.server.is_healthy())).collect()
    }

    /// The names among the endpoints.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let names = self.unit.endpoints.iter().filter_map(name_of);
        names.map(str::to_owned).collect()
    }

    /// Takes the answer to the question for a name. One that failed changes nothing while an older one is there.
    pub(super) fn resolved(&self, name: &str, answer: Answer) {
        let mut names = self.names.lock();
        let known = names.get(name);
        if known == Some(&answer) || (answer.is_err() && known.is_some_and(Result::is_ok)) {
            return;
        }
        names.insert(name.to_owned(), answer);
        let known = Arc::clone(&self.servers.borrow());
        let servers = servers(&self.unit, &names, &known, self.now_ms());
        self.servers.send_replace(Arc::new(servers));
    }

    /// Milliseconds on the workers' clock.
    pub(super) fn now_ms(&self) -> u64 {
        elapsed_ms(self.started)
    }

    /// Counts a request in.
    ///
    /// # Errors
    /// When as many are in progress as may be.
    pub(super) fn admit(&self) -> Result<Option<Admitted>, OriginError> {
        let Some(most) = self.unit.circuit.requests else {
            return Ok(None);
        };
        let admitted = Admitted(Arc::clone(&self.counts));
        // Counted in before it is compared: the guard counts out whatever comes of it.
        if self.counts.requests.fetch_add(1, Relaxed) >= most {
            return Err(OriginError::Overloaded(Refusal::Requests));
        }
        Ok(Some(admitted))
    }

    /// Counts in a request that waits for a connection to `server`.
    ///
    /// # Errors
    /// When as many wait as may.
    pub(super) fn wait(&self, server: &Arc<Server>) -> Result<Waiting, OriginError> {
        let before = self.counts.pending.fetch_add(1, Relaxed);
        server.waiting.fetch_add(1, Relaxed);
        let waiting = Waiting {
            counts: Arc::clone(&self.counts),
            server: Arc::clone(server),
        };
        if before >= self.unit.circuit.pending.unwrap_or(PENDING) {
            return Err(OriginError::Overloaded(Refusal::Pending));
        }
        Ok(waiting)
    }

    /// Notes a failure of `server`. True when it rests from now on.
    pub(super) fn failed(&self, server: &Arc<Server>, now_ms: u64) -> bool {
        let Some(rule) = &self.unit.ejection else {
            return false;
        };
        if !server.failed(rule) || rule.max_percent == 0 {
            return false;
        }
        let _one_at_a_time = self.counts.ejecting.lock();
        let servers = self.servers.borrow();
        let entries = &servers.entries;
        let resting = entries.iter().filter(|entry| entry.server.is_ejected(now_ms)).count();
        let most = (entries.len() * usize::from(rule.max_percent) / 100).max(1);
        let another = entries
            .iter()
            .any(|entry| entry.weight > 0 && !Arc::ptr_eq(&entry.server, server) && entry.server.is_well(now_ms));
        if server.is_ejected(now_ms) || resting >= most || !another {
            return false;
        }
        let rest = server.eject(rule, now_ms);
        tracing::warn!(
            resource = self.label,
            "the server {server} failed {} times in a row and rests for {rest} ms",
            rule.consecutive_failures
        );
        true
    }
}

/// A request's place among those in progress.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<Counts>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

/// A request's place among those that wait.
#[derive(Debug)]
pub(super) struct Waiting {
    counts: Arc<Counts>,
    server: Arc<Server>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.counts.pending.fetch_sub(1, Relaxed);
        self.server.waiting.fetch_sub(1, Relaxed);
    }
}

/// Why a request is not let through to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many are in progress as may be.
    Requests,
    /// As many wait for a connection as may.
    Pending,
    /// It waited, and its turn did not come in time.
    Waited,
}

impl Refusal {
    pub(crate) const ALL: [Self; 3] = [Self::Requests, Self::Pending, Self::Waited];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Pending => "pending",
            Self::Waited => "waited",
        }
    }

    pub(super) const fn limit(self) -> &'static str {
        match self {
            Self::Requests => "requests in progress",
            Self::Pending => "requests that wait for a connection",
            Self::Waited => "connections",
        }
    }
}

fn name_of(endpoint: &unit::Endpoint) -> Option<&str> {
    let host = bare(&endpoint.host);
    host.parse::<IpAddr>().is_err().then_some(host)
}

fn elapsed_ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The servers of a configuration: those `known` stay the same.
fn servers(unit: &unit::Origin, names: &BTreeMap<String, Answer>, known: &Servers, now_ms: u64) -> Servers {
    let mut servers = Servers::default();
    // Those that are there when an origin is first seen do not come back from anywhere.
    let appeared = if known.entries.is_empty() { 0 } else { now_ms };
    for endpoint in &unit.endpoints {
        let host = bare(&endpoint.host);
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => match names.get(host) {
                Some(Ok(addresses)) => addresses.iter().copied().take(MAX_ADDRESSES).collect(),
                Some(Err(reason)) => {
                    servers.failed = Some((host.to_owned(), reason.clone()));
                    continue;
                }
                None => {
                    servers.unresolved = true;
                    continue;
                }
            },
        };
        for address in addresses {
            let address = SocketAddr::new(address, endpoint.port);
            let same = |entry: &&Entry| entry.server.address == address && *entry.server.host == *host;
            let known = known.entries.iter().find(same);
            let server = known.map_or_else(
                || Arc::new(Server::new(endpoint, address, appeared)),
                |known| Arc::clone(&known.server),
            );
            let slots = unit.circuit.connections_per_server.map(|most| {
                let kept = known.and_then(|known| known.slots.clone());
                kept.filter(|(before, _)| *before == most)
                    .unwrap_or_else(|| (most, Arc::new(Semaphore::new(most as usize))))
            });
            servers.entries.push(Entry {
                server,
                weight: endpoint.weight,
                slots,
                multiplexed: unit.protocol == unit::OriginProtocol::Http2,
            });
        }
    }
    servers
}

/// All origins of the configuration in force.
#[derive(Debug)]
pub(crate) struct Fleet {
    origins: Mutex<BTreeMap<String, Arc<Origin>>>,
    started: Instant,
    pub(super) name_servers: Vec<SocketAddr>,
    identities: Identities,
    kept: AtomicBool,
    wake: Arc<Notify>,
}

impl Fleet {
    /// `started` is where the workers' clocks count from; `name_servers` are asked for names, those of the system if
    /// there are none.
    pub(crate) fn new(started: Instant, name_servers: Vec<SocketAddr>) -> Self {
        Self {
            origins: Mutex::default(),
            started,
            name_servers,
            identities: Identities::default(),
            kept: AtomicBool::new(false),
            wake: Arc::default(),
        }
    }

    /// Origins that nobody is sent to: no name is resolved, no health is checked.
    pub(crate) fn unkept() -> Self {
        let fleet = Self::new(Instant::now(), Vec::new());
        fleet.kept.store(true, Relaxed);
        fleet
    }

    /// The origin of the resource `label`: the one that is known if it is the same, else a new one that goes on with
    /// the servers of the old.
    /// `shown` is the client certificate it names.
    pub(crate) fn origin(&self, label: &str, unit: &unit::Origin, shown: Shown<'_>) -> Arc<Origin> {
        let tls = unit.tls.as_ref().map(|tls| self.identities.find(tls, shown));
        let number = |tls: &Option<Result<Arc<Identity>, String>>| {
            let tls = tls.as_ref();
            tls.map(|tls| tls.as_ref().map(|identity| identity.number).map_err(String::clone))
        };
        let mut origins = self.origins.lock();
        let known = origins.get(label);
        if let Some(known) = known.filter(|known| known.unit == *unit && number(&known.tls) == number(&tls)) {
            return Arc::clone(known);
        }
        if let Some(Err(reason)) = &tls {
            tracing::warn!(resource = label, "its origin cannot be reached over TLS: {reason}");
        }
        let before = known.map(Arc::as_ref);
        let origin = Arc::new(Origin::new(label, unit.clone(), tls, before, self.started));
        origins.insert(label.to_owned(), Arc::clone(&origin));
        origin
    }

    /// Forgets the origins of resources that are gone, and sees to those that are there.
    pub(crate) fn settle(self: &Arc<Self>, is_there: impl Fn(&str) -> bool) {
        let needed = {
            let mut origins = self.origins.lock();
            origins.retain(|label, _| is_there(label));
            origins.values().any(|origin| origin.needs_keeping())
        };
        self.identities.prune();
        if needed && !self.kept.swap(true, Relaxed) {
            keeper::start(self, Arc::clone(&self.wake));
        }
        self.wake.notify_one();
    }

    /// All of them.
    pub(crate) fn origins(&self) -> Vec<Arc<Origin>> {
        self.origins.lock().values().cloned().collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Arc<Fleet> {
        Arc::new(Fleet::new(Instant::now(), Vec::new()))
    }

    fn endpoint(host: &str) -> unit::Endpoint {
        unit::Endpoint {
            host: host.to_owned(),
            port: 80,
            weight: 1,
        }
    }

    fn unit(hosts: &[&str]) -> unit::Origin {
        unit::Origin {
            endpoints: hosts.iter().map(|host| endpoint(host)).collect(),
            ejection: Some(unit::Ejection {
                consecutive_failures: 1,
                base_ms: 60_000,
                max_percent: 50,
            }),
            ..unit::Origin::default()
        }
    }

    fn names(origin: &Origin) -> Vec<String> {
        let servers = origin.subscribe();
        let servers = servers.borrow();
        servers.entries.iter().map(|e| e.server.address.to_string()).collect()
    }

    fn server(origin: &Origin, index: usize) -> Arc<Server> {
        Arc::clone(&origin.subscribe().borrow().entries[index].server)
    }

    #[test]
    fn a_server_that_stays_is_the_same_in_the_next_configuration() {
        let fleet = fleet();
        let before = fleet.origin("EdgeCache/a/b", &unit(&["192.0.2.1", "192.0.2.2"]), None);
        assert!(before.failed(&server(&before, 1), before.now_ms()));
        let same = fleet.origin("EdgeCache/a/b", &unit(&["192.0.2.1", "192.0.2.2"]), None);
        assert!(Arc::ptr_eq(&before, &same));
        let after = fleet.origin("EdgeCache/a/b", &unit(&["192.0.2.2", "192.0.2.3"]), None);
        assert!(Arc::ptr_eq(&server(&before, 1), &server(&after, 0)));
        assert!(server(&after, 0).is_ejected(after.now_ms()));
        let other = fleet.origin("EdgeCache/a/c", &unit(&["192.0.2.2"]), None);
        assert!(
            !server(&other, 0).is_ejected(other.now_ms()),
            "each resource has its own view"
        );
        fleet.settle(|label| label == "EdgeCache/a/c");
        assert_eq!(fleet.origins().len(), 1);
    }

    #[test]
    fn not_more_servers_rest_than_may_and_never_the_last() {
        let fleet = fleet();
        let four = fleet.origin("a", &unit(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]), None);
        let ejected: Vec<_> = (0..4).map(|n| four.failed(&server(&four, n), 1)).collect();
        assert_eq!(ejected, [true, true, false, false]);
        let one = fleet.origin("b", &unit(&["192.0.2.1"]), None);
        assert!(!one.failed(&server(&one, 0), 1));
        let two = fleet.origin("c", &unit(&["192.0.2.1", "192.0.2.2"]), None);
        server(&two, 1).set_healthy(false, 1);
        assert!(!two.failed(&server(&two, 0), 1), "the other is unhealthy");
    }

    #[test]
    fn each_address_of_a_name_is_a_server() {
        let fleet = fleet();
        let origin = fleet.origin("a", &unit(&["shop.test", "192.0.2.9"]), None);
        assert_eq!(names(&origin), ["192.0.2.9:80"]);
        assert!(origin.subscribe().borrow().unresolved);
        let addresses = |list: &[&str]| Ok(list.iter().map(|ip| ip.parse().unwrap()).collect());
        origin.resolved("shop.test", addresses(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(names(&origin), ["192.0.2.1:80", "[2001:db8::1]:80", "192.0.2.9:80"]);
        let kept = server(&origin, 1);
        origin.resolved("shop.test", Err("no answer".to_owned()));
        assert_eq!(names(&origin).len(), 3, "the old answer stands");
        origin.resolved("shop.test", addresses(&["2001:db8::1"]));
        assert!(Arc::ptr_eq(&kept, &server(&origin, 0)));
        let next = fleet.origin("a", &unit(&["shop.test"]), None);
        assert_eq!(
            names(&next),
            ["[2001:db8::1]:80"],
            "an answer outlives the configuration"
        );
    }

    #[test]
    fn a_name_without_address_says_why() {
        let origin = fleet().origin("a", &unit(&["shop.test"]), None);
        origin.resolved("shop.test", Err("no such name".to_owned()));
        let servers = origin.subscribe();
        let failed = servers.borrow().failed.clone();
        assert_eq!(failed, Some(("shop.test".to_owned(), "no such name".to_owned())));
    }

    #[test]
    fn requests_beyond_the_limit_are_refused_and_counted_out() {
        let mut unit = unit(&["192.0.2.1"]);
        unit.circuit.requests = Some(1);
        let origin = fleet().origin("a", &unit, None);
        let first = origin.admit().unwrap();
        assert!(origin.admit().is_err() && origin.admit().is_err());
        drop(first);
        assert!(origin.admit().is_ok());
    }
}
