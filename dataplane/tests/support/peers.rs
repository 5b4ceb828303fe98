//! Several data planes that know each other.

use std::net::SocketAddr;

use breakwater_dataplane::Listen;
use breakwater_snapshot::unit::{EdgeCache, FirstLevel, Parent, Tiering, Unit};
use breakwater_snapshot::{PeerAddress, PeerKey, Peers};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Objects, Plane, edge_cache, http_origin, objects};

/// Nodes with a listener for each other.
pub(crate) struct Nodes(pub(crate) Vec<Plane>);

/// An EdgeCache whose URLs have owners.
pub(crate) fn owner_site(origin: SocketAddr) -> EdgeCache {
    EdgeCache {
        tiering: Tiering::Owner,
        ..edge_cache(origin)
    }
}

/// An EdgeCache whose first level are the nodes with a label.
pub(crate) fn below_nodes(origin: SocketAddr, fallback: bool) -> EdgeCache {
    let labels = [("tier".to_owned(), "first".to_owned())];
    below(origin, FirstLevel::Nodes(labels.into()), fallback)
}

/// An EdgeCache with another edge before its origin.
pub(crate) fn below_edge(origin: SocketAddr, parents: &[SocketAddr], fallback: bool) -> EdgeCache {
    below(origin, FirstLevel::Servers(Box::new(http_origin(parents))), fallback)
}

fn below(origin: SocketAddr, level: FirstLevel, fallback: bool) -> EdgeCache {
    EdgeCache {
        tiering: Tiering::Parent(Parent { level, fallback }),
        ..edge_cache(origin)
    }
}

pub(crate) fn key() -> PeerKey {
    PeerKey {
        id: "0123456789abcdef".to_owned(),
        secret: "5a".repeat(32),
    }
}

/// The way to a node, which can be cut.
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    _relays: JoinSet<()>,
}

impl Way {
    /// A way to `address`. It is cut when this is dropped, and whatever goes over it.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut relays = JoinSet::new();
        relays.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                open.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(address).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self {
            address: at,
            _relays: relays,
        }
    }
}

impl Nodes {
    /// Has nodes go to the node `n` by `way`.
    pub(crate) fn lead(&self, peers: &mut Peers, n: usize, way: &Way) {
        let address = way.address;
        peers.members.insert(format!("node-{n}"), PeerAddress { address });
        self.0.iter().for_each(|plane| plane.data.set_peers(peers));
    }

    /// So many nodes before `site`, that know each other.
    pub(crate) async fn before(count: usize, site: EdgeCache) -> Self {
        let mut planes = Vec::new();
        for n in 0..count {
            planes.push(Self::node(&format!("node-{n}")).await);
        }
        let nodes = Self(planes);
        nodes.apply(&objects([("site", Unit::EdgeCache(site))])).await;
        nodes.introduce(|_| true);
        nodes
    }

    /// A node that knows nobody.
    pub(crate) async fn node(name: &str) -> Plane {
        Plane::with(|options| {
            name.clone_into(&mut options.node);
            options.listen.push(Listen {
                peer: true,
                ..Listen::from("127.0.0.1:0".parse::<SocketAddr>().unwrap())
            });
        })
        .await
    }

    pub(crate) async fn apply(&self, objects: &Objects) {
        for plane in &self.0 {
            plane.apply(objects.clone()).await;
        }
    }

    /// Tells all nodes of those that `which` picks by number.
    pub(crate) fn introduce(&self, which: impl Fn(usize) -> bool) {
        let peers = self.peers(which);
        self.0.iter().for_each(|plane| plane.data.set_peers(&peers));
    }

    pub(crate) fn peers(&self, which: impl Fn(usize) -> bool) -> Peers {
        let picked = self.0.iter().enumerate().filter(|(n, _)| which(*n));
        let members = picked.map(|(n, plane)| {
            let address = plane.data.peer_address().unwrap();
            (format!("node-{n}"), PeerAddress { address })
        });
        Peers {
            members: members.collect(),
            keys: vec![key()],
            ..Peers::default()
        }
    }

    /// Tells all nodes of all, of which those that `which` picks have the label of the first level.
    pub(crate) fn level(&self, which: impl Fn(usize) -> bool) -> Peers {
        let mut peers = self.peers(|_| true);
        let label = [("tier".to_owned(), "first".to_owned())];
        let first = (0..self.0.len()).filter(|n| which(*n));
        peers.labels = first.map(|n| (format!("node-{n}"), label.clone().into())).collect();
        self.0.iter().for_each(|plane| plane.data.set_peers(&peers));
        peers
    }

    /// The sum over all nodes of what they counted of each other.
    pub(crate) async fn counted(&self, direction: &str, result: &str) -> f64 {
        let series = format!("breakwater_peer_requests_total{{direction=\"{direction}\",result=\"{result}\"}}");
        let mut sum = 0.0;
        for plane in &self.0 {
            sum += plane.metric(&series).await;
        }
        sum
    }

    /// Which node owns `target` of shop.test: the one that answers without asking another. It has it stored then.
    pub(crate) async fn owner(&self, target: &str) -> usize {
        for (n, plane) in self.0.iter().enumerate() {
            let answer = plane.client().await.get("shop.test", target, "").await;
            if answer.cache_status().starts_with("breakwater;") {
                return n;
            }
        }
        panic!("nobody owns {target}");
    }
}
