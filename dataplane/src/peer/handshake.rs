//! How two nodes know each other: each proves that it has a key which the operator gave to all nodes and to nobody else.
//!
//! ```text
//! asker > owner   magic 8, ids of its keys 4 x 8, nonce 32
//! owner > asker   the id it takes 8, nonce 32, proof 32 = HMAC("owner", what was said, the owner's name)
//! asker > owner   proof 32 = HMAC("asker", what was said, the owner's name), and then HTTP
//! ```
//!
//! Invariants: nothing of a client is sent before the owner has proved itself, so that a stranger at a node's old
//! address learns nothing; no request is read before the asker has; a proof is good for one connection (both sides give
//! a nonce) and for one owner (its name is in it). No clock is needed. Keys are in memory only.
//!
//! What this does not do: what follows is neither encrypted nor protected against one who can change packets between
//! nodes. The issue on securing the control plane puts TLS in this place; nothing else knows how nodes know each other.

use std::io;
use std::sync::Arc;

use breakwater_snapshot::PeerKey;
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MAGIC: &[u8; 8] = b"BWPEER1\n";
/// Keys that an asker offers.
const OFFERED: usize = 4;
const ID: usize = 8;
const NONCE: usize = 32;
const PROOF: usize = 32;
/// What an asker says first.
const HELLO: usize = MAGIC.len() + OFFERED * ID + NONCE;
/// What the owner answers, its proof left out.
const REPLY: usize = ID + NONCE;

type Id = [u8; ID];

/// The keys of now, newest last.
#[derive(Default)]
pub(crate) struct Keys(Mutex<Arc<Vec<(Id, hmac::Key)>>>);

impl Keys {
    /// Replaces them; a key that cannot be read is left out.
    pub(crate) fn set(&self, keys: &[PeerKey]) {
        let read = |key: &PeerKey| {
            let id = unhex::<ID>(&key.id)?;
            let secret = unhex::<32>(&key.secret)?;
            Some((id, hmac::Key::new(hmac::HMAC_SHA256, &secret)))
        };
        *self.0.lock() = Arc::new(keys.iter().filter_map(read).collect());
    }

    fn now(&self) -> Arc<Vec<(Id, hmac::Key)>> {
        Arc::clone(&self.0.lock())
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = text.as_bytes();
    if bytes.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (to, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *to = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
    }
    Some(out)
}

/// The way into another node.
pub(crate) struct Door {
    /// The node's name.
    pub(crate) name: Arc<str>,
    pub(crate) keys: Arc<Keys>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Door({})", self.name)
    }
}

impl Door {
    /// Proves to the other end of a new connection that we are a node, once it has proved that it is this one.
    ///
    /// # Errors
    /// When it has not, does not take us for one, or the connection fails. Deadlines are the caller's.
    pub(crate) async fn enter<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> io::Result<()> {
        let keys = self.keys.now();
        if keys.is_empty() {
            return Err(io::Error::other("this node has no key to show to other nodes yet"));
        }
        let mut hello = [0; HELLO];
        let (magic, rest) = hello.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        let (ids, nonce) = rest.split_at_mut(OFFERED * ID);
        // The newest first: they are the ones that every node will have.
        for (place, (id, _)) in ids.chunks_exact_mut(ID).zip(keys.iter().rev()) {
            place.copy_from_slice(id);
        }
        random(nonce)?;
        stream.write_all(&hello).await?;
        let mut reply = [0; REPLY];
        let mut theirs = [0; PROOF];
        stream.read_exact(&mut reply).await?;
        stream.read_exact(&mut theirs).await?;
        let chosen = reply.get(..ID).unwrap_or_default();
        let key = keys
            .iter()
            .find(|(id, _)| id == chosen)
            .ok_or_else(|| io::Error::other("it chose a key that was not offered"))?;
        hmac::verify(&key.1, &said(b"owner", &hello, &reply, &self.name), &theirs)
            .map_err(|_| io::Error::other(format!("it is not the node {}", self.name)))?;
        let ours = hmac::sign(&key.1, &said(b"asker", &hello, &reply, &self.name));
        stream.write_all(ours.as_ref()).await
    }
}

/// Takes in a connection of another node at the node `name`.
///
/// # Errors
/// When it does not prove that it is a node's. Deadlines are the caller's.
pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    name: &str,
    keys: &Keys,
) -> io::Result<()> {
    let mut hello = [0; HELLO];
    stream.read_exact(&mut hello).await?;
    let offered = hello.strip_prefix(MAGIC).ok_or(io::ErrorKind::InvalidData)?;
    let keys = keys.now();
    let key = offered
        .chunks_exact(ID)
        .take(OFFERED)
        .find_map(|offered| keys.iter().find(|(id, _)| id == offered))
        .ok_or(io::ErrorKind::PermissionDenied)?;
    let mut reply = [0; REPLY];
    let (id, nonce) = reply.split_at_mut(ID);
    id.copy_from_slice(&key.0);
    random(nonce)?;
    let ours = hmac::sign(&key.1, &said(b"owner", &hello, &reply, name));
    let mut answer = reply.to_vec();
    answer.extend_from_slice(ours.as_ref());
    stream.write_all(&answer).await?;
    let mut theirs = [0; PROOF];
    stream.read_exact(&mut theirs).await?;
    hmac::verify(&key.1, &said(b"asker", &hello, &reply, name), &theirs)
        .map_err(|_| io::ErrorKind::PermissionDenied.into())
}

