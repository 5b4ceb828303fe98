//! Telling the service manager how things are (`sd_notify(3)`): ready, reloading, stopping, and which process is the
//! service.
//!
//! Only where `NOTIFY_SOCKET` is set, as systemd does for `Type=notify`. Nothing depends on it: a manager that cannot be
//! told is complained of once, and the service goes on.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

use crate::exit::complain;

/// Names the socket: a path, or `@` and an abstract name.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// A service manager that wants to hear, or nobody.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: Option<OsString>,
    failed: Cell<bool>,
}

impl Supervisor {
    /// The one that the environment names.
    pub(crate) fn from_env() -> Self {
        Self::new(std::env::var_os(VARIABLE).filter(|socket| !socket.is_empty()))
    }

    const fn new(socket: Option<OsString>) -> Self {
        Self {
            socket,
            failed: Cell::new(false),
        }
    }

    /// It serves.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// It serves, in the place of the process that was the service before.
    pub(crate) fn ready_in_place_of_another(&self) {
        self.tell(&format!("MAINPID={}\nREADY=1", std::process::id()));
    }

    /// It reads its configuration again; [`Self::ready`] follows.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It leaves, and nobody has taken its place.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, state)
            && !self.failed.replace(true)
        {
            let socket = socket.to_string_lossy();
            complain(format!(
                "breakwater: the service manager cannot be told `{state}`: {VARIABLE}={socket}: {error}; going on"
            ));
        }
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the service.
    from.set_nonblocking(true)?;
    from.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_socket_of_either_kind_hears_each_state_as_one_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("@breakwater-test-{}", std::process::id());
        let of_a_name = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        for (socket, manager) in [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (name.into(), UnixDatagram::bind_addr(&of_a_name).unwrap()),
        ] {
            let supervisor = Supervisor::new(Some(socket));
            supervisor.ready();
            assert_eq!(heard(&manager), "READY=1");
            supervisor.ready_in_place_of_another();
            assert_eq!(heard(&manager), format!("MAINPID={}\nREADY=1", std::process::id()));
            supervisor.reloading();
            let reloading = heard(&manager);
            let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0);
            supervisor.stopping();
            assert_eq!(heard(&manager), "STOPPING=1");
        }
    }

    #[test]
    fn a_manager_that_is_gone_or_not_there_changes_nothing() {
        Supervisor::new(None).ready();
        let gone = Supervisor::new(Some("/nonexistent/notify".into()));
        gone.ready();
        assert!(gone.failed.get());
        gone.stopping();
    }
}
