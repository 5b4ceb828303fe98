//! Handing a running data plane's listening sockets to the process that takes its place.
//!
//! The process that runs keeps a Unix socket, the [`Door`], in its state directory. The new one knocks there
//! ([`Claim`]), is given every listening socket, begins with a configuration of its own, and says so once its workers
//! accept; only then the old one is told to leave. A connection waits in a socket's queue until either takes it in: none
//! is refused.
//!
//! ```text
//! new  VERSION
//! old  VERSION  ACCEPTED, then for each socket its purpose and the socket; END
//!      VERSION  LEAVING or OTHER_VERSION
//! new  READY                                 its workers accept
//! old  DONE, and it leaves                   GIVEN_UP, and it stays: the new one must not serve
//! ```
//!
//! Invariant: until `READY` has come the old process serves as if nobody had knocked, whatever the new one does. One
//! byte is one message and carries one socket at most, so nothing is ever half read.

mod message;
mod sockets;

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::{DataPlane, TakeoverError};
use sockets::MOST;
pub(crate) use sockets::Purpose;
pub use sockets::Sockets;

/// The name of the socket in the state directory.
const NAME: &str = "takeover.sock";

/// The protocol's version. One that differs is refused by both sides.
const VERSION: u8 = 1;

const ACCEPTED: u8 = b'y';
const OTHER_VERSION: u8 = b'v';
const LEAVING: u8 = b'l';
const END: u8 = b'e';
const READY: u8 = b'r';
const DONE: u8 = b'd';
const GIVEN_UP: u8 = b'g';

/// Longest wait for one message that the other side has only to send.
const ANSWER: Duration = Duration::from_secs(10);

/// Longest time in which a new process may read its configuration and begin to accept.
const START: Duration = Duration::from_secs(60);

/// Where a new process knocks. Dropping it removes it from its directory, unless another has taken its place.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file; none when the path is another process's.
    identity: Option<(u64, u64)>,
}

