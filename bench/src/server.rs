//! The servers under the same load: how each is configured, started on one CPU, and stopped.
//!
//! Invariant: a started server answers on its address, runs in the foreground as a child of the bench, and is stopped
//! by its process id when the value is dropped. Each gets one thread or worker, no access log, and a cache that holds
//! every object of the run in memory (nginx: in files, which the kernel keeps in memory and `sendfile` sends).

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Error, check, machine};

mod config;

/// How long a server may take to listen, and to stop when asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the bench knows how to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The bare epoll loop ([`crate::floor`]); the program is the bench itself.
    Floor(PathBuf),
    /// nginx, `proxy_cache`, with Debian's settings.
    Nginx,
    /// nginx with what helps these rows most.
    NginxTuned,
    /// HAProxy, `cache`.
    Haproxy,
    /// Breakwater, at this path.
    Breakwater(PathBuf),
}

impl Kind {
    /// The name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Floor(_) => "floor",
            Self::Nginx => "nginx",
            Self::NginxTuned => "nginx-tuned",
            Self::Haproxy => "haproxy",
            Self::Breakwater(_) => "breakwater",
        }
    }

    /// The version the program itself states, or why there is none.
    #[must_use]
    pub fn version(&self) -> String {
        match self {
            Self::Floor(_) => "epoll loop of this bench".to_owned(),
            Self::Nginx | Self::NginxTuned => machine::first_line("nginx", &["-v"]),
            Self::Haproxy => machine::first_line("haproxy", &["-v"]),
            Self::Breakwater(program) => machine::first_line(program, &["--version"]),
        }
    }
}

/// A server that answers.
#[derive(Debug)]
pub struct Server {
    /// The name in reports.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// The header, and how its value starts, by which the server says that an answer is a hit.
    pub hit: Option<(&'static str, &'static str)>,
    /// Whether an origin stands behind it.
    pub caches: bool,
    child: Child,
    /// Configuration, cache and state; removed with the server.
    _directory: TempDir,
}

impl Server {
    /// Starts `kind` on CPU `cpu` in front of `origin` and returns once it accepts connections.
    ///
    /// # Errors
    /// When it cannot be configured, ends early, or does not listen in time.
    pub fn start(kind: &Kind, cpu: usize, origin: SocketAddr, sizes: &[usize]) -> Result<Self, Error> {
        let directory = tempfile::tempdir().map_err(Error::io("making a directory for a server"))?;
        let address = free_address()?;
        let admin = free_address()?;
        let arguments = arguments(kind, directory.path(), address, admin, origin, sizes)?;
        let output = directory.path().join("output");
        let log = fs::File::create(&output).map_err(Error::io("creating a server's output file"))?;
        let errors = log.try_clone().map_err(Error::io("sharing a server's output file"))?;
        let mut child = Command::new("taskset")
            .args(["--cpu-list", &cpu.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(Error::io("running taskset"))?;
        let breakwater = matches!(kind, Kind::Breakwater(_));
        // Breakwater listens before it has read its manifests; the others do not.
        let serves = || {
            TcpStream::connect(address).is_ok()
                && (!breakwater || check::get(admin, "/readyz").is_ok_and(|answer| answer.status == 200))
        };
        wait_until(serves, kind.name(), &mut child, &output)?;
        Ok(Self {
            name: kind.name(),
            address,
            hit: breakwater.then_some(("Cache-Status", "breakwater; hit")),
            caches: !matches!(kind, Kind::Floor(_)),
            child,
            _directory: directory,
        })
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

/// The command line: `taskset` runs it in its own process, so the child's id is the server's.
fn arguments(
    kind: &Kind,
    directory: &Path,
    address: SocketAddr,
    admin: SocketAddr,
    origin: SocketAddr,
    sizes: &[usize],
) -> Result<Vec<String>, Error> {
    let path = |name: &str| directory.join(name).display().to_string();
    let write = |name: &str, text: String| {
        fs::write(directory.join(name), text).map_err(Error::io(format!("writing {name} for {}", kind.name())))
    };
    Ok(match kind {
        Kind::Floor(program) => {
            let mut arguments = vec![program.display().to_string(), "floor".to_owned(), address.to_string()];
            arguments.extend(sizes.iter().map(ToString::to_string));
            arguments
        }
        Kind::Nginx | Kind::NginxTuned => {
            let tuned = *kind == Kind::NginxTuned;
            write(
                "nginx.conf",
                config::nginx(&directory.display().to_string(), address, origin, tuned),
            )?;
            ["nginx", "-p", &path(""), "-c", &path("nginx.conf")]
                .map(str::to_owned)
                .to_vec()
        }
        Kind::Haproxy => {
            write("haproxy.cfg", config::haproxy(address, origin))?;
            ["haproxy", "-db", "-f", &path("haproxy.cfg")]
                .map(str::to_owned)
                .to_vec()
        }
        Kind::Breakwater(program) => {
            fs::create_dir(directory.join("manifests")).map_err(Error::io("making a manifest directory"))?;
            write("manifests/bench.yaml", config::breakwater(origin))?;
            let admin = admin.to_string();
            let state = path("state");
            fs::create_dir(directory.join("state")).map_err(Error::io("making a state directory"))?;
            let program = program.display().to_string();
            let address = address.to_string();
            let manifests = path("manifests");
            [
                program.as_str(),
                "up",
                "-f",
                &manifests,
                "--listen",
                &address,
                "--admin",
                &admin,
                "--state-dir",
                &state,
                "--workers",
                "1",
            ]
            .map(str::to_owned)
            .to_vec()
        }
    })
}

/// A port of the loopback interface that was free a moment ago.
fn free_address() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::io("looking for a free port"))?;
    listener.local_addr().map_err(Error::io("looking for a free port"))
}

fn wait_until(serves: impl Fn() -> bool, name: &str, child: &mut Child, output: &Path) -> Result<(), Error> {
    let said = || fs::read_to_string(output).unwrap_or_default();
    let deadline = Instant::now() + PATIENCE;
    while !serves() {
        if let Some(status) = child.try_wait().map_err(Error::io(format!("waiting for {name}")))? {
            return Err(Error::Server {
                server: name.to_owned(),
                why: format!("{status}: {}", said().trim()),
            });
        }
        if Instant::now() > deadline {
            stop(child);
            let why = format!("not ready after {} s: {}", PATIENCE.as_secs(), said().trim());
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
fn stop(child: &mut Child) {
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
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_its_name() {
        let kind = Kind::Breakwater(PathBuf::from("/bin/false"));
        let origin = SocketAddr::from(([127, 0, 0, 1], 9));
        let error = Server::start(&kind, 0, origin, &[1]).expect_err("false never serves");
        assert!(
            matches!(&error, Error::Server { server, .. } if server == "breakwater"),
            "{error}"
        );
    }
}
