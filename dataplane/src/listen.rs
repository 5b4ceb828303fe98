//! Listening sockets: one for each worker and address, so that the kernel spreads connections and no worker waits for
//! another (SO_REUSEPORT).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::StartError;

/// Where clients connect, and how their connections begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address. Port 0 lets the kernel choose one.
    pub address: SocketAddr,
    /// Connections begin with a TLS handshake.
    pub tls: bool,
    /// Peers whose connections begin with a PROXY header; those of others never do. Empty: nobody's.
    pub proxy_protocol: Vec<IpNet>,
    /// Other nodes connect here, in place of clients. In clear text, without a PROXY header.
    pub peer: bool,
}

impl From<SocketAddr> for Listen {
    /// Clear text, no PROXY header.
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            tls: false,
            proxy_protocol: Vec::new(),
            peer: false,
        }
    }
}

impl Listen {
    /// Whether connections of this peer begin with a PROXY header.
    pub(crate) fn sends_proxy_header(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy_protocol.iter().any(|network| network.contains(&peer))
    }
}

/// The listener that a connection came to, by its number among those that are counted, and whether nodes connect there.
/// Small, for every connection has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door(u8);

/// The bit that says that nodes connect there.
const OF_NODES: u8 = 1 << 7;

impl Door {
    /// Of a listener beyond the 127th connections are not counted.
    pub(crate) fn new(number: usize, listen: &Listen) -> Self {
        let number = u8::try_from(number).unwrap_or(u8::MAX).min(OF_NODES - 1);
        Self(number | if listen.peer { OF_NODES } else { 0 })
    }

    /// The number.
    pub(crate) const fn number(self) -> usize {
        (self.0 & !OF_NODES) as usize
    }

    /// Whether the other end is not a client but another node.
    pub(crate) const fn is_of_nodes(self) -> bool {
        self.0 & OF_NODES != 0
    }
}

/// A listening socket, and how the connections that come to it begin.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) listen: Arc<Listen>,
}

impl Listener {
    /// The same socket once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            listen: Arc::clone(&self.listen),
        })
    }
}

/// Connections that may wait to be accepted, for each socket.
pub(crate) const BACKLOG: i32 = 4096;

/// Opens `count` sockets on `address`. Port 0 lets the kernel choose one port for all of them.
///
/// # Errors
/// When the address is not ours, not allowed, or another program listens there.
pub(crate) fn open(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, StartError> {
    let failed = |source| StartError::Bind { address, source };
    // With SO_REUSEPORT a second program of the same user would share the port in silence. A first socket without it
    // tells whether somebody is there.
    let probe = socket(address, false).map_err(failed)?;
    let address = probe.local_addr().map_err(failed)?;
    drop(probe);
    (0..count).map(|_| socket(address, true).map_err(failed)).collect()
}

/// Binds `count` more sockets beside others of this process's user, at an address they listen on already. They get no
/// connection before [`listen`].
///
/// # Errors
/// When the others are another user's, or do not share.
pub(crate) fn reserve(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, StartError> {
    let failed = |source| StartError::Bind { address, source };
    (0..count)
        .map(|_| Ok(bound(address, true).map_err(failed)?.into()))
        .collect()
}

/// Makes a reserved socket listen. No effect on one that does.
pub(crate) fn listen(socket: &TcpListener) -> io::Result<()> {
    SockRef::from(socket).listen(BACKLOG)
}

fn socket(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = bound(address, share)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bound(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_PORT: &str = "127.0.0.1:0";

    #[test]
    fn all_sockets_share_the_port_the_kernel_chose() {
        let sockets = open(ANY_PORT.parse().unwrap(), 3).unwrap();
        let ports: Vec<_> = sockets.iter().map(|s| s.local_addr().unwrap().port()).collect();
        assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }

    #[test]
    fn a_port_in_use_is_refused_even_when_its_owner_would_share() {
        let held = open(ANY_PORT.parse().unwrap(), 1).unwrap();
        let address = held[0].local_addr().unwrap();
        let error = open(address, 1).unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("another program listens"),
            "{error}"
        );
    }
}
