//! Listening sockets on their way from one process to the next, and which of them serves which address.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::net::sockopt::socket_acceptconn;

use crate::{Listen, TakeoverError};

/// The most sockets that change hands: 1,024 workers with four addresses, and the admin port.
pub(super) const MOST: usize = 4_097;

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Clients in clear text.
    Clear,
    /// Clients with TLS.
    Tls,
    /// Other nodes.
    Peer,
    /// Metrics and health.
    Admin,
}

impl Purpose {
    /// What a listener of this kind is for.
    pub(crate) const fn of(listen: &Listen) -> Self {
        match listen {
            Listen { peer: true, .. } => Self::Peer,
            Listen { tls: true, .. } => Self::Tls,
            _ => Self::Clear,
        }
    }

    pub(super) const fn letter(self) -> u8 {
        match self {
            Self::Clear => b'C',
            Self::Tls => b'T',
            Self::Peer => b'P',
            Self::Admin => b'A',
        }
    }

    pub(super) const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'C' => Some(Self::Clear),
            b'T' => Some(Self::Tls),
            b'P' => Some(Self::Peer),
            b'A' => Some(Self::Admin),
            _ => None,
        }
    }
}

/// The listening sockets of the process that is taken over. What no address claims is closed with it.
#[derive(Debug, Default)]
pub struct Sockets(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    purpose: Purpose,
    address: SocketAddr,
    listener: TcpListener,
}

impl Sockets {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in a socket, which must listen.
    pub(super) fn push(&mut self, purpose: Purpose, socket: OwnedFd) -> Result<(), TakeoverError> {
        if !socket_acceptconn(&socket).unwrap_or(false) {
            return Err(TakeoverError::Garbled);
        }
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        self.0.push(Socket {
            purpose,
            address,
            listener,
        });
        Ok(())
    }

    /// The sockets of each of these addresses. One with port 0 gets those of a port with the same purpose that no other
    /// asks for by its number.
    pub(crate) fn claim(&mut self, listens: &[Listen]) -> Vec<Vec<TcpListener>> {
        let mut claimed: Vec<_> = listens.iter().map(|listen| self.take(listen.address)).collect();
        for (listen, sockets) in listens.iter().zip(&mut claimed) {
            if listen.address.port() == 0 {
                *sockets = self.take_any_port(listen.address, Purpose::of(listen));
            }
        }
        claimed
    }

    /// The socket of the admin port, if the old process had it at this address.
    pub fn claim_admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let found = match address.port() {
            0 => self.take_any_port(address, Purpose::Admin),
            _ => self.take(address),
        };
        found.into_iter().next()
    }

    fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let taken = self.0.extract_if(.., |socket| socket.address == address);
        taken.map(|socket| socket.listener).collect()
    }

    fn take_any_port(&mut self, asked: SocketAddr, purpose: Purpose) -> Vec<TcpListener> {
        let mut fitting = self.0.iter().filter(|socket| socket.purpose == purpose);
        let found = fitting.find(|socket| socket.address.ip() == asked.ip());
        let address = found.map(|socket| socket.address);
        address.map_or_else(Vec::new, |address| self.take(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(address: &str) -> (OwnedFd, SocketAddr) {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        (listener.into(), address)
    }

    #[test]
    fn an_address_gets_its_own_sockets_and_port_0_what_nobody_asks_for() {
        let mut sockets = Sockets::default();
        let (first, one) = listening("127.0.0.1:0");
        let (second, two) = listening("127.0.0.1:0");
        let (third, three) = listening("127.0.0.1:0");
        let (admin, four) = listening("127.0.0.1:0");
        sockets.push(Purpose::Clear, first).unwrap();
        sockets.push(Purpose::Clear, second.try_clone().unwrap()).unwrap();
        sockets.push(Purpose::Clear, second).unwrap();
        sockets.push(Purpose::Tls, third).unwrap();
        sockets.push(Purpose::Admin, admin).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let tls = |address| Listen {
            tls: true,
            ..Listen::from(address)
        };
        let elsewhere: SocketAddr = "127.0.0.2:0".parse().unwrap();
        let claimed = sockets.claim(&[tls(any), Listen::from(any), Listen::from(one), Listen::from(elsewhere)]);
        let addresses: Vec<Vec<_>> = claimed
            .iter()
            .map(|sockets| sockets.iter().map(|s| s.local_addr().unwrap()).collect())
            .collect();
        assert_eq!(addresses, [vec![three], vec![two, two], vec![one], vec![]]);
        assert_eq!(sockets.claim_admin(any).unwrap().local_addr().unwrap(), four);
        assert!(sockets.is_empty());
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = Sockets::default().push(Purpose::Clear, bound.into()).unwrap_err();
        assert!(matches!(error, TakeoverError::Garbled), "{error}");
    }
}
