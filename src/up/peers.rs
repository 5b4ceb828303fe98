//! Other machines that run `up`, given by hand: each is told of all others, and they share a secret.

use std::net::SocketAddr;
use std::path::PathBuf;

use breakwater_dataplane::DataPlane;
use breakwater_snapshot::{Labels, PeerAddress, PeerKey, Peers};
use clap::Args;

use crate::exit::Failure;

/// Fewer bytes are no secret.
const SHORTEST_SECRET: usize = 16;

/// Who else there is.
#[derive(Args, Debug)]
pub(crate) struct PeerArgs {
    /// This machine's name among those of --peer-of [default: the host's name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Another machine that runs `up` with the same manifests, the address of its --peer, and its labels; may be given
    /// several times. Each machine is given all others by the same names
    #[arg(long, value_name = "NAME=ADDR[,LABEL=VALUE]", value_parser = member, requires = "peer_key_file")]
    peer_of: Vec<Member>,
    /// A label of this machine, for `tiering.parent.nodes`; may be given several times. The others name it in --peer-of
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label, requires = "peer_of")]
    node_label: Vec<(String, String)>,
    /// File with the secret by which these machines know each other: the same on all, 16 bytes or more
    #[arg(long, value_name = "FILE")]
    peer_key_file: Option<PathBuf>,
}

/// Another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    name: String,
    address: SocketAddr,
    labels: Labels,
}

/// Who this machine is, and whom it may ask.
pub(crate) struct Machines {
    pub(crate) node: String,
    peers: Peers,
}

impl PeerArgs {
    /// Reads the secret.
    pub(crate) fn read(self) -> Result<Machines, Failure> {
        let node = match self.node {
            Some(node) => node,
            None => crate::dataplane::host_name().unwrap_or_default(),
        };
        if self.peer_of.iter().any(|member| member.name == node) {
            return Err(Failure::environment(
                format!("--peer-of names this machine itself, {node}"),
                "name the others, and this one with --node",
            ));
        }
        let mut keys = Vec::new();
        if let Some(path) = self.peer_key_file {
            let shown = path.display();
            let secret = std::fs::read(&path).map_err(|error| {
                Failure::environment(
                    format!("{shown} cannot be read: {error}"),
                    "it holds the secret of --peer-of",
                )
            })?;
            let secret = secret.trim_ascii();
            if secret.len() < SHORTEST_SECRET {
                return Err(Failure::environment(
                    format!("{shown} holds no secret of {SHORTEST_SECRET} bytes or more"),
                    "make one, such as by `openssl rand -hex 32`",
                ));
            }
            keys.push(PeerKey::from_secret(secret));
        }
        let mut peers = Peers {
            keys,
            ..Peers::default()
        };
        for Member { name, address, labels } in self.peer_of {
            peers.labels.insert(name.clone(), labels);
            peers.members.insert(name, PeerAddress { address });
        }
        peers.labels.insert(node.clone(), self.node_label.into_iter().collect());
        Ok(Machines { node, peers })
    }
}

impl Machines {
    /// Tells the data plane, which is one of them if others can ask it.
    pub(crate) fn introduce(mut self, data_plane: &DataPlane) {
        if let Some(address) = data_plane.peer_address().filter(|_| !self.peers.members.is_empty()) {
            self.peers.members.insert(self.node, PeerAddress { address });
        }
        data_plane.set_peers(&self.peers);
    }
}

/// Reads `NAME=ADDR`, and labels behind it.
///
/// # Errors
/// What is wrong, and how it is written.
fn member(text: &str) -> Result<Member, String> {
    let wrong = || format!("`{text}` is no NAME=ADDR, such as b=192.0.2.7:8602");
    let mut parts = text.split(',');
    let (name, address) = parts.next().and_then(|first| first.split_once('=')).ok_or_else(wrong)?;
    let address = address.parse().map_err(|_| wrong())?;
    match name {
        "" => Err(wrong()),
        name => Ok(Member {
            name: name.to_owned(),
            address,
            labels: parts.map(label).collect::<Result<_, _>>()?,
        }),
    }
}

/// Reads `LABEL=VALUE`.
///
/// # Errors
/// What is wrong, and how it is written.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is no LABEL=VALUE, such as tier=first")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_a_name_and_an_address() {
        let b = member("b=192.0.2.7:8602").unwrap();
        assert_eq!((b.name.as_str(), b.address), ("b", ([192, 0, 2, 7], 8602).into()));
        assert!(b.labels.is_empty());
        for wrong in ["b", "=192.0.2.7:1", "b=192.0.2.7", "b=http://192.0.2.7:1"] {
            assert!(member(wrong).unwrap_err().contains(wrong));
        }
    }

    #[test]
    fn labels_follow_the_address() {
        let b = member("b=192.0.2.7:8602,tier=first,zone=").unwrap();
        let labels = [("tier", "first"), ("zone", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(b.labels, labels.into());
        for wrong in ["b=192.0.2.7:1,", "b=192.0.2.7:1,tier", "b=192.0.2.7:1,=first"] {
            assert!(member(wrong).unwrap_err().contains("LABEL=VALUE"));
        }
    }

    #[test]
    fn a_machine_cannot_be_its_own_peer_and_a_short_secret_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "short\n").unwrap();
        let args = |node: &str| PeerArgs {
            node: Some(node.to_owned()),
            peer_of: vec![member("b=192.0.2.7:8602").unwrap()],
            node_label: vec![label("tier=first").unwrap()],
            peer_key_file: Some(path.clone()),
        };
        assert!(args("b").read().is_err());
        assert!(args("a").read().is_err());
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let machines = args("a").read().unwrap();
        assert_eq!(machines.peers.keys.len(), 1);
        assert_eq!(machines.peers.labels_of("a").unwrap()["tier"], "first");
    }
}