fn said(who: &[u8; 5], hello: &[u8; HELLO], reply: &[u8; REPLY], name: &str) -> Vec<u8> {
    [&who[..], hello, reply, name.as_bytes()].concat()
}

/// Fills `out` with what nobody can guess.
pub(crate) fn random(out: &mut [u8]) -> io::Result<()> {
    SystemRandom::new()
        .fill(out)
        .map_err(|_| io::Error::other("the system gives no random numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    fn keys(list: &[u8]) -> Arc<Keys> {
        let keys = Keys::default();
        let key = |n: &u8| PeerKey {
            id: format!("{n:02x}").repeat(8),
            secret: format!("{n:02x}").repeat(32),
        };
        keys.set(&list.iter().map(key).collect::<Vec<_>>());
        Arc::new(keys)
    }

    fn door(name: &str, list: &[u8]) -> Door {
        Door {
            name: name.into(),
            keys: keys(list),
        }
    }

    async fn meet(door: Door, name: &str, owners: &[u8]) -> (bool, bool) {
        let (mut ours, mut theirs) = duplex(1024);
        let owners = keys(owners);
        let entering = async move { door.enter(&mut ours).await.is_ok() };
        let receiving = async move { receive(&mut theirs, name, &owners).await.is_ok() };
        tokio::join!(entering, receiving)
    }

    #[tokio::test]
    async fn two_nodes_with_a_key_in_common_know_each_other() {
        assert_eq!(meet(door("b", &[1, 2]), "b", &[2, 3]).await, (true, true));
        assert_eq!(meet(door("b", &[1, 2, 3, 4, 5, 6]), "b", &[6]).await, (true, true));
    }

    #[tokio::test]
    async fn nobody_without_a_common_key_gets_in() {
        assert_eq!(meet(door("b", &[1]), "b", &[2]).await, (false, false));
        assert_eq!(meet(door("b", &[]), "b", &[2]).await, (false, false));
        assert_eq!(meet(door("b", &[1]), "b", &[]).await, (false, false));
    }

    #[tokio::test]
    async fn another_node_at_the_address_is_noticed_before_anything_is_sent_to_it() {
        assert_eq!(meet(door("b", &[1]), "c", &[1]).await, (false, false));
    }

    #[tokio::test]
    async fn an_asker_that_repeats_what_it_heard_does_not_get_in() {
        // Records a good greeting, and says the same again.
        let (mut ours, mut theirs) = duplex(1024);
        let owners = keys(&[1]);
        let receiving = tokio::spawn(async move { receive(&mut theirs, "b", &owners).await.is_ok() });
        let mut recorded = Vec::new();
        {
            let (mut near, mut far) = duplex(1024);
            let entering = tokio::spawn(async move { door("b", &[1]).enter(&mut near).await });
            let mut hello = [0; HELLO];
            far.read_exact(&mut hello).await.unwrap();
            ours.write_all(&hello).await.unwrap();
            let mut reply = [0; REPLY + PROOF];
            ours.read_exact(&mut reply).await.unwrap();
            far.write_all(&reply).await.unwrap();
            let mut proof = [0; PROOF];
            far.read_exact(&mut proof).await.unwrap();
            ours.write_all(&proof).await.unwrap();
            entering.await.unwrap().unwrap();
            recorded.extend_from_slice(&hello);
            recorded.extend_from_slice(&proof);
        }
        assert!(receiving.await.unwrap());
        let (mut ours, mut theirs) = duplex(1024);
        let owners = keys(&[1]);
        let receiving = tokio::spawn(async move { receive(&mut theirs, "b", &owners).await.is_ok() });
        ours.write_all(&recorded).await.unwrap();
        assert!(!receiving.await.unwrap());
    }

    #[tokio::test]
    async fn what_is_no_greeting_is_refused() {
        let (mut ours, mut theirs) = duplex(1024);
        let owners = keys(&[1]);
        let receiving = tokio::spawn(async move { receive(&mut theirs, "b", &owners).await.is_ok() });
        ours.write_all(&[b'G'; HELLO]).await.unwrap();
        assert!(!receiving.await.unwrap());
    }

    #[test]
    fn a_key_that_cannot_be_read_is_left_out() {
        let keys = Keys::default();
        let key = |id: &str, secret: String| PeerKey {
            id: id.to_owned(),
            secret,
        };
        keys.set(&[
            key("00112233445566zz", "ab".repeat(32)),
            key("0011223344556677", "ab".repeat(31)),
            key("00112233445566é", "ab".repeat(32)),
            key("0011223344556677", "aB".repeat(32)),
        ]);
        assert_eq!(keys.now().len(), 1);
    }
}
