//! What the other replicas know of the nodes: of what they run, read by the leader; of where they may be asked, read by
//! all.
//!
//! A name is resolved to all its addresses (a headless Service) and each is asked in a task of its own. The question
//! waits at the peer for news, so that an acknowledgement there is known here at once and nothing is asked in vain.
//! Ourselves are recognised by identity and left out. Bounded: [`MOST`] peers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::lease::Leadership;
use crate::publish::{NodesView, PeersView};

/// Most peers asked.
pub const MOST: usize = 16;
/// Longest answer, bytes.
const LONGEST: usize = 64 * 1024 * 1024;
/// How often the name is resolved.
const RESOLVE: Duration = Duration::from_secs(5);
/// Shortest time between two questions to one peer.
const PACE: Duration = Duration::from_millis(100);
/// How long a peer is asked to wait for news.
const WAIT: Duration = Duration::from_secs(5);

/// How long what a peer said is kept after it is gone: its nodes speak to another replica soon, and until they do they
/// must not be missing from the count.
const MEMORY: Duration = Duration::from_secs(120);

/// What a replica says.
pub trait View: Clone + DeserializeOwned + Send + Sync + 'static {
    /// Where it is asked for.
    const PATH: &'static str;
    /// The replica that speaks.
    fn replica(&self) -> &str;
    /// Rises when it says something new.
    fn version(&self) -> u64;
}

impl View for NodesView {
    const PATH: &'static str = "/v1/nodes";

    fn replica(&self) -> &str {
        &self.replica
    }

    fn version(&self) -> u64 {
        self.version
    }
}

impl View for PeersView {
    const PATH: &'static str = "/v1/peers";

    fn replica(&self) -> &str {
        &self.replica
    }

    fn version(&self) -> u64 {
        self.version
    }
}

/// What the peers said. Cheap to clone: clones are the same.
#[derive(Clone, Debug)]
pub struct Peers<V = NodesView>(Arc<Shared<V>>);

impl<V> Default for Peers<V> {
    fn default() -> Self {
        Self(Arc::new(Shared {
            views: Mutex::default(),
            changed: watch::Sender::default(),
        }))
    }
}

#[derive(Debug)]
struct Shared<V> {
    views: Mutex<HashMap<SocketAddr, (V, Instant)>>,
    changed: watch::Sender<u64>,
}

impl<V: View> Peers<V> {
    /// What each peer last said, and how long ago.
    pub fn views(&self, now: Instant) -> Vec<(V, Duration)> {
        let mut views = self.0.views.lock();
        views.retain(|_, (_, at)| now.saturating_duration_since(*at) < MEMORY);
        let aged = |(view, at): &(V, Instant)| (view.clone(), now.saturating_duration_since(*at));
        views.values().map(aged).collect()
    }

    /// Changes when a peer says something new.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Asks the replicas behind `name` (`HOST:PORT`) for as long as this one leads.
    pub async fn follow(self, name: String, identity: String, mut leadership: Leadership) {
        let http = match reqwest::Client::builder().no_proxy().connect_timeout(RESOLVE).build() {
            Ok(http) => http,
            Err(error) => {
                tracing::error!(%error, "no HTTP client: peers are not asked");
                return;
            }
        };
        let mut tasks = JoinSet::new();
        let mut asked: HashMap<SocketAddr, tokio::task::AbortHandle> = HashMap::new();
        let mut failed = false;
        loop {
            leadership.gained().await;
            match resolve(&name).await {
                Ok(found) => {
                    failed = false;
                    asked.retain(|address, task| {
                        let stays = found.contains(address) && !task.is_finished();
                        if !stays {
                            task.abort();
                        }
                        stays
                    });
                    for address in found.into_iter().take(MOST) {
                        asked.entry(address).or_insert_with(|| {
                            let asking = self
                                .clone()
                                .ask(http.clone(), address, identity.clone(), leadership.clone());
                            tasks.spawn(asking)
                        });
                    }
                }
                Err(error) if !failed => {
                    tracing::warn!(name, %error, "the other replicas cannot be resolved and are tried again");
                    failed = true;
                }
                Err(_) => {}
            }
            while tasks.try_join_next().is_some() {}
            tokio::time::sleep(RESOLVE).await;
        }
    }

    async fn ask(self, http: reqwest::Client, peer: SocketAddr, identity: String, leadership: Leadership) {
        let mut since: Option<u64> = None;
        while leadership.holds(tokio::time::Instant::now()) {
            match question::<V>(&http, peer, since).await {
                Ok(view) if view.replica() == identity => {
                    // Ourselves: what we know is read without asking.
                    self.0.views.lock().remove(&peer);
                    tokio::time::sleep(RESOLVE).await;
                }
                Ok(view) => {
                    let news = since != Some(view.version());
                    since = Some(view.version());
                    self.0.views.lock().insert(peer, (view, Instant::now()));
                    if news {
                        self.0.changed.send_modify(|version| *version += 1);
                    }
                    tokio::time::sleep(PACE).await;
                }
                Err(error) => {
                    tracing::debug!(%peer, %error, "a replica could not be asked");
                    since = None;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

async fn question<V: View>(http: &reqwest::Client, peer: SocketAddr, since: Option<u64>) -> Result<V, String> {
    let wait = WAIT.as_millis();
    let query = since
        .map(|since| format!("?since={since}&wait_ms={wait}"))
        .unwrap_or_default();
    let asked = http
        .get(format!("http://{peer}{}{query}", V::PATH))
        .timeout(WAIT * 2)
        .send();
    let mut answer = asked
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| error.to_string())? {
        text.extend_from_slice(&chunk);
        if text.len() > LONGEST {
            return Err(format!("the answer is longer than {LONGEST} bytes"));
        }
    }
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// All addresses of `HOST:PORT`. Not the system's resolver: the binary is static.
async fn resolve(name: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let (host, port) = name.rsplit_once(':').ok_or("write HOST:PORT")?;
    let port = port.parse::<u16>().map_err(|_| "the port is no number")?;
    let resolver = hickory_resolver::TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| error.to_string())?;
    let found = resolver.lookup_ip(host).await.map_err(|error| error.to_string())?;
    let mut addresses: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}
