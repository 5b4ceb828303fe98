//! A server's process: started on one CPU, awaited, stopped.
//!
//! Invariant: a started server answers on its address, runs in the foreground as a child of the bench, and is stopped
//! by its process id when the value is dropped. Left to others: how each is configured ([`crate::peer`]).

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::peer::{Kind, Ports, Protocol, Room, Setup};
use crate::{Error, client};

/// How long a server may take to listen, and to stop when asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// A file system in memory (tmpfs): what lies there takes as much of it as its files have.
const MEMORY: &str = "/dev/shm";

/// What every server of a run is started with.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    /// The CPU it runs on.
    pub cpu: usize,
    /// What stands behind it.
    pub origin: SocketAddr,
    /// What it shows.
    pub certificate: &'a Certificate,
    /// The objects of the run, for the floor.
    pub sizes: &'a [usize],
    /// What its cache may take; what holds all objects of the run where nothing is said.
    pub room: Option<Room>,
}

/// A server that answers.
#[derive(Debug)]
pub struct Server {
    /// The name in reports.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    ports: Ports,
    child: Child,
    /// Files of its cache that lie in memory.
    files_in_memory: Option<TempDir>,
    /// Configuration, cache and state; removed with the server.
    _directory: TempDir,
}

impl Server {
    /// Starts `kind` and returns once it accepts connections.
    ///
    /// # Errors
    /// When it cannot be configured, ends early, or does not listen in time.
    pub fn start(kind: &Kind, common: Common<'_>) -> Result<Self, Error> {
        let directory = tempfile::tempdir().map_err(Error::io("making a directory for a server"))?;
        let ports = ports()?;
        let files_in_memory = match common.room {
            Some(room) if room.disk.is_none() && kind.keeps_files() => Some(
                tempfile::tempdir_in(MEMORY)
                    .map_err(Error::io(format!("making a directory for a cache in {MEMORY}")))?,
            ),
            _ => None,
        };
        let arguments = kind.command(&Setup {
            directory: directory.path(),
            cache: files_in_memory
                .as_ref()
                .map_or_else(|| directory.path().join("cache"), |files| files.path().join("cache")),
            room: common.room,
            ports,
            origin: common.origin,
            certificate: common.certificate,
            sizes: common.sizes,
        })?;
        let output = directory.path().join("output");
        let mut child = spawn(common.cpu, arguments, &output)?;
        // Breakwater listens before it has read its manifests; the others do not.
        let ready = || match kind {
            Kind::Breakwater(_) => client::get(ports.admin, "/readyz").is_ok_and(|answer| answer.status == 200),
            // It listens before its cache is open, and does not store until then.
            Kind::Ats => client::get(ports.http1, "/ready/1").is_ok_and(|answer| answer.status == 200),
            _ => true,
        };
        let serves = || TcpStream::connect(ports.http1).is_ok() && ready();
        wait_until(serves, kind.name(), &mut child, &output, PATIENCE)?;
        Ok(Self {
            name: kind.name(),
            kind: kind.clone(),
            ports,
            child,
            files_in_memory,
            _directory: directory,
        })
    }

    /// Where it speaks `protocol`, or why it does not.
    ///
    /// # Errors
    /// The reason, for the report.
    pub fn address(&self, protocol: Protocol) -> Result<SocketAddr, &'static str> {
        self.kind.address(protocol, &self.ports)
    }

    /// Where its administration listens, where it has one.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.ports.admin
    }

    /// Where files of its cache lie in memory, if they do.
    #[must_use]
    pub fn files_in_memory(&self) -> Option<&Path> {
        self.files_in_memory.as_ref().map(TempDir::path)
    }

    /// The process whose tree is charged.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Runs a program on one CPU; `output` takes what it says.
pub(crate) fn spawn(cpu: usize, arguments: Vec<String>, output: &Path) -> Result<Child, Error> {
    let log = fs::File::create(output).map_err(Error::io("creating a server's output file"))?;
    let errors = log.try_clone().map_err(Error::io("sharing a server's output file"))?;
    // `taskset` runs it in its own process, so the child's id is the server's.
    Command::new("taskset")
        .args(["--cpu-list", &cpu.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(Error::io("running taskset"))
}

/// Ports of the loopback interface that were free a moment ago.
pub(crate) fn ports() -> Result<Ports, Error> {
    let free = || TcpListener::bind("127.0.0.1:0").map_err(Error::io("looking for a free port"));
    // All are held until all are found, so that they differ.
    let held = [free()?, free()?, free()?, free()?];
    let address = |listener: &TcpListener| listener.local_addr().map_err(Error::io("looking for a free port"));
    let [http1, http2, tls, admin] = &held;
    Ok(Ports {
        http1: address(http1)?,
        http2: address(http2)?,
        tls: address(tls)?,
        admin: address(admin)?,
    })
}

/// Waits until it serves; it is stopped when it does not in time.
pub(crate) fn wait_until(
    serves: impl Fn() -> bool,
    name: &str,
    child: &mut Child,
    output: &Path,
    patience: Duration,
) -> Result<(), Error> {
    let said = || fs::read_to_string(output).unwrap_or_default();
    let deadline = Instant::now() + patience;
    while !serves() {
        if let Some(status) = child.try_wait().map_err(Error::io(format!("waiting for {name}")))? {
            return Err(Error::Server {
                server: name.to_owned(),
                why: format!("{status}: {}", said().trim()),
            });
        }
        if Instant::now() > deadline {
            stop(child);
            let why = format!("not ready after {} s: {}", patience.as_secs(), said().trim());
            return Err(Error::Server {
                server: name.to_owned(),
                why,
            });
        }
        pause();
    }
    Ok(())
}

/// Asks the process to end, and ends it when it does not. Errors mean that it is gone already.
pub(crate) fn stop(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            let _gone = child.kill();
            let _reaped = child.wait();
            return;
        }
        pause();
    }
}

/// Between two looks at a condition of another process (a port, an exit) that this single-threaded program cannot await.
#[expect(
    clippy::disallowed_methods,
    reason = "the step of a bounded poll; the condition is in another process"
)]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_its_name() {
        let kind = Kind::Breakwater(PathBuf::from("/bin/false"));
        let certificate = Certificate::make().expect("a certificate");
        let common = Common {
            cpu: 0,
            origin: SocketAddr::from(([127, 0, 0, 1], 9)),
            certificate: &certificate,
            sizes: &[1],
            room: None,
        };
        let error = Server::start(&kind, common).expect_err("false never serves");
        assert!(
            matches!(&error, Error::Server { server, .. } if server == "breakwater"),
            "{error}"
        );
    }
}