impl Door {
    /// Listens in `dir`, which is made if it is missing, in the place of whoever did before. Only the same user may
    /// connect.
    ///
    /// # Errors
    /// When the directory cannot be written, or its path is too long for a Unix socket.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let path = dir.join(NAME);
        // Under its name it appears with its mode, in one step.
        let hidden = dir.join(format!(".{NAME}.{}", std::process::id()));
        match fs::remove_file(&hidden) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&hidden)?;
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))?;
        fs::rename(&hidden, &path)?;
        let identity = identity(&path);
        Ok(Self {
            listener,
            path,
            identity,
        })
    }

    /// Waits for a process that knocks, and serves it to its end: good when it has taken over and this one must drain.
    /// Returns its id, where the system tells.
    ///
    /// # Errors
    /// Why nothing was handed over. This process goes on, and may wait again.
    pub async fn hand_over(&mut self, data_plane: &DataPlane) -> Result<Option<i32>, TakeoverError> {
        let (stream, _) = self.listener.accept().await?;
        let pid = check_owner(&stream)?;
        self.serve(&stream, data_plane).await?;
        Ok(pid)
    }

    async fn serve(&mut self, stream: &UnixStream, data_plane: &DataPlane) -> Result<(), TakeoverError> {
        let theirs = receive(stream, ANSWER).await?;
        send(stream, VERSION).await?;
        if theirs != VERSION {
            send(stream, OTHER_VERSION).await?;
            return Err(TakeoverError::Version { theirs, ours: VERSION });
        }
        let sockets = data_plane.listening_sockets()?;
        if sockets.is_empty() {
            send(stream, LEAVING).await?;
            return Err(TakeoverError::Leaving);
        }
        send(stream, ACCEPTED).await?;
        for (purpose, socket) in &sockets {
            let sent = message::send(stream, purpose.letter(), Some(socket.as_fd()));
            timeout(ANSWER, sent).await.map_err(|_| TakeoverError::Silent)??;
        }
        send(stream, END).await?;
        match receive(stream, START).await {
            Ok(READY) => {}
            Ok(_) => return Err(TakeoverError::Garbled),
            Err(error) => {
                // Nobody may be there to read it.
                let _ = send(stream, GIVEN_UP).await;
                return Err(match error {
                    TakeoverError::Silent => TakeoverError::Late,
                    error => error,
                });
            }
        }
        // The new process serves. One that is gone again by now cannot be helped: it has connections already.
        data_plane.close_admin();
        // It opens a door of its own at this path as soon as it hears.
        self.identity = None;
        let _ = send(stream, DONE).await;
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A new process's hold on the one it takes over. Dropped before [`Claim::ready`], the old one stays.
#[derive(Debug)]
pub struct Claim {
    stream: UnixStream,
    pid: Option<i32>,
}

impl Claim {
    /// Knocks at the door in `dir` and takes the listening sockets of the process behind it.
    ///
    /// # Errors
    /// When nobody is there, or it is another user's, or it refuses.
    pub async fn make(dir: &Path) -> Result<(Self, Sockets), TakeoverError> {
        let path = dir.join(NAME);
        let connected = UnixStream::connect(&path).await;
        let stream = connected.map_err(|source| TakeoverError::Nobody { path, source })?;
        let pid = check_owner(&stream)?;
        send(&stream, VERSION).await?;
        let theirs = receive(&stream, ANSWER).await?;
        if theirs != VERSION {
            return Err(TakeoverError::Version { theirs, ours: VERSION });
        }
        match receive(&stream, ANSWER).await? {
            ACCEPTED => {}
            LEAVING => return Err(TakeoverError::Leaving),
            _ => return Err(TakeoverError::Garbled),
        }
        let mut sockets = Sockets::default();
        for _ in 0..=MOST {
            let next = timeout(ANSWER, message::receive(&stream)).await;
            match next.map_err(|_| TakeoverError::Silent)?? {
                Some((END, None)) => return Ok((Self { stream, pid }, sockets)),
                Some((letter, Some(socket))) => {
                    let purpose = Purpose::from_letter(letter).ok_or(TakeoverError::Garbled)?;
                    sockets.push(purpose, socket)?;
                }
                Some(_) => return Err(TakeoverError::Garbled),
                None => return Err(TakeoverError::Ended),
            }
        }
        Err(TakeoverError::Garbled)
    }

    /// The process that is taken over, where the system tells.
    pub const fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Tells the old process that this one serves. True when it leaves; false when it does not answer.
    ///
    /// # Errors
    /// When it has given this one up and serves on: this one must leave.
    pub async fn ready(self) -> Result<bool, TakeoverError> {
        // What it said before it went is still to be read.
        let _ = send(&self.stream, READY).await;
        match receive(&self.stream, START).await {
            Ok(DONE) => Ok(true),
            Ok(GIVEN_UP) => Err(TakeoverError::GivenUp),
            // Gone, or so busy that it has not read it yet: when it does, it leaves. Somebody must serve.
            _ => Ok(false),
        }
    }
}

/// Returns the id of the process at the other end, which must be of this process's user.
fn check_owner(stream: &UnixStream) -> Result<Option<i32>, TakeoverError> {
    let peer = stream.peer_cred()?;
    let (theirs, ours) = (peer.uid(), rustix::process::geteuid().as_raw());
    if theirs != ours {
        return Err(TakeoverError::Owner { theirs, ours });
    }
    Ok(peer.pid())
}

async fn send(stream: &UnixStream, byte: u8) -> Result<(), TakeoverError> {
    let sent = timeout(ANSWER, message::send(stream, byte, None)).await;
    Ok(sent.map_err(|_| TakeoverError::Silent)??)
}

/// Receives a message without a socket.
async fn receive(stream: &UnixStream, patience: Duration) -> Result<u8, TakeoverError> {
    let received = timeout(patience, message::receive(stream)).await;
    match received.map_err(|_| TakeoverError::Silent)?? {
        Some((byte, None)) => Ok(byte),
        Some((_, Some(_))) => Err(TakeoverError::Garbled),
        None => Err(TakeoverError::Ended),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let there = fs::symlink_metadata(path).ok()?;
    Some((there.dev(), there.ino()))
}

#[cfg(test)]
mod tests;
